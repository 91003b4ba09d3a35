// CastTensors: another dtype, and what the result has of `_extra_state`.
//
// Before:  names and ranks are the result's.
// After:   floating tensors have the dtype asked for, and a config that says the weights' dtype says this one; extra
//          states are there or not, as asked.
// Notes:   none.
#include <algorithm>

#include "convert/pass.h"
#include "edit/rewrite.h"
#include "family/words/config_languages.h"

namespace anemone {
namespace {

// Transformer Engine's strict loading wants them on every rank.
Status CheckExtraStates(const Work& work) {
  constexpr std::string_view kSuffix = "_extra_state";
  const auto has_some = [&](const StateDict& state) {
    return std::any_of(state.items().begin(), state.items().end(),
                       [&](const StateDict::Item& item) { return item.name.ends_with(kSuffix); });
  };
  bool holds = work.traits().keeps_extra_state;
  for (const Shard& shard : work.result().shards) {
    holds = holds && (has_some(shard.weights) || std::any_of(shard.chunks.begin(), shard.chunks.end(), has_some));
  }
  if (holds) return {};
  return Unsupported("expected _extra_state entries in the result, as required; found none",
                     "only Megatron's names in a torch file have them (a .nemo in the dialect mcore)")
      .OfOption("extra_state");
}

// The config of a model of several is a map of theirs.
void SetDTypeOfParts(ConfigNode& root, DType dtype) {
  for (auto& [name, part] : root.map) {
    if (DetectLanguage(part) == ConfigLanguage::kHuggingFace) SetHuggingFaceDType(part, dtype);
  }
}

}  // namespace

Status CastTensors(Work& work) {
  const ConvertOptions& options = work.options;
  Checkpoint& result = work.result();
  const bool keeps_extra_state = options.extra_state != ExtraState::kDrop;
  if (options.dtype || !keeps_extra_state) ANEMONE_TRY(Rewrite(options.dtype, keeps_extra_state, &result));
  if (options.dtype && result.config && work.traits().language == ConfigLanguage::kHuggingFace)
    SetHuggingFaceDType(result.config->root(), *options.dtype);
  if (options.dtype && result.config && work.traits().language == ConfigLanguage::kNone)
    SetDTypeOfParts(result.config->root(), *options.dtype);
  return options.extra_state == ExtraState::kRequire ? CheckExtraStates(work) : Status();
}

}  // namespace anemone
