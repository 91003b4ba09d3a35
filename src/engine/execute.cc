#include "engine/execute.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/crc32.h"
#include "base/sys.h"
#include "tensor/lower.h"

namespace anemone {
namespace {

Status ReadSegment(const Segment& segment, uint64_t from, std::span<std::byte> out) {
  if (const auto* literal = std::get_if<std::string>(&segment.content)) {
    std::memcpy(out.data(), literal->data() + from, out.size());
    return {};
  }
  if (const auto* tensor = std::get_if<Tensor>(&segment.content)) return Fill(*tensor, from, out);
  const ByteRange& range = std::get<ByteRange>(segment.content);
  return range.source->ReadAt(range.offset + from, out);
}

Status WriteAll(int fd, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = sys.pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ErrnoStatus(errno, "cannot write");
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return {};
}

// fd -1 reads only.
Status FillFile(const PlanFile& file, int fd, const ExecuteOptions& options) {
  std::vector<std::byte> buffer;
  std::vector<uint32_t> crcs(file.crcs.size(), 0);
  for (const Segment& segment : file.segments) {
    for (uint64_t from = 0; from < segment.size; from += options.window_bytes) {
      buffer.resize(std::min(options.window_bytes, segment.size - from));
      ANEMONE_TRY(ReadSegment(segment, from, buffer));
      const uint64_t at = segment.offset + from;
      for (size_t i = 0; i < file.crcs.size(); ++i) {
        const Crc32Slot& slot = file.crcs[i];
        const uint64_t begin = std::max(at, slot.offset);
        const uint64_t end = std::min(at + buffer.size(), slot.offset + slot.size);
        if (begin >= end) continue;
        const uint32_t crc = Crc32(0, std::span(buffer).subspan(begin - at, end - begin));
        crcs[i] ^= Crc32Shift(crc, slot.offset + slot.size - end);
      }
      if (fd >= 0) ANEMONE_TRY(WriteAll(fd, at, buffer));
    }
  }
  for (size_t i = 0; fd >= 0 && i < file.crcs.size(); ++i) {
    for (const uint64_t store : file.crcs[i].stores)
      ANEMONE_TRY(WriteAll(fd, store, std::as_bytes(std::span(&crcs[i], 1))));
  }
  return {};
}

Status WriteFile(const PlanFile& file, const std::string& path, const ExecuteOptions& options) {
  for (size_t slash = path.find('/', 1); slash != path.npos; slash = path.find('/', slash + 1)) {
    sys.mkdir(path.substr(0, slash).c_str(), 0777);
  }
  const int fd = sys.open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) return ErrnoStatus(errno, "cannot create").In(path);
  Status status;
  if (sys.ftruncate(fd, static_cast<off_t>(file.size)) != 0) status = ErrnoStatus(errno, "cannot write");
  if (status.ok()) status = FillFile(file, fd, options);
  if (sys.fsync(fd) != 0 && status.ok()) status = ErrnoStatus(errno, "cannot write");
  sys.close(fd);
  return status.In(path);
}

}  // namespace

Status Execute(const Plan& plan, const std::string& destination, const ExecuteOptions& options) {
  ANEMONE_TRY(Check(plan));
  const std::string temporary = destination + ".anemone-" + std::to_string(::getpid()) + ".tmp";
  for (const PlanFile& file : plan.files) {
    ANEMONE_TRY(WriteFile(file, plan.is_directory ? temporary + "/" + file.path : temporary, options));
  }
  for (const std::string& path : plan.empty_directories) sys.mkdir((temporary + "/" + path).c_str(), 0777);
  if (sys.rename(temporary.c_str(), destination.c_str(), options.replace ? 0 : RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST) return Status(ErrorKind::kAlreadyExists, "already exists").In(destination);
    return ErrnoStatus(errno, "cannot rename").In(destination);
  }
  return {};
}

Status ReadThrough(const Plan& plan, const ExecuteOptions& options) {
  ANEMONE_TRY(Check(plan));
  for (const PlanFile& file : plan.files) ANEMONE_TRY(FillFile(file, -1, options));
  return {};
}

uint64_t PeakMemoryBytes(const Plan& plan, const ExecuteOptions& options) {
  uint64_t scratch = 0;
  for (const PlanFile& file : plan.files) {
    for (const Segment& segment : file.segments) {
      if (const auto* tensor = std::get_if<Tensor>(&segment.content))
        scratch = std::max(scratch, FillScratchBytes(*tensor));
    }
  }
  return options.window_bytes + scratch;
}

}  // namespace anemone
