#include "clip/token_ids.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <unordered_map>

namespace anemone {
namespace {

using internal::TokenIds;

// Of few letters, of which one is no character: tokens that are parts of each other, and the same ones again.
TEST(TokenIds, AreThoseOfAMap) {
  constexpr size_t kCount = 20000;
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same tokens in each run
  std::unordered_map<std::string, int32_t> map;
  std::vector<std::string> tokens(kCount);
  TokenIds ids(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    tokens[i].resize(random() % 14);
    for (char& c : tokens[i]) c = "ab\0\xff"[random() % 4];
    map[tokens[i]] = static_cast<int32_t>(i);
    ids.Set(tokens[i], static_cast<int32_t>(i));
  }
  ASSERT_LT(map.size(), kCount);
  for (const std::string& token : tokens) {
    EXPECT_EQ(ids.Get(token), map.at(token));
    const std::string other = token + "a";
    EXPECT_EQ(ids.Get(other), map.contains(other) ? map.at(other) : TokenIds::kNone);
  }
}

}  // namespace
}  // namespace anemone
