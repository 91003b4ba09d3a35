#include "anemone/tensor.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "base/checked.h"
#include "tensor/cast.h"
#include "tensor/fill.h"
#include "tensor/lower.h"
#include "tensor/node.h"

namespace anemone {

std::shared_ptr<const internal::Extent> internal::ExtentOf(Shape shape, uint64_t num_elements) {
  thread_local std::array<std::shared_ptr<const Extent>, 64> recent;
  uint64_t hash = shape.size();
  for (const uint64_t size : shape) hash = (hash ^ size) * 0x9E3779B97F4A7C15;
  std::shared_ptr<const Extent>& extent = recent[hash >> 58];
  if (extent == nullptr || extent->shape != shape) {
    extent = std::make_shared<const Extent>(Extent{std::move(shape), num_elements});
  }
  return extent;
}

using internal::DenseStrides;
using internal::NodePtr;
using internal::TensorNode;
using Kind = TensorNode::Kind;

std::optional<uint64_t> NumElements(const Shape& shape) {
  // A zero makes the product zero whatever the others are.
  if (std::ranges::find(shape, 0) != shape.end()) return 0;
  std::optional<uint64_t> product = 1;
  for (const uint64_t size : shape) {
    product = CheckedMul(*product, size);
    if (!product) return std::nullopt;
  }
  return product;
}

std::string ToString(const Shape& shape) {
  std::string text = "[";
  for (const uint64_t size : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(size);
  }
  return text + "]";
}

namespace {

// A node with these, its element count and byte count checked.
Result<TensorNode> NewNode(Kind kind, DType dtype, Shape shape) {
  if (IsPacked(dtype) && kind != Kind::kPacked) {
    return Unsupported("elements of type " + std::string(Name(dtype)) +
                       " share bytes: such a tensor can be carried whole, not cut, joined or computed");
  }
  const std::optional<uint64_t> elements = NumElements(shape);
  if (!elements || !BytesOfElements(dtype, *elements))
    return InvalidArgument("shape " + ToString(shape) + " has more bytes than 64 bits count");
  TensorNode node;
  node.kind = kind;
  node.dtype = dtype;
  node.extent = internal::ExtentOf(std::move(shape), *elements);
  return node;
}

Tensor Finish(TensorNode node) { return TensorNode::Wrap(std::make_shared<const TensorNode>(std::move(node))); }

void SetStrides(TensorNode& node, std::vector<uint64_t> strides) {
  if (strides != DenseStrides(node.shape(), 1)) node.op().numbers = std::move(strides);
}

// The strides under which a strided leaf is seen as `shape` without moving anything, where there are such.
std::optional<std::vector<uint64_t>> ViewStrides(const TensorNode& leaf, const Shape& shape,
                                                 const std::vector<internal::AxisGroup>& groups) {
  const std::vector<uint64_t> from = leaf.strides();
  std::vector<uint64_t> strides(shape.size(), 0);
  for (const internal::AxisGroup& group : groups) {
    // The group's child axes must be one run: each axis steps over the whole of the next.
    uint64_t inner = 0;
    bool first = true;
    uint64_t run = 1;
    for (size_t i = group.in_end; i-- > group.in_begin;) {
      if (leaf.shape()[i] == 1) continue;
      if (first) inner = from[i];
      if (!first && from[i] != inner * run) return std::nullopt;
      first = false;
      run *= leaf.shape()[i];
    }
    uint64_t step = inner;
    for (size_t o = group.out_end; o-- > group.out_begin;) {
      strides[o] = step;
      step *= shape[o];
    }
  }
  return strides;
}

// Sorted by their start along `axis`, with the running furthest end, so that a window finds its tiles by binary search.
void SortTiles(TensorNode& node, const std::vector<Tensor::Tile>& tiles) {
  const size_t rank = node.shape().size();
  size_t best = 0;
  for (size_t axis = 0; axis < rank; ++axis) {
    std::vector<uint64_t> starts;
    starts.reserve(tiles.size());
    for (const Tensor::Tile& tile : tiles) starts.push_back(tile.offsets[axis]);
    std::ranges::sort(starts);
    const size_t distinct = static_cast<size_t>(std::unique(starts.begin(), starts.end()) - starts.begin());
    if (distinct > best) {
      best = distinct;
      node.op().tile_axis = axis;
    }
  }
  std::vector<size_t> order(tiles.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (rank > 0) {
    std::ranges::stable_sort(order, {}, [&](size_t i) { return tiles[i].offsets[node.op().tile_axis]; });
  }
  uint64_t furthest = 0;
  for (const size_t i : order) {
    const NodePtr& child = TensorNode::Of(tiles[i].tensor);
    node.op().numbers.insert(node.op().numbers.end(), tiles[i].offsets.begin(), tiles[i].offsets.end());
    if (rank > 0)
      furthest = std::max(furthest, tiles[i].offsets[node.op().tile_axis] + child->shape()[node.op().tile_axis]);
    node.op().tile_ends.push_back(furthest);
    node.op().children.push_back(child);
  }
}

// The tile that has all of the whole's [start, start + length) of `axis`, where there is one.
std::optional<size_t> TileWith(const TensorNode& node, size_t axis, uint64_t start, uint64_t length) {
  if (node.kind != Kind::kTiles || node.op().tile_axis != axis || length == 0) return std::nullopt;
  // As no tiles overlap, those before it end where it starts.
  const auto end = std::ranges::upper_bound(node.op().tile_ends, start);
  const size_t tile = static_cast<size_t>(end - node.op().tile_ends.begin());
  const Shape& shape = node.op().children[tile]->shape();
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i != axis && shape[i] != node.shape()[i]) return std::nullopt;
  }
  const uint64_t first = node.op().numbers[tile * shape.size() + axis];
  return first <= start && Within(start - first, length, shape[axis]) ? std::optional(tile) : std::nullopt;
}

// True when two of the boxes share an element. Volumes are known to add up to the whole's, so this is the other half of
// "exactly once". Sweeps along the axis with the most distinct starts; only boxes open at the same time are compared.
std::optional<std::pair<size_t, size_t>> FindOverlap(const TensorNode& node) {
  const size_t rank = node.shape().size();
  const auto start = [&](size_t tile, size_t axis) { return node.op().numbers[tile * rank + axis]; };
  const auto end = [&](size_t tile, size_t axis) {
    return start(tile, axis) + node.op().children[tile]->shape()[axis];
  };
  const auto meet = [&](size_t a, size_t b) {
    for (size_t axis = 0; axis < rank; ++axis) {
      if (start(a, axis) >= end(b, axis) || start(b, axis) >= end(a, axis)) return false;
    }
    return true;
  };
  std::multimap<uint64_t, size_t> open;  // end along tile_axis → tile
  for (size_t tile = 0; tile < node.op().children.size(); ++tile) {
    if (rank > 0) open.erase(open.begin(), open.upper_bound(start(tile, node.op().tile_axis)));
    for (const auto& [unused, other] : open) {
      if (meet(tile, other)) return std::pair(other, tile);
    }
    open.emplace(rank > 0 ? end(tile, node.op().tile_axis) : 1, tile);
  }
  return std::nullopt;
}

}  // namespace

