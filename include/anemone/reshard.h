// Reshard: a checkpoint in memory for another tensor and pipeline layout.
//
//   ANEMONE_ASSIGN(const Checkpoint stored, Open("gpt_tp8.nemo"));
//   ANEMONE_ASSIGN(const Checkpoint whole, MergeRanks(stored));
//   ANEMONE_ASSIGN(const Checkpoint pairs, SplitRanks(whole, {.tp = 2}));
//
// To write a checkpoint in another layout, set ConvertOptions::tp and ::pp (convert.h): the training state follows.
#ifndef ANEMONE_RESHARD_H_
#define ANEMONE_RESHARD_H_

#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone {

// All ranks' shards as one, in the same dialect; one shard stays as it is. Ownership: the result shares the source's
// files. Threads: reentrant. Cost: reads small tensors that several ranks hold. Errors: Corrupt naming tensor and
// ranks; NotFound where no family knows how its tensors are cut.
Result<Checkpoint> MergeRanks(const Checkpoint& checkpoint);

// One shard as `layout.tp * layout.pp` shards, tensor ranks of the first stage first; the config says so. Vocabulary
// rows are padded as Megatron pads them for `layout.tp`, with zeros. Ownership, threads: as MergeRanks. Cost: reads
// nothing. Errors: InvalidArgument (sizes that the layout does not divide, more than one shard, a dialect without
// ranks, such as Hugging Face's); NotFound where no family knows how its tensors are cut.
Result<Checkpoint> SplitRanks(const Checkpoint& checkpoint, const Layout& layout);

}  // namespace anemone

#endif  // ANEMONE_RESHARD_H_
