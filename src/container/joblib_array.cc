#include "container/joblib_array.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <system_error>

namespace anemone::internal {

std::optional<uint64_t> ItemSize(std::string_view dtype) {
  constexpr std::string_view kFixed[] = {"b1", "i1", "i2", "i4",  "i8", "u1",  "u2",  "u4", "u8",
                                         "f2", "f4", "f8", "f16", "c8", "c16", "c32", "M8", "m8"};
  if (dtype == "O8") return kObjectItem;
  if (dtype.size() < 2 || dtype[1] == '0') return std::nullopt;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(dtype.data() + 1, dtype.data() + dtype.size(), number);
  if (error != std::errc() || end != dtype.data() + dtype.size() || number > INT32_MAX / 4) return std::nullopt;
  if (dtype[0] == 'S') return number;
  if (dtype[0] == 'U') return 4 * number;
  if (std::ranges::find(kFixed, dtype) == std::end(kFixed)) return std::nullopt;
  return number;
}

}  // namespace anemone::internal
