#include "base/removal.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <mutex>
#include <thread>

#include "base/sys.h"

namespace anemone {
namespace {

std::atomic<int> open_marks = 0;
std::mutex mutex;
std::forward_list<std::string> waiting;  // folders that could not be removed

bool IsRemoved(const std::string& folder) { return sys.remove_all(folder.c_str()) == 0; }

// A file system of FUSE hears of a closed file in its own time.
void RemoveWaiting() {
  constexpr int kAttempts = 50;
  std::forward_list<std::string> folders;
  {
    const std::lock_guard lock(mutex);
    folders.swap(waiting);
  }
  for (const std::string& folder : folders) {
    for (int attempt = 1; !IsRemoved(folder) && (errno == ENOTEMPTY || errno == EBUSY); ++attempt) {
      if (attempt == kAttempts) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
}

}  // namespace

OpenMark::OpenMark() { ++open_marks; }
OpenMark::~OpenMark() {
  if (--open_marks == 0) RemoveWaiting();
}

void RemoveOnceClosed(std::forward_list<std::string>& folder) {
  if (IsRemoved(folder.front())) return;
  {
    const std::lock_guard lock(mutex);
    waiting.splice_after(waiting.before_begin(), folder);
  }
  if (open_marks == 0) RemoveWaiting();
}

bool IsToBeRemoved(const std::string& name) {
  const std::lock_guard lock(mutex);
  return std::ranges::any_of(waiting, [&](const std::string& path) { return path.ends_with("/" + name); });
}

}  // namespace anemone
