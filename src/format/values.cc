#include "format/values.h"

#include <unordered_map>

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

// Of the key among pairs; their size where it is not there.
size_t IndexOf(const ValueList& pairs, std::string_view key) {
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    if (pairs[i]->kind == Kind::kString && pairs[i]->text == key) return i;
  }
  return pairs.size();
}

ValueRef OptimizerIn(ValueRef candidate) {
  if (Pairs(candidate) == nullptr) return nullptr;
  for (const ValueRef dict : {Lookup(*candidate, "optimizer"), candidate}) {
    if (Pairs(dict) == nullptr) continue;
    if (Lookup(*dict, "param_groups") != nullptr || Lookup(*dict, "state") != nullptr) return dict;
  }
  return nullptr;
}

// Nothing where a key is no number of the next member.
std::vector<ValueRef> ChainIn(ValueRef candidate) {
  std::vector<ValueRef> chain;
  const auto* pairs = Pairs(candidate);
  for (size_t i = 0; pairs != nullptr && i + 1 < pairs->size(); i += 2) {
    const ValueRef member = OptimizerIn((*pairs)[i + 1]);
    if ((*pairs)[i]->kind != Kind::kInt || (*pairs)[i]->integer != static_cast<int64_t>(i / 2) || member == nullptr)
      return {};
    chain.push_back(member);
  }
  return chain;
}

}  // namespace

ValueRef NewString(ValueGraph& graph, std::string_view text) {
  const ValueRef node = graph.New(Kind::kString);
  node->text = text;
  return node;
}

ValueRef NewInt(ValueGraph& graph, int64_t number) {
  const ValueRef node = graph.New(Kind::kInt);
  node->integer = number;
  return node;
}

ValueRef NewFloat(ValueGraph& graph, double number) {
  const ValueRef node = graph.New(Kind::kFloat);
  node->real = number;
  return node;
}

ValueRef NewBool(ValueGraph& graph, bool value) {
  const ValueRef node = graph.New(Kind::kBool);
  node->integer = value ? 1 : 0;
  return node;
}

ValueRef NewTensor(ValueGraph& graph, Tensor tensor) {
  const ValueRef node = graph.New(Kind::kTensor);
  node->tensor = std::make_unique<Tensor>(std::move(tensor));
  return node;
}

ValueRef NewGlobal(ValueGraph& graph, std::string_view name) {
  const ValueRef node = graph.New(Kind::kGlobal);
  node->text = name;
  return node;
}

ValueRef NewTuple(ValueGraph& graph, ValueList items) {
  const ValueRef node = graph.New(Kind::kTuple);
  node->items = std::move(items);
  return node;
}

ValueRef NewCall(ValueGraph& graph, std::string_view function, ValueList arguments) {
  const ValueRef node = graph.New(Kind::kObject);
  node->callable = NewGlobal(graph, function);
  node->items = std::move(arguments);
  return node;
}

ValueRef NewObject(ValueGraph& graph, std::string_view cls, ValueRef state) {
  const ValueRef node = graph.New(Kind::kObject);
  node->is_new = true;
  node->callable = NewGlobal(graph, cls);
  node->state = state;
  return node;
}

ValueList* Pairs(ValueRef node) {
  if (node == nullptr) return nullptr;
  if (node->kind == Kind::kDict) return &node->items;
  return DictEntries(*node) != nullptr ? &node->entries : nullptr;
}

void SetKey(ValueGraph& graph, ValueRef dict, std::string_view key, ValueRef value) {
  ValueList* pairs = Pairs(dict);
  pairs->push_back(NewString(graph, key));
  pairs->push_back(value);
}

void PutKey(ValueGraph& graph, ValueRef dict, std::string_view key, ValueRef value) {
  ValueList& pairs = *Pairs(dict);
  if (const size_t at = IndexOf(pairs, key); at < pairs.size()) {
    pairs[at + 1] = value;
  } else {
    SetKey(graph, dict, key, value);
  }
}

void DropKey(ValueRef dict, std::string_view key) {
  ValueList& pairs = *Pairs(dict);
  const auto at = pairs.begin() + static_cast<ptrdiff_t>(IndexOf(pairs, key));
  if (at != pairs.end()) pairs.erase(at, at + 2);
}

ValueRef Child(ValueGraph& graph, ValueRef dict, std::string_view key) {
  if (const ValueRef found = Lookup(*dict, key); Pairs(found) != nullptr) return found;
  const ValueRef made = graph.New(Kind::kDict);
  SetKey(graph, dict, key, made);
  return made;
}

ValueRef CopyValue(ValueRef from, ValueGraph& graph, const std::unordered_set<ValueRef>& without) {
  std::unordered_map<ValueRef, ValueRef> copies;
  std::vector<ValueRef> todo;
  const auto copy = [&](ValueRef node) -> ValueRef {
    if (node == nullptr) return nullptr;
    const auto [it, added] = copies.emplace(node, nullptr);
    if (added) {
      it->second = graph.New(node->kind);
      todo.push_back(node);
    }
    return it->second;
  };
  const ValueRef root = copy(from);
  while (!todo.empty()) {
    const ValueNode& node = *todo.back();
    const ValueRef into = copies[todo.back()];
    todo.pop_back();
    into->is_new = node.is_new;
    into->integer = node.integer;
    into->text = node.text;
    if (node.tensor) into->tensor = std::make_unique<Tensor>(*node.tensor);
    into->callable = copy(node.callable);
    into->state = copy(node.state);
    for (const ValueRef item : node.appended) into->appended.push_back(copy(item));
    const bool dict = node.kind == Kind::kDict;
    if (!dict) {
      for (const ValueRef item : node.items) into->items.push_back(copy(item));
    }
    const ValueList& pairs = dict ? node.items : node.entries;
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      if (without.contains(pairs[i + 1])) continue;
      for (const ValueRef part : {pairs[i], pairs[i + 1]}) (dict ? into->items : into->entries).push_back(copy(part));
    }
  }
  return root;
}

ValueRef FirstOf(ValueRef node) {
  if (node == nullptr) return nullptr;
  if (node->kind == Kind::kList || node->kind == Kind::kTuple) return node->items.empty() ? nullptr : node->items[0];
  if (const auto* pairs = Pairs(node)) {
    for (size_t i = 0; i + 1 < pairs->size(); i += 2) {
      if ((*pairs)[i]->kind == Kind::kInt && (*pairs)[i]->integer == 0) return (*pairs)[i + 1];
    }
  }
  return nullptr;
}

std::vector<ValueRef> FindOptimizers(ValueRef root) {
  for (const std::string_view key : {"optimizer_states", "optimizer"}) {
    const ValueRef list = Lookup(*root, key);
    for (const ValueRef candidate : {list, FirstOf(list)}) {
      if (const ValueRef dict = OptimizerIn(candidate); dict != nullptr) return {dict};
      std::vector<ValueRef> chain = ChainIn(candidate);
      if (chain.size() > 1) return chain;
    }
  }
  return {};
}

bool IsByName(ValueRef state) {
  const auto* pairs = Pairs(state);
  if (pairs == nullptr || pairs->empty()) return false;
  for (size_t i = 0; i + 1 < pairs->size(); i += 2) {
    if ((*pairs)[i]->kind != Kind::kString) return false;
  }
  return true;
}

}  // namespace anemone
