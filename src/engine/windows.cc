#include "engine/windows.h"

#include <algorithm>
#include <variant>

#include "base/rounding.h"
#include "engine/share.h"

namespace anemone {
namespace {

// Moved at once: progress and cancelling stay lively. Sharing is quicker than copying.
constexpr uint64_t kMoveBytes = 16 << 20, kShareBytes = 128 << 20;
constexpr uint64_t kMaxSeamBytes = kMinMoveBytes;  // a call for each movable costs more than comparing so much between

uint64_t ItemBytes(const Segment& segment) {
  const Tensor* tensor = std::get_if<Tensor>(&segment.content);
  return tensor == nullptr ? 1 : SizeBytes(tensor->dtype());
}

bool UnderCrc(const PlanFile& file, uint64_t begin, uint64_t end) {
  const auto slot =
      std::ranges::partition_point(file.crcs, [&](const Crc32Slot& s) { return s.offset + s.size <= begin; });
  return slot != file.crcs.end() && slot->offset < end;
}

// The kernel would copy it unseen.
bool IsChecked(const ByteRange& range) {
  const std::span<const RecordedCrc32> recorded = range.source->recorded_crcs();
  const auto first =
      std::ranges::partition_point(recorded, [&](const RecordedCrc32& r) { return r.offset + r.size <= range.offset; });
  return first != recorded.end() && first->offset < range.offset + range.size;
}

}  // namespace

uint64_t Window::seam_bytes() const {
  uint64_t sum = 0;
  for (const Seam& seam : seams) sum += seam.end - seam.begin;
  return sum;
}

const WindowCursor::Movable& WindowCursor::FindMovable(const PlanFile& file, size_t index, uint64_t at) {
  static const Movable kNone;
  if (!find_ranges_ || file.segments[index].size < kMinMoveBytes) return kNone;
  if (movable_file_ != file_ || movable_segment_ != index) FindMovables(file, index);
  const auto found = std::ranges::upper_bound(movables_, at, {}, &Movable::end);
  return found == movables_.end() ? kNone : *found;
}

WindowCursor::Movable WindowCursor::FindNeighbour(const PlanFile& file, const Movable& movable, size_t& segment) {
  for (size_t s = segment; s < file.segments.size(); ++s) {
    if (file.segments[s].offset > movable.end + kMaxSeamBytes) break;
    const Movable& next = FindMovable(file, s, movable.end);
    if (next.begin == next.end) continue;
    const bool lies_alike = next.range.source == movable.range.source && !next.is_under_crc &&
                            next.begin - movable.begin == next.range.offset - movable.range.offset;
    if (!lies_alike || next.begin > movable.end + kMaxSeamBytes) break;
    segment = s;
    return next;
  }
  return {};
}

void WindowCursor::FindMovables(const PlanFile& file, size_t index) {
  movable_file_ = file_;
  movable_segment_ = index;
  movables_.clear();
  const Segment& segment = file.segments[index];
  const bool is_planned = plan_.sharing == Sharing::kPlanned;
  const bool is_under_crc = UnderCrc(file, segment.offset, segment.offset + segment.size);
  if (is_under_crc && !is_planned) return;
  std::vector<Piece> pieces;
  const auto* const tensor = std::get_if<Tensor>(&segment.content);
  if (tensor != nullptr && is_planned) {
    pieces = Shareable(*tensor);
  } else if (tensor != nullptr) {  // copying its pieces would gain nothing over reading and writing it
    if (const std::optional<ByteRange> range = tensor->AsByteRange()) pieces = {{0, *range}};
  }
  if (const ByteRange* bytes = segment.range()) pieces = {{0, *bytes}};
  for (const auto& [at, range] : pieces) {
    if (range.source->fd() < 0 || (!is_planned && IsChecked(range))) continue;
    uint64_t from = segment.offset + at, to = from + range.size;
    const uint64_t begin = from;
    // At equal places in their blocks, whole blocks can be shared instead of copied; the edges go with the neighbours.
    if (range.offset % kBlockBytes == begin % kBlockBytes) {
      from = RoundUp(from, kBlockBytes);
      to = RoundDown(to, kBlockBytes);
    } else if (pieces.size() > 1 || (is_planned && (is_under_crc || IsChecked(range)))) {
      continue;  // it cannot be shared: nothing is gained over reading and checking it
    }
    movables_.push_back({from, to, {range.source, range.offset + (from - begin), to - from}, is_under_crc});
  }
}

std::optional<Window> WindowCursor::Next() {
  while (file_ < plan_.files.size() && segment_ == plan_.files[file_].segments.size()) {
    ++file_;
    segment_ = 0;
    at_ = 0;
  }
  if (file_ == plan_.files.size()) return std::nullopt;
  const PlanFile& file = plan_.files[file_];
  at_ = std::max(at_, file.segments[segment_].offset);
  Window window{number_++, file_, segment_, at_, at_, std::nullopt, false};
  const auto advance_to = [&](size_t segment, uint64_t end) {
    segment_ = segment;
    at_ = window.end = end;
    if (segment < file.segments.size() && end == file.segments[segment].offset + file.segments[segment].size)
      ++segment_;
    return window;
  };

  Movable movable = FindMovable(file, segment_, at_);
  if (movable.begin <= at_ && at_ < movable.end) {
    window.is_under_crc = movable.is_under_crc;
    const uint64_t from = movable.range.offset + (at_ - movable.begin);
    const bool shares =
        plan_.sharing == Sharing::kPlanned && from % kBlockBytes == at_ % kBlockBytes && !movable.is_under_crc;
    const uint64_t limit = RoundDown(at_, kBlockBytes) + (shares ? kShareBytes : kMoveBytes);
    uint64_t end = std::min(movable.end, limit);
    size_t segment = segment_;
    while (shares && end == movable.end) {
      size_t next_segment = segment;
      Movable next = FindNeighbour(file, movable, next_segment);
      if (next.begin == next.end || next.begin >= limit) break;
      if (end < next.begin) window.seams.push_back({end, next.begin});
      end = std::min(next.end, limit);
      segment = next_segment;
      movable = std::move(next);
    }
    window.range = ByteRange{movable.range.source, from, end - at_};
    return advance_to(segment, end);
  }

  uint64_t limit = RoundDown(at_, window_bytes_) + window_bytes_;
  uint64_t end = at_;
  for (size_t s = segment_; s < file.segments.size(); ++s) {
    const Segment& segment = file.segments[s];
    if (segment.offset >= limit || segment.offset > end + kBlockBytes) return advance_to(s, end);
    const uint64_t segment_end = segment.offset + segment.size;
    // Up to where the kernel takes over, or to the whole elements that fit.
    const Movable& next = FindMovable(file, s, at_);
    uint64_t stop = next.begin < next.end && next.end > at_ && next.begin >= at_ ? next.begin : segment_end;
    if (stop > limit) stop = segment.offset + RoundDown(limit - segment.offset, ItemBytes(segment));
    if (stop <= at_ && stop < segment_end) {  // not one element before the limit
      limit += window_bytes_;
      stop = std::min(segment_end, segment.offset + RoundDown(limit - segment.offset, ItemBytes(segment)));
    }
    if (stop < segment_end) return advance_to(s, std::max(end, stop));
    end = segment_end;
  }
  return advance_to(file.segments.size(), end);
}

}  // namespace anemone
