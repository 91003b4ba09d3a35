#include "source/canonical.h"

#include <map>
#include <utility>

#include "family/nemo2_checkpoint.h"
#include "family/words/megatron_config.h"
#include "family/words/nemo2_config.h"
#include "parallel/reshard.h"

namespace anemone {

namespace {

// Weights alone, with a config in the words that the tables' sizes are told in: NeMo 1's for NeMo's.
Result<Checkpoint> InWordsOfTables(Checkpoint weights) {
  for (Shard& shard : weights.shards) shard.training.reset();
  if (weights.config && IsNemo2Config(weights.config->root())) {
    Result<ConfigNode> config = Nemo1ConfigOf(weights);
    if (!config.ok()) return config.status().In(weights.config_name);
    weights.config = Config(*std::move(config));
  }
  if (weights.config && IsMegatronConfig(weights.config->root())) {
    std::vector<std::string> notes;
    ANEMONE_TRY(TakeMegatronCheckpoint({}, &weights, &notes));
  }
  return weights;
}

// All ranks together.
Result<Checkpoint> Whole(Checkpoint checkpoint) {
  ANEMONE_ASSIGN(Checkpoint weights, InWordsOfTables(std::move(checkpoint)));
  if (IsOneShard(weights)) return weights;
  return MergeShards(weights);
}

// Zeros in place of the tensors; those of one dtype and shape are one tensor, which equals itself at no cost.
Status TakeOutWeights(std::map<std::pair<DType, Shape>, Tensor>& zeros, StateDict& state) {
  StateDict skeleton;
  for (const StateDict::Item& item : state.items()) {
    const Tensor* tensor = item.tensor();
    if (tensor == nullptr) {
      ANEMONE_TRY(skeleton.Add(item.name, item.entry));
      continue;
    }
    auto found = zeros.find({tensor->dtype(), tensor->shape()});
    if (found == zeros.end()) {
      ANEMONE_ASSIGN(Tensor zero, Tensor::Fill(tensor->dtype(), tensor->shape(), 0));
      found = zeros.emplace(std::pair(tensor->dtype(), tensor->shape()), std::move(zero)).first;
    }
    ANEMONE_TRY(skeleton.Add(item.name, found->second));
  }
  state = std::move(skeleton);
  return {};
}

}  // namespace

Result<Checkpoint> MergedSkeleton(const Checkpoint& checkpoint) {
  Checkpoint skeleton = checkpoint;
  std::map<std::pair<DType, Shape>, Tensor> zeros;
  for (Shard& shard : skeleton.shards) {
    ANEMONE_TRY(TakeOutWeights(zeros, shard.weights));
    for (StateDict& chunk : shard.chunks) ANEMONE_TRY(TakeOutWeights(zeros, chunk));
  }
  return Whole(std::move(skeleton));
}

Result<Checkpoint> Canonical(const Checkpoint& checkpoint, const TranslateOptions& options) {
  ANEMONE_ASSIGN(const Checkpoint whole, Whole(checkpoint));
  return ToCanonical(whole, options);
}

Status CanBecome(const Checkpoint& checkpoint, ConfigLanguage language) {
  if (checkpoint.config && IsNemo2Config(checkpoint.config->root()))
    ANEMONE_TRY(CheckNemo2Carried(checkpoint.config->root()).In(checkpoint.config_name));
  ANEMONE_ASSIGN(const Checkpoint weights, InWordsOfTables(checkpoint));
  ANEMONE_ASSIGN(const ModelIdentity model, IdentifyModel(weights));
  ANEMONE_ASSIGN(const Dialect* dialect, DialectFor(weights, model, language, {}));
  if (dialect == nullptr) return Unsupported("expected a family with such a dialect, found one without");
  // Its config must say the model, too.
  const auto can_say = [language](const std::optional<Config>& config) {
    return language == ConfigLanguage::kNemo1 && config ? CheckNemo1Words(*config) : Status();
  };
  if (dialect == model.dialect || model.family->target == nullptr) return can_say(weights.config);
  ANEMONE_ASSIGN(const ModelSymbols symbols, model.family->SymbolsOf(weights, *model.dialect, {}));
  ANEMONE_ASSIGN(const Target target, model.family->target(weights, *model.dialect, *dialect, {}, symbols));
  return can_say(target.config);
}

Status CanTranslate(const Checkpoint& checkpoint, std::string_view dialect, const TranslateOptions& options) {
  ANEMONE_ASSIGN(const Checkpoint whole, Whole(checkpoint));
  return Translate(whole, dialect, options).status();
}

}  // namespace anemone
