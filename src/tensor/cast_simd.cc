// The casts that checkpoints are made of, vectorised: compiled once per instruction set, chosen when first run.
// Everything but f32 ↔ f64 is integer arithmetic, so that every machine gives the same bits.
#include "tensor/cast_simd.h"

#include <cstring>

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/cast_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace anemone::internal::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Applies `convert`, from a vector of `from_tag` to one of `to_tag`, to `count` elements; the last ones through a
// buffer.
template <class FromTag, class ToTag, class Convert>
HWY_INLINE void ForEachVector(FromTag from_tag, ToTag to_tag, const std::byte* from_bytes, std::byte* to_bytes,
                              size_t count, const Convert& convert) {
  using From = hn::TFromD<FromTag>;
  using To = hn::TFromD<ToTag>;
  const auto* from = reinterpret_cast<const From*>(from_bytes);
  auto* to = reinterpret_cast<To*>(to_bytes);
  const size_t lanes = hn::Lanes(to_tag);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(convert(hn::LoadU(from_tag, from + i)), to_tag, to + i);
  if (i == count) return;
  HWY_ALIGN From from_rest[HWY_MAX_BYTES / sizeof(From)] = {};
  HWY_ALIGN To to_rest[HWY_MAX_BYTES / sizeof(To)];
  std::memcpy(from_rest, from + i, (count - i) * sizeof(From));
  hn::Store(convert(hn::Load(from_tag, from_rest)), to_tag, to_rest);
  std::memcpy(to + i, to_rest, (count - i) * sizeof(To));
}

using Tag32 = hn::ScalableTag<uint32_t>;
using Tag16 = hn::Rebind<uint16_t, Tag32>;
using TagF32 = hn::ScalableTag<float>;

template <class V>
HWY_INLINE auto To16(V value) {  // lanes below 2^16
  return hn::DemoteTo(Tag16(), hn::BitCast(hn::RebindToSigned<Tag32>(), value));
}

void F32ToF16(const std::byte* from, std::byte* to, size_t count) {
  const Tag32 d;
  const TagF32 df;
  ForEachVector(d, Tag16(), from, to, count, [&](auto bits) HWY_ATTR {
    const auto sign = hn::And(bits, hn::Set(d, 0x80000000u));
    const auto magnitude = hn::Xor(bits, sign);
    // Below 2^-14 the result is subnormal: adding 0.5 leaves it, rounded, in the low bits of the sum.
    const auto half = hn::Set(d, 0x3F000000u);
    const auto subnormal = hn::Sub(hn::BitCast(d, hn::Add(hn::BitCast(df, magnitude), hn::BitCast(df, half))), half);
    const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(d, 1u));
    const auto rebiased = hn::Sub(magnitude, hn::Set(d, (127u - 15u) << 23));
    const auto normal = hn::ShiftRight<13>(hn::Add(hn::Add(rebiased, hn::Set(d, 0xFFFu)), odd));
    const auto infinity = hn::Set(d, 0x7C00u);
    const auto payload = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(d, 0x3FFu));
    const auto nan = hn::Or(hn::Or(infinity, hn::Set(d, 0x200u)), payload);
    auto result = hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 113u << 23)), subnormal, normal);
    result = hn::IfThenElse(hn::Gt(magnitude, hn::Set(d, (143u << 23) - 1)), infinity, result);
    result = hn::IfThenElse(hn::Gt(magnitude, hn::Set(d, 0x7F800000u)), nan, result);
    return To16(hn::Or(result, hn::ShiftRight<16>(sign)));
  });
}

