// Small words the containers share: hexadecimal, quoting of hostile names in messages, UTF-8.
#ifndef ANEMONE_CONTAINER_TEXT_H_
#define ANEMONE_CONTAINER_TEXT_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace anemone::internal {

// `text` between quotes, shortened to about 80 bytes, anything but printable ASCII and whole UTF-8 letters as \xNN:
// what a file says must not drive a terminal.
std::string Quoted(std::string_view text);
// True for well-formed UTF-8; with `surrogates`, lone surrogates (ED A0 80 … ED BF BF) are let through as Python's
// surrogatepass does.
bool IsUtf8(std::string_view text, bool surrogates);

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_TEXT_H_
