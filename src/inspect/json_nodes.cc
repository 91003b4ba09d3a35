#include "inspect/json_nodes.h"

#include <string>
#include <utility>

#include "config/nodes.h"

namespace anemone {

ConfigNode SizesNode(std::span<const uint64_t> values) {
  ConfigNode list = ConfigNode::List();
  for (const uint64_t value : values) list.list.push_back(SizeNode(value));
  return list;
}

ConfigNode LayoutNode(const Layout& layout) {
  ConfigNode node = ConfigNode::Map();
  node["tp"] = ConfigNode::Int(layout.tp);
  node["pp"] = ConfigNode::Int(layout.pp);
  node["vp"] = ConfigNode::Int(layout.vp);
  if (layout.ep > 1) node["ep"] = ConfigNode::Int(layout.ep);
  return node;
}

ConfigNode ArtifactsNode(const Checkpoint& checkpoint) {
  ConfigNode list = ConfigNode::List();
  for (const Artifact& artifact : checkpoint.artifacts) {
    ConfigNode node = ConfigNode::Map();
    node["name"] = ConfigNode::String(artifact.name);
    node["bytes"] = SizeNode(artifact.content.size);
    list.list.push_back(std::move(node));
  }
  return list;
}

ConfigNode TensorDifferenceNode(const TensorDifference& difference) {
  ConfigNode node = ConfigNode::Map();
  node["name"] = ConfigNode::String(difference.name);
  node["kind"] = TextNode(Name(difference.kind));
  node["first"] = ConfigNode::String(difference.first);
  node["second"] = ConfigNode::String(difference.second);
  node["elements"] = SizeNode(difference.elements);
  return node;
}

ConfigNode TextDifferencesNode(const std::vector<TextDifference>& differences) {
  ConfigNode list = ConfigNode::List();
  for (const TextDifference& difference : differences) {
    ConfigNode node = ConfigNode::Map();
    node["path"] = ConfigNode::String(difference.path);
    node["first"] = ConfigNode::String(difference.first);
    node["second"] = ConfigNode::String(difference.second);
    list.list.push_back(std::move(node));
  }
  return list;
}

ConfigNode DifferenceNode(const Difference& difference) {
  ConfigNode node = ConfigNode::Map();
  node["equal"] = ConfigNode::Bool(difference.empty());
  node["tensors_compared"] = SizeNode(difference.tensors_compared);
  ConfigNode& tensors = node["tensors"] = ConfigNode::List();
  for (const TensorDifference& d : difference.tensors) {
    ConfigNode entry = TensorDifferenceNode(d);
    entry["max_abs"] = ConfigNode::Float(d.max_abs);
    tensors.list.push_back(std::move(entry));
  }
  node["config"] = TextDifferencesNode(difference.config);
  node["artifacts"] = TextDifferencesNode(difference.artifacts);
  return node;
}

void AddAmount(const Summary::Amount& amount, ConfigNode* map) {
  (*map)["tensors"] = SizeNode(amount.tensors);
  (*map)["parameters"] = SizeNode(amount.elements);
  (*map)["bytes"] = SizeNode(amount.bytes);
}

ConfigNode PartsNode(const Summary& summary) {
  ConfigNode node = ConfigNode::Map();
  for (const Summary::Part& part : summary.parts) {
    ConfigNode& entry = node[part.name] = ConfigNode::Map();
    AddAmount(part.amount, &entry);
    if (!part.from.empty()) entry["from"] = ConfigNode::String(part.from);
  }
  return node;
}

}  // namespace anemone
