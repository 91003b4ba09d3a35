// Numbers as pickles hold them.
#ifndef ANEMONE_CONTAINER_PICKLE_NUMBERS_H_
#define ANEMONE_CONTAINER_PICKLE_NUMBERS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "anemone/status.h"

namespace anemone::internal {

struct PickledInt {
  std::optional<int64_t> value;
  std::string digits;  // decimal, where it does not fit
};

// Both take ints of up to 255 bytes. Errors: LimitExceeded beyond that, Corrupt [PKL-7].

// Little-endian two's complement of any length.
Result<PickledInt> IntFromBytes(std::string_view bytes);
// As Python writes one: digits, a minus before them if need be. Python's unpicklers disagree on most other spellings:
// "010" is eight in C and an error in Python, "+1" is True in C.
Result<PickledInt> IntFromDigits(std::string_view line);

// As Python's float() takes one; blanks, underscores and numbers that overflow are refused. Errors: Corrupt [PKL-7].
Result<double> FloatFromText(std::string_view line);

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_PICKLE_NUMBERS_H_
