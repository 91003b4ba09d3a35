// Facts: NeMo v2.0.0 nemo/lightning/pytorch/strategies/megatron_strategy.py (save_checkpoint), Megatron-LM core_v0.9.0
// megatron/training/checkpointing.py, megatron/core/optimizer_param_scheduler.py.
#include "format/megatron/nemo2_training.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "format/megatron/megatron_optimizer.h"
#include "format/optimizer_state.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr std::string_view kOptimizer = "optimizer", kContent = "content_metadata";

int64_t IntAt(const Value& dict, std::string_view key) {
  const ValueRef node = Lookup(*dict.node, key);
  return node != nullptr && node->kind == Kind::kInt ? std::max<int64_t>(node->integer, 0) : 0;
}

// The optimizer's dict, where its states are by name: NeMo 2 has a list of one.
ValueRef NamedOptimizerIn(const Value& training) {
  ValueRef optimizer = Lookup(*training.node, kOptimizer);
  if (IsList(optimizer)) optimizer = optimizer->items.size() == 1 ? optimizer->items[0] : nullptr;
  if (Pairs(optimizer) == nullptr) return nullptr;
  const std::vector<ValueRef> members = FindOptimizers(training.node);
  const bool by_name = std::ranges::all_of(members, [](ValueRef member) {
    const ValueRef state = Lookup(*member, "state");
    // Buckets are kept under their keys.
    return IsByName(state) && std::ranges::none_of(*Pairs(state), [](ValueRef key) {
             return key->kind == Kind::kString && key->text.starts_with("optimizer.");
           });
  });
  return by_name && !members.empty() ? optimizer : nullptr;
}

// What a reader asks of how the optimizer is divided.
void TakeContent(const Value& from, ValueRef optimizer, Value& into) {
  const ValueRef content = Lookup(*from.node, kContent);
  if (content != nullptr) return SetKey(*into.graph, into.node, kContent, CopyValue(content, *into.graph));
  const ValueRef sharding = Lookup(*optimizer, "param_state_sharding_type");
  SetContentMetadata(sharding == nullptr ? std::string_view() : std::string_view(sharding->text), into);
}

// How many samples NeMo's data module has given out: it stands under the module's class.
int64_t ConsumedSamples(const Value& training) {
  const ValueList& pairs = *Pairs(training.node);
  for (size_t i = 1; i < pairs.size(); i += 2) {
    const ValueRef samples = Pairs(pairs[i]) == nullptr ? nullptr : Lookup(*pairs[i], "consumed_samples");
    if (samples != nullptr && samples->kind == Kind::kInt) return samples->integer;
  }
  return 0;
}

// A schedule that came as far. Its shape is NeMo's recipe, which the checkpoint does not tell.
ValueRef Schedule(int64_t samples, ValueRef group, ValueGraph& graph) {
  const ValueRef schedule = graph.New(Kind::kDict);
  const auto number = [&](std::string_view key) {
    const ValueRef found = group == nullptr ? nullptr : Lookup(*group, key);
    return found != nullptr && found->kind == Kind::kFloat ? found->real : 0.0;
  };
  const double decay = number("weight_decay");
  SetKey(graph, schedule, "max_lr", NewFloat(graph, number("max_lr")));
  SetKey(graph, schedule, "lr_warmup_steps", NewInt(graph, 0));
  SetKey(graph, schedule, "num_steps", NewInt(graph, samples));
  SetKey(graph, schedule, "lr_decay_style", NewString(graph, "constant"));
  SetKey(graph, schedule, "lr_decay_steps", NewInt(graph, std::max<int64_t>(samples, 1)));
  SetKey(graph, schedule, "min_lr", NewFloat(graph, number("min_lr")));
  for (const char* key : {"start_wd", "end_wd"}) SetKey(graph, schedule, key, NewFloat(graph, decay));
  SetKey(graph, schedule, "wd_incr_style", NewString(graph, "constant"));
  SetKey(graph, schedule, "wd_incr_steps", NewInt(graph, std::max<int64_t>(samples, 1)));
  return schedule;
}

}  // namespace

std::optional<Value> TrainingForMegatron(const Value& nemo2) {
  const ValueRef optimizer = NamedOptimizerIn(nemo2);
  if (optimizer == nullptr) return std::nullopt;
  Value result{std::make_shared<ValueGraph>(), nullptr};
  ValueGraph& graph = *result.graph;
  result.node = graph.New(Kind::kDict);
  const int64_t samples = ConsumedSamples(nemo2);
  const ValueRef groups = Lookup(*FindOptimizers(nemo2.node)[0], "param_groups");
  const ValueRef first = IsList(groups) && !groups->items.empty() ? groups->items[0] : nullptr;
  SetKey(graph, result.node, "checkpoint_version", NewFloat(graph, 3));
  SetKey(graph, result.node, "iteration", NewInt(graph, IntAt(nemo2, "global_step")));
  SetKey(graph, result.node, "consumed_train_samples", NewInt(graph, samples));
  SetKey(graph, result.node, kOptimizer, CopyValue(optimizer, graph));
  SetKey(graph, result.node, "opt_param_scheduler", Schedule(samples, first, graph));
  TakeContent(nemo2, optimizer, result);
  return result;
}

std::optional<Value> TrainingForNemo2(const Value& megatron) {
  const ValueRef optimizer = NamedOptimizerIn(megatron);
  if (optimizer == nullptr) return std::nullopt;
  Value result{std::make_shared<ValueGraph>(), nullptr};
  ValueGraph& graph = *result.graph;
  result.node = graph.New(Kind::kDict);
  SetKey(graph, result.node, "epoch", NewInt(graph, 0));
  SetKey(graph, result.node, "global_step", NewInt(graph, IntAt(megatron, "iteration")));
  SetKey(graph, result.node, "pytorch-lightning_version", NewString(graph, "2.4.0"));
  for (const char* key : {"state_dict", "optimizer_states"}) SetKey(graph, result.node, key, graph.New(Kind::kDict));
  SetKey(graph, result.node, "lr_schedulers", graph.New(Kind::kList));
  const ValueRef list = graph.New(Kind::kList);
  list->items.push_back(CopyValue(optimizer, graph));
  SetKey(graph, result.node, kOptimizer, list);
  TakeContent(megatron, optimizer, result);
  return result;
}

}  // namespace anemone
