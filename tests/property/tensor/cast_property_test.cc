// The vector casts equal the scalar ones bit for bit, on every instruction set this machine has.
#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "tensor/cast.h"
#include "tensor/cast_simd.h"
#include "testing/matchers.h"

namespace anemone::internal {
namespace {

using Bytes = std::vector<std::byte>;

template <typename T>
Bytes ToBytes(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

void ExpectSame(DType from, const Bytes& in, DType to) {
  const size_t count = in.size() / SizeBytes(from);
  Bytes expected(count * SizeBytes(to));
  CastElementsScalar(from, in.data(), to, expected.data(), count);
  std::vector<VectorCast> casts = VectorCasts(from, to);
  casts.push_back({"CastElements", nullptr});
  for (const auto& [target, function] : casts) {
    Bytes actual = expected;
    if (function != nullptr) {
      std::fill(actual.begin(), actual.end(), std::byte{0xA5});
      function(in.data(), actual.data(), count);
    } else if (std::string_view(target) == "CastElements") {
      CastElements(from, in.data(), to, actual.data(), count);
    }
    for (size_t i = 0; i < count && actual != expected; ++i) {
      const size_t size = SizeBytes(to);
      if (std::memcmp(&actual[i * size], &expected[i * size], size) == 0) continue;
      uint64_t bits = 0, a = 0, e = 0;
      std::memcpy(&bits, &in[i * SizeBytes(from)], SizeBytes(from));
      std::memcpy(&a, &actual[i * size], size);
      std::memcpy(&e, &expected[i * size], size);
      FAIL() << Name(from) << " " << std::hex << bits << " → " << Name(to) << " " << a << ", scalar " << e << " on "
             << target;
    }
  }
}

constexpr DType kTargets[] = {DType::kF64,    DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3,
                              DType::kF8E5M2, DType::kI32, DType::kU8,  DType::kBool};

TEST(CastProperty, All16BitFloats) {
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  for (const DType from : {DType::kF16, DType::kBF16}) {
    for (const DType to : kTargets) {
      if (to != from) ExpectSame(from, ToBytes(all), to);
    }
  }
}

std::vector<uint32_t> InterestingFloats() {
  std::vector<uint32_t> values;
  // Around every f16 and bf16 and the ties between them; every exponent; NaNs; subnormals.
  for (uint32_t high = 0; high < 65536; ++high) {
    for (const uint32_t low : {0u, 1u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu, 0x1000u, 0x0FFFu, 0x1001u, 0x3000u}) {
      values.push_back(high << 16 | low);
    }
  }
  std::mt19937 random(7);
  for (int i = 0; i < 300000; ++i) values.push_back(static_cast<uint32_t>(random()));
  return values;
}

TEST(CastProperty, Float32) {
  const Bytes in = ToBytes(InterestingFloats());
  for (const DType to : kTargets) {
    if (to != DType::kF32) ExpectSame(DType::kF32, in, to);
  }
}

TEST(CastProperty, Float64) {
  std::vector<uint64_t> values;
  std::mt19937_64 random(7);
  for (const uint32_t bits : InterestingFloats()) {
    float value;
    std::memcpy(&value, &bits, 4);
    const double wide = value;
    uint64_t wide_bits;
    std::memcpy(&wide_bits, &wide, 8);
    values.push_back(wide_bits + (bits % 3) - 1);  // one step beside a float32
    values.push_back(wide_bits | (random() & 0x1FFFFFFF));
    if (bits % 4 == 0) values.push_back(random());
  }
  for (const DType to : {DType::kF32, DType::kF16, DType::kBF16}) ExpectSame(DType::kF64, ToBytes(values), to);
}

TEST(CastProperty, AnyCountAndAlignment) {
  std::mt19937 random(3);
  for (size_t count = 0; count < 70; ++count) {
    Bytes in(count * 4 + 1);
    for (std::byte& byte : in) byte = static_cast<std::byte>(random());
    for (const DType to : {DType::kF16, DType::kBF16, DType::kF64}) {
      Bytes out(count * SizeBytes(to) + 3, std::byte{0x5A}), expected(count * SizeBytes(to));
      CastElementsScalar(DType::kF32, in.data() + 1, to, expected.data(), count);
      CastElements(DType::kF32, in.data() + 1, to, out.data() + 1, count);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), out.begin() + 1));
      EXPECT_EQ(out.front(), std::byte{0x5A});
      EXPECT_EQ(out.back(), std::byte{0x5A});
    }
  }
}

// What can be written as a shorter float comes back the same.
TEST(CastProperty, WideningIsExact) {
  for (const DType from :
       {DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kF8E5M2, DType::kF8E4M3FNUZ, DType::kF8E5M2FNUZ}) {
    const size_t size = SizeBytes(from);
    for (uint32_t bits = 0; bits < (size == 1 ? 256u : 65536u); ++bits) {
      std::byte in[2], wide[8], back[2];
      std::memcpy(in, &bits, 2);
      CastElements(from, in, DType::kF64, wide, 1);
      CastElements(DType::kF64, wide, from, back, 1);
      double value;
      std::memcpy(&value, wide, 8);
      if (value == value) {
        EXPECT_EQ(std::memcmp(in, back, size), 0) << Name(from) << " " << bits;
      }
    }
  }
}

}  // namespace
}  // namespace anemone::internal
