#include "ops/summary.h"

#include "family/family.h"

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
      ++amount->tensors;
      amount->elements += tensor->num_elements();
      amount->bytes += tensor->size_bytes();
    }
  }
}

}  // namespace

Summary Summarize(const Checkpoint& checkpoint) {
  Summary summary;
  for (const Shard& shard : checkpoint.shards) {
    Count(shard.weights, summary);
    for (const StateDict& chunk : shard.chunks) Count(chunk, summary);
    summary.has_training_state |= shard.training.has_value();
  }
  if (const Family* family = DetectFamily(checkpoint)) {
    summary.family = family->name;
    if (const Result<const Dialect*> dialect = DetectDialect(checkpoint, *family); dialect.ok()) {
      summary.dialect = (*dialect)->name;
    }
  }
  return summary;
}

}  // namespace anemone