void F16ToF32(const std::byte* from, std::byte* to, size_t count) {
  const Tag32 d;
  const TagF32 df;
  ForEachVector(Tag16(), d, from, to, count, [&](auto half) HWY_ATTR {
    const auto bits = hn::PromoteTo(d, half);
    const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(d, 0x8000u)));
    const auto magnitude = hn::And(bits, hn::Set(d, 0x7FFFu));
    const auto shifted = hn::ShiftLeft<13>(magnitude);
    const auto normal = hn::Add(shifted, hn::Set(d, (127u - 15u) << 23));
    // A subnormal is its mantissa over 2^14, which a subtraction of floats puts in place.
    const auto unit = hn::Set(d, 113u << 23);
    const auto subnormal = hn::BitCast(d, hn::Sub(hn::BitCast(df, hn::Add(shifted, unit)), hn::BitCast(df, unit)));
    const auto special = hn::Add(normal, hn::Set(d, (128u - 16u) << 23));
    auto result = hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 0x400u)), subnormal, normal);
    result = hn::IfThenElse(hn::Gt(magnitude, hn::Set(d, 0x7BFFu)), special, result);
    const auto quiet = hn::IfThenElseZero(hn::Gt(magnitude, hn::Set(d, 0x7C00u)), hn::Set(d, 0x400000u));
    return hn::Or(hn::Or(result, quiet), sign);
  });
}

void F32ToBF16(const std::byte* from, std::byte* to, size_t count) {
  const Tag32 d;
  ForEachVector(d, Tag16(), from, to, count, [&](auto bits) HWY_ATTR {
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1u));
    const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(d, 0x7FFFu)), odd));
    const auto nan = hn::Or(hn::ShiftRight<16>(bits), hn::Set(d, 0x40u));
    const auto is_nan = hn::Gt(hn::And(bits, hn::Set(d, 0x7FFFFFFFu)), hn::Set(d, 0x7F800000u));
    return To16(hn::IfThenElse(is_nan, nan, rounded));
  });
}

void BF16ToF32(const std::byte* from, std::byte* to, size_t count) {
  const Tag32 d;
  ForEachVector(Tag16(), d, from, to, count, [&](auto brain) HWY_ATTR {
    const auto bits = hn::ShiftLeft<16>(hn::PromoteTo(d, brain));
    const auto is_nan = hn::Gt(hn::And(bits, hn::Set(d, 0x7FFFFFFFu)), hn::Set(d, 0x7F800000u));
    return hn::Or(bits, hn::IfThenElseZero(is_nan, hn::Set(d, 0x400000u)));
  });
}

// The scalar emulations clamp where hardware overflows to infinity; our own scalar code is used there.
#if HWY_HAVE_FLOAT64 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
using TagF64 = hn::ScalableTag<double>;
using TagHalfF32 = hn::Rebind<float, TagF64>;

void F64ToF32(const std::byte* from, std::byte* to, size_t count) {
  ForEachVector(TagF64(), TagHalfF32(), from, to, count,
                [](auto value) HWY_ATTR { return hn::DemoteTo(TagHalfF32(), value); });
}

void F32ToF64(const std::byte* from, std::byte* to, size_t count) {
  ForEachVector(TagHalfF32(), TagF64(), from, to, count,
                [](auto value) HWY_ATTR { return hn::PromoteTo(TagF64(), value); });
}
constexpr CastFunction kF64ToF32 = F64ToF32;
constexpr CastFunction kF32ToF64 = F32ToF64;
#else
constexpr CastFunction kF64ToF32 = nullptr;
constexpr CastFunction kF32ToF64 = nullptr;
#endif

CastFunction Find(DType from, DType to) {
  if (from == DType::kF32 && to == DType::kF16) return F32ToF16;
  if (from == DType::kF16 && to == DType::kF32) return F16ToF32;
  if (from == DType::kF32 && to == DType::kBF16) return F32ToBF16;
  if (from == DType::kBF16 && to == DType::kF32) return BF16ToF32;
  if (from == DType::kF64 && to == DType::kF32) return kF64ToF32;
  if (from == DType::kF32 && to == DType::kF64) return kF32ToF64;
  return nullptr;
}

}  // namespace anemone::internal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "tensor/simd.h"

namespace anemone::internal {

CastFunction FindVectorCast(DType from, DType to) { return ANEMONE_BEST(Find)(from, to); }

std::vector<VectorCast> VectorCasts(DType from, DType to) {
  std::vector<VectorCast> out;
  for (const auto& [target, find] : ANEMONE_RUNNABLE(Find)) out.push_back({target, find(from, to)});
  return out;
}

}  // namespace anemone::internal
#endif
