#include "format/optimizer_state.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "base/text_hash.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr int kMaxDepth = 8;
constexpr uint64_t kMaxScalarElements = 16;

Status Without(const Status& status) {
  return status.In("optimizer_states").Use("only_weights", "true", "leave the training state behind");
}

Status Disagree(std::string_view what) {
  return Without(Corrupt(fmt::format("expected the same {} on every rank, found others", what)));
}

// The parameter that an entry is a second name of, where both lie in the same dictionary.
const StateDict::Item* OriginalOf(const StateDict& dict, std::string_view name, const ParameterRules& rules) {
  for (const auto& [copy, original] : rules.second_names) {
    if (!name.ends_with(copy)) continue;
    return dict.Find(std::string(name.substr(0, name.size() - copy.size())) + original);
  }
  return nullptr;
}

// A small value as text, to compare. Tensors by their bytes.
Result<std::string> Text(ValueRef node, int depth = 0) {
  if (depth > kMaxDepth) return Unsupported(fmt::format("expected at most {} levels, found more", kMaxDepth));
  if (node->kind == Kind::kTensor) {
    const Tensor& tensor = *node->tensor;
    if (tensor.num_elements() > kMaxScalarElements) {
      return NotCarried(fmt::format("expected a scalar or a tensor of the parameter's shape, found shape {}",
                                    ToString(tensor.shape())));
    }
    ANEMONE_ASSIGN(const std::string bytes, tensor.Read());
    std::string text = "tensor";
    for (const char c : bytes) text += fmt::format(" {}", static_cast<unsigned char>(c));
    return text;
  }
  std::string text = fmt::format("{}:{}:{}:{}(", static_cast<int>(node->kind), node->integer, node->real, node->text);
  const auto* pairs = DictEntries(*node);
  for (ValueRef item : pairs != nullptr ? *pairs : node->items) {
    ANEMONE_ASSIGN(const std::string inner, Text(item, depth + 1));
    text += inner + ",";
  }
  return text + ")";
}

// What a group says of its parameters, not of how they are trained.
constexpr std::string_view kWhoIsIn[] = {"params", "is_expert", "is_expert_parallel"};

// Of all parameters, virtual stage by virtual stage; none where a shard has no training.
std::vector<std::string> NamesOfStates(const Shard& shard) {
  std::vector<std::string> names;
  if (!shard.training) return names;
  const std::vector<const StateDict*> dicts = DictsOf(shard);
  for (size_t d = 0; d < dicts.size(); ++d) {
    for (const StateDict::Item& item : dicts[d]->items()) names.push_back(StateNameIn(d, item.name));
  }
  return names;
}

// The training dictionary with states under other names.
Value Renamed(const Value& training, const internal::TextViewMap<std::string_view>& names) {
  Value result{std::make_shared<ValueGraph>(), nullptr};
  result.node = CopyValue(training.node, *result.graph);
  for (ValueRef optimizer : FindOptimizers(result.node)) {
    ValueRef state = Lookup(*optimizer, "state");
    if (!IsByName(state)) continue;
    ValueList& pairs = *Pairs(state);
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      const auto name = names.find(pairs[i]->text);
      if (name != names.end()) pairs[i] = NewString(*result.graph, name->second);
    }
  }
  return result;
}

}  // namespace

std::string StateNameIn(size_t model, const std::string& name) {
  return model == 0 ? name : fmt::format("model{}.{}", model, name);
}

bool IsOfExperts(std::string_view name) { return name.find(".mlp.experts.") != std::string_view::npos; }

Status NotCarried(std::string what) { return Without(Unsupported(std::move(what))); }

std::vector<const StateDict*> DictsOf(const Shard& shard) {
  std::vector<const StateDict*> dicts;
  for (const StateDict& chunk : shard.chunks) dicts.push_back(&chunk);
  if (dicts.empty()) dicts.push_back(&shard.weights);
  return dicts;
}

std::vector<Parameter> ParametersOf(const Shard& shard, const ParameterRules& rules) {
  std::vector<Parameter> parameters;
  const auto dicts = DictsOf(shard);
  for (size_t d = 0; d < dicts.size(); ++d) {
    for (const StateDict::Item& item : dicts[d]->items()) {
      if (item.tensor() == nullptr || item.name.ends_with(".inv_freq")) continue;
      if (OriginalOf(*dicts[d], item.name, rules) == nullptr) parameters.push_back({d, &item});
    }
  }
  return parameters;
}

