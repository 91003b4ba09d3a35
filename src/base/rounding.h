// Sizes and places in units.
#ifndef ANEMONE_BASE_ROUNDING_H_
#define ANEMONE_BASE_ROUNDING_H_

#include <cstdint>

namespace anemone {

// The least multiple that is not below `value`. REQUIRES: multiple > 0, and the result fits.
constexpr uint64_t RoundUp(uint64_t value, uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// The greatest multiple that is not above `value`. REQUIRES: multiple > 0.
constexpr uint64_t RoundDown(uint64_t value, uint64_t multiple) { return value / multiple * multiple; }

}  // namespace anemone

#endif  // ANEMONE_BASE_ROUNDING_H_
