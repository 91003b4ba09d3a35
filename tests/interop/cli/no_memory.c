/* Preloaded: calls to malloc that come from the file NO_MEMORY_FOR fail, from the one of number NO_MEMORY_AT on. Where
   a file NO_MEMORY_ONCE is told, none fails before it is there, and calls to calloc fail as well. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void* __libc_malloc(size_t size);
extern void* __libc_calloc(size_t count, size_t size);

static const char* file;
static const char* once;
static long at; /* after all there are, where none is told */
static atomic_long calls;

__attribute__((constructor)) static void Begin(void) {
  const char* const number = getenv("NO_MEMORY_AT");
  at = number == NULL ? LONG_MAX : atol(number);
  file = getenv("NO_MEMORY_FOR");
  once = getenv("NO_MEMORY_ONCE");
}

/* Sets errno as malloc does: glibc relies on it. */
static int Fails(const void* from) {
  Dl_info caller;
  const int fails = file != NULL && dladdr(from, &caller) != 0 && strstr(caller.dli_fname, file) != NULL &&
                    (once == NULL || access(once, F_OK) == 0) && atomic_fetch_add(&calls, 1) >= at;
  if (fails) errno = ENOMEM;
  return fails;
}

void* malloc(size_t size) { return Fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size); }

void* calloc(size_t count, size_t size) {
  return once != NULL && Fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}
