#include "tensor/cast.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tensor/cast_simd.h"

namespace anemone::internal {
namespace {

enum class Family : uint8_t { kFloat, kSigned, kUnsigned, kBool, kComplex };

// How a float format ends: what its largest exponent and its negative zero mean.
enum class Ending : uint8_t {
  kIeee,      // infinities and NaNs in the largest exponent
  kFinite,    // NaN is all ones, no infinity [OCP OFP8, E4M3]
  kUnsigned0  // NaN is the negative zero, no infinity [the fnuz formats]
};

struct FloatFormat {
  int exponent_bits;
  int mantissa_bits;
  int bias;
  Ending ending;
};

constexpr FloatFormat kDouble{11, 52, 1023, Ending::kIeee};

constexpr FloatFormat FormatOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return {8, 23, 127, Ending::kIeee};
    case DType::kF16:
      return {5, 10, 15, Ending::kIeee};
    case DType::kBF16:
      return {8, 7, 127, Ending::kIeee};
    case DType::kF8E4M3:
      return {4, 3, 7, Ending::kFinite};
    case DType::kF8E5M2:
      return {5, 2, 15, Ending::kIeee};
    case DType::kF8E4M3FNUZ:
      return {4, 3, 8, Ending::kUnsigned0};
    case DType::kF8E5M2FNUZ:
      return {5, 2, 16, Ending::kUnsigned0};
    default:
      return kDouble;
  }
}

Family FamilyOf(DType dtype) {
  switch (dtype) {
    case DType::kI64:
    case DType::kI32:
    case DType::kI16:
    case DType::kI8:
      return Family::kSigned;
    case DType::kU64:
    case DType::kU32:
    case DType::kU16:
    case DType::kU8:
      return Family::kUnsigned;
    case DType::kBool:
      return Family::kBool;
    case DType::kC32:
    case DType::kC64:
    case DType::kC128:
      return Family::kComplex;
    default:
      return Family::kFloat;
  }
}

constexpr uint64_t kSign = uint64_t{1} << 63;
constexpr uint64_t kInfinity = uint64_t{0x7FF} << 52;
constexpr uint64_t kMantissa = (uint64_t{1} << 52) - 1;
constexpr uint64_t kQuiet = uint64_t{1} << 51;

bool IsNan(uint64_t bits) { return (bits & ~kSign) > kInfinity; }

// The double equal to a number of `format`; a NaN's payload moves to the top and is quiet.
uint64_t Widen(const FloatFormat& format, uint64_t bits) {
  const int m = format.mantissa_bits;
  const uint64_t magnitude_mask = (uint64_t{1} << (format.exponent_bits + m)) - 1;
  const uint64_t magnitude = bits & magnitude_mask;
  const uint64_t sign = (bits & ~magnitude_mask) != 0 ? kSign : 0;
  const uint64_t top = magnitude_mask >> m;
  const uint64_t exponent = magnitude >> m;
  const uint64_t mantissa = magnitude & ((uint64_t{1} << m) - 1);
  if (format.ending == Ending::kIeee && exponent == top)
    return sign | kInfinity | (mantissa << (52 - m)) | (mantissa != 0 ? kQuiet : 0);
  if (format.ending == Ending::kFinite && magnitude == magnitude_mask) return sign | kInfinity | kQuiet;
  if (format.ending == Ending::kUnsigned0 && sign != 0 && magnitude == 0) return kInfinity | kQuiet;
  const double scaled = exponent == 0 ? std::ldexp(static_cast<double>(mantissa), 1 - format.bias - m)
                                      : std::ldexp(static_cast<double>(mantissa | (uint64_t{1} << m)),
                                                   static_cast<int>(exponent) - format.bias - m);
  return sign | std::bit_cast<uint64_t>(scaled);
}

