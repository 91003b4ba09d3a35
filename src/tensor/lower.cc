#include "tensor/lower.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/checked.h"
#include "base/rounding.h"
#include "tensor/cast.h"

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

constexpr size_t kStageBytes = 256 << 10;  // staging of strided reads; also each level of computing
constexpr uint64_t kBridgeBytes = 4096;    // a gap that costs less to read than a system call
constexpr uint64_t kDirectBytes = 4096;    // runs of at least this are read straight into place

template <typename Move>
void ForEachIndex(const std::vector<Loop>& loops, size_t depth, uint64_t from, uint64_t to, const Move& move) {
  if (depth == loops.size()) return move(from, to);
  const Loop& loop = loops[depth];
  for (uint64_t i = 0; i < loop.count; ++i)
    ForEachIndex(loops, depth + 1, from + i * loop.from, to + i * loop.to, move);
}

template <size_t kItem>
void MoveRow(const std::byte* from, std::byte* to, uint64_t, const Loop& row) {
  for (uint64_t i = 0; i < row.count; ++i) std::memcpy(to + i * row.to, from + i * row.from, kItem);
}
void MoveAnyRow(const std::byte* from, std::byte* to, uint64_t item, const Loop& row) {
  for (uint64_t i = 0; i < row.count; ++i) std::memcpy(to + i * row.to, from + i * row.from, item);
}

// Moves items between two places in memory, writing as nearly in order as the loops allow.
void MoveStrided(const std::byte* from, std::byte* to, uint64_t item, std::vector<Loop> loops) {
  std::ranges::stable_sort(loops, std::ranges::greater(), &Loop::to);
  Loop row{1, 0, 0};
  if (!loops.empty()) {
    row = loops.back();
    loops.pop_back();
  }
  auto* const move_row = item == 1    ? MoveRow<1>
                         : item == 2  ? MoveRow<2>
                         : item == 4  ? MoveRow<4>
                         : item == 8  ? MoveRow<8>
                         : item == 16 ? MoveRow<16>
                                      : MoveAnyRow;
  ForEachIndex(loops, 0, 0, 0, [&](uint64_t f, uint64_t t) { move_row(from + f, to + t, item, row); });
}

// Carries copies out, into memory.
class FillSink final : public Sink {
 public:
  FillSink(std::span<std::byte> out, std::vector<std::byte>& stage, ReadObserver* observer)
      : out_(out), stage_(stage), observer_(observer) {}

  Status OnCopy(Copy copy) override {
    if (copy.leaf->kind == Kind::kFill) {
      MoveStrided(copy.leaf->op().element.data(), out_.data() + copy.to, copy.item_bytes, std::move(copy.loops));
      return {};
    }
    if (copy.loops.empty() || copy.item_bytes >= kDirectBytes) {
      Status status;
      ForEachIndex(copy.loops, 0, copy.from, copy.to, [&](uint64_t from, uint64_t to) {
        if (status.ok()) status = Read(*copy.leaf->source, from, out_.subspan(to, copy.item_bytes));
      });
      return status;
    }
    return Gather(std::move(copy));
  }

  Status OnCompute(const TensorNode& node, const Box& box, const Placement& to) override {
    // Items of each element held at once: the child's, and the sum or the result.
    const uint64_t per_element = std::max<uint64_t>(node.op().children[0]->item_bytes(), sizeof(double));
    return Divide(node, box, to, kStageBytes / per_element);
  }

 private:
  Status Read(const ByteSource& source, uint64_t offset, std::span<std::byte> out) {
    ANEMONE_TRY(source.ReadAt(offset, out));
    if (observer_ != nullptr) observer_->OnRead(source, offset, out);
    return {};
  }