Result<Tensor> Tensor::FromFile(DType dtype, Shape shape, ByteSourcePtr source, uint64_t offset_bytes,
                                std::vector<uint64_t> strides) {
  if (!strides.empty() && strides.size() != shape.size()) {
    return InvalidArgument("shape " + ToString(shape) + " and strides " + ToString(strides) + " have different ranks");
  }
  if (IsPacked(dtype)) {
    if (!strides.empty() && strides != DenseStrides(shape, 1))
      return Unsupported(std::string(Name(dtype)) + " " + ToString(shape) + " with strides " + ToString(strides));
    ANEMONE_ASSIGN(TensorNode node, NewNode(Kind::kPacked, dtype, std::move(shape)));
    const uint64_t bytes = *BytesOfElements(dtype, node.num_elements());
    ANEMONE_ASSIGN(const Tensor stored, FromFile(DType::kU8, {bytes}, std::move(source), offset_bytes));
    node.op().children = {stored.node_};
    return Finish(std::move(node));
  }
  ANEMONE_ASSIGN(TensorNode node, NewNode(Kind::kStrided, dtype, std::move(shape)));
  if (strides.empty()) strides = DenseStrides(node.shape(), 1);
  // The furthest element, checked step by step: strides are what a file says.
  std::optional<uint64_t> furthest = 0;
  for (size_t i = 0; node.num_elements() > 0 && i < strides.size() && furthest; ++i) {
    const std::optional<uint64_t> reach = CheckedMul(node.shape()[i] - 1, strides[i]);
    furthest = reach ? CheckedAdd(*furthest, *reach) : std::nullopt;
  }
  std::optional<uint64_t> size = 0;
  if (node.num_elements() > 0) {
    size = furthest ? CheckedAdd(*furthest, 1) : std::nullopt;
    if (size) size = CheckedMul(*size, SizeBytes(dtype));
  }
  if (!size || !Within(offset_bytes, *size, source->size_bytes())) {
    return Corrupt(std::string(Name(dtype)) + " " + ToString(node.shape()) + " at byte " +
                   std::to_string(offset_bytes) + ": expected " + (size ? std::to_string(*size) : "more than 2^64") +
                   " bytes, found " +
                   std::to_string(offset_bytes <= source->size_bytes() ? source->size_bytes() - offset_bytes : 0))
        .In(source->name());
  }
  node.source = std::move(source);
  node.offset_bytes = offset_bytes;
  SetStrides(node, std::move(strides));
  return Finish(std::move(node));
}

