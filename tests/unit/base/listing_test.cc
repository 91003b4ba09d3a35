#include "base/listing.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace anemone {
namespace {

TEST(Listing, NamesTheFirstFive) {
  EXPECT_EQ(Listing(std::vector<std::string>()), "");
  EXPECT_EQ(Listing(std::vector<std::string>{"a"}), "a");
  EXPECT_EQ(Listing(std::set<std::string>{"a", "b", "c", "d", "e"}), "a, b, c, d, e");
  EXPECT_EQ(Listing(std::vector<std::string>{"a", "b", "c", "d", "e", "f", "g"}), "a, b, c, d, e and 2 more");
  EXPECT_EQ(Listing(std::vector<std::string>{"a", "b"}, "; "), "a; b");
}

}  // namespace
}  // namespace anemone
