#include "base/progress.h"

#include <chrono>
#include <mutex>

namespace anemone {

std::function<bool()> CancelledBy(const ProgressFn& progress, const std::string& stage,
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
      if (!progress(stage, done == nullptr ? 0 : done->load(), total)) state->cancelled = true;
    }
    return state->cancelled.load();
  };
}

}  // namespace anemone