// The number of `format` nearest to a double, ties to even.
uint64_t Narrow(const FloatFormat& format, uint64_t bits) {
  const int m = format.mantissa_bits;
  const uint64_t magnitude_mask = (uint64_t{1} << (format.exponent_bits + m)) - 1;
  const uint64_t sign_bit = uint64_t{1} << (format.exponent_bits + m);
  const uint64_t sign = (bits & kSign) != 0 ? sign_bit : 0;
  const uint64_t infinity = magnitude_mask >> m << m;
  if (format.ending == Ending::kUnsigned0 && (IsNan(bits) || (bits & ~kSign) == kInfinity)) return sign_bit;
  if (format.ending == Ending::kFinite && (bits & ~kSign) >= kInfinity) return sign | magnitude_mask;
  if (IsNan(bits)) {
    const uint64_t payload = (bits & kMantissa) >> (52 - m);
    return sign | infinity | payload | (uint64_t{1} << (m - 1));
  }
  const int exponent = static_cast<int>((bits & ~kSign) >> 52) - 1023;
  uint64_t mantissa = bits & kMantissa;
  uint64_t magnitude;
  if ((bits & ~kSign) == kInfinity) {
    magnitude = infinity;
  } else {
    // The significand as an integer with 52 places; `shift` of them are rounded away. A subnormal result loses more. A
    // subnormal double is far below every format but itself.
    mantissa |= uint64_t{1} << 52;
    const int biased = exponent + format.bias;
    const int shift = (52 - m) + (biased < 1 ? 1 - biased : 0);
    if (shift > 54) {
      magnitude = 0;
    } else {
      const uint64_t kept = mantissa >> shift;
      const uint64_t lost = mantissa & ((uint64_t{1} << shift) - 1);
      const uint64_t half = uint64_t{1} << (shift - 1);
      const uint64_t rounded = kept + (lost > half || (lost == half && (kept & 1)));
      // A carry moves into the exponent by itself: the hidden bit is added to it.
      magnitude = biased < 1 ? rounded : (static_cast<uint64_t>(biased - 1) << m) + rounded;
    }
    const uint64_t largest = format.ending == Ending::kIeee     ? infinity - 1
                             : format.ending == Ending::kFinite ? magnitude_mask - 1
                                                                : magnitude_mask;
    if (magnitude > largest) {
      if (format.ending == Ending::kUnsigned0) return sign_bit;
      magnitude = format.ending == Ending::kIeee ? infinity : magnitude_mask;
    }
  }
  if (format.ending == Ending::kUnsigned0 && magnitude == 0) return 0;
  return sign | magnitude;
}

// Between reading and writing an element is one of these.
struct Number {
  Family family;
  uint64_t bits;  // of a double, an int64 or a uint64
};

uint64_t LoadBits(const std::byte* from, size_t size) {
  uint64_t bits = 0;
  std::memcpy(&bits, from, size);
  return bits;
}

int64_t SignExtend(uint64_t bits, size_t size) {
  const int shift = static_cast<int>(64 - 8 * size);
  return static_cast<int64_t>(bits << shift) >> shift;
}

Number Load(DType dtype, Family family, const std::byte* from, size_t size) {
  const uint64_t bits = LoadBits(from, size);
  switch (family) {
    case Family::kFloat:
      if (dtype == DType::kF64) return {family, bits};
      if (dtype == DType::kF8E8M0)
        return {family, bits == 0xFF ? kInfinity | kQuiet
                                     : std::bit_cast<uint64_t>(std::ldexp(1.0, static_cast<int>(bits) - 127))};
      return {family, Widen(FormatOf(dtype), bits)};
    case Family::kSigned:
      return {family, static_cast<uint64_t>(SignExtend(bits, size))};
    case Family::kBool:
      return {Family::kUnsigned, bits != 0};
    default:
      return {Family::kUnsigned, bits};
  }
}

// A double that rounds to any shorter format as the integer itself would: beyond 53 bits, what is lost leaves a mark in
// the lowest bit kept (rounding to odd), which no tie can survive.
double RoundToOdd(Number number) {
  const bool negative = number.family == Family::kSigned && static_cast<int64_t>(number.bits) < 0;
  uint64_t magnitude = negative ? uint64_t{0} - number.bits : number.bits;
  if (magnitude >> 53 != 0) magnitude = (magnitude & ~uint64_t{0x7FF}) | ((magnitude & 0x7FF) != 0 ? 0x800 : 0);
  const double value = static_cast<double>(magnitude);
  return negative ? -value : value;
}

uint64_t StoreFloat(DType to, Number number) {
  uint64_t bits = number.bits;
  if (number.family != Family::kFloat) {
    if (to == DType::kF64) {
      return std::bit_cast<uint64_t>(number.family == Family::kSigned ? static_cast<double>(static_cast<int64_t>(bits))
                                                                      : static_cast<double>(bits));
    }
    bits = std::bit_cast<uint64_t>(RoundToOdd(number));
  }
  return to == DType::kF64 ? bits : Narrow(FormatOf(to), bits);
}

