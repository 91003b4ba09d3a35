// Checkpoints of Megatron-LM and Megatron-Bridge: a save folder, one of its iterations, one rank's folder for each rank
// or a distributed checkpoint. Rules (MEG-n): docs/formats/megatron.md.
#ifndef ANEMONE_FORMAT_MEGATRON_MEGATRON_H_
#define ANEMONE_FORMAT_MEGATRON_MEGATRON_H_

#include <cstdint>
#include <string>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"
#include "format/format.h"

namespace anemone {

// True for a folder that Megatron saved checkpoints in, or one checkpoint of a file for each rank. A distributed one is
// a torch_dist folder until it is opened.
Result<bool> IsMegatronFolder(const Probe& probe);

// Tells Megatron-LM's and Megatron-Bridge's distributed checkpoints from others by what is in them: run_config.yaml, or
// the training's arguments. Flavour and config become theirs. Errors: Corrupt.
Status TellMegatron(Checkpoint* checkpoint);

// What one rank's file says of the whole: config, flavour and, where it is one of several, the folder that holds all.
// Errors: as LayoutOfMegatronArgs.
Status TakeMegatronFile(const std::string& folder, ConfigNode args, Checkpoint& checkpoint);

// The iteration that a checkpoint is written as: its training's, or the first; and its folder's name.
int64_t MegatronIteration(const Checkpoint& checkpoint, bool is_bridge);
std::string MegatronIterationFolder(int64_t iteration);

// One iteration of a distributed checkpoint and what names it. The config is Megatron-LM's arguments, or
// run_config.yaml. Errors: as LayOutTorchDist; Unsupported (no config); Corrupt (train_state.pt).
Result<Plan> LayOutMegatron(const Checkpoint& checkpoint, const LayOutOptions& options);
Result<Plan> LayOutBridge(const Checkpoint& checkpoint, const LayOutOptions& options);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_MEGATRON_MEGATRON_H_
