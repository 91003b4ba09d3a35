#include "engine/share.h"

#include <fcntl.h>

#include <algorithm>

#include "base/descriptor.h"
#include "base/sys.h"
#include "engine/windows.h"

namespace anemone {

bool CanShareBlocks(int source, const std::string& folder) {
  const Descriptor file(sys.open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  return file.is_open() && sys.clone_range(source, 0, file.get(), 0, kBlockBytes) == 0;
}

std::optional<ByteRange> Shareable(const Tensor& tensor) {
  std::optional<ByteRange> range = tensor.AsByteRange();
  if (range && (range->size < kMinMoveBytes || range->source->fd() < 0)) return std::nullopt;
  return range;
}

std::optional<uint32_t> RecordedCrcOf(const ByteRange& range) {
  const std::span<const RecordedCrc32> recorded = range.source->recorded_crcs();
  const auto found =
      std::ranges::partition_point(recorded, [&](const RecordedCrc32& r) { return r.offset < range.offset; });
  const bool is_it = found != recorded.end() && found->offset == range.offset && found->size == range.size;
  return is_it ? std::optional(found->crc32) : std::nullopt;
}

Shares ShareableBytes(const Plan& plan) {
  Shares shares;
  WindowCursor cursor(plan, uint64_t{1} << 40, true);
  while (const std::optional<Window> window = cursor.Next()) {
    if (!window->range || window->range->offset % kBlockBytes != window->begin % kBlockBytes) continue;
    shares.bytes += window->end - window->begin;
    if (window->is_under_crc) shares.read_bytes += window->end - window->begin;
  }
  return shares;
}

}  // namespace anemone
