#include "engine/execute.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/cancel.h"
#include "base/changed.h"
#include "base/cores.h"
#include "base/crc32.h"
#include "base/descriptor.h"
#include "base/for_each.h"
#include "base/rounding.h"
#include "base/sys.h"
#include "engine/cluster.h"
#include "engine/commit.h"
#include "engine/digest.h"
#include "engine/direct.h"
#include "engine/journal.h"
#include "engine/planned.h"
#include "engine/share.h"
#include "engine/source_check.h"
#include "engine/sources.h"
#include "engine/windows.h"
#include "tensor/fill.h"

namespace anemone {
namespace {

constexpr uint64_t kBytesPerThread = 4 << 20;  // less work than this is not worth a thread
constexpr uint64_t kMinDirectBytes = 16 << 20;
constexpr unsigned kRemoteReads = 16;  // in flight at once

Cluster& ClusterOf(const ExecuteOptions& options) {
  return options.cluster != nullptr ? *options.cluster : Cluster::Alone();
}

unsigned Threads(const Plan& plan, const ExecuteOptions& options) {
  const auto is_remote = [](const ByteSource* source) { return !source->remote_version().empty(); };
  unsigned wanted = options.threads;
  // Two a core: one waits for the device while the other computes. More wait for a server.
  if (wanted == 0) wanted = std::ranges::any_of(SourcesOf(plan), is_remote) ? kRemoteReads : 2 * UsableCores();
  const uint64_t share = plan.bytes_written() / ClusterOf(options).size();
  return static_cast<unsigned>(std::clamp<uint64_t>(share / kBytesPerThread, 1, wanted));
}

uint64_t WindowBytes(const ExecuteOptions& options) { return std::max<uint64_t>(options.window_bytes, 4096); }

// One pass over this rank's share of a plan's windows by several threads: into `staging`, or nowhere.
class Run {
 public:
  Run(const Plan& plan, const Staging* staging, Journal* journal, SourceCheck* source_check,
      const ExecuteOptions& options)
      : plan_(plan),
        staging_(staging),
        journal_(journal),
        source_check_(source_check),
        options_(options),
        cluster_(ClusterOf(options)),
        cursor_(plan, WindowBytes(options), staging != nullptr),
        windows_(plan.files.size()),
        moves_(plan.files.size()) {}

  Status Do() {
    try {
      Pass();
    } catch (const std::bad_alloc&) {  // told as any failure is: other ranks wait for word
      Fail(OutOfMemory());
    }
    return status_;
  }

  // Once all ranks have done their share: adds theirs to the CRCs, and on rank 0 stores them. Collective.
  Status StoreSharedCrcs() {
    if (StoresCrcsAtOnce()) return {};
    std::vector<uint32_t> crcs(crcs_.begin(), crcs_.end());
    cluster_.Xor(crcs);
    std::ranges::copy(crcs, crcs_.begin());
    if (cluster_.rank() != 0) return {};
    // Each file waits for the device.
    return ForEach(plan_.files.size(), Threads(plan_, options_), [this](uint64_t i, unsigned) -> Status {
      if (plan_.files[i].crcs.empty()) return {};
      ANEMONE_ASSIGN(const std::shared_ptr<Output> output, Open(i));
      ANEMONE_TRY(StoreCrcs(*output));
      return Close(*output);
    });
  }

 private:
  // A file being written: open from this rank's first window until its last.
  struct Output {
    const PlanFile& plan;
    Descriptor file;
    DirectFile direct;
    SmallWrites small;           // beside direct ones
    size_t first_crc;            // of crcs_
    std::atomic<uint64_t> left;  // windows not yet written
    std::mutex mutex;            // of syncing and closing

    Output(const Run& run, const PlanFile& of, Descriptor opened, size_t crc, uint64_t windows)
        : plan(of),
          file(std::move(opened)),
          small([this, &run](uint64_t offset, auto bytes) { return run.Write(*this, offset, bytes); }),
          first_crc(crc),
          left(windows) {}
  };

