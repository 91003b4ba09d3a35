// TensorNode: one node of a tensor's expression. Immutable once a Tensor holds it; only tensor.cc makes them.
#ifndef ANEMONE_TENSOR_NODE_H_
#define ANEMONE_TENSOR_NODE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/dtype.h"
#include "anemone/tensor.h"

namespace anemone::internal {

using NodePtr = std::shared_ptr<const TensorNode>;

// An axis-aligned part of a shape.
struct Box {
  std::vector<uint64_t> start;
  std::vector<uint64_t> length;
};

// Axes [in_begin, in_end) of a reshape's child hold the same elements, in the same order, as axes [out_begin, out_end)
// of the result.
struct AxisGroup {
  size_t in_begin, in_end, out_begin, out_end;
};

// A shape and the product of its sizes. A checkpoint of a million tensors has few, so nodes share them.
struct Extent {
  Shape shape;
  uint64_t num_elements = 1;
};
// One that this thread made lately, or a new one.
std::shared_ptr<const Extent> ExtentOf(Shape shape, uint64_t num_elements);

struct TensorNode {
  enum class Kind : uint8_t {
    kStrided,  // source, offset_bytes; numbers: strides in elements, unless they are in C order
    kFill,     // element
    kNarrow,   // children[0]; numbers: its first index on each axis
    kTiles,    // children, sorted along `tile_axis`; numbers: the first index of each on each axis
    kPermute,  // children[0]; numbers: which of its axes each axis is
    kReshape,  // children[0]
    kCast,     // children[0]
    kAverage,  // the sum of children, over `number`
    kProduct,  // children[0] · children[1], matrices in double, times `number`
    kScaled,   // children[0] · children[1] in fp32: one for each block; numbers: the rows and columns of a block
    kPacked,   // children[0]: the bytes of elements that share them
  };
  Kind kind = Kind::kStrided;
  DType dtype = DType::kU8;
  std::shared_ptr<const Extent> extent;
  const Shape& shape() const { return extent->shape; }
  uint64_t num_elements() const { return extent->num_elements; }

  ByteSourcePtr source;
  uint64_t offset_bytes = 0;

  // What is more than a range of a source. A checkpoint has as many ranges as tensors.
  struct Operation {
    std::vector<NodePtr> children;
    std::vector<uint64_t> numbers;           // what they are, the kind tells
    std::array<std::byte, 16> element = {};  // little-endian, SizeBytes(dtype) of them
    double number = 1;
    size_t tile_axis = 0;
    std::vector<uint64_t> tile_ends;  // per tile: the furthest end along tile_axis of it and those before it
  };
  const Operation& op() const {
    static const Operation none;
    return operation == nullptr ? none : *operation;
  }
  Operation& op() {
    if (operation == nullptr) operation = std::make_unique<Operation>();
    return *operation;
  }
  std::unique_ptr<Operation> operation;

  // Another kind of the same elements' type and shape.
  TensorNode Like(Kind other) const {
    TensorNode node;
    node.kind = other;
    node.dtype = dtype;
    node.extent = extent;
    return node;
  }
  std::vector<uint64_t> strides() const;  // of a kStrided
  uint64_t item_bytes() const { return SizeBytes(dtype); }

  static Tensor Wrap(NodePtr node) { return Tensor(std::move(node)); }
  static const NodePtr& Of(const Tensor& tensor) { return tensor.node_; }
};

}  // namespace anemone::internal

#endif  // ANEMONE_TENSOR_NODE_H_
