// Every file-system call of a run fails in turn, in every way. Whatever happens: the destination is absent, or the old
// one, or complete; no temporary name is left; no descriptor leaks; an error names a path.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <unistd.h>

#include <utility>

#include "base/descriptor.h"
#include "engine/execute.h"
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
using Files = std::map<std::string, std::string>;

size_t OpenDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

// A literal, a cast, a transpose, a CRC, a range for the kernel, and two that lie alike with a seam between them.
PlanFile SomeFile(const std::string& path, const ByteSourcePtr& source) {
  PlanFile file;
  file.path = path;
  file.Append(std::string("head\0\0\0\0", 8));
  file.Append(*Tensor::FromFile(DType::kF32, {50, 40}, source, 4)->Permute({1, 0})->Cast(DType::kF16));
  file.crcs.push_back({8, file.size - 8, {4}});
  file.Append(ByteRange{source, 100, 80000});
  file.AppendZeros(5);
  constexpr uint64_t kBlock = 4096, kRange = 70000, kSeam = 300;
  const uint64_t at = file.size % kBlock;
  file.Append(ByteRange{source, at, kRange});
  file.Append(std::string(kSeam, 's'));
  file.Append(ByteRange{source, at + kRange + kSeam, kRange});
  return file;
}

Plan SomePlan(bool is_directory, const ByteSourcePtr& source) {
  Plan plan;
  plan.sharing = Sharing::kPlanned;
  plan.is_directory = is_directory;
  if (!is_directory) {
    plan.files = {SomeFile("", source)};
    return plan;
  }
  plan.files = {SomeFile("weights/model", source), SomeFile("other", source)};
  plan.files.push_back({"empty", 0, {}, {}, {}});
  plan.empty_directories = {"nothing"};
  return plan;
}

// Is a directory; replaces an old one; renames take flags.
class ExecuteSweep : public ::testing::TestWithParam<std::tuple<bool, bool, bool>> {};

TEST_P(ExecuteSweep, LeavesTheDestinationAbsentOldOrComplete) {
  const auto [is_directory, replace, renames_take_flags] = GetParam();
  const TempDir dir;
  std::string content(150000, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7 + i / 251);
  WriteFile(dir / "source", content);
  std::filesystem::create_directory(dir / "place");
  const std::string destination = dir / "place/out";

  ExecuteOptions options;
  options.threads = 1;
  options.window_bytes = 16384;
  Files absent, old, complete;
  const auto prepare = [&] {
    std::filesystem::remove_all(destination);
    if (!replace) return;
    if (is_directory) std::filesystem::create_directory(destination);
    WriteFile(is_directory ? destination + "/old" : destination, "old");
  };
  {
    ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir / "source"));
    ASSERT_THAT(Execute(SomePlan(is_directory, source), destination, options), IsOk());
    complete = Tree(dir / "place");
    prepare();
    (replace ? old : absent) = Tree(dir / "place");
  }
  options.replace = replace;
  options.may_replace = [](const std::string&) { return Status(); };

  for (const Fault fault : {Fault::kIoError, Fault::kDiskFull, Fault::kShort, Fault::kEndOfFile, Fault::kInterrupt}) {
    int failures = 0;
    for (int n = 0;; ++n) {
      ASSERT_LT(n, 1000);
      prepare();
      const size_t descriptors = OpenDescriptors();
      Status status;
      bool reached;
      std::string call;
      {
        const FaultySys faulty(fault, n, renames_take_flags);
        const Result<ByteSourcePtr> source = OpenFile(dir / "source");
        status = source.ok() ? Execute(SomePlan(is_directory, *source), destination, options) : source.status();
        reached = faulty.reached();
        call = faulty.call();
      }
      const std::string moment = "fault " + std::to_string(static_cast<int>(fault)) + " in call " + std::to_string(n) +
                                 " (" + call + "): " + status.message();
      const Files now = Tree(dir / "place");
      if (status.ok()) {
        ASSERT_TRUE(now == complete) << moment;
      } else {
        ++failures;
        ASSERT_TRUE(now == (replace ? old : absent) || now == complete) << moment;
        if (now == complete) {
          ASSERT_EQ(status.error().hint, "the output is in place; a power failure may undo that") << moment;
        }
        ASSERT_TRUE(status.message().find(dir.path()) != std::string::npos) << moment;
        if (fault == Fault::kDiskFull || fault == Fault::kIoError) {
          ASSERT_EQ(status.kind(), ErrorKind::kIo) << moment;
        }
      }
      ASSERT_EQ(OpenDescriptors(), descriptors) << moment;
      if (!reached) {
        ASSERT_THAT(status, IsOk());
        break;
      }
    }
    // The sweep must have met what it is for.
    if (fault == Fault::kIoError || fault == Fault::kDiskFull) {
      EXPECT_GT(failures, 5);
    }
    if (fault == Fault::kShort || fault == Fault::kInterrupt) {
      EXPECT_EQ(failures, 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ExecuteSweep,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool(), ::testing::Bool()));

// A run with `resume` fails at any of its calls, and the next one goes on from there.
TEST(ExecuteFault, WhateverFailsResumeGoesOn) {
  const TempDir dir;
  WriteFile(dir / "source", std::string(150000, 's'));
  std::filesystem::create_directory(dir / "place");
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir / "source"));
  ExecuteOptions options;
  options.threads = 1;
  options.window_bytes = 16384;
  for (const bool is_directory : {false, true}) {
    const Plan plan = SomePlan(is_directory, source);
    options.resume = false;
    std::filesystem::remove_all(dir / "place/out");
    ASSERT_THAT(Execute(plan, dir / "place/out", options), IsOk());
    const Files complete = Tree(dir / "place");
    options.resume = true;
    options.journal_bytes = 30000;
    for (const Fault fault : {Fault::kIoError, Fault::kDiskFull, Fault::kShort, Fault::kInterrupt}) {
      int failures = 0;
      for (int n = 0; n >= 0; ++n) {
        ASSERT_LT(n, 1000);
        std::filesystem::remove_all(dir / "place/out");
        Status status;
        std::string moment = std::to_string(static_cast<int>(fault)) + " in call " + std::to_string(n);
        {
          const FaultySys faulty(fault, n);
          status = Execute(plan, dir / "place/out", options);
          moment += " (" + faulty.call() + "): " + status.message();
          if (!faulty.reached()) n = -2;
        }
        failures += status.ok() ? 0 : 1;
        if (!std::filesystem::exists(dir / "place/out")) {
          ASSERT_FALSE(status.ok()) << moment;
          ASSERT_THAT(Execute(plan, dir / "place/out", options), IsOk()) << moment;
        }
        ASSERT_TRUE(Tree(dir / "place") == complete) << moment;
      }
      EXPECT_EQ(failures > 10, fault == Fault::kIoError || fault == Fault::kDiskFull) << failures;
    }
  }
}

