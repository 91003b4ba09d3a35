#include "engine/planned.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/cores.h"
#include "base/crc32.h"
#include "base/for_each.h"
#include "engine/share.h"
#include "engine/sources.h"

namespace anemone {
namespace {

constexpr uint64_t kWindowBytes = 1 << 20;

Status ReadContent(const Segment& segment, uint64_t from, std::span<std::byte> out, ReadObserver* observer) {
  if (const auto* literal = std::get_if<std::string_view>(&segment.content)) {
    std::memcpy(out.data(), literal->data() + from, out.size());
    return {};
  }
  if (const auto* tensor = std::get_if<Tensor>(&segment.content)) return Fill(*tensor, from, out, observer);
  const ByteRange& range = *segment.range();
  ANEMONE_TRY(range.source->ReadAt(range.offset + from, out));
  if (observer != nullptr) observer->OnRead(*range.source, range.offset + from, out);
  return {};
}

// What a source records as the CRC-32 of exactly the bytes of this slot.
std::optional<uint32_t> RecordedCrcOf(const PlanFile& file, const Crc32Slot& slot) {
  const auto segment = std::ranges::lower_bound(file.segments, slot.offset, {}, &Segment::offset);
  if (segment == file.segments.end() || segment->offset != slot.offset || segment->size != slot.size) return {};
  if (const ByteRange* range = segment->range()) return RecordedCrcOf(*range);
  const auto* tensor = std::get_if<Tensor>(&segment->content);
  return tensor != nullptr ? RecordedCrcOf(*tensor) : std::nullopt;
}

class PlannedFile final : public ByteSource {
 public:
  PlannedFile(std::shared_ptr<const Plan> plan, size_t index)
      : plan_(std::move(plan)), file_(plan_->files[index]), slots_(file_.crcs.size()) {
    for (size_t i = 0; i < slots_.size(); ++i) {
      slots_[i].crc = RecordedCrcOf(file_, file_.crcs[i]);
      for (const uint64_t at : file_.crcs[i].stores) stores_.push_back({at, i});
    }
    std::ranges::sort(stores_, {}, &Store::at);
  }

  uint64_t size_bytes() const override { return file_.size; }
  const std::string& name() const override { return file_.path; }

  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    if (out.empty()) return {};
    if (offset > file_.size || out.size() > file_.size - offset)
      return Corrupt("expected " + std::to_string(out.size()) + " bytes at " + std::to_string(offset) + ", found " +
                     std::to_string(file_.size) + " bytes in all")
          .In(file_.path);
    ANEMONE_TRY(Read(offset, out));
    return StoreCrcs(offset, out);
  }

  Status CheckUnchanged() const override {
    Sources sources;
    sources.Add(file_);
    return sources.CheckUnchanged();
  }

 private:
  struct Store {
    uint64_t at;
    size_t slot;
  };
  struct Slot {
    std::mutex mutex;
    std::optional<uint32_t> crc;
  };

  Status Read(uint64_t offset, std::span<std::byte> out) const {
    const auto ends_after = [](uint64_t at) {
      return [at](const Segment& segment) { return segment.offset + segment.size <= at; };
    };
    const auto first = std::ranges::partition_point(file_.segments, ends_after(offset));
    return ReadPlanned(file_, static_cast<size_t>(first - file_.segments.begin()), offset, out, nullptr);
  }

  Status StoreCrcs(uint64_t offset, std::span<std::byte> out) const {
    const uint64_t end = offset + out.size();
    const auto begins_in = std::ranges::partition_point(stores_, [&](const Store& s) { return s.at + 4 <= offset; });
    const auto begins_after = std::ranges::partition_point(stores_, [&](const Store& s) { return s.at < end; });
    const std::span<const Store> stores(begins_in, begins_after);
    // A zip's directory holds the CRCs of all its members.
    ANEMONE_TRY(ForEach(stores.size(), std::min<unsigned>(UsableCores(), static_cast<unsigned>(stores.size())),
                        [&](uint64_t i, unsigned) { return Know(stores[i].slot); }));
    for (const Store& store : stores) {
      const std::array<std::byte, 4> crc = Crc32Bytes(*slots_[store.slot].crc);
      for (uint64_t k = 0; k < crc.size(); ++k) {
        if (store.at + k >= offset && store.at + k < end) out[store.at + k - offset] = crc[k];
      }
    }
    return {};
  }

  // Computes a CRC that is not known.
  Status Know(size_t index) const {
    Slot& slot = slots_[index];
    const std::lock_guard lock(slot.mutex);
    if (slot.crc) return {};
    const Crc32Slot& covers = file_.crcs[index];
    std::vector<std::byte> window(std::min(covers.size, kWindowBytes));
    uint32_t crc = 0;
    for (uint64_t done = 0; done < covers.size; done += window.size()) {
      window.resize(std::min<uint64_t>(window.size(), covers.size - done));
      ANEMONE_TRY(Read(covers.offset + done, window));
      crc = Crc32(crc, window);
    }
    slot.crc = crc;
    return {};
  }

  const std::shared_ptr<const Plan> plan_;
  const PlanFile& file_;
  mutable std::deque<Slot> slots_;  // one a CRC
  std::vector<Store> stores_;       // ascending
};

}  // namespace

Status ReadPlanned(const PlanFile& file, size_t segment, uint64_t begin, std::span<std::byte> out,
                   ReadObserver* observer) {
  const uint64_t end = begin + out.size();
  uint64_t at = begin;
  for (; at < end && segment < file.segments.size() && file.segments[segment].offset < end; ++segment) {
    const Segment& next = file.segments[segment];
    const uint64_t from = std::max(at, next.offset);
    const uint64_t to = std::min(end, next.offset + next.size);
    std::memset(out.data() + (at - begin), 0, from - at);
    ANEMONE_TRY(ReadContent(next, from - next.offset, out.subspan(from - begin, to - from), observer));
    at = to;
  }
  std::memset(out.data() + (at - begin), 0, end - at);
  return {};
}

ByteSourcePtr OpenPlanned(std::shared_ptr<const Plan> plan, size_t file) {
  return std::make_shared<PlannedFile>(std::move(plan), file);
}

}  // namespace anemone
