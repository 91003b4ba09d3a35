// The escapes of text in pickles of protocol 0.
#ifndef ANEMONE_CONTAINER_PICKLE_ESCAPES_H_
#define ANEMONE_CONTAINER_PICKLE_ESCAPES_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace anemone::internal {

struct Unescaped {
  std::string text;
  size_t broken_at = std::string_view::npos;  // the first escape that is cut short or says no letter; kept as it is
};

// repr() of a Python 2 string, without the quotes: a\x00b. An escape that Python does not know is kept, as Python does.
Unescaped UnescapeString(std::string_view body);

// Python's raw-unicode-escape, Latin-1 with \uXXXX and \UXXXXXXXX, as UTF-8. Two escapes that make one letter in UTF-16
// stay two surrogates, as in Python.
Unescaped UnescapeUnicode(std::string_view body);

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_PICKLE_ESCAPES_H_
