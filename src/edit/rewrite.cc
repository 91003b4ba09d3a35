#include "edit/rewrite.h"

#include <utility>

namespace anemone {
namespace {

Status RewriteState(std::optional<DType> dtype, bool keeps_extra_state, StateDict* state) {
  StateDict result;
  for (const StateDict::Item& item : state->items()) {
    const Tensor* tensor = item.tensor();
    if (tensor == nullptr) {
      if (keeps_extra_state) ANEMONE_TRY(result.Add(item.name, item.entry));
    } else if (dtype && IsFloating(tensor->dtype())) {
      ANEMONE_ASSIGN(Tensor cast, tensor->Cast(*dtype));
      ANEMONE_TRY(result.Add(item.name, std::move(cast)));
    } else {
      ANEMONE_TRY(result.Add(item.name, *tensor));
    }
  }
  *state = std::move(result);
  return {};
}

}  // namespace

bool IsFloating(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

Status Rewrite(std::optional<DType> dtype, bool keeps_extra_state, Checkpoint* checkpoint) {
  for (Shard& shard : checkpoint->shards) {
    ANEMONE_TRY(RewriteState(dtype, keeps_extra_state, &shard.weights));
    for (StateDict& chunk : shard.chunks) ANEMONE_TRY(RewriteState(dtype, keeps_extra_state, &chunk));
  }
  return {};
}

}  // namespace anemone
