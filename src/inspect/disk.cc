#include "inspect/disk.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>

#include "base/descriptor.h"
#include "base/rounding.h"
#include "base/sys.h"
#include "engine/direct.h"
#include "engine/share.h"

namespace anemone {
namespace {

constexpr uint64_t kStep = uint64_t{4} << 20;
constexpr uint64_t kSync = uint64_t{32} << 20;  // written between two looks at the clock

// Bytes a second that `step` moves from an offset, until it moves none or a limit is reached.
Result<double> Measure(const DiskLimits& limits, const std::function<Result<uint64_t>(uint64_t offset)>& step) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  uint64_t done = 0;
  double seconds = 0;
  while (done < limits.bytes && seconds < limits.seconds) {
    ANEMONE_ASSIGN(const uint64_t moved, step(done));
    seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (moved == 0) break;
    done += moved;
  }
  return seconds > 0 ? static_cast<double>(done) / seconds : 0;
}

Result<double> MeasureDirect(const ByteSource& file, std::span<std::byte> buffer, const DiskLimits& limits) {
  const Descriptor direct(sys.reopen_direct(file.fd(), kDirectBlock));
  if (!direct.is_open()) return 0;
  return Measure(limits, [&](uint64_t offset) -> Result<uint64_t> {
    const ssize_t got = sys.pread(direct.get(), buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (got < 0) return ErrnoStatus(errno, "cannot read").In(file.name());
    return RoundDown(static_cast<uint64_t>(got), kDirectBlock);
  });
}

Result<double> MeasureCached(const ByteSource& file, std::span<std::byte> buffer, const DiskLimits& limits) {
  const auto read = [&](uint64_t offset) -> Result<uint64_t> {
    const uint64_t count = std::min<uint64_t>(buffer.size(), file.size_bytes() - offset);
    ANEMONE_TRY(file.ReadAt(offset, buffer.first(count)));
    return count;
  };
  uint64_t warm = 0;  // that the first pass brought into the cache
  ANEMONE_TRY(Measure(limits, [&](uint64_t offset) {
                Result<uint64_t> count = read(offset);
                if (count.ok()) warm += *count;
                return count;
              }).status());
  return Measure({.bytes = warm, .seconds = limits.seconds}, read);
}

// Open for writing, and without a name.
Result<Descriptor> OpenNameless(const std::string& folder) {
  Descriptor file(sys.open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file.is_open()) return file;
  const std::string path = folder + "/.anemone-bench." + std::to_string(getpid());
  file = Descriptor(sys.open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.is_open())
    return Status(ErrorKind::kCannotCreate, std::string("cannot write a file here: ") + std::strerror(errno))
        .In(folder);
  sys.remove_all(path.c_str());
  return file;
}

Result<double> MeasureWrite(const std::string& folder, std::span<std::byte> buffer, DiskLimits limits) {
  ANEMONE_ASSIGN(const Descriptor file, OpenNameless(folder));
  uint64_t room = 0;
  if (sys.free_bytes(folder.c_str(), &room) == 0) limits.bytes = std::min(limits.bytes, room / 10);
  std::mt19937_64 random(1);  // what a file system cannot compress
  for (size_t at = 0; at + 8 <= buffer.size(); at += 8) {
    const uint64_t word = random();
    std::memcpy(buffer.data() + at, &word, sizeof word);
  }
  return Measure(limits, [&](uint64_t offset) -> Result<uint64_t> {
    const uint64_t count = std::min(kSync, limits.bytes - offset);
    for (uint64_t at = 0; at < count; at += buffer.size()) {
      if (!WriteAll(file.get(), buffer.first(std::min<uint64_t>(buffer.size(), count - at)), offset + at))
        return ErrnoStatus(errno, "cannot write").In(folder);
    }
    if (sys.fsync(file.get()) != 0) return ErrnoStatus(errno, "cannot write to the device").In(folder);
    return count;
  });
}

}  // namespace

Result<DiskSpeed> MeasureDisk(const ByteSource& file, const std::string& folder, const DiskLimits& limits) {
  if (file.fd() < 0) return InvalidArgument("expected a file on a disk, found one that is elsewhere").In(file.name());
  BlockBuffer memory;
  const std::span<std::byte> buffer = memory.At(0, kStep);
  DiskSpeed speed;
  speed.is_cached = sys.is_cached(file.fd(), 0, std::min(limits.bytes, file.size_bytes()));
  ANEMONE_ASSIGN(speed.read_direct, MeasureDirect(file, buffer, limits));
  ANEMONE_ASSIGN(speed.read_cached, MeasureCached(file, buffer, limits));
  ANEMONE_ASSIGN(speed.write, MeasureWrite(folder, buffer, limits));
  speed.shares_blocks = CanShareBlocks(file.fd(), folder);
  return speed;
}

}  // namespace anemone
