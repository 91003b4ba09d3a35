#include "tensor/product.h"

#include <memory>
#include <utility>

#include "tensor/cast.h"
#include "tensor/node.h"

namespace anemone {
namespace {

using internal::TensorNode;

bool IsReal(const Tensor& tensor) {
  return internal::IsFloat(tensor.dtype()) && internal::CanCast(tensor.dtype(), DType::kF64) &&
         internal::CanCast(DType::kF64, tensor.dtype());
}

Status DoNotFit(std::string_view what, const Tensor& a, const Tensor& b) {
  return InvalidArgument(std::string("no ") + std::string(what) + " of " + std::string(Name(a.dtype())) + " " +
                         ToString(a.shape()) + " and " + std::string(Name(b.dtype())) + " " + ToString(b.shape()));
}

}  // namespace

Result<Tensor> Product(const Tensor& a, const Tensor& b, double factor) {
  const bool fits =
      IsReal(a) && IsReal(b) && a.shape().size() == 2 && b.shape().size() == 2 && a.shape()[1] == b.shape()[0];
  if (!fits) return DoNotFit("product", a, b);
  ANEMONE_ASSIGN(const Tensor left, a.Cast(DType::kF64));
  ANEMONE_ASSIGN(const Tensor right, b.Cast(DType::kF64));
  ANEMONE_ASSIGN(const Tensor zeros, Tensor::Fill(DType::kF64, {a.shape()[0], b.shape()[1]}, 0));
  TensorNode node = zeros.node().Like(TensorNode::Kind::kProduct);
  node.op().children = {TensorNode::Of(left), TensorNode::Of(right)};
  node.op().number = factor;
  return TensorNode::Wrap(std::make_shared<const TensorNode>(std::move(node)));
}

Result<Tensor> Scaled(const Tensor& matrix, const Tensor& scales, uint64_t rows, uint64_t columns) {
  const auto blocks = [](uint64_t size, uint64_t block) { return size / block + (size % block == 0 ? 0 : 1); };
  const bool fits = IsReal(matrix) && IsReal(scales) && matrix.shape().size() == 2 && rows > 0 && columns > 0 &&
                    scales.shape() == Shape{blocks(matrix.shape()[0], rows), blocks(matrix.shape()[1], columns)};
  if (!fits) return DoNotFit("product by blocks", matrix, scales);
  ANEMONE_ASSIGN(const Tensor values, matrix.Cast(DType::kF32));
  ANEMONE_ASSIGN(const Tensor factors, scales.Cast(DType::kF32));
  ANEMONE_ASSIGN(const Tensor zeros, Tensor::Fill(DType::kF32, matrix.shape(), 0));
  TensorNode node = zeros.node().Like(TensorNode::Kind::kScaled);
  node.op().children = {TensorNode::Of(values), TensorNode::Of(factors)};
  node.op().numbers = {rows, columns};
  return TensorNode::Wrap(std::make_shared<const TensorNode>(std::move(node)));
}

Result<Tensor> Sum(const Tensor& a, const Tensor& b) {
  if (!IsReal(a) || !IsReal(b) || a.shape() != b.shape()) return DoNotFit("sum", a, b);
  ANEMONE_ASSIGN(const Tensor left, a.Cast(DType::kF64));
  ANEMONE_ASSIGN(const Tensor right, b.Cast(DType::kF64));
  TensorNode node = left.node().Like(TensorNode::Kind::kAverage);
  node.op().children = {TensorNode::Of(left), TensorNode::Of(right)};
  return TensorNode::Wrap(std::make_shared<const TensorNode>(std::move(node))).Cast(a.dtype());
}

}  // namespace anemone
