#include "ops/canonical.h"

#include "family/nemo2_config.h"
#include "parallel/reshard.h"

namespace anemone {

Result<Checkpoint> Canonical(const Checkpoint& checkpoint, const TranslateOptions& options) {
  Checkpoint weights = checkpoint;
  for (Shard& shard : weights.shards) shard.training.reset();
  // The tables' sizes are told in NeMo 1's words.
  if (weights.config && IsNemo2Config(weights.config->root())) {
    Result<ConfigNode> config = ToNemo1Config(weights.config->root());
    if (!config.ok()) return config.status().In(weights.config_name);
    weights.config = Config(*std::move(config));
  }
  ANEMONE_ASSIGN(const Checkpoint whole, MergeShards(weights));
  return ToCanonical(whole, options);
}

Status CanTranslate(const Checkpoint& checkpoint, std::string_view dialect) {
  Checkpoint weights = checkpoint;
  for (Shard& shard : weights.shards) shard.training.reset();
  ANEMONE_ASSIGN(const Checkpoint whole, MergeShards(weights));
  return Translate(whole, dialect).status();
}

}  // namespace anemone
