#include "parallel/optimizer.h"

#include <algorithm>
#include <functional>
#include <set>
#include <unordered_map>

#include <fmt/format.h>

#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr int kMaxDepth = 8;
constexpr uint64_t kMaxScalarElements = 16;
constexpr std::string_view kNamedMaster = "fp32_param";  // what a distributed checkpoint calls an fp32 master
constexpr std::string_view kCommonStep = "common_step";  // beside the states, instead of a step in each

Status Without(const Status& status) {
  return status.In("optimizer_states").Use("only", "weights", "leave the training state behind");
}

Status NotCarried(std::string what) { return Without(Unsupported(std::move(what))); }

Status Disagree(std::string_view what) {
  return Without(Corrupt(fmt::format("expected the same {} on every rank, found others", what)));
}

struct Parameter {
  size_t dict = 0;
  const StateDict::Item* item = nullptr;
  bool is_16_bit() const { return item->tensor()->dtype() == DType::kBF16 || item->tensor()->dtype() == DType::kF16; }
};

std::vector<const StateDict*> DictsOf(const Shard& shard) {
  std::vector<const StateDict*> dicts;
  for (const StateDict& chunk : shard.chunks) dicts.push_back(&chunk);
  if (dicts.empty()) dicts.push_back(&shard.weights);
  return dicts;
}

// The parameter that an entry is a second name of, where both lie in the same dictionary.
const StateDict::Item* OriginalOf(const StateDict& dict, std::string_view name, const ParameterRules& rules) {
  for (const auto& [copy, original] : rules.second_names) {
    if (!name.ends_with(copy)) continue;
    return dict.Find(std::string(name.substr(0, name.size() - copy.size())) + original);
  }
  return nullptr;
}

// In the order of named_parameters(), which is that of the state dict: without buffers and second names.
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

// On other stages a second name is a parameter of its own, with the same moments.
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

using Groups = std::array<std::vector<Parameter>, 2>;

Groups Grouped(const std::vector<Parameter>& parameters, DecayRule rule) {
  Groups groups;
  for (const Parameter& parameter : parameters) groups[DecayGroupOf(parameter.item->name, rule)].push_back(parameter);
  return groups;
}

ValueRef FirstOf(ValueRef node, std::initializer_list<std::string_view> keys, std::string* key) {
  for (const std::string_view name : keys) {
    if (ValueRef found = Lookup(*node, name); found != nullptr) {
      *key = name;
      return found;
    }
  }
  return nullptr;
}

bool IsList(ValueRef node) { return node != nullptr && (node->kind == Kind::kList || node->kind == Kind::kTuple); }

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

