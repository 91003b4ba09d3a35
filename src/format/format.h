// Format: a way checkpoints lie on disk. One descriptor each, in one file each; an explicit list in format.cc.
#ifndef ANEMONE_FORMAT_FORMAT_H_
#define ANEMONE_FORMAT_FORMAT_H_

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "engine/plan.h"

namespace anemone {

// What the user says of a checkpoint that cannot be seen in it.
struct OpenOptions {
  std::string key = {};  // which dictionary of a torch file holds the weights; empty: what is in it decides
};

// What is cheap to know of a path: read once, shown to every format.
struct Probe {
  std::string path;
  OpenOptions options;
  bool is_directory = false;
  uint64_t size_bytes = 0;
  std::string head;                  // the first 1024 bytes of a file
  std::vector<std::string> entries;  // names in a directory, sorted
  bool HasEntry(std::string_view name) const;
};
Result<Probe> ProbePath(const std::string& path);

// How an output is written. Formats ignore what does not concern them.
struct LayOutOptions {
  enum class ExtraState : uint8_t { kKeep, kDrop, kRequire };
  ExtraState extra_state = ExtraState::kKeep;
  uint64_t max_shard_bytes = 0;  // huggingface, safetensors: split into model-0000i-of-0000n; 0: one file
  uint32_t shard_grid = 1;       // torch_dist, nemo2: cut as for this many tensor ranks, a file each
};

struct Format {
  std::string_view name;       // "nemo"; also what --to takes
  std::string_view title;      // "NeMo archive (.nemo, tar)"
  std::string_view extension;  // ".nemo", or "" for directories
  bool is_directory = false;   // writes one
  // Looks at the probe only. Content decides, never the name; at most one format may match a path.
  bool (*matches)(const Probe& probe);
  // Reads headers only. The result's tensors are checked to lie inside their files.
  Result<Checkpoint> (*open)(const Probe& probe);
  // Lays the checkpoint out as this format; nullptr when it is only read. The checkpoint is already in a dialect and
  // layout that the format can hold.
  Result<Plan> (*lay_out)(const Checkpoint& checkpoint, const LayOutOptions& options);
};

std::span<const Format* const> Formats();
const Format* FindFormat(std::string_view name);

// Checkpoint::metadata of a part of a checkpoint (one rank, one shard): the path that opens all of it.
inline constexpr std::string_view kPartOf = "part_of";

// Finds the one format that matches and opens the path with it. Errors: NotFound; Corrupt or Unsupported naming what
// was found (an HTML page, a git-lfs pointer, an empty file …) and what would be accepted.
Result<Checkpoint> OpenCheckpoint(const std::string& path, const OpenOptions& options = {});

}  // namespace anemone

#endif  // ANEMONE_FORMAT_FORMAT_H_
