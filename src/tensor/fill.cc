#include "tensor/fill.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/rounding.h"
#include "tensor/cast.h"
#include "tensor/lower.h"

namespace anemone {
namespace internal {
namespace {

using Kind = TensorNode::Kind;

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

  // Moves a densely computed result to where it belongs.
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
