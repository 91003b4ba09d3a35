#include "engine/sources.h"

#include "tensor/node.h"

namespace anemone {

using internal::NodePtr;
using internal::TensorNode;

void Sources::Add(const ByteSourcePtr& source) {
  if (source != nullptr && seen_.Insert(source.get())) all_.push_back(source.get());
}

void Sources::Add(const Tensor& tensor) {
  std::vector<const TensorNode*> open = {TensorNode::Of(tensor).get()};
  while (!open.empty()) {
    const TensorNode& node = *open.back();
    open.pop_back();
    if (!node.op().children.empty() && !seen_.Insert(&node)) continue;
    Add(node.source);
    for (const NodePtr& child : node.op().children) open.push_back(child.get());
  }
}

void Sources::Add(const PlanFile& file) {
  for (const Segment& segment : file.segments) {
    if (const ByteRange* range = segment.range()) Add(range->source);
    if (const auto* tensor = std::get_if<Tensor>(&segment.content)) Add(*tensor);
  }
}

void Sources::Add(const Checkpoint& checkpoint) {
  checkpoint.ForEachDict([this](const StateDict& dict) {
    for (const StateDict::Item& item : dict.items()) {
      if (item.tensor() != nullptr) Add(*item.tensor());
    }
  });
  for (const Artifact& artifact : checkpoint.artifacts) Add(artifact.content.source);
}

Status Sources::CheckUnchanged() const {
  for (const ByteSource* source : all_) ANEMONE_TRY(source->CheckUnchanged());
  return {};
}

Status CheckUnchanged(const Checkpoint& checkpoint) {
  Sources sources;
  sources.Add(checkpoint);
  return sources.CheckUnchanged();
}

std::vector<const ByteSource*> SourcesOf(const Plan& plan) {
  Sources sources;
  for (const PlanFile& file : plan.files) sources.Add(file);
  return sources.all();
}

}  // namespace anemone