  // What a rank contributes to the CRCs of a window.
  struct SlotCrc {
    size_t slot;  // of crcs_
    uint32_t crc;
  };

  // Windows that are written and not yet in the journal.
  struct Batch {
    Journal::Batch done;
    std::set<std::shared_ptr<Output>> outputs;
    uint64_t bytes = 0;
  };

  bool IsMine(const Window& window) const {
    const bool is_done = journal_ != nullptr && journal_->Has(window.number);
    return !is_done && window.number % cluster_.size() == static_cast<uint64_t>(cluster_.rank());
  }
  // Alone and from the beginning, whoever writes a file's last window knows its CRCs.
  bool StoresCrcsAtOnce() const { return cluster_.size() == 1 && journal_ == nullptr; }

  void Pass() {
    Fail(Survey());
    Report(/*always=*/true);
    if (staging_ != nullptr && cluster_.rank() == 0) {
      for (size_t i = 0; i < plan_.files.size() && Going(); ++i) {
        if (plan_.files[i].segments.empty()) Fail(WriteEmpty(i));  // no window will come by
      }
    }
    const unsigned threads = Threads(plan_, options_);
    Fail(ForEach(threads, threads, [this](uint64_t, unsigned) -> Status {
      try {
        Work();
      } catch (const std::bad_alloc&) {
        Fail(OutOfMemory());
      }
      return {};
    }));
    output_.reset();
    if (journal_ != nullptr) {
      Fail(Record(std::exchange(batch_, {})));
      journal_->Close();
    }
    if (Going()) Report(/*always=*/true);
  }

  // Counts what is to be done, and looks whether what is done already is still there.
  Status Survey() {
    size_t crcs = 0;
    for (const PlanFile& file : plan_.files) {
      first_crc_.push_back(crcs);
      crcs += file.crcs.size();
    }
    crcs_ = std::vector<std::atomic<uint32_t>>(crcs);
    size_t held = SIZE_MAX;
    WindowCursor cursor(plan_, WindowBytes(options_), staging_ != nullptr);
    while (const std::optional<Window> window = cursor.Next()) {
      if (IsMine(*window)) {
        ++windows_[window->file];
        if (window->range) moves_[window->file] += window->range->size;
        total_ += window->end - window->begin;
      }
      if (journal_ != nullptr && journal_->Has(window->number) && window->file != held) {
        held = window->file;
        ANEMONE_TRY(staging_->Holds(plan_.files[held].path, plan_.files[held].size));
      }
    }
    if (journal_ == nullptr || cluster_.rank() != 0) return {};
    for (const auto& [slot, crc] : journal_->crcs()) {
      if (slot >= crcs) return Corrupt("cannot resume: the journal speaks of more checksums than there are");
      crcs_[slot] = crc;
    }
    return {};
  }

  bool Going() const { return !stop_.load(std::memory_order_relaxed); }

  // The first failure is the run's; the others stop soon after it.
  void Fail(Status status) {
    if (status.ok()) return;
    const std::lock_guard lock(status_mutex_);
    if (status_.ok()) status_ = std::move(status);
    stop_ = true;
    cluster_.CallOff();
  }

  void Report(bool always) {
    const auto now = std::chrono::steady_clock::now();
    std::unique_lock lock(progress_mutex_, std::defer_lock);
    if (always) {
      lock.lock();
    } else if (!lock.try_lock() || now < next_report_) {
      return;
    }
    next_report_ = now + std::chrono::milliseconds(50);
    if (cluster_.IsCalledOff()) stop_ = true;
    if (options_.progress && !options_.progress(staging_ != nullptr ? "writing" : "reading", done_, total_))
      Fail(Interrupted());
  }

