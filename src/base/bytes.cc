// Files and memory as ByteSources, and the ranges of them.
#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <system_error>

#include "anemone/bytes.h"
#include "base/cancel.h"
#include "base/changed.h"
#include "base/checked.h"
#include "base/closed_file.h"
#include "base/descriptor.h"
#include "base/directory.h"
#include "base/removal.h"
#include "base/sys.h"
#include "base/text_hash.h"

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

// A file's size, times and identity when it was opened, to notice later that it has changed. It is small, as a folder
// may have a million files.
class FileState {
 public:
  FileState(const struct stat& opened, const std::string& name)
      : size_(opened.st_size),
        content_(ContentOf(opened)),
        changed_(TimeOf(opened.st_ctim)),
        access_(AccessOf(opened)) {
    if (!name.starts_with('/')) folder_ = WorkingDirectory();
  }
  uint64_t size_bytes() const { return static_cast<uint64_t>(size_); }
  // `fd`: the file itself, as long as it is open; -1: whatever has the name.
  Status Check(int fd, const std::string& name) const {
    constexpr std::string_view kHint = "nothing is written: begin anew once it is complete";
    struct stat now;
    const std::string path = folder_ == nullptr ? name : (std::filesystem::path(*folder_) / name).string();
    // Another file may have been put in its place. One that was removed or moved away has not changed.
    const bool is_there = sys.stat(path.c_str(), &now) == 0;
    if (!is_there && errno != ENOENT && errno != ENOTDIR) return ErrnoStatus(errno, "cannot stat").In(name);
    if (!is_there && fd >= 0 && sys.fstat(fd, &now) != 0) return ErrnoStatus(errno, "cannot stat").In(name);
    if ((!is_there && fd < 0) || ContentOf(now) != content_)
      return Status(ErrorKind::kIo, std::string(kChanged), std::string(kHint)).In(name);
    // The time of modification can be set back [utimensat(2)], that of the last change of anything cannot. Links, mode
    // and owner are other causes of the latter, and so is a move.
    if (!is_there || TimeOf(now.st_ctim) == changed_ || AccessOf(now) != access_) return {};
    return Status(ErrorKind::kIo, std::string(kChanged) + ": its ctime is another, though its mtime is not",
                  std::string(kHint) + "; if only its attributes change, read a copy")
        .In(name);
  }

 private:
  // In nanoseconds, modulo 2^64.
  static uint64_t TimeOf(const struct timespec& time) {
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
  }
  template <size_t kCount>
  static size_t HashOf(const uint64_t (&numbers)[kCount]) {
    return internal::HashOf(std::string_view(reinterpret_cast<const char*>(numbers), sizeof numbers));
  }
  static size_t ContentOf(const struct stat& info) {
    return HashOf({static_cast<uint64_t>(info.st_size), TimeOf(info.st_mtim), info.st_ino, info.st_dev});
  }
  static size_t AccessOf(const struct stat& info) {
    return HashOf({info.st_mode, info.st_uid, info.st_gid, info.st_nlink});
  }

  off_t size_;
  size_t content_;
  uint64_t changed_;
  size_t access_;
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
