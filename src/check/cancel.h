// CancelledBy: a ProgressFn for work that asks many times a second, from several threads.
#ifndef ANEMONE_CHECK_CANCEL_H_
#define ANEMONE_CHECK_CANCEL_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "anemone/progress.h"

namespace anemone {

// True once `progress(stage, *done, total)` has answered false; that is asked every 50 ms, by one thread at a time. An
// empty `progress` never cancels.
inline std::function<bool()> CancelledBy(const ProgressFn& progress, const std::string& stage,
                                         const std::shared_ptr<const std::atomic<uint64_t>>& done, uint64_t total) {
  if (!progress) return {};
  struct State {
    std::mutex mutex;
    std::chrono::steady_clock::time_point next;
    std::atomic<bool> cancelled = false;
  };
  return [=, state = std::make_shared<State>()] {
    const std::unique_lock lock(state->mutex, std::try_to_lock);
    const auto now = std::chrono::steady_clock::now();
    if (lock && !state->cancelled && now >= state->next) {
      state->next = now + std::chrono::milliseconds(50);
      if (!progress(stage, *done, total)) state->cancelled = true;
    }
    return state->cancelled.load();
  };
}

}  // namespace anemone

#endif  // ANEMONE_CHECK_CANCEL_H_