  Result<std::shared_ptr<Output>> Open(size_t index) {
    const PlanFile& plan = plan_.files[index];
    Descriptor file;
    if (staging_ != nullptr) {
      ANEMONE_ASSIGN(file, staging_->OpenFile(plan.path, plan.size));
    }
    return std::make_shared<Output>(*this, plan, std::move(file), first_crc_[index], windows_[index]);
  }

  // Before a file's first window: writes past the cache, if that is possible. Not where nearly all of it shares its
  // blocks: each write would wait for the device, and the sync at the end waits once.
  Status GoDirect(Output& output, uint64_t moved_bytes) const {
    const uint64_t size = output.plan.size;
    const bool shares = plan_.sharing == Sharing::kPlanned;
    if (staging_ == nullptr || (shares && moved_bytes + kMinDirectBytes > size)) return {};
    if (!output.direct.Open(output.plan, output.file.get())) return {};
    // Direct writes into room that is there need no lock of the whole file. What is shared needs none.
    if ((shares && moved_bytes >= size / 16) || sys.reserve(output.file.get(), static_cast<off_t>(size)) == 0)
      return {};
    return errno == ENOSPC || errno == EDQUOT ? staging_->WriteError(errno, output.plan.path) : Status();
  }

  // The next window of ours, and its file opened if this is the first of it.
  Result<std::optional<Window>> Take(std::shared_ptr<Output>& output) {
    const std::lock_guard lock(cursor_mutex_);
    std::optional<Window> window = cursor_.Next();
    while (window && !IsMine(*window)) window = cursor_.Next();
    if (window && window->file != output_file_) {
      ANEMONE_ASSIGN(output_, Open(window->file));
      ANEMONE_TRY(GoDirect(*output_, moves_[window->file]));
      output_file_ = window->file;  // last: where opening fails, no other thread takes what is not there
    }
    output = output_;
    if (!window) output_.reset();
    return window;
  }

  void Work() {
    const CancelScope scope([this] {
      Report(/*always=*/false);
      return !Going();
    });
    BlockBuffer buffer;
    std::vector<SlotCrc> crcs;
    WindowCheck check(source_check_);
    while (Going()) {
      std::shared_ptr<Output> output;
      Result<std::optional<Window>> window = Take(output);
      if (!window.ok()) return Fail(window.status());
      if (!window->has_value()) return;
      crcs.clear();
      Fail(Handle(**window, *output, buffer, check, crcs));
      if (journal_ != nullptr && Going()) Fail(Note(**window, output, crcs));
      Report(/*always=*/false);
    }
  }

  Status Handle(const Window& window, Output& output, BlockBuffer& buffer, WindowCheck& check,
                std::vector<SlotCrc>& crcs) {
    const uint64_t moved_to = window.begin + (IsMoved(window, output) ? MoveInKernel(window, output.file.get()) : 0);
    const std::vector<Segment>& segments = output.plan.segments;
    size_t segment = window.segment;
    uint64_t begin = window.begin;
    while (begin < window.end && Going()) {  // once, but for a range
      const Part part = FirstPart(window, begin, moved_to);
      // A range may be longer than a window. Its pieces end with whole blocks: no block is written in two parts.
      const uint64_t stop = window.range ? RoundDown(begin, kBlockBytes) + WindowBytes(options_) : part.end;
      const uint64_t count = std::min(part.end, stop) - begin;
      if (part.way == Way::kLeave) {
        if (source_check_ != nullptr)
          source_check_->Skip(*window.range->source, window.SourceOf(begin), part.end - begin);
        begin = part.end;
        continue;
      }
      while (segments[segment].offset + segments[segment].size <= begin) ++segment;
      const std::span<std::byte> bytes = buffer.At(begin, count);
      check.Begin();
      ANEMONE_TRY(ReadPlanned(output.plan, segment, begin, bytes, &check));
      if (staging_ != nullptr) {
        AddCrcs(output, begin, bytes, part.way, check, crcs);
        const bool is_there = part.way == Way::kRead || (part.way == Way::kCompare && IsSame(window, begin, bytes));
        if (!is_there) ANEMONE_TRY(WriteParts(output, begin, bytes));
      }
      begin += count;
    }
    if (!Going()) return {};
    for (const SlotCrc& crc : crcs) crcs_[crc.slot] ^= crc.crc;
    if (IsInCache(window, output, moved_to)) {
      sys.start_writeback(output.file.get(), static_cast<off_t>(window.begin),
                          static_cast<off_t>(begin - window.begin));
    }
    done_ += window.end - window.begin;
    const bool is_last = output.left.fetch_sub(1) == 1;
    return is_last && staging_ != nullptr ? Finish(output) : Status();
  }

