// One plan, carried out by several ranks.
#include "engine/cluster.h"

#include "base/sys.h"
#include "several_files.h"
#include "testing/thread_cluster.h"

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::RunRanks;
using ::anemone::testing::StatusIs;
using ::anemone::testing::Tree;
using ::anemone::testing::WriteFile;
using ::testing::Each;

using ClusterTest = SeveralFiles;

TEST_F(ClusterTest, AgreesOnOneFailure) {
  for (const Status& status : RunRanks(3, [](Cluster& cluster) { return cluster.Agree({}); }))
    EXPECT_THAT(status, IsOk());

  const Status one = Status(ErrorKind::kIo, "broken", "mend it").In("inner").In("outer");
  for (const Status& status :
       RunRanks(3, [&](Cluster& cluster) { return cluster.Agree(cluster.rank() == 2 ? one : Status()); })) {
    EXPECT_THAT(status, StatusIs(ErrorKind::kIo, "rank 2: outer: inner: broken"));
    EXPECT_EQ(status.error().hint, "mend it");
  }
  // All alike: nobody to name.
  for (const Status& status : RunRanks(3, [&](Cluster& cluster) { return cluster.Agree(one); }))
    EXPECT_EQ(status.message(), "outer: inner: broken");
  // Who was only told to stop is not to blame.
  for (const Status& status : RunRanks(3, [&](Cluster& cluster) {
         return cluster.Agree(cluster.rank() == 0 ? Status(ErrorKind::kInterrupted, "interrupted") : one);
       }))
    EXPECT_EQ(status.message(), "rank 1: outer: inner: broken");
}

TEST_F(ClusterTest, AnyNumberOfRanksWritesTheSameBytes) {
  const auto expected = Expected();
  for (const int size : {2, 3, 4, 61, 200}) {  // the last: more ranks than windows
    const std::string out = dir_ / "place/out";
    EXPECT_THAT(RunRanks(size, [&](Cluster& cluster) { return Execute(MakePlan(), out, Options(cluster)); }),
                Each(IsOk()));
    ASSERT_TRUE(Tree(out) == expected) << size << " ranks";
    std::filesystem::remove_all(out);
    EXPECT_TRUE(std::filesystem::is_empty(dir_ / "place"));
  }
}

// Which rank is at work in this thread, for system calls that fail on one only.
thread_local int current_rank = 0;

TEST_F(ClusterTest, ARankThatFailsStopsAllAndLeavesNothing) {
  static Sys real;
  static std::atomic<int> writes;
  static std::atomic<bool> failed;
  real = sys;
  writes = 0;
  failed = false;
  sys.pwrite = [](int fd, const void* bytes, size_t size, off_t offset) -> ssize_t {
    ++writes;
    if (current_rank != 1) {
      failed.wait(false);
      usleep(60000);  // longer than two looks at the others are apart
      return real.pwrite(fd, bytes, size, offset);
    }
    failed = true;
    failed.notify_all();
    errno = EIO;
    return -1;
  };
  const auto statuses = RunRanks(3, [&](Cluster& cluster) {
    current_rank = cluster.rank();
    return Execute(MakePlan(), dir_ / "place/out", Options(cluster));
  });
  sys = real;
  for (const Status& status : statuses) EXPECT_THAT(status, StatusIs(ErrorKind::kIo, "rank 1: "));
  EXPECT_LT(writes, 10);  // of more than 40
  EXPECT_TRUE(std::filesystem::is_empty(dir_ / "place"));
}

TEST_F(ClusterTest, RefusesRanksOfDifferentMinds) {
  const auto statuses = RunRanks(3, [&](Cluster& cluster) {
    Plan plan = MakePlan();
    if (cluster.rank() == 2) plan.files[0].segments[0].content = std::string_view("Head\0\0\0\0\0\0\0\0", 12);
    return Execute(plan, dir_ / "place/out", Options(cluster));
  });
  for (const Status& status : statuses)
    EXPECT_THAT(status, StatusIs(ErrorKind::kInvalidArgument, "rank 2 has another plan than rank 0"));
  EXPECT_TRUE(std::filesystem::is_empty(dir_ / "place"));
}

TEST_F(ClusterTest, SaysOnceThatTheDestinationExists) {
  std::filesystem::create_directory(dir_ / "place/out");
  WriteFile(dir_ / "place/out/mine", "an empty folder would do");
  for (const Status& status :
       RunRanks(2, [&](Cluster& cluster) { return Execute(MakePlan(), dir_ / "place/out", Options(cluster)); }))
    EXPECT_EQ(status.message(), dir_ / "place/out: already exists");
}

}  // namespace
}  // namespace anemone