Result<Tensor> Tensor::FromBytes(DType dtype, Shape shape, std::string bytes) {
  const std::optional<uint64_t> elements = NumElements(shape);
  const std::optional<uint64_t> expected = elements ? BytesOfElements(dtype, *elements) : std::nullopt;
  if (expected != bytes.size()) {
    return InvalidArgument(std::string(Name(dtype)) + " " + ToString(shape) + ": expected " +
                           (expected ? std::to_string(*expected) : "more than 2^64") + " bytes, found " +
                           std::to_string(bytes.size()));
  }
  return FromFile(dtype, std::move(shape), MemorySource(std::move(bytes), "memory"), 0);
}

Result<Tensor> Tensor::Fill(DType dtype, Shape shape, double value) {
  ANEMONE_ASSIGN(TensorNode node, NewNode(Kind::kFill, dtype, std::move(shape)));
  if (value != 0 || std::signbit(value)) {
    if (!internal::CanCast(DType::kF64, dtype))
      return InvalidArgument("cannot fill " + std::string(Name(dtype)) + " with a number other than 0");
    std::byte bytes[sizeof(double)];
    std::memcpy(bytes, &value, sizeof(double));
    internal::CastElements(DType::kF64, bytes, dtype, node.op().element.data(), 1);
  }
  return Finish(std::move(node));
}

