// The error of a source that another program has changed while it was read. Other errors of ByteSource::CheckUnchanged
// tell nothing of its content.
#ifndef ANEMONE_BASE_CHANGED_H_
#define ANEMONE_BASE_CHANGED_H_

#include <string_view>

#include "anemone/status.h"

namespace anemone {

inline constexpr std::string_view kChanged = "changed while it was read";

inline bool SaysChanged(const Status& status) { return !status.ok() && status.error().what.starts_with(kChanged); }

}  // namespace anemone

#endif  // ANEMONE_BASE_CHANGED_H_
