#include "base/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include "base/cancel.h"

namespace anemone {
namespace {

// File systems that wait for a server or a process (NFS, FUSE) interrupt calls that open, resize and sync, too.
template <typename Call>
int Retried(const Call& call) {
  int result = call();
  while (result < 0 && ShouldRetry()) result = call();
  return result;
}

int FreeBytes(const char* path, uint64_t* out) {
  struct statvfs info;
  if (statvfs(path, &info) != 0) return -1;
  *out = info.f_blocks == 0 ? UINT64_MAX : static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  return 0;
}

// The names in an open directory, read without memory: what a run leaves is removed where there is none, too.
class Names {
 public:
  explicit Names(int fd) : fd_(fd) { ::lseek(fd, 0, SEEK_SET); }
  // Null at the end, or where it cannot be read: then `error` is why.
  const char* Next() {
    while (true) {
      if (at_ >= size_) {
        size_ = ::getdents64(fd_, buffer_, sizeof buffer_);
        at_ = 0;
        if (size_ < 0) error_ = errno;
        if (size_ <= 0) return nullptr;
      }
      const auto* entry = reinterpret_cast<const dirent64*>(buffer_ + at_);
      at_ += entry->d_reclen;
      if (const std::string_view name = entry->d_name; name != "." && name != "..") return entry->d_name;
    }
  }
  int error() const { return error_; }

 private:
  const int fd_;
  int error_ = 0;
  ssize_t at_ = 0, size_ = 0;
  alignas(dirent64) char buffer_[2048];
};

// Returns 0 or an errno. Where an open file gets another name as it is removed (NFS, FUSE), that one stays, and so does
// the directory: std::filesystem::remove_all would remove it for ever.
int RemoveTree(int parent, const char* path) {
  if (::unlinkat(parent, path, 0) == 0 || errno == ENOENT) return 0;
  if (errno != EISDIR && errno != EPERM) return errno;
  const int unlink_error = errno;
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  int fd = ::openat(parent, path, kFlags);
  while (fd < 0 && errno == EINTR) fd = ::openat(parent, path, kFlags);  // also of a run that was cancelled
  if (fd < 0) return errno == ENOTDIR || errno == ELOOP ? unlink_error : errno;
  uint64_t count = 0;
  Names counted(fd);
  while (counted.Next() != nullptr) ++count;
  int failed = counted.error();
  Names names(fd);
  for (uint64_t left = 2 * count; left > 0; --left) {  // all, and as many new names
    const char* name = names.Next();
    if (name == nullptr) break;
    if (const int error = RemoveTree(fd, name); error != 0 && failed == 0) failed = error;
  }
  if (failed == 0) failed = names.error();
  ::close(fd);
  if (::unlinkat(parent, path, AT_REMOVEDIR) == 0 || errno == ENOENT) return 0;
  return failed != 0 ? failed : errno;
}

int RemoveAll(const char* path) {
  errno = RemoveTree(AT_FDCWD, path);
  return errno == 0 ? 0 : -1;
}

int ReopenDirect(int fd, unsigned block) {
#ifdef STATX_DIOALIGN
  struct statx info;
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) != 0) return -1;
  const auto divides = [block](unsigned alignment) { return alignment != 0 && block % alignment == 0; };
  if ((info.stx_mask & STATX_DIOALIGN) != 0 && divides(info.stx_dio_mem_align) && divides(info.stx_dio_offset_align)) {
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    return ::open(path.c_str(), (::fcntl(fd, F_GETFL) & O_ACCMODE) | O_DIRECT | O_CLOEXEC);
  }
#endif
  errno = EOPNOTSUPP;
  return -1;
}

bool IsCached(int fd, off_t offset, size_t size) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t lead = static_cast<size_t>(offset) % page;
  // A mapping whose pages nobody touches takes no memory.
  void* map = ::mmap(nullptr, lead + size, PROT_READ, MAP_SHARED, fd, offset - static_cast<off_t>(lead));
  if (map == MAP_FAILED) return true;
  std::vector<unsigned char> resident((lead + size + page - 1) / page);
  const bool known = ::mincore(map, lead + size, resident.data()) == 0;
  ::munmap(map, lead + size);
  return !known || std::ranges::all_of(resident, [](unsigned char flags) { return (flags & 1) != 0; });
}

int CloneRange(int from, off_t from_offset, int to, off_t to_offset, size_t size) {
  file_clone_range range = {.src_fd = from,
                            .src_offset = static_cast<uint64_t>(from_offset),
                            .src_length = size,
                            .dest_offset = static_cast<uint64_t>(to_offset)};
  return ::ioctl(to, FICLONERANGE, &range);
}

}  // namespace

Sys sys = {
    .open = [](const char* path, int flags, mode_t mode) { return Retried([&] { return ::open(path, flags, mode); }); },
    .openat = [](int directory, const char* path, int flags,
                 mode_t mode) { return Retried([&] { return ::openat(directory, path, flags, mode); }); },
    .close = ::close,
    .fstat = [](int fd, struct stat* out) { return ::fstat(fd, out); },
    .stat = [](const char* path, struct stat* out) { return ::stat(path, out); },
    .lstat = [](const char* path, struct stat* out) { return ::lstat(path, out); },
    .pread = ::pread,
    .is_cached = IsCached,
    .pwrite = ::pwrite,
    .ftruncate = [](int fd, off_t size) { return Retried([&] { return ::ftruncate(fd, size); }); },
    .fsync = [](int fd) { return Retried([&] { return ::fsync(fd); }); },
    .flock = ::flock,
    .mkdir = ::mkdir,
    .mkdirat = ::mkdirat,
    .fchmod = ::fchmod,
    .fchown = ::fchown,
    .getxattr = ::getxattr,
    .fsetxattr =
        [](int fd, const char* name, const void* value, size_t size) {
          return size == 0 ? ::fremovexattr(fd, name) : ::fsetxattr(fd, name, value, size, 0);
        },
    .rename = [](const char* from, const char* to,
                 unsigned flags) { return ::renameat2(AT_FDCWD, from, AT_FDCWD, to, flags); },
    .remove_all = RemoveAll,
    .free_bytes = FreeBytes,
    .copy_range = [](int from, off_t from_offset, int to, off_t to_offset,
                     size_t size) { return ::copy_file_range(from, &from_offset, to, &to_offset, size, 0); },
    .clone_range = CloneRange,
    .reserve = [](int fd, off_t size) { return ::fallocate(fd, 0, 0, size); },
    .reopen_direct = ReopenDirect,
    .start_writeback = [](int fd, off_t offset,
                          off_t size) { return ::sync_file_range(fd, offset, size, SYNC_FILE_RANGE_WRITE); },
};

bool WriteAll(int fd, std::span<const std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t put = sys.pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && ShouldRetry()) continue;
    if (put == 0) errno = ENOSPC;
    if (put <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return true;
}

}  // namespace anemone
