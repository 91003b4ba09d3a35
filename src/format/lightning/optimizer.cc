#include "format/lightning/optimizer.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "format/dist/optimizer.h"
#include "format/torch/megatron_file.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr std::string_view kMegatrons = "optimizer";  // its key in a dictionary of Megatron-LM's

ValueRef FirstOf(ValueRef node, std::initializer_list<std::string_view> keys, std::string* key) {
  for (const std::string_view name : keys) {
    if (ValueRef found = Lookup(*node, name); found != nullptr) {
      *key = name;
      return found;
    }
  }
  return nullptr;
}

// A stored group of no parameters: NeMo 1 wrote one for a model without biases.
bool IsEmptyGroup(ValueRef group) {
  ValueRef params = group == nullptr ? nullptr : Lookup(*group, "params");
  return params != nullptr && params->items.empty();
}

// The rule by which the parameters fill the stored groups.
Result<DecayRule> RuleFor(const std::vector<Parameter>& parameters, const ValueList& stored, bool is_mcore) {
  std::vector<size_t> sizes;
  sizes.reserve(stored.size());
  for (ValueRef group : stored) {
    if (!IsEmptyGroup(group)) sizes.push_back(Lookup(*group, "params")->items.size());
  }
  std::vector<DecayRule> rules = {DecayRule::kAllButBiases, DecayRule::kNorBiasNorNorm, DecayRule::kAll};
  if (!is_mcore) std::swap(rules[0], rules[1]);
  for (const DecayRule rule : rules) {
    std::vector<size_t> expected;
    for (const auto& group : Grouped(parameters, rule)) {
      if (!group.empty()) expected.push_back(group.size());
    }
    if (expected == sizes) return rule;
  }
  return NotCarried(
      fmt::format("expected groups of the weights' {} parameters with and without weight decay, found "
                  "groups of {}",
                  parameters.size(), fmt::join(sizes, " and ")));
}

Status ReadMasters(ValueRef masters, const ParameterGroups& groups, OptimizerState* result) {
  MomentTensors& tensors = result->moments[""];
  size_t stored = 0;
  for (size_t g = 0; g < groups.size(); ++g) {
    if (result->groups[g] == nullptr) continue;
    if (!IsList(masters) || stored >= masters->items.size() || !IsList(masters->items[stored]))
      return NotCarried("expected a list of fp32 masters for every group");
    const auto& list = masters->items[stored++]->items;
    size_t next = 0;
    for (const Parameter& parameter : groups[g]) {
      if (!parameter.is_16_bit()) continue;
      const bool fits = next < list.size() && list[next]->kind == Kind::kTensor &&
                        list[next]->tensor->shape() == parameter.item->tensor()->shape();
      if (!fits) return NotCarried(fmt::format("expected the fp32 master of {}, found none", parameter.item->name));
      tensors.dicts.resize(std::max(tensors.dicts.size(), parameter.dict + 1));
      ANEMONE_TRY(tensors.dicts[parameter.dict].Add(parameter.item->name, *list[next++]->tensor));
    }
    if (next != list.size())
      return NotCarried(fmt::format("expected {} fp32 masters in a group, found {}", next, list.size()));
  }
  return {};
}

