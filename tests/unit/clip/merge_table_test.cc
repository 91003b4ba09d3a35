#include "clip/merge_table.h"

#include <gmock/gmock.h>

namespace anemone::internal {
namespace {

TEST(MergeTableTest, GivesBackWhatWasSet) {
  constexpr int32_t kSide = 250;
  MergeTable table(size_t{kSide} * kSide);
  EXPECT_EQ(table.Get(0, 0), nullptr);
  for (int32_t left = 0; left < kSide; ++left) {
    for (int32_t right = 0; right < kSide; ++right) {
      table.Set(left * 65536, right, {static_cast<uint32_t>(left + right), left * kSide + right});
    }
  }
  for (int32_t left = 0; left < kSide; ++left) {
    for (int32_t right = 0; right < kSide; ++right) {
      const Merge* merge = table.Get(left * 65536, right);
      ASSERT_NE(merge, nullptr);
      EXPECT_EQ(merge->rank, static_cast<uint32_t>(left + right));
      EXPECT_EQ(merge->id, left * kSide + right);
    }
    EXPECT_EQ(table.Get(left * 65536, kSide), nullptr);
    EXPECT_EQ(table.Get(left * 65536 + 1, 0), nullptr);
  }
}

TEST(MergeTableTest, TheLaterMergeCounts) {
  MergeTable table(1);
  table.Set(7, 8, {1, 10});
  table.Set(7, 8, {2, 11});
  EXPECT_EQ(table.Get(7, 8)->id, 11);
  EXPECT_EQ(table.Get(8, 7), nullptr);
  EXPECT_EQ(MergeTable().Get(0, 0), nullptr);
}

}  // namespace
}  // namespace anemone::internal
