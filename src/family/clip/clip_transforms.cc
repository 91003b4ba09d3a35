#include "family/clip/clip_transforms.h"

#include <array>

#include "schema/table.h"

namespace anemone {
namespace {

Result<Tensor> FromPatchLinear(const Parts& parts, const Shape& canonical, const TransformContext&) {
  ANEMONE_ASSIGN(const Tensor cube, parts.front().Reshape({canonical[0], canonical[2], canonical[3], canonical[1]}));
  return cube.Permute({0, 3, 1, 2});
}
Result<Parts> ToPatchLinear(const Tensor& tensor, const std::vector<Shape>& stored, const TransformContext&) {
  ANEMONE_ASSIGN(const Tensor last, tensor.Permute({0, 2, 3, 1}));
  ANEMONE_ASSIGN(Tensor flat, last.Reshape(stored.front()));
  return Parts{std::move(flat)};
}
Result<std::vector<Shape>> LinearShape(const Shape& canonical, size_t, const TransformContext&) {
  return std::vector<Shape>{Shape{canonical[0], canonical[1] * canonical[2] * canonical[3]}};
}

// [first; second] of `heads` blocks each ↔ block by block (keys and values of an attention that reads another
// sequence).
Result<Tensor> InterleavePairs(const Tensor& stacked, uint64_t heads, bool inverse) {
  const Shape& shape = stacked.shape();
  ANEMONE_ASSIGN(const uint64_t d, HeadDim(shape[0], 2 * heads));
  Shape blocks(shape.begin() + 1, shape.end());
  const std::array<uint64_t, 3> lead = inverse ? std::array{heads, uint64_t{2}, d} : std::array{uint64_t{2}, heads, d};
  blocks.insert(blocks.begin(), lead.begin(), lead.end());
  ANEMONE_ASSIGN(const Tensor grouped, stacked.Reshape(blocks));
  std::vector<size_t> order(blocks.size());
  for (size_t axis = 0; axis < order.size(); ++axis) order[axis] = axis;
  std::swap(order[0], order[1]);
  ANEMONE_ASSIGN(const Tensor swapped, grouped.Permute(order));
  return swapped.Reshape(shape);
}

Result<Tensor> FromQueryKeyValue(const Parts& parts, const Shape&, const TransformContext& context) {
  ANEMONE_ASSIGN(const AttentionHeads heads, HeadsOf(context));
  ANEMONE_ASSIGN(Tensor pairs, InterleavePairs(parts[1], heads.heads, /*inverse=*/true));
  return Tensor::Concat({parts[0], std::move(pairs)}, 0);
}
Result<Parts> ToQueryKeyValue(const Tensor& tensor, const std::vector<Shape>& stored, const TransformContext& context) {
  ANEMONE_ASSIGN(const AttentionHeads heads, HeadsOf(context));
  ANEMONE_ASSIGN(Parts parts, Unstack(tensor, stored, context));
  ANEMONE_ASSIGN(parts[1], InterleavePairs(parts[1], heads.heads, /*inverse=*/false));
  return parts;
}
Result<std::vector<Shape>> OneThirdTwoThirds(const Shape& canonical, size_t, const TransformContext&) {
  std::vector<Shape> shapes(2, canonical);
  shapes[0][0] = canonical[0] / 3;
  shapes[1][0] = canonical[0] - shapes[0][0];
  return shapes;
}

}  // namespace

const Transform kPatchLinear = {"linear patch projection", FromPatchLinear, ToPatchLinear, LinearShape};
const Transform kQueryKeyValue = {"q; k and v interleaved by head",
                                  FromQueryKeyValue,
                                  ToQueryKeyValue,
                                  OneThirdTwoThirds,
                                  true,
                                  nullptr,
                                  {"heads", "groups"}};

}  // namespace anemone
