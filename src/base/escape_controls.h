// Text that is shown to people.
#ifndef ANEMONE_BASE_ESCAPE_CONTROLS_H_
#define ANEMONE_BASE_ESCAPE_CONTROLS_H_

#include <string>
#include <string_view>

namespace anemone {

// Control characters and bytes that are not UTF-8 as "\x1b", a line feed as `newline`.
std::string EscapeControls(std::string_view text, std::string_view newline);

}  // namespace anemone

#endif  // ANEMONE_BASE_ESCAPE_CONTROLS_H_
