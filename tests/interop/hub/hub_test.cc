// The hub client against a local server that speaks the hub's protocol, and huggingface_hub reading the cache it
// leaves.
#include "net/hub.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>
#include <sstream>
#include <utility>

#include "base/safe_path.h"
#include "base/sys.h"
#include "net/http.h"
#include "net/hub_cache.h"
#include "net/hub_files.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::Not;
using testing::StatusIs;

constexpr const char* kHere = ANEMONE_SOURCE_DIR "/tests/interop/hub/";

std::string ReadText(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// One server a test: its counters start at nothing.
class Hub : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("no_proxy", "127.0.0.1,localhost", 1);
    std::string name = (fs::temp_directory_path() / "anemone-hub-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
    int in[2];
    int out[2];
    ASSERT_EQ(pipe2(in, O_CLOEXEC), 0);
    ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], 0);
      dup2(out[1], 1);
      const std::string script = std::string(kHere) + "hub_server.py";
      const std::string log = (dir_ / "log").string();
      execl(ANEMONE_PYTHON, ANEMONE_PYTHON, script.c_str(), log.c_str(), tls_ ? dir_.c_str() : nullptr, nullptr);
      _exit(127);
    }
    close(in[0]);
    close(out[1]);
    stdin_ = in[1];
    FILE* lines = fdopen(out[0], "r");
    char hub[256] = "";
    char cdn[256] = "";
    ASSERT_EQ(fscanf(lines, "%255s %255s", hub, cdn), 2) << "the server did not start";
    fclose(lines);
    options_.endpoint = hub;
    options_.cache_dir = (dir_ / "cache").string();
    options_.first_wait_s = 0.01;
    cdn_ = cdn;
  }
  void TearDown() override {
    Stop();
    fs::remove_all(dir_);
  }
  void Stop() {
    if (pid_ <= 0) return;
    close(stdin_);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

  std::string Log() const { return ReadText(dir_ / "log"); }
  size_t Requests(std::string_view with, std::string_view and_with = "") const {
    std::istringstream log(Log());
    size_t count = 0;
    for (std::string line; std::getline(log, line);) {
      count += line.find(with) != std::string::npos && line.find(and_with) != std::string::npos;
    }
    return count;
  }
  fs::path Repo(const std::string& name) const { return fs::path(options_.cache_dir) / ("models--org--" + name); }

  fs::path dir_;
  std::string cdn_;
  HubOptions options_;
  bool tls_ = false;

 private:
  pid_t pid_ = 0;
  int stdin_ = -1;
};

TEST_F(Hub, DownloadsWhatAConversionNeedsIntoTheSharedCache) {
  ANEMONE_ASSERT_ASSIGN(const std::string path, FetchModel("org/plain", "main", options_));
  const std::string commit = ReadText(Repo("plain") / "refs/main");
  EXPECT_EQ(fs::path(path), Repo("plain") / "snapshots" / commit);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) names.push_back(entry.path().filename());
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("config.json", "preprocessor_config.json", "vocab.json",
                                                     "merges.txt", "model.safetensors"));
  const fs::path weights = fs::path(path) / "model.safetensors";
  EXPECT_EQ(fs::file_size(weights), 1000003U);
  EXPECT_THAT(fs::read_symlink(weights).string(), ::testing::MatchesRegex("\\.\\./\\.\\./blobs/[0-9a-f]*"));
  EXPECT_EQ(fs::read_symlink(weights).filename().string().size(), 64U);
  EXPECT_EQ(fs::read_symlink(fs::path(path) / "config.json").filename().string().size(), 40U);
  EXPECT_TRUE(fs::exists(Repo("plain") / ".no_exist" / commit / "tokenizer.json"));
  EXPECT_THAT(ReadText(fs::path(options_.cache_dir) / "CACHEDIR.TAG"),
              HasSubstr("Signature: 8a477f597d28d172789f06886806bc55"));
  for (const auto& blob : fs::directory_iterator(Repo("plain") / "blobs"))
    EXPECT_THAT(blob.path().string(), Not(HasSubstr("incomplete")));
  EXPECT_EQ(Requests("pytorch_model.bin"), 0U);

  // Again: the branch is looked up, nothing is fetched.
  const size_t before = Requests(" hub ");
  EXPECT_THAT(FetchModel("org/plain", "main", options_), IsOk());
  EXPECT_EQ(Requests(" hub "), before + 1);
  // By its commit: no request at all. Offline: neither.
  EXPECT_THAT(FetchModel("org/plain", commit, options_), IsOk());
  options_.offline = true;
  ANEMONE_ASSERT_ASSIGN(const std::string offline, FetchModel("org/plain", "main", options_));
  EXPECT_EQ(offline, path);
  EXPECT_EQ(Requests(" hub "), before + 1);
}

