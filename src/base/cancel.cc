#include "base/cancel.h"

#include <cerrno>

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

bool ShouldRetry() {
  if (errno != EINTR) return false;
  const bool is_cancelled = CancelRequested();
  errno = EINTR;
  return !is_cancelled;
}

}  // namespace anemone
