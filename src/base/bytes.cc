// Files and memory as ByteSources, and the ranges of them.
#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <system_error>

#include "anemone/bytes.h"
#include "base/cancel.h"
#include "base/checked.h"
#include "base/closed_file.h"
#include "base/descriptor.h"
#include "base/directory.h"
#include "base/removal.h"
#include "base/sys.h"

namespace anemone {
namespace {

Status Truncated(uint64_t expected, uint64_t actual, const std::string& name) {
  return Corrupt("truncated: expected " + std::to_string(expected) + " bytes, file has " + std::to_string(actual))
      .In(name);
}

// The working directory, one text for all that are opened in it.
std::shared_ptr<const std::string> WorkingDirectory() {
  static std::mutex mutex;
  static std::shared_ptr<const std::string> last;
  std::error_code error;
  std::string now = std::filesystem::current_path(error).string();
  const std::lock_guard lock(mutex);
  if (last == nullptr || *last != now) last = std::make_shared<const std::string>(std::move(now));
  return last;
}

// A file's size, time and identity when it was opened, to notice later that it has changed. It is small, as a folder
// may have a million files.
class FileState {
 public:
  FileState(const struct stat& opened, const std::string& name)
      : size_(opened.st_size), modified_(TimeOf(opened)), inode_(opened.st_ino), device_(opened.st_dev) {
    if (!name.starts_with('/')) folder_ = WorkingDirectory();
  }
  uint64_t size_bytes() const { return static_cast<uint64_t>(size_); }
  // `fd`: the file itself, as long as it is open; -1: whatever has the name.
  Status Check(int fd, const std::string& name) const {
    struct stat now;
    if (fd >= 0 && sys.fstat(fd, &now) != 0) return ErrnoStatus(errno, "cannot stat").In(name);
    bool same = fd < 0 || HasSameContent(now);
    // Another file may have been put in its place. One that was removed or moved away has not changed.
    const std::string path = folder_ == nullptr ? name : (std::filesystem::path(*folder_) / name).string();
    if (sys.stat(path.c_str(), &now) == 0) {
      same = same && HasSameContent(now) && now.st_ino == inode_ && now.st_dev == device_;
    } else if (errno == ENOENT || errno == ENOTDIR) {
      same = same && fd >= 0;
    } else {
      return ErrnoStatus(errno, "cannot stat").In(name);
    }
    if (same) return {};
    return Status(ErrorKind::kIo, "changed while it was read", "nothing is written: begin anew once it is complete")
        .In(name);
  }

 private:
  bool HasSameContent(const struct stat& now) const { return now.st_size == size_ && TimeOf(now) == modified_; }
  // In nanoseconds, modulo 2^64.
  static uint64_t TimeOf(const struct stat& info) {
    return static_cast<uint64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(info.st_mtim.tv_nsec);
  }

  off_t size_;
  uint64_t modified_;
  ino_t inode_;
  dev_t device_;
  std::shared_ptr<const std::string> folder_;  // that the name counts from; null: the root
};

class FileSource final : public ByteSource {
 public:
  FileSource(Descriptor file, const struct stat& opened, std::string name)
      : file_(std::move(file)), name_(std::move(name)), state_(opened, name_) {}

  uint64_t size_bytes() const override { return state_.size_bytes(); }
  const std::string& name() const override { return name_; }
  int fd() const override { return file_.get(); }

  Status CheckUnchanged() const override { return state_.Check(fd(), name_); }

  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    const std::optional<uint64_t> end = CheckedAdd(offset, out.size());
    if (!end || *end > size_bytes()) return Truncated(end.value_or(UINT64_MAX), size_bytes(), name_);
    while (!out.empty()) {
      const ssize_t got = sys.pread(fd(), out.data(), out.size(), static_cast<off_t>(offset));
      if (got < 0 && ShouldRetry()) continue;
      if (got < 0) return ErrnoStatus(errno, "cannot read").In(name_);
      if (got == 0) return Truncated(*end, offset, name_);  // it shrank since it was opened
      out = out.subspan(static_cast<size_t>(got));
      offset += static_cast<uint64_t>(got);
    }
    return {};
  }

 private:
  const OpenMark mark_;  // goes after the file is closed
  const Descriptor file_;
  const std::string name_;
  const FileState state_;
};

class ClosedFile final : public ByteSource {
 public:
  ClosedFile(std::string path, const struct stat& opened) : path_(std::move(path)), state_(opened, path_) {}
  uint64_t size_bytes() const override { return state_.size_bytes(); }
  const std::string& name() const override { return path_; }
  Status CheckUnchanged() const override { return state_.Check(-1, path_); }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    ANEMONE_ASSIGN(const ByteSourcePtr file, OpenFile(path_));
    return file->ReadAt(offset, out);
  }

 private:
  const std::string path_;
  const FileState state_;
};

class StringSource final : public ByteSource {
 public:
  StringSource(std::string bytes, std::string name) : bytes_(std::move(bytes)), name_(std::move(name)) {}
  uint64_t size_bytes() const override { return bytes_.size(); }
  const std::string& name() const override { return name_; }
  Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    if (!Within(offset, out.size(), bytes_.size()))
      return Truncated(CheckedAdd(offset, out.size()).value_or(UINT64_MAX), bytes_.size(), name_);
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

 private:
  const std::string bytes_;
  const std::string name_;
};

}  // namespace

Result<ByteSourcePtr> OpenFile(const std::string& path) {
  // O_NONBLOCK: opening a pipe must fail below rather than wait here.
  Descriptor file(sys.open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0));
  if (!file.is_open()) return CannotOpen(path, errno);
  struct stat info;
  if (sys.fstat(file.get(), &info) != 0) return ErrnoStatus(errno, "cannot stat").In(path);
  if (S_ISDIR(info.st_mode)) return InvalidArgument("expected a file, found a directory").In(path);
  if (!S_ISREG(info.st_mode))
    return InvalidArgument("expected a regular file, found a device, pipe or socket",
                           "copy what it gives to a file first")
        .In(path);
  return ByteSourcePtr(std::make_shared<FileSource>(std::move(file), info, path));
}

Result<ByteSourcePtr> OpenFileEachTime(const std::string& path) {
  ANEMONE_ASSIGN(const ByteSourcePtr file, OpenFile(path));
  struct stat info;
  if (sys.fstat(file->fd(), &info) != 0) return ErrnoStatus(errno, "cannot stat").In(path);
  return ByteSourcePtr(std::make_shared<ClosedFile>(path, info));
}

ByteSourcePtr MemorySource(std::string bytes, std::string name) {
  return std::make_shared<StringSource>(std::move(bytes), std::move(name));
}

Result<std::string> ByteRange::ReadAll(uint64_t limit_bytes) const {
  if (size > limit_bytes) {
    return LimitExceeded("expected at most " + std::to_string(limit_bytes) + " bytes, found " + std::to_string(size),
                         "no option raises this limit; is it the file that was meant?")
        .In(source->name());
  }
  if (!Within(offset, size, source->size_bytes()))
    return Truncated(CheckedAdd(offset, size).value_or(UINT64_MAX), source->size_bytes(), source->name());
  std::string bytes(size, '\0');
  ANEMONE_TRY(source->ReadAt(offset, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

Result<ByteRange> ByteRange::Sub(uint64_t from, uint64_t count) const {
  if (!Within(from, count, size)) {
    return Corrupt("truncated: expected " + std::to_string(count) + " bytes at byte " + std::to_string(from) +
                   ", found " + std::to_string(from <= size ? size - from : 0))
        .In(source->name());
  }
  return ByteRange{source, offset + from, count};
}

}  // namespace anemone
