#include "base/for_each.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace anemone {

Status ForEach(uint64_t count, unsigned workers, const std::function<Status(uint64_t, unsigned)>& work) {
  std::atomic<uint64_t> next = 0;
  std::mutex mutex;
  Status failure;
  const auto run = [&](unsigned worker) {
    for (uint64_t item = next++; item < count; item = next++) {
      Status status = work(item, worker);
      if (status.ok()) continue;
      const std::lock_guard lock(mutex);
      if (failure.ok()) failure = std::move(status);
      next = count;
    }
  };
  std::vector<std::thread> pool;
  for (unsigned worker = 1; worker < std::min<uint64_t>(workers, count); ++worker) {
    try {
      pool.emplace_back(run, worker);
    } catch (const std::system_error&) {
      break;  // fewer will do
    }
  }
  run(0);
  for (std::thread& thread : pool) thread.join();
  return failure;
}

}  // namespace anemone