Result<Tensor> Tensor::Narrow(size_t axis, uint64_t start, uint64_t length) const {
  const Shape& whole = shape();
  if (axis >= whole.size() || !Within(start, length, whole[axis])) {
    return InvalidArgument("cannot take [" + std::to_string(start) + ", " + std::to_string(start) + " + " +
                           std::to_string(length) + ") of axis " + std::to_string(axis) + " of " + ToString(whole));
  }
  if (length == whole[axis]) return *this;
  if (const std::optional<size_t> tile = TileWith(*node_, axis, start, length)) {
    const TensorNode::Operation& op = node_->op();
    return TensorNode::Wrap(op.children[*tile]).Narrow(axis, start - op.numbers[*tile * whole.size() + axis], length);
  }
  Shape part = whole;
  part[axis] = length;
  const bool is_leaf = node_->kind == Kind::kStrided || node_->kind == Kind::kFill;
  ANEMONE_ASSIGN(TensorNode node, NewNode(is_leaf ? node_->kind : Kind::kNarrow, dtype(), std::move(part)));
  if (node_->kind == Kind::kStrided) {
    node.source = node_->source;
    std::vector<uint64_t> strides = node_->strides();
    // An empty part keeps the start: its place would be meaningless.
    node.offset_bytes =
        node_->offset_bytes + (node.num_elements() == 0 ? 0 : start * strides[axis] * node_->item_bytes());
    SetStrides(node, std::move(strides));
  } else if (node_->kind == Kind::kFill) {
    node.op().element = node_->op().element;
  } else if (node_->kind == Kind::kNarrow) {
    node.op().numbers = node_->op().numbers;
    node.op().numbers[axis] += start;
    node.op().children = node_->op().children;
  } else {
    node.op().numbers.assign(whole.size(), 0);
    node.op().numbers[axis] = start;
    node.op().children = {node_};
  }
  return Finish(std::move(node));
}

Result<Tensor> Tensor::Concat(std::vector<Tensor> parts, size_t axis) {
  if (parts.empty()) return InvalidArgument("nothing to concatenate");
  Shape whole = parts.front().shape();
  if (axis >= whole.size())
    return InvalidArgument("cannot concatenate along axis " + std::to_string(axis) + " of " + ToString(whole));
  std::vector<Tile> tiles;
  tiles.reserve(parts.size());
  uint64_t size = 0;
  for (Tensor& part : parts) {
    Shape expected = part.shape();
    if (expected.size() == whole.size()) expected[axis] = whole[axis];
    if (expected != whole || part.dtype() != parts.front().dtype()) {
      return InvalidArgument("cannot concatenate " + std::string(Name(parts.front().dtype())) + " " + ToString(whole) +
                             " and " + std::string(Name(part.dtype())) + " " + ToString(part.shape()) + " along axis " +
                             std::to_string(axis));
    }
    std::vector<uint64_t> offsets(whole.size(), 0);
    offsets[axis] = size;
    const std::optional<uint64_t> sum = CheckedAdd(size, part.shape()[axis]);
    if (!sum) return InvalidArgument("sizes to concatenate add up to more than 64 bits count");
    size = *sum;
    tiles.push_back({std::move(offsets), part});
  }
  whole[axis] = size;
  return Assemble(std::move(whole), std::move(tiles));
}

Result<Tensor> Tensor::Assemble(Shape shape, std::vector<Tile> tiles) {
  if (tiles.empty()) return InvalidArgument("nothing to assemble");
  if (tiles.size() == 1 && tiles[0].tensor.shape() == shape && tiles[0].offsets == Shape(shape.size(), 0))
    return tiles[0].tensor;
  ANEMONE_ASSIGN(TensorNode node, NewNode(Kind::kTiles, tiles.front().tensor.dtype(), std::move(shape)));
  uint64_t covered = 0;
  for (const Tile& tile : tiles) {
    if (tile.tensor.dtype() != node.dtype) {
      return InvalidArgument("cannot assemble " + std::string(Name(node.dtype)) + " and " +
                             std::string(Name(tile.tensor.dtype())) + " into one tensor");
    }
    bool fits = tile.offsets.size() == node.shape().size() && tile.tensor.shape().size() == node.shape().size();
    for (size_t i = 0; fits && i < node.shape().size(); ++i)
      fits = Within(tile.offsets[i], tile.tensor.shape()[i], node.shape()[i]);
    if (!fits) {
      return InvalidArgument("tile " + ToString(tile.tensor.shape()) + " at " + ToString(tile.offsets) +
                             " does not lie in " + ToString(node.shape()));
    }
    covered = CheckedAdd(covered, tile.tensor.num_elements()).value_or(UINT64_MAX);
  }
  if (covered != node.num_elements()) {
    return InvalidArgument("tiles cover " + std::string(covered > node.num_elements() ? "more" : "less") + " than " +
                           ToString(node.shape()) + ": expected " + std::to_string(node.num_elements()) +
                           " elements, found " + std::to_string(covered));
  }
  std::erase_if(tiles, [](const Tile& tile) { return tile.tensor.num_elements() == 0; });
  if (tiles.size() == 1) return tiles.front().tensor;
  if (tiles.empty()) return Fill(node.dtype, node.shape(), 0);
  SortTiles(node, tiles);
  if (const auto overlap = FindOverlap(node)) {
    const auto describe = [&](size_t i) {
      const auto first = node.op().numbers.begin() + static_cast<ptrdiff_t>(i * node.shape().size());
      return ToString(node.op().children[i]->shape()) + " at " +
             ToString(Shape(first, first + static_cast<ptrdiff_t>(node.shape().size())));
    };
    return InvalidArgument("tiles overlap: " + describe(overlap->first) + " and " + describe(overlap->second));
  }
  return Finish(std::move(node));
}

