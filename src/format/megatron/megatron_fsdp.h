// What torch.distributed.checkpoint alone wrote of a Megatron-LM training (--ckpt-format fsdp_dtensor, torch_dcp): a
// training dictionary whose model and optimizer have the names of wrapped modules. Rule MEG-15:
// docs/formats/megatron.md.
#ifndef ANEMONE_FORMAT_MEGATRON_MEGATRON_FSDP_H_
#define ANEMONE_FORMAT_MEGATRON_MEGATRON_FSDP_H_

#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone {

// Gives the weights Megatron's names, and the optimizer's state the form that a distributed checkpoint has
// (`fully_reshardable`). REQUIRES: one shard, whose training has Megatron-LM's `args`. Errors: Corrupt.
Status TakeModuleNames(Checkpoint* checkpoint);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_MEGATRON_MEGATRON_FSDP_H_
