// The training state: an optimizer's tensors by parameter, learning rates, loops.
//
// DropTraining    After: none is left that the format does not hold, that the user does not want, or that would belong
//                 to other weights. Notes: why.
// NumberTraining  For formats that number parameters. Before: names are the dialect's to write, ranks are not split, as
//                 each numbers its own. After: states are by number.
// NameTraining    For formats that name them. Before: ranks are merged. After: states are by name.
#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "convert/pass.h"
#include "format/megatron/nemo2_training.h"
#include "format/optimizer_state.h"
#include "parallel/optimizer.h"
#include "parallel/reshard.h"

namespace anemone {
namespace {

Status KeyBy(ParameterKeys keys, Work& work) {
  Checkpoint& result = work.result();
  Shard& shard = result.shards.front();
  if (result.shards.size() != 1 || !shard.training) return {};
  if (Lookup(*shard.training->node, "pytorch-lightning_version") == nullptr) {
    const bool is_named = result.origin.distributed || IsOfMegatron(TraitsOf(work.conversion.source).language);
    if (keys == ParameterKeys::kNumbers || !is_named) work.LeaveTraining("it is not Lightning's");
    return {};
  }
  const std::optional<ParameterKeys> stored = KeysOf(*shard.training);
  if (!stored && keys == ParameterKeys::kNames) {
    // The dictionary without the weights that lie in it.
    ANEMONE_ASSIGN(shard.training, WithOptimizer(*shard.training, shard, nullptr, {}));
  }
  if (!stored || *stored == keys) return {};
  if (!work.identity.ok()) {
    work.LeaveTraining("only the table of a family tells whose parameters its states are");
    return {};
  }
  if (keys == ParameterKeys::kNumbers) ANEMONE_TRY(PutInOrder(&result, work.KnownModel()));
  ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(result, work.KnownModel()));
  ANEMONE_ASSIGN(const ParameterRules rules, RulesOf(model));
  return KeyParametersBy(keys, rules, &shard, &work.conversion.notes);
}

// The training dictionary in the words of another framework, or none.
void TakeDictionary(std::optional<Value> (*convert)(const Value&), Work& work, std::string_view told) {
  std::optional<Value>& training = work.result().shards.front().training;
  if (!training) return;
  std::optional<Value> converted = convert(*training);
  if (!converted) return work.LeaveTraining("no optimizer's states by parameter name are in it");
  training = std::move(converted);
  work.Note(std::string(told));
}

// A distributed optimizer's state has one of two forms, by the version that wrote its ranks; NeMo may have another.
void NoteVersion(Work& work) {
  const std::optional<Value>& training = work.result().shards.front().training;
  const std::string_view sharding = training ? ShardingOf(*training) : "";
  const bool is_as_read = work.conversion.source.origin.distributed && IsOfMegatron(work.traits().language);
  if (is_as_read || (sharding != kFullyReshardable && sharding != kModelSpace)) return;
  work.Note(fmt::format("the distributed optimizer's state loads in Megatron-core {}",
                        sharding == kModelSpace ? "0.9 to 0.15" : "0.15 and later"));
}

}  // namespace

Status DropTraining(Work& work) {
  const auto is_nemo2 = [](const FormatTraits& traits) { return traits.language == ConfigLanguage::kNemo2; };
  if (work.options.only_weights) work.LeaveTraining("");
  if (!work.traits().training) work.LeaveTraining(fmt::format("a {} holds none", work.format->name));
  if (work.options.dtype) work.LeaveTraining("it belongs to the dtypes the weights had");
  const bool from_megatron = IsOfMegatron(TraitsOf(work.conversion.source).language);
  const bool to_megatron = IsOfMegatron(work.traits().language);
  const bool from_nemo2 = is_nemo2(TraitsOf(work.conversion.source)), to_nemo2 = is_nemo2(work.traits());
  if (to_megatron && from_nemo2) {
    TakeDictionary(
        TrainingForMegatron, work,
        "the schedule of the learning rate is not told: Megatron-LM is to override it (override_opt_param_scheduler)");
  } else if (to_megatron && !from_megatron) {
    work.LeaveTraining("NeMo 1 and Megatron keep it in different forms");
  } else if (from_nemo2 != to_nemo2 && !from_megatron) {
    work.LeaveTraining("NeMo 1 and NeMo 2 train with different optimizers");
  }
  return {};
}

Status NumberTraining(Work& work) {
  return work.traits().training == ParameterKeys::kNumbers ? KeyBy(ParameterKeys::kNumbers, work) : Status();
}

Status NameTraining(Work& work) {
  const bool from_megatron = IsOfMegatron(TraitsOf(work.conversion.source).language);
  if (from_megatron && work.traits().training) NoteVersion(work);
  if (from_megatron && work.traits().language == ConfigLanguage::kNemo2) {
    TakeDictionary(TrainingForNemo2, work, "NeMo 2 counts steps and schedules the learning rate anew");
    return {};
  }
  return work.traits().training == ParameterKeys::kNames ? KeyBy(ParameterKeys::kNames, work) : Status();
}

}  // namespace anemone
