// JSON strings, escaped for writing: Config's own, and those of headers that a format writes by itself.
#ifndef ANEMONE_CONFIG_JSON_STRING_H_
#define ANEMONE_CONFIG_JSON_STRING_H_

#include <string>
#include <string_view>

namespace anemone::internal {

// `text` (UTF-8) as a JSON string, quotes included; only what JSON demands is escaped, as serde_json and Python's json
// do.
inline std::string JsonString(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
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
          constexpr char kHex[] = "0123456789abcdef";
          out += "\\u00";
          out += kHex[static_cast<unsigned char>(c) >> 4];
          out += kHex[static_cast<unsigned char>(c) & 15];
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

}  // namespace anemone::internal

#endif  // ANEMONE_CONFIG_JSON_STRING_H_
