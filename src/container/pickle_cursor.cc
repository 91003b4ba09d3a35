#include "container/pickle_cursor.h"

#include <algorithm>

#include "base/cancel.h"

namespace anemone::internal {

Result<std::string_view> PickleCursor::Peek(uint64_t count) {
  count = std::min(count, left());
  if (at_ < buffer_at_ || at_ + count > buffer_at_ + buffer_.size()) {
    if (CancelRequested()) return Interrupted();  // a line may have any length
    window_ = std::max(count, std::min(2 * window_, kWindow));
    ANEMONE_ASSIGN(const ByteRange part, input_.Sub(at_, std::min(window_, left())));
    ANEMONE_ASSIGN(buffer_, part.ReadAll(kWindow));
    buffer_at_ = at_;
  }
  return std::string_view(buffer_).substr(at_ - buffer_at_, count);
}

std::optional<std::string_view> PickleCursor::Recent(uint64_t at, uint64_t size) const {
  if (at < buffer_at_ || at + size > buffer_at_ + buffer_.size()) return std::nullopt;
  return std::string_view(buffer_).substr(at - buffer_at_, size);
}

Result<uint64_t> PickleCursor::LineLength() {
  const uint64_t start = at_;
  uint64_t length = 0;
  while (length == 0 && left() > 0) {
    Result<std::string_view> part = Peek(std::min(left(), at_ == start ? uint64_t{128} : kWindow));
    if (!part.ok()) return part.status();
    const size_t end = part->find('\n');
    if (end != part->npos) length = at_ - start + end + 1;
    at_ += part->size();
  }
  at_ = start;
  return length;
}

}  // namespace anemone::internal