  // The work that bytes of a window still need: none, being read for a CRC, being compared with what the kernel moved
  // there, being written.
  enum class Way { kLeave, kRead, kCompare, kWrite };
  struct Part {
    uint64_t end;
    Way way;
  };
  // The first of a window from `begin` on. What is before `moved_to` was moved.
  static Part FirstPart(const Window& window, uint64_t begin, uint64_t moved_to) {
    if (begin >= moved_to) return {window.end, Way::kWrite};
    const auto seam = std::ranges::upper_bound(window.seams, begin, {}, &Window::Seam::end);
    if (seam != window.seams.end() && seam->begin <= begin) return {std::min(seam->end, moved_to), Way::kCompare};
    const uint64_t end = seam == window.seams.end() ? moved_to : std::min(seam->begin, moved_to);
    return {end, window.is_under_crc ? Way::kRead : Way::kLeave};
  }

  // Whether the source has the same bytes at this place of the window's range. Where it cannot be read there, the
  // answer is no, and the bytes are written.
  static bool IsSame(const Window& window, uint64_t begin, std::span<const std::byte> bytes) {
    std::vector<std::byte> there(bytes.size());
    return window.range->source->ReadAt(window.SourceOf(begin), there).ok() &&
           std::memcmp(there.data(), bytes.data(), bytes.size()) == 0;
  }

  // Whether the window is on its way to the device only once that is asked for. Not what went past the cache, nor where
  // blocks are shared: what is left of that are edges, and a CRC that is stored there would wait for their writing.
  bool IsInCache(const Window& window, const Output& output, uint64_t moved_to) const {
    if (staging_ == nullptr) return false;
    if (moved_to == window.begin) return !output.direct.is_open() && plan_.sharing != Sharing::kPlanned;
    return plan_.sharing != Sharing::kPlanned || window.range->offset % kBlockBytes != window.begin % kBlockBytes;
  }

  // Where no blocks are shared, the kernel copies through the cache, which takes twice as long as to read and to write
  // past it.
  bool IsMoved(const Window& window, const Output& output) const {
    return window.range && (plan_.sharing == Sharing::kPlanned || !output.direct.is_open());
  }

  // Bytes of the window that the kernel copied. What it refuses is left to be read and written.
  uint64_t MoveInKernel(const Window& window, int fd) {
    uint64_t moved = 0;
    const ByteRange& range = *window.range;
    while (moved < range.size && !kernel_refuses_.load(std::memory_order_relaxed)) {
      const ssize_t count = sys.copy_range(range.source->fd(), static_cast<off_t>(range.offset + moved), fd,
                                           static_cast<off_t>(window.begin + moved), range.size - moved);
      if (count < 0 && ShouldRetry()) continue;
      if (count < 0) kernel_refuses_ = true;  // across file systems, or one that has no such call
      if (count <= 0) break;
      moved += static_cast<uint64_t>(count);
    }
    return moved;
  }

