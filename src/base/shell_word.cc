#include "base/shell_word.h"

#include "base/escape_controls.h"

namespace anemone {

std::string ShellWord(std::string_view path) {
  if (path.starts_with('-')) return ShellWord("./" + std::string(path));
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%";
  if (!path.empty() && path.find_first_not_of(kPlain) == std::string_view::npos) return std::string(path);
  const bool is_shown = EscapeControls(path, "\\n") == path;
  std::string quoted;
  for (const char c : path) {
    if (c == '\'') quoted += is_shown ? "'\\'" : "\\";
    if (c == '\\' && !is_shown) quoted += c;
    quoted += c;
  }
  return is_shown ? "'" + quoted + "'" : "$'" + EscapeControls(quoted, "\\n") + "'";
}

}  // namespace anemone
