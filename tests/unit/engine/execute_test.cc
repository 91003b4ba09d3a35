#include "engine/execute.h"

#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "base/crc32.h"
#include "engine/work_folder.h"
#include "testing/faulty_sys.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using ::anemone::testing::Fault;
using ::anemone::testing::FaultySys;
using ::anemone::testing::IsOk;
using ::anemone::testing::ReadFile;
using ::anemone::testing::StatusIs;
using ::anemone::testing::TempDir;
using ::anemone::testing::Tree;
using ::anemone::testing::WriteFile;

std::string Noise(size_t size, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

Plan OneFile(PlanFile file) {
  Plan plan;
  plan.files.push_back(std::move(file));
  return plan;
}

PlanFile Named(std::string path, std::string content) {
  PlanFile file;
  file.path = std::move(path);
  file.Append(std::move(content));
  return file;
}

std::string LittleEndian(uint32_t value) {
  std::string bytes(4, '\0');
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<char>(value >> (8 * i));
  return bytes;
}

// A file of many kinds of segments, and the bytes it should have.
struct Sample {
  PlanFile file;
  std::string bytes;
};

Sample Mixed(const ByteSourcePtr& source, const std::string& content) {
  Sample sample;
  const auto literal = [&](const std::string& text) {
    sample.file.Append(text);
    sample.bytes += text;
  };
  const auto zeros = [&](size_t count) {
    sample.file.AppendZeros(count);
    sample.bytes += std::string(count, '\0');
  };
  literal("header");
  const size_t crc_at = sample.bytes.size();
  literal(std::string(4, '\0'));
  zeros(57);
  const size_t begin = sample.bytes.size();
  sample.file.Append(*Tensor::FromFile(DType::kF32, {1000, 777}, source, 12));
  sample.bytes += content.substr(12, 4 * 777000);
  literal("between");
  sample.file.Append(ByteRange{source, 100, 300001});
  sample.bytes += content.substr(100, 300001);
  const size_t end = sample.bytes.size();
  zeros(100000);
  sample.file.Append(ByteRange{source, 5000, 2500000});  // outside the CRC: the kernel's
  sample.bytes += content.substr(5000, 2500000);
  literal("end");
  zeros(9);
  sample.file.crcs.push_back({begin, end - begin, {crc_at}});
  const uint32_t crc = Crc32(0, std::as_bytes(std::span(sample.bytes).subspan(begin, end - begin)));
  sample.bytes.replace(crc_at, 4, LittleEndian(crc));
  return sample;
}

TEST(Execute, WritesEveryKindOfSegmentWithAnyWindowAndThreads) {
  const TempDir dir;
  const std::string content = Noise(4000000);
  WriteFile(dir / "source", content);
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir / "source"));
  const Sample sample = Mixed(source, content);
  for (const unsigned threads : {1u, 3u}) {
    for (const uint64_t window : {4096u, 10007u, 1u << 20, 64u << 20}) {
      ExecuteOptions options;
      options.threads = threads;
      options.window_bytes = window;
      options.replace = true;
      ASSERT_THAT(Execute(OneFile(sample.file), dir / "out", options), IsOk());
      ASSERT_TRUE(ReadFile(dir / "out") == sample.bytes) << threads << " threads, windows of " << window;
    }
  }
  EXPECT_EQ(Tree(dir.path()).size(), 2u);
}

TEST(Execute, WritesADirectory) {
  const TempDir dir;
  Plan plan;
  plan.is_directory = true;
  plan.files = {Named("a/b/weights", "w"), Named("config.json", "{}"), Named("a/empty", "")};
  plan.empty_directories = {"a/nothing"};
  ASSERT_THAT(Execute(plan, dir / "out/", {}), IsOk());
  const std::map<std::string, std::string> expected = {{"a/", ""},      {"a/b/", ""},       {"a/b/weights", "w"},
                                                       {"a/empty", ""}, {"a/nothing/", ""}, {"config.json", "{}"}};
  EXPECT_EQ(Tree(dir / "out"), expected);

  EXPECT_THAT(Execute(plan, dir / "out", {}), StatusIs(ErrorKind::kAlreadyExists, "force=true"));
  Plan other;
  other.is_directory = true;
  other.files = {Named("new", "n")};
  ExecuteOptions replace;
  replace.replace = true;
  EXPECT_THAT(Execute(other, dir / "out", replace), StatusIs(ErrorKind::kAlreadyExists, "not empty"));
  replace.may_replace = [](const std::string&) { return Status(); };
  ASSERT_THAT(Execute(other, dir / "out", replace), IsOk());
  EXPECT_EQ(Tree(dir.path()), (std::map<std::string, std::string>{{"out/", ""}, {"out/new", "n"}}));
}

TEST(Execute, TakesAnEmptyFolderForNone) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "out");
  Plan plan;
  plan.is_directory = true;
  plan.files = {Named("new", "n")};
  ASSERT_THAT(Execute(plan, dir / "out", {}), IsOk());
  EXPECT_EQ(Tree(dir.path()), (std::map<std::string, std::string>{{"out/", ""}, {"out/new", "n"}}));
}