  // Adds what `bytes` contribute to CRCs. One that they are all of is put where they have room for it.
  static void AddCrcs(Output& output, uint64_t begin, std::span<std::byte> bytes, Way way, WindowCheck& check,
                      std::vector<SlotCrc>& crcs) {
    const uint64_t end = begin + bytes.size();
    const std::vector<Crc32Slot>& slots = output.plan.crcs;
    const auto first =
        std::ranges::partition_point(slots, [&](const Crc32Slot& slot) { return slot.offset + slot.size <= begin; });
    for (size_t i = static_cast<size_t>(first - slots.begin()); i < slots.size() && slots[i].offset < end; ++i) {
      const uint64_t from = std::max(begin, slots[i].offset);
      const uint64_t slot_end = slots[i].offset + slots[i].size;
      const uint64_t to = std::min(end, slot_end);
      const uint32_t crc = check.CrcOf(bytes.subspan(from - begin, to - from));
      crcs.push_back({output.first_crc + i, Crc32Shift(crc, slot_end - to)});
      if (way != Way::kWrite || !output.direct.is_open() || to - from < slots[i].size) continue;
      for (const uint64_t store : slots[i].stores) {
        if (store < begin || store + sizeof(crc) > end) continue;
        std::ranges::copy(Crc32Bytes(crc), bytes.begin() + static_cast<ptrdiff_t>(store - begin));
        output.direct.NoteStored(store);
      }
    }
  }

  // Past the cache what may go there.
  Status WriteParts(Output& output, uint64_t offset, std::span<const std::byte> bytes) {
    if (!output.direct.is_open()) return Write(output, offset, bytes);
    while (!bytes.empty()) {
      const DirectFile::Part part = output.direct.FirstPart(offset, offset + bytes.size());
      const std::span<const std::byte> these = bytes.first(part.end - offset);
      if (part.fd >= 0) {
        // The file system may refuse a direct write, or write less. The ordinary write tries the rest and reports why.
        const ssize_t put = sys.pwrite(part.fd, these.data(), these.size(), static_cast<off_t>(offset));
        const auto done = static_cast<size_t>(std::max<ssize_t>(put, 0));
        ANEMONE_TRY(Write(output, offset + done, these.subspan(done)));
      } else {
        ANEMONE_TRY(output.small.Add(offset, these));
      }
      bytes = bytes.subspan(these.size());
      offset = part.end;
    }
    return {};
  }

  Status Write(const Output& output, uint64_t offset, std::span<const std::byte> bytes) const {
    return WriteAll(output.file.get(), bytes, offset) ? Status() : staging_->WriteError(errno, output.plan.path);
  }

  Status StoreCrcs(const Output& output) {
    for (size_t i = 0; i < output.plan.crcs.size(); ++i) {
      const std::array<std::byte, 4> bytes = Crc32Bytes(crcs_[output.first_crc + i]);
      for (const uint64_t store : output.plan.crcs[i].stores) {
        if (output.direct.IsLeftToStore(store)) ANEMONE_TRY(Write(output, store, bytes));
      }
    }
    return {};
  }

  // What is left once this rank's windows of a file are written.
  Status Finish(Output& output) {
    if (StoresCrcsAtOnce()) {
      ANEMONE_TRY(output.small.Flush());  // with zeros where the CRCs are stored
      ANEMONE_TRY(StoreCrcs(output));
    }
    return Close(output);
  }

  Status Sync(Output& output) {
    ANEMONE_TRY(output.small.Flush());
    return sys.fsync(output.file.get()) == 0 ? Status() : staging_->WriteError(errno, output.plan.path);
  }

  Status Close(Output& output) {
    const std::lock_guard lock(output.mutex);
    ANEMONE_TRY(Sync(output));
    return output.file.Close() == 0 ? Status() : staging_->WriteError(errno, output.plan.path);
  }

  // Remembers a window that is written; once enough are, records them.
  Status Note(const Window& window, const std::shared_ptr<Output>& output, std::span<const SlotCrc> crcs) {
    std::unique_lock lock(batch_mutex_);
    batch_.done.windows.push_back(window.number);
    for (const SlotCrc& crc : crcs) batch_.done.crcs[crc.slot] ^= crc.crc;
    batch_.outputs.insert(output);
    batch_.bytes += window.end - window.begin;
    if (batch_.bytes < options_.journal_bytes) return {};
    const Batch batch = std::exchange(batch_, {});
    lock.unlock();
    return Record(batch);
  }

