#include "anemone/value.h"

#include <algorithm>

namespace anemone {

void ValueList::insert(iterator at, const ValueRef* first, const ValueRef* last) {
  const auto offset = static_cast<size_t>(at - begin()), count = static_cast<size_t>(last - first);
  if (count == 0) return;
  Reserve(size() + count);
  std::copy_backward(begin() + offset, end(), end() + count);
  std::copy(first, last, begin() + offset);
  block_->size += count;
}

void ValueList::Reserve(size_t count) {
  if (block_ != nullptr && count <= block_->capacity) return;
  const size_t capacity = block_ == nullptr ? count : std::max(count, 2 * block_->capacity);
  auto* grown = static_cast<Block*>(
      ::operator new(sizeof(Block) + capacity * sizeof(ValueRef)));  // NOLINT(bugprone-sizeof-expression)
  *grown = {size(), capacity};
  std::copy(begin(), end(), Refs(grown));
  ::operator delete(std::exchange(block_, grown));
}

void ValueGraph::FreeParts(ValueNode& node) {
  std::vector<ValueRef> open;
  const auto take = [&](ValueNode& from) {
    for (ValueList* list : {&from.items, &from.appended, &from.entries}) {
      open.insert(open.end(), list->begin(), list->end());
      *list = {};
    }
    for (ValueRef* ref : {&from.callable, &from.state}) open.push_back(std::exchange(*ref, nullptr));
  };
  take(node);
  while (!open.empty()) {
    const ValueRef next = open.back();
    open.pop_back();
    if (next == nullptr || next->is_shared) continue;
    take(*next);
    *next = ValueNode();
    next->callable = std::exchange(free_, next);
  }
}

bool IsGlobal(const ValueNode& node, std::string_view module_and_name) {
  return node.kind == ValueNode::Kind::kGlobal && node.text == module_and_name;
}

bool IsCall(const ValueNode& node, std::string_view module_and_name) {
  return node.kind == ValueNode::Kind::kObject && node.callable != nullptr && IsGlobal(*node.callable, module_and_name);
}

const ValueList* DictEntries(const ValueNode& node) {
  if (node.kind == ValueNode::Kind::kDict) return &node.items;
  if (node.kind != ValueNode::Kind::kObject) return nullptr;
  if (!node.entries.empty()) return &node.entries;
  // One that holds nothing is recognised by its class. Arguments could make entries.
  for (std::string_view name : {"collections OrderedDict", "collections Counter"}) {
    if (IsCall(node, name)) return node.items.empty() ? &node.entries : nullptr;
  }
  if (IsCall(node, "collections defaultdict")) return node.items.size() < 2 ? &node.entries : nullptr;
  if (node.callable == nullptr) return nullptr;
  const std::string& name = node.callable->text;
  constexpr std::string_view kAttributeDict = "AttributeDict";
  return name.ends_with(kAttributeDict) ? &node.entries : nullptr;
}

ValueRef Lookup(const ValueNode& node, std::string_view key) {
  const ValueList* entries = DictEntries(node);
  if (entries == nullptr) return nullptr;
  ValueRef found = nullptr;  // the last one wins, as in Python
  for (size_t i = 0; i + 1 < entries->size(); i += 2) {
    const ValueNode& name = *(*entries)[i];
    if (name.kind == ValueNode::Kind::kString && name.text == key) found = (*entries)[i + 1];
  }
  return found;
}

std::string_view Describe(const ValueNode* node) {
  if (node == nullptr) return "nothing";
  switch (node->kind) {
    case ValueNode::Kind::kNone:
      return "None";
    case ValueNode::Kind::kBool:
      return "a bool";
    case ValueNode::Kind::kInt:
    case ValueNode::Kind::kBigInt:
      return "an int";
    case ValueNode::Kind::kFloat:
      return "a float";
    case ValueNode::Kind::kString:
      return "a string";
    case ValueNode::Kind::kBytes:
      return "bytes";
    case ValueNode::Kind::kList:
      return "a list";
    case ValueNode::Kind::kTuple:
      return "a tuple";
    case ValueNode::Kind::kSet:
      return "a set";
    case ValueNode::Kind::kDict:
      return "a dict";
    case ValueNode::Kind::kGlobal:
      return node->text;
    case ValueNode::Kind::kObject:
      if (node->callable == nullptr) return "an object";
      // An object of a class inside another, getattr(outer, "inner"), is called by the outer one.
      if (node->callable->kind == ValueNode::Kind::kObject && !node->callable->items.empty())
        return node->callable->items[0]->text;
      return node->callable->text;
    case ValueNode::Kind::kPersistent:
      return "a storage";
    case ValueNode::Kind::kTensor:
      return "a tensor";
  }
  return "something else";
}

}  // namespace anemone
