// The bytes of a range, read once from start to end.
#ifndef ANEMONE_CONTAINER_PICKLE_CURSOR_H_
#define ANEMONE_CONTAINER_PICKLE_CURSOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "anemone/bytes.h"
#include "anemone/status.h"

namespace anemone::internal {

class PickleCursor {
 public:
  static constexpr uint64_t kWindow = 64 << 10;

  explicit PickleCursor(const ByteRange& input) : input_(input) {}

  uint64_t at() const { return at_; }
  uint64_t left() const { return input_.size - at_; }
  const ByteRange& input() const { return input_; }

  // The next `count` bytes if they are there, fewer at the end. REQUIRES: count <= kWindow.
  Result<std::string_view> Peek(uint64_t count);
  void Skip(uint64_t count) { at_ += count; }
  // Bytes that Peek has just seen; nothing where they are gone again.
  std::optional<std::string_view> Recent(uint64_t at, uint64_t size) const;
  // How far the next line reaches, its end included; 0 when there is none.
  Result<uint64_t> LineLength();

 private:
  const ByteRange input_;
  uint64_t at_ = 0;
  std::string buffer_;
  uint64_t buffer_at_ = 0;
  uint64_t window_ = 256;  // grows: most byte strings are no pickles
};

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_PICKLE_CURSOR_H_
