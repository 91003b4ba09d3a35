#include "clip/python_repr.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <charconv>
#include <cmath>
#include <cstdlib>

namespace anemone {
namespace {

bool IsPrintable(utf8proc_int32_t code_point) {  // str.isprintable [CPython Tools/unicode/makeunicodedata.py]
  switch (utf8proc_category(code_point)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return code_point == ' ';
    default:
      return true;
  }
}

}  // namespace

std::string PythonRepr(std::string_view text) {
  const bool single = text.find('\'') == std::string_view::npos || text.find('"') != std::string_view::npos;
  const char quote = single ? '\'' : '"';
  std::string out(1, quote);
  for (size_t i = 0; i < text.size();) {
    utf8proc_int32_t c = 0;
    const utf8proc_ssize_t length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + i,
                                                     static_cast<utf8proc_ssize_t>(text.size() - i), &c);
    if (length <= 0) {
      out += fmt::format("\\udc{:02x}", static_cast<unsigned char>(text[i]));
      ++i;
      continue;
    }
    if (c == quote || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (IsPrintable(c)) {
      out += text.substr(i, static_cast<size_t>(length));
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", c);
    } else if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", c);
    } else {
      out += fmt::format("\\U{:08x}", c);
    }
    i += static_cast<size_t>(length);
  }
  out += quote;
  return out;
}

std::string NumpyRepr(float value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  const double size = std::fabs(static_cast<double>(value));
  const bool positional = size == 0 || (size >= 1e-4 && size < 1e16);

  // "d.ddde±XX": to_chars gives the shortest digits that round-trip, and at least two of exponent.
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  std::string scientific(buffer, end);
  if (!positional) return scientific;

  const size_t e = scientific.find('e');
  const int exponent = std::atoi(scientific.c_str() + e + 1);
  std::string out;
  std::string digits;
  for (const char c : std::string_view(scientific).substr(0, e)) {
    if (c == '-') out = "-";
    if (c >= '0' && c <= '9') digits += c;
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0') + ".0";
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string ProbabilityLine(std::span<const std::string> texts, std::span<const float> probabilities) {
  std::string line = "Given image's CLIP text probability:  [";
  for (size_t i = 0; i < texts.size(); ++i) {
    line += fmt::format("{}({}, {})", i == 0 ? "" : ", ", PythonRepr(texts[i]), NumpyRepr(probabilities[i]));
  }
  return line + "]";
}

}  // namespace anemone
