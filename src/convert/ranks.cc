// LayOutOverRanks: another tensor and pipeline layout.
//
// Before:  names are the result's; an optimizer's states are by number where each rank is to have a file.
// After:   a format with a file for each rank has a shard for each; a chunked one has one, tables padded and a config
//          written for the ranks that load it; any other has one. A layout that was not asked for is the source's.
// Notes:   what merging finds.
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "convert/pass.h"
#include "family/words/nemo2_config.h"
#include "format/dist/chain.h"
#include "format/values.h"
#include "parallel/layout.h"
#include "parallel/rank_states.h"
#include "parallel/reshard.h"
#include "parallel/vocabulary.h"
#include "tensor/layout_text.h"

namespace anemone {
namespace {

constexpr const char* kSplitRank = "pipeline_model_parallel_split_rank";
constexpr int kMaxGrid = 4096;

Result<Layout> LayoutAskedFor(const Work& work) {
  const ConvertOptions& options = work.options;
  Layout layout = work.traits().has_rank_files ? work.conversion.source.layout : Layout{};
  // NeMo keeps no file of ranks that divide experts, and an archive none of virtual stages.
  if (options.ep && !work.traits().is_chunked)
    return WrongOption("ep",
                       fmt::format("expected a format that is divided when it is loaded, found {}", work.format->name));
  layout.ep = 1;
  if (IsOfMegatron(TraitsOf(work.conversion.source).language)) layout.vp = 1;
  layout.tp = options.tp.value_or(layout.tp);
  layout.pp = options.pp.value_or(layout.pp);
  layout.vp = options.vp.value_or(layout.vp);
  for (const auto& [option, count] :
       {std::pair{"tp", layout.tp}, {"pp", layout.pp}, {"vp", layout.vp}, {"ep", options.ep.value_or(1)}}) {
    if (count < 1) return WrongOption(option, fmt::format("expected a number of at least 1, found {}", count));
  }
  return layout;
}

Status Pad(const Work& work, int was_tp, int tp) {
  Checkpoint& result = work.result();
  if (was_tp == tp || !result.config) return {};
  if (!IsNemo2Config(result.config->root())) {
    ANEMONE_ASSIGN(result, PadVocab(result, was_tp, tp, work.KnownModel()));
    return {};
  }
  // The tables' sizes are told in NeMo 1's words.
  Config own = *std::move(result.config);
  ANEMONE_ASSIGN(ConfigNode words, ToNemo1Config(own.root()));
  result.config = Config(std::move(words));
  ANEMONE_ASSIGN(result, PadVocab(result, was_tp, tp, work.KnownModel()));
  result.config = std::move(own);
  return {};
}

// The optimizer as `ep` expert ranks load it, and how its keys are called.
Status DivideTraining(const Work& work, int ep) {
  Checkpoint& result = work.result();
  std::optional<Value>& training = result.shards.front().training;
  const size_t optimizers = training ? FindOptimizers(training->node).size() : 0;
  const bool was_chained = optimizers > 1;
  if (optimizers == 0 || was_chained == (ep > 1)) return {};
  ANEMONE_ASSIGN(training, ep > 1 ? WithChain(*training) : WithoutChain(*training));
  // Every version of Megatron-core loads keys that say whose they are, where the metadata does not say otherwise.
  if (auto& distributed = result.origin.distributed) distributed->has_chained_optimizer = ep > 1;
  if (const ValueRef content = Lookup(*training->node, "content_metadata"); Pairs(content) != nullptr)
    PutKey(*training->graph, content, "chained_optim_avoid_prefix", NewBool(*training->graph, ep == 1));
  return {};
}

// Expert ranks as asked for, or as a distributed source has them.
Result<int> ExpertRanks(const Work& work, bool was_distributed) {
  if (!work.options.ep) return was_distributed ? StatedExpertParallel(work.result()) : 1;
  const int ep = *work.options.ep;
  if (ep == 1) return ep;
  ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(work.result(), work.KnownModel()));
  ANEMONE_ASSIGN(const uint64_t experts, NumExperts(model.symbols));
  if (experts > 0 && experts % static_cast<uint64_t>(ep) == 0) return ep;
  return WrongOption("ep", fmt::format("expected a divisor of {} experts, found {}", experts, ep));
}

// A distributed result: whole tensors, a config that says how to divide them, tables padded for that.
Status LayOutForLoaders(const Work& work, int tp) {
  Checkpoint& result = work.result();
  const bool was_distributed = result.origin.distributed.has_value();
  const bool had_ranks = !work.HasOneWhole();
  ANEMONE_TRY(work.Merge(tp));
  const bool is_nemo1 = result.config && !IsNemo2Config(result.config->root());
  const ConfigLanguage language = work.traits().language;
  if ((language == ConfigLanguage::kNemo2 || IsOfMegatron(language)) && is_nemo1 && work.table == nullptr)
    ANEMONE_TRY(AddExtraStates(&result, work.KnownModel()));
  // Left as it was, nothing being asked.
  if (was_distributed && !work.options.tp && !work.options.pp && !work.options.ep) return {};
  ANEMONE_ASSIGN(const int ep, ExpertRanks(work, was_distributed));
  if (!was_distributed || work.options.ep) ANEMONE_TRY(DivideTraining(work, ep));
  if (!had_ranks) ANEMONE_TRY(Pad(work, was_distributed ? StatedTensorParallel(result) : 1, tp));
  return result.config ? SetLayout({.tp = tp, .ep = ep}, &*result.config) : Status();
}

// Makes a distributed result, which is divided only when it is loaded, one to be stored by rank: its tables get the
// rows of `tp` ranks.
Status LeaveDistributed(const Work& work, int tp) {
  Checkpoint& result = work.result();
  ANEMONE_TRY(Pad(work, StatedTensorParallel(result), tp));
  if (work.table == nullptr) ANEMONE_TRY(AddExtraStates(&result, work.KnownModel()));
  return result.config ? SetLayout({}, &*result.config) : Status();
}

// One shard, with a config that says where an encoder-decoder's decoder begins: as asked, or as it was.
Status MergeForSplit(const Work& work, const Layout& layout) {
  Checkpoint& result = work.result();
  const ConfigNode* split = result.config ? result.config->Find(kSplitRank) : nullptr;
  const std::optional<ConfigNode> kept_split =
      split != nullptr && layout.pp == result.layout.pp ? std::optional(*split) : std::nullopt;
  ANEMONE_TRY(work.Merge(layout.tp));
  if (kept_split) result.config->root()[kSplitRank] = *kept_split;
  const std::optional<int>& asked = work.options.split_rank;
  if (!asked || !result.config) return {};
  if (work.identity.ok() && work.identity->family->tower_order.size() < 2)
    return WrongOption("split_rank",
                       fmt::format("expected an encoder-decoder, found a {}", work.identity->family->title));
  if (*asked < 1 || *asked >= layout.pp) {
    return WrongOption("split_rank",
                       fmt::format("expected 1 to {} for {} stages, found {}", layout.pp - 1, layout.pp, *asked));
  }
  result.config->root()[kSplitRank] = ConfigNode::Int(*asked);
  return {};
}

}  // namespace

