#include "parallel/trained_ranks.h"

#include <fmt/format.h>

#include <map>
#include <string>

#include "format/torch/megatron_file.h"
#include "parallel/merge_weights.h"
#include "parallel/optimizer.h"
#include "parallel/split_weights.h"
#include "parallel/vocabulary_rows.h"

namespace anemone {
namespace {

// A checkpoint whose weights are one kind of moments: these are merged and split as their parameters are, by the same
// code.
Checkpoint Twin(const Checkpoint& checkpoint, const std::vector<const MomentTensors*>& moments) {
  Checkpoint twin;
  twin.format = checkpoint.format;
  twin.config = checkpoint.config;
  twin.layout = checkpoint.layout;
  for (size_t i = 0; i < checkpoint.shards.size(); ++i) {
    const Shard& shard = checkpoint.shards[i];
    Shard& copy = twin.shards.emplace_back();
    copy.tp_rank = shard.tp_rank;
    copy.pp_rank = shard.pp_rank;
    copy.ep_rank = shard.ep_rank;
    if (moments[i] == nullptr) continue;
    if (shard.chunks.empty()) {
      copy.weights = moments[i]->dicts.front();
    } else {
      copy.chunks = moments[i]->dicts;
    }
  }
  return twin;
}

MomentTensors OfShard(Shard shard) {
  MomentTensors moments;
  moments.dicts = std::move(shard.chunks);
  if (moments.dicts.empty()) moments.dicts.push_back(std::move(shard.weights));
  return moments;
}

bool IsCarried(const Value& training) {
  if (!IsMegatronTraining(training)) return Lookup(*training.node, "pytorch-lightning_version") != nullptr;
  return !HasOptimizer(training) || KeysOf(training) == ParameterKeys::kNames;
}

// The optimizers of all ranks, which agree.
Result<std::vector<OptimizerState>> ReadOptimizers(const Checkpoint& checkpoint, const ParameterRules& rules) {
  std::vector<OptimizerState> states;
  for (const Shard& shard : checkpoint.shards) {
    const std::string where = fmt::format("tensor rank {}, stage {}", shard.tp_rank, shard.pp_rank);
    if (!HasOptimizer(*shard.training)) {
      if (states.empty()) continue;
      return Corrupt(fmt::format("{}: expected an optimizer as on the ranks before, found none", where));
    }
    auto state = ReadOptimizer(shard, rules);
    if (!state.ok()) return state.status().In(where);
    if (!states.empty()) ANEMONE_TRY(CheckAgree(states.front(), *state).In(where));
    states.push_back(*std::move(state));
  }
  if (!states.empty() && states.size() != checkpoint.shards.size())
    return Corrupt("expected an optimizer on every rank, found none on the first");
  return states;
}

}  // namespace

bool CarriesTraining(const Checkpoint& checkpoint, std::vector<std::string>* notes) {
  size_t trained = 0, carried = 0;
  for (const Shard& shard : checkpoint.shards) {
    if (!shard.training) continue;
    ++trained;
    if (IsCarried(*shard.training)) ++carried;
  }
  if (trained == 0) return false;
  if (carried == checkpoint.shards.size()) return true;
  notes->push_back("left out the training state (optimizer, schedulers, loops): it belongs to the old layout");
  return false;
}

Status CheckTrainedRanks(const Layout& layout) {
  if (layout.ep == 1) return {};
  return Unsupported(fmt::format("expected one expert rank for a training state, found {}", layout.ep))
      .Use("only_weights", "true", "leave it behind");
}

Status MergeTraining(const Checkpoint& checkpoint, const ResolvedModel& model, const ModelSymbols& whole, int tp,
                     Checkpoint* result) {
  const Value& training = *checkpoint.shards.front().training;
  ANEMONE_ASSIGN(const ParameterRules rules, RulesOf(model));
  ANEMONE_ASSIGN(std::vector<OptimizerState> states, ReadOptimizers(checkpoint, rules));
  std::map<std::string, MomentTensors> merged;
  if (!states.empty()) {
    OptimizerState& first = states.front();
    for (const OptimizerState& state : states) {
      for (size_t g = 0; g < state.groups.size(); ++g) {
        if (first.groups[g] == nullptr) first.groups[g] = state.groups[g];
      }
    }
    for (const auto& [kind, moments] : first.moments) {
      std::vector<const MomentTensors*> ranks;
      ranks.reserve(states.size());
      for (OptimizerState& state : states) ranks.push_back(&state.moments[kind]);
      Checkpoint twin = Twin(checkpoint, ranks);
      auto tensors = MergeWeights(twin, model, Copies::kTakeFirst, &twin.notes);
      if (!tensors.ok()) return tensors.status().In(kind.empty() ? "fp32 masters" : kind);
      twin.shards.assign(1, Shard{});
      twin.weights() = std::move(tensors->weights);
      ModelSymbols dims = whole;
      ANEMONE_TRY(PadForRanks(model, &dims, tp, 0, &twin));
      merged[kind] = OfShard(std::move(twin.shards.front()));
    }
  }
  ANEMONE_ASSIGN(result->shards.front().training,
                 WithOptimizer(training, result->shards.front(), states.empty() ? nullptr : states.data(), merged,
                               KeysOf(training).value_or(ParameterKeys::kNumbers)));
  return {};
}

Status SplitTraining(const Checkpoint& checkpoint, const ResolvedModel& model, PipelineRanges& ranges,
                     const Layout& layout, std::vector<Shard>* shards) {
  ANEMONE_ASSIGN(const ParameterRules rules, RulesOf(model));
  ANEMONE_ASSIGN(std::vector<OptimizerState> states, ReadOptimizers(checkpoint, rules));
  std::vector<std::map<std::string, MomentTensors>> split(shards->size());
  const OptimizerState* optimizer = states.empty() ? nullptr : states.data();
  if (optimizer != nullptr) {
    for (const auto& [kind, moments] : optimizer->moments) {
      Checkpoint twin = Twin(checkpoint, {&moments});
      ModelSymbols padded = model.symbols;
      ANEMONE_TRY(PadForRanks(model, &padded, layout.tp, 0, &twin));
      auto ranks = SplitWeights(twin.weights(), model, ranges, layout, &twin.notes);
      if (!ranks.ok()) return ranks.status().In(kind.empty() ? "fp32 masters" : kind);
      for (size_t i = 0; i < ranks->size(); ++i) split[i][kind] = OfShard(std::move((*ranks)[i]));
    }
  }
  for (size_t i = 0; i < shards->size(); ++i) {
    Shard& shard = (*shards)[i];
    ANEMONE_ASSIGN(shard.training, WithOptimizer(*checkpoint.shards.front().training, shard, optimizer, split[i]));
  }
  return {};
}

}  // namespace anemone
