// Size arithmetic that says when it overflows. Every byte count that comes from a file goes through here.
#ifndef ANEMONE_BASE_CHECKED_H_
#define ANEMONE_BASE_CHECKED_H_

#include <cstdint>
#include <optional>

namespace anemone {

inline std::optional<uint64_t> CheckedAdd(uint64_t a, uint64_t b) {
  uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<uint64_t> CheckedMul(uint64_t a, uint64_t b) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// True when [offset, offset + size) lies in [0, limit).
inline bool Within(uint64_t offset, uint64_t size, uint64_t limit) { return offset <= limit && size <= limit - offset; }

}  // namespace anemone

#endif  // ANEMONE_BASE_CHECKED_H_
