// Direct reads and writes: past the page cache.
//
// What a conversion writes is as large as the memory or larger, and not read again soon. Through the cache every byte
// is copied once more and takes a page that must be found and cleared, driving out what others need; where a host takes
// a virtual machine's free pages back, that alone costs several times the write (docs/benchmarks.md). So whole blocks
// of large files go straight to the device [open(2) O_DIRECT], into room reserved beforehand. The edges go through the
// cache, and blocks that are written twice: those with a CRC of more bytes than are in memory at once.
#ifndef ANEMONE_ENGINE_DIRECT_H_
#define ANEMONE_ENGINE_DIRECT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "base/descriptor.h"
#include "base/rounding.h"
#include "engine/plan.h"

namespace anemone {

// What direct writes begin and end at, in the file and in memory.
constexpr uint64_t kDirectBlock = 4096;

// Memory that a thread fills again and again, placed as the bytes lie in their file's blocks.
class BlockBuffer {
 public:
  // For bytes [offset, offset + size) of a file; what an earlier call answered is gone.
  std::span<std::byte> At(uint64_t offset, uint64_t size);

 private:
  struct Free {
    void operator()(std::byte* bytes) const { operator delete[](bytes, std::align_val_t{kDirectBlock}); }
  };
  std::unique_ptr<std::byte[], Free> bytes_;
  uint64_t size_ = 0;
};

// Reads what is read only once: from the cache what lies there, the rest past it, where there is a file and its file
// system can. Threads may share it.
class DirectReader {
 public:
  explicit DirectReader(const ByteSource& source);

  // Fills `out`, which a BlockBuffer gave for its place. Errors: as ByteSource::ReadAt.
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const;

 private:
  const ByteSource& source_;
  Descriptor direct_;
};

// The second descriptor of a file that is written. Threads may share it.
class DirectFile {
 public:
  // Of a file that is open for writing as `fd`; answers whether there is one: not where the file is small or its file
  // system has no direct writes. Before any thread asks for parts.
  bool Open(const PlanFile& file, int fd);
  bool is_open() const { return direct_.is_open(); }

  // The CRC at `offset` is among the bytes that are about to be written, and need not be stored at the end.
  void NoteStored(uint64_t offset);
  // True where a CRC at `offset` must be stored at the end. Once all is written.
  bool IsLeftToStore(uint64_t offset) const;

  // The first part of [begin, end) that is written in one way: up to `end`, through `fd`; -1: the ordinary one.
  struct Part {
    uint64_t end;
    int fd;
  };
  Part FirstPart(uint64_t begin, uint64_t end) const;

 private:
  // The index of the first block at `offset` or behind it in which CRCs are stored.
  size_t BlockFrom(uint64_t offset) const;
  // The indices of the blocks that a CRC at `offset` is stored in: [first, second).
  std::pair<size_t, size_t> BlocksOf(uint64_t offset) const {
    return {BlockFrom(RoundDown(offset, kDirectBlock)), BlockFrom(offset + sizeof(uint32_t))};
  }

  Descriptor direct_;
  std::vector<uint64_t> crc_blocks_;  // in which CRCs are stored, in order
  // For each, how many CRCs are not among bytes that were written: it is written twice while there is one.
  std::vector<std::atomic<uint32_t>> left_;
};

// Small writes through the cache of a file that is otherwise written past it. A file system locks the file for each:
// it waits until no direct write is under way, and holds up those that come. So they are kept, and many are written at
// once. Threads may share it.
class SmallWrites {
 public:
  using Write = std::function<Status(uint64_t offset, std::span<const std::byte> bytes)>;
  explicit SmallWrites(Write write) : write_(std::move(write)) {}
  // Keeps a copy, and writes what is kept once it is much.
  Status Add(uint64_t offset, std::span<const std::byte> bytes);
  // Afterwards all that was added is written.
  Status Flush();

 private:
  struct Place {
    uint64_t offset;  // in the file
    size_t size;
  };
  Status FlushLocked();

  const Write write_;
  std::mutex mutex_;  // also held while they are written: who flushes waits for others' writes
  std::vector<std::byte> bytes_;
  std::vector<Place> places_;
};

}  // namespace anemone

#endif  // ANEMONE_ENGINE_DIRECT_H_
