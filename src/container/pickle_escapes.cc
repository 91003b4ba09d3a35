#include "container/pickle_escapes.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "base/utf8.h"

namespace anemone::internal {
namespace {

// The digits of a number, at most so many, and how many there are.
struct Digits {
  uint32_t value = 0;
  size_t used = 0;
};
Digits NumberAt(std::string_view body, size_t from, size_t most, int base) {
  const std::string_view digits = body.substr(std::min(from, body.size()), most);
  Digits number;
  number.used = static_cast<size_t>(
      std::from_chars(digits.data(), digits.data() + digits.size(), number.value, base).ptr - digits.data());
  return number;
}

}  // namespace

Unescaped UnescapeString(std::string_view body) {
  constexpr std::string_view kEscapes = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
  Unescaped result;
  const auto is_broken = [&result](size_t at) { result.broken_at = std::min(result.broken_at, at); };
  for (size_t i = 0; i < body.size(); ++i) {
    if (body[i] != '\\') {
      result.text += body[i];
      continue;
    }
    if (i + 1 == body.size()) {
      is_broken(i);
      result.text += '\\';
      break;
    }
    const char next = body[++i];
    if (const size_t simple = kEscapes.find(next); simple != std::string_view::npos) {
      result.text += kMeanings[simple];
    } else if (next == 'x') {
      const Digits code = NumberAt(body, i + 1, 2, 16);
      if (code.used != 2) is_broken(i - 1);
      result.text += static_cast<char>(code.value);
      i += code.used;
    } else if (next >= '0' && next <= '7') {
      const Digits code = NumberAt(body, i, 3, 8);
      result.text += static_cast<char>(code.value);
      i += code.used - 1;
    } else {
      result.text += {'\\', next};
    }
  }
  return result;
}

Unescaped UnescapeUnicode(std::string_view body) {
  Unescaped result;
  for (size_t i = 0; i < body.size(); ++i) {
    uint32_t code = static_cast<uint8_t>(body[i]);
    const char next = body[i] == '\\' && i + 1 < body.size() ? body[i + 1] : '\0';
    if (const size_t digits = next == 'u' ? 4 : next == 'U' ? 8 : 0; digits != 0) {
      const Digits escaped = NumberAt(body, i + 2, digits, 16);
      if (escaped.used == digits && escaped.value <= 0x10ffff) {
        code = escaped.value;
        i += 1 + digits;
      } else {
        result.broken_at = std::min(result.broken_at, i);
      }
    } else if (next != '\0') {  // a backslash is no escape's where it follows another
      result.text += '\\';
      code = static_cast<uint8_t>(body[++i]);
    }
    AppendUtf8(code, result.text);
  }
  return result;
}

}  // namespace anemone::internal
