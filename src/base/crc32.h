// CRC-32 (IEEE 802.3, as zip, gzip and PNG have it), by parts in any order.
#ifndef ANEMONE_BASE_CRC32_H_
#define ANEMONE_BASE_CRC32_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace anemone {

// The CRC of `crc`'s bytes followed by `bytes`; 0 is the CRC of nothing.
uint32_t Crc32(uint32_t crc, std::span<const std::byte> bytes);

// What a part contributes to the CRC of a whole in which `following` bytes come after it. The CRC of the whole is the
// XOR of its parts' contributions, so parts may be done in any order, by any thread or rank.
uint32_t Crc32Shift(uint32_t crc, uint64_t following);

// As zip stores it: the lowest byte first.
inline std::array<std::byte, 4> Crc32Bytes(uint32_t crc) {
  return {static_cast<std::byte>(crc), static_cast<std::byte>(crc >> 8), static_cast<std::byte>(crc >> 16),
          static_cast<std::byte>(crc >> 24)};
}

}  // namespace anemone

#endif  // ANEMONE_BASE_CRC32_H_
