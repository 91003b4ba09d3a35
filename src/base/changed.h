// What a source says that another program has changed while it was read: of the errors of looking at it, the one that
// tells something of its content.
#ifndef ANEMONE_BASE_CHANGED_H_
#define ANEMONE_BASE_CHANGED_H_

#include <string_view>

namespace anemone {

inline constexpr std::string_view kChanged = "changed while it was read";

}  // namespace anemone

#endif  // ANEMONE_BASE_CHANGED_H_
