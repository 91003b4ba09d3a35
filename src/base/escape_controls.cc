#include "base/escape_controls.h"

#include "base/utf8.h"

namespace anemone {

std::string EscapeControls(std::string_view text, std::string_view newline) {
  std::string line;
  line.reserve(text.size());
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text[0]);
    const size_t length = Utf8Letter(text, /*surrogates=*/false);
    const bool is_c1 = length == 2 && byte == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
    const bool is_shown = length > 0 && !is_c1 && byte >= 0x20 && byte != 0x7f;
    if (is_shown) {
      line += text.substr(0, length);
    } else {
      constexpr char kDigits[] = "0123456789abcdef";
      line += byte == '\n' ? std::string(newline) : std::string{'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
    text.remove_prefix(is_shown ? length : 1);
  }
  return line;
}

}  // namespace anemone
