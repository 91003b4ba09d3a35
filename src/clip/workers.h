// The threads of one model, and whether its caller wants them to stop.
#ifndef ANEMONE_CLIP_WORKERS_H_
#define ANEMONE_CLIP_WORKERS_H_

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <new>
#include <stdexcept>
#include <string_view>
#include <utility>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace anemone::internal {

// oneTBB is not compiled for ThreadSanitizer, which has to be told that what was written before a task was given is
// there for the task, and what the task wrote for who waited for it. tests/tsan.supp leaves out oneTBB's own headers.
#ifdef __SANITIZE_THREAD__
#define ANEMONE_NO_TSAN __attribute__((no_sanitize("thread")))
inline void TellDone(void* of) { __tsan_release(of); }
inline void SeeDone(void* of) { __tsan_acquire(of); }
#else
#define ANEMONE_NO_TSAN
inline void TellDone(void*) {}
inline void SeeDone(void*) {}
#endif

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
    Do(
        count, [&f](size_t i, size_t) { f(i); }, [](const auto& all) { tbb::this_task_arena::isolate(all); });
  }

  // f(i, thread) likewise; `thread`, below count(), has no other call of f meanwhile. f may call Parallel: threads that
  // have nothing else to do help it.
  template <typename F>
  void ParallelByThread(size_t count, const F& f) {
    Do(count, f, [](const auto& all) { all(); });
  }

  // True once the call was cancelled: what is left of it is skipped, and its result is thrown away. Threads: any.
  bool Stops() {
    if (!stopped_ && cancelled_ && cancelled_()) stopped_ = true;
    return stopped_;
  }
  // The same at the end of a call; the next one begins anew.
  bool TakeStop() { return stopped_.exchange(false); }

 private:
  template <typename F, typename Run>
  void Do(size_t count, const F& f, const Run& run_all) {
    if (this->count() == 1) {
      for (size_t i = 0; i < count && !Stops(); ++i) f(i, 0);
      return;
    }
    // Exceptions of tasks are kept from oneTBB, which takes memory to carry one to the caller, and ends the process
    // where there is none [oneTBB src/tbb/task_group_context.cpp, tbb_exception_ptr::allocate].
    std::atomic_flag has_thrown;
    std::exception_ptr thrown;
    const auto run_some = [&](size_t begin, size_t end) {
      try {
        const auto thread = static_cast<size_t>(tbb::this_task_arena::current_thread_index());
        for (size_t i = begin; i < end && !has_thrown.test() && !Stops(); ++i) f(i, thread);
      } catch (...) {
        if (!has_thrown.test_and_set()) thrown = std::current_exception();
      }
    };
    char given = 0, done = 0;  // places, for ThreadSanitizer
    const auto run = [&](const tbb::blocked_range<size_t>& range) ANEMONE_NO_TSAN {
      SeeDone(&given);
      run_some(range.begin(), range.end());
      TellDone(&done);
    };
    const auto all = [&] {
      tbb::parallel_for(tbb::blocked_range<size_t>(0, count, 1), run, tbb::simple_partitioner());
    };
    try {
      TellDone(&given);
      arena_.execute([&] { run_all(all); });
      SeeDone(&done);
    } catch (const std::runtime_error& error) {
      // Only its words tell [oneTBB src/tbb/rml_thread_monitor.h, thread_monitor::launch].
      if (std::string_view(error.what()).starts_with("pthread_create ")) throw std::bad_alloc();
      throw;
    }
    if (thrown) std::rethrow_exception(thrown);
  }

  tbb::task_arena arena_;
  std::function<bool()> cancelled_;
  std::atomic<bool> stopped_ = false;
};

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_WORKERS_H_