TEST_F(Hub, HuggingfaceHubFindsWhatWeDownloaded) {
  ANEMONE_ASSERT_ASSIGN(const std::string path, FetchModel("org/plain", "v1", options_));
  const char* other = std::getenv("ANEMONE_TEST_PYTHON");  // one that has huggingface_hub, where this machine's has not
  const std::string command = std::string(other != nullptr ? other : ANEMONE_PYTHON) + " " + kHere + "check_cache.py " +
                              options_.cache_dir + " org/plain v1 model.safetensors tokenizer.json";
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77)
    GTEST_SKIP()
        << "this Python has no huggingface_hub (ANEMONE_TEST_PYTHON names another); the layout itself is checked above";
  EXPECT_EQ(WEXITSTATUS(status), 0) << path;
}

TEST_F(Hub, FetchesShardsOpenClipAndArchives) {
  ANEMONE_ASSERT_ASSIGN(const std::string sharded, FetchModel("org/sharded", "main", options_));
  EXPECT_EQ(fs::file_size(sharded + "/model-00002-of-00002.safetensors"), 3000U);
  EXPECT_EQ(fs::file_size(sharded + "/model-00001-of-00002.safetensors"), 2000U);
  ANEMONE_ASSERT_ASSIGN(const std::string openclip, FetchModel("org/openclip", "main", options_));
  EXPECT_EQ(fs::file_size(openclip + "/open_clip_pytorch_model.bin"), 4000U);
  ANEMONE_ASSERT_ASSIGN(const std::string archive, FetchModel("org/archive", "main", options_));
  EXPECT_THAT(archive, ::testing::EndsWith("/sub/model.nemo"));
  EXPECT_EQ(fs::file_size(archive), 6000U);
  EXPECT_EQ(fs::read_symlink(archive).string().substr(0, 15), "../../../blobs/");
}

TEST_F(Hub, FollowsARenamedRepository) {
  EXPECT_THAT(FetchModel("org/moved", "main", options_), IsOk());
  EXPECT_TRUE(fs::exists(Repo("moved") / "refs/main"));
}

TEST_F(Hub, SendsTheTokenToTheHubAlone) {
  options_.token = "hf_test";
  EXPECT_THAT(FetchModel("org/gated", "main", options_), IsOk());
  EXPECT_GT(Requests("auth"), 0U);
  std::istringstream log(Log());
  for (std::string line; std::getline(log, line);)
    EXPECT_EQ(line.find(" cdn ") != std::string::npos, line.ends_with(" -")) << line;
}

TEST_F(Hub, GoesOnAfterCutConnections) {
  ANEMONE_ASSERT_ASSIGN(const std::string path, FetchModel("org/cut", "main", options_));
  EXPECT_EQ(fs::file_size(path + "/model.safetensors"), 1000003U);
  EXPECT_EQ(Requests("GET cdn", "bytes=300000-"), 1U);
  EXPECT_EQ(Requests("GET cdn", "bytes=900000-"), 1U);
  // A server without ranges: from the start again.
  ANEMONE_ASSERT_ASSIGN(const std::string other, FetchModel("org/cutnorange", "main", options_));
  EXPECT_EQ(fs::file_size(other + "/model.safetensors"), 1000003U);
}

TEST_F(Hub, ResumesWhatAnEarlierRunLeft) {
  bool stop = false;
  const ProgressFn progress = [&](std::string_view stage, uint64_t done, uint64_t) {
    stop = stop || (stage == "download model.safetensors" && done > 0);
    return !stop;
  };
  EXPECT_THAT(FetchModel("org/cut", "main", options_, progress), StatusIs(ErrorKind::kInterrupted, "interrupted"));
  EXPECT_FALSE(fs::exists(Repo("cut") / "refs/main"));
  uint64_t left = 0;
  for (const auto& blob : fs::directory_iterator(Repo("cut") / "blobs")) {
    if (blob.path().extension() == ".incomplete") left = blob.file_size();
  }
  ANEMONE_ASSERT_ASSIGN(const std::string path, FetchModel("org/cut", "main", options_));
  EXPECT_EQ(fs::file_size(path + "/model.safetensors"), 1000003U);
  if (left > 0) {
    EXPECT_GE(Requests("GET cdn", "bytes=" + std::to_string(left) + "-"), 1U);
  }
}

