#include "engine/share.h"

#include <fcntl.h>

#include <algorithm>

#include "base/descriptor.h"
#include "base/sys.h"
#include "engine/windows.h"
#include "tensor/lower.h"
#include "tensor/node.h"

namespace anemone {

bool CanShareBlocks(int source, const std::string& folder) {
  const Descriptor file(sys.open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  return file.is_open() && sys.clone_range(source, 0, file.get(), 0, kBlockBytes) == 0;
}

namespace {

// Collects the pieces that a tensor lowers to. Stops at the first copy that is too small: others will be like it.
class PieceCollector final : public internal::Sink {
 public:
  std::vector<Piece> pieces;

  Status OnCopy(internal::Copy copy) override {
    if (copy.leaf->kind == internal::TensorNode::Kind::kFill) return {};
    uint64_t count = 1;
    for (const internal::Loop& loop : copy.loops) count *= std::min(loop.count, kMaxPieces + 1);
    const bool is_large = copy.item_bytes >= kMinMoveBytes && copy.leaf->source->fd() >= 0;
    if (!is_large || count > kMaxPieces || pieces.size() + count > kMaxPieces) return Unsupported("no large pieces");
    AddItems(copy, 0, copy.from, copy.to);
    return {};
  }
  Status OnCompute(const internal::TensorNode&, const internal::Box&, const internal::Placement&) override {
    return {};
  }

 private:
  static constexpr uint64_t kMaxPieces = 1 << 14;

  void AddItems(const internal::Copy& copy, size_t depth, uint64_t from, uint64_t to) {
    if (depth == copy.loops.size()) {
      pieces.push_back({to, {copy.leaf->source, from, copy.item_bytes}});
      return;
    }
    const internal::Loop& loop = copy.loops[depth];
    for (uint64_t i = 0; i < loop.count; ++i) AddItems(copy, depth + 1, from + i * loop.from, to + i * loop.to);
  }
};

}  // namespace

std::vector<Piece> Shareable(const Tensor& tensor) {
  if (tensor.size_bytes() < kMinMoveBytes) return {};
  if (const std::optional<ByteRange> range = tensor.AsByteRange())
    return range->source->fd() < 0 ? std::vector<Piece>() : std::vector<Piece>{{0, *range}};
  const internal::Box box = internal::WholeBox(tensor.shape());
  PieceCollector collector;
  const Status status = Lower(*internal::TensorNode::Of(tensor), box,
                              {0, internal::DenseStrides(box.length, SizeBytes(tensor.dtype()))}, collector);
  if (!status.ok()) return {};
  std::ranges::sort(collector.pieces, {}, &Piece::at);
  return std::move(collector.pieces);
}

void AddPlaces(std::span<const Piece> pieces, uint64_t position, Places& places) {
  for (const Piece& piece : pieces)
    places[(piece.range.offset - piece.at - position) % kBlockBytes] += piece.range.size;
}

std::optional<uint64_t> BestPlace(const Places& places) {
  const auto best = std::ranges::max_element(places, {}, [](const auto& place) { return place.second; });
  return best == places.end() ? std::nullopt : std::optional(best->first);
}

std::optional<uint64_t> BestPlace(const Tensor& tensor) {
  Places places;
  AddPlaces(Shareable(tensor), 0, places);
  return BestPlace(places);
}

std::optional<uint32_t> RecordedCrcOf(const Tensor& tensor) {
  const std::optional<ByteRange> whole = tensor.AsByteRange();
  return whole ? RecordedCrcOf(*whole) : std::nullopt;
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
    const uint64_t bytes = window->end - window->begin - window->seam_bytes();
    shares.bytes += bytes;
    if (window->is_under_crc) shares.read_bytes += bytes;
  }
  return shares;
}

}  // namespace anemone
