#include "base/for_each.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "base/cancel.h"

namespace anemone {

Status ForEach(uint64_t count, unsigned workers, const std::function<Status(uint64_t, unsigned)>& work) {
  std::atomic<uint64_t> next = 0;
  std::mutex mutex;
  Status failure;
  std::exception_ptr thrown;
  const CancelScope* const scope_of_caller = CancelScope::Current();
  const auto run = [&](unsigned worker) {
    const CancelScope scope({}, scope_of_caller);
    try {
      for (uint64_t item = next++; item < count; item = next++) {
        Status status = work(item, worker);
        if (status.ok()) continue;
        const std::lock_guard lock(mutex);
        if (failure.ok()) failure = std::move(status);
        next = count;
      }
    } catch (const std::bad_alloc&) {
      const std::lock_guard lock(mutex);
      if (failure.ok()) failure = OutOfMemory();
      next = count;
    } catch (...) {
      // It must not leave a thread; the caller gets it below.
      const std::lock_guard lock(mutex);
      if (!thrown) thrown = std::current_exception();
      next = count;
    }
  };
  std::vector<std::jthread> pool;
  try {
    pool.reserve(workers);
    for (unsigned worker = 1; worker < std::min<uint64_t>(workers, count); ++worker) pool.emplace_back(run, worker);
  } catch (const std::exception&) {
    // No further thread, or no memory for one: fewer will do.
  }
  run(0);
  pool.clear();  // joins
  if (thrown) std::rethrow_exception(thrown);
  return failure;
}

}  // namespace anemone