Result<Tensor> Tensor::Permute(std::vector<size_t> order) const {
  std::vector<size_t> sorted = order;
  std::ranges::sort(sorted);
  bool is_identity = true;
  bool is_permutation = order.size() == shape().size();
  for (size_t i = 0; is_permutation && i < order.size(); ++i) {
    is_permutation = sorted[i] == i;
    is_identity = is_identity && order[i] == i;
  }
  if (!is_permutation) {
    return InvalidArgument("order " + ToString(Shape(order.begin(), order.end())) + " does not permute the axes of " +
                           ToString(shape()));
  }
  if (is_identity) return *this;
  Shape permuted(order.size());
  for (size_t i = 0; i < order.size(); ++i) permuted[i] = shape()[order[i]];
  const bool is_leaf = node_->kind == Kind::kStrided || node_->kind == Kind::kFill;
  ANEMONE_ASSIGN(TensorNode node, NewNode(is_leaf ? node_->kind : Kind::kPermute, dtype(), std::move(permuted)));
  if (node_->kind == Kind::kStrided) {
    node.source = node_->source;
    node.offset_bytes = node_->offset_bytes;
    std::vector<uint64_t> strides(order.size());
    for (size_t i = 0; i < order.size(); ++i) strides[i] = node_->strides()[order[i]];
    SetStrides(node, std::move(strides));
  } else if (node_->kind == Kind::kFill) {
    node.op().element = node_->op().element;
  } else {
    node.op().numbers = std::move(order);
    node.op().children = {node_};
  }
  return Finish(std::move(node));
}

Result<Tensor> Tensor::Reshape(Shape new_shape) const {
  if (NumElements(new_shape) != num_elements()) {
    return InvalidArgument("cannot reshape " + ToString(shape()) + " to " + ToString(new_shape) + ": " +
                           std::to_string(num_elements()) + " elements");
  }
  if (new_shape == shape()) return *this;
  if (node_->kind == Kind::kPacked) {
    ANEMONE_ASSIGN(TensorNode node, NewNode(Kind::kPacked, dtype(), std::move(new_shape)));
    node.op().children = node_->op().children;
    return Finish(std::move(node));
  }
  if (num_elements() == 0) return Fill(dtype(), std::move(new_shape), 0);
  // A reshape of a reshape is one; a cast commutes with it, and is kept outside so that what is below may be seen
  // through.
  if (node_->kind == Kind::kReshape) return TensorNode::Wrap(node_->op().children[0]).Reshape(std::move(new_shape));
  if (node_->kind == Kind::kCast) {
    ANEMONE_ASSIGN(Tensor inner, TensorNode::Wrap(node_->op().children[0]).Reshape(std::move(new_shape)));
    return inner.Cast(dtype());
  }
  std::vector<internal::AxisGroup> groups = internal::GroupAxes(shape(), new_shape);
  if (node_->kind == Kind::kStrided) {
    if (auto strides = ViewStrides(*node_, new_shape, groups)) {
      ANEMONE_ASSIGN(TensorNode node, NewNode(Kind::kStrided, dtype(), std::move(new_shape)));
      node.source = node_->source;
      node.offset_bytes = node_->offset_bytes;
      SetStrides(node, *std::move(strides));
      return Finish(std::move(node));
    }
  }
  const bool is_fill = node_->kind == Kind::kFill;
  ANEMONE_ASSIGN(TensorNode node, NewNode(is_fill ? Kind::kFill : Kind::kReshape, dtype(), std::move(new_shape)));
  if (is_fill) {
    node.op().element = node_->op().element;
  } else {
    node.op().children = {node_};
  }
  return Finish(std::move(node));
}

