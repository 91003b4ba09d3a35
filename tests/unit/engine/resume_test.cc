// A run that is killed and goes on.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "several_files.h"
#include "testing/thread_cluster.h"

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::ReadFile;
using ::anemone::testing::RunRanks;
using ::anemone::testing::StatusIs;
using ::anemone::testing::Tree;
using ::anemone::testing::WriteFile;
using ::testing::Each;

// While this lives, the `n`th write of a window (from 0) is the end of the process, and all of them are counted.
class Writes {
 public:
  explicit Writes(int n = INT_MAX) {
    real_ = sys;
    last_ = n;
    count_ = 0;
    sys.pwrite = [](int fd, const void* bytes, size_t size, off_t offset) -> ssize_t {
      if (size >= 1000 && count_++ == last_) kill(getpid(), SIGKILL);  // checksums and the journal's lines are short
      return real_.pwrite(fd, bytes, size, offset);
    };
  }
  ~Writes() { sys = real_; }
  Writes(const Writes&) = delete;
  Writes& operator=(const Writes&) = delete;
  static int count() { return count_; }

 private:
  static inline Sys real_;
  static inline int last_;
  static inline std::atomic<int> count_;
};

class Resume : public SeveralFiles {
 protected:
  // By so many ranks; what all of them say.
  Status Run(int ranks, const Plan& plan) const {
    const auto statuses = RunRanks(ranks, [&](Cluster& cluster) {
      ExecuteOptions options = Options(cluster);
      options.resume = true;
      options.journal_bytes = 3 * kWindow;
      return Execute(plan, out_, options);
    });
    for (const Status& status : statuses) EXPECT_EQ(status.message(), statuses[0].message());
    return statuses[0];
  }

  // In a process of its own, which dies with its `n`th write; whether it came to that.
  bool KilledAt(int n, int ranks, const Plan& plan) const {
    const pid_t child = fork();
    if (child == 0) {
      const Writes writes(n);
      _exit(Run(ranks, plan).ok() ? 0 : 1);
    }
    int how = 0;
    waitpid(child, &how, 0);
    EXPECT_TRUE(WIFSIGNALED(how) || WEXITSTATUS(how) == 0);
    return WIFSIGNALED(how);
  }

  const std::string out_ = dir_ / "place/out";
  const std::string folder_ = dir_ / "place/.out.anemone-resume";
};

TEST_F(Resume, GoesOnAfterKillsAtAnyMomentWithAnyNumberOfRanks) {
  const auto expected = Expected();
  int all = 0;
  {
    const Writes writes;
    ASSERT_THAT(Run(1, MakePlan()), IsOk());
    all = Writes::count();
  }
  ASSERT_GT(all, 40);
  ASSERT_TRUE(Tree(out_) == expected);
  for (const auto& [before, after] : {std::pair{1, 1}, {1, 3}, {3, 1}, {2, 4}}) {
    for (int n = 0;; n += 9) {
      std::filesystem::remove_all(out_);
      if (!KilledAt(n, before, MakePlan())) break;
      ASSERT_FALSE(std::filesystem::exists(out_));
      ASSERT_TRUE(std::filesystem::exists(folder_));
      {
        const Writes writes;
        ASSERT_THAT(Run(after, MakePlan()), IsOk()) << "killed at write " << n << " of " << before << " ranks";
        // Lost are at most each rank's open batch and the write that was its last.
        ASSERT_LE(Writes::count(), all - n + 5 * before) << n;
      }
      ASSERT_TRUE(Tree(out_) == expected) << "killed at write " << n << " of " << before << " ranks, then " << after;
      ASSERT_EQ(std::distance(std::filesystem::directory_iterator(dir_ / "place"), {}), 1) << "the folder is left";
    }
  }
}

// While this lives, folders are only removed when no file in them is open: NFS and sshfs would keep them.
class Removals {
 public:
  Removals() {
    real_ = sys;
    count_ = open_ = 0;
    sys.remove_all = [](const char* path) {
      ++count_;
      const std::string folder = std::filesystem::path(path).lexically_normal();
      for (const auto& fd : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code error;
        if (std::filesystem::read_symlink(fd.path(), error).string().starts_with(folder)) ++open_;
      }
      return real_.remove_all(path);
    };
  }
  ~Removals() { sys = real_; }
  Removals(const Removals&) = delete;
  Removals& operator=(const Removals&) = delete;
  static int count() { return count_; }
  static int open() { return open_; }

 private:
  static inline Sys real_;
  static inline int count_, open_;
};

TEST_F(Resume, NothingInTheFolderIsOpenWhenItGoes) {
  for (const int ranks : {1, 3}) {
    std::filesystem::remove_all(out_);
    const Removals removals;
    ASSERT_THAT(Run(ranks, MakePlan()), IsOk());
    EXPECT_GE(Removals::count(), 1) << ranks;
    EXPECT_EQ(Removals::open(), 0) << ranks;
    std::filesystem::remove_all(out_);
    // Nor when a rank fails whose output is not kept.
    static std::atomic<int> writes;
    writes = 0;
    sys.pwrite = [](int fd, const void* bytes, size_t size, off_t offset) -> ssize_t {
      if (++writes < 20) return ::pwrite(fd, bytes, size, offset);
      errno = EIO;
      return -1;
    };
    const auto failed = RunRanks(ranks, [&](Cluster& cluster) { return Execute(MakePlan(), out_, Options(cluster)); });
    EXPECT_THAT(failed[0], StatusIs(ErrorKind::kIo, "cannot write"));
    EXPECT_GE(Removals::count(), 2) << ranks;
    EXPECT_EQ(Removals::open(), 0) << ranks;
  }
}

