#include "ops/summary.h"

#include <string_view>

#include "anemone/value.h"
#include "family/family.h"
#include "ops/model_class.h"

namespace anemone {
namespace {

void Count(const StateDict& state, Summary& summary) {
  for (const StateDict::Item& item : state.items()) {
    const Tensor* tensor = item.tensor();
    if (tensor == nullptr) {
      ++summary.opaque;
      continue;
    }
    for (Summary::Amount* amount : {&summary.weights, &summary.by_dtype[tensor->dtype()]}) {
      amount->Add(*tensor);
    }
  }
}

// A starting point for trainers has the keys of a training and nothing under them, or counters at zero.
bool HoldsTrainingState(const Value& training) {
  constexpr std::string_view kKeys[] = {"optimizer_states", "optimizer", "optimizer_state_dict", "lr_schedulers",
                                        "sharded_objects"};
  for (const std::string_view key : kKeys) {
    const ValueNode* node = Lookup(*training.node, key);
    if (node != nullptr && (!node->items.empty() || !node->entries.empty() || !node->appended.empty())) return true;
  }
  const ValueNode* step = Lookup(*training.node, "global_step");
  return step != nullptr && step->kind == ValueNode::Kind::kInt && step->integer > 0;
}

}  // namespace

void Summary::Amount::Add(const Tensor& tensor) {
  ++tensors;
  elements += tensor.num_elements();
  bytes += tensor.size_bytes();
}

Summary Summarize(const Checkpoint& checkpoint) {
  Summary summary;
  for (const Shard& shard : checkpoint.shards) {
    Count(shard.weights, summary);
    for (const StateDict& chunk : shard.chunks) Count(chunk, summary);
    summary.has_training_state |= shard.training && HoldsTrainingState(*shard.training);
  }
  DetectFamily(checkpoint, &summary.foreign);
  if (const Family* family = FamilyOf(checkpoint)) {
    summary.family = family->name;
    if (const Result<const Dialect*> dialect = DetectDialect(checkpoint, *family); dialect.ok()) {
      summary.dialect = (*dialect)->name;
    }
  }
  return summary;
}

}  // namespace anemone
