// Sizes that are padded.
#ifndef ANEMONE_BASE_ROUND_UP_H_
#define ANEMONE_BASE_ROUND_UP_H_

#include <cstdint>

namespace anemone {

// The least multiple that is not below `value`. REQUIRES: multiple > 0, and the result fits.
constexpr uint64_t RoundUp(uint64_t value, uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace anemone

#endif  // ANEMONE_BASE_ROUND_UP_H_
