#include "container/text.h"

#include <algorithm>

#include "base/utf8.h"

namespace anemone::internal {
std::string Quoted(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  constexpr size_t kMost = 80;
  std::string out = "\"";
  while (!text.empty() && out.size() < kMost) {
    const auto lead = static_cast<uint8_t>(text[0]);
    size_t length = Utf8Letter(text, false);
    const bool c1 = length == 2 && lead == 0xc2 && static_cast<uint8_t>(text[1]) < 0xa0;
    if (length == 0 || c1 || lead < 0x20 || lead == 0x7f || lead == '"' || lead == '\\') {
      out += {'\\', 'x', kHex[lead >> 4], kHex[lead & 15]};
      text.remove_prefix(1);
      continue;
    }
    out.append(text.substr(0, length));
    text.remove_prefix(length);
  }
  return out + (text.empty() ? "\"" : "…\"");
}

bool IsUtf8(std::string_view text, bool surrogates) {
  while (!text.empty()) {
    const size_t length = Utf8Letter(text, surrogates);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace anemone::internal
