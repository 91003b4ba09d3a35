/* Preloaded: calls to malloc that come from the file NO_MEMORY_FOR fail, from the one of number NO_MEMORY_AT on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

extern void* __libc_malloc(size_t size);

static const char* file;
static long at; /* after all there are, where none is told */
static atomic_long calls;

__attribute__((constructor)) static void Begin(void) {
  const char* const number = getenv("NO_MEMORY_AT");
  at = number == NULL ? LONG_MAX : atol(number);
  file = getenv("NO_MEMORY_FOR");
}

void* malloc(size_t size) {
  Dl_info caller;
  if (file != NULL && dladdr(__builtin_return_address(0), &caller) != 0 && strstr(caller.dli_fname, file) != NULL &&
      atomic_fetch_add(&calls, 1) >= at) {
    return NULL;
  }
  return __libc_malloc(size);
}
