#include "parallel/reshard.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "anemone/reshard.h"
#include "format/format.h"
#include "format/lightning/optimizer.h"
#include "parallel/layout.h"
#include "parallel/merge_weights.h"
#include "parallel/split_weights.h"
#include "parallel/trained_ranks.h"
#include "parallel/vocabulary_rows.h"

namespace anemone {
namespace {

// Whether ranks divide any tensor of a tower in this model: an image tower of transformers lies whole on each.
Result<bool> IsSplit(const ResolvedModel& model, const std::string& tower) {
  const std::vector<StoredRow>& rows = model.dialect->rows;
  for (size_t r = 0; r < rows.size(); ++r) {
    if (rows[r].tower != tower || rows[r].split == Split::kReplicated || !model.names.is_active(r)) continue;
    ANEMONE_ASSIGN(const bool is_written, model.symbols.HoldsAnywhere(rows[r].when));
    if (is_written) return true;
  }
  return false;
}

// The sizes of a tower that its tensor ranks divide.
constexpr std::pair<std::string_view, std::string_view> kDivided[] = {{"heads", "number of heads"},
                                                                      {"groups", "number of query groups"},
                                                                      {"ffn", "feed-forward size"},
                                                                      {"expert_ffn", "feed-forward size"},
                                                                      {"shared_ffn", "feed-forward size"},
                                                                      {"ssm_heads", "number of Mamba heads"},
                                                                      {"ssm_groups", "number of Mamba groups"}};

Status CheckDivides(const ResolvedModel& model, int tp) {
  for (const std::string& tower : TowersOf(*model.dialect)) {
    ANEMONE_ASSIGN(const bool is_split, IsSplit(model, tower));
    if (!is_split) continue;
    for (const auto& [key, what] : kDivided) {
      ANEMONE_ASSIGN(const std::optional<uint64_t> size, model.symbols.Find(tower, key));
      if (!size || *size % static_cast<uint64_t>(tp) == 0) continue;
      return InvalidArgument(fmt::format("expected a {} that tensor parallel {} divides{}, found {}", what, tp,
                                         tower.empty() ? "" : fmt::format(" in the {} tower", tower), *size));
    }
  }
  return {};
}

Status SetLayoutOf(const Family& family, const Layout& layout, Config* config) {
  if (!family.tower_order.empty()) SetSplitRank(layout, config);
  return SetLayout(layout, config);
}

Status CheckLayout(const Checkpoint& checkpoint, const Layout& layout) {
  if (checkpoint.shards.size() != 1 || !checkpoint.shards.front().chunks.empty()) {
    return InvalidArgument(fmt::format("expected one shard, found {}", checkpoint.shards.size()),
                           "merge the shards first");
  }
  for (const int size : {layout.tp, layout.pp, layout.vp, layout.ep}) {
    if (size < 1 || size > 4096) {
      return InvalidArgument(
          fmt::format("expected tensor, pipeline, virtual and expert sizes of 1 to 4096, found {}", size));
    }
  }
  return {};
}

// Whether a model can be divided so, and NeMo could load it.
Status CheckSplits(const ResolvedModel& model, const Layout& layout) {
  ANEMONE_ASSIGN(const std::optional<uint64_t> one_stage, model.symbols.Find("", "one_stage"));
  if (layout.pp > 1 && one_stage.value_or(0) != 0) {
    return InvalidArgument(
        fmt::format("expected one pipeline stage for a {} with embeddings of its own at either end, "
                    "as NeMo asks, found {}",
                    model.family->title, layout.pp));
  }
  ANEMONE_TRY(CheckDivides(model, layout.tp));
  ANEMONE_ASSIGN(const uint64_t experts, NumExperts(model.symbols));
  if (layout.ep > 1 && experts == 0)
    return InvalidArgument(fmt::format("expected a mixture of experts for {} expert ranks, found none", layout.ep));
  if (layout.ep > 1 && experts % static_cast<uint64_t>(layout.ep) != 0)
    return InvalidArgument(
        fmt::format("expected a number of experts that expert parallel {} divides, found {}", layout.ep, experts));
  return {};
}

}  // namespace

bool IsOneShard(const Checkpoint& checkpoint) {
  return checkpoint.layout == Layout{} && checkpoint.shards.size() == 1 && checkpoint.shards.front().chunks.empty();
}

Result<Checkpoint> MergeShards(const Checkpoint& checkpoint, const TranslateOptions& options, int tp) {
  if (IsOneShard(checkpoint)) return checkpoint;
  ANEMONE_ASSIGN(const ModelIdentity identity, IdentifyModel(checkpoint, options));
  if (!identity.dialect->is_megatron) {
    return Unsupported(fmt::format("expected ranks of a Megatron model, found {} shards of {}",
                                   checkpoint.shards.size(), identity.dialect->title));
  }
  ANEMONE_ASSIGN(ModelSymbols symbols, identity.family->SymbolsOf(checkpoint, *identity.dialect, options));
  symbols.Set("virtual", checkpoint.layout.vp > 1);
  ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(checkpoint, identity, std::move(symbols)));
  return MergeShards(model, checkpoint, tp);
}

