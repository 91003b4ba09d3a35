#include "base/crc32.h"

#include <string>

#include "testing/matchers.h"

namespace anemone {
namespace {

uint32_t Of(std::string_view bytes) { return Crc32(0, std::as_bytes(std::span(bytes))); }

TEST(Crc32, HasTheCheckValue) { EXPECT_EQ(Of("123456789"), 0xCBF43926U); }

TEST(Crc32, PartsAddUpWhereverTheyAreCut) {
  std::string bytes;
  for (int i = 0; i < 3000; ++i) bytes += static_cast<char>(i * 7);
  for (const size_t cut : {size_t{0}, size_t{1}, size_t{255}, size_t{1024}, bytes.size()}) {
    const std::string_view all = bytes, tail = all.substr(cut);
    EXPECT_EQ(Crc32Shift(Of(all.substr(0, cut)), tail.size()) ^ Crc32Shift(Of(tail), 0), Of(all)) << cut;
    EXPECT_EQ(Crc32(Of(all.substr(0, cut)), std::as_bytes(std::span(tail))), Of(all)) << cut;
  }
}

}  // namespace
}  // namespace anemone
