#include "schema/transform.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/checked.h"
#include "schema/table.h"

namespace anemone {
namespace {

// [q; k; v] → per group: its query heads, its key, its value.
Result<Tensor> InterleaveQkv(const Tensor& stacked, AttentionHeads h) {
  const Shape& shape = stacked.shape();
  ANEMONE_ASSIGN(const uint64_t d, HeadDim(shape[0], h.heads + 2 * h.groups));
  const uint64_t per_group = h.heads / h.groups;
  Parts parts;
  uint64_t start = 0;
  for (const uint64_t heads : {per_group, uint64_t{1}, uint64_t{1}}) {
    const uint64_t rows = heads * h.groups * d;
    Shape block = shape;
    block[0] = h.groups;
    block.insert(block.begin() + 1, heads * d);
    ANEMONE_ASSIGN(const Tensor part, stacked.Narrow(0, start, rows));
    ANEMONE_ASSIGN(Tensor reshaped, part.Reshape(block));
    parts.push_back(std::move(reshaped));
    start += rows;
  }
  ANEMONE_ASSIGN(const Tensor joined, Tensor::Concat(std::move(parts), 1));
  return joined.Reshape(shape);
}

// The inverse.
Result<Tensor> StackQkv(const Tensor& interleaved, AttentionHeads h) {
  const Shape& shape = interleaved.shape();
  ANEMONE_ASSIGN(const uint64_t d, HeadDim(shape[0], h.heads + 2 * h.groups));
  const uint64_t per_group = h.heads / h.groups;
  Shape blocks = shape;
  blocks[0] = h.groups;
  blocks.insert(blocks.begin() + 1, (per_group + 2) * d);
  ANEMONE_ASSIGN(const Tensor grouped, interleaved.Reshape(blocks));
  Parts parts;
  uint64_t start = 0;
  for (const uint64_t heads : {per_group, uint64_t{1}, uint64_t{1}}) {
    ANEMONE_ASSIGN(const Tensor part, grouped.Narrow(1, start, heads * d));
    Shape flat = shape;
    flat[0] = h.groups * heads * d;
    ANEMONE_ASSIGN(Tensor reshaped, part.Reshape(flat));
    parts.push_back(std::move(reshaped));
    start += heads * d;
  }
  return Tensor::Concat(std::move(parts), 0);
}

Result<Tensor> Deinterleaved(const Parts& parts, const Shape&, const TransformContext& context) {
  ANEMONE_ASSIGN(const AttentionHeads heads, HeadsOf(context));
  return StackQkv(parts.front(), heads);
}
Result<Parts> Interleaved(const Tensor& tensor, const std::vector<Shape>&, const TransformContext& context) {
  ANEMONE_ASSIGN(const AttentionHeads heads, HeadsOf(context));
  ANEMONE_ASSIGN(Tensor result, InterleaveQkv(tensor, heads));
  return Parts{std::move(result)};
}

Result<Tensor> Transposed(const Parts& parts, const Shape&, const TransformContext&) {
  return parts.front().Permute({1, 0});
}
Result<Parts> TransposedBack(const Tensor& tensor, const std::vector<Shape>&, const TransformContext&) {
  ANEMONE_ASSIGN(Tensor result, tensor.Permute({1, 0}));
  return Parts{std::move(result)};
}
Result<std::vector<Shape>> SwappedShape(const Shape& canonical, size_t, const TransformContext&) {
  return std::vector<Shape>{Shape(canonical.rbegin(), canonical.rend())};
}

Result<Tensor> Reshaped(const Parts& parts, const Shape& canonical, const TransformContext&) {
  return parts.front().Reshape(canonical);
}
Result<Parts> ReshapedBack(const Tensor& tensor, const std::vector<Shape>& stored, const TransformContext&) {
  ANEMONE_ASSIGN(Tensor result, tensor.Reshape(stored.front()));
  return Parts{std::move(result)};
}
bool DiffersInOnes(const Shape& found, const Shape& stored, const Shape&) {
  const auto without_ones = [](Shape shape) {
    std::erase(shape, uint64_t{1});
    return shape;
  };
  return without_ones(found) == without_ones(stored);
}

Result<Tensor> Stacked(const Parts& parts, const Shape&, const TransformContext&) {
  return parts.size() == 1 ? Result<Tensor>(parts.front()) : Tensor::Concat(parts, 0);
}
Result<std::vector<Shape>> StackShapes(const Shape& canonical, size_t parts, const TransformContext& context) {
  if (canonical.empty()) return Corrupt(fmt::format("expected {} parts of axis 0, found a scalar", parts));
  std::vector<Shape> shapes(parts, canonical);
  if (context.row.parts.empty()) {
    if (parts == 0 || canonical[0] % parts != 0)
      return Corrupt(fmt::format("expected {} equal parts, found shape {}", parts, ToString(canonical)));
    for (Shape& shape : shapes) shape[0] = canonical[0] / parts;
    return shapes;
  }
  const std::vector<std::string_view> words = SplitAt(context.row.parts, '|');
  std::optional<uint64_t> sum = 0;
  for (size_t part = 0; part < parts; ++part) {
    ANEMONE_ASSIGN(shapes[part][0], context.symbols.Compute(words[part % words.size()]));
    sum = sum ? CheckedAdd(*sum, shapes[part][0]) : sum;
  }
  if (sum != canonical[0]) {
    return Corrupt(fmt::format("expected parts of {} rows that make {}, found {} by the config", context.row.parts,
                               canonical[0], sum ? std::to_string(*sum) : "2^64 or more"));
  }
  return shapes;
}

Result<Tensor> WithoutPadding(const Parts& parts, const Shape& canonical, const TransformContext&) {
  if (parts.front().shape() == canonical) return parts.front();
  return parts.front().Narrow(0, 0, canonical[0]);
}
Result<Parts> WithPadding(const Tensor& tensor, const std::vector<Shape>& stored, const TransformContext&) {
  if (tensor.shape() == stored.front()) return Parts{tensor};
  ANEMONE_ASSIGN(Tensor result, tensor.Pad(0, 0, stored.front()[0] - tensor.shape()[0]));
  return Parts{std::move(result)};
}
Result<std::vector<Shape>> PaddedShape(const Shape& canonical, size_t, const TransformContext& context) {
  Shape shape = canonical;
  ANEMONE_ASSIGN(shape[0], context.symbols.Of(context.row.tower, "padded_vocab"));
  if (shape[0] < canonical[0]) {
    return Corrupt(fmt::format("expected at most {} vocabulary rows, found {}", shape[0], canonical[0]));
  }
  return std::vector<Shape>{std::move(shape)};
}
bool IsUnpadded(const Shape& found, const Shape&, const Shape& canonical) { return found == canonical; }

}  // namespace

const Transform kSame = {"same", FirstPart, AsOnePart, SameShape};
const Transform kTranspose = {"transpose", Transposed, TransposedBack, SwappedShape};
const Transform kReshape = {"reshape", Reshaped, ReshapedBack, GivenShape, false, DiffersInOnes};
const Transform kStack = {"stack", Stacked, Unstack, StackShapes, true};
const Transform kInterleave = {"interleave by head", Deinterleaved, Interleaved, SameShape, false, nullptr,
                               {"heads", "groups"}};
const Transform kPadVocab = {"pad vocabulary rows",    WithoutPadding, WithPadding, PaddedShape, false, IsUnpadded,
                             {"vocab", "padded_vocab"}};

Result<AttentionHeads> HeadsOf(const TransformContext& context) {
  AttentionHeads result;
  ANEMONE_ASSIGN(result.heads, context.symbols.Of(context.row.tower, "heads"));
  ANEMONE_ASSIGN(result.groups, context.symbols.Of(context.row.tower, "groups"));
  if (result.heads == 0 || result.groups == 0 || result.heads % result.groups != 0) {
    return Corrupt(
        fmt::format("expected heads to be a multiple of query groups, found {} and {}", result.heads, result.groups));
  }
  return result;
}

Result<uint64_t> HeadDim(uint64_t rows, uint64_t count) {
  if (count == 0 || rows % count != 0)
    return Corrupt(fmt::format("expected a multiple of {} rows, one block per head, found {}", count, rows));
  return rows / count;
}

Result<Tensor> FirstPart(const Parts& parts, const Shape&, const TransformContext&) { return parts.front(); }
Result<Parts> AsOnePart(const Tensor& tensor, const std::vector<Shape>&, const TransformContext&) {
  return Parts{tensor};
}

Result<std::vector<Shape>> SameShape(const Shape& canonical, size_t, const TransformContext&) {
  return std::vector<Shape>{canonical};
}
Result<std::vector<Shape>> GivenShape(const Shape&, size_t, const TransformContext& context) {
  ANEMONE_ASSIGN(Shape shape, context.symbols.Evaluate(context.row.shape));
  return std::vector<Shape>{std::move(shape)};
}

Result<Parts> Unstack(const Tensor& tensor, const std::vector<Shape>& stored, const TransformContext&) {
  Parts parts;
  uint64_t start = 0;
  for (const Shape& shape : stored) {
    ANEMONE_ASSIGN(Tensor part, tensor.Narrow(0, start, shape[0]));
    parts.push_back(std::move(part));
    start += shape[0];
  }
  return parts;
}

}  // namespace anemone