// Adam's `state` and `param_groups`, by themselves or below a wrapper that keeps fp32 masters beside them.
Status ReadNumbered(ValueRef outer, const std::vector<Parameter>& parameters, OptimizerState* result) {
  ValueRef inner = FirstOf(outer, {"optimizer", "optimizer_state_dict"}, &result->inner_key);
  if (inner == nullptr) inner = outer;
  ValueRef state = DictEntries(*inner) == nullptr ? nullptr : Lookup(*inner, "state");
  ValueRef groups = state == nullptr ? nullptr : Lookup(*inner, "param_groups");
  if (groups == nullptr || DictEntries(*state) == nullptr || !IsList(groups))
    return NotCarried(
        "expected Adam's `state` and `param_groups`, found another optimizer's, such as a distributed one");
  for (ValueRef group : groups->items) {
    const bool is_group = DictEntries(*group) != nullptr && IsList(Lookup(*group, "params"));
    if (!is_group) return NotCarried("expected groups with `params`");
    if (IsTrue(Lookup(*group, "is_expert"))) return NotCarried("expected no groups of experts, found one");
  }
  ANEMONE_ASSIGN(result->rule, RuleFor(parameters, groups->items, result->rules.is_mcore));
  const ParameterGroups named = Grouped(parameters, result->rule);

  std::map<int64_t, ValueRef> by_id;
  const auto& pairs = *DictEntries(*state);
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    if (pairs[i]->kind != Kind::kInt) return NotCarried("expected states numbered by parameter, found other keys");
    by_id.emplace(pairs[i]->integer, pairs[i + 1]);
  }
  size_t stored = 0;
  for (size_t g = 0; g < named.size(); ++g) {
    const bool is_stored = stored < groups->items.size() && named[g].empty() == IsEmptyGroup(groups->items[stored]);
    if (!is_stored) continue;
    result->groups[g] = groups->items[stored];
    const auto& ids = Lookup(*groups->items[stored++], "params")->items;
    for (size_t i = 0; i < ids.size() && !by_id.empty(); ++i) {
      const auto it = by_id.find(ids[i]->integer);
      if (it == by_id.end())
        return NotCarried(fmt::format("expected a state of {}, found none", named[g][i].item->name));
      ANEMONE_TRY(ReadState(named[g][i], it->second, result));
    }
  }
  if (stored != groups->items.size())
    return NotCarried(fmt::format("expected at most {} groups, found {}", named.size(), groups->items.size()));
  if (ValueRef masters = FirstOf(outer, {"fp32_from_fp16_params", "fp32_from_fp16"}, &result->masters_key);
      masters != nullptr) {
    ANEMONE_TRY(ReadMasters(masters, named, result));
  }
  return {};
}

// The optimizer as it is wrapped; of a chain, {0: …, 1: …}, the first.
ValueRef FirstMember(ValueRef outer) {
  const ValueList* pairs = DictEntries(*outer);
  const bool is_chain = pairs != nullptr && pairs->size() > 1 && pairs->front()->kind == Kind::kInt;
  return is_chain ? (*pairs)[1] : outer;
}

// Megatron-LM's only optimizer, whose states are by name.
Result<OptimizerState> ReadMegatrons(const Shard& shard, const ParameterRules& rules) {
  OptimizerState result;
  result.rules = rules;
  result.rules.is_megatron_lm = true;
  result.keep = *shard.training;
  ValueRef outer = Lookup(*shard.training->node, kMegatrons);
  ANEMONE_TRY(ReadNamed(ParametersOf(shard, rules), FindOptimizers(shard.training->node), &result));
  result.inner_key = Lookup(*FirstMember(outer), "optimizer") == nullptr ? "" : "optimizer";
  return result;
}

Result<OptimizerState> ReadStored(const Shard& shard, const ParameterRules& rules) {
  if (IsMegatronTraining(*shard.training)) return ReadMegatrons(shard, rules);
  OptimizerState result;
  result.rules = rules;
  result.keep = *shard.training;
  ValueRef states = Lookup(*shard.training->node, "optimizer_states");
  if (states->items.size() != 1)
    return NotCarried(fmt::format("expected one optimizer, found {}", states->items.size()));
  ValueRef outer = states->items[0];
  if (DictEntries(*outer) == nullptr) return NotCarried("expected a dict");
  const std::vector<ValueRef> chain = FindOptimizers(shard.training->node);
  const std::vector<Parameter> parameters = ParametersOf(shard, rules);
  if (KeysOf(*shard.training) == ParameterKeys::kNames) {
    result.is_distributed = Lookup(*FirstMember(outer), "param_state_sharding_type") != nullptr;
    ANEMONE_TRY(ReadNamed(parameters, chain, &result));
    return result;
  }
  ANEMONE_TRY(ReadNumbered(outer, parameters, &result));
  const size_t dicts = DictsOf(shard).size();
  for (auto& [key, moments] : result.moments) moments.dicts.resize(dicts);
  return result;
}

