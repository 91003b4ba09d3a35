#include "base/pointer_set.h"

#include <gtest/gtest.h>

#include <vector>

namespace anemone {
namespace {

TEST(PointerSet, HoldsEachOnce) {
  const std::vector<int> many(1000);
  PointerSet set;
  for (const int& one : many) EXPECT_TRUE(set.Insert(&one));
  for (const int& one : many) EXPECT_FALSE(set.Insert(&one));
}

}  // namespace
}  // namespace anemone
