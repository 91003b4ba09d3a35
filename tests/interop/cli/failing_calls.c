/* Preloaded: calls on paths that are relative or begin with FAIL_UNDER are counted from 0. FAIL_HOW says what happens at
   the one of number FAIL_AT, and FAIL_LOG gets its name and its path:

     once       it fails with the error FAIL_ERROR
     on         so do all that follow
     room       so do those that follow and may need room; a write or a copy is done by half first
     change     so do those that follow and change anything
     short      it transfers a byte, and so does each transfer that follows
     interrupt  it fails with EINTR, and so does every second of those that follow and can be interrupted
     kill       the process is killed

   Nothing is synced. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { kLooks = 0, kChanges = 1, kNeedsRoom = 2, kTransfers = 4, kWaits = 8 };
enum { kCreates = kChanges | kNeedsRoom, kReads = kTransfers | kWaits, kWrites = kCreates | kTransfers | kWaits };

static const char* under;
static const char* how;
static long at = -1, error;
static atomic_long calls, waits;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void Begin(void) {
  under = getenv("FAIL_UNDER");
  if (under == NULL) return;
  how = getenv("FAIL_HOW");
  at = atol(getenv("FAIL_AT"));
  error = atol(getenv("FAIL_ERROR"));
}

static int Is(const char* name) { return strcmp(how, name) == 0; }

static void Log(const char* name, const char* path) {
  char text[PATH_MAX + 64];
  const int size = snprintf(text, sizeof text, "%s %s\n", name, path);
  const int log = REAL(open)(getenv("FAIL_LOG"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  (void)!REAL(write)(log, text, (size_t)size);
  REAL(close)(log);
}

/* `size`: of a transfer; it becomes less where the call is to transfer less. */
static int Fails(const char* name, const char* path, int kind, size_t* size) {
  if (under == NULL || *path == 0 || (*path == '/' && strncmp(path, under, strlen(under)) != 0)) return 0;
  const long number = atomic_fetch_add(&calls, 1);
  if (number < at || at < 0) return 0;
  if (number == at) Log(name, path);
  if (number == at && Is("kill")) raise(SIGKILL);
  if (Is("short")) {
    if (size != NULL && *size > 1) *size = 1;
    return 0;
  }
  if (Is("interrupt")) {
    if ((kind & kWaits) == 0 || atomic_fetch_add(&waits, 1) % 2 != 0) return 0;
    errno = EINTR;
    return 1;
  }
  if (number == at && Is("room") && (kind & kWrites) == kWrites && *size > 1) {
    *size /= 2;
    return 0;
  }
  if (number != at && Is("once")) return 0;
  if ((Is("room") && (kind & kNeedsRoom) == 0) || (Is("change") && (kind & kChanges) == 0)) return 0;
  errno = (int)error;
  return 1;
}

static int FailsOn(const char* name, int fd, int kind, size_t* size) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = under == NULL ? 0 : REAL(readlink)(link, path, sizeof path - 1);
  path[length < 0 ? 0 : length] = 0;
  return Fails(name, path, kind, size);
}

