// The training state of all ranks as that of one, and back: an optimizer's moments go the way of their parameters.
#ifndef ANEMONE_PARALLEL_TRAINED_RANKS_H_
#define ANEMONE_PARALLEL_TRAINED_RANKS_H_

#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"
#include "parallel/layout.h"

namespace anemone {

// Lightning's dictionaries are carried, and Megatron-LM's with states by name; what other trainers keep beside the
// weights is not.
bool CarriesTraining(const Checkpoint& checkpoint, std::vector<std::string>* notes);

// Each expert rank steps an optimizer of its own for its experts; NeMo keeps no file of such ranks. States by name are
// read from Megatron-LM's.
Status CheckTrainedRanks(const Layout& layout);

// `whole` are the symbols of the merged model, `model`'s those of the stored one.
Status MergeTraining(const Checkpoint& checkpoint, const ResolvedModel& model, const ModelSymbols& whole, int tp,
                     Checkpoint* result);

// Of one shard, to `shards`, whose weights are there.
Status SplitTraining(const Checkpoint& checkpoint, const ResolvedModel& model, PipelineRanges& ranges,
                     const Layout& layout, std::vector<Shard>* shards);

}  // namespace anemone

#endif  // ANEMONE_PARALLEL_TRAINED_RANKS_H_
