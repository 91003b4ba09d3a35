#include "tensor/cast.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "testing/matchers.h"

namespace anemone::internal {
namespace {

template <typename To, typename From>
To CastOne(DType from_dtype, From from, DType to_dtype) {
  EXPECT_EQ(SizeBytes(from_dtype), sizeof(From));
  EXPECT_EQ(SizeBytes(to_dtype), sizeof(To));
  std::byte in[sizeof(From)], out[sizeof(To)];
  std::memcpy(in, &from, sizeof in);
  CastElements(from_dtype, in, to_dtype, out, 1);
  To to;
  std::memcpy(&to, out, sizeof to);
  return to;
}

uint16_t ToHalf(float value) { return CastOne<uint16_t>(DType::kF32, value, DType::kF16); }
uint16_t ToBrain(float value) { return CastOne<uint16_t>(DType::kF32, value, DType::kBF16); }
uint8_t ToE4M3(float value) { return CastOne<uint8_t>(DType::kF32, value, DType::kF8E4M3); }
uint8_t ToE5M2(float value) { return CastOne<uint8_t>(DType::kF32, value, DType::kF8E5M2); }

TEST(Cast, RoundsToNearestEven) {
  EXPECT_EQ(ToHalf(1.0f), 0x3C00);
  EXPECT_EQ(ToHalf(1.0f + 0x1p-11f), 0x3C00);             // a tie, to even
  EXPECT_EQ(ToHalf(1.0f + 0x1p-10f + 0x1p-11f), 0x3C02);  // a tie, to even
  EXPECT_EQ(ToHalf(1.0f + 0x1p-11f + 0x1p-23f), 0x3C01);  // above the tie
  EXPECT_EQ(ToHalf(-65519.0f), 0xFBFF);
  EXPECT_EQ(ToHalf(65520.0f), 0x7C00);  // rounds beyond the largest
  EXPECT_EQ(ToHalf(0x1p-24f), 0x0001);
  EXPECT_EQ(ToHalf(0x1p-25f), 0x0000);  // half of the smallest: a tie, to zero
  EXPECT_EQ(ToHalf(-0.0f), 0x8000);
  EXPECT_EQ(ToBrain(1.00390625f), 0x3F80);  // 1 + 2^-8
  EXPECT_EQ(ToBrain(std::numeric_limits<float>::max()), 0x7F80);
  // Once, not by way of a float32: 1 + 2^-11 + 2^-40 is above the tie.
  EXPECT_EQ(CastOne<uint16_t>(DType::kF64, 1.0 + 0x1p-11 + 0x1p-40, DType::kF16), 0x3C01);
  EXPECT_EQ(CastOne<uint16_t>(DType::kI64, (int64_t{1} << 62) + (int64_t{1} << 54) + 1, DType::kBF16), 0x5E81);
  EXPECT_EQ(CastOne<float>(DType::kU64, UINT64_MAX, DType::kF32), 0x1p64f);
}

TEST(Cast, KeepsNanAndItsLeadingPayload) {
  const auto nan = std::bit_cast<float>(0xFFA00000u);
  EXPECT_EQ(ToHalf(nan), 0xFF00);
  EXPECT_EQ(ToBrain(nan), 0xFFE0);
  EXPECT_EQ(CastOne<uint32_t>(DType::kF16, uint16_t{0x7C01}, DType::kF32), 0x7FC02000u);
}

TEST(Cast, EightBitFloats) {
  EXPECT_EQ(ToE4M3(448.0f), 0x7E);
  EXPECT_EQ(ToE4M3(464.0f), 0x7E);  // a tie, to even
  EXPECT_EQ(ToE4M3(465.0f), 0x7F);  // no infinity: NaN
  EXPECT_EQ(ToE4M3(-INFINITY), 0xFF);
  EXPECT_EQ(ToE4M3(0x1p-9f), 0x01);
  EXPECT_EQ(ToE5M2(57344.0f), 0x7B);
  EXPECT_EQ(ToE5M2(61440.0f), 0x7C);
  EXPECT_EQ(CastOne<float>(DType::kF8E4M3, uint8_t{0x7E}, DType::kF32), 448.0f);
  EXPECT_EQ(CastOne<float>(DType::kF8E5M2, uint8_t{0x01}, DType::kF32), 0x1p-16f);
  EXPECT_EQ(CastOne<float>(DType::kF8E8M0, uint8_t{127}, DType::kF32), 1.0f);
  EXPECT_EQ(CastOne<float>(DType::kF8E4M3FNUZ, uint8_t{0x7F}, DType::kF32), 240.0f);
  EXPECT_EQ(CastOne<uint8_t>(DType::kF32, -0.0f, DType::kF8E4M3FNUZ), 0x00);
  EXPECT_EQ(CastOne<uint8_t>(DType::kF32, NAN, DType::kF8E5M2FNUZ), 0x80);
}

TEST(Cast, IntegersSaturate) {
  EXPECT_EQ(CastOne<int8_t>(DType::kF32, 1e9f, DType::kI8), 127);
  EXPECT_EQ(CastOne<int8_t>(DType::kF32, -128.9f, DType::kI8), -128);
  EXPECT_EQ(CastOne<int8_t>(DType::kF32, -1.9f, DType::kI8), -1);
  EXPECT_EQ(CastOne<int64_t>(DType::kF32, NAN, DType::kI64), 0);
  EXPECT_EQ(CastOne<int64_t>(DType::kF64, 0x1p63, DType::kI64), INT64_MAX);
  EXPECT_EQ(CastOne<int64_t>(DType::kF32, -INFINITY, DType::kI64), INT64_MIN);
  EXPECT_EQ(CastOne<uint8_t>(DType::kI32, -5, DType::kU8), 0);
  EXPECT_EQ(CastOne<uint64_t>(DType::kF64, 0x1p64, DType::kU64), UINT64_MAX);
  EXPECT_EQ(CastOne<int64_t>(DType::kU64, UINT64_MAX, DType::kI64), INT64_MAX);
  EXPECT_EQ(CastOne<int32_t>(DType::kI64, int64_t{-7}, DType::kI32), -7);
}

TEST(Cast, BoolIsWhetherItDiffersFromZero) {
  EXPECT_EQ(CastOne<uint8_t>(DType::kF32, -0.0f, DType::kBool), 0);
  EXPECT_EQ(CastOne<uint8_t>(DType::kF32, NAN, DType::kBool), 1);
  EXPECT_EQ(CastOne<uint8_t>(DType::kF64, 1e-300, DType::kBool), 1);
  EXPECT_EQ(CastOne<float>(DType::kBool, uint8_t{1}, DType::kF32), 1.0f);
}

TEST(Cast, SomePairsHaveNoMeaning) {
  EXPECT_FALSE(CanCast(DType::kC64, DType::kF32));
  EXPECT_FALSE(CanCast(DType::kF32, DType::kF8E8M0));
  EXPECT_TRUE(CanCast(DType::kC64, DType::kC64));
}

}  // namespace
}  // namespace anemone::internal
