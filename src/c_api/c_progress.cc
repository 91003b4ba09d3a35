#include "c_api/c_progress.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace anemone::c_api {

ProgressFn ToProgressFn(anemone_progress* progress) {
  if (progress == nullptr) return {};
  return [progress](std::string_view stage, uint64_t done, uint64_t total) {
    {
      const std::lock_guard lock(progress->mutex);
      progress->news = true;
      progress->stage = stage;
      progress->done = done;
      progress->total = total;
    }
    if (progress->callback != nullptr &&
        progress->callback(progress->context, std::string(stage).c_str(), done, total) != 0) {
      progress->cancelled = true;
    }
    return !progress->cancelled;
  };
}

}  // namespace anemone::c_api

anemone_progress* anemone_progress_new(anemone_progress_fn callback, void* context) {
  auto* progress = new (std::nothrow) anemone_progress;
  if (progress == nullptr) return nullptr;
  progress->callback = callback;
  progress->context = context;
  return progress;
}

void anemone_progress_cancel(anemone_progress* progress) { progress->cancelled = true; }

int anemone_progress_read(anemone_progress* progress, char stage[64], uint64_t* done, uint64_t* total) {
  const std::lock_guard lock(progress->mutex);
  const size_t length = std::min<size_t>(progress->stage.size(), 63);
  std::memcpy(stage, progress->stage.data(), length);
  stage[length] = 0;
  *done = progress->done;
  *total = progress->total;
  return std::exchange(progress->news, false) ? 1 : 0;
}

void anemone_progress_free(anemone_progress* progress) { delete progress; }
