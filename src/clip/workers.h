// The threads of one model, and whether its caller wants them to stop.
#ifndef ANEMONE_CLIP_WORKERS_H_
#define ANEMONE_CLIP_WORKERS_H_

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <new>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace anemone::internal {

class Workers {
 public:
  // `threads`: 0 for as many as this process may use. `cancelled` (may be empty) is asked by all of them.
  Workers(int threads, std::function<bool()> cancelled)
      : arena_(threads == 0 ? int{tbb::task_arena::automatic} : threads), cancelled_(std::move(cancelled)) {}

  size_t count() const { return static_cast<size_t>(arena_.max_concurrency()); }

  // f(0), f(1), … f(count - 1), side by side; none of them begins after Stops(). Throws what they throw, and
  // std::bad_alloc where there is no memory for a thread.
  template <typename F>
  void Parallel(size_t count, const F& f) {
    const auto work = [&] {
      tbb::parallel_for(
          tbb::blocked_range<size_t>(0, count, 1),
          [&](const tbb::blocked_range<size_t>& range) {
            for (size_t i = range.begin(); i < range.end() && !Stops(); ++i) f(i);
          },
          tbb::simple_partitioner());
    };
    try {
      arena_.execute(work);
    } catch (const std::runtime_error& error) {
      // Only its words tell [oneTBB src/tbb/rml_thread_monitor.h, thread_monitor::launch].
      if (std::string_view(error.what()).starts_with("pthread_create ")) throw std::bad_alloc();
      throw;
    }
  }

  // Whether the call was cancelled: what is left of it is skipped, and its result is thrown away. Threads: any.
  bool Stops() {
    if (!stopped_ && cancelled_ && cancelled_()) stopped_ = true;
    return stopped_;
  }
  // The same at the end of a call; the next one begins anew.
  bool TakeStop() { return stopped_.exchange(false); }

 private:
  tbb::task_arena arena_;
  std::function<bool()> cancelled_;
  std::atomic<bool> stopped_ = false;
};

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_WORKERS_H_