TEST_F(Hub, DoubtsWhatAnEarlierRunLeft) {
  // Wrong bytes of a plausible length: the checksum fails, and the file is fetched whole.
  ANEMONE_ASSERT_ASSIGN(const std::string path, FetchModel("org/plain", "main", options_));
  const fs::path blob = fs::canonical(path + "/model.safetensors");
  fs::remove(blob);
  std::ofstream(blob.string() + ".anemone.incomplete") << std::string(500000, 'x');
  ANEMONE_ASSERT_ASSIGN(const std::string again, FetchModel("org/plain", "main", options_));
  EXPECT_EQ(fs::file_size(again + "/model.safetensors"), 1000003U);
  EXPECT_EQ(Requests("GET cdn", "bytes=500000-"), 1U);
  EXPECT_FALSE(fs::exists(blob.string() + ".anemone.incomplete"));
}

TEST_F(Hub, RefusesContentThatIsNotWhatTheEtagSays) {
  EXPECT_THAT(FetchModel("org/corrupt", "main", options_),
              StatusIs(ErrorKind::kCorrupt, "org/corrupt: model.safetensors: expected content of the checksum"));
  EXPECT_FALSE(fs::exists(Repo("corrupt") / "refs/main"));
  for (const auto& blob : fs::directory_iterator(Repo("corrupt") / "blobs"))
    EXPECT_LT(blob.file_size(), 1000U) << blob.path();
}

TEST_F(Hub, SaysWhatTheHubRefuses) {
  struct Case {
    const char* repo;
    const char* revision;
    ErrorKind kind;
    const char* words;
  };
  const Case cases[] = {
      {"org/gated", "main", ErrorKind::kUnavailable,
       "org/gated: config.json: expected access, the repository is gated (HTTP 401: Access to model org/gated is "
       "restricted)"},
      {"org/gated", "main", ErrorKind::kUnavailable, "accept its conditions on its page, then set HF_TOKEN"},
      {"org/private", "main", ErrorKind::kNotFound, "if it is private, set HF_TOKEN"},
      {"org/nowhere", "main", ErrorKind::kNotFound,
       "org/nowhere: expected a model repository, the hub shows none of that name"},
      {"org/plain", "v9", ErrorKind::kNotFound, "org/plain@v9: expected the revision, the hub has none of that name"},
      {"org/disabled", "main", ErrorKind::kUnavailable, "the repository is disabled"},
      {"org/limited", "main", ErrorKind::kUnavailable, "try again in 222 s"},
      {"org/down", "main", ErrorKind::kUnavailable, "the hub is in trouble (HTTP 500: Internal Error)"},
      {"org/empty", "main", ErrorKind::kNotFound, "expected weights (model.safetensors"},
      {"org/../plain", "main", ErrorKind::kInvalidArgument, "expected org/name[@revision]"},
  };
  for (const Case& c : cases)
    EXPECT_THAT(FetchModel(c.repo, c.revision, options_), StatusIs(c.kind, c.words)) << c.repo;
  options_.token = "hf_wrong";
  EXPECT_THAT(FetchModel("org/plain", "main", options_),
              StatusIs(ErrorKind::kUnavailable, "the hub refuses the token"));
}

TEST_F(Hub, WaitsForABusyHub) {
  EXPECT_THAT(FetchModel("org/busy", "main", options_), IsOk());
  EXPECT_EQ(Requests("GET hub /api/models/org/busy"), 3U);
}

TEST_F(Hub, ServesFromTheCacheWhenTheHubIsAway) {
  EXPECT_THAT(FetchModel("org/plain", "main", options_), IsOk());
  Stop();
  EXPECT_THAT(FetchModel("org/plain", "main", options_), IsOk());
  EXPECT_THAT(FetchModel("org/sharded", "main", options_),
              StatusIs(ErrorKind::kUnavailable, "the hub cannot be reached"));
  options_.offline = true;
  EXPECT_THAT(FetchModel("org/sharded", "main", options_),
              StatusIs(ErrorKind::kNotFound, "expected the model in the cache while offline, found none"));
  EXPECT_THAT(FetchModel("org/plain", "v1", options_), StatusIs(ErrorKind::kNotFound, "while offline"));
}

TEST_F(Hub, DoesWithoutSymlinks) {
  options_.symlinks = false;
  ANEMONE_ASSERT_ASSIGN(const std::string path, FetchModel("org/plain", "main", options_));
  EXPECT_FALSE(fs::is_symlink(path + "/model.safetensors"));
  EXPECT_EQ(fs::file_size(path + "/model.safetensors"), 1000003U);
}

