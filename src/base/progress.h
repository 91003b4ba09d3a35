// Asking a progress function, now and then, whether to go on.
#ifndef ANEMONE_BASE_PROGRESS_H_
#define ANEMONE_BASE_PROGRESS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "anemone/progress.h"

namespace anemone {

// True once `progress(stage, *done, total)` has answered false; that is asked every 50 ms, by one thread at a time. An
// empty `progress` never cancels. Threads: safe.
std::function<bool()> CancelledBy(const ProgressFn& progress, const std::string& stage,
                                  const std::shared_ptr<const std::atomic<uint64_t>>& done = nullptr,
                                  uint64_t total = 0);

}  // namespace anemone

#endif  // ANEMONE_BASE_PROGRESS_H_
