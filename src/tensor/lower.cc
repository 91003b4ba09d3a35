#include "tensor/lower.h"

#include <algorithm>
#include <utility>

namespace anemone {
namespace internal {

using Kind = TensorNode::Kind;

std::vector<uint64_t> DenseStrides(const std::vector<uint64_t>& lengths, uint64_t item) {
  std::vector<uint64_t> strides(lengths.size());
  for (size_t i = lengths.size(); i-- > 0;) {
    strides[i] = item;
    item *= lengths[i];
  }
  return strides;
}

std::vector<AxisGroup> GroupAxes(const Shape& in, const Shape& out) {
  std::vector<AxisGroup> groups;
  size_t i = 0, o = 0;
  while (i < in.size() || o < out.size()) {
    AxisGroup group{i, i, o, o};
    uint64_t in_product = 1, out_product = 1;
    if (i < in.size()) in_product = in[group.in_end++];
    if (o < out.size()) out_product = out[group.out_end++];
    while (in_product != out_product) {
      if (in_product < out_product) {
        in_product *= in[group.in_end++];
      } else {
        out_product *= out[group.out_end++];
      }
    }
    i = group.in_end;
    o = group.out_end;
    groups.push_back(group);
  }
  return groups;
}

std::vector<uint64_t> TensorNode::strides() const {
  return op().numbers.empty() ? DenseStrides(shape(), 1) : op().numbers;
}

namespace {

using BoxVisitor = std::function<Status(const Box& box, uint64_t first)>;

// The part of ForEachBox below axes that are fixed in `box` already. `base` is the linear index of `begin` in the
// visit.
Status VisitBoxes(const Shape& shape, const std::vector<uint64_t>& inner, size_t axis, Box& box, uint64_t begin,
                  uint64_t end, uint64_t first, const BoxVisitor& visit) {
  if (begin >= end) return {};
  if (axis == shape.size()) return visit(box, first);
  const auto whole_rows = [&](uint64_t from, uint64_t to, uint64_t at) {
    box.start[axis] = from;
    box.length[axis] = to - from;
    for (size_t i = axis + 1; i < shape.size(); ++i) {
      box.start[i] = 0;
      box.length[i] = shape[i];
    }
    return visit(box, at);
  };
  const auto part_of_row = [&](uint64_t row, uint64_t from, uint64_t to, uint64_t at) {
    box.start[axis] = row;
    box.length[axis] = 1;
    return VisitBoxes(shape, inner, axis + 1, box, from, to, at, visit);
  };
  const uint64_t step = inner[axis];
  const uint64_t first_row = begin / step, last_row = end / step;
  const uint64_t head = begin % step, tail = end % step;
  if (first_row == last_row) return part_of_row(first_row, head, tail, first);
  uint64_t row = first_row;
  if (head != 0) {
    ANEMONE_TRY(part_of_row(row, head, step, first));
    ++row;
  }
  if (row < last_row) ANEMONE_TRY(whole_rows(row, last_row, first + row * step - begin));
  if (tail != 0) ANEMONE_TRY(part_of_row(last_row, 0, tail, first + last_row * step - begin));
  return {};
}

// A node's box and where it goes: what Lower recurses with.
struct Request {
  Box box;
  Placement to;
};

Status LowerTiles(const TensorNode& node, const Box& box, const Placement& to, Sink& sink) {
  const size_t rank = node.shape().size();
  size_t tile = 0;
  if (rank > 0) {
    const auto furthest = std::ranges::upper_bound(node.op().tile_ends, box.start[node.op().tile_axis]);
    tile = static_cast<size_t>(furthest - node.op().tile_ends.begin());
  }
  for (; tile < node.op().children.size(); ++tile) {
    const TensorNode& child = *node.op().children[tile];
    const uint64_t* starts = node.op().numbers.data() + tile * rank;
    if (rank > 0 && starts[node.op().tile_axis] >= box.start[node.op().tile_axis] + box.length[node.op().tile_axis])
      break;
    Request part{{std::vector<uint64_t>(rank), std::vector<uint64_t>(rank)}, to};
    bool meets = true;
    for (size_t i = 0; meets && i < rank; ++i) {
      const uint64_t begin = std::max(box.start[i], starts[i]);
      const uint64_t end = std::min(box.start[i] + box.length[i], starts[i] + child.shape()[i]);
      meets = begin < end;
      part.box.start[i] = begin - starts[i];
      part.box.length[i] = end - begin;
      part.to.offset += (begin - box.start[i]) * to.strides[i];
    }
    if (meets) ANEMONE_TRY(Lower(child, part.box, part.to, sink));
  }
  return {};
}

// Walks the groups of a reshape outermost first. Each group's part of the box is cut into linear ranges whose
// destination has one stride, each range into boxes of the child's axes; `child` collects them, and the last group
// lowers the child.
Status LowerReshape(const TensorNode& node, const Box& box, const Placement& to, std::span<const AxisGroup> groups,
                    Request& child, Sink& sink) {
  if (groups.empty()) return Lower(*node.op().children[0], child.box, child.to, sink);
  const AxisGroup& group = groups.front();

  // From the innermost axis outwards, as long as the destination stays one arithmetic progression.
  uint64_t begin = 0, length = 1, stride = 0, inner = 1;
  bool full = true;
  size_t axis = group.out_end;
  for (; axis > group.out_begin; --axis) {
    const size_t i = axis - 1;
    if (box.length[i] > 1) {
      if (!full || (inner > 1 && to.strides[i] != stride * inner)) break;
      if (inner == 1) stride = to.strides[i];
      length = box.length[i] * inner;
    } else if (inner == 1) {
      stride = to.strides[i];
    }
    begin += box.start[i] * inner;
    full = full && box.length[i] == node.shape()[i];
    inner *= node.shape()[i];
  }

  const Shape& child_shape = node.op().children[0]->shape();
  const Shape in_shape(child_shape.begin() + static_cast<ptrdiff_t>(group.in_begin),
                       child_shape.begin() + static_cast<ptrdiff_t>(group.in_end));
  const std::vector<uint64_t> in_strides = DenseStrides(in_shape, stride);
  const std::vector<uint64_t> out_steps = DenseStrides(node.shape(), 1);
  const uint64_t group_step = group.out_end < node.shape().size() ? out_steps[group.out_end - 1] : 1;

  const uint64_t offset = child.to.offset;
  std::vector<uint64_t> index(axis - group.out_begin, 0);  // of the axes that are walked one by one
  while (true) {
    uint64_t range_begin = begin, range_offset = offset;
    for (size_t k = 0; k < index.size(); ++k) {
      const size_t i = group.out_begin + k;
      range_begin += (box.start[i] + index[k]) * (out_steps[i] / group_step);
      range_offset += index[k] * to.strides[i];
    }
    ANEMONE_TRY(ForEachBox(in_shape, range_begin, range_begin + length, [&](const Box& part, uint64_t first) {
      child.to.offset = range_offset + first * stride;
      for (size_t k = 0; k < in_shape.size(); ++k) {
        child.box.start[group.in_begin + k] = part.start[k];
        child.box.length[group.in_begin + k] = part.length[k];
        child.to.strides[group.in_begin + k] = in_strides[k];
      }
      return LowerReshape(node, box, to, groups.subspan(1), child, sink);
    }));
    size_t k = index.size();
    while (k > 0 && ++index[k - 1] == box.length[group.out_begin + k - 1]) index[--k] = 0;
    if (k == 0) break;
  }
  child.to.offset = offset;
  return {};
}

Copy LeafCopy(const TensorNode& node, const Box& box, const Placement& to) {
  const uint64_t item = node.item_bytes();
  const bool is_fill = node.kind == Kind::kFill;
  const std::vector<uint64_t> strides = node.strides();
  Copy copy{&node, node.offset_bytes, to.offset, item, {}};
  for (size_t i = 0; i < node.shape().size(); ++i) {
    const uint64_t from = is_fill ? 0 : strides[i] * item;
    copy.from += box.start[i] * from;
    if (box.length[i] == 1) continue;
    const Loop loop{box.length[i], from, to.strides[i]};
    // Two loops that step as one are one.
    if (!copy.loops.empty() && copy.loops.back().from == loop.count * loop.from &&
        copy.loops.back().to == loop.count * loop.to) {
      copy.loops.back() = {copy.loops.back().count * loop.count, loop.from, loop.to};
    } else {
      copy.loops.push_back(loop);
    }
  }
  if (!is_fill && !copy.loops.empty() && copy.loops.back().from == item && copy.loops.back().to == item) {
    copy.item_bytes = copy.loops.back().count * item;
    copy.loops.pop_back();
  }
  return copy;
}

}  // namespace

Status ForEachBox(const Shape& shape, uint64_t begin, uint64_t end, const BoxVisitor& visit) {
  Box box{std::vector<uint64_t>(shape.size()), std::vector<uint64_t>(shape.size())};
  return VisitBoxes(shape, DenseStrides(shape, 1), 0, box, begin, end, 0, visit);
}

Status Lower(const TensorNode& node, const Box& box, const Placement& to, Sink& sink) {
  switch (node.kind) {
    case Kind::kStrided:
    case Kind::kFill:
      return sink.OnCopy(LeafCopy(node, box, to));
    case Kind::kNarrow: {
      Box inner = box;
      for (size_t i = 0; i < inner.start.size(); ++i) inner.start[i] += node.op().numbers[i];
      return Lower(*node.op().children[0], inner, to, sink);
    }
    case Kind::kTiles:
      return LowerTiles(node, box, to, sink);
    case Kind::kPermute: {
      const size_t rank = node.shape().size();
      Request inner{{std::vector<uint64_t>(rank), std::vector<uint64_t>(rank)},
                    {to.offset, std::vector<uint64_t>(rank)}};
      for (size_t i = 0; i < rank; ++i) {
        inner.box.start[node.op().numbers[i]] = box.start[i];
        inner.box.length[node.op().numbers[i]] = box.length[i];
        inner.to.strides[node.op().numbers[i]] = to.strides[i];
      }
      return Lower(*node.op().children[0], inner.box, inner.to, sink);
    }
    case Kind::kReshape: {
      const Shape& from = node.op().children[0]->shape();
      const size_t rank = from.size();
      Request child{{std::vector<uint64_t>(rank), std::vector<uint64_t>(rank)},
                    {to.offset, std::vector<uint64_t>(rank)}};
      return LowerReshape(node, box, to, GroupAxes(from, node.shape()), child, sink);
    }
    case Kind::kCast:
    case Kind::kAverage:
    case Kind::kProduct:
    case Kind::kScaled:
      return sink.OnCompute(node, box, to);
    case Kind::kPacked:
      break;  // nothing is made of one, and Fill looks through it
  }
  return Internal("a tensor node of no kind");
}

Box WholeBox(const Shape& shape) { return {std::vector<uint64_t>(shape.size(), 0), shape}; }

namespace {

// Accepts copies as long as they all move one source's bytes by one distance.
class ByteRangeSink final : public Sink {
 public:
  explicit ByteRangeSink(uint64_t size) : range_{nullptr, 0, size} {}
  Status OnCopy(Copy copy) override {
    if (copy.leaf->kind == Kind::kFill || ++copies_ > kMaxCopies) return Stop();
    for (const Loop& loop : copy.loops) {
      if (loop.from != loop.to) return Stop();
    }
    if (copy.from < copy.to) return Stop();
    const uint64_t offset = copy.from - copy.to;
    if (range_.source == nullptr) {
      range_.source = copy.leaf->source;
      range_.offset = offset;
    }
    return range_.source == copy.leaf->source && range_.offset == offset ? Status() : Stop();
  }
  Status OnCompute(const TensorNode&, const Box&, const Placement&) override { return Stop(); }
  const ByteRange& range() const { return range_; }

 private:
  static constexpr size_t kMaxCopies = 1 << 16;  // a tensor of more pieces is read, not moved
  static Status Stop() { return InvalidArgument("not one range"); }
  ByteRange range_;
  size_t copies_ = 0;
};

}  // namespace
}  // namespace internal

std::optional<ByteRange> Tensor::AsByteRange() const {
  if (num_elements() == 0) return std::nullopt;
  const internal::TensorNode& root =
      node_->kind == internal::TensorNode::Kind::kPacked ? *node_->op().children[0] : *node_;
  internal::ByteRangeSink sink(size_bytes());
  const internal::Placement to{0, internal::DenseStrides(root.shape(), root.item_bytes())};
  if (!internal::Lower(root, internal::WholeBox(root.shape()), to, sink).ok()) return std::nullopt;
  return sink.range();
}

}  // namespace anemone
