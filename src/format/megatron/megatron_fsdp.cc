// Facts: Megatron-LM d98e8a6 megatron/training/checkpointing.py (preprocess_fsdp_dtensor_state_dict),
// megatron/core/transformer/fsdp_dtensor_checkpoint.py, megatron/core/optimizer/distrib_optimizer.py
// (sharded_param_state_fsdp_dtensor), tools/checkpoint/checkpoint_inspector.py.
#include "format/megatron/megatron_fsdp.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/megatron/megatron_optimizer.h"
#include "format/optimizer_state.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr std::string_view kModel = "model.", kModule = "module.";
// One name for each: the gate and the other half of a gated linear_fc1, each divided by itself.
constexpr std::string_view kGate = "_w", kOther = "_v";

// "module.module.decoder…" → "decoder…": data parallelism, 16 bits and others wrap the model.
std::string_view WithoutWrappers(std::string_view name) {
  while (name.starts_with(kModule)) name.remove_prefix(kModule.size());
  return name;
}

// "model.module.NAME", "model0.module.NAME".
bool IsWrapped(std::string_view name) {
  const size_t dot = name.find('.');
  return name.starts_with("model") && dot != std::string_view::npos && name.substr(dot + 1).starts_with(kModule);
}

bool IsHalf(std::string_view name, std::string_view end) {
  return name.ends_with(end) && name.find(".linear_fc1.") != std::string_view::npos;
}

// The same tensors, halves joined.
Result<StateDict> JoinHalves(const StateDict& stored) {
  StateDict result;
  for (const StateDict::Item& item : stored.items()) {
    const bool is_other = IsHalf(item.name, kOther);
    if (item.tensor() == nullptr || (!is_other && !IsHalf(item.name, kGate))) {
      ANEMONE_TRY(result.Add(item.name, item.entry));
      continue;
    }
    const std::string whole = item.name.substr(0, item.name.size() - kGate.size());
    const StateDict::Item* twin = stored.Find(whole + std::string(is_other ? kGate : kOther));
    if (twin == nullptr || twin->tensor() == nullptr) {
      return Corrupt(fmt::format("[MEG-15] expected both halves of {}, found one", whole)).In(item.name);
    }
    if (is_other) continue;
    ANEMONE_ASSIGN(Tensor joined, Tensor::Concat({*item.tensor(), *twin->tensor()}, 0));
    ANEMONE_TRY(result.Add(whole, std::move(joined)));
  }
  return result;
}

Result<StateDict> PlainNames(const StateDict& stored) {
  StateDict bare;
  for (const StateDict::Item& item : stored.items()) {
    std::string_view name = item.name;
    if (!name.starts_with(kModel)) {
      return Corrupt("[MEG-15] expected the weights of one model, under \"model.\", found another name").In(item.name);
    }
    name.remove_prefix(kModel.size());
    ANEMONE_TRY(bare.Add(std::string(WithoutWrappers(name)), item.entry));
  }
  return JoinHalves(bare);
}

// The groups that parameters are in, each told once, as each parameter's dict tells it.
Result<std::vector<ValueRef>> GroupsOf(ValueRef metas) {
  std::vector<ValueRef> groups;
  std::set<std::string> seen;
  const ValueList* pairs = Pairs(metas);
  for (size_t i = 0; pairs != nullptr && i + 1 < pairs->size(); i += 2) {
    if (Pairs((*pairs)[i + 1]) == nullptr) return Corrupt("[MEG-15] expected a dict for each parameter's group");
    ANEMONE_ASSIGN(std::string text, GroupText((*pairs)[i + 1]));
    if (seen.insert(std::move(text)).second) groups.push_back((*pairs)[i + 1]);
  }
  return groups;
}

// The states' tensors by kind ("exp_avg") and parameter, and the step that all have.
struct States {
  std::map<std::string, StateDict> kinds;
  ValueRef step = nullptr;
};

