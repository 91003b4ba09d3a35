// Open: a checkpoint of any format, by its path or its id on the Hugging Face hub.
//
//   ANEMONE_ASSIGN(const Checkpoint checkpoint, Open("clip.nemo"));
//   const Tensor* weight = checkpoint.weights().Find("model.scale")->tensor();
#ifndef ANEMONE_OPEN_H_
#define ANEMONE_OPEN_H_

#if __cplusplus < 202002L
#error "anemone needs C++20: -std=c++20"
#endif

#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/progress.h"
#include "anemone/status.h"

namespace anemone {

struct SourceOptions {
  std::string key = {};      // which dictionary of a torch file holds the weights; empty: what is in it decides
  ProgressFn progress = {};  // of fetching it from the hub
};

// Reads headers, not weights, and executes nothing that a file says; content decides the format, never the name. A path
// that does not exist and reads like a hub id ("org/name", "org/name@revision") is looked for in the local cache of
// Hugging Face, then downloaded.
// Ownership: the checkpoint's tensors keep their files open. Threads: reentrant. Cost: in proportion to the number of
// tensors. Errors, with the path in front: NotFound; Corrupt or Unsupported, naming what was found and what would be
// accepted; LimitExceeded; Io; Unavailable (the hub).
Result<Checkpoint> Open(const std::string& path, const SourceOptions& options = {});

// The tensors under the names and in the shapes of another dialect of their family ("hf", "openclip", "mcore"), the
// config with them; "canonical" is the family's own names. Ranks are merged. Cost: reads no weights but for merging.
// Errors: NotFound (no family knows it), InvalidArgument (no such dialect), Corrupt naming what is missing or
// unexpected.
Result<Checkpoint> InDialect(const Checkpoint& checkpoint, std::string_view dialect);

// A format that Open reads.
struct FormatInfo {
  std::string_view name;       // "nemo"; what ConvertOptions::to takes
  std::string_view title;      // "NeMo archive (.nemo, tar)"
  std::string_view extension;  // ".nemo"; "" for folders
  bool is_written = false;     // conversions write it, too
};
std::vector<FormatInfo> ListFormats();

}  // namespace anemone

#endif  // ANEMONE_OPEN_H_
