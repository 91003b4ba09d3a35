// Sums and products of tensors: for adapters of low rank that become part of the weights they adapt, and for weights
// that are stored with a scale for each block.
#ifndef ANEMONE_TENSOR_PRODUCT_H_
#define ANEMONE_TENSOR_PRODUCT_H_

#include <cstdint>

#include "anemone/status.h"
#include "anemone/tensor.h"

namespace anemone {

// a · b · factor of two matrices [n, r] and [r, m], in double. Errors: InvalidArgument for shapes or dtypes that do not
// fit.
Result<Tensor> Product(const Tensor& a, const Tensor& b, double factor);
// A matrix times a number for each block of `rows` by `columns` of its elements, in fp32; the last blocks may be cut
// off. Errors: InvalidArgument for shapes or dtypes that do not fit.
Result<Tensor> Scaled(const Tensor& matrix, const Tensor& scales, uint64_t rows, uint64_t columns);
// a + b of one shape, summed in double and rounded once, to a's dtype. Errors: as Product.
Result<Tensor> Sum(const Tensor& a, const Tensor& b);

}  // namespace anemone

#endif  // ANEMONE_TENSOR_PRODUCT_H_
