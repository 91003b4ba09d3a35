// Values as one-line text for tests, and equality of graphs: same kinds, contents and sharing.
#ifndef ANEMONE_TESTS_UNIT_CONTAINER_SHOW_H_
#define ANEMONE_TESTS_UNIT_CONTAINER_SHOW_H_

#include <cstdio>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "anemone/value.h"

namespace anemone::testing {

// repr-like: calls as name(args){state}[appended]<entries>, NEWOBJ with "new ", a node inside itself as "...".
inline std::string Show(const ValueNode* node, std::set<const ValueNode*> open = {}) {
  using Kind = ValueNode::Kind;
  if (node == nullptr) return "null";
  if (!open.insert(node).second) return "...";
  const auto list = [&](const ValueList& items, size_t step) {
    std::string text;
    for (size_t i = 0; i < items.size(); i += step) {
      text += (i == 0 ? "" : ", ") + Show(items[i], open);
      if (step == 2) text += ": " + Show(items[i + 1], open);
    }
    return text;
  };
  switch (node->kind) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return node->integer != 0 ? "True" : "False";
    case Kind::kInt:
      return std::to_string(node->integer);
    case Kind::kBigInt:
      return node->text;
    case Kind::kFloat: {
      char text[32];
      std::snprintf(text, sizeof text, "%.17g", node->real);
      return text + std::string("f");
    }
    case Kind::kString:
      return "'" + node->text + "'";
    case Kind::kBytes:
      return (node->integer != 0 ? "bytearray'" : "b'") + node->text + "'";
    case Kind::kList:
      return "[" + list(node->items, 1) + "]";
    case Kind::kTuple:
      return "(" + list(node->items, 1) + ")";
    case Kind::kSet:
      return (node->integer != 0 ? "frozenset{" : "set{") + list(node->items, 1) + "}";
    case Kind::kDict:
      return "{" + list(node->items, 2) + "}";
    case Kind::kGlobal:
      return node->text;
    case Kind::kPersistent:
      return "pid " + Show(node->items[0], open);
    case Kind::kTensor:
      return "tensor";
    case Kind::kObject:
      break;
  }
  std::string text = (node->is_new ? "new " : "") + Show(node->callable, open) + "(" + list(node->items, 1) + ")";
  if (node->state != nullptr) text += "{" + Show(node->state, open) + "}";
  if (!node->appended.empty()) text += "[" + list(node->appended, 1) + "]";
  if (!node->entries.empty()) text += "<" + list(node->entries, 2) + ">";
  return text;
}

// "module Outer.Inner", a global, as the writer calls it: getattr(Outer, "Inner"), of the text that is written.
inline std::string InnerClassName(const ValueNode* node) {
  std::string inner;
  while (node->kind == ValueNode::Kind::kObject && node->callable->text == "builtins getattr") {
    inner = "." + node->items[1]->text + inner;
    node = node->items[0];
  }
  return node->kind == ValueNode::Kind::kGlobal ? node->text + inner : "";
}

// True when the two graphs say the same: node for node, with the same nodes shared wherever sharing can be seen
// (mutable containers and objects). Does not recurse; cycles are fine.
inline bool SameValue(const ValueNode* a_root, const ValueNode* b_root) {
  using Kind = ValueNode::Kind;
  std::unordered_map<const ValueNode*, const ValueNode*> partner, back;
  std::vector<std::pair<const ValueNode*, const ValueNode*>> todo = {{a_root, b_root}};
  while (!todo.empty()) {
    const auto [a, b] = todo.back();
    todo.pop_back();
    if ((a == nullptr) != (b == nullptr)) return false;
    if (a == nullptr) continue;
    if (a->kind == Kind::kGlobal && b->kind == Kind::kObject && a->text == InnerClassName(b)) continue;
    const bool identity = a->kind == Kind::kList || a->kind == Kind::kDict || a->kind == Kind::kObject ||
                          a->kind == Kind::kTuple || a->kind == Kind::kSet || a->kind == Kind::kPersistent;
    if (identity) {
      const bool seen = !partner.emplace(a, b).second, seen_back = !back.emplace(b, a).second;
      const bool shared_matters = !(a->kind == Kind::kTuple && a->items.empty());
      if (shared_matters && (partner[a] != b || back[b] != a)) return false;
      if (seen && seen_back) continue;
    }
    const bool is_object = a->kind == Kind::kObject;
    // Of a global, whether it was called: calls whose result the pickle drops are not written.
    const bool same_integer = a->integer == b->integer || a->kind == Kind::kGlobal;  // or the bits of a float
    if (a->kind != b->kind || !same_integer || a->text != b->text || a->is_new != b->is_new ||
        a->items.size() != b->items.size() || a->appended.size() != b->appended.size() ||
        a->entries.size() != b->entries.size()) {
      return false;
    }
    for (size_t i = 0; i < a->items.size(); ++i) todo.emplace_back(a->items[i], b->items[i]);
    for (size_t i = 0; i < a->appended.size(); ++i) todo.emplace_back(a->appended[i], b->appended[i]);
    for (size_t i = 0; i < a->entries.size(); ++i) todo.emplace_back(a->entries[i], b->entries[i]);
    if (is_object) todo.emplace_back(a->callable, b->callable), todo.emplace_back(a->state, b->state);
  }
  return true;
}

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_UNIT_CONTAINER_SHOW_H_
