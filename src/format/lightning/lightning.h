// Lightning checkpoints and other torch files that hold a training dictionary.
#ifndef ANEMONE_FORMAT_LIGHTNING_LIGHTNING_H_
#define ANEMONE_FORMAT_LIGHTNING_LIGHTNING_H_

#include <string>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "base/location.h"
#include "format/format.h"

namespace anemone {

// Opens one torch file; flavour "lightning", "torchscript" or "pytorch", by what it holds.
Result<Checkpoint> OpenTorchCheckpoint(const Location& place, const OpenOptions& options = {});

// Opens the checkpoint `name` ("x.ckpt"; "" when there is only one) of a folder, or of the rank folders in it.
// Errors: NotFound, InvalidArgument (several to choose from: they are listed), Corrupt (ranks missing, a save that
// never finished), as ReadRankFile.
Result<Checkpoint> OpenLightningFolder(const Location& folder, const std::string& name,
                                       const OpenOptions& options = {});

// The dictionary that Lightning's trainer loads [lightning checkpoint_connector.py]: the one that `shard` came with, or
// the least that `Trainer.fit(ckpt_path=…)` accepts, with `weights` as its state_dict and the checkpoint's config as
// NeMo's trainer saves it. Without `weights` these lie elsewhere, in a distributed checkpoint, and whatever else came
// with the shard stays. Refers to the values of `shard` and `weights`, which must outlive it.
Value ToTrainingDict(const Checkpoint& checkpoint, const Shard& shard, const Value* weights);

Result<Plan> LayOutLightning(const Checkpoint& checkpoint, const LayOutOptions& options);

// True for a folder with mp_rank_* or tp_rank_*_pp_rank_* in it.
bool HasRankFolders(const Probe& probe);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_LIGHTNING_LIGHTNING_H_
