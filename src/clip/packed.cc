#include "clip/packed.h"

#include <vector>

#include "clip/kernels.h"

namespace anemone::internal {
namespace {

// A panel of so much of the depth, and so many rows, stay in the second cache or stream from the third as fast. Less of
// the depth would read and write the sums more often, which costs more (docs/benchmarks.md).
constexpr size_t kDepth = 1024;
constexpr size_t kRows = 288;

}  // namespace

void PackTile(const Encoding& encoding, const float* rows, size_t stride, size_t count, size_t depth, float* to,
              float* scales) {
  if (encoding.compute == ClipCompute::kFp32) return Transpose(rows, stride, count, depth, to, count);
  thread_local std::vector<float> encoded;
  const size_t words = encoding.WordsOf(depth);
  encoded.resize(count * words);
  for (size_t r = 0; r < count; ++r) {
    const float scale = Encode(encoding, Side::kRows, rows + r * stride, depth, encoded.data() + r * words);
    if (encoding.has_scales()) scales[r] = scale;
  }
  Transpose(encoded.data(), words, count, words, to, count);
}

void PackPanel(const Encoding& encoding, const float* rows, size_t stride, size_t columns, size_t depth, float* to) {
  const size_t width = BestTile().columns;
  const size_t words = encoding.WordsOf(depth);
  if (columns < width) std::fill_n(to, encoding.PanelSize(depth), 0.0F);
  if (encoding.compute == ClipCompute::kFp32) return Transpose(rows, stride, columns, depth, to, width);
  std::vector<float> encoded(columns * words);
  for (size_t c = 0; c < columns; ++c) {
    const float scale = Encode(encoding, Side::kColumns, rows + c * stride, depth, encoded.data() + c * words);
    if (encoding.has_scales()) to[words * width + c] = scale;
  }
  Transpose(encoded.data(), words, columns, words, to, width);
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
  const size_t words = encoding.WordsOf(depth);
  const size_t panel_size = encoding.PanelSize(depth);
  const size_t width = BestTile().columns;
  for (size_t k = 0; k < words; k += kDepth) {
    const bool is_last = k + kDepth >= words;
    const size_t fetched = std::min(kDepth, words - k) * width / (last_tile - first_tile) + 1;
    for (size_t p = first_panel; p < last_panel; ++p) {
      const size_t column = panels.Begin(p);
      const float* const panel = weight + p * panel_size;
      for (size_t t = first_tile; t < last_tile; ++t) {
        const size_t rows = tiles.Size(t);
        MultiplyTile({.words = encoding.words,
                      .rows = rows,
                      .columns = panels.Size(p),
                      .depth = std::min(kDepth, words - k),
                      .a = a + tiles.Begin(t) * words + k * rows,
                      .a_step = rows,
                      .b = panel + k * width,
                      .bias = is_last && bias != nullptr ? bias + column : nullptr,
                      .accumulate = accumulate || k > 0,
                      .row_scales = encoding.has_scales() ? row_scales + tiles.Begin(t) : nullptr,
                      .column_scales = encoding.has_scales() ? panel + words * width : nullptr,
                      .out = out + tiles.Begin(t) * out_stride + column,
                      .out_stride = out_stride,
                      .next = panel + panel_size + k * width + (t - first_tile) * fetched,
                      .next_size = fetched});
      }
      if (!is_last || !activation.has_value()) continue;
      AddBiasActivate(out + tiles.Begin(first_tile) * out_stride + column, out_stride,
                      tiles.Begin(last_tile) - tiles.Begin(first_tile), panels.Size(p), nullptr, *activation);
    }
  }
}

}  // namespace anemone::internal
