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

}  // namespace anemone
