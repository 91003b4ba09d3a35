// anemone_progress: what a long call reports, and the wish that it stop.
#ifndef ANEMONE_C_API_C_PROGRESS_H_
#define ANEMONE_C_API_C_PROGRESS_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "anemone/c.h"
#include "anemone/progress.h"
#include "base/cancel.h"
#include "c_api/call.h"

struct anemone_progress {
  anemone_progress_fn callback = nullptr;
  void* context = nullptr;
  std::atomic<bool> cancelled = false;

  std::mutex mutex;  // of what follows
  bool news = false;
  std::string stage;
  uint64_t done = 0;
  uint64_t total = 0;
};
static_assert(std::atomic<bool>::is_always_lock_free);  // signal handlers may cancel

namespace anemone::c_api {

// The function by which the library reports to `progress`; empty for null. `progress` must outlive it.
ProgressFn ToProgressFn(anemone_progress* progress);

// As Guarded; what waits within `call` ends once `progress` is cancelled.
template <typename Call>
anemone_status* Guarded(anemone_progress* progress, Call call) noexcept {
  return Guarded([&]() -> anemone::Status {
    const CancelScope scope([progress] { return progress != nullptr && progress->cancelled; });
    return call();
  });
}

}  // namespace anemone::c_api

#endif  // ANEMONE_C_API_C_PROGRESS_H_
