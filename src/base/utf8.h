// Characters as UTF-8.
#ifndef ANEMONE_BASE_UTF8_H_
#define ANEMONE_BASE_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace anemone {

// Half a surrogate pair becomes three bytes, too, as Python's "surrogatepass" has it. REQUIRES: code < 0x110000.
inline void AppendUtf8(uint32_t code, std::string& out) {
  const auto put = [&out](uint32_t byte) { out += static_cast<char>(byte); };
  const auto tail = [&](int shift) { put(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    tail(6);
  } else {
    put(0xF0 | code >> 18);
    tail(12);
    tail(6);
  }
  tail(0);
}

// The length of the letter at the start of `text`, which is not empty; 0: these bytes begin none. With `surrogates`,
// half a surrogate pair (ED A0 80 … ED BF BF) is a letter, as Python's surrogatepass has it.
inline size_t Utf8Letter(std::string_view text, bool surrogates) {
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

}  // namespace anemone

#endif  // ANEMONE_BASE_UTF8_H_
