// The nearest known word to one that was mistyped.
#ifndef ANEMONE_BASE_NEAREST_H_
#define ANEMONE_BASE_NEAREST_H_

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "anemone/bytes.h"
#include "anemone/status.h"

namespace anemone {

// Levenshtein distance; `limit` + 1 where it is larger than `limit`.
size_t EditDistance(std::string_view a, std::string_view b, size_t limit);

// The one of `among` with the fewest edits to `word`: at most `limit` of them, and fewer than `word` has characters.
// Empty where there is none. Looks at the first 2,000 only.
std::string Nearest(std::string_view word, std::span<const std::string> among, size_t limit);

// "did you mean X?" for a word that was typed: X is at most a third of the word away, or begins with the word. Empty
// where there is none.
std::string DidYouMean(std::string_view word, std::span<const std::string> among);

// The failure of opening a path that a user typed; where there is no such path, with a hint that names what lies beside
// it under the nearest name.
Status WithNearestPath(const Status& status, const std::string& path);
// OpenFile of such a path.
Result<ByteSourcePtr> OpenGivenFile(const std::string& path);

}  // namespace anemone

#endif  // ANEMONE_BASE_NEAREST_H_
