// FaultySys: the file system's calls, of which the Nth does not do what it should. Everything under test goes through
// anemone::sys, so a sweep over N until nothing is left to fail visits every moment at which a disk can let one down.
#ifndef ANEMONE_TESTS_TESTING_FAULTY_SYS_H_
#define ANEMONE_TESTS_TESTING_FAULTY_SYS_H_

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/sys.h"

namespace anemone::testing {

enum class Fault {
  kIoError,    // -1, EIO
  kDiskFull,   // -1, ENOSPC, from calls that may need space; others work
  kShort,      // half of a read, write or copy; others work
  kEndOfFile,  // 0 from a read or copy; others work
  kNoMemory,   // -1, ENOMEM
  kInterrupt,  // -1, EINTR, from a read, write or copy; others work
  kKill,       // the end of the process, before the call
};

class FaultySys {
 public:
  // The `n`th call (from 0) has the fault. While this lives, sys is faulty; one at a time.
  FaultySys(Fault fault, int n, bool renames_take_flags = true) {
    real_ = sys;
    state_ = {fault, n, 0, false, renames_take_flags, ""};
    sys.open = [](const char* path, int flags, mode_t mode) {
      return Fails("open", true, false) ? -1 : real_.open(path, flags, mode);
    };
    sys.openat = [](int directory, const char* path, int flags, mode_t mode) {
      return Fails("openat", true, false) ? -1 : real_.openat(directory, path, flags, mode);
    };
    sys.close = [](int fd) {
      const int result = real_.close(fd);
      return Fails("close", true, false) ? -1 : result;
    };
    sys.fstat = [](int fd, struct stat* out) { return Fails("fstat", false, false) ? -1 : real_.fstat(fd, out); };
    sys.stat = [](const char* path, struct stat* out) {
      return Fails("stat", false, false) ? -1 : real_.stat(path, out);
    };
    sys.lstat = [](const char* path, struct stat* out) {
      return Fails("lstat", false, false) ? -1 : real_.lstat(path, out);
    };
    sys.pread = [](int fd, void* out, size_t size, off_t offset) -> ssize_t {
      if (Fails("pread", false, true)) return -1;
      return real_.pread(fd, out, Shortened(size, true), offset);
    };
    sys.pwrite = [](int fd, const void* bytes, size_t size, off_t offset) -> ssize_t {
      if (Fails("pwrite", true, true)) return -1;
      return real_.pwrite(fd, bytes, Shortened(size, false), offset);
    };
    sys.ftruncate = [](int fd, off_t size) { return Fails("ftruncate", true, false) ? -1 : real_.ftruncate(fd, size); };
    sys.fsync = [](int) { return Fails("fsync", true, false) ? -1 : 0; };  // durability is not what is tested
    sys.flock = [](int fd, int operation) { return Fails("flock", false, false) ? -1 : real_.flock(fd, operation); };
    sys.mkdir = [](const char* path, mode_t mode) {
      return Fails("mkdir", true, false) ? -1 : real_.mkdir(path, mode);
    };
    sys.mkdirat = [](int directory, const char* path, mode_t mode) {
      return Fails("mkdirat", true, false) ? -1 : real_.mkdirat(directory, path, mode);
    };
    sys.fchmod = [](int fd, mode_t mode) { return Fails("fchmod", false, false) ? -1 : real_.fchmod(fd, mode); };
    sys.fchown = [](int fd, uid_t owner, gid_t group) {
      return Fails("fchown", false, false) ? -1 : real_.fchown(fd, owner, group);
    };
    sys.getxattr = [](const char* path, const char* name, void* out, size_t size) -> ssize_t {
      return Fails("getxattr", false, false) ? -1 : real_.getxattr(path, name, out, size);
    };
    sys.fsetxattr = [](int fd, const char* name, const void* value, size_t size) {
      return Fails("fsetxattr", true, false) ? -1 : real_.fsetxattr(fd, name, value, size);
    };
    sys.rename = [](const char* from, const char* to, unsigned flags) {
      if (Fails("rename", true, false)) return -1;
      if (flags != 0 && !state_.renames_take_flags) {
        errno = EINVAL;
        return -1;
      }
      return real_.rename(from, to, flags);
    };
    sys.free_bytes = [](const char* path, uint64_t* out) {
      return Fails("free_bytes", false, false) ? -1 : real_.free_bytes(path, out);
    };
    sys.copy_range = [](int from, off_t from_offset, int to, off_t to_offset, size_t size) -> ssize_t {
      if (Fails("copy_range", true, true)) return -1;
      size = Shortened(size, true);
      return size == 0 ? 0 : real_.copy_range(from, from_offset, to, to_offset, size);
    };
    sys.clone_range = [](int from, off_t from_offset, int to, off_t to_offset, size_t size) {
      return Fails("clone_range", true, false) ? -1 : real_.clone_range(from, from_offset, to, to_offset, size);
    };
    sys.reserve = [](int fd, off_t size) { return Fails("reserve", true, false) ? -1 : real_.reserve(fd, size); };
    sys.reopen_direct = [](int fd, unsigned block) {
      return Fails("reopen_direct", false, false) ? -1 : real_.reopen_direct(fd, block);
    };
    sys.start_writeback = [](int, off_t, off_t) { return Fails("start_writeback", false, false) ? -1 : 0; };
  }
  ~FaultySys() { sys = real_; }
  FaultySys(const FaultySys&) = delete;
  FaultySys& operator=(const FaultySys&) = delete;

  // Whether there was an Nth call, and which.
  bool reached() const { return state_.calls > state_.n; }
  const std::string& call() const { return state_.call; }

 private:
  struct State {
    Fault fault;
    int n;
    int calls;
    bool now;  // the call under way is the Nth
    bool renames_take_flags;
    std::string call;
  };

  static bool Fails(const char* call, bool may_need_space, bool moves_bytes) {
    state_.now = state_.calls++ == state_.n;
    if (!state_.now) return false;
    state_.call = call;
    if (state_.fault == Fault::kKill) kill(getpid(), SIGKILL);
    const bool always = state_.fault == Fault::kIoError || state_.fault == Fault::kNoMemory;
    const bool fails = always || (state_.fault == Fault::kDiskFull && may_need_space) ||
                       (state_.fault == Fault::kInterrupt && moves_bytes);
    if (fails) errno = ErrorOf(state_.fault);
    return fails;
  }

  static int ErrorOf(Fault fault) {
    switch (fault) {
      case Fault::kIoError:
        return EIO;
      case Fault::kNoMemory:
        return ENOMEM;
      case Fault::kDiskFull:
        return ENOSPC;
      default:
        return EINTR;
    }
  }

  static size_t Shortened(size_t size, bool reads) {
    if (!state_.now) return size;
    if (state_.fault == Fault::kShort) return std::max<size_t>(size / 2, 1);
    return state_.fault == Fault::kEndOfFile && reads ? 0 : size;
  }

  static inline Sys real_;
  static inline State state_;
};

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_TESTING_FAULTY_SYS_H_