// The rule by which the parameters fill the stored groups.
Result<DecayRule> RuleFor(const std::vector<Parameter>& parameters, const std::vector<ValueRef>& stored,
                          bool is_mcore) {
  std::vector<size_t> sizes;
  sizes.reserve(stored.size());
  for (ValueRef group : stored) sizes.push_back(Lookup(*group, "params")->items.size());
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

// What all parameters have alike.
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

Status ReadMasters(ValueRef masters, const Groups& groups, OptimizerState* result) {
  MomentTensors& tensors = result->moments[""];
  size_t stored = 0;
  for (const auto& group : groups) {
    if (group.empty()) continue;
    if (!IsList(masters) || stored >= masters->items.size() || !IsList(masters->items[stored]))
      return NotCarried("expected a list of fp32 masters for every group");
    const auto& list = masters->items[stored++]->items;
    size_t next = 0;
    for (const Parameter& parameter : group) {
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

bool IsTrue(ValueRef flag) { return flag != nullptr && flag->integer != 0; }

// Where experts have ranks of their own their parameters have groups of their own. In one process they stand in those
// of the others, which are trained the same way.
Status FoldExperts(std::vector<ValueRef>* groups) {
  const auto of_experts = [](ValueRef group) {
    return IsTrue(Lookup(*group, "is_expert")) || IsTrue(Lookup(*group, "is_expert_parallel"));
  };
  const auto experts = std::stable_partition(groups->begin(), groups->end(), std::not_fn(of_experts));
  std::set<std::string> dense;
  for (auto group = groups->begin(); group != groups->end(); ++group) {
    ANEMONE_ASSIGN(std::string text, GroupText(*group));
    if (group < experts) {
      dense.insert(std::move(text));
    } else if (!dense.contains(text)) {
      return NotCarried("expected the experts' learning rate, step and the like to be the others', found others");
    }
  }
  groups->erase(experts, groups->end());
  return {};
}

// A distributed checkpoint's: state[name] = {exp_avg, exp_avg_sq[, fp32_param]}, groups without `params`. Who is in
// which group is not written; they are NeMo's. Of a chain, each member has the states of some of the parameters.
Status ReadNamed(const std::vector<Parameter>& parameters, const std::vector<ValueRef>& chain,
                 const ParameterRules& rules, OptimizerState* result) {
  size_t dicts = 1;
  std::unordered_map<std::string, ValueRef> states;
  std::vector<ValueRef> stored;
  for (ValueRef member : chain) {
    ValueRef state = Lookup(*member, "state"), groups = Lookup(*member, "param_groups");
    if (state == nullptr || DictEntries(*state) == nullptr || !IsList(groups))
      return NotCarried("expected `state` and `param_groups`, found one of them");
    const auto& pairs = *DictEntries(*state);
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      if (pairs[i]->text == kCommonStep) {
        ANEMONE_TRY(ReadScalar("step", pairs[i + 1], result));
      } else if (!states.emplace(pairs[i]->text, pairs[i + 1]).second) {
        return NotCarried(fmt::format("expected one state of {}, found two", pairs[i]->text));
      }
    }
    for (ValueRef group : groups->items) {
      if (DictEntries(*group) == nullptr) return NotCarried("expected groups that are dicts");
      stored.push_back(group);
    }
  }
  const auto state_of = [&](const std::string& name) {
    auto found = states.find(name);
    for (size_t i = 0; i < rules.old_names.size() && found == states.end(); ++i) {
      const auto& [old, now] = rules.old_names[i];
      if (name.ends_with(now)) found = states.find(name.substr(0, name.size() - now.size()) + old);
    }
    return found;
  };
  for (const Parameter& parameter : parameters) {
    dicts = std::max(dicts, parameter.dict + 1);
    const auto own = state_of(parameter.item->name);
    if (own == states.end()) return NotCarried(fmt::format("expected a state of {}, found none", parameter.item->name));
    ANEMONE_TRY(ReadState(parameter, own->second, result));
  }
  if (states.size() != parameters.size()) {
    return NotCarried(fmt::format("expected the states of {} parameters, found {}", parameters.size(), states.size()));
  }
  if (result->scalars.contains("step") && std::ranges::find(result->keys, "step") == result->keys.end())
    result->keys.insert(result->keys.begin(), "step");
  if (auto masters = result->moments.extract(std::string(kNamedMaster)); !masters.empty()) {
    masters.key().clear();
    result->moments.insert(std::move(masters));
    std::erase(result->keys, kNamedMaster);
    result->masters_key = "fp32_from_fp16_params";
    result->inner_key = "optimizer";
  } else {
    result->inner_key.clear();
  }
  for (auto& [key, moments] : result->moments) moments.dicts.resize(dicts);

  ANEMONE_TRY(FoldExperts(&stored));
  const auto decays = [](ValueRef group) {
    ValueRef factor = Lookup(*group, "wd_mult");
    return factor == nullptr || factor->kind != Kind::kFloat || factor->real != 0;
  };
  if (stored.size() == 2 && !decays(stored[0])) std::swap(stored[0], stored[1]);
  if (stored.empty() || stored.size() > 2)
    return NotCarried(fmt::format("expected one or two groups, found {}", stored.size()));
  result->rule = rules.is_mcore ? DecayRule::kAllButBiases : DecayRule::kNorBiasNorNorm;
  if (stored.size() == 1) {
    if (!Grouped(parameters, result->rule)[1].empty()) result->rule = DecayRule::kAll;
    stored.push_back(nullptr);
  }
  std::copy(stored.begin(), stored.end(), result->groups.begin());
  return {};
}

}  // namespace

size_t DecayGroupOf(std::string_view name, DecayRule rule) {
  if (rule == DecayRule::kAll) return 0;
  if (name.ends_with("bias")) return 1;
  if (rule == DecayRule::kAllButBiases) return 0;
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return 0;
  const std::string_view path = name.substr(0, dot);
  const std::string_view module = path.substr(path.rfind('.') + 1);
  return module.find("norm") != std::string_view::npos || module.starts_with("ln_") ? 1 : 0;
}

bool HasOptimizer(const Value& training) {
  if (training.node == nullptr || DictEntries(*training.node) == nullptr) return false;
  if (Lookup(*training.node, "pytorch-lightning_version") == nullptr) return false;
  ValueRef states = Lookup(*training.node, "optimizer_states");
  return IsList(states) && !states->items.empty();
}

namespace {

Result<OptimizerState> ReadStored(const Shard& shard, const ParameterRules& rules) {
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
    ValueRef first = chain.size() > 1 ? DictEntries(*outer)->at(1) : outer;
    result.is_distributed = Lookup(*first, "param_state_sharding_type") != nullptr;
    ANEMONE_TRY(ReadNamed(parameters, chain, rules, &result));
    return result;
  }
  ValueRef inner = FirstOf(outer, {"optimizer", "optimizer_state_dict"}, &result.inner_key);
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
  ANEMONE_ASSIGN(result.rule, RuleFor(parameters, groups->items, rules.is_mcore));
  const Groups named = Grouped(parameters, result.rule);

  std::map<int64_t, ValueRef> by_id;
  const auto& pairs = *DictEntries(*state);
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    if (pairs[i]->kind != Kind::kInt) return NotCarried("expected states numbered by parameter, found other keys");
    by_id.emplace(pairs[i]->integer, pairs[i + 1]);
  }
  size_t stored = 0;
  for (size_t g = 0; g < named.size(); ++g) {
    if (named[g].empty()) continue;
    result.groups[g] = groups->items[stored];
    const auto& ids = Lookup(*groups->items[stored++], "params")->items;
    for (size_t i = 0; i < ids.size() && !by_id.empty(); ++i) {
      const auto it = by_id.find(ids[i]->integer);
      if (it == by_id.end())
        return NotCarried(fmt::format("expected a state of {}, found none", named[g][i].item->name));
      ANEMONE_TRY(ReadState(named[g][i], it->second, &result));
    }
  }
  if (ValueRef masters = FirstOf(outer, {"fp32_from_fp16_params", "fp32_from_fp16"}, &result.masters_key);
      masters != nullptr) {
    ANEMONE_TRY(ReadMasters(masters, named, &result));
  }
  const size_t dicts = DictsOf(shard).size();
  for (auto& [key, moments] : result.moments) moments.dicts.resize(dicts);
  return result;
}

}  // namespace

