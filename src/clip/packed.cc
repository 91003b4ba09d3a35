#include "clip/packed.h"

#include "clip/kernels.h"

namespace anemone::internal {
namespace {

// A panel of so much of the depth, and so many rows, stay in the second cache or stream from the third as fast. Less of
// the depth would read and write the sums more often, which costs more (docs/benchmarks.md).
constexpr size_t kDepth = 1024;
constexpr size_t kRows = 288;

}  // namespace

void PackPanel(const float* rows, size_t stride, size_t columns, size_t depth, float* to) {
  const size_t width = BestTile().columns;
  if (columns < width) std::fill_n(to, depth * width, 0.0F);
  Transpose(rows, stride, columns, depth, to, width);
}

PackedProduct::Parts PackedProduct::For(size_t threads) const {
  constexpr size_t kPartsPerThread = 4;  // threads do not work equally fast
  const size_t wanted = threads == 1 ? 1 : threads * kPartsPerThread;
  const size_t of_panels = std::min(wanted, panels.count);
  return {std::min(tiles.count, (wanted + of_panels - 1) / of_panels), of_panels};
}

void PackedProduct::Multiply(const Parts& parts, size_t part) const {
  const size_t t = part % parts.of_tiles;
  const size_t p = part / parts.of_tiles;
  const size_t first_tile = t * tiles.count / parts.of_tiles;
  const size_t count = (t + 1) * tiles.count / parts.of_tiles - first_tile;
  const size_t most = kRows / BestTile().rows;
  const size_t blocks = (count + most - 1) / most;
  for (size_t i = 0; i < blocks; ++i) {
    MultiplyBlock(first_tile + i * count / blocks, first_tile + (i + 1) * count / blocks,
                  p * panels.count / parts.of_panels, (p + 1) * panels.count / parts.of_panels);
  }
}

void PackedProduct::MultiplyBlock(size_t first_tile, size_t last_tile, size_t first_panel, size_t last_panel) const {
  for (size_t k = 0; k < depth; k += kDepth) {
    const bool is_last = k + kDepth >= depth;
    const size_t panel = depth * BestTile().columns;  // to the next
    const size_t fetched = std::min(kDepth, depth - k) * BestTile().columns / (last_tile - first_tile) + 1;
    for (size_t p = first_panel; p < last_panel; ++p) {
      const size_t column = panels.Begin(p);
      const float* const b = weight + ColumnPanels::Offset(p, depth) + k * BestTile().columns;
      for (size_t t = first_tile; t < last_tile; ++t) {
        const size_t rows = tiles.Size(t);
        MultiplyTile({.rows = rows,
                      .columns = panels.Size(p),
                      .depth = std::min(kDepth, depth - k),
                      .a = a + tiles.Begin(t) * depth + k * rows,
                      .a_step = rows,
                      .b = b,
                      .bias = is_last && bias != nullptr ? bias + column : nullptr,
                      .accumulate = accumulate || k > 0,
                      .out = out + tiles.Begin(t) * out_stride + column,
                      .out_stride = out_stride,
                      .next = b + panel + (t - first_tile) * fetched,
                      .next_size = fetched});
      }
      if (!is_last || !activation.has_value()) continue;
      AddBiasActivate(out + tiles.Begin(first_tile) * out_stride + column, out_stride,
                      tiles.Begin(last_tile) - tiles.Begin(first_tile), panels.Size(p), nullptr, *activation);
    }
  }
}

}  // namespace anemone::internal