// state["module.module.NAME"] = {exp_avg, …}.
Result<States> ReadStates(ValueRef state) {
  States result;
  const ValueList& pairs = *Pairs(state);
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    const std::string name(WithoutWrappers(pairs[i]->text));
    const ValueList* values = Pairs(pairs[i + 1]);
    if (values == nullptr) return Corrupt("[MEG-15] expected a dict for each parameter").In(name);
    for (size_t j = 0; j + 1 < values->size(); j += 2) {
      const ValueRef value = (*values)[j + 1];
      if (value->kind == Kind::kTensor && !value->tensor->shape().empty()) {
        ANEMONE_TRY(result.kinds[(*values)[j]->text].Add(name, *value->tensor));
      } else if ((*values)[j]->text == "step") {
        result.step = value;
      }
    }
  }
  for (auto& [kind, tensors] : result.kinds) {
    ANEMONE_ASSIGN(tensors, JoinHalves(tensors));
  }
  return result;
}

// What a distributed checkpoint has: the optimizer's groups, and states by name. The parameters of Megatron-FSDP are
// the optimizer's own.
Result<ValueRef> Reshardable(ValueRef stored, const StateDict& weights, ValueGraph& graph) {
  ANEMONE_ASSIGN(States states, ReadStates(Lookup(*stored, "state")));
  ANEMONE_ASSIGN(const std::vector<ValueRef> groups, GroupsOf(Lookup(*stored, "param_to_group_meta")));
  const ValueRef result = graph.New(Kind::kDict), inner = Child(graph, result, "optimizer");
  const ValueRef list = graph.New(Kind::kList), state = Child(graph, inner, "state");
  for (const ValueRef group : groups) {
    list->items.push_back(CopyValue(group, graph));
    if (states.step != nullptr && Lookup(*group, "step") == nullptr)
      SetKey(graph, list->items.back(), "step", CopyValue(states.step, graph));
  }
  SetKey(graph, inner, "param_groups", list);
  for (const StateDict::Item& item : weights.items()) {
    const ValueRef own = graph.New(Kind::kDict);
    for (const auto& [kind, tensors] : states.kinds) {
      const StateDict::Item* moment = tensors.Find(item.name);
      if (moment != nullptr) SetKey(graph, own, kind, NewTensor(graph, *moment->tensor()));
    }
    if (own->items.empty()) continue;
    ANEMONE_ASSIGN(Tensor parameter, item.tensor()->Cast(DType::kF32));
    SetKey(graph, own, "param", NewTensor(graph, std::move(parameter)));
    SetKey(graph, state, item.name, own);
  }
  for (const auto& [kind, tensors] : states.kinds) {
    if (Pairs(state)->size() / 2 != tensors.size()) {
      return Corrupt(fmt::format("[MEG-15] expected {} of {} parameters, found {}", kind, Pairs(state)->size() / 2,
                                 tensors.size()));
    }
  }
  SetKey(graph, result, "param_state_sharding_type", NewString(graph, kFullyReshardable));
  return result;
}

}  // namespace

Status TakeModuleNames(Checkpoint* checkpoint) {
  Shard& shard = checkpoint->shards.front();
  // A folder that has lost its metadata.json is torch's own, too.
  const auto& items = shard.weights.items();
  if (std::ranges::none_of(items, [](const auto& item) { return IsWrapped(item.name); })) return {};
  ANEMONE_ASSIGN(shard.weights, PlainNames(shard.weights));
  const Value old = *shard.training;
  shard.training = OfAllRanks(old);
  ValueGraph& graph = *shard.training->graph;
  const ValueRef optimizer = Lookup(*old.node, "optimizer");
  if (optimizer == nullptr || Pairs(optimizer) == nullptr) return {};
  if (!IsByName(Lookup(*optimizer, "state"))) {
    checkpoint->notes.emplace_back("the optimizer's state is not read: it is not by parameter name");
    return {};
  }
  auto reshardable = Reshardable(optimizer, shard.weights, graph);
  if (!reshardable.ok()) return reshardable.status().In("optimizer");
  SetKey(graph, shard.training->node, "optimizer", *reshardable);
  SetContentMetadata(kFullyReshardable, *shard.training);
  return {};
}

}  // namespace anemone