Status LayOutOverRanks(Work& work) {
  const FormatTraits& traits = work.traits();
  Checkpoint& result = work.result();
  ANEMONE_ASSIGN(Layout layout, LayoutAskedFor(work));
  // Whoever loads a distributed checkpoint divides it as its config says; its tables have those ranks' rows.
  const bool is_distributed = work.HasOneWhole() && result.origin.distributed;
  const bool stays_distributed =
      is_distributed && layout.tp == 1 && layout.pp == 1 && traits.training != ParameterKeys::kNumbers;
  if (traits.is_chunked || stays_distributed) {
    if (layout.tp > kMaxGrid)
      return WrongOption("tp", fmt::format("expected at most {}, found {}", kMaxGrid, layout.tp));
    if (traits.is_chunked) work.lay_out.shard_grid = static_cast<uint32_t>(layout.tp);
    const int tp = std::exchange(layout.tp, 1);
    if (layout == Layout{}) return LayOutForLoaders(work, tp);
  }
  if (!traits.has_rank_files && layout != Layout{}) {
    return InvalidArgument(LayoutText(layout) + " asked of a format without ranks", "write a .nemo or a .ckpt");
  }
  if (is_distributed && traits.has_rank_files) ANEMONE_TRY(LeaveDistributed(work, layout.tp));
  if (layout == result.layout && !work.options.split_rank) return {};
  ANEMONE_TRY(MergeForSplit(work, layout));
  if (layout == Layout{}) return {};
  Result<Checkpoint> split = SplitShards(result, layout, work.KnownModel());
  if (!split.ok() && !work.identity.ok()) return work.identity.status();  // by the source, which is left by now
  ANEMONE_ASSIGN(result, std::move(split));
  return {};
}

}  // namespace anemone