Status NameMomentsTwice(const Shard& shard, OptimizerState* state) {
  const auto dicts = DictsOf(shard);
  for (auto& [kind, moments] : state->moments) {
    for (size_t d = 0; d < dicts.size() && d < moments.dicts.size(); ++d) {
      for (const StateDict::Item& item : dicts[d]->items()) {
        const StateDict::Item* original = OriginalOf(*dicts[d], item.name, state->rules);
        const StateDict::Item* moment = original == nullptr ? nullptr : moments.dicts[d].Find(original->name);
        if (moment == nullptr) continue;
        const Entry entry = moment->entry;
        ANEMONE_TRY(moments.dicts[d].Add(item.name, entry));
      }
    }
  }
  return {};
}

ParameterGroups Grouped(const std::vector<Parameter>& parameters, DecayRule rule) {
  ParameterGroups groups;
  for (const Parameter& parameter : parameters) groups[DecayGroupOf(parameter.item->name, rule)].push_back(parameter);
  return groups;
}

size_t DecayGroupOf(std::string_view name, DecayRule rule) {
  if (rule == DecayRule::kAll) return 0;
  if (name.ends_with("bias")) return 1;
  if (rule == DecayRule::kAllButBiases) return 0;
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return 0;
  const std::string_view path = name.substr(0, dot);
  const std::string_view module = path.substr(path.rfind('.') + 1);
  if (rule == DecayRule::kNoVectors && name.substr(dot).find("norm") != std::string_view::npos) return 1;
  return module.find("norm") != std::string_view::npos || module.starts_with("ln_") ? 1 : 0;
}

StateNames::StateNames(const Checkpoint& before) {
  for (const Shard& shard : before.shards) before_.push_back(NamesOfStates(shard));
}

void StateNames::Follow(Checkpoint* after) const {
  for (size_t s = 0; s < before_.size() && s < after->shards.size(); ++s) {
    Shard& shard = after->shards[s];
    const std::vector<std::string> now = NamesOfStates(shard);
    internal::TextViewMap<std::string_view> names;
    for (size_t i = 0; i < before_[s].size() && i < now.size(); ++i) {
      if (before_[s][i] != now[i]) names.emplace(before_[s][i], now[i]);
    }
    if (!names.empty()) shard.training = Renamed(*shard.training, names);
  }
}

bool IsList(ValueRef node) { return node != nullptr && (node->kind == Kind::kList || node->kind == Kind::kTuple); }

bool IsTrue(ValueRef flag) { return flag != nullptr && flag->integer != 0; }

Result<std::string> GroupText(ValueRef group) {
  std::string text;
  const auto& pairs = *DictEntries(*group);
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    if (std::ranges::find(kWhoIsIn, pairs[i]->text) != std::end(kWhoIsIn)) continue;
    ANEMONE_ASSIGN(const std::string value, Text(pairs[i + 1]));
    text += fmt::format("{}={};", pairs[i]->text, value);
  }
  return text;
}

Status ReadScalar(const std::string& key, ValueRef value, OptimizerState* result) {
  const auto [it, is_new] = result->scalars.try_emplace(key, value);
  if (is_new) return {};
  ANEMONE_ASSIGN(const std::string one, Text(it->second));
  ANEMONE_ASSIGN(const std::string other, Text(value));
  return one == other ? Status() : NotCarried(fmt::format("expected one {} for all parameters, found several", key));
}

Status ReadState(const Parameter& parameter, ValueRef state, OptimizerState* result) {
  const auto* pairs = DictEntries(*state);
  if (pairs == nullptr) return NotCarried("expected a dict for every parameter");
  std::vector<std::string> keys;
  for (size_t i = 0; i + 1 < pairs->size(); i += 2) {
    const std::string& key = (*pairs)[i]->text;
    ValueRef value = (*pairs)[i + 1];
    keys.push_back(key);
    if (key != "step" && value->kind == Kind::kTensor) {
      if (value->tensor->shape() != parameter.item->tensor()->shape()) {
        return NotCarried(fmt::format("{} of {}: expected shape {}, found {}", key, parameter.item->name,
                                      ToString(parameter.item->tensor()->shape()), ToString(value->tensor->shape())));
      }
      MomentTensors& moments = result->moments[key];
      moments.dicts.resize(std::max(moments.dicts.size(), parameter.dict + 1));
      ANEMONE_TRY(moments.dicts[parameter.dict].Add(parameter.item->name, *value->tensor));
      continue;
    }
    ANEMONE_TRY(ReadScalar(key, value, result));
  }
  if (result->keys.empty()) result->keys = keys;
  if (result->keys != keys) return NotCarried("expected the same state for every parameter, found several kinds");
  return {};
}

