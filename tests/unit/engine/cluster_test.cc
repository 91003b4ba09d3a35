// One plan, carried out by several ranks.
#include "engine/cluster.h"

#include "base/sys.h"
#include "engine/execute.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "testing/thread_cluster.h"

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::RunRanks;
using ::anemone::testing::StatusIs;
using ::anemone::testing::TempDir;
using ::anemone::testing::Tree;
using ::testing::Each;

constexpr uint64_t kWindow = 4096;

// Two files, both under CRCs that span windows of all ranks; an empty one; bytes the kernel moves.
Plan SomePlan(const ByteSourcePtr& source) {
  Plan plan;
  plan.is_directory = true;
  for (const char* name : {"rank_00/a", "rank_01/b"}) {
    PlanFile file;
    file.path = name;
    file.Append(std::string("head\0\0\0\0\0\0\0\0", 12));
    for (uint64_t i = 0; i < 2; ++i) {
      const uint64_t begin = file.size;
      file.Append(*Tensor::FromFile(DType::kF32, {300, 40 + i}, source, 4 * i)->Permute({1, 0}));
      file.crcs.push_back({begin, file.size - begin, {4 + 4 * i}});
    }
    file.AppendZeros(10000);
    file.Append(ByteRange{source, 64, 150000});
    plan.files.push_back(std::move(file));
  }
  plan.files.push_back({"empty", 5, {}, {}});
  return plan;
}

class ClusterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string content(200000, '\0');
    for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 11 + i / 253);
    testing::WriteFile(dir_ / "source", content);
    std::filesystem::create_directory(dir_ / "place");
    ANEMONE_ASSERT_ASSIGN(source_, OpenFile(dir_ / "source"));
  }

  ExecuteOptions Options(Cluster& cluster) const {
    ExecuteOptions options;
    options.threads = 1;
    options.window_bytes = kWindow;
    options.cluster = &cluster;
    return options;
  }

  TempDir dir_;
  ByteSourcePtr source_;
};

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
  ASSERT_THAT(Execute(SomePlan(source_), dir_ / "place/alone", Options(Cluster::Alone())), IsOk());
  const auto expected = Tree(dir_ / "place/alone");
  std::filesystem::remove_all(dir_ / "place/alone");
  for (const int size : {2, 3, 4, 61, 200}) {  // the last: more ranks than windows
    const std::string out = dir_ / "place/out";
    EXPECT_THAT(RunRanks(size, [&](Cluster& cluster) { return Execute(SomePlan(source_), out, Options(cluster)); }),
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
  real = sys;
  writes = 0;
  sys.pwrite = [](int fd, const void* bytes, size_t size, off_t offset) -> ssize_t {
    ++writes;
    if (current_rank != 1) {
      usleep(60000);  // longer than two looks at the others are apart
      return real.pwrite(fd, bytes, size, offset);
    }
    errno = EIO;
    return -1;
  };
  const auto statuses = RunRanks(3, [&](Cluster& cluster) {
    current_rank = cluster.rank();
    return Execute(SomePlan(source_), dir_ / "place/out", Options(cluster));
  });
  sys = real;
  for (const Status& status : statuses) EXPECT_THAT(status, StatusIs(ErrorKind::kIo, "rank 1: "));
  EXPECT_LT(writes, 10);  // of more than 40
  EXPECT_TRUE(std::filesystem::is_empty(dir_ / "place"));
}

TEST_F(ClusterTest, RefusesRanksOfDifferentMinds) {
  const auto statuses = RunRanks(3, [&](Cluster& cluster) {
    Plan plan = SomePlan(source_);
    if (cluster.rank() == 2) plan.files[0].segments[0].content = std::string("Head\0\0\0\0\0\0\0\0", 12);
    return Execute(plan, dir_ / "place/out", Options(cluster));
  });
  for (const Status& status : statuses)
    EXPECT_THAT(status, StatusIs(ErrorKind::kInvalidArgument, "rank 2 has another plan than rank 0"));
  EXPECT_TRUE(std::filesystem::is_empty(dir_ / "place"));
}

TEST_F(ClusterTest, SaysOnceThatTheDestinationExists) {
  std::filesystem::create_directory(dir_ / "place/out");
  for (const Status& status :
       RunRanks(2, [&](Cluster& cluster) { return Execute(SomePlan(source_), dir_ / "place/out", Options(cluster)); }))
    EXPECT_THAT(status, StatusIs(ErrorKind::kAlreadyExists, "already exists"));
}

}  // namespace
}  // namespace anemone