Result<Checkpoint> MergeShards(const ResolvedModel& model, const Checkpoint& checkpoint, int tp) {
  Checkpoint result = checkpoint;
  result.layout = {};
  ANEMONE_ASSIGN(MergedWeights merged, MergeWeights(checkpoint, model, Copies::kCompare, &result.notes));
  for (const std::string& tower : TowersOf(*model.dialect)) {
    ANEMONE_ASSIGN(const std::optional<uint64_t> layers, model.symbols.Find(tower, "layers"));
    const uint64_t found = merged.layers[tower];
    if (layers && *layers != found) {
      return Corrupt(fmt::format("expected {} layers{} by the config, found {} on all stages together", *layers,
                                 tower.empty() ? "" : fmt::format(" in the {} tower", tower), found));
    }
  }
  result.shards.assign(1, Shard{});
  result.weights() = std::move(merged.weights);
  ModelSymbols whole = model.symbols;
  ANEMONE_TRY(PadForRanks(model, &whole, tp, checkpoint.layout.tp, &result));
  if (CarriesTraining(checkpoint, &result.notes)) {
    if (KeysOf(*checkpoint.shards.front().training) == ParameterKeys::kNumbers)
      ANEMONE_TRY(CheckTrainedRanks(checkpoint.layout));
    ANEMONE_TRY(MergeTraining(checkpoint, model, whole, tp, &result));
  }
  if (result.config) ANEMONE_TRY(SetLayoutOf(*model.family, result.layout, &*result.config));
  return result;
}

Result<Checkpoint> PadVocab(const Checkpoint& checkpoint, int was_tp, int tp, const TranslateOptions& options) {
  const Result<ModelIdentity> identity = IdentifyModel(checkpoint, options);
  if (!identity.ok() || !identity->dialect->is_megatron) return checkpoint;
  ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(checkpoint, options));
  ANEMONE_TRY(CheckDivides(model, tp));
  Checkpoint result = checkpoint;
  ModelSymbols padded = model.symbols;
  ANEMONE_TRY(PadForRanks(model, &padded, tp, was_tp, &result));
  const bool as_before = std::equal(
      result.weights().items().begin(), result.weights().items().end(), checkpoint.weights().items().begin(),
      [](const auto& a, const auto& b) { return a.tensor() == nullptr || a.tensor()->shape() == b.tensor()->shape(); });
  if (as_before || !checkpoint.shards.front().training) return result;
  if (CarriesTraining(checkpoint, &result.notes)) {
    ANEMONE_TRY(MergeTraining(checkpoint, model, padded, tp, &result));
  } else {
    result.shards.front().training.reset();
  }
  return result;
}

Status PutInOrder(Checkpoint* checkpoint, const TranslateOptions& options) {
  ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(*checkpoint, options));
  ANEMONE_ASSIGN(MergedWeights merged, MergeWeights(*checkpoint, model, Copies::kTakeFirst, &checkpoint->notes));
  checkpoint->weights() = std::move(merged.weights);
  return {};
}