TEST_F(Hub, TakesABranchThatMovedOn) {
  ANEMONE_ASSERT_ASSIGN(const std::string first, FetchModel("org/moving", "main", options_));
  const size_t weights = Requests("GET cdn ");
  ANEMONE_ASSERT_ASSIGN(const std::string second, FetchModel("org/moving", "main", options_));
  EXPECT_NE(first, second);
  EXPECT_EQ(Requests("GET cdn "), weights);  // same content: the blobs serve both snapshots
  EXPECT_EQ(ReadText(Repo("moving") / "refs/main"), std::string(40, 'f'));
}

// The disk fills up, at first foreseeably, then in the middle: what is there stays, and serves the next run.
TEST_F(Hub, SaysThatTheDiskIsFull) {
  const Sys real = sys;
  sys.free_bytes = [](const char*, uint64_t* out) {
    *out = 1000;
    return 0;
  };
  EXPECT_THAT(FetchModel("org/plain", "main", options_),
              StatusIs(ErrorKind::kIo, "disk full: expected room for 10000"));
  sys.free_bytes = real.free_bytes;
  sys.pwrite = [](int fd, const void* bytes, size_t size, off_t offset) -> ssize_t {
    if (offset < 100000) return pwrite(fd, bytes, size, offset);
    errno = ENOSPC;
    return -1;
  };
  EXPECT_THAT(FetchModel("org/plain", "main", options_), StatusIs(ErrorKind::kIo, "cannot write"));
  EXPECT_FALSE(fs::exists(Repo("plain") / "refs/main"));
  sys = real;
  EXPECT_THAT(FetchModel("org/plain", "main", options_), IsOk());
  EXPECT_GE(Requests("GET cdn", "bytes="), 1U);
}

