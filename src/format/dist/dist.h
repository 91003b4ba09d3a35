// Dist: checkpoints that lie in a folder of shards, as torch.distributed.checkpoint (torch_dist) and Megatron-core
// (torch_dist, zarr) save them: alone, as a Lightning `.ckpt` folder, inside a .nemo (`model_weights/`) or as NeMo 2's
// `weights/`.
//
// What is read is presented under the names that the modules of NeMo have, so that a distributed checkpoint is one
// logical checkpoint like any other:
//   model.decoder.layers.mlp.linear_fc1.weight [L, …]            → model.decoder.layers.{0 … L-1}.mlp.linear_fc1.weight
//   ….layers.mlp.linear_fc1._extra_state/shard_{i}_{L}           → ….layers.{i}.mlp.linear_fc1._extra_state
//   optimizer.state.exp_avg.model.decoder.layers.… [L, …]        → training: optimizer_states[0] … "state"
// The optimizer's tensors stand in the training dictionary beside `param_groups`, in a dict "state": parameter name →
// {"exp_avg", "exp_avg_sq", "fp32_param": tensor}, in the parameter's own shape however they were flattened.
//
// Rules and ids (TD-n, ZA-n): docs/formats/torch_dist.md, zarr.md.
#ifndef ANEMONE_FORMAT_DIST_DIST_H_
#define ANEMONE_FORMAT_DIST_DIST_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "base/location.h"
#include "engine/plan.h"
#include "format/format.h"

namespace anemone {

// Every regular file below `directory`, sorted by name ('/'-separated, relative). Errors: as OpenFile; LimitExceeded.
// Where there are many files they are opened anew for every read instead of being kept open.
Result<std::vector<Artifact>> ListFiles(const Location& directory);

// The members whose names begin with `folder` + "/", without that beginning.
std::vector<Artifact> MembersBelow(const std::vector<Artifact>& members, std::string_view folder);

// True when the members are a distributed checkpoint: `.metadata`, or `metadata.json` beside `common.pt`.
bool LooksDistributed(const std::vector<Artifact>& members);

// Opens the folder that `members` are. `what` is how messages call it. Flavour is "torch_dist" or "zarr"; one shard;
// members that are no part of the format become artifacts; `origin.distributed` is set.
// Errors: Corrupt (the rules), Unsupported (another backend, transforms, compressed zarr), NotFound (no .metadata: the
// save did not finish).
Result<Checkpoint> OpenDistributed(std::vector<Artifact> members, std::string_view what);

// Names of the empty states that Transformer Engine's layers ask for, that NeMo 1 takes out before it saves [NeMo
// v2.0.0 megatron_gpt_model.py, sharded_state_dict], and that the weights lack: attention's, and norms' of their own.
// Megatron's default strictness accepts what it does not ask for.
std::vector<std::string> ModuleStates(const StateDict& weights);
std::vector<std::string> AttentionStates(const StateDict& weights);

// NeMo chooses the reader of the weights by this key of its config, not by what is in the folder [NeMo v2.0.0
// nlp_overrides.py].
void NameTorchDist(Config& config);

// How a checkpoint is laid out as torch_dist.
struct TorchDistOptions {
  std::string folder;                     // put before every file's path: "weights/"
  std::string key_from, key_to;           // a key prefix written in place of another: "model." → "module."
  std::vector<std::string> empty_states;  // names beside the weights'
  // Its shard grid: parameters are cut as this many tensor ranks would divide them, each rank's pieces in a file of its
  // own. Those that do not divide evenly stay whole. Readers merge and cut as they like.
  LayOutOptions lay_out;
};

// Appends the files of a torch_dist folder to `plan`, metadata.json last. Readable by torch 2.3 … 2.15 and
// Megatron-core. Errors: InvalidArgument (several shards: merge first), Unsupported (a value the pickle cannot hold).
Status LayOutTorchDist(const Checkpoint& checkpoint, const TorchDistOptions& options, Plan& plan);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_DIST_DIST_H_
