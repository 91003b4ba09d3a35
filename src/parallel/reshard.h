// MergeShards, SplitShards: the same checkpoint for another tensor and pipeline layout.
//
// A rank's file is a slice of a dialect's tensors: the rows of src/family say along which axis each is cut and which
// stage stores it; layers count from 0 on every stage. Merging is exact, and splitting what was merged gives the same
// ranks back.
#ifndef ANEMONE_PARALLEL_RESHARD_H_
#define ANEMONE_PARALLEL_RESHARD_H_

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"

namespace anemone {

// True where there is one rank, without virtual chunks.
bool IsOneShard(const Checkpoint& checkpoint);

// All ranks' shards → one, in the same dialect, config included. One shard stays as it is.
// Copies of a tensor that several ranks hold are compared, bytes against bytes, unless they lie in the same place; this
// reads them (a few small tensors). Vocabulary tables get the rows that `tp` ranks have together: who splits them for
// as many afterwards loses no row that the source has. Errors: Corrupt naming tensor and ranks: shards that are missing
// or hold other names, shapes that are not a slice by the config, copies that differ; as IdentifyModel.
Result<Checkpoint> MergeShards(const Checkpoint& checkpoint, const TranslateOptions& options = {}, int tp = 1);
// The same of a model that is known, of a Megatron dialect.
Result<Checkpoint> MergeShards(const ResolvedModel& model, const Checkpoint& checkpoint, int tp = 1);

// One shard → `layout.tp * layout.pp` shards. Vocabulary rows are padded as Megatron pads them for `layout.tp`, with
// zeros. Errors: InvalidArgument (sizes that the layout does not divide; a dialect without splits, such as Hugging
// Face's).
Result<Checkpoint> SplitShards(const Checkpoint& checkpoint, const Layout& layout,
                               const TranslateOptions& options = {});
// The same of a model that is known, of a Megatron dialect; "virtual" as the layout is.
Result<Checkpoint> SplitShards(const ResolvedModel& model, const Checkpoint& checkpoint, const Layout& layout);
// Checks that the weights can be divided so, without the memory that the ranks' take.
Status CheckSplit(const Checkpoint& checkpoint, const Layout& layout);

// The weights of one shard in the order in which the dialect's own writer stores them, which is that of the model's
// parameters; a distributed checkpoint may hold them in another. Errors: as MergeShards.
Status PutInOrder(Checkpoint* checkpoint, const TranslateOptions& options = {});

// A whole checkpoint whose vocabulary tables are padded for `was_tp` ranks, with tables for `tp`, the training state's
// with them. What no table knows stays as it is. Errors: as SplitShards.
Result<Checkpoint> PadVocab(const Checkpoint& checkpoint, int was_tp, int tp, const TranslateOptions& options = {});

}  // namespace anemone

#endif  // ANEMONE_PARALLEL_RESHARD_H_
