// Progress: how long work reports itself and is told to stop.
#ifndef ANEMONE_PROGRESS_H_
#define ANEMONE_PROGRESS_H_

#include <cstdint>
#include <functional>
#include <string_view>

namespace anemone {

// Called now and then (at most every 50 ms) from any worker thread, never from two at once. Return false to cancel: the
// work stops, leaves no output and answers kInterrupted.
using ProgressFn = std::function<bool(std::string_view stage, uint64_t done_bytes, uint64_t total_bytes)>;

}  // namespace anemone

#endif  // ANEMONE_PROGRESS_H_
