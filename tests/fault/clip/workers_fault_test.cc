// A task that runs out of memory, where there is none left for oneTBB either.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <new>
#include <optional>
#include <utility>

#include "clip/workers.h"

namespace anemone::internal {
namespace {

// While it lives, nobody gets as much as sixteen bytes: not of malloc, nor of oneTBB's own allocator.
class NoMemory {
 public:
  NoMemory() {
    if (void* const own = dlopen("libtbbmalloc.so.2", RTLD_NOW | RTLD_NOLOAD); own != nullptr) {
      scalable_malloc_ = reinterpret_cast<void* (*)(size_t)>(dlsym(own, "scalable_malloc"));
      scalable_free_ = reinterpret_cast<void (*)(void*)>(dlsym(own, "scalable_free"));
    }
    getrlimit(RLIMIT_AS, &before_);
    const rlimit none = {0, before_.rlim_max};
    setrlimit(RLIMIT_AS, &none);
    Take(std::malloc, &mallocs_);
    if (scalable_malloc_ != nullptr) Take(scalable_malloc_, &scalables_);
  }
  ~NoMemory() {
    setrlimit(RLIMIT_AS, &before_);
    Free(std::free, mallocs_);
    if (scalable_free_ != nullptr) Free(scalable_free_, scalables_);
  }
  NoMemory(const NoMemory&) = delete;
  NoMemory& operator=(const NoMemory&) = delete;

 private:
  struct Piece {
    Piece* next;
  };
  template <typename Malloc>
  static void Take(Malloc take, Piece** pieces) {
    for (size_t size = size_t{1} << 20; size >= sizeof(Piece); size /= 2) {
      while (void* const memory = take(size)) *pieces = new (memory) Piece{*pieces};
    }
  }
  template <typename FreeOne>
  static void Free(FreeOne free_one, Piece* piece) {
    while (piece != nullptr) free_one(std::exchange(piece, piece->next));
  }

  rlimit before_;
  void* (*scalable_malloc_)(size_t) = nullptr;
  void (*scalable_free_)(void*) = nullptr;
  Piece *mallocs_ = nullptr, *scalables_ = nullptr;
};

TEST(WorkersMemory, WhatATaskThrowsReachesTheCallerWithoutMemory) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer ends a process that has no memory";
#endif
  Workers workers(1, {});
  int calls = 0;
  workers.Parallel(1, [&](size_t) { ++calls; });  // whatever is made once
  std::optional<NoMemory> none;
  const auto run = [&] {
    workers.Parallel(1, [&](size_t) {
      none.emplace();
      ++calls;
      throw std::bad_alloc();
    });
  };
  bool has_thrown = false;
  try {
    run();
  } catch (const std::bad_alloc&) {
    has_thrown = true;
  }
  none.reset();
  EXPECT_TRUE(has_thrown);
  EXPECT_EQ(calls, 2);
}

TEST(WorkersMemory, NothingBeginsAfterAThrow) {
  Workers workers(1, {});
  int calls = 0;
  const auto run = [&] {
    workers.Parallel(100, [&](size_t) {
      ++calls;
      throw std::bad_alloc();
    });
  };
  EXPECT_THROW(run(), std::bad_alloc);
  EXPECT_EQ(calls, 1);
  workers.Parallel(100, [&](size_t) { ++calls; });
  EXPECT_EQ(calls, 101);
}

}  // namespace
}  // namespace anemone::internal