Result<Tensor> Tensor::Pad(size_t axis, uint64_t before, uint64_t after, double value) const {
  if (axis >= shape().size())
    return InvalidArgument("cannot pad axis " + std::to_string(axis) + " of " + ToString(shape()));
  std::vector<Tensor> parts;
  for (const uint64_t size : {before, after}) {
    Shape padding = shape();
    padding[axis] = size;
    ANEMONE_ASSIGN(Tensor fill, Fill(dtype(), std::move(padding), value));
    parts.push_back(std::move(fill));
  }
  parts.insert(parts.begin() + 1, *this);
  return Concat(std::move(parts), axis);
}

Result<Tensor> Tensor::Cast(DType to) const {
  if (to == dtype()) return *this;
  if (!internal::CanCast(dtype(), to))
    return InvalidArgument("cannot cast " + std::string(Name(dtype())) + " to " + std::string(Name(to)));
  ANEMONE_ASSIGN(TensorNode node, NewNode(node_->kind == Kind::kFill ? Kind::kFill : Kind::kCast, to, shape()));
  if (node_->kind == Kind::kFill) {
    internal::CastElements(dtype(), node_->op().element.data(), to, node.op().element.data(), 1);
  } else {
    node.op().children = {node_};
  }
  return Finish(std::move(node));
}

Result<Tensor> Tensor::Average(std::vector<Tensor> parts) {
  if (parts.empty()) return InvalidArgument("nothing to average");
  const Tensor& first = parts.front();
  if (!internal::IsFloat(first.dtype()) || !internal::CanCast(DType::kF64, first.dtype()))
    return InvalidArgument("cannot average " + std::string(Name(first.dtype())));
  ANEMONE_ASSIGN(TensorNode node, NewNode(Kind::kAverage, first.dtype(), first.shape()));
  for (const Tensor& part : parts) {
    if (part.dtype() != node.dtype || part.shape() != node.shape()) {
      return InvalidArgument("cannot average " + std::string(Name(node.dtype)) + " " + ToString(node.shape()) +
                             " and " + std::string(Name(part.dtype())) + " " + ToString(part.shape()));
    }
    node.op().children.push_back(part.node_);
  }
  node.op().number = static_cast<double>(parts.size());
  return Finish(std::move(node));
}

Result<Tensor> Tensor::Plus(double value) const {
  ANEMONE_ASSIGN(const Tensor added, Fill(dtype(), shape(), value));
  ANEMONE_ASSIGN(const Tensor mean, Average({*this, added}));
  TensorNode node = mean.node_->Like(Kind::kAverage);
  node.op().children = {node_, added.node_};
  return Finish(std::move(node));
}

DType Tensor::dtype() const { return node_->dtype; }
const Shape& Tensor::shape() const { return node_->shape(); }
uint64_t Tensor::num_elements() const { return node_->num_elements(); }
uint64_t Tensor::size_bytes() const { return *BytesOfElements(node_->dtype, node_->num_elements()); }

Result<std::string> Tensor::Read(uint64_t limit_bytes) const {
  if (size_bytes() > limit_bytes) {
    return LimitExceeded("expected at most " + std::to_string(limit_bytes) + " bytes, found a tensor of " +
                         std::to_string(size_bytes()));
  }
  std::string bytes(size_bytes(), '\0');
  ANEMONE_TRY(anemone::Fill(*this, 0, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

}  // namespace anemone