Result<ParameterRules> RulesOf(const ResolvedModel& model) {
  const NameMatcher& names = model.names;
  const std::vector<StoredRow>& rows = model.dialect->rows;
  const auto name_of = [&](const std::string& canonical) {
    for (size_t r = 0; r < rows.size(); ++r) {
      if (rows[r].canonical == canonical && rows[r].stage != Stage::kTiedCopy && names.is_active(r))
        return rows[r].name;
    }
    return std::string();
  };
  ParameterRules rules{.is_mcore = model.dialect->name == "mcore", .second_names = {}, .old_names = {}};
  for (const CanonicalRow& row : model.family->canonical) {
    if (row.copy_of.empty()) continue;
    ANEMONE_ASSIGN(const bool is_tied, model.symbols.Holds(row.tied));
    if (is_tied) rules.second_names.emplace_back(name_of(row.name), name_of(row.copy_of));
  }
  const auto behind_layer = [](const std::string& name) {
    constexpr std::string_view kLayer = "{i}";
    const size_t at = name.find(kLayer);
    return at == std::string::npos ? std::string() : name.substr(at + kLayer.size());
  };
  std::vector<bool> is_written;
  for (size_t r = 0; r < rows.size(); ++r) {
    ANEMONE_ASSIGN(const bool holds, model.symbols.HoldsAnywhere(rows[r].when));
    is_written.push_back(holds);
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    const StoredRow& old = rows[r];
    if (old.canonical.empty() || is_written[r] || behind_layer(old.name).empty()) continue;
    for (size_t w = 0; w < rows.size(); ++w) {
      const StoredRow& row = rows[w];
      if (names.is_active(w) && is_written[w] && row.canonical == old.canonical && row.transform == old.transform)
        rules.old_names.emplace_back(behind_layer(old.name), behind_layer(row.name));
    }
  }
  return rules;
}

