// Every state dict of a checkpoint, written anew in another dtype.
#ifndef ANEMONE_EDIT_REWRITE_H_
#define ANEMONE_EDIT_REWRITE_H_

#include <optional>

#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone {

// The dtypes that models compute in: fp64, fp32, fp16, bf16.
bool IsFloating(DType dtype);

// Floating tensors of all ranks and chunks become casts to `dtype`, if there is one; entries that are no tensors
// (`_extra_state`) stay or go. Errors: as Tensor::Cast.
Status Rewrite(std::optional<DType> dtype, bool keeps_extra_state, Checkpoint* checkpoint);

}  // namespace anemone

#endif  // ANEMONE_EDIT_REWRITE_H_
