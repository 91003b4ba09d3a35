// Tensor: an immutable, lazy value. A dtype, a shape, and an expression over byte ranges of files.
//
// Composing never touches data and never reads. Copying is cheap (one shared node). Every operation checks its
// arguments and answers InvalidArgument when shapes do not fit. Elements are little-endian and C-ordered wherever bytes
// are seen.
//
// Threads:  immutable; everything const may run concurrently.
// Cost:     an operation allocates one node. Reading goes through Read (small tensors, tests) or through the engine,
//           which fills windows of an output with Fill (src/tensor/lower.h).
#ifndef ANEMONE_TENSOR_H_
#define ANEMONE_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/dtype.h"
#include "anemone/status.h"

namespace anemone {

using Shape = std::vector<uint64_t>;  // sizes in elements, outermost axis first; {} is a scalar

// The product of the sizes (1 for a scalar). nullopt when it overflows 64 bits.
std::optional<uint64_t> NumElements(const Shape& shape);
std::string ToString(const Shape& shape);  // "[2, 3]"

namespace internal {
struct TensorNode;
}

class Tensor {
 public:
  // A tensor that lies in `source` from `offset_bytes`: element (i0, i1, …) at offset + Σ i·stride elements. Strides
  // are in elements and may be 0 (broadcast) or out of order (transposed); empty `strides` means contiguous. Errors:
  // Corrupt when an element would lie outside the source; InvalidArgument when ranks differ or sizes overflow.
  static Result<Tensor> FromFile(DType dtype, Shape shape, ByteSourcePtr source, uint64_t offset_bytes,
                                 std::vector<uint64_t> strides = {});
  // `bytes` holds the elements, little-endian, C order.
  static Result<Tensor> FromBytes(DType dtype, Shape shape, std::string bytes);
  // Every element has this value (converted to `dtype` as Cast does). 0 for zero rows of padding.
  static Result<Tensor> Fill(DType dtype, Shape shape, double value);

  // Indices [start, start + length) of `axis`.
  Result<Tensor> Narrow(size_t axis, uint64_t start, uint64_t length) const;
  // Parts side by side along `axis`. All share dtype and every other size. REQUIRES at least one part.
  static Result<Tensor> Concat(std::vector<Tensor> parts, size_t axis);
  // A tensor of `shape` tiled by `parts`, each at `offsets` (one per axis). Errors: InvalidArgument unless every
  // element is covered exactly once.
  struct Tile;
  static Result<Tensor> Assemble(Shape shape, std::vector<Tile> tiles);
  // Axis i of the result is axis order[i] of this.
  Result<Tensor> Permute(std::vector<size_t> order) const;
  // The same elements in C order under another shape of equal element count.
  Result<Tensor> Reshape(Shape shape) const;
  // `before` and `after` elements of `value` along `axis`.
  Result<Tensor> Pad(size_t axis, uint64_t before, uint64_t after, double value = 0) const;
  // Elements converted: round to nearest even, overflow to infinity for floats, saturation and NaN→0 for integers.
  // To the same dtype it is the tensor itself.
  Result<Tensor> Cast(DType dtype) const;
  // The element-wise mean, summed in double, of tensors of one shape and floating dtype.
  static Result<Tensor> Average(std::vector<Tensor> parts);
  // `value` added to every element, in double, and rounded to the dtype. Errors: InvalidArgument unless that is a
  // floating one.
  Result<Tensor> Plus(double value) const;

  DType dtype() const;
  const Shape& shape() const;
  uint64_t num_elements() const;
  uint64_t size_bytes() const;

  // If the bytes of this tensor, in order, are one untouched range of one source: that range. Then it can be moved by
  // the kernel or viewed without a copy.
  std::optional<ByteRange> AsByteRange() const;

  // Reads everything into memory. Errors: LimitExceeded above `limit_bytes`; Io, Corrupt from the sources.
  Result<std::string> Read(uint64_t limit_bytes = uint64_t{1} << 32) const;

  const internal::TensorNode& node() const { return *node_; }

 private:
  explicit Tensor(std::shared_ptr<const internal::TensorNode> node) : node_(std::move(node)) {}
  friend struct internal::TensorNode;
  std::shared_ptr<const internal::TensorNode> node_;
};

struct Tensor::Tile {
  std::vector<uint64_t> offsets;
  Tensor tensor;
};

}  // namespace anemone

#endif  // ANEMONE_TENSOR_H_
