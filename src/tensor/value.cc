#include "anemone/value.h"

namespace anemone {

bool IsGlobal(const ValueNode& node, std::string_view module_and_name) {
  return node.kind == ValueNode::Kind::kGlobal && node.text == module_and_name;
}

bool IsCall(const ValueNode& node, std::string_view module_and_name) {
  return node.kind == ValueNode::Kind::kObject && node.callable != nullptr && IsGlobal(*node.callable, module_and_name);
}

const std::vector<ValueRef>* DictEntries(const ValueNode& node) {
  if (node.kind == ValueNode::Kind::kDict) return &node.items;
  if (node.kind != ValueNode::Kind::kObject) return nullptr;
  if (!node.entries.empty()) return &node.entries;
  // One that holds nothing is recognised by its class.
  for (std::string_view name : {"collections OrderedDict", "collections defaultdict", "collections Counter"}) {
    if (IsCall(node, name)) return &node.entries;
  }
  if (node.callable == nullptr) return nullptr;
  const std::string& name = node.callable->text;
  constexpr std::string_view kAttributeDict = "AttributeDict";
  return name.ends_with(kAttributeDict) ? &node.entries : nullptr;
}

ValueRef Lookup(const ValueNode& node, std::string_view key) {
  const std::vector<ValueRef>* entries = DictEntries(node);
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
      return node->callable != nullptr ? std::string_view(node->callable->text) : "an object";
    case ValueNode::Kind::kPersistent:
      return "a storage";
    case ValueNode::Kind::kTensor:
      return "a tensor";
  }
  return "something else";
}

}  // namespace anemone
