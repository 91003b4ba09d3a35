#include "tensor/same.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace anemone {
namespace {

constexpr uint64_t kCompareWindowElements = uint64_t{1} << 18;

bool SamePlace(const Tensor& a, const Tensor& b) {
  const auto x = a.AsByteRange(), y = b.AsByteRange();
  return x && y && x->source == y->source && x->offset == y->offset && x->size == y->size;
}

}  // namespace

Result<bool> SameBytes(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  if (&a.node() == &b.node() || SamePlace(a, b)) return true;
  const uint64_t total = a.num_elements();
  ANEMONE_ASSIGN(const Tensor x, a.Reshape({total}));
  ANEMONE_ASSIGN(const Tensor y, b.Reshape({total}));
  for (uint64_t at = 0; at < total; at += kCompareWindowElements) {
    const uint64_t count = std::min(kCompareWindowElements, total - at);
    ANEMONE_ASSIGN(const Tensor xs, x.Narrow(0, at, count));
    ANEMONE_ASSIGN(const Tensor ys, y.Narrow(0, at, count));
    ANEMONE_ASSIGN(const std::string left, xs.Read());
    ANEMONE_ASSIGN(const std::string right, ys.Read());
    if (left != right) return false;
  }
  return true;
}

Result<bool> IsZero(const Tensor& tensor) {
  ANEMONE_ASSIGN(const Tensor zeros, Tensor::Fill(tensor.dtype(), tensor.shape(), 0));
  return SameBytes(tensor, zeros);
}

Result<bool> CountsUp(const Tensor& tensor) {
  const uint64_t total = tensor.num_elements();
  ANEMONE_ASSIGN(const Tensor flat, tensor.Reshape({total}));
  ANEMONE_ASSIGN(const Tensor numbers, flat.Cast(DType::kF64));
  for (uint64_t at = 0; at < total; at += kCompareWindowElements) {
    const uint64_t count = std::min(kCompareWindowElements, total - at);
    ANEMONE_ASSIGN(const Tensor window, numbers.Narrow(0, at, count));
    ANEMONE_ASSIGN(const std::string bytes, window.Read());
    for (uint64_t i = 0; i < count; ++i) {
      double value = 0;
      std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
      if (value != static_cast<double>(at + i)) return false;
    }
  }
  return true;
}

}  // namespace anemone