uint64_t StoreSigned(size_t size, Number number) {
  const int64_t largest = std::numeric_limits<int64_t>::max() >> (64 - 8 * size);
  const int64_t smallest = -largest - 1;
  if (number.family == Family::kFloat) {
    const double value = std::trunc(std::bit_cast<double>(number.bits));
    if (std::isnan(value)) return 0;
    if (value >= -static_cast<double>(smallest)) return static_cast<uint64_t>(largest);
    if (value <= static_cast<double>(smallest)) return static_cast<uint64_t>(smallest);
    return static_cast<uint64_t>(static_cast<int64_t>(value));
  }
  if (number.family == Family::kUnsigned) return std::min(number.bits, static_cast<uint64_t>(largest));
  return static_cast<uint64_t>(std::clamp(static_cast<int64_t>(number.bits), smallest, largest));
}

uint64_t StoreUnsigned(size_t size, Number number) {
  const uint64_t largest = std::numeric_limits<uint64_t>::max() >> (64 - 8 * size);
  if (number.family == Family::kFloat) {
    const double value = std::trunc(std::bit_cast<double>(number.bits));
    if (!(value > 0)) return 0;  // NaN too
    if (value >= std::ldexp(1.0, static_cast<int>(8 * size))) return largest;
    return static_cast<uint64_t>(value);
  }
  if (number.family == Family::kSigned && static_cast<int64_t>(number.bits) < 0) return 0;
  return std::min(number.bits, largest);
}

bool IsTrue(Number number) { return number.family == Family::kFloat ? (number.bits & ~kSign) != 0 : number.bits != 0; }

}  // namespace

bool IsFloat(DType dtype) { return FamilyOf(dtype) == Family::kFloat; }

bool CanCast(DType from, DType to) {
  if (from == to) return true;
  if (IsPacked(from) || IsPacked(to)) return false;
  return FamilyOf(from) != Family::kComplex && FamilyOf(to) != Family::kComplex && to != DType::kF8E8M0;
}

void CastElementsScalar(DType from_dtype, const std::byte* from, DType to_dtype, std::byte* to, size_t count) {
  const size_t from_size = SizeBytes(from_dtype), to_size = SizeBytes(to_dtype);
  if (from_dtype == to_dtype) {
    if (from != to) std::memmove(to, from, count * from_size);
    return;
  }
  const Family from_family = FamilyOf(from_dtype), to_family = FamilyOf(to_dtype);
  for (size_t i = 0; i < count; ++i) {
    const Number number = Load(from_dtype, from_family, from + i * from_size, from_size);
    uint64_t bits = 0;
    switch (to_family) {
      case Family::kFloat:
        bits = StoreFloat(to_dtype, number);
        break;
      case Family::kSigned:
        bits = StoreSigned(to_size, number);
        break;
      case Family::kUnsigned:
        bits = StoreUnsigned(to_size, number);
        break;
      case Family::kBool:
        bits = IsTrue(number);
        break;
      case Family::kComplex:
        break;  // CanCast refused it
    }
    std::memcpy(to + i * to_size, &bits, to_size);
  }
}

void CastElements(DType from_dtype, const std::byte* from, DType to_dtype, std::byte* to, size_t count) {
  if (const CastFunction direct = FindVectorCast(from_dtype, to_dtype)) return direct(from, to, count);
  // A 16-bit float is a float32 exactly, so it may go that way.
  const CastFunction widen = FindVectorCast(from_dtype, DType::kF32);
  if (widen == nullptr || SizeBytes(from_dtype) != 2 || from_dtype == to_dtype)
    return CastElementsScalar(from_dtype, from, to_dtype, to, count);
  constexpr size_t kBlock = 1024;
  alignas(64) std::byte floats[kBlock * sizeof(float)];
  for (size_t i = 0; i < count; i += kBlock) {
    const size_t n = std::min(kBlock, count - i);
    widen(from + i * 2, floats, n);
    CastElements(DType::kF32, floats, to_dtype, to + i * SizeBytes(to_dtype), n);
  }
}

}  // namespace anemone::internal
