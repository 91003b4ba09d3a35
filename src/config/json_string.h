// JSON strings, escaped for writing: Config's own, and those of headers that a format writes by itself.
#ifndef ANEMONE_CONFIG_JSON_STRING_H_
#define ANEMONE_CONFIG_JSON_STRING_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace anemone::internal {

// `text` (UTF-8) as a JSON string, quotes included; only what JSON demands is escaped, as serde_json and Python's json
// do. Half a surrogate pair, as Config::ParseJson keeps it, becomes its escape.
inline std::string JsonString(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
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
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out += kHex[static_cast<unsigned char>(c) >> 4];
          out += kHex[static_cast<unsigned char>(c) & 15];
        } else if (c == '\xED' && i + 2 < text.size() && static_cast<unsigned char>(text[i + 1]) >= 0xA0) {
          // Half a surrogate pair, which UTF-8 cannot hold.
          const auto second = static_cast<unsigned char>(text[i + 1]);
          const auto third = static_cast<unsigned char>(text[i + 2]);
          out += "\\ud";
          out += kHex[second >> 2 & 15];
          out += kHex[(second & 3) << 2 | (third >> 4 & 3)];
          out += kHex[third & 15];
          i += 2;
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

}  // namespace anemone::internal

#endif  // ANEMONE_CONFIG_JSON_STRING_H_