  // Reads source runs in source order into the stage and moves their items to where they belong. A run is as much as
  // lies together, small gaps included; runs of the next loop are batched, so that a transpose writes rows, not single
  // items.
  Status Gather(Copy copy) {
    stage_.resize(kStageBytes);
    std::vector<Loop> inside;  // `from` counts in the stage
    std::vector<Loop> outside;
    for (const Loop& loop : copy.loops) (loop.from == 0 ? inside : outside).push_back(loop);
    std::ranges::stable_sort(outside, {}, &Loop::from);
    uint64_t run = copy.item_bytes;
    size_t next = 0;
    for (; next < outside.size(); ++next) {
      const Loop& loop = outside[next];
      if (loop.from > run + kBridgeBytes || loop.from > (kStageBytes - run) / (loop.count - 1)) break;
      run += loop.from * (loop.count - 1);
      inside.push_back(loop);
    }
    // The next loop is cut into blocks that fit: one read over all when its gaps are small, a read each otherwise.
    Loop block{1, 0, 0};
    if (next < outside.size()) block = outside[next++];
    const bool one_read = block.from <= run + kBridgeBytes;
    const uint64_t step = one_read ? block.from : run;
    const uint64_t fitting = block.count == 1 ? 1 : (kStageBytes - run) / step + 1;
    const std::vector<Loop> rest(outside.begin() + static_cast<ptrdiff_t>(next), outside.end());
    Status status;
    ForEachIndex(rest, 0, copy.from, copy.to, [&](uint64_t from, uint64_t to) {
      for (uint64_t i = 0; i < block.count && status.ok(); i += fitting) {
        const uint64_t count = std::min(fitting, block.count - i);
        const uint64_t at = from + i * block.from;
        if (!one_read && count > 1) Announce(*copy.leaf->source, at, (count - 1) * block.from + run);
        if (one_read) {
          status = Read(*copy.leaf->source, at, std::span(stage_).first((count - 1) * block.from + run));
        }
        for (uint64_t k = 0; !one_read && k < count && status.ok(); ++k) {
          status = Read(*copy.leaf->source, at + k * block.from, std::span(stage_).subspan(k * run, run));
        }
        if (!status.ok()) return;
        std::vector<Loop> loops = inside;
        if (count > 1) loops.push_back({count, step, block.to});
        MoveStrided(stage_.data(), out_.data() + to + i * block.to, copy.item_bytes, std::move(loops));
      }
    });
    return status;
  }

