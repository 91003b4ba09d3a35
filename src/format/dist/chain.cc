// Facts: Megatron-LM core_v0.9.0, core_v0.16.1 megatron/core/optimizer/__init__.py (get_megatron_optimizer,
// _get_param_groups), optimizer.py (ChainedOptimizer).
#include "format/dist/chain.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "format/optimizer_state.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr std::string_view kOfExperts = "is_expert_parallel";

bool IsOfParameters(ValueRef state) {
  if (!IsByName(state)) return false;
  // Buckets are kept under their keys.
  return std::ranges::none_of(
      *Pairs(state), [](ValueRef node) { return node->kind == Kind::kString && node->text.starts_with("optimizer."); });
}

// A copy of a training dictionary, to be changed.
struct Copy {
  Value training;
  ValueRef* optimizer = nullptr;  // as it is wrapped; NeMo 2 has a list of one
  std::vector<ValueRef> members;  // the dicts of states and groups

  ValueGraph& graph() const { return *training.graph; }
};

Result<Copy> CopyOf(const Value& training) {
  Copy copy{.training = {std::make_shared<ValueGraph>(), nullptr}, .optimizer = nullptr, .members = {}};
  copy.training.node = CopyValue(training.node, copy.graph());
  ValueList& pairs = *Pairs(copy.training.node);
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    if (pairs[i]->text == "optimizer") copy.optimizer = &pairs[i + 1];
  }
  if (copy.optimizer != nullptr && IsList(*copy.optimizer) && (*copy.optimizer)->items.size() == 1)
    copy.optimizer = &(*copy.optimizer)->items[0];
  copy.members = FindOptimizers(copy.training.node);
  const bool is_known = copy.optimizer != nullptr && Pairs(*copy.optimizer) != nullptr && !copy.members.empty() &&
                        std::ranges::all_of(copy.members, [](ValueRef member) {
                          const ValueRef state = Lookup(*member, "state");
                          return IsOfParameters(state) && IsList(Lookup(*member, "param_groups"));
                        });
  if (!is_known) return NotCarried("expected an optimizer's states by parameter name, for other expert ranks");
  return copy;
}

bool Decays(ValueRef group) {
  const ValueRef factor = Lookup(*group, "wd_mult");
  return factor == nullptr || factor->kind != Kind::kFloat || factor->real != 0;
}

}  // namespace

Status FoldExperts(ValueList* groups) {
  const auto of_experts = [](ValueRef group) {
    return IsTrue(Lookup(*group, "is_expert")) || IsTrue(Lookup(*group, kOfExperts));
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

Result<Value> WithChain(const Value& training) {
  if (FindOptimizers(training.node).size() > 1) return training;
  ANEMONE_ASSIGN(const Copy copy, CopyOf(training));
  ValueGraph& graph = copy.graph();
  const ValueRef own = copy.members[0], state = Lookup(*own, "state"), groups = Lookup(*own, "param_groups");
  const ValueRef chain = graph.New(Kind::kDict), dense = *copy.optimizer;
  const ValueRef experts = CopyValue(dense, graph, {state, groups});
  const ValueRef dense_state = graph.New(Kind::kDict), expert_state = graph.New(Kind::kDict);
  bool has_vectors = false;
  for (size_t i = 0; i + 1 < Pairs(state)->size(); i += 2) {
    const ValueRef name = (*Pairs(state))[i], value = (*Pairs(state))[i + 1];
    const bool of_experts = IsOfExperts(name->text), of_all = name->text == kCommonStep;
    has_vectors |= of_experts && name->text.ends_with(".bias");
    if (of_experts || of_all) SetKey(graph, expert_state, name->text, value);
    if (!of_experts) SetKey(graph, dense_state, name->text, value);
  }
  const ValueRef expert_groups = graph.New(Kind::kList);
  for (const ValueRef group : groups->items) {
    if (Pairs(group) == nullptr) return NotCarried("expected groups that are dicts");
    PutKey(graph, group, kOfExperts, NewBool(graph, false));
    if (!Decays(group) && !has_vectors) continue;
    expert_groups->items.push_back(CopyValue(group, graph));
    PutKey(graph, expert_groups->items.back(), kOfExperts, NewBool(graph, true));
  }
  PutKey(graph, own, "state", dense_state);
  const ValueRef inner = own == dense ? experts : Lookup(*experts, "optimizer");
  PutKey(graph, inner, "state", expert_state);
  PutKey(graph, inner, "param_groups", expert_groups);
  chain->items = {NewInt(graph, 0), dense, NewInt(graph, 1), experts};
  *copy.optimizer = chain;
  return copy.training;
}

Result<Value> WithoutChain(const Value& training) {
  if (FindOptimizers(training.node).size() < 2) return training;
  ANEMONE_ASSIGN(const Copy copy, CopyOf(training));
  ValueGraph& graph = copy.graph();
  const ValueRef state = graph.New(Kind::kDict), groups = graph.New(Kind::kList);
  bool has_step = false;
  for (const ValueRef member : copy.members) {
    const ValueList& pairs = *Pairs(Lookup(*member, "state"));
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      const bool of_all = pairs[i]->text == kCommonStep;
      if (!of_all || !std::exchange(has_step, true)) SetKey(graph, state, pairs[i]->text, pairs[i + 1]);
    }
    const ValueRef own = Lookup(*member, "param_groups");
    if (!std::ranges::all_of(own->items, [](ValueRef group) { return Pairs(group) != nullptr; }))
      return NotCarried("expected groups that are dicts");
    groups->items.insert(groups->items.end(), own->items.begin(), own->items.end());
  }
  ANEMONE_TRY(FoldExperts(&groups->items));
  PutKey(graph, copy.members[0], "state", state);
  PutKey(graph, copy.members[0], "param_groups", groups);
  *copy.optimizer = (*Pairs(*copy.optimizer))[1];
  return copy.training;
}

}  // namespace anemone
