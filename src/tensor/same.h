// Whether tensors hold the same bytes.
#ifndef ANEMONE_TENSOR_SAME_H_
#define ANEMONE_TENSOR_SAME_H_

#include "anemone/status.h"
#include "anemone/tensor.h"

namespace anemone {

// Equal in dtype, shape and every byte; read window by window, unless both are one tensor, or the same place of
// the same file.
Result<bool> SameBytes(const Tensor& a, const Tensor& b);
// Every byte is that of a zero.
Result<bool> IsZero(const Tensor& tensor);
// The elements are 0, 1, 2, … in C order, whatever their dtype.
Result<bool> CountsUp(const Tensor& tensor);

}  // namespace anemone

#endif  // ANEMONE_TENSOR_SAME_H_