namespace {

// The model of a checkpoint that a layout divides.
Result<ResolvedModel> ModelToSplit(const Checkpoint& checkpoint, const Layout& layout,
                                   const TranslateOptions& options) {
  ANEMONE_ASSIGN(const ModelIdentity identity, IdentifyModel(checkpoint, options));
  if (!identity.dialect->is_megatron) {
    return InvalidArgument(fmt::format("expected a Megatron dialect to split, found {}", identity.dialect->title),
                           "convert to a NeMo dialect first");
  }
  if ((layout.tp > 1 || layout.pp > 1) && !identity.family->has_ranks) {
    return InvalidArgument(
        fmt::format("expected one tensor and one pipeline rank for a {}, which NeMo builds on no more, found {} and {}",
                    identity.family->title, layout.tp, layout.pp));
  }
  if (layout.vp > 1 && !identity.family->has_virtual_stages) {
    return InvalidArgument(fmt::format("expected no virtual stages for {}: NeMo cannot build it with them, found {}",
                                       identity.family->title, layout.vp));
  }
  ANEMONE_ASSIGN(ModelSymbols symbols, identity.family->SymbolsOf(checkpoint, *identity.dialect, options));
  symbols.Set("virtual", layout.vp > 1);
  return ResolveModel(checkpoint, identity, std::move(symbols));
}

// Pads vocabulary tables for the layout, and finds which layers each stage has.
Result<PipelineRanges> PrepareSplit(const ResolvedModel& model, const Layout& layout, Checkpoint* checkpoint) {
  ANEMONE_TRY(CheckLayout(*checkpoint, layout));
  ANEMONE_TRY(CheckSplits(model, layout));
  ModelSymbols padded = model.symbols;
  ANEMONE_TRY(PadForRanks(model, &padded, layout.tp, 0, checkpoint));
  return DividePipeline(model, layout, checkpoint->config ? &*checkpoint->config : nullptr);
}

}  // namespace

Result<Checkpoint> SplitShards(const Checkpoint& checkpoint, const Layout& layout, const TranslateOptions& options) {
  ANEMONE_TRY(CheckLayout(checkpoint, layout));
  if (layout == Layout{}) return checkpoint;
  ANEMONE_ASSIGN(const ResolvedModel model, ModelToSplit(checkpoint, layout, options));
  return SplitShards(model, checkpoint, layout);
}

Status CheckSplit(const Checkpoint& checkpoint, const Layout& layout) {
  ANEMONE_TRY(CheckLayout(checkpoint, layout));
  ANEMONE_ASSIGN(const ResolvedModel model, ModelToSplit(checkpoint, layout, {}));
  Checkpoint result = checkpoint;
  ANEMONE_ASSIGN(PipelineRanges ranges, PrepareSplit(model, layout, &result));
  ANEMONE_TRY(CheckSplitWeights(result.weights(), model, ranges, layout));
  return result.config ? SetLayoutOf(*model.family, layout, &*result.config) : Status();
}

Result<Checkpoint> SplitShards(const ResolvedModel& model, const Checkpoint& checkpoint, const Layout& layout) {
  Checkpoint result = checkpoint;
  ANEMONE_ASSIGN(PipelineRanges ranges, PrepareSplit(model, layout, &result));
  ANEMONE_ASSIGN(std::vector<Shard> shards, SplitWeights(result.weights(), model, ranges, layout, &result.notes));
  if (CarriesTraining(checkpoint, &result.notes)) {
    ANEMONE_TRY(CheckTrainedRanks(layout));
    ANEMONE_TRY(SplitTraining(checkpoint, model, ranges, layout, &shards));
  }
  if (layout.pp > 1 && !model.family->pipeline_warning.empty()) result.notes.push_back(model.family->pipeline_warning);
  result.shards = std::move(shards);
  result.layout = layout;
  if (result.config) ANEMONE_TRY(SetLayoutOf(*model.family, layout, &*result.config));
  return result;
}

Result<Checkpoint> MergeRanks(const Checkpoint& checkpoint) { return MergeShards(checkpoint); }

Result<Checkpoint> SplitRanks(const Checkpoint& checkpoint, const Layout& layout) {
  return SplitShards(checkpoint, layout);
}

}  // namespace anemone
