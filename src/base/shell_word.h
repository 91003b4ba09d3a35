// Text that is shown to people, and paths in commands that they are told to run.
#ifndef ANEMONE_BASE_SHELL_WORD_H_
#define ANEMONE_BASE_SHELL_WORD_H_

#include <string>
#include <string_view>

namespace anemone {

// Control characters and bytes that are not UTF-8 as "\x1b", a line feed as `newline`.
std::string EscapeControls(std::string_view text, std::string_view newline);

// A path as a shell takes it: in single quotes where it has more than letters, digits and a path's marks, in bash's
// $'' where it cannot be shown as it is.
std::string ShellWord(std::string_view path);

}  // namespace anemone

#endif  // ANEMONE_BASE_SHELL_WORD_H_
