#include "source/run_folder.h"

#include <algorithm>
#include <string_view>

#include "base/read_at_most.h"
#include "format/format.h"
#include "format/huggingface/shards.h"

namespace anemone {
namespace {

constexpr size_t kMostFound = 100, kMostLooked = 2000;
constexpr int kDeepest = 4;
// Accelerate's folder of an optimizer under FSDP: a distributed checkpoint, too, but no model.
constexpr std::string_view kOptimizer = "optimizer";
constexpr std::string_view kOpenClipFolder = "checkpoints";  // OpenCLIP's training saves epoch_N.pt there
// Files whose names say that they are checkpoints: others are not opened to see.
constexpr std::string_view kExtensions[] = {".nemo", ".ckpt", ".safetensors"};

Result<bool> IsRecognised(const Probe& probe) {
  for (const Format* format : Formats()) {
    ANEMONE_ASSIGN(const bool matches, format->matches(probe));
    if (matches) return true;
  }
  return false;
}

Status Search(const Probe& folder, int depth, size_t* looked, std::vector<std::string>* found) {
  for (const std::string& entry : folder.entries) {
    if (found->size() >= kMostFound || *looked >= kMostLooked) return {};
    ++*looked;
    if (entry.starts_with(kOptimizer) || !IndexOfShard(entry).empty()) continue;
    const Location place = folder.place() / entry;
    const Result<Probe> probe = ProbePath(place);
    if (IsReadFailure(probe.status())) return probe.status();  // it may be another checkpoint
    if (!probe.ok()) continue;                                 // a link that leads nowhere, a file closed to this user
    const bool has_name =
        std::ranges::any_of(kExtensions, [&entry](std::string_view end) { return entry.ends_with(end); }) ||
        (folder.place().filename() == kOpenClipFolder && entry.ends_with(".pt"));
    bool is_one = false;
    if (probe->is_directory || has_name) {
      ANEMONE_ASSIGN(is_one, IsRecognised(*probe));
    }
    if (is_one) {
      found->push_back(place.string());
    } else if (probe->is_directory && depth < kDeepest && !entry.starts_with('.')) {
      ANEMONE_TRY(Search(*probe, depth + 1, looked, found));
    }
  }
  return {};
}

}  // namespace

Result<std::vector<std::string>> FindCheckpoints(const Location& folder) {
  ANEMONE_ASSIGN(const Probe probe, ProbePath(folder));
  std::vector<std::string> found;
  ANEMONE_ASSIGN(const bool is_one, IsRecognised(probe));
  if (is_one) return found;
  size_t looked = 0;
  ANEMONE_TRY(Search(probe, 1, &looked, &found));
  return found;
}

}  // namespace anemone