static int Creates(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

static int OpensFor(int flags) { return kWaits | (Creates(flags) ? kCreates : (flags & O_ACCMODE) != 0 ? kChanges : kLooks); }

/* A call whose first argument is a path, one whose first is a descriptor, and one that transfers `size` bytes. */
#define OF_PATH(result, bad, kind, name, path, declared, ...) \
  result name declared { return Fails(#name, path, kind, NULL) ? bad : REAL(name)(__VA_ARGS__); }
#define OF_FD(result, bad, kind, name, fd, declared, ...) \
  result name declared { return FailsOn(#name, fd, kind, NULL) ? bad : REAL(name)(__VA_ARGS__); }
#define TRANSFER(kind, name, fd, declared, ...) \
  ssize_t name declared { return FailsOn(#name, fd, kind, &size) ? -1 : REAL(name)(__VA_ARGS__); }
#define OPEN(name, declared, ...)                                 \
  int name declared {                                             \
    va_list more;                                                 \
    va_start(more, flags);                                        \
    const mode_t mode = Creates(flags) ? va_arg(more, mode_t) : 0; \
    va_end(more);                                                 \
    return Fails(#name, path, OpensFor(flags), NULL) ? -1 : REAL(name)(__VA_ARGS__);     \
  }

OPEN(open, (const char* path, int flags, ...), path, flags, mode)
OPEN(open64, (const char* path, int flags, ...), path, flags, mode)
OPEN(openat, (int folder, const char* path, int flags, ...), folder, path, flags, mode)
OPEN(openat64, (int folder, const char* path, int flags, ...), folder, path, flags, mode)
TRANSFER(kReads, read, fd, (int fd, void* out, size_t size), fd, out, size)
TRANSFER(kReads, pread, fd, (int fd, void* out, size_t size, off_t from), fd, out, size, from)
TRANSFER(kReads, pread64, fd, (int fd, void* out, size_t size, off64_t from), fd, out, size, from)
TRANSFER(kWrites, write, fd, (int fd, const void* in, size_t size), fd, in, size)
TRANSFER(kWrites, pwrite, fd, (int fd, const void* in, size_t size, off_t to), fd, in, size, to)
TRANSFER(kWrites, pwrite64, fd, (int fd, const void* in, size_t size, off64_t to), fd, in, size, to)
TRANSFER(kWrites, copy_file_range, to, (int from, off64_t* from_at, int to, off64_t* to_at, size_t size, unsigned flags),
         from, from_at, to, to_at, size, flags)
OF_FD(int, -1, kChanges | kWaits, ftruncate, fd, (int fd, off_t size), fd, size)
OF_FD(int, -1, kChanges | kWaits, ftruncate64, fd, (int fd, off64_t size), fd, size)
OF_FD(int, -1, kCreates | kWaits, fallocate, fd, (int fd, int mode, off_t from, off_t size), fd, mode, from, size)
OF_FD(int, -1, kLooks, flock, fd, (int fd, int what), fd, what)
OF_FD(int, -1, kChanges, fchmod, fd, (int fd, mode_t mode), fd, mode)
OF_FD(int, -1, kChanges, fchown, fd, (int fd, uid_t owner, gid_t group), fd, owner, group)
OF_FD(int, -1, kLooks, fstat, fd, (int fd, struct stat* out), fd, out)
OF_FD(int, -1, kLooks, fstat64, fd, (int fd, struct stat64* out), fd, out)
OF_FD(int, -1, kCreates, fsetxattr, fd, (int fd, const char* name, const void* value, size_t size, int flags), fd, name, value, size, flags)
OF_FD(ssize_t, -1, kLooks, getdents64, fd, (int fd, void* out, size_t size), fd, out, size)
OF_FD(DIR*, NULL, kLooks, fdopendir, fd, (int fd), fd)
OF_FD(struct dirent*, NULL, kLooks, readdir, dirfd(stream), (DIR * stream), stream)
OF_FD(struct dirent64*, NULL, kLooks, readdir64, dirfd(stream), (DIR * stream), stream)
OF_PATH(int, -1, kLooks, stat, path, (const char* path, struct stat* out), path, out)
OF_PATH(int, -1, kLooks, stat64, path, (const char* path, struct stat64* out), path, out)
OF_PATH(int, -1, kLooks, lstat, path, (const char* path, struct stat* out), path, out)
OF_PATH(int, -1, kLooks, lstat64, path, (const char* path, struct stat64* out), path, out)
OF_PATH(int, -1, kLooks, statvfs, path, (const char* path, struct statvfs* out), path, out)
OF_PATH(ssize_t, -1, kLooks, getxattr, path, (const char* path, const char* name, void* out, size_t size), path, name, out, size)
OF_PATH(ssize_t, -1, kLooks, readlink, path, (const char* path, char* out, size_t size), path, out, size)
OF_PATH(int, -1, kCreates, mkdir, path, (const char* path, mode_t mode), path, mode)
OF_PATH(int, -1, kCreates, mkdirat, path, (int folder, const char* path, mode_t mode), folder, path, mode)
OF_PATH(int, -1, kCreates, symlink, path, (const char* target, const char* path), target, path)
OF_PATH(int, -1, kCreates, link, path, (const char* from, const char* path), from, path)
OF_PATH(int, -1, kChanges, unlinkat, path, (int folder, const char* path, int flags), folder, path, flags)
OF_PATH(int, -1, kCreates, renameat2, to, (int from_folder, const char* from, int to_folder, const char* to, unsigned flags),
        from_folder, from, to_folder, to, flags)

int fsync(int fd) { return FailsOn("fsync", fd, kChanges | kWaits, NULL) ? -1 : 0; }

/* The descriptor is closed whatever is answered [close(2)]. */
int close(int fd) {
  const int fails = FailsOn("close", fd, kLooks, NULL), reason = errno;
  const int result = REAL(close)(fd);
  if (fails) errno = reason;
  return fails ? -1 : result;
}
