// Format: a way checkpoints lie on disk. One descriptor each, in one file each; an explicit list in format.cc.
#ifndef ANEMONE_FORMAT_FORMAT_H_
#define ANEMONE_FORMAT_FORMAT_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "base/location.h"
#include "config/language.h"
#include "engine/plan.h"

namespace anemone {

// What the user says of a checkpoint that cannot be seen in it.
struct OpenOptions {
  std::string key = {};  // which dictionary of a torch file holds the weights; empty: what is in it decides
};

// What is cheap to know of a path: read once, shown to every format.
struct Probe {
  std::string path;
  std::shared_ptr<const Files> files = nullptr;  // that `path` is one of; null: this machine's
  OpenOptions options;
  bool is_directory = false;
  uint64_t size_bytes = 0;
  std::string head;                  // the first 1024 bytes of a file
  std::vector<std::string> entries;  // names in a directory, sorted
  bool HasEntry(std::string_view name) const;
  Location place() const { return {path, files}; }
};
Result<Probe> ProbePath(const Location& place);

// How an output is written. Formats ignore what does not concern them.
struct LayOutOptions {
  ExtraState extra_state = ExtraState::kKeep;
  uint64_t max_shard_bytes = 0;  // huggingface, safetensors: split into model-0000i-of-0000n; 0: one file
  uint32_t shard_grid = 1;       // torch_dist, nemo2: cut as for this many tensor ranks, a file each
  bool keeps_blocks = false;     // large tensors stay where they lay in their source's blocks, to be shared with it
  bool has_crc32 = true;         // false: the zips of torch files state no CRC of tensors
};

// How a training state tells an optimizer's parameters apart.
enum class ParameterKeys : uint8_t { kNumbers, kNames };

// Whether a format's models are of NeMo's classes: not, or of one that the training script names, or of one that the
// config must name for NeMo to restore it.
enum class ModelClassIn : uint8_t { kNowhere, kScript, kConfig };

// What a format can hold and what its readers expect. All that the rest of the program asks of a format is asked here;
// nothing compares formats' names.
struct FormatTraits {
  ConfigLanguage language = ConfigLanguage::kNone;  // of the config it carries
  // The names that Megatron's readers load, for models that have them in several dialects.
  std::string_view dialect = {};
  bool takes_any_megatron = false;             // models in another dialect of Megatron's keep it
  bool has_rank_files = false;                 // one file for each rank
  bool has_bare_names = false;                 // no prefix stands before the names of Megatron's modules
  bool is_chunked = false;                     // tensors are stored whole, cut into chunks as for so many tensor ranks
  std::optional<ParameterKeys> training = {};  // of the training state it takes; empty: none
  bool keeps_extra_state = true;               // holds entries that are no tensors
  bool has_shards = false;                     // its weights may be in files of a size, which an index names
  ModelClassIn model_class = ModelClassIn::kNowhere;
  std::string_view successor = {};                 // the format that is written in its place
  bool is_pickle = false;                          // a torch file by itself: whoever loads it runs what it says
  bool takes_every_file = false;                   // whatever is in its folder becomes an artifact
  bool has_key = false;                            // its weights are a dictionary of a torch file, which may hold more
  bool holds_adapter = false;                      // of low rank, alone, in PEFT's words
  bool reads_fixed_names = false;                  // files in its folder are read by names that no file says
  std::array<std::string_view, 3> own_files = {};  // in its folder, beside weights and artifacts
  // Where in its folder a distributed checkpoint is stored ("weights/"); nullopt: nowhere.
  std::optional<std::string_view> distributed_in = {};

  bool is_megatron() const { return !dialect.empty(); }
  // A NeMo 1 model that its config alone restores.
  bool is_nemo1_archive() const { return model_class == ModelClassIn::kConfig && language == ConfigLanguage::kNemo1; }
};

struct Format {
  std::string_view name;       // "nemo"; also what the option `to` takes
  std::string_view title;      // "NeMo archive (.nemo, tar)"
  std::string_view extension;  // ".nemo", or "" for directories
  bool is_directory = false;   // writes one
  // Looks at the probe, or into the folders that it lists. Content decides, never the name; at most one format may
  // match a path. Errors: of looking; what was not seen is no reason to say no.
  Result<bool> (*matches)(const Probe& probe);
  // Reads headers only. The result's tensors are checked to lie inside their files.
  Result<Checkpoint> (*open)(const Probe& probe);
  // Lays the checkpoint out as this format; nullptr when it is only read. The checkpoint is already in a dialect and
  // layout that the format can hold.
  Result<Plan> (*lay_out)(const Checkpoint& checkpoint, const LayOutOptions& options);
  FormatTraits traits = {};
  std::array<std::string_view, 2> other_extensions = {};  // that people give such files
};

std::span<const Format* const> Formats();
const Format* FindFormat(std::string_view name);
// Of the format that a checkpoint was opened as; those of none for one that was made in memory.
const FormatTraits& TraitsOf(const Checkpoint& checkpoint);

// The error for a key where the weights are not one dictionary of several.
Status TakesNoKey(std::string_view key);

// Finds the one format that matches and opens the path with it. Errors: NotFound; Corrupt or Unsupported naming what
// was found (an HTML page, a git-lfs pointer, an empty file …) and what would be accepted; InvalidArgument for a key
// that means nothing there.
Result<Checkpoint> OpenCheckpoint(const Location& place, const OpenOptions& options = {});

}  // namespace anemone

#endif  // ANEMONE_FORMAT_FORMAT_H_
