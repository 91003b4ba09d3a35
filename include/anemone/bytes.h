// ByteSource, ByteRange: bytes that lie somewhere and are read when asked for.
#ifndef ANEMONE_BYTES_H_
#define ANEMONE_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"

namespace anemone {

struct ByteRange;
struct RecordedCrc32;

// A fixed sequence of bytes with random access: a file, a gzip stream with an index, memory.
// Threads: all const methods may run concurrently. The bytes do not change while the object lives, unless another
// program changes the file: CheckUnchanged tells.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual uint64_t size_bytes() const = 0;
  // Fills all of `out` from `offset`. Errors: Corrupt (range beyond the end: a truncated file), Io.
  virtual Status ReadAt(uint64_t offset, std::span<std::byte> out) const = 0;
  // How messages call it: the path as the user gave it.
  virtual const std::string& name() const = 0;
  // A descriptor whose bytes [0, size) are exactly these, for the kernel to copy from; -1 where there is none.
  virtual int fd() const { return -1; }
  // Checks that the file is the one that was opened: same size and times, still under its name. Errors: Io.
  virtual Status CheckUnchanged() const { return {}; }
  // Checksums that the file records of its own bytes, ascending and not overlapping. Reading does not compare them.
  virtual std::span<const RecordedCrc32> recorded_crcs() const { return {}; }
  // The name that messages give such a record.
  virtual std::string NameOfRecord(const RecordedCrc32& record) const;
  // The bytes that it is the checksum of, in the source that this shows; nothing: this has them itself.
  virtual ByteRange StoredOf(const RecordedCrc32& record) const;
  // Of a file on a server: what tells this version of it from others (its ETag); reading waits for the server, so that
  // many reads at once are worth it. Empty for all else.
  virtual std::string_view remote_version() const { return {}; }
};

using ByteSourcePtr = std::shared_ptr<const ByteSource>;

// `size` bytes of `source` from `offset`. REQUIRES: offset + size <= source->size_bytes().
struct ByteRange {
  ByteSourcePtr source;
  uint64_t offset = 0;
  uint64_t size = 0;

  // Reads all of it. Errors: LimitExceeded when larger than `limit_bytes`; as ReadAt.
  Result<std::string> ReadAll(uint64_t limit_bytes) const;
  // The part [from, from + count). Errors: Corrupt when it does not lie inside.
  Result<ByteRange> Sub(uint64_t from, uint64_t count) const;
};

// Bytes [offset, offset + size) of a source, and what a file records as their CRC-32.
struct RecordedCrc32 {
  uint64_t offset = 0;
  uint64_t size = 0;
  uint32_t crc32 = 0;
};

// Opens a regular file for reading. Errors: NotFound, Io, InvalidArgument (a directory, a device).
Result<ByteSourcePtr> OpenFile(const std::string& path);
// Bytes held in memory.
ByteSourcePtr MemorySource(std::string bytes, std::string name);
inline std::string ByteSource::NameOfRecord(const RecordedCrc32& /*record*/) const { return {}; }
inline ByteRange ByteSource::StoredOf(const RecordedCrc32& /*record*/) const { return {}; }
inline ByteRange Whole(ByteSourcePtr source) {
  const uint64_t size = source->size_bytes();
  return {std::move(source), 0, size};
}

}  // namespace anemone

#endif  // ANEMONE_BYTES_H_
