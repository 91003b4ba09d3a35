// SourceCheck: whether what a plan reads of its sources is what their recorded CRCs say.
#ifndef ANEMONE_ENGINE_SOURCE_CHECK_H_
#define ANEMONE_ENGINE_SOURCE_CHECK_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "engine/cluster.h"
#include "engine/plan.h"
#include "tensor/fill.h"

namespace anemone {

// Windows are read in any order, by any thread or rank, and each adds what its bytes contribute to the CRC of the
// record they belong to. A record that was read exactly once then has its own CRC; only one that has not is read again,
// whole, to tell damage from bytes that were read twice or not at all.
// Threads: Add from any thread; everything else from one.
class SourceCheck {
 public:
  explicit SourceCheck(const Plan& plan);
  // The CRC of bytes in memory, wherever they are.
  struct Known {
    std::span<const std::byte> bytes;
    uint32_t crc;
  };
  // Bytes of a source that were read; `known` receives the CRCs that were computed.
  void Add(const ByteSource& source, uint64_t offset, std::span<const std::byte> bytes, std::vector<Known>& known);
  // Bytes of a source that were shared with the output, unread: of their records nothing can be said.
  void Skip(const ByteSource& source, uint64_t offset, uint64_t size);
  // Collective. `on_damage` is told of every damaged record, in the plan's order; the first status it answers that is
  // not ok is the run's. Errors: those, as ReadAt.
  Status Finish(Cluster& cluster, unsigned threads, const std::function<Status(const Status&)>& on_damage) const;

 private:
  struct Record {
    const ByteSource* source;
    const RecordedCrc32* recorded;
    std::atomic<uint32_t> crc = 0;
    std::atomic<bool> is_read = false;
    std::atomic<bool> is_skipped = false;  // in part at least
    Record(const ByteSource* of, const RecordedCrc32* what) : source(of), recorded(what) {}
  };
  // Those that bytes [offset, end) of a source lie in.
  template <typename Visit>  // void(Record&)
  void ForRecords(const ByteSource& source, uint64_t offset, uint64_t end, const Visit& visit);

  std::unordered_map<const ByteSource*, size_t> first_;  // of records_
  std::deque<Record> records_;
};

// What one thread reads of one window after the other. What it computes for the source is not computed again for the
// output.
class WindowCheck final : public ReadObserver {
 public:
  explicit WindowCheck(SourceCheck* check) : check_(check) {}  // null: nothing is compared
  void Begin() {
    known_.clear();
    next_ = 0;
  }
  void OnRead(const ByteSource& source, uint64_t offset, std::span<const std::byte> bytes) override {
    if (check_ != nullptr) check_->Add(source, offset, bytes, known_);
  }
  // Of bytes of the window. Cheapest in ascending order, as they mostly are read.
  uint32_t CrcOf(std::span<const std::byte> bytes);

 private:
  SourceCheck* check_;
  std::vector<SourceCheck::Known> known_;
  size_t next_ = 0;  // of known_
};

}  // namespace anemone

#endif  // ANEMONE_ENGINE_SOURCE_CHECK_H_
