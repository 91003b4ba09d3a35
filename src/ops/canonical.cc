#include "ops/canonical.h"

#include "parallel/reshard.h"

namespace anemone {

Result<Checkpoint> Canonical(const Checkpoint& checkpoint, const TranslateOptions& options) {
  Checkpoint weights = checkpoint;
  for (Shard& shard : weights.shards) shard.training.reset();
  ANEMONE_ASSIGN(const Checkpoint whole, MergeShards(weights));
  return ToCanonical(whole, options);
}

}  // namespace anemone