TEST(Execute, SparesWhatCameIntoAFolderMeanwhile) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "out");
  WriteFile(dir / "out/old", "o");
  Plan plan;
  plan.is_directory = true;
  plan.files = {Named("new", "n")};
  ExecuteOptions options;
  options.replace = true;
  int asked = 0;
  options.may_replace = [&](const std::string& path) {
    if (++asked == 1) WriteFile(dir / "out/mine", "m");
    return std::filesystem::exists(path + "/mine") && asked > 1 ? Corrupt("mine would go") : Status();
  };
  EXPECT_THAT(Execute(plan, dir / "out", options), StatusIs(ErrorKind::kCorrupt, "mine would go"));
  EXPECT_EQ(Tree(dir.path()), (std::map<std::string, std::string>{{"out/", ""}, {"out/mine", "m"}, {"out/old", "o"}}));
  EXPECT_EQ(asked, 2);
}

// As file systems do that keep what is open: not a file of the old folder goes before it is closed, nor at once then.
TEST(Execute, RemovesTheOldFolderOnceItsFilesAreClosed) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "out");
  WriteFile(dir / "out/old", "weights");
  static int refusals;
  static Sys real;
  real = sys;
  refusals = 1000;
  sys.remove_all = [](const char* path) {
    if (--refusals < 0 || std::filesystem::is_empty(path)) return real.remove_all(path);
    errno = ENOTEMPTY;
    return -1;
  };
  for (const bool renames_take_flags : {true, false}) {
    if (!renames_take_flags) {
      sys.rename = [](const char* from, const char* to, unsigned flags) {
        errno = EINVAL;
        return flags != 0 ? -1 : real.rename(from, to, flags);
      };
    }
    {
      ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir / "out/old"));
      Plan plan = OneFile({});
      plan.is_directory = true;
      plan.files[0].path = "old";
      plan.files[0].Append(Whole(source));
      ExecuteOptions options;
      options.replace = true;
      options.may_replace = [](const std::string&) { return Status(); };
      ASSERT_THAT(Execute(plan, dir / "out", options), IsOk());
      EXPECT_EQ(FindLeftovers(dir.path())->size(), 0) << "nobody else is to remove it";
      EXPECT_EQ(Tree(dir / "out"), (std::map<std::string, std::string>{{"old", "weights"}}));
      EXPECT_GT(Tree(dir.path()).size(), 2);
      refusals = 2;
    }
    EXPECT_EQ(Tree(dir.path()).size(), 2) << "out/ and out/old";
    refusals = 1000;
  }
  sys = real;
}

TEST(Execute, BringsBackWhatADeadRunHadMovedAway) {
  const TempDir dir;
  std::filesystem::create_directory(dir / ".out.anemone-old");
  WriteFile(dir / ".out.anemone-old/only", "copy");
  Plan plan;
  plan.is_directory = true;
  plan.files = {Named("new", "n")};
  EXPECT_THAT(Execute(plan, dir / "out", {}), StatusIs(ErrorKind::kAlreadyExists, "out"));
  EXPECT_EQ(Tree(dir.path()), (std::map<std::string, std::string>{{"out/", ""}, {"out/only", "copy"}}));
}

TEST(Execute, RefusesAPlaceItCannotWriteTo) {
  const TempDir dir;
  const Plan plan = OneFile(Named("", "x"));
  EXPECT_THAT(Execute(plan, dir / "missing/out", {}), StatusIs(ErrorKind::kCannotCreate, "missing/out"));
  WriteFile(dir / "file", "f");
  EXPECT_THAT(Execute(plan, dir / "file/out", {}), StatusIs(ErrorKind::kCannotCreate, "file/out"));
  EXPECT_THAT(Execute(plan, dir / "file", {}), StatusIs(ErrorKind::kAlreadyExists, "file"));
  ExecuteOptions replace;
  replace.replace = true;
  EXPECT_THAT(Execute(plan, dir.path(), replace), StatusIs(ErrorKind::kAlreadyExists, "expected a file"));
  EXPECT_THAT(Execute(plan, "/dev/null", replace), StatusIs(ErrorKind::kAlreadyExists, "expected a file"));
  EXPECT_EQ(Tree(dir.path()), (std::map<std::string, std::string>{{"file", "f"}}));
}

TEST(Execute, ReplacesWhatALinkPointsAt) {
  const TempDir dir;
  WriteFile(dir / "real", "old");
  std::filesystem::create_symlink("real", dir / "link");
  ExecuteOptions replace;
  replace.replace = true;
  ASSERT_THAT(Execute(OneFile(Named("", "new")), dir / "link", replace), IsOk());
  EXPECT_EQ(ReadFile(dir / "real"), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "link"));
}

