// The optimizer of one rank of Megatron-LM's, by parameter name, as a distributed checkpoint has it. Rules MEG-16,
// MEG-17: docs/formats/megatron.md.
#ifndef ANEMONE_FORMAT_MEGATRON_MEGATRON_OPTIMIZER_H_
#define ANEMONE_FORMAT_MEGATRON_MEGATRON_OPTIMIZER_H_

#include <optional>
#include <string>

#include "anemone/bytes.h"
#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"
#include "format/optimizer_state.h"

namespace anemone {

// What tells Megatron-core's readers how a distributed checkpoint is made; `sharding` of the distributed optimizer, or
// "" for another. Adds to the training dictionary.
void SetContentMetadata(std::string_view sharding, Value& training);

// A training dictionary without models, optimizer and random states: these have another form where ranks are not stored
// by themselves.
Value OfAllRanks(const Value& training);

// The training dictionary of a rank with the optimizer in the form of a distributed checkpoint, without weights and
// without random states. `buckets` is distrib_optim.pt; `first` the same rank's shard of the first expert rank, which
// has been read, or null for that itself. Errors: Unsupported, Corrupt, where its states are not found; `training` then
// is without an optimizer.
Status TakeRankOptimizer(const std::optional<ByteRange>& buckets, const ConfigNode& args, const Shard* first,
                         Shard& shard);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_MEGATRON_MEGATRON_OPTIMIZER_H_