  // The kernel takes runs with gaps between them for random reads, and would fetch a page at a time.
  static void Announce(const ByteSource& source, uint64_t offset, uint64_t size) {
    const int fd = source.fd();
    if (fd < 0) return;
    // A hint: failing is no failure.
    static_cast<void>(posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(size), POSIX_FADV_WILLNEED));
  }

  // Halves the box along its furthest-strided axis until it has at most `limit` elements.
  Status Divide(const TensorNode& node, const Box& box, const Placement& to, uint64_t limit) {
    uint64_t volume = 1;
    size_t widest = 0;
    for (size_t i = 0; i < box.length.size(); ++i) {
      volume *= box.length[i];
      if (box.length[i] > 1 && (box.length[widest] == 1 || to.strides[i] > to.strides[widest])) widest = i;
    }
    if (volume <= limit) return Compute(node, box, to, volume);
    Box half = box;
    Placement place = to;
    half.length[widest] = box.length[widest] / 2;
    ANEMONE_TRY(Divide(node, half, place, limit));
    half.start[widest] += half.length[widest];
    place.offset += half.length[widest] * to.strides[widest];
    half.length[widest] = box.length[widest] - half.length[widest];
    return Divide(node, half, place, limit);
  }

  Status Compute(const TensorNode& node, const Box& box, const Placement& to, uint64_t volume) {
    // Dense, its axes nested as the destination's are, so that the last step mostly writes straight through.
    std::vector<size_t> axes(box.length.size());
    std::iota(axes.begin(), axes.end(), size_t{0});
    std::ranges::stable_sort(axes, std::ranges::greater(), [&](size_t i) { return to.strides[i]; });
    std::vector<uint64_t> steps(axes.size());  // in elements
    uint64_t step = 1;
    bool is_dense = true;
    for (size_t k = axes.size(); k-- > 0;) {
      const size_t i = axes[k];
      steps[i] = step;
      is_dense = is_dense && (box.length[i] == 1 || to.strides[i] == step * node.item_bytes());
      step *= box.length[i];
    }
    std::vector<std::byte> result(is_dense ? 0 : volume * node.item_bytes());
    std::byte* const destination = is_dense ? out_.data() + to.offset : result.data();

    if (node.kind == Kind::kProduct) {
      ANEMONE_TRY(Multiply(node, box, steps, destination));
      return is_dense ? Status() : Spread(node, box, to, axes, steps, result);
    }
    if (node.kind == Kind::kScaled) {
      ANEMONE_TRY(Scale(node, box, steps, destination));
      return is_dense ? Status() : Spread(node, box, to, axes, steps, result);
    }
    const DType from = node.op().children[0]->dtype;
    std::vector<std::byte> part(volume * SizeBytes(from));
    Placement place{0, steps};
    for (uint64_t& stride : place.strides) stride *= SizeBytes(from);
    FillSink sink(part, stage_, observer_);
    if (node.kind == Kind::kCast) {
      ANEMONE_TRY(Lower(*node.op().children[0], box, place, sink));
      CastElements(from, part.data(), node.dtype, destination, volume);
    } else {
      std::vector<double> sum(volume, -0.0), values(volume);  // -0 + x is x, whatever its sign
      for (const NodePtr& child : node.op().children) {
        ANEMONE_TRY(Lower(*child, box, place, sink));
        CastElements(from, part.data(), DType::kF64, reinterpret_cast<std::byte*>(values.data()), volume);
        for (size_t i = 0; i < volume; ++i) sum[i] += values[i];
      }
      for (double& value : sum) value /= node.op().number;
      CastElements(DType::kF64, reinterpret_cast<std::byte*>(sum.data()), node.dtype, destination, volume);
    }
    return is_dense ? Status() : Spread(node, box, to, axes, steps, result);
  }

  // What was computed densely, to where it belongs.
  Status Spread(const TensorNode& node, const Box& box, const Placement& to, const std::vector<size_t>& axes,
                const std::vector<uint64_t>& steps, const std::vector<std::byte>& result) {
    std::vector<Loop> loops;
    for (size_t i = 0; i < axes.size(); ++i) {
      if (box.length[i] > 1) loops.push_back({box.length[i], steps[i] * node.item_bytes(), to.strides[i]});
    }
    MoveStrided(result.data(), out_.data() + to.offset, node.item_bytes(), std::move(loops));
    return {};
  }

  // A box of a product, a block of the inner axis after the other, so that memory follows the box.
  Status Multiply(const TensorNode& node, const Box& box, const std::vector<uint64_t>& steps, std::byte* destination) {
    const TensorNode &left = *node.op().children[0], &right = *node.op().children[1];
    const uint64_t rows = box.length[0], columns = box.length[1], inner = left.shape()[1];
    const uint64_t block = std::max<uint64_t>(1, kStageBytes / sizeof(double) / std::max(rows, columns));
    std::vector<double> sum(rows * columns), a, b;
    for (uint64_t start = 0; start < inner; start += block) {
      const uint64_t depth = std::min(block, inner - start);
      ANEMONE_TRY(ReadDoubles(left, {{box.start[0], start}, {rows, depth}}, &a));
      ANEMONE_TRY(ReadDoubles(right, {{start, box.start[1]}, {depth, columns}}, &b));
      for (uint64_t r = 0; r < rows; ++r) {
        for (uint64_t k = 0; k < depth; ++k) {
          const double value = a[r * depth + k];
          for (uint64_t c = 0; c < columns; ++c) sum[r * columns + c] += value * b[k * columns + c];
        }
      }
    }
    for (uint64_t r = 0; r < rows; ++r) {
      for (uint64_t c = 0; c < columns; ++c) {
        const double value = sum[r * columns + c] * node.op().number;
        std::memcpy(destination + (r * steps[0] + c * steps[1]) * sizeof(double), &value, sizeof(double));
      }
    }
    return {};
  }

  // A box of a matrix times the number of each element's block.
  Status Scale(const TensorNode& node, const Box& box, const std::vector<uint64_t>& steps, std::byte* destination) {
    const uint64_t rows = node.op().numbers[0], columns = node.op().numbers[1];
    const uint64_t top = box.start[0] / rows, left = box.start[1] / columns;
    const uint64_t height = (box.start[0] + box.length[0] - 1) / rows - top + 1,
                   width = (box.start[1] + box.length[1] - 1) / columns - left + 1;
    std::vector<float> values(box.length[0] * box.length[1]), scales(height * width);
    FillSink elements(std::as_writable_bytes(std::span(values)), stage_, observer_);
    ANEMONE_TRY(Lower(*node.op().children[0], box, {0, DenseStrides(box.length, sizeof(float))}, elements));
    FillSink factors(std::as_writable_bytes(std::span(scales)), stage_, observer_);
    ANEMONE_TRY(Lower(*node.op().children[1], {{top, left}, {height, width}},
                      {0, DenseStrides({height, width}, sizeof(float))}, factors));
    for (uint64_t r = 0; r < box.length[0]; ++r) {
      const float* const row = scales.data() + ((box.start[0] + r) / rows - top) * width;
      for (uint64_t c = 0; c < box.length[1]; ++c) {
        const float value = values[r * box.length[1] + c] * row[(box.start[1] + c) / columns - left];
        std::memcpy(destination + (r * steps[0] + c * steps[1]) * sizeof(float), &value, sizeof(float));
      }
    }
    return {};
  }

  Status ReadDoubles(const TensorNode& node, const Box& box, std::vector<double>* values) {
    values->resize(box.length[0] * box.length[1]);
    FillSink sink(std::as_writable_bytes(std::span(*values)), stage_, observer_);
    return Lower(node, box, {0, DenseStrides(box.length, sizeof(double))}, sink);
  }

  std::span<std::byte> out_;
  std::vector<std::byte>& stage_;
  ReadObserver* observer_;
};

