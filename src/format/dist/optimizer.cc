#include "format/dist/optimizer.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/text_hash.h"
#include "format/dist/chain.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr std::string_view kNamedMaster = "fp32_param";  // an fp32 master

// What the members of a chain hold together.
struct Members {
  internal::TextMap<ValueRef> states;  // by parameter
  ValueList groups;
};

Result<Members> Together(const ValueList& chain, OptimizerState* result) {
  Members all;
  for (ValueRef member : chain) {
    ValueRef state = Lookup(*member, "state"), groups = Lookup(*member, "param_groups");
    if (state == nullptr || DictEntries(*state) == nullptr || !IsList(groups))
      return NotCarried("expected `state` and `param_groups`, found one of them");
    const auto& pairs = *DictEntries(*state);
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      if (pairs[i]->text == kCommonStep) {
        ANEMONE_TRY(ReadScalar("step", pairs[i + 1], result));
        result->has_common_step = true;
      } else if (!all.states.emplace(pairs[i]->text, pairs[i + 1]).second) {
        return NotCarried(fmt::format("expected one state of {}, found two", pairs[i]->text));
      }
    }
    for (ValueRef group : groups->items) {
      if (DictEntries(*group) == nullptr) return NotCarried("expected groups that are dicts");
      all.groups.push_back(group);
    }
  }
  return all;
}

// The state under the name that the family writes, or under one that it reads.
ValueRef StateOf(const std::string& name, const Members& all, const ParameterRules& rules) {
  auto found = all.states.find(name);
  for (size_t i = 0; i < rules.old_names.size() && found == all.states.end(); ++i) {
    const auto& [old, now] = rules.old_names[i];
    if (name.ends_with(now)) found = all.states.find(name.substr(0, name.size() - now.size()) + old);
  }
  return found == all.states.end() ? nullptr : found->second;
}

// fp32 masters are a tensor of each parameter here; elsewhere they stand beside the optimizer.
void TakeMasters(OptimizerState* result) {
  auto masters = result->moments.extract(std::string(kNamedMaster));
  result->inner_key = masters.empty() ? "" : "optimizer";
  if (masters.empty()) return;
  masters.key().clear();
  result->moments.insert(std::move(masters));
  std::erase(result->keys, kNamedMaster);
  result->masters_key = "fp32_from_fp16_params";
}

Status TakeGroups(const std::vector<Parameter>& parameters, ValueList stored, OptimizerState* result) {
  ANEMONE_TRY(FoldExperts(&stored));
  const auto decays = [](ValueRef group) {
    ValueRef factor = Lookup(*group, "wd_mult");
    return factor == nullptr || factor->kind != Kind::kFloat || factor->real != 0;
  };
  if (stored.size() == 2 && !decays(stored[0])) std::swap(stored[0], stored[1]);
  if (stored.empty() || stored.size() > 2)
    return NotCarried(fmt::format("expected one or two groups, found {}", stored.size()));
  result->rule = result->rules.Default();
  if (stored.size() == 1) {
    if (!Grouped(parameters, result->rule)[1].empty()) result->rule = DecayRule::kAll;
    stored.push_back(nullptr);
  }
  std::ranges::copy(stored, result->groups.begin());
  return {};
}

}  // namespace

Status ReadNamed(const std::vector<Parameter>& parameters, const ValueList& chain, OptimizerState* result) {
  ANEMONE_ASSIGN(Members all, Together(chain, result));
  size_t dicts = 1;
  for (const Parameter& parameter : parameters) {
    dicts = std::max(dicts, parameter.dict + 1);
    ValueRef own = StateOf(StateNameIn(parameter.dict, parameter.item->name), all, result->rules);
    if (own == nullptr) return NotCarried(fmt::format("expected a state of {}, found none", parameter.item->name));
    ANEMONE_TRY(ReadState(parameter, own, result));
  }
  if (all.states.size() != parameters.size()) {
    return NotCarried(
        fmt::format("expected the states of {} parameters, found {}", parameters.size(), all.states.size()));
  }
  if (result->scalars.contains("step") && std::ranges::find(result->keys, "step") == result->keys.end())
    result->keys.insert(result->keys.begin(), "step");
  TakeMasters(result);
  for (auto& [key, moments] : result->moments) moments.dicts.resize(dicts);
  return TakeGroups(parameters, std::move(all.groups), result);
}

Result<ValueRef> WriteNamed(const ParameterGroups& groups, StateWriter& writer) {
  ValueGraph& graph = writer.graph();
  const OptimizerState& optimizer = writer.optimizer();
  if (!optimizer.scalars.empty() && !optimizer.has_common_step) {
    return NotCarried(fmt::format("expected the {} in the groups, as apex's Adam has it, found one a parameter",
                                  optimizer.scalars.begin()->first));
  }
  ValueRef state = graph.New(Kind::kDict), written = graph.New(Kind::kList);
  for (size_t g = 0; g < groups.size(); ++g) {
    if (groups[g].empty()) continue;
    ANEMONE_TRY(writer.CheckHasGroup(groups, g));
    for (const Parameter& parameter : groups[g]) {
      ANEMONE_ASSIGN(ValueRef own, writer.DictOf(parameter));
      if (optimizer.has_common_step) DropKey(own, "step");
      ANEMONE_ASSIGN(ValueRef master, writer.MasterOf(parameter));
      if (master != nullptr) SetKey(graph, own, kNamedMaster, master);
      if (!own->items.empty()) SetKey(graph, state, parameter.item->name, own);
    }
    written->items.push_back(writer.Group(optimizer.groups[g], nullptr));
  }
  if (const auto step = optimizer.scalars.find("step"); optimizer.has_common_step && step != optimizer.scalars.end())
    SetKey(graph, state, kCommonStep, CopyValue(step->second, graph));
  return writer.Whole(state, written);
}

}  // namespace anemone
