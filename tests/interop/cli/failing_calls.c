/* Preloaded: of the calls on paths that are relative or begin with FAIL_UNDER, the one of number FAIL_AT (from 0) fails
   with the error FAIL_ERROR. The file FAIL_LOG gets its name and its path. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char* under;
static long at = -1, error;
static atomic_long calls;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void Begin(void) {
  under = getenv("FAIL_UNDER");
  if (under == NULL) return;
  at = atol(getenv("FAIL_AT"));
  error = atol(getenv("FAIL_ERROR"));
}

static int Fails(const char* name, const char* path) {
  if (under == NULL || *path == 0 || (*path == '/' && strncmp(path, under, strlen(under)) != 0)) return 0;
  if (atomic_fetch_add(&calls, 1) != at) return 0;
  char text[PATH_MAX + 64];
  const int size = snprintf(text, sizeof text, "%s %s\n", name, path);
  const int log = REAL(open)(getenv("FAIL_LOG"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  (void)!REAL(write)(log, text, (size_t)size);
  REAL(close)(log);
  errno = (int)error;
  return 1;
}

static int FailsOn(const char* name, int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = under == NULL ? 0 : readlink(link, path, sizeof path - 1);
  path[size < 0 ? 0 : size] = 0;
  return Fails(name, path);
}

/* A call whose first argument is a path, and one whose first is a descriptor. */
#define OF_PATH(result, bad, name, path, declared, ...) \
  result name declared { return Fails(#name, path) ? bad : REAL(name)(__VA_ARGS__); }
#define OF_FD(result, bad, name, fd, declared, ...) \
  result name declared { return FailsOn(#name, fd) ? bad : REAL(name)(__VA_ARGS__); }
#define OPEN(name, declared, ...)                                 \
  int name declared {                                             \
    va_list more;                                                 \
    va_start(more, flags);                                        \
    const mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0; \
    va_end(more);                                                 \
    return Fails(#name, path) ? -1 : REAL(name)(__VA_ARGS__);     \
  }

OPEN(open, (const char* path, int flags, ...), path, flags, mode)
OPEN(open64, (const char* path, int flags, ...), path, flags, mode)
OPEN(openat, (int folder, const char* path, int flags, ...), folder, path, flags, mode)
OPEN(openat64, (int folder, const char* path, int flags, ...), folder, path, flags, mode)
OF_FD(ssize_t, -1, read, fd, (int fd, void* out, size_t size), fd, out, size)
OF_FD(ssize_t, -1, pread, fd, (int fd, void* out, size_t size, off_t from), fd, out, size, from)
OF_FD(ssize_t, -1, pread64, fd, (int fd, void* out, size_t size, off64_t from), fd, out, size, from)
OF_FD(ssize_t, -1, pwrite, fd, (int fd, const void* in, size_t size, off_t to), fd, in, size, to)
OF_FD(ssize_t, -1, pwrite64, fd, (int fd, const void* in, size_t size, off64_t to), fd, in, size, to)
OF_FD(int, -1, ftruncate, fd, (int fd, off_t size), fd, size)
OF_FD(int, -1, ftruncate64, fd, (int fd, off64_t size), fd, size)
OF_FD(int, -1, fsync, fd, (int fd), fd)
OF_FD(int, -1, fchmod, fd, (int fd, mode_t mode), fd, mode)
OF_FD(int, -1, fchown, fd, (int fd, uid_t owner, gid_t group), fd, owner, group)
OF_FD(int, -1, fstat, fd, (int fd, struct stat* out), fd, out)
OF_FD(int, -1, fstat64, fd, (int fd, struct stat64* out), fd, out)
OF_FD(ssize_t, -1, getdents64, fd, (int fd, void* out, size_t size), fd, out, size)
OF_FD(DIR*, NULL, fdopendir, fd, (int fd), fd)
OF_FD(struct dirent*, NULL, readdir, dirfd(stream), (DIR * stream), stream)
OF_FD(struct dirent64*, NULL, readdir64, dirfd(stream), (DIR * stream), stream)
OF_PATH(int, -1, stat, path, (const char* path, struct stat* out), path, out)
OF_PATH(int, -1, stat64, path, (const char* path, struct stat64* out), path, out)
OF_PATH(int, -1, lstat, path, (const char* path, struct stat* out), path, out)
OF_PATH(int, -1, lstat64, path, (const char* path, struct stat64* out), path, out)
OF_PATH(int, -1, statvfs, path, (const char* path, struct statvfs* out), path, out)
OF_PATH(int, -1, mkdir, path, (const char* path, mode_t mode), path, mode)
OF_PATH(int, -1, mkdirat, path, (int folder, const char* path, mode_t mode), folder, path, mode)
OF_PATH(int, -1, renameat2, to, (int from_folder, const char* from, int to_folder, const char* to, unsigned flags),
        from_folder, from, to_folder, to, flags)
