#include "container/text.h"

#include <algorithm>

namespace anemone::internal {
namespace {

// The length of the UTF-8 letter at the start of `text`, 0 if there is none.
size_t Utf8Letter(std::string_view text, bool surrogates) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (lead == 0xe0 && byte(1) < 0xa0) return 0;  // over-long
  if (lead == 0xf0 && byte(1) < 0x90) return 0;
  if (lead == 0xf4 && byte(1) > 0x8f) return 0;  // beyond U+10FFFF
  if (lead == 0xed && byte(1) > 0x9f && !surrogates) return 0;
  return length;
}

}  // namespace

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