// What an earlier run wrote is kept, whatever cannot be looked at.
TEST(ExecuteFault, NoFailureClearsWhatIsDone) {
  const TempDir dir;
  WriteFile(dir / "source", std::string(150000, 's'));
  std::filesystem::create_directory(dir / "place");
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir / "source"));
  const Plan plan = SomePlan(false, source);
  ExecuteOptions options;
  options.threads = 1;
  options.window_bytes = 16384;
  options.journal_bytes = 30000;
  options.resume = true;
  options.progress = [](std::string_view, uint64_t done, uint64_t) { return done < 200000; };
  ASSERT_FALSE(Execute(plan, dir / "place/out", options).ok());
  options.progress = nullptr;
  const std::string done_name = ".out.anemone-resume/done.0";
  const std::string done = Tree(dir / "place").at(done_name);
  ASSERT_GT(done.size(), 10);
  std::filesystem::rename(dir / "place", dir / "kept");
  for (int n = 0; n >= 0; ++n) {
    std::filesystem::remove_all(dir / "place");
    std::filesystem::copy(dir / "kept", dir / "place", std::filesystem::copy_options::recursive);
    Status status;
    std::string moment = "call " + std::to_string(n);
    {
      const FaultySys faulty(Fault::kIoError, n);
      status = Execute(plan, dir / "place/out", options);
      moment += " (" + faulty.call() + "): " + status.message();
      if (!faulty.reached()) n = -2;
    }
    Files now = Tree(dir / "place");
    if (!now.contains("out")) {
      ASSERT_TRUE(now[done_name].starts_with(done)) << moment;
    }
  }
}

// `clean` takes no run for dead whose lock it cannot open, and leaves out no leftover that it cannot look at.
TEST(ExecuteFault, NoFailureHidesALeftoverOrALock) {
  const TempDir dir;
  const std::string folder = dir / ".x.anemone-tmp";
  std::filesystem::create_directory(folder);
  WriteFile(folder + "/lock", "");
  for (const bool is_living : {false, true}) {
    const Descriptor lock(::open((folder + "/lock").c_str(), O_RDWR | O_CLOEXEC));
    if (is_living) {
      ASSERT_EQ(flock(lock.get(), LOCK_EX | LOCK_NB), 0);
    }
    for (int n = 0; n >= 0; ++n) {
      const FaultySys faulty(Fault::kIoError, n);
      const Result<std::vector<Leftover>> found = FindLeftovers(dir.path());
      if (found.ok()) {
        ASSERT_EQ(found->size(), is_living ? 0 : 1) << "call " << n << " (" << faulty.call() << ")";
      }
      if (!faulty.reached()) n = -2;
    }
  }
}

// Some file systems have nothing to sync in a directory, and say so.
TEST(ExecuteFault, DirectoriesThatCannotBeSynced) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "out/old");
  WriteFile(dir / "source", std::string(150000, 's'));
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir / "source"));
  ExecuteOptions options;
  options.replace = true;
  options.may_replace = [](const std::string&) { return Status(); };
  const auto real_fsync = std::exchange(sys.fsync, [](int fd) {
    struct stat info;
    errno = EINVAL;
    return ::fstat(fd, &info) == 0 && S_ISDIR(info.st_mode) ? -1 : 0;
  });
  const Status status = Execute(SomePlan(true, source), dir / "out", options);
  sys.fsync = real_fsync;
  EXPECT_THAT(status, IsOk());
}

// The real thing, where we may mount: a file system of 1 MiB.
TEST(ExecuteFault, FullDiskLeavesTheOldFile) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "small");
  if (mount("tmpfs", (dir / "small").c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "cannot mount here";
  WriteFile(dir / "small/out", "old");
  WriteFile(dir / "source", std::string(3 << 20, 'x'));
  Plan plan;
  plan.files.resize(1);
  {
    ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr source, OpenFile(dir / "source"));
    plan.files[0].Append(Whole(source));  // not asked for beforehand: the kernel might share it
    ExecuteOptions options;
    options.replace = true;
    EXPECT_THAT(Execute(plan, dir / "small/out", options), StatusIs(ErrorKind::kIo, "the output has 3145728 bytes"));
    plan.files[0] = {};
    plan.files[0].Append(*Tensor::Fill(DType::kU8, {3 << 20}, 1));
    EXPECT_THAT(Execute(plan, dir / "small/out", options), StatusIs(ErrorKind::kIo, "the output has 3145728 bytes"));
  }
  EXPECT_EQ(Tree(dir / "small"), (Files{{"out", "old"}}));
  umount((dir / "small").c_str());
}

}  // namespace
}  // namespace anemone