TEST(Execute, CreatesWithTheModeTheUserWants) {
  const TempDir dir;
  const mode_t old = umask(027);
  const Status status = Execute(OneFile(Named("", "x")), dir / "out", {});
  umask(old);
  ASSERT_THAT(status, IsOk());
  struct stat info;
  ASSERT_EQ(stat((dir / "out").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST(Execute, CancellingLeavesNothing) {
  const TempDir dir;
  for (int stop_at = 1; stop_at <= 2; ++stop_at) {
    int calls = 0;
    ExecuteOptions options;
    options.progress = [&](std::string_view stage, uint64_t done, uint64_t total) {
      EXPECT_EQ(stage, "writing");
      EXPECT_LE(done, total);
      return ++calls < stop_at;
    };
    EXPECT_THAT(Execute(OneFile(Named("", Noise(10000))), dir / "out", options),
                StatusIs(ErrorKind::kInterrupted, "interrupted"));
    EXPECT_TRUE(Tree(dir.path()).empty());
  }
}

TEST(Execute, SaysWhichSourceIsTruncated) {
  const TempDir dir;
  WriteFile(dir / "source", Noise(100000));
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir / "source"));
  PlanFile file;
  file.Append(*Tensor::FromFile(DType::kF32, {25000}, source, 0)->Cast(DType::kF16));
  std::filesystem::resize_file(dir / "source", 70000);
  const Status status = Execute(OneFile(file), dir / "out", {});
  EXPECT_THAT(status, StatusIs(ErrorKind::kCorrupt, "source: truncated: expected 100000 bytes, file has 70000"));
  EXPECT_EQ(Tree(dir.path()).size(), 1u);
}

TEST(Execute, UsesTheCoresItIsBoundTo) {
  PlanFile file;
  file.Append(*Tensor::Fill(DType::kU8, {1 << 30}, 1));
  const Plan plan = OneFile(std::move(file));
  ExecuteOptions one;
  one.threads = 1;
  cpu_set_t before, first;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(BufferBytes(plan, {}), 2 * CPU_COUNT(&before) * BufferBytes(plan, one));
  CPU_ZERO(&first);
  for (int cpu = 0; CPU_COUNT(&first) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &first);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof first, &first), 0);
  const uint64_t bound = BufferBytes(plan, {});
  sched_setaffinity(0, sizeof before, &before);
  EXPECT_EQ(bound, 2 * BufferBytes(plan, one));
}

TEST(Execute, RefusesWhatTheDiskCannotHold) {
  const TempDir dir;
  PlanFile file;
  file.Append(*Tensor::Fill(DType::kF64, {uint64_t{1} << 50}, 1));
  EXPECT_THAT(Execute(OneFile(file), dir / "out", {}),
              StatusIs(ErrorKind::kIo, "the output has 9007199254740992 bytes"));
  EXPECT_TRUE(Tree(dir.path()).empty());
}

TEST(Execute, ReadThroughFindsATruncatedSource) {
  const TempDir dir;
  WriteFile(dir / "source", Noise(100000));
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir / "source"));
  PlanFile file;
  file.Append(Whole(source));
  EXPECT_THAT(ReadThrough(OneFile(file), {}), IsOk());
  std::filesystem::resize_file(dir / "source", 99999);
  EXPECT_THAT(ReadThrough(OneFile(file), {}), StatusIs(ErrorKind::kCorrupt, "file has 99999"));
}

// kill -9 at moments spread over a run: the destination is absent, or the old one, or complete.
// By one thread, before each of its system calls.
TEST(Execute, KilledAtAnyMomentLeavesNothingThatLooksFinished) {
  const std::string old = "old";
  for (const bool replace : {false, true}) {
    int complete = 0, untouched = 0, how = SIGKILL;
    for (int n = 0; WIFSIGNALED(how); ++n) {
      const TempDir dir;
      if (replace) WriteFile(dir / "out", old);
      PlanFile file;
      file.Append(std::string(4, '\0'));
      file.Append(*Tensor::Fill(DType::kF32, {2000, 2000}, 1)->Pad(0, 1, 1)->Cast(DType::kF16));
      file.crcs.push_back({4, file.size - 4, {0}});
      const pid_t child = fork();
      if (child == 0) {
        const FaultySys sys(Fault::kKill, n);
        ExecuteOptions options;
        options.replace = replace;
        options.threads = 1;
        _exit(Execute(OneFile(file), dir / "out", options).ok() ? 0 : 1);
      }
      waitpid(child, &how, 0);
      EXPECT_TRUE(WIFSIGNALED(how) || WEXITSTATUS(how) == 0);
      if (replace ? ReadFile(dir / "out") == old : !std::filesystem::exists(dir / "out")) {
        ++untouched;
        continue;
      }
      ++complete;
      const std::string bytes = ReadFile(dir / "out");
      ASSERT_EQ(bytes.size(), file.size);
      EXPECT_EQ(bytes.substr(0, 4), LittleEndian(Crc32(0, std::as_bytes(std::span(bytes).subspan(4)))));
    }
    EXPECT_GT(complete, 0);
    EXPECT_GT(untouched, 5);
  }
}

}  // namespace
}  // namespace anemone