TEST_F(Hub, GivesUpOnAServerThatDrips) {
  options_.stall_timeout_s = 1;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(FetchModel("org/drip", "main", options_), StatusIs(ErrorKind::kUnavailable, "model.safetensors"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
  EXPECT_LE(Requests("GET cdn "), 5U);
}

// The next run removes a killed one's temporary names; those of a living process stay.
TEST_F(Hub, RemovesWhatDeadRunsLeft) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  ASSERT_THAT(FetchModel("org/plain", "main", options_), IsOk());
  const std::string commit = ReadText(Repo("plain") / "refs/main");
  const fs::path snapshot = Repo("plain") / "snapshots" / commit, absent = Repo("plain") / ".no_exist" / commit;
  fs::remove(snapshot / "config.json");
  fs::remove(absent / "tokenizer.json");
  const std::string dead = "." + std::to_string(child) + ".tmp", alive = "." + std::to_string(getppid()) + ".tmp";
  fs::create_symlink("nowhere", snapshot / ("config.json" + dead));
  fs::create_symlink("nowhere", snapshot / ("config.json" + alive));
  testing::WriteFile((absent / ("tokenizer.json" + dead)).string(), "");
  ASSERT_THAT(FetchModel("org/plain", "main", options_), IsOk());
  EXPECT_FALSE(fs::is_symlink(snapshot / ("config.json" + dead)));
  EXPECT_TRUE(fs::is_symlink(snapshot / ("config.json" + alive)));
  EXPECT_FALSE(fs::exists(absent / ("tokenizer.json" + dead)));
}

TEST_F(Hub, GivesUpOnAServerThatSendsNoContent) {
  options_.stall_timeout_s = 1;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(FetchModel("org/extended", "main", options_), StatusIs(ErrorKind::kUnavailable, "model.safetensors"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
  EXPECT_LE(Requests("GET cdn "), 6U);
}

TEST_F(Hub, SaysWhatAServerSendsWithoutTryingAgain) {
  EXPECT_THAT(FetchModel("org/header", "main", options_),
              StatusIs(ErrorKind::kUnavailable, "a header of more than 100 KB"));
  EXPECT_THAT(
      FetchModel("org/astray", "main", options_),
      StatusIs(ErrorKind::kUnavailable, "expected a redirect to an http or https address, found one to 'file:"));
  EXPECT_THAT(FetchModel("org/nohost", "main", options_),
              StatusIs(ErrorKind::kUnavailable,
                       "expected a redirect to an http or https address, found one to 'http://[::1/x'"));
  EXPECT_THAT(
      FetchModel("org/coded", "main", options_),
      StatusIs(ErrorKind::kUnavailable, "expected content that is not compressed, found Content-Encoding: gzip"));
  EXPECT_THAT(FetchModel("org/vast", "main", options_),
              StatusIs(ErrorKind::kUnavailable,
                       "org/vast: model.safetensors: expected a size in bytes, found x-linked-size: 999999"));
  EXPECT_EQ(Requests("GET cdn "), 4U);
  EXPECT_THAT(
      FetchModel("org/vaster", "main", options_),
      StatusIs(ErrorKind::kUnavailable, "expected a length in bytes, found Content-Length: 99999999999999999999999"));
  EXPECT_EQ(Requests("GET cdn "), 5U);
}

TEST_F(Hub, ReadsInPlaceWhatTheCacheLacks) {
  options_.token = "hf_test";
  ANEMONE_ASSERT_ASSIGN(const Location model, FindModel({"org/plain", "main"}, "", "org/plain", options_));
  EXPECT_TRUE(*model.IsFolder());
  ANEMONE_ASSERT_ASSIGN(const std::vector<std::string> names, model.List());
  EXPECT_THAT(names, ::testing::ElementsAre("config.json", "merges.txt", "model.safetensors",
                                            "preprocessor_config.json", "vocab.json"));
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr weights, (model / "model.safetensors").Open());
  EXPECT_EQ(weights->size_bytes(), 1000003U);
  EXPECT_EQ(weights->name(), "org/plain/model.safetensors");
  EXPECT_FALSE(weights->remote_version().empty());
  const ByteRange end{weights, 900000, 100003};
  ANEMONE_ASSERT_ASSIGN(const std::string in_place, end.ReadAll(end.size));
  EXPECT_FALSE(fs::exists(options_.cache_dir));
  EXPECT_EQ(Requests(" cdn ", " auth"), 0U);
  EXPECT_GT(Requests(" hub ", " auth"), 0U);
  EXPECT_EQ(Requests("GET hub", "model.safetensors"), 1U);  // later ranges go where it led
  // Of the repository, and what is not there.
  ANEMONE_ASSERT_ASSIGN(const Location inside,
                        FindModel({"org/plain", "main"}, "onnx/model.onnx", "org/plain", options_));
  EXPECT_TRUE(*inside.IsFile());
  EXPECT_FALSE(*(model / "absent").Exists());
  EXPECT_THAT((model / "absent").Open(), StatusIs(ErrorKind::kNotFound, "org/plain/absent"));
  EXPECT_THAT(FindModel({"org/plain", "main"}, "../x", "org/plain", options_),
              StatusIs(ErrorKind::kInvalidArgument, "a path in the repository"));
  // The cache serves once it has all, then without a hub.
  ANEMONE_ASSERT_ASSIGN(const std::string path, FetchModel("org/plain", "main", options_));
  ANEMONE_ASSERT_ASSIGN(const Location cached, FindModel({"org/plain", "main"}, "", "org/plain", options_));
  EXPECT_EQ(cached.string(), path);
  EXPECT_EQ(cached.files(), nullptr);
  EXPECT_EQ(in_place, ReadText(path + "/model.safetensors").substr(900000));
  // All of the repository, also what a conversion does not need and the cache therefore lacks.
  ANEMONE_ASSERT_ASSIGN(const Location all, FindModel({"org/plain", "main"}, "", "org/plain", options_, {}, true));
  ANEMONE_ASSERT_ASSIGN(const std::vector<std::string> files, all.FilesBelow());
  EXPECT_THAT(files, ::testing::IsSupersetOf({"README.md", "onnx/model.onnx", "pytorch_model.bin", "tf_model.h5"}));
  options_.offline = true;
  EXPECT_THAT(FindModel({"org/plain", "main"}, "", "org/plain", options_), IsOk());
  EXPECT_THAT(FindModel({"org/sharded", "main"}, "", "org/sharded", options_),
              StatusIs(ErrorKind::kNotFound, "while offline"));
}

TEST_F(Hub, GivesUpReadingFromAServerThatDrips) {
  options_.stall_timeout_s = 1;
  ANEMONE_ASSERT_ASSIGN(const Location model, FindModel({"org/drip", "main"}, "", "org/drip", options_));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT((model / "model.safetensors").Open(), StatusIs(ErrorKind::kUnavailable, "org/drip/model.safetensors"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST_F(Hub, AsksNoTwiceWhatCannotPass) {
  EXPECT_THAT(FetchModel("org/loop", "main", options_), StatusIs(ErrorKind::kUnavailable, "at most 10 redirects"));
  EXPECT_EQ(Requests("GET cdn "), 10U);  // the first request asks the hub
  EXPECT_THAT(FetchModel("org/garbage", "main", options_), StatusIs(ErrorKind::kUnavailable, "an answer in HTTP"));
  EXPECT_EQ(Requests("org/garbage"), 1U);
}

TEST_F(Hub, WritesThroughNoPlantedLink) {
  ANEMONE_ASSERT_ASSIGN(const std::string path, FetchModel("org/plain", "main", options_));
  const fs::path blob = fs::canonical(fs::path(path) / "model.safetensors");
  const std::string content = ReadText(blob);
  for (const bool symbolic : {true, false}) {
    fs::remove_all(options_.cache_dir);
    fs::create_directories(blob.parent_path());
    std::ofstream(dir_ / "victim") << "victim";
    const fs::path planted = blob.string() + ".anemone.incomplete";
    if (symbolic) fs::create_symlink(dir_ / "victim", planted);
    if (!symbolic) fs::create_hard_link(dir_ / "victim", planted);
    EXPECT_THAT(FetchModel("org/plain", "main", options_), IsOk());
    EXPECT_EQ(ReadText(dir_ / "victim"), "victim");
    EXPECT_TRUE(ReadText(blob) == content);
    fs::remove(dir_ / "victim");
  }
}

TEST_F(Hub, WritesIntoNoFolderThatAnotherUserLinksTo) {
  if (geteuid() != 0) GTEST_SKIP() << "root makes links of another user";
  ANEMONE_ASSERT_ASSIGN(const fs::path snapshot, FetchModel("org/plain", "main", options_));
  fs::create_directory(dir_ / "home");
  const fs::path repo = Repo("plain");
  for (const fs::path& folder : {repo, repo / "blobs", repo / "refs", repo / "snapshots", snapshot}) {
    fs::remove_all(options_.cache_dir);
    fs::create_directories(folder.parent_path());
    fs::create_directory_symlink(dir_ / "home", folder);
    ASSERT_EQ(lchown(folder.c_str(), 1234, 1234), 0);
    EXPECT_THAT(FetchModel("org/plain", "main", options_),
                StatusIs(ErrorKind::kCannotCreate, "a link that another user has made"));
    EXPECT_TRUE(fs::is_empty(dir_ / "home")) << folder;
    ASSERT_EQ(lchown(folder.c_str(), geteuid(), getegid()), 0);  // one's own leads where one wants it
    EXPECT_THAT(FetchModel("org/plain", "main", options_), IsOk());
    fs::remove_all(dir_ / "home");
    fs::create_directory(dir_ / "home");
  }
}

TEST_F(Hub, WaitsForNoPipeInTheCache) {
  fs::create_directories(Repo("plain") / "refs");
  ASSERT_EQ(mkfifo((Repo("plain") / "refs/main").c_str(), 0600), 0);
  options_.offline = true;
  EXPECT_THAT(FetchModel("org/plain", "main", options_), StatusIs(ErrorKind::kNotFound, "while offline, found none"));
}

TEST(RetryAfterHeader, IsATimeOrNothing) {
  const auto asked = [](const char* value) {
    HttpResponse response;
    response.headers = {{"retry-after", value}};
    return RetryAfter(response);
  };
  EXPECT_EQ(asked("7"), 7);
  EXPECT_EQ(asked("1e308"), 366 * 24 * 3600);  // what is printed of it is a number of seconds
  EXPECT_EQ(asked("Fri, 31 Dec 9999 23:59:59 GMT"), 366 * 24 * 3600);
  EXPECT_EQ(asked("Thu, 01 Jan 1970 00:00:01 GMT"), 0);
  for (const char* no : {"nan", "inf", "-inf", "-5", "NAN(1)", "1e999", "soon", ""})
    EXPECT_EQ(asked(no), std::nullopt) << no;
}

class TlsHub : public Hub {
 protected:
  void SetUp() override {
    if (std::system("openssl version > /dev/null 2>&1") != 0)
      GTEST_SKIP() << "no openssl program to make a certificate";
    tls_ = true;
    Hub::SetUp();
  }
};

TEST_F(TlsHub, IsTrustedWhereItsAuthorityIs) {
  ASSERT_THAT(options_.endpoint, ::testing::StartsWith("https://"));
  EXPECT_THAT(FetchModel("org/plain", "main", options_), StatusIs(ErrorKind::kUnavailable, "SSL_CERT_FILE"));
  EXPECT_EQ(Requests("hub"), 0U);  // nothing was said to a stranger
  const std::string cert = (dir_ / "cert.pem").string();
  for (const char* name : {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"}) unsetenv(name);
  for (const char* name : {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
    setenv(name, cert.c_str(), 1);
    options_.ca_file = HubOptions::FromEnvironment().ca_file;
    unsetenv(name);
    EXPECT_EQ(options_.ca_file, cert) << name;
  }
  options_.token = "hf_test";
  ANEMONE_ASSERT_ASSIGN(const std::string path, FetchModel("org/plain", "main", options_));
  EXPECT_EQ(fs::file_size(fs::path(path) / "model.safetensors"), 1000003U);  // by a redirect to another host's TLS
  options_.ca_file = (dir_ / "nope.pem").string();
  options_.cache_dir = (dir_ / "other").string();
  EXPECT_THAT(FetchModel("org/plain", "main", options_), StatusIs(ErrorKind::kUnavailable, "SSL_CERT_FILE"));
}

TEST_F(TlsHub, AsksNoTwiceWhereARedirectLeavesHttps) {
  options_.ca_file = (dir_ / "cert.pem").string();
  EXPECT_THAT(FetchModel("org/nohost", "main", options_),
              StatusIs(ErrorKind::kUnavailable, "expected a redirect that stays on https"));
  EXPECT_EQ(Requests("GET cdn "), 1U);
}

TEST_F(TlsHub, ResumesAfterCutConnections) {
  options_.ca_file = (dir_ / "cert.pem").string();
  ANEMONE_ASSERT_ASSIGN(const std::string path, FetchModel("org/cut", "main", options_));
  EXPECT_EQ(fs::file_size(fs::path(path) / "model.safetensors"), 1000003U);
  EXPECT_GE(Requests("GET cdn", "bytes="), 3U);
}

// An exception of a sink does not go through libcurl, whose handle would be of no use afterwards.
TEST_F(Hub, HttpClientGoesOnAfterASinkHasThrown) {
  HttpClient client({.attempts = 1});
  const std::string url = options_.endpoint + "/org/plain/resolve/main/config.json";
  const HttpSink throws = {{}, [](std::string_view) -> Status { throw std::bad_alloc(); }};
  EXPECT_THROW(static_cast<void>(client.Send({.url = url}, &throws)), std::bad_alloc);
  EXPECT_THAT(client.Send({.url = url}), IsOk());
}

TEST_F(Hub, HttpClientFollowsItsRules) {
  HttpClient client({.attempts = 1});
  ANEMONE_ASSERT_ASSIGN(HttpResponse head,
                        client.Send({.url = options_.endpoint + "/org/plain/resolve/main/model.safetensors",
                                     .method = HttpRequest::Method::kHead,
                                     .redirects = HttpRequest::Redirects::kRelative}));
  EXPECT_EQ(head.status, 302);
  EXPECT_THAT(std::string(head.Header("location")), HasSubstr(cdn_));
  ANEMONE_ASSERT_ASSIGN(HttpResponse body, client.Send({.url = cdn_ + "/openclip/open_clip_config.json"}));
  EXPECT_EQ(body.body, "{}");
  EXPECT_THAT(client.Send({.url = "file:///etc/hostname"}),
              StatusIs(ErrorKind::kInvalidArgument, "expected an http or https URL"));
  EXPECT_THAT(client.Send({.url = "http://127.0.0.1:1/"}), StatusIs(ErrorKind::kUnavailable, "http://127.0.0.1:1"));
}

TEST(HubNames, TellRepositoriesFromPaths) {
  for (const char* yes : {"openai/clip-vit-large-patch14", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "org/name@v1.0",
                          "org/name@refs/pr/1", "a/b.c"}) {
    EXPECT_TRUE(LooksLikeRepoId(yes)) << yes;
  }
  for (const char* no : {"x.nemo", "models/x.nemo", "./org/name", "/org/name", "org/name/more", "org/", "org/..",
                         "org/a--b", "src/config", "org/x.safetensors", "~/x", ""}) {
    EXPECT_FALSE(LooksLikeRepoId(no)) << no;
  }
  // A folder here that cannot be looked at: another model of its name would be taken for it.
  const auto real_stat = std::exchange(sys.stat, [](const char*, struct stat*) {
    errno = EIO;
    return -1;
  });
  EXPECT_FALSE(LooksLikeRepoId("org/name"));
  sys.stat = real_stat;
  EXPECT_EQ(SplitRepoId("org/name").revision, "main");
  EXPECT_EQ(SplitRepoId("org/name@refs/pr/1").revision, "refs/pr/1");
  EXPECT_EQ(SplitRepoId("org/name@refs/pr/1").name, "org/name");
}

TEST(HubNames, ChooseSafetensorsFirstAndNeverBoth) {
  const auto weights = [](std::vector<std::string> names) { return internal::ChooseFiles(names).weights; };
  EXPECT_EQ(weights({"pytorch_model.bin", "model.safetensors", "open_clip_model.safetensors"}), "model.safetensors");
  EXPECT_EQ(weights({"pytorch_model.bin", "open_clip_model.safetensors"}), "open_clip_model.safetensors");
  EXPECT_EQ(weights({"pytorch_model.bin.index.json", "open_clip_pytorch_model.bin"}), "pytorch_model.bin.index.json");
  EXPECT_EQ(weights({"a.nemo", "b.nemo"}), "");
  EXPECT_EQ(weights({"sub/model.safetensors"}), "");
  for (const char* bad : {"../x", "/x", "a/../b", "a//b", "", ".", "a\\b"}) EXPECT_NE(UnsafePath(bad), "") << bad;
}

TEST(HubOptions, ComeFromTheEnvironment) {
  const std::pair<const char*, const char*> variables[] = {
      {"HF_ENDPOINT", "http://mirror/"}, {"HF_HOME", "/h"}, {"HF_TOKEN", " tok\n"}, {"HF_HUB_OFFLINE", "yes"}};
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HUGGING_FACE_HUB_TOKEN", "TRANSFORMERS_OFFLINE",
                           "HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_TOKEN_PATH", "HF_HUB_DISABLE_SYMLINKS"})
    unsetenv(name);
  for (const auto& [name, value] : variables) setenv(name, value, 1);
  HubOptions options = HubOptions::FromEnvironment();
  EXPECT_EQ(options.endpoint, "http://mirror");
  EXPECT_EQ(options.cache_dir, "/h/hub");
  EXPECT_EQ(options.token, "tok");
  EXPECT_TRUE(options.offline);
  setenv("HUGGINGFACE_HUB_CACHE", "/legacy", 1);
  EXPECT_EQ(HubOptions::FromEnvironment().cache_dir, "/legacy");
  setenv("HF_HUB_CACHE", "~/c", 1);
  EXPECT_EQ(HubOptions::FromEnvironment().cache_dir, std::string(getenv("HOME")) + "/c");
  setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1", 1);
  EXPECT_EQ(HubOptions::FromEnvironment().token, "");
  const testing::TempDir dir;
  const std::string token = dir / "token";
  std::ofstream(token) << "from_file\n";
  setenv("HF_TOKEN_PATH", token.c_str(), 1);
  unsetenv("HF_HUB_DISABLE_IMPLICIT_TOKEN");
  EXPECT_EQ(HubOptions::FromEnvironment().token, "tok");
  unsetenv("HF_TOKEN");
  EXPECT_EQ(HubOptions::FromEnvironment().token, "from_file");
  setenv("HUGGING_FACE_HUB_TOKEN", "legacy", 1);
  EXPECT_EQ(HubOptions::FromEnvironment().token, "legacy");
  unsetenv("HF_HUB_OFFLINE");
  EXPECT_FALSE(HubOptions::FromEnvironment().offline);
  for (const char* truth : {"1", "on", "YES", "True"}) {
    setenv("TRANSFORMERS_OFFLINE", truth, 1);
    EXPECT_TRUE(HubOptions::FromEnvironment().offline) << truth;
  }
  setenv("TRANSFORMERS_OFFLINE", "0", 1);
  EXPECT_FALSE(HubOptions::FromEnvironment().offline);
  setenv("HF_HUB_DISABLE_SYMLINKS", "1", 1);
  setenv("HF_HUB_ETAG_TIMEOUT", "3", 1);
  setenv("HF_HUB_DOWNLOAD_TIMEOUT", "77", 1);
  setenv("HF_HUB_USER_AGENT_ORIGIN", "lab", 1);
  options = HubOptions::FromEnvironment();
  EXPECT_FALSE(options.symlinks);
  EXPECT_EQ(options.timeout_s, 3);
  EXPECT_EQ(options.stall_timeout_s, 77);
  EXPECT_EQ(options.user_agent, "anemone; origin/lab");
  for (const char* name : {"HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) unsetenv(name);
  setenv("XDG_CACHE_HOME", "/xdg", 1);
  EXPECT_EQ(HubOptions::FromEnvironment().cache_dir, "/xdg/huggingface/hub");
  unsetenv("XDG_CACHE_HOME");
  EXPECT_EQ(HubOptions::FromEnvironment().cache_dir, std::string(getenv("HOME")) + "/.cache/huggingface/hub");
  // Where `hf auth login` puts a token.
  unsetenv("HUGGING_FACE_HUB_TOKEN");
  unsetenv("HF_TOKEN_PATH");
  const std::string home = dir / "home";
  fs::create_directory(home);
  setenv("HF_HOME", home.c_str(), 1);
  EXPECT_EQ(HubOptions::FromEnvironment().token, "");
  std::ofstream(home + "/token") << "logged_in\n";
  EXPECT_EQ(HubOptions::FromEnvironment().token, "logged_in");
  unsetenv("HF_HOME");
  for (const char* name :
       {"HF_ENDPOINT", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_SYMLINKS",
        "HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_USER_AGENT_ORIGIN"})
    unsetenv(name);
}

}  // namespace
}  // namespace anemone