Status CheckAgree(const OptimizerState& a, const OptimizerState& b) {
  if (a.rule != b.rule || a.keys != b.keys || a.masters_key != b.masters_key || a.inner_key != b.inner_key)
    return Disagree("kind of state");
  for (size_t g = 0; g < a.groups.size(); ++g) {
    if (a.groups[g] == nullptr || b.groups[g] == nullptr) continue;
    ANEMONE_ASSIGN(const std::string one, GroupText(a.groups[g]));
    ANEMONE_ASSIGN(const std::string other, GroupText(b.groups[g]));
    if (one != other) return Disagree("learning rate, step and the like");
  }
  for (const auto& [key, value] : a.scalars) {
    const auto it = b.scalars.find(key);
    ANEMONE_ASSIGN(const std::string one, Text(value));
    ANEMONE_ASSIGN(const std::string other, it == b.scalars.end() ? std::string() : Text(it->second));
    if (one != other) return Disagree(key);
  }
  return {};
}

Result<ValueRef> StateWriter::DictOf(const Parameter& parameter) {
  ValueRef own = graph_.New(Kind::kDict);
  for (const std::string& key : optimizer_.keys) {
    if (const auto scalar = optimizer_.scalars.find(key); scalar != optimizer_.scalars.end()) {
      SetKey(graph_, own, key, CopyValue(scalar->second, graph_));
    } else {
      ANEMONE_ASSIGN(ValueRef node, TensorOf(key, parameter));
      SetKey(graph_, own, key, node);
    }
  }
  return own;
}

Result<ValueRef> StateWriter::MasterOf(const Parameter& parameter) {
  if (optimizer_.masters_key.empty() || !parameter.is_16_bit()) return static_cast<ValueRef>(nullptr);
  return TensorOf("", parameter);
}

Result<ValueRef> StateWriter::TensorOf(const std::string& kind, const Parameter& parameter) {
  const auto it = moments_.find(kind);
  const StateDict::Item* item = it == moments_.end() || parameter.dict >= it->second.dicts.size()
                                    ? nullptr
                                    : it->second.dicts[parameter.dict].Find(parameter.item->name);
  if (item == nullptr || item->tensor()->shape() != parameter.item->tensor()->shape()) {
    return NotCarried(
        fmt::format("expected {} of {}, found none", kind.empty() ? "an fp32 master" : kind, parameter.item->name));
  }
  return NewTensor(graph_, *item->tensor());
}

ValueRef StateWriter::Group(ValueRef stored, ValueRef ids) {
  ValueRef group = graph_.New(Kind::kDict);
  const auto& pairs = *DictEntries(*stored);
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    if (pairs[i]->text == "params") continue;
    group->items.push_back(CopyValue(pairs[i], graph_));
    group->items.push_back(CopyValue(pairs[i + 1], graph_));
  }
  if (ids != nullptr) SetKey(graph_, group, "params", ids);
  return group;
}

ValueRef StateWriter::Whole(ValueRef state, ValueRef groups) {
  ValueRef inner = graph_.New(Kind::kDict);
  SetKey(graph_, inner, "state", state);
  SetKey(graph_, inner, "param_groups", groups);
  if (optimizer_.inner_key.empty()) return inner;
  ValueRef outer = graph_.New(Kind::kDict);
  SetKey(graph_, outer, optimizer_.inner_key, inner);
  return outer;
}

Status StateWriter::CheckHasGroup(const ParameterGroups& groups, size_t group) const {
  if (optimizer_.groups[group] != nullptr) return {};
  return NotCarried(fmt::format("expected a group for {}, found none", groups[group][0].item->name));
}

std::string_view ShardingOf(const Value& training) {
  const ValueNode& root = *training.node;
  ValueRef optimizer = Lookup(root, "optimizer");
  if (optimizer == nullptr) optimizer = FirstOf(Lookup(root, "optimizer_states"));
  const std::pair<ValueRef, std::string_view> places[] = {
      {Lookup(root, "content_metadata"), "distrib_optim_sharding_type"},
      {optimizer, "param_state_sharding_type"},
      {FirstOf(optimizer), "param_state_sharding_type"}};  // of a chain
  for (const auto& [dict, key] : places) {
    const ValueRef form = dict == nullptr ? nullptr : Lookup(*dict, key);
    if (form != nullptr) return form->text;
  }
  return {};
}

}  // namespace anemone
