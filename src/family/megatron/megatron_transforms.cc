#include "family/megatron/megatron_transforms.h"

#include <fmt/format.h>

#include "schema/table.h"

namespace anemone {
namespace {

Result<bool> IsStacked(const TransformContext& context) {
  return context.symbols.Holds(InTower(context.row.tower, "qkv_stacked"));
}

Result<Tensor> FromMegatron(const Parts& parts, const Shape& canonical, const TransformContext& context) {
  ANEMONE_ASSIGN(const bool is_stacked, IsStacked(context));
  return is_stacked ? FirstPart(parts, canonical, context) : kInterleave.forward(parts, canonical, context);
}
Result<Parts> ToMegatron(const Tensor& tensor, const std::vector<Shape>& stored, const TransformContext& context) {
  ANEMONE_ASSIGN(const bool is_stacked, IsStacked(context));
  return is_stacked ? AsOnePart(tensor, stored, context) : kInterleave.inverse(tensor, stored, context);
}

// An expert's [rows, columns] ↔ its transpose; experts follow each other in both.
Result<Tensor> TransposeExperts(const Tensor& tensor, const Shape& result, uint64_t columns,
                                const TransformContext& context) {
  ANEMONE_ASSIGN(const uint64_t experts, context.symbols.Of(context.row.tower, "experts"));
  const uint64_t size = tensor.num_elements();
  if (experts == 0 || columns == 0 || size % (experts * columns) != 0)
    return Corrupt(
        fmt::format("expected the matrices of {} experts, found shape {}", experts, ToString(tensor.shape())));
  ANEMONE_ASSIGN(const Tensor cube, tensor.Reshape({experts, size / experts / columns, columns}));
  ANEMONE_ASSIGN(const Tensor swapped, cube.Permute({0, 2, 1}));
  return swapped.Reshape(result);
}
Result<Tensor> FromGroupedGemm(const Parts& parts, const Shape& canonical, const TransformContext& context) {
  ANEMONE_ASSIGN(const uint64_t experts, context.symbols.Of(context.row.tower, "experts"));
  const uint64_t rows = experts == 0 ? 0 : canonical[0] / experts;
  return TransposeExperts(parts.front(), canonical, rows, context);
}
Result<Parts> ToGroupedGemm(const Tensor& tensor, const std::vector<Shape>& stored, const TransformContext& context) {
  ANEMONE_ASSIGN(Tensor result, TransposeExperts(tensor, stored.front(), tensor.shape()[1], context));
  return Parts{std::move(result)};
}

}  // namespace

const Transform kMegatronQkv = {
    "interleave by head unless megatron_legacy", FromMegatron, ToMegatron, SameShape, false, nullptr,
    {"heads", "groups", "qkv_stacked"}};
const Transform kGroupedGemm = {"experts transposed", FromGroupedGemm, ToGroupedGemm, GivenShape, false, nullptr,
                                {"experts"}};

}  // namespace anemone
