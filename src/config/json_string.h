// JSON strings, escaped for writing: Config's own, and those of headers that a format writes by itself.
#ifndef ANEMONE_CONFIG_JSON_STRING_H_
#define ANEMONE_CONFIG_JSON_STRING_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/utf8.h"

namespace anemone::internal {

// `text` as a JSON string, quotes included; only what JSON demands is escaped, as serde_json and Python's json do. Half
// a surrogate pair, as Config::ParseJson keeps it, becomes its escape; a byte that is not UTF-8, as in a file's name,
// the escape that Python's os.fsencode makes the byte of again (\udc80 … \udcff).
inline std::string JsonString(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  const auto escape = [&](uint32_t unit) {
    out += "\\u";
    for (const int shift : {12, 8, 4, 0}) out += kHex[unit >> shift & 15];
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (const auto byte = static_cast<unsigned char>(c); byte < 0x20) {
          escape(byte);
        } else if (const size_t length = Utf8Letter(text.substr(i), /*surrogates=*/true); length == 0) {
          escape(0xDC00U | byte);
        } else if (byte == 0xED && static_cast<unsigned char>(text[i + 1]) >= 0xA0) {
          escape(0xD000U | (static_cast<unsigned char>(text[i + 1]) & 0x3FU) << 6 |
                 (static_cast<unsigned char>(text[i + 2]) & 0x3FU));
          i += 2;
        } else {
          out += text.substr(i, length);
          i += length - 1;
        }
    }
  }
  return out + '"';
}

}  // namespace anemone::internal

#endif  // ANEMONE_CONFIG_JSON_STRING_H_
