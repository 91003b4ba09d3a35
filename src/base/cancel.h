// Cancelling: what waits, however deep, asks whether its caller still wants the answer.
//
//   const CancelScope scope(CancelledBy(progress, "opening"));  // progress.h
//   ... reads from a server: it ends soon after `progress` has answered false ...
#ifndef ANEMONE_BASE_CANCEL_H_
#define ANEMONE_BASE_CANCEL_H_

#include <atomic>
#include <functional>
#include <utility>

namespace anemone {

// While it lives, CancelRequested on this thread, and within ForEach on its threads, is true once `is_cancelled` or
// that of a scope around it is. An empty function never cancels. `is_cancelled` is called from several threads at once,
// about every 100 ms.
class CancelScope {
 public:
  explicit CancelScope(std::function<bool()> is_cancelled) : CancelScope(std::move(is_cancelled), Current()) {}
  // For a thread that works for another one: `outer` is a scope of that one, or null.
  CancelScope(std::function<bool()> is_cancelled, const CancelScope* outer);
  ~CancelScope();
  CancelScope(const CancelScope&) = delete;
  CancelScope& operator=(const CancelScope&) = delete;

  // The innermost scope of this thread; null without.
  static const CancelScope* Current();
  bool IsCancelled() const;

 private:
  const std::function<bool()> is_cancelled_;
  const CancelScope* const outer_;
  const CancelScope* const before_;  // of this thread
};

bool CancelRequested();

// While one lives, there is something to clean up: a process that is asked to end does not before it is gone.
class NeedsCleanup {
 public:
  NeedsCleanup() { ++count; }
  ~NeedsCleanup() { --count; }
  NeedsCleanup(const NeedsCleanup&) = delete;
  NeedsCleanup& operator=(const NeedsCleanup&) = delete;

  static bool Any() { return count != 0; }  // async-signal-safe

 private:
  static inline std::atomic<int> count = 0;
  static_assert(std::atomic<int>::is_always_lock_free);
};

// After a call that failed: whether a signal interrupted it and the work goes on. Keeps errno.
bool ShouldRetry();

}  // namespace anemone

#endif  // ANEMONE_BASE_CANCEL_H_
