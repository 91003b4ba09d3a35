#include "base/crc32.h"

#include <libdeflate.h>

#include <array>

namespace anemone {
namespace {

// a · b modulo the CRC's polynomial, over GF(2), bits reflected (bit 31 is x^0).
constexpr uint32_t MultiplyMod(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = uint32_t{1} << 31; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = (b & 1) ? (b >> 1) ^ 0xEDB88320u : b >> 1;
  }
  return product;
}

// x^(8 · 2^k): what 2^k bytes of zeros multiply by.
constexpr std::array<uint32_t, 64> kShiftByPowerOfTwo = [] {
  std::array<uint32_t, 64> table{};
  uint32_t power = uint32_t{1} << (31 - 8);
  for (uint32_t& entry : table) {
    entry = power;
    power = MultiplyMod(power, power);
  }
  return table;
}();

}  // namespace

uint32_t Crc32(uint32_t crc, std::span<const std::byte> bytes) {
  return libdeflate_crc32(crc, bytes.data(), bytes.size());
}

uint32_t Crc32Shift(uint32_t crc, uint64_t following) {
  for (size_t k = 0; following != 0; ++k, following >>= 1) {
    if (following & 1) crc = MultiplyMod(kShiftByPowerOfTwo[k], crc);
  }
  return crc;
}

}  // namespace anemone
