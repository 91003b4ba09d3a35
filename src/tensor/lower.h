// Lowering: from a tensor's expression to strided copies, a window at a time. A plan keeps expressions only; the copies
// of a window are made when it is filled and forgotten after, so memory follows the window, never the tensor.
#ifndef ANEMONE_TENSOR_LOWER_H_
#define ANEMONE_TENSOR_LOWER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "anemone/status.h"
#include "anemone/tensor.h"
#include "tensor/node.h"

namespace anemone::internal {

struct Loop {
  uint64_t count = 0;
  uint64_t from = 0;  // bytes between iterations in the source
  uint64_t to = 0;    // … and in the destination
};

// Items of `item_bytes` from `offset` of a leaf's source to `to` of the destination, over nested loops.
struct Copy {
  const TensorNode* leaf = nullptr;  // kStrided or kFill
  uint64_t from = 0;                 // byte of the leaf's source
  uint64_t to = 0;                   // byte of the destination
  uint64_t item_bytes = 0;
  std::vector<Loop> loops;  // outermost first; none has count 0 or 1
};

// Where a box of a node goes: its first element at byte `offset`, axis i moving by strides[i] bytes.
struct Placement {
  uint64_t offset = 0;
  std::vector<uint64_t> strides;
};

// Receives what a box lowers to. Copies and computed boxes write disjoint destinations, in any order.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual Status OnCopy(Copy copy) = 0;
  // `node` is kCast, kAverage, kProduct or kScaled: its elements must be computed.
  virtual Status OnCompute(const TensorNode& node, const Box& box, const Placement& to) = 0;
};

Status Lower(const TensorNode& node, const Box& box, const Placement& to, Sink& sink);

// All elements of such a shape.
Box WholeBox(const Shape& shape);

// Splits elements [begin, end) of `shape`, in C order, into at most 2 · rank - 1 boxes, in order.
// `visit(box, first)`: the box's elements are [first, …) of the range's linear order. REQUIRES: begin <= end <=
// elements.
Status ForEachBox(const Shape& shape, uint64_t begin, uint64_t end,
                  const std::function<Status(const Box& box, uint64_t first)>& visit);

// Strides in units of `item` of a dense array of `lengths` in C order.
std::vector<uint64_t> DenseStrides(const std::vector<uint64_t>& lengths, uint64_t item);

// How axes of `in` and `out`, shapes of equal non-zero element count, fall into smallest groups of equal product.
std::vector<AxisGroup> GroupAxes(const Shape& in, const Shape& out);

}  // namespace anemone::internal

#endif  // ANEMONE_TENSOR_LOWER_H_
