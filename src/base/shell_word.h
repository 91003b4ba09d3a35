// Paths in commands that people are told to run.
#ifndef ANEMONE_BASE_SHELL_WORD_H_
#define ANEMONE_BASE_SHELL_WORD_H_

#include <string>
#include <string_view>

namespace anemone {

// A path as a shell takes it: in single quotes where it has more than letters, digits and a path's marks, in bash's
// $'' where it cannot be shown as it is.
std::string ShellWord(std::string_view path);

}  // namespace anemone

#endif  // ANEMONE_BASE_SHELL_WORD_H_
