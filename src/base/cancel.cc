#include "base/cancel.h"

#include <utility>

namespace anemone {
namespace {

thread_local const CancelScope* current = nullptr;

}  // namespace

CancelScope::CancelScope(std::function<bool()> is_cancelled, const CancelScope* outer)
    : is_cancelled_(std::move(is_cancelled)), outer_(outer), before_(std::exchange(current, this)) {}

CancelScope::~CancelScope() { current = before_; }

const CancelScope* CancelScope::Current() { return current; }

bool CancelScope::IsCancelled() const {
  for (const CancelScope* scope = this; scope != nullptr; scope = scope->outer_) {
    if (scope->is_cancelled_ && scope->is_cancelled_()) return true;
  }
  return false;
}

bool CancelRequested() { return current != nullptr && current->IsCancelled(); }

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