uint64_t ComputeDepth(const TensorNode& node) {
  uint64_t depth = 0;
  for (const NodePtr& child : node.op().children) depth = std::max(depth, ComputeDepth(*child));
  const uint64_t own = node.kind == Kind::kProduct                               ? 2
                       : node.kind == Kind::kCast || node.kind == Kind::kAverage ? 1
                       : node.kind == Kind::kScaled                              ? 2
                                                                                 : 0;
  return depth + own;
}

Status FillElements(const TensorNode& node, uint64_t begin, uint64_t end, std::span<std::byte> out,
                    ReadObserver* observer) {
  std::vector<std::byte> stage;
  FillSink sink(out, stage, observer);
  Placement to{0, DenseStrides(node.shape(), node.item_bytes())};
  return ForEachBox(node.shape(), begin, end, [&](const Box& box, uint64_t first) {
    to.offset = first * node.item_bytes();
    return Lower(node, box, to, sink);
  });
}

uint64_t SourceBytesOf(const TensorNode& node, uint64_t elements) {
  if (node.kind == Kind::kFill || elements == 0) return 0;
  if (node.kind == Kind::kStrided) return elements * node.item_bytes();
  if (node.kind == Kind::kPacked) return node.op().children[0]->num_elements();
  uint64_t sum = 0;
  const bool is_tiles =
      node.kind == Kind::kTiles || node.kind == Kind::kProduct || node.kind == Kind::kScaled;  // parts of other sizes
  for (const NodePtr& child : node.op().children)
    sum += SourceBytesOf(*child, is_tiles ? child->num_elements() : elements);
  // Of a part of tiles: the same share of each.
  if (!is_tiles || elements == node.num_elements()) return sum;
  return static_cast<uint64_t>(static_cast<double>(sum) * static_cast<double>(elements) /
                               static_cast<double>(node.num_elements()));
}

}  // namespace
}  // namespace internal

uint64_t SourceBytes(const Tensor& tensor) { return internal::SourceBytesOf(tensor.node(), tensor.num_elements()); }

std::optional<ByteRange> Tensor::AsByteRange() const {
  if (num_elements() == 0) return std::nullopt;
  const internal::TensorNode& root =
      node_->kind == internal::TensorNode::Kind::kPacked ? *node_->op().children[0] : *node_;
  internal::ByteRangeSink sink(size_bytes());
  const internal::Placement to{0, internal::DenseStrides(root.shape(), root.item_bytes())};
  if (!internal::Lower(root, internal::WholeBox(root.shape()), to, sink).ok()) return std::nullopt;
  return sink.range();
}

uint64_t FillScratchBytes(const Tensor& tensor) {
  // Per level of computing: the child's elements, values and sum in double, the result.
  return internal::kStageBytes * (1 + 4 * internal::ComputeDepth(tensor.node()));
}

Status Fill(const Tensor& tensor, uint64_t offset, std::span<std::byte> out, ReadObserver* observer) {
  if (!Within(offset, out.size(), tensor.size_bytes())) {
    return InvalidArgument("bytes [" + std::to_string(offset) + ", + " + std::to_string(out.size()) +
                           ") do not lie in a tensor of " + std::to_string(tensor.size_bytes()));
  }
  const bool is_packed = tensor.node().kind == internal::TensorNode::Kind::kPacked;
  const internal::TensorNode& node = is_packed ? *tensor.node().op().children[0] : tensor.node();
  const uint64_t item = node.item_bytes();
  while (!out.empty()) {
    uint64_t count = RoundDown(out.size(), item);
    if (offset % item == 0 && count > 0) {
      ANEMONE_TRY(internal::FillElements(node, offset / item, (offset + count) / item, out.first(count), observer));
    } else {  // a piece of one element
      std::byte element[16];
      ANEMONE_TRY(
          internal::FillElements(node, offset / item, offset / item + 1, std::span(element).first(item), observer));
      count = std::min<uint64_t>(item - offset % item, out.size());
      std::memcpy(out.data(), element + offset % item, count);
    }
    offset += count;
    out = out.subspan(count);
  }
  return {};
}

}  // namespace anemone
