// Characters as UTF-8.
#ifndef ANEMONE_BASE_UTF8_H_
#define ANEMONE_BASE_UTF8_H_

#include <cstdint>
#include <string>

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

}  // namespace anemone

#endif  // ANEMONE_BASE_UTF8_H_
