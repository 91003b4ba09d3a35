// Reading what a program may do without. A failure to read it is an error all the same: what it says is not known.
#ifndef ANEMONE_BASE_READ_AT_MOST_H_
#define ANEMONE_BASE_READ_AT_MOST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "anemone/bytes.h"
#include "anemone/status.h"

namespace anemone {

// All of `content`; nullopt: it has more bytes than `most`. Errors: as reading.
inline Result<std::optional<std::string>> ReadAtMost(const ByteRange& content, uint64_t most) {
  if (content.size > most) return std::optional<std::string>();
  ANEMONE_ASSIGN(std::string bytes, content.ReadAll(most));
  return std::optional(std::move(bytes));
}

// True for an error of reading itself: it does not tell whether the bytes are right.
inline bool IsReadFailure(const Status& status) {
  return !status.ok() && (status.kind() == ErrorKind::kIo || status.kind() == ErrorKind::kUnavailable ||
                          status.kind() == ErrorKind::kInterrupted || status.kind() == ErrorKind::kOutOfMemory);
}

}  // namespace anemone

#endif  // ANEMONE_BASE_READ_AT_MOST_H_
