#include "engine/source_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/crc32.h"
#include "base/for_each.h"
#include "engine/sources.h"

namespace anemone {
namespace {

Result<uint32_t> CrcOf(const ByteSource& source, uint64_t offset, uint64_t size) {
  std::vector<std::byte> buffer(std::min<uint64_t>(size, uint64_t{1} << 20));
  uint32_t crc = 0;
  for (uint64_t at = 0; at < size; at += buffer.size()) {
    const std::span<std::byte> piece = std::span(buffer).first(std::min<uint64_t>(buffer.size(), size - at));
    ANEMONE_TRY(source.ReadAt(offset + at, piece));
    crc = Crc32(crc, piece);
  }
  return crc;
}

}  // namespace

SourceCheck::SourceCheck(const Plan& plan) {
  for (const ByteSource* source : SourcesOf(plan)) {
    if (source->recorded_crcs().empty()) continue;
    first_.emplace(source, records_.size());
    for (const RecordedCrc32& record : source->recorded_crcs()) records_.emplace_back(source, &record);
  }
}

template <typename Visit>
void SourceCheck::ForRecords(const ByteSource& source, uint64_t offset, uint64_t end, const Visit& visit) {
  const auto known = first_.find(&source);
  if (known == first_.end()) return;
  const std::span<const RecordedCrc32> recorded = source.recorded_crcs();
  const auto first =
      std::ranges::partition_point(recorded, [&](const RecordedCrc32& r) { return r.offset + r.size <= offset; });
  for (auto it = first; it != recorded.end() && it->offset < end; ++it)
    visit(records_[known->second + static_cast<size_t>(it - recorded.begin())]);
}

void SourceCheck::Add(const ByteSource& source, uint64_t offset, std::span<const std::byte> bytes,
                      std::vector<Known>& known_crcs) {
  const uint64_t end = offset + bytes.size();
  ForRecords(source, offset, end, [&](Record& record) {
    const RecordedCrc32& recorded = *record.recorded;
    const uint64_t from = std::max(offset, recorded.offset), record_end = recorded.offset + recorded.size;
    const uint64_t to = std::min(end, record_end);
    const std::span<const std::byte> part = bytes.subspan(from - offset, to - from);
    known_crcs.push_back({part, Crc32(0, part)});
    record.crc ^= Crc32Shift(known_crcs.back().crc, record_end - to);
    record.is_read.store(true, std::memory_order_relaxed);
  });
}

void SourceCheck::Skip(const ByteSource& source, uint64_t offset, uint64_t size) {
  ForRecords(source, offset, offset + size,
             [](Record& record) { record.is_skipped.store(true, std::memory_order_relaxed); });
}

uint32_t WindowCheck::CrcOf(std::span<const std::byte> bytes) {
  while (next_ < known_.size() && known_[next_].bytes.data() < bytes.data()) ++next_;
  const bool is_known =
      next_ < known_.size() && known_[next_].bytes.data() == bytes.data() && known_[next_].bytes.size() == bytes.size();
  return is_known ? known_[next_].crc : Crc32(0, bytes);
}

Status SourceCheck::Finish(Cluster& cluster, unsigned threads,
                           const std::function<Status(const Status&)>& on_damage) const {
  std::vector<uint32_t> crcs;
  crcs.reserve(records_.size());
  constexpr char kRead = 1, kSkipped = 2;
  std::string seen(records_.size(), '\0');
  for (size_t i = 0; i < records_.size(); ++i) {
    crcs.push_back(records_[i].crc);
    seen[i] = static_cast<char>((records_[i].is_read ? kRead : 0) | (records_[i].is_skipped ? kSkipped : 0));
  }
  cluster.Xor(crcs);
  for (const std::string& others : cluster.Gather(seen)) {
    for (size_t i = 0; i < std::min(others.size(), seen.size()); ++i) seen[i] |= others[i];
  }
  std::vector<size_t> doubtful;
  for (size_t i = 0; i < records_.size(); ++i) {
    if (seen[i] == kRead && crcs[i] != records_[i].recorded->crc32) doubtful.push_back(i);
  }
  std::vector<uint32_t> found(doubtful.size(), 0);
  ANEMONE_TRY(cluster.Agree(ForEach(doubtful.size(), threads, [&](uint64_t k, unsigned) -> Status {
    if (k % static_cast<uint64_t>(cluster.size()) != static_cast<uint64_t>(cluster.rank())) return {};
    const Record& record = records_[doubtful[k]];
    const ByteRange stored = record.source->StoredOf(*record.recorded);
    ANEMONE_ASSIGN(found[k], stored.source != nullptr
                                 ? CrcOf(*stored.source, stored.offset, stored.size)
                                 : CrcOf(*record.source, record.recorded->offset, record.recorded->size));
    return {};
  })));
  cluster.Xor(found);
  for (size_t k = 0; k < doubtful.size(); ++k) {
    const Record& record = records_[doubtful[k]];
    const RecordedCrc32& recorded = *record.recorded;
    if (found[k] == recorded.crc32) continue;
    ANEMONE_TRY(on_damage(
        Corrupt(fmt::format("expected CRC-32 {:08x}, found {:08x}: the bytes have changed", recorded.crc32, found[k]))
            .In(record.source->NameOfRecord(recorded))
            .In(record.source->name())));
  }
  return {};
}

}  // namespace anemone
