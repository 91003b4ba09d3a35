#include "format/torch/swapped.h"

#include <algorithm>
#include <vector>

#include "base/checked.h"
#include "base/rounding.h"

namespace anemone {
namespace {

class SwappedSource : public ByteSource {
 public:
  SwappedSource(ByteRange record, uint64_t item) : record_(std::move(record)), item_(item) {
    // Of the whole record, which the swapped bytes cannot tell: it is read once more to be checked.
    const std::span<const RecordedCrc32> all = record_.source->recorded_crcs();
    const auto found = std::ranges::lower_bound(all, record_.offset, {}, &RecordedCrc32::offset);
    if (found == all.end() || found->offset != record_.offset || found->size < record_.size) return;
    whole_ = *found;
    crcs_.push_back({0, record_.size, whole_.crc32});
  }
  std::string NameOfRecord(const RecordedCrc32& /*record*/) const override {
    return record_.source->NameOfRecord(whole_);
  }
  ByteRange StoredOf(const RecordedCrc32& /*record*/) const override {
    return {record_.source, whole_.offset, whole_.size};
  }
  std::span<const RecordedCrc32> recorded_crcs() const override { return crcs_; }
  uint64_t size_bytes() const override { return record_.size; }
  const std::string& name() const override { return record_.source->name(); }
  Status CheckUnchanged() const override { return record_.source->CheckUnchanged(); }
  std::string_view remote_version() const override { return record_.source->remote_version(); }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    if (!Within(offset, out.size(), record_.size)) return Corrupt("a read beyond the storage's end");
    // Whole elements, a window at a time: a request may begin or end inside one.
    std::vector<std::byte> window(std::min<uint64_t>(uint64_t{1} << 16, (out.size() / item_ + 2) * item_));
    while (!out.empty()) {
      const uint64_t first = RoundDown(offset, item_);
      const uint64_t count = std::min<uint64_t>(window.size(), RoundDown(record_.size, item_) - first);
      const std::span<std::byte> part(window.data(), count);
      ANEMONE_TRY(record_.source->ReadAt(record_.offset + first, part));
      for (uint64_t at = 0; at < count; at += item_) std::reverse(part.begin() + at, part.begin() + at + item_);
      const uint64_t skip = offset - first;
      const uint64_t take = std::min<uint64_t>(out.size(), count - skip);
      std::copy_n(part.begin() + skip, take, out.begin());
      out = out.subspan(take);
      offset += take;
    }
    return {};
  }

 private:
  ByteRange record_;
  uint64_t item_;
  RecordedCrc32 whole_;  // what the file records
  std::vector<RecordedCrc32> crcs_;
};

}  // namespace

ByteSourcePtr Swapped(ByteRange record, uint64_t item) {
  return std::make_shared<SwappedSource>(std::move(record), item);
}

}  // namespace anemone
