// ForEach: the same work on many items, several at a time.
#ifndef ANEMONE_BASE_FOR_EACH_H_
#define ANEMONE_BASE_FOR_EACH_H_

#include <cstdint>
#include <functional>

#include "anemone/status.h"

namespace anemone {

inline constexpr unsigned kWorkersAtAServer = 16;  // they wait for answers, however many cores there are

// Calls `work(item, worker)` once for every item in [0, count), in ascending order, by `workers` threads of which the
// caller is one; no two calls run at once with the same `worker` (in [0, workers)). Returns when all have ended.
// Errors: the first failure, OutOfMemory where `work` met that; no item is begun after it. What else `work` throws, on
// any thread, is thrown here once all have ended.
Status ForEach(uint64_t count, unsigned workers, const std::function<Status(uint64_t item, unsigned worker)>& work);

}  // namespace anemone

#endif  // ANEMONE_BASE_FOR_EACH_H_