  // Makes windows last, then says so in the journal.
  Status Record(const Batch& batch) {
    if (batch.done.windows.empty()) return {};
    for (const std::shared_ptr<Output>& output : batch.outputs) {
      const std::lock_guard lock(output->mutex);
      if (output->file.is_open()) ANEMONE_TRY(Sync(*output));  // closed files are synced
    }
    const std::lock_guard lock(journal_mutex_);
    return journal_->Add(batch.done);
  }

  Status WriteEmpty(size_t index) {
    ANEMONE_ASSIGN(const std::shared_ptr<Output> output, Open(index));
    return Close(*output);
  }

  const Plan& plan_;
  const Staging* const staging_;
  Journal* const journal_;
  SourceCheck* const source_check_;
  const ExecuteOptions& options_;
  Cluster& cluster_;

  std::mutex cursor_mutex_;
  WindowCursor cursor_;
  size_t output_file_ = SIZE_MAX;
  std::shared_ptr<Output> output_;  // of output_file_

  std::vector<uint64_t> windows_;            // per file: how many are ours
  std::vector<uint64_t> moves_;              // per file: bytes of ours that the kernel moves
  std::vector<size_t> first_crc_;            // per file: where its slots begin in crcs_
  std::vector<std::atomic<uint32_t>> crcs_;  // per slot: the XOR of what the windows contribute

  std::mutex batch_mutex_;
  Batch batch_;
  std::mutex journal_mutex_;

  std::mutex status_mutex_;
  Status status_;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> kernel_refuses_ = false;

