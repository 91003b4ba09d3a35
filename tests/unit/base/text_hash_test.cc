#include "base/text_hash.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace anemone {
namespace {

using internal::HashOf;

// The hash's low bits are a place in a table. Of as many random places, 97 of 100 differ.
TEST(TextHash, TextsThatBeginAlikeHaveDifferentPlaces) {
  constexpr uint32_t kCount = 4096;
  for (const std::string& beginning : {std::string(), std::string("th"), std::string(40, 'x')}) {
    std::set<size_t> places;
    for (uint32_t i = 0; i < kCount; ++i) places.insert(HashOf(beginning + std::to_string(i)) % (16 * kCount));
    EXPECT_GT(places.size(), kCount * 9 / 10) << beginning;
  }
}

TEST(TextHash, NumbersOfOneRemainderHaveDifferentPlaces) {
  constexpr uint64_t kCount = 4096;
  for (const uint64_t step : {uint64_t{1}, uint64_t{107897}, uint64_t{1} << 40}) {
    std::set<size_t> places;
    for (uint64_t i = 0; i < kCount; ++i) places.insert(HashOf(i * step) % (16 * kCount));
    EXPECT_GT(places.size(), kCount * 9 / 10) << step;
  }
}

// Every byte counts, wherever it stands: in all texts of up to 20 bytes that are zeros but for one.
TEST(TextHash, TextsOfOneByteChangedDiffer) {
  std::set<size_t> hashes;
  size_t texts = 0;
  for (size_t size = 0; size <= 20; ++size) {
    const std::string zeros(size, '\0');
    hashes.insert(HashOf(zeros));
    ++texts;
    for (size_t i = 0; i < size; ++i) {
      for (const int value : {1, 2, 0x80, 0xFF}) {
        std::string text = zeros;
        text[i] = static_cast<char>(value);
        hashes.insert(HashOf(text));
        ++texts;
      }
    }
  }
  EXPECT_EQ(hashes.size(), texts);
}

}  // namespace
}  // namespace anemone
