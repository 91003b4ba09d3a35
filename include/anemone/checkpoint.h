// Checkpoint: what every format holds, tied to none: config, named tensors, artifacts, training state, layout.
//
// A checkpoint split over tensor and pipeline ranks is one Checkpoint with several Shards, each as its rank stored it;
// src/parallel merges and splits them. Most checkpoints have one shard.
//
// Ownership:  value types. Tensors and artifacts share the files they lie in and keep them open.
// Threads:    const access from any thread.
#ifndef ANEMONE_CHECKPOINT_H_
#define ANEMONE_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/config.h"
#include "anemone/status.h"
#include "anemone/tensor.h"
#include "anemone/value.h"

namespace anemone {

struct Format;

// How many pieces, along which dimension of the cluster. `vp` is the number of virtual chunks per pipeline stage; `ep`
// of ranks that divide a mixture's experts, each with a copy of everything else.
struct Layout {
  int tp = 1;
  int pp = 1;
  int vp = 1;
  int ep = 1;
  bool operator==(const Layout&) const = default;
};

// Something a state dict holds that is no tensor: Transformer Engine's `_extra_state`.
struct Opaque {
  enum class Form : uint8_t { kNone, kBytesIO, kUint8, kOther };
  Form form = Form::kNone;
  Value value;              // as the file holds it; null node for kNone
  bool holds_data = false;  // not one of the known empty forms: FP8 scaling state
};

// Whether conversion keeps `_extra_state` entries, drops them, or fails when the result has none.
enum class ExtraState : uint8_t { kKeep, kDrop, kRequire };

// The value of a name: a tensor or an opaque value. It takes as little room as a tensor alone.
class Entry {
 public:
  Entry(Tensor tensor) : held_(std::move(tensor)) {}  // NOLINT(google-explicit-constructor)
  Entry(Opaque opaque);                               // NOLINT(google-explicit-constructor)
  const Tensor* tensor() const { return std::get_if<Tensor>(&held_); }
  const Opaque* opaque() const;  // null of a tensor

 private:
  std::variant<Tensor, std::shared_ptr<const Opaque>> held_;  // null: None
};

// Names to entries in stored order. Names are unique. Copies share what they hold until one of them is changed.
class StateDict {
 public:
  struct Item {
    std::string name;
    Entry entry;
    const Tensor* tensor() const { return entry.tensor(); }
    const Opaque* opaque() const { return entry.opaque(); }
  };
  // Errors: Corrupt when the name is already there.
  Status Add(std::string name, Entry entry);
  const Item* Find(std::string_view name) const;
  const std::vector<Item>& items() const;
  size_t size() const { return items().size(); }
  bool empty() const { return items().empty(); }

 private:
  struct Table;
  std::shared_ptr<Table> table_;
};

// A file that travels with the model: tokenizer files, preprocessor settings. Paths are relative, '/'-separated, safe.
struct Artifact {
  std::string name;
  ByteRange content;
};

// What one rank stored.
struct Shard {
  int tp_rank = 0;
  int pp_rank = 0;
  int ep_rank = 0;
  StateDict weights;              // empty when the rank has virtual chunks
  std::vector<StateDict> chunks;  // `model0`, `model1` … of an interleaved pipeline, names flattened with '.'
  std::optional<Value> training;  // the whole dictionary of a training checkpoint (Lightning's), tensors as leaves
};

// A checkpoint of torch.distributed: what is written back as it was.
struct DistributedOrigin {
  std::string backend;                    // "torch_dist", "zarr"; "torch": without Megatron-core's metadata.json
  std::vector<std::string> layer_stacks;  // prefixes ("model.decoder.layers") whose layers are stored as one tensor
  bool has_flat_optimizer = false;        // the optimizer's tensors are stored in one dimension
  bool has_chained_optimizer = false;     // several optimizers, each with keys of its own
};

// A change of vocabulary tables' rows that a note tells. A later step takes the note back and tells the whole change.
struct ResizedRows {
  uint64_t stored = 0, now = 0;
  std::string note;
};

// How a checkpoint was stored, beyond its tensors.
struct Origin {
  std::optional<DistributedOrigin> distributed;
  std::string part_of;           // of one rank or shard of several: the path that opens all; else ""
  std::string training_file;     // "…-consumed_samples=12.0.ckpt": from the name NeMo reads how far a training came
  bool is_torch_script = false;  // a TorchScript archive, whose code is its config
  std::vector<ResizedRows> resized_rows;
  // The same in words, as inspection lists them beside `Checkpoint::metadata`.
  std::map<std::string, std::string> ToMetadata() const;
};

struct Checkpoint {
  std::string flavour;             // of its format, for people: "nemo", "lightning", "huggingface", "safetensors" …
  const Format* format = nullptr;  // that it was opened as; null: made in memory
  Origin origin;
  std::string path;              // as the user gave it
  std::optional<Config> config;  // model_config.yaml, config.json, hparams.yaml
  std::string config_name;       // the file it came from, for messages
  Layout layout;
  std::vector<Shard> shards;  // by stage, expert rank, tensor rank; layout.pp * layout.ep * layout.tp (1: unsharded)
  std::vector<Artifact> artifacts;
  std::map<std::string, std::string> metadata;  // safetensors' __metadata__
  std::vector<std::string> notes;               // what the reader had to decide; shown with -v

  // The weights of an unsharded checkpoint. REQUIRES: shards.size() == 1.
  const StateDict& weights() const { return shards.front().weights; }
  StateDict& weights() { return shards.front().weights; }
  const Artifact* FindArtifact(std::string_view name) const;
  // Calls `visit` with every rank's weights and those of its virtual chunks, in order.
  template <typename Visit>
  void ForEachDict(Visit visit) const {
    for (const Shard& shard : shards) {
      visit(shard.weights);
      for (const StateDict& chunk : shard.chunks) visit(chunk);
    }
  }
};

}  // namespace anemone

#endif  // ANEMONE_CHECKPOINT_H_