  std::mutex progress_mutex_;
  std::chrono::steady_clock::time_point next_report_;
  std::atomic<uint64_t> done_ = 0;
  uint64_t total_ = 0;
};

// What must be free: a range the kernel moves may come to share its blocks, so only its seams are asked for.
uint64_t NeededBytes(const Plan& plan) {
  uint64_t sum = 0;
  WindowCursor cursor(plan, uint64_t{1} << 40, true);
  while (const std::optional<Window> window = cursor.Next()) {
    sum += window->range ? window->seam_bytes() : window->end - window->begin;
  }
  return sum;
}

// Ranks of different minds would write a file that nobody planned.
Status SamePlan(const Plan& plan, Cluster& cluster) {
  if (cluster.size() == 1) return {};
  const std::vector<std::string> all = cluster.Gather(Digest(plan));
  const auto other = std::ranges::find_if(all, [&](const std::string& digest) { return digest != all[0]; });
  if (other == all.end()) return {};
  return InvalidArgument("rank " + std::to_string(other - all.begin()) + " has another plan than rank 0",
                         "all ranks must see the same source, at the same path");
}

// Made by rank 0 and joined by the others. Collective.
Result<std::unique_ptr<Staging>> Stage(const Plan& plan, const std::string& destination,
                                       const ExecuteOptions& options) {
  Cluster& cluster = ClusterOf(options);
  std::unique_ptr<Staging> staging;
  Status status;
  if (cluster.rank() == 0) {
    Result<std::unique_ptr<Staging>> created = Staging::Create(plan, destination, options, NeededBytes(plan));
    status = created.status();
    if (created.ok()) staging = *std::move(created);
  }
  ANEMONE_TRY(cluster.Follow(status));
  const std::string folder = cluster.Gather(staging != nullptr ? staging->folder().path() : "")[0];
  if (staging == nullptr) {
    Result<std::unique_ptr<Staging>> joined = Staging::Join(destination, folder);
    status = joined.status();
    if (joined.ok()) staging = *std::move(joined);
  }
  ANEMONE_TRY(cluster.Agree(status));
  return staging;
}

// What was read was there from beginning to end: no output has bytes of two versions.
Status CheckSources(const Plan& plan) {
  Sources sources;
  for (const PlanFile& file : plan.files) sources.Add(file);
  return sources.CheckUnchanged();
}

std::function<Status(const Status&)> OnDamage(const ExecuteOptions& options) {
  return [&options](const Status& damage) -> Status {
    if (!options.on_damaged_source) return damage.Use("verify_source", "false", "copy it as it is");
    options.on_damaged_source(damage);
    return {};
  };
}

}  // namespace

Status Execute(const Plan& plan, const std::string& destination, const ExecuteOptions& options) {
  Cluster& cluster = ClusterOf(options);
  ANEMONE_TRY(cluster.Agree(Check(plan)));
  ANEMONE_TRY(SamePlan(plan, cluster));
  // From here on a caller who cancels is heard.
  const NeedsCleanup needs_cleanup;
  const bool goes = !options.progress || options.progress("writing", 0, plan.bytes_written());
  ANEMONE_TRY(cluster.Agree(goes ? Status() : Interrupted()));
  ANEMONE_ASSIGN(std::unique_ptr<Staging> staging, Stage(plan, destination, options));
  std::unique_ptr<Journal> journal;
  if (options.resume) {
    Result<std::unique_ptr<Journal>> opened = Journal::Open(staging->folder(), plan, WindowBytes(options), cluster);
    if (!opened.ok()) return opened.status().In(destination);
    journal = *std::move(opened);
  }
  const bool begins = journal == nullptr || journal->empty();
  ANEMONE_TRY(cluster.Follow(cluster.rank() == 0 ? staging->MakeOutput(plan, begins) : Status()));
  SourceCheck source_check(plan);
  Run run(plan, staging.get(), journal.get(), &source_check, options);
  Status status = cluster.Agree(run.Do());
  if (status.ok()) status = source_check.Finish(cluster, Threads(plan, options), OnDamage(options));
  if (status.ok()) status = run.StoreSharedCrcs();
  bool is_kept = options.resume;
  if (status.ok()) {
    status = cluster.Follow(cluster.rank() == 0 ? CheckSources(plan) : Status());
    if (SaysChanged(status)) {
      staging->Discard();
      is_kept = false;
    }
  }
  if (status.ok() && cluster.rank() == 0) status = staging->Commit();
  is_kept = is_kept && !staging->is_in_place();
  if (cluster.rank() != 0) staging.reset();  // rank 0 removes the folder, once nobody has it open
  status = cluster.Follow(status);
  return is_kept ? status.Hint("what is written is kept").Use("resume", "true", "go on from there") : status;
}

Status ReadThrough(const Plan& plan, const ExecuteOptions& options) {
  ANEMONE_TRY(Check(plan));
  ANEMONE_TRY(Run(plan, nullptr, nullptr, nullptr, options).Do());
  return CheckSources(plan);
}

uint64_t BufferBytes(const Plan& plan, const ExecuteOptions& options) {
  uint64_t scratch = 0;
  for (const PlanFile& file : plan.files) {
    for (const Segment& segment : file.segments) {
      if (const auto* tensor = std::get_if<Tensor>(&segment.content))
        scratch = std::max(scratch, FillScratchBytes(*tensor));
    }
  }
  return Threads(plan, options) * (WindowBytes(options) + scratch);
}

namespace {

// This process's own peak so far. That of getrusage begins at the peak of the process that started this one.
uint64_t PeakResidentBytes() {
  constexpr std::string_view kPeak = "VmHWM:";
  constexpr uint64_t kKiB = 1024;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(kPeak)) return std::strtoull(line.c_str() + kPeak.size(), nullptr, 10) * kKiB;
  }
  rusage used = {};
  return getrusage(RUSAGE_SELF, &used) == 0 ? static_cast<uint64_t>(used.ru_maxrss) * kKiB : 0;
}

}  // namespace

uint64_t PeakMemoryBytes(const Plan& plan, const ExecuteOptions& options) {
  return BufferBytes(plan, options) + PeakResidentBytes();
}

}  // namespace anemone
