// ASCII letters in lower case: for words and ends of file names that people type in any.
#ifndef ANEMONE_BASE_LOWER_CASE_H_
#define ANEMONE_BASE_LOWER_CASE_H_

#include <string>
#include <string_view>

namespace anemone {

inline std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// Whether a file's name ends in `extension` (".nemo"), in any case.
inline bool EndsWith(std::string_view name, std::string_view extension) { return LowerCase(name).ends_with(extension); }

}  // namespace anemone

#endif  // ANEMONE_BASE_LOWER_CASE_H_