// The dict of an optimizer whose parameters are numbered through the groups; masters are lists, one a group.
Result<ValueRef> WriteNumbered(const ParameterGroups& groups, StateWriter& writer) {
  ValueGraph& graph = writer.graph();
  const OptimizerState& optimizer = writer.optimizer();
  ValueRef state = graph.New(Kind::kDict), written = graph.New(Kind::kList), masters = graph.New(Kind::kList);
  int64_t next = 0;
  for (size_t g = 0; g < groups.size(); ++g) {
    if (groups[g].empty() && !IsEmptyGroup(optimizer.groups[g])) continue;
    if (!groups[g].empty()) ANEMONE_TRY(writer.CheckHasGroup(groups, g));
    ValueRef ids = graph.New(Kind::kList), list = graph.New(Kind::kList);
    for (const Parameter& parameter : groups[g]) {
      ValueRef id = NewInt(graph, next++);
      ids->items.push_back(id);
      ANEMONE_ASSIGN(ValueRef own, writer.DictOf(parameter));
      ANEMONE_ASSIGN(ValueRef master, writer.MasterOf(parameter));
      if (master != nullptr) list->items.push_back(master);
      if (!own->items.empty()) state->items.insert(state->items.end(), {id, own});
    }
    masters->items.push_back(list);
    written->items.push_back(writer.Group(optimizer.groups[g], ids));
  }
  ValueRef outer = writer.Whole(state, written);
  if (!optimizer.masters_key.empty()) SetKey(graph, outer, optimizer.masters_key, masters);
  return outer;
}

// What stands beside an optimizer's state: how it is divided, the scale of its gradients.
void KeepOthers(ValueRef stored, ValueRef written, ValueGraph& graph) {
  const ValueList* pairs = DictEntries(*stored);
  for (size_t i = 0; pairs != nullptr && i + 1 < pairs->size(); i += 2) {
    const std::string& key = (*pairs)[i]->text;
    if (Lookup(*written, key) == nullptr && key != "state" && key != "param_groups")
      SetKey(graph, written, key, CopyValue((*pairs)[i + 1], graph));
  }
}

bool IsChunkKey(std::string_view key) {
  return key.size() > 5 && key.starts_with("model") &&
         std::all_of(key.begin() + 5, key.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

bool HasOptimizer(const Value& training) {
  if (training.node == nullptr || DictEntries(*training.node) == nullptr) return false;
  if (IsMegatronTraining(training)) return Lookup(*training.node, kMegatrons) != nullptr;
  if (Lookup(*training.node, "pytorch-lightning_version") == nullptr) return false;
  ValueRef states = Lookup(*training.node, "optimizer_states");
  return IsList(states) && !states->items.empty();
}

std::optional<ParameterKeys> KeysOf(const Value& training) {
  if (!HasOptimizer(training)) return std::nullopt;
  const bool by_name = std::ranges::any_of(FindOptimizers(training.node),
                                           [](ValueRef optimizer) { return IsByName(Lookup(*optimizer, "state")); });
  return by_name ? ParameterKeys::kNames : ParameterKeys::kNumbers;
}

Result<OptimizerState> ReadOptimizer(const Shard& shard, const ParameterRules& rules) {
  ANEMONE_ASSIGN(OptimizerState state, ReadStored(shard, rules));
  ANEMONE_TRY(NameMomentsTwice(shard, &state));
  return state;
}

Result<Value> WithOptimizer(const Value& training, const Shard& shard, const OptimizerState* optimizer,
                            const Moments& moments, ParameterKeys keys) {
  Value result{std::make_shared<ValueGraph>(), nullptr};
  ValueGraph& graph = *result.graph;
  result.node = graph.root = graph.New(Kind::kDict);
  const auto& pairs = *DictEntries(*training.node);
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    const std::string& key = pairs[i]->text;
    if (IsChunkKey(key) || key == "sharded_objects") continue;
    ValueRef value = nullptr;
    if (key == "state_dict") {
      value = graph.New(Kind::kDict);
    } else if (key == kMegatrons && optimizer != nullptr && IsMegatronTraining(training)) {
      StateWriter writer(graph, *optimizer, moments);
      ANEMONE_ASSIGN(value, WriteNamed(Grouped(ParametersOf(shard, optimizer->rules), optimizer->rule), writer));
      KeepOthers(FirstMember(pairs[i + 1]), value, graph);
    } else if (key == "optimizer_states" && optimizer != nullptr) {
      StateWriter writer(graph, *optimizer, moments);
      const ParameterGroups groups = Grouped(ParametersOf(shard, optimizer->rules), optimizer->rule);
      value = graph.New(Kind::kList);
      ANEMONE_ASSIGN(ValueRef state,
                     keys == ParameterKeys::kNames ? WriteNamed(groups, writer) : WriteNumbered(groups, writer));
      value->items.push_back(state);
    } else {
      value = CopyValue(pairs[i + 1], graph);
    }
    SetKey(graph, result.node, key, value);
  }
  for (size_t c = 0; c < shard.chunks.size(); ++c)
    SetKey(graph, result.node, fmt::format("model{}", c), graph.New(Kind::kDict));
  return result;
}

}  // namespace anemone
