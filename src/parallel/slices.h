// How one tensor is cut over tensor ranks and glued again, and the law that both obey: every element of the whole lies
// on exactly one rank, and comes back from there to its place.
#ifndef ANEMONE_PARALLEL_SLICES_H_
#define ANEMONE_PARALLEL_SLICES_H_

#include <cstddef>
#include <cstdint>
#include <set>
#include <tuple>
#include <vector>

#include "anemone/status.h"
#include "anemone/tensor.h"

namespace anemone {

// The whole → rank `rank` of `tp`. `sections` pieces along `axis` are cut on their own (3 for stacked q, k, v). Errors:
// InvalidArgument where the axis does not divide.
Result<Tensor> Cut(const Tensor& whole, size_t axis, size_t sections, int tp, int rank);
// Rank tensors → the whole.
Result<Tensor> Glue(const std::vector<Tensor>& ranks, size_t axis, size_t sections);

// A matrix in which experts lie one after the other, [first, experts * last] or (`by_rows`) [experts * first, last] ↔
// the cube [experts, first, last].
Result<Tensor> CubeOf(const Tensor& matrix, uint64_t experts, bool by_rows);
Result<Tensor> MatrixOf(const Tensor& cube, bool by_rows);

// Holds Cut and Glue to the law by cutting and gluing the numbers of an axis' elements. Each size is tried once,
// however many tensors have it.
class SliceLaw {
 public:
  // Errors: Internal, naming an element that no rank has, or two, or that comes back elsewhere.
  Status Check(uint64_t size, size_t sections, int tp);

 private:
  std::set<std::tuple<uint64_t, size_t, int>> checked_;
};

// Every number below `size` in exactly one of the ranks' lists. Errors: Internal naming the first that is not.
Status CheckCover(uint64_t size, const std::vector<std::vector<int64_t>>& ranks);

}  // namespace anemone

#endif  // ANEMONE_PARALLEL_SLICES_H_