Result<OptimizerState> ReadOptimizer(const Shard& shard, const ParameterRules& rules) {
  ANEMONE_ASSIGN(OptimizerState state, ReadStored(shard, rules));
  ANEMONE_TRY(NameMomentsTwice(shard, &state));
  return state;
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

namespace {

class StateWriter {
 public:
  StateWriter(ValueGraph& graph, const OptimizerState& optimizer, const std::map<std::string, MomentTensors>& moments)
      : graph_(graph), optimizer_(optimizer), moments_(moments) {}

  // The list that `optimizer_states` is.
  Result<ValueRef> Run(const Shard& shard, ParameterKeys keys) {
    if (keys == ParameterKeys::kNames && !optimizer_.scalars.empty()) {
      return NotCarried(fmt::format("expected the {} in the groups, as apex's Adam has it, found one a parameter",
                                    optimizer_.scalars.begin()->first));
    }
    ValueRef state = graph_.New(Kind::kDict), groups = graph_.New(Kind::kList), masters = graph_.New(Kind::kList);
    int64_t next = 0;
    const Groups named = Grouped(ParametersOf(shard, optimizer_.rules), optimizer_.rule);
    for (size_t g = 0; g < named.size(); ++g) {
      if (named[g].empty()) continue;
      if (optimizer_.groups[g] == nullptr)
        return NotCarried(fmt::format("expected a group for {}, found none", named[g][0].item->name));
      ValueRef ids = graph_.New(Kind::kList), list = graph_.New(Kind::kList);
      for (const Parameter& parameter : named[g]) {
        ValueRef key = keys == ParameterKeys::kNames ? NewString(graph_, parameter.item->name) : NewInt(graph_, next++);
        ids->items.push_back(key);
        ANEMONE_ASSIGN(ValueRef own, Own(parameter));
        const bool has_master = !optimizer_.masters_key.empty() && parameter.is_16_bit();
        if (has_master) {
          ANEMONE_ASSIGN(ValueRef master, TensorOf("", parameter));
          if (keys == ParameterKeys::kNames) {
            SetKey(graph_, own, kNamedMaster, master);
          } else {
            list->items.push_back(master);
          }
        }
        if (own->items.empty()) continue;
        state->items.push_back(key);
        state->items.push_back(own);
      }
      masters->items.push_back(list);
      groups->items.push_back(Group(optimizer_.groups[g], keys == ParameterKeys::kNames ? nullptr : ids));
    }
    ValueRef inner = graph_.New(Kind::kDict);
    SetKey(graph_, inner, "state", state);
    SetKey(graph_, inner, "param_groups", groups);
    ValueRef outer = inner;
    if (!optimizer_.inner_key.empty()) {
      outer = graph_.New(Kind::kDict);
      SetKey(graph_, outer, optimizer_.inner_key, inner);
    }
    if (!optimizer_.masters_key.empty() && keys == ParameterKeys::kNumbers) {
      SetKey(graph_, outer, optimizer_.masters_key, masters);
    }
    ValueRef states = graph_.New(Kind::kList);
    states->items.push_back(outer);
    return states;
  }

 private:
  // One parameter's dict.
  Result<ValueRef> Own(const Parameter& parameter) {
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

  Result<ValueRef> TensorOf(const std::string& kind, const Parameter& parameter) {
    const auto it = moments_.find(kind);
    const StateDict::Item* item = it == moments_.end() || parameter.dict >= it->second.dicts.size()
                                      ? nullptr
                                      : it->second.dicts[parameter.dict].Find(parameter.item->name);
    if (item == nullptr || item->tensor()->shape() != parameter.item->tensor()->shape()) {
      return NotCarried(
          fmt::format("expected {} of {}, found none", kind.empty() ? "an fp32 master" : kind, parameter.item->name));
    }
    ValueRef node = graph_.New(Kind::kTensor);
    node->tensor = *item->tensor();
    return node;
  }

  // The stored group with these ids, or without any.
  ValueRef Group(ValueRef stored, ValueRef ids) {
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

  ValueGraph& graph_;
  const OptimizerState& optimizer_;
  const std::map<std::string, MomentTensors>& moments_;
};

bool IsChunkKey(std::string_view key) {
  return key.size() > 5 && key.starts_with("model") &&
         std::all_of(key.begin() + 5, key.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

Result<Value> WithOptimizer(const Value& training, const Shard& shard, const OptimizerState* optimizer,
                            const std::map<std::string, MomentTensors>& moments, ParameterKeys keys) {
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
    } else if (key == "optimizer_states" && optimizer != nullptr) {
      StateWriter writer(graph, *optimizer, moments);
      ANEMONE_ASSIGN(value, writer.Run(shard, keys));
    } else {
      value = CopyValue(pairs[i + 1], graph);
    }
    SetKey(graph, result.node, key, value);
  }
  for (size_t c = 0; c < shard.chunks.size(); ++c)
    SetKey(graph, result.node, fmt::format("model{}", c), graph.New(Kind::kDict));
  return result;
}

std::optional<ParameterKeys> KeysOf(const Value& training) {
  if (!HasOptimizer(training)) return std::nullopt;
  const bool by_name = std::ranges::any_of(FindOptimizers(training.node),
                                           [](ValueRef optimizer) { return IsByName(Lookup(*optimizer, "state")); });
  return by_name ? ParameterKeys::kNames : ParameterKeys::kNumbers;
}

Status KeyParametersBy(ParameterKeys keys, const ParameterRules& rules, Shard* shard, std::vector<std::string>* notes) {
  ANEMONE_ASSIGN(const OptimizerState optimizer, ReadOptimizer(*shard, rules));
  ANEMONE_ASSIGN(shard->training, WithOptimizer(*shard->training, *shard, &optimizer, optimizer.moments, keys));
  if (optimizer.is_distributed) {
    notes->push_back(
        "the distributed optimizer's state became that of Adam with fp32 masters: train on with optim.name=fused_adam");
  }
  return {};
}

Result<Value> NewAdam(const Shard& shard, const ParameterRules& rules) {
  Value dictionary{std::make_shared<ValueGraph>(), nullptr};
  ValueGraph& graph = *dictionary.graph;
  dictionary.node = graph.root = graph.New(Kind::kDict);
  SetKey(graph, dictionary.node, "epoch", NewInt(graph, 0));
  SetKey(graph, dictionary.node, "global_step", NewInt(graph, 0));
  SetKey(graph, dictionary.node, "pytorch-lightning_version", NewString(graph, "2.4.0"));
  SetKey(graph, dictionary.node, "state_dict", graph.New(Kind::kDict));
  SetKey(graph, dictionary.node, "optimizer_states", graph.New(Kind::kList));

  OptimizerState optimizer;
  optimizer.rules = rules;
  optimizer.rule = rules.is_mcore ? DecayRule::kAllButBiases : DecayRule::kNorBiasNorNorm;
  optimizer.keys = {"exp_avg", "exp_avg_sq"};
  const std::vector<Parameter> parameters = ParametersOf(shard, rules);
  for (const Parameter& parameter : parameters) {
    ANEMONE_ASSIGN(const Tensor zeros, Tensor::Fill(DType::kF32, parameter.item->tensor()->shape(), 0));
    for (const std::string& kind : {std::string(), optimizer.keys[0], optimizer.keys[1]}) {
      if (kind.empty() && !parameter.is_16_bit()) continue;
      MomentTensors& moments = optimizer.moments[kind];
      moments.dicts.resize(std::max(moments.dicts.size(), parameter.dict + 1));
      ANEMONE_TRY(moments.dicts[parameter.dict].Add(parameter.item->name, zeros));
    }
  }
  if (optimizer.moments.contains("")) {
    optimizer.inner_key = "optimizer";
    optimizer.masters_key = "fp32_from_fp16_params";
  }
  for (ValueRef& group : optimizer.groups) {
    group = graph.New(Kind::kDict);
    SetKey(graph, group, "step", NewInt(graph, 0));
  }
  return WithOptimizer(dictionary, shard, &optimizer, optimizer.moments);
}

}  // namespace anemone