TEST_F(Resume, GoesOnAfterSeveralKills) {
  const auto expected = Expected();
  int kills = 0;
  while (KilledAt(11, 1 + kills % 3, MakePlan())) ASSERT_LT(++kills, 20);
  EXPECT_GT(kills, 3);
  EXPECT_TRUE(Tree(out_) == expected);
}

TEST_F(Resume, WritesASingleFileToo) {
  Plan plan = MakePlan();
  plan.is_directory = false;
  plan.files.resize(1);
  plan.files[0].path = "";
  ASSERT_THAT(Execute(plan, dir_ / "expected", Options(Cluster::Alone())), IsOk());
  ASSERT_TRUE(KilledAt(20, 1, plan));
  ASSERT_FALSE(std::filesystem::exists(out_));
  Plan shorter = plan;
  shorter.files[0].segments.resize(2);
  shorter.files[0].crcs.resize(1);
  shorter.files[0].size = 60000;
  EXPECT_THAT(Run(1, shorter), StatusIs(ErrorKind::kInvalidArgument, "cannot resume"));
  ASSERT_THAT(Run(2, plan), IsOk());
  EXPECT_TRUE(ReadFile(out_) == ReadFile(dir_ / "expected"));
}

TEST_F(Resume, RefusesASourceThatHasChanged) {
  ASSERT_TRUE(KilledAt(20, 1, MakePlan()));
  std::filesystem::last_write_time(dir_ / "source", std::filesystem::file_time_type::clock::now());
  const Status status = Run(2, MakePlan());
  ASSERT_THAT(status, StatusIs(ErrorKind::kInvalidArgument, "begun before " + (dir_ / "source") + " changed"));
  EXPECT_THAT(Advice(status.error()), ::testing::HasSubstr("resume=false"));
  // And whoever takes the hint, and opens the source as it is now, is served.
  ANEMONE_ASSERT_ASSIGN(source_, OpenFile(dir_ / "source"));
  EXPECT_THAT(Execute(MakePlan(), out_, Options(Cluster::Alone())), IsOk());
}

TEST_F(Resume, RefusesAnotherPlanAndSparesWhatIsWritten) {
  const auto expected = Expected();
  ASSERT_TRUE(KilledAt(20, 1, MakePlan()));
  const auto written = Tree(folder_);
  Plan other = MakePlan();
  other.empty_directories = {"stray"};
  other.files[0].segments.pop_back();
  other.files[0].size = 100000;
  EXPECT_THAT(Run(1, other), StatusIs(ErrorKind::kInvalidArgument, "cannot resume what was begun with other options"));
  EXPECT_TRUE(Tree(folder_) == written);
  EXPECT_THAT(Run(1, MakePlan()), IsOk());
  EXPECT_TRUE(Tree(out_) == expected);
}

TEST_F(Resume, RefusesWhatAnotherRunIsAt) {
  ASSERT_TRUE(KilledAt(20, 1, MakePlan()));
  const int fd = open((folder_ + "/lock").c_str(), O_RDWR);
  ASSERT_EQ(flock(fd, LOCK_EX), 0);
  EXPECT_THAT(Run(1, MakePlan()), StatusIs(ErrorKind::kCannotCreate, "another run is writing it"));
  close(fd);
  EXPECT_THAT(Run(1, MakePlan()), IsOk());
}

TEST_F(Resume, DoesNotTrustWhatIsNotThere) {
  const auto expected = Expected();
  ASSERT_TRUE(KilledAt(30, 1, MakePlan()));
  // A line that was being written when the power went.
  WriteFile(folder_ + "/done.0", ReadFile(folder_ + "/done.0") + "00000000 99 98\n0");
  const std::string file = folder_ + "/output/rank_00/a";
  std::filesystem::rename(file, dir_ / "away");
  EXPECT_THAT(Run(1, MakePlan()), StatusIs(ErrorKind::kCorrupt, "expected the file that an earlier run wrote"));
  std::filesystem::rename(dir_ / "away", file);
  EXPECT_THAT(Run(1, MakePlan()), IsOk());
  EXPECT_TRUE(Tree(out_) == expected);
}

// A later run compares sizes and times of modification alone: what is written must not be there for it.
TEST_F(Resume, KeepsNothingOfASourceThatWasRewritten) {
  const auto expected = Expected();
  const std::string path = dir_ / "source", content = ReadFile(path);
  struct stat before;
  ASSERT_EQ(stat(path.c_str(), &before), 0);
  usleep(20'000);  // the file system's clock ticks
  WriteFile(path, content);
  const struct timespec times[] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  for (const int ranks : {1, 3}) {
    const Status status = Run(ranks, MakePlan());
    EXPECT_THAT(status, StatusIs(ErrorKind::kIo, "changed while it was read: its ctime is another"));
    EXPECT_THAT(Advice(status.error()), ::testing::Not(::testing::HasSubstr("resume")));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_ / "place"), {}), 0);
  }
  ANEMONE_ASSERT_ASSIGN(source_, OpenFile(path));
  EXPECT_THAT(Run(1, MakePlan()), IsOk());
  EXPECT_TRUE(Tree(out_) == expected);
}

TEST_F(Resume, BeginsAnewWhereTheOutputIsGone) {
  const auto expected = Expected();
  ASSERT_TRUE(KilledAt(30, 1, MakePlan()));
  std::filesystem::remove_all(folder_ + "/output");
  EXPECT_THAT(Run(1, MakePlan()), IsOk());
  EXPECT_TRUE(Tree(out_) == expected);
}

}  // namespace
}  // namespace anemone
