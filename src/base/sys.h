// Every call that touches a file system, in one table. Tests replace members to make the Nth call fail, run short or
// find the disk full; nothing else does.
#ifndef ANEMONE_BASE_SYS_H_
#define ANEMONE_BASE_SYS_H_

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>

namespace anemone {

struct Sys {
  // As the system calls of the same name: -1 and errno on failure.
  int (*open)(const char* path, int flags, mode_t mode);
  int (*openat)(int directory, const char* path, int flags, mode_t mode);
  int (*close)(int fd);
  int (*fstat)(int fd, struct stat* out);
  int (*stat)(const char* path, struct stat* out);
  int (*lstat)(const char* path, struct stat* out);
  ssize_t (*pread)(int fd, void* out, size_t size, off_t offset);
  // Whether the page cache holds all of a range; true where that cannot be said.
  bool (*is_cached)(int fd, off_t offset, size_t size);
  ssize_t (*pwrite)(int fd, const void* bytes, size_t size, off_t offset);
  int (*ftruncate)(int fd, off_t size);
  int (*fsync)(int fd);
  int (*flock)(int fd, int operation);
  int (*mkdir)(const char* path, mode_t mode);
  int (*mkdirat)(int directory, const char* path, mode_t mode);
  // Gives a file another mode and owner.
  int (*fchmod)(int fd, mode_t mode);
  int (*fchown)(int fd, uid_t owner, gid_t group);
  ssize_t (*getxattr)(const char* path, const char* name, void* out, size_t size);
  int (*fsetxattr)(int fd, const char* name, const void* value, size_t size);  // of size 0: removes it
  int (*rename)(const char* from, const char* to, unsigned flags);             // renameat2's flags
  // Removes a file, or a directory with all it holds.
  int (*remove_all)(const char* path);
  // Free bytes an ordinary user may still write where `path` lies; UINT64_MAX where the file system does not say.
  int (*free_bytes)(const char* path, uint64_t* out);
  // Moves bytes between files inside the kernel, as copy_file_range(2); file systems that share blocks share them here.
  ssize_t (*copy_range)(int from, off_t from_offset, int to, off_t to_offset, size_t size);
  // Makes a file's bytes share the blocks of another's, as ioctl_ficlonerange(2); fails where they cannot.
  int (*clone_range)(int from, off_t from_offset, int to, off_t to_offset, size_t size);
  // Reserves room for a file's first bytes, as fallocate(2).
  int (*reserve)(int fd, off_t size);
  // Another descriptor of a file, open for the same, past the page cache (O_DIRECT) and of whole, aligned blocks of so
  // many bytes; -1 where its file system does not say that it can [statx(2) STATX_DIOALIGN].
  int (*reopen_direct)(int fd, unsigned block);
  // Starts writing a range to the device without waiting. Advice: its failure is nobody's error.
  int (*start_writeback)(int fd, off_t offset, off_t size);
};

// The real calls, unless a test has put others there before any thread started.
extern Sys sys;

// Writes all of `bytes` at `offset`, in as many calls as that takes; false and errno on failure.
bool WriteAll(int fd, std::span<const std::byte> bytes, uint64_t offset);

}  // namespace anemone

#endif  // ANEMONE_BASE_SYS_H_
