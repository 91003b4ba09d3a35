// Numbers as files have them, the lowest byte first.
#ifndef ANEMONE_BASE_LITTLE_ENDIAN_H_
#define ANEMONE_BASE_LITTLE_ENDIAN_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace anemone::internal {

// REQUIRES: at most eight bytes.
inline uint64_t LittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

}  // namespace anemone::internal

#endif  // ANEMONE_BASE_LITTLE_ENDIAN_H_
