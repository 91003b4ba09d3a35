#include "container/pickle_numbers.h"

#include <charconv>
#include <vector>

#include "container/text.h"

namespace anemone::internal {
namespace {

constexpr size_t kMaxBytes = 255;   // the longest LONG1; an int in a checkpoint has 8
constexpr size_t kMaxDigits = 613;  // every number of so many digits fits kMaxBytes

Status NoNumber(std::string_view found) {
  return Corrupt("expected a decimal number, found " + Quoted(found) + " [PKL-7]");
}

// REQUIRES: not empty.
std::string DecimalDigits(std::string_view bytes) {
  std::vector<uint8_t> magnitude(bytes.begin(), bytes.end());
  const bool negative = (magnitude.back() & 0x80) != 0;
  if (negative) {
    unsigned carry = 1;
    for (uint8_t& byte : magnitude) {
      carry += static_cast<uint8_t>(~byte);
      byte = static_cast<uint8_t>(carry);
      carry >>= 8;
    }
  }
  std::string digits;
  while (!magnitude.empty()) {
    unsigned remainder = 0;
    for (size_t i = magnitude.size(); i-- > 0;) {
      remainder = remainder << 8 | magnitude[i];
      magnitude[i] = static_cast<uint8_t>(remainder / 10);
      remainder %= 10;
    }
    digits += static_cast<char>('0' + remainder);
    while (!magnitude.empty() && magnitude.back() == 0) magnitude.pop_back();
  }
  if (negative) digits += '-';
  return {digits.rbegin(), digits.rend()};
}

}  // namespace

Result<PickledInt> IntFromBytes(std::string_view bytes) {
  if (bytes.size() > kMaxBytes) {
    return LimitExceeded("expected an int of at most 255 bytes, found " + std::to_string(bytes.size()) + " [PKL-7]");
  }
  const auto fill = [](char top) { return (top & 0x80) != 0 ? '\xff' : '\0'; };
  while (bytes.size() > 1 && bytes.back() == fill(bytes.back()) && bytes.back() == fill(bytes[bytes.size() - 2])) {
    bytes.remove_suffix(1);
  }
  if (bytes.size() > 8) return PickledInt{std::nullopt, DecimalDigits(bytes)};
  uint64_t value = !bytes.empty() && (bytes.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return PickledInt{static_cast<int64_t>(value), ""};
}

Result<PickledInt> IntFromDigits(std::string_view line) {
  const std::string_view digits = line.substr(line.starts_with('-') ? 1 : 0);
  const bool is_number = !digits.empty() && digits.find_first_not_of("0123456789") == std::string_view::npos;
  if (!is_number || (digits[0] == '0' && line != "0")) return NoNumber(line);
  if (digits.size() > kMaxDigits) {
    return LimitExceeded("expected an int of at most 613 digits, found " + std::to_string(digits.size()) + " [PKL-7]");
  }
  int64_t value = 0;
  if (std::from_chars(line.data(), line.data() + line.size(), value).ec == std::errc()) return PickledInt{value, ""};
  return PickledInt{std::nullopt, std::string(line)};
}

Result<double> FloatFromText(std::string_view line) {
  const bool has_plus = line.starts_with('+') && !line.starts_with("+-");
  const std::string_view number = line.substr(has_plus ? 1 : 0);
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  const bool is_whole = error == std::errc() && end == number.data() + number.size() && !number.ends_with(')');
  if (!is_whole) return NoNumber(line);
  return value;
}

}  // namespace anemone::internal
