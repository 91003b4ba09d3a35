#include "clip/packed.h"

#include <vector>

#include "clip/buffer.h"
#include "clip/kernels.h"

namespace anemone::internal {
namespace {

// A panel of so much of the depth, and so many rows, stay in the second cache or stream from the third as fast. Less of
// the depth would read and write the sums more often, which costs more (docs/benchmarks.md): the layers of most models
// are multiplied whole.
constexpr size_t kDepth = 4096;
constexpr size_t kRows = 288;

// Fetches memory that is about to be written: a store would wait for each line of it.
void FetchToWrite(const float* to, size_t stride, size_t rows, size_t columns) {
  constexpr size_t kLine = 64 / sizeof(float);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; c += kLine) __builtin_prefetch(to + r * stride + c, 1);
  }
}

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

// fp32 alone: integers have one scale for all of a row, which no panel knows. A depth in parts keeps its sums in rows.
bool PackedProduct::PacksResult(const Encoding& encoding, size_t depth) {
  return encoding.compute == ClipCompute::kFp32 && depth <= kDepth;
}

PackedProduct::Parts PackedProduct::For(size_t threads) const {
  constexpr size_t kPartsPerThread = 4;  // threads do not work equally fast
  const size_t wanted = threads == 1 ? 1 : threads * kPartsPerThread;
  const size_t of_panels = std::min(wanted, panels.count);
  return {std::min(tiles.count, (wanted + of_panels - 1) / of_panels), of_panels};
}

// Blocks of about equal size.
std::vector<PackedProduct::Block> PackedProduct::BlocksOf(size_t first_tile, size_t last_tile) const {
  const size_t count = last_tile - first_tile;
  const size_t most = kRows / BestTile().rows;
  std::vector<Block> blocks((count + most - 1) / most);
  for (size_t i = 0; i < blocks.size(); ++i) {
    blocks[i] = {first_tile + i * count / blocks.size(), first_tile + (i + 1) * count / blocks.size()};
  }
  return blocks;
}

void PackedProduct::Multiply(const Parts& parts, size_t part) const {
  const size_t t = part % parts.of_tiles;
  const size_t p = part / parts.of_tiles;
  for (const Block& block : BlocksOf(t * tiles.count / parts.of_tiles, (t + 1) * tiles.count / parts.of_tiles)) {
    MultiplyBlock(block, p * panels.count / parts.of_panels, (p + 1) * panels.count / parts.of_panels);
  }
}

void PackedProduct::MultiplyPanel(size_t p, const float* panel) const {
  for (const Block& block : BlocksOf(0, tiles.count)) {
    for (size_t k = 0; k < encoding.WordsOf(depth); k += kDepth) MultiplyPart(block, p, panel, false, k);
  }
}

void PackedProduct::MultiplyBlock(const Block& block, size_t first_panel, size_t last_panel) const {
  for (size_t k = 0; k < encoding.WordsOf(depth); k += kDepth) {
    for (size_t p = first_panel; p < last_panel; ++p) {
      MultiplyPart(block, p, weight + p * encoding.PanelSize(depth), true, k);
    }
  }
}

// A block of rows by a panel, kDepth of the depth from `k` on. The next panel is fetched meanwhile, where it lies
// behind this one.
void PackedProduct::MultiplyPart(const Block& block, size_t p, const float* panel, bool is_next_beside,
                                 size_t k) const {
  const size_t words = encoding.WordsOf(depth);
  const size_t width = BestTile().columns;
  const bool is_last = k + kDepth >= words;
  const size_t part = std::min(kDepth, words - k);
  const size_t fetched = is_next_beside ? part * width / (block.last - block.first) + 1 : 0;
  const float* const next = panel + encoding.PanelSize(depth) + k * width;
  const size_t column = panels.Begin(p);
  const size_t columns = panels.Size(p);
  thread_local Buffer result;  // a tile's, before it is packed
  for (size_t t = block.first; t < block.last; ++t) {
    const size_t rows = tiles.Size(t);
    float* const stored = out + tiles.Begin(t) * out_stride + column * (packs_result ? rows : 1);
    float* const to = packs_result ? result.Get(rows * width) : stored;
    const size_t stride = packs_result ? width : out_stride;
    if (packs_result) {
      FetchToWrite(stored, 0, 1, rows * columns);  // a packed tile is one piece
    } else {
      FetchToWrite(stored, stride, rows, columns);
    }
    MultiplyTile({.words = encoding.words,
                  .rows = rows,
                  .columns = columns,
                  .depth = part,
                  .a = a + tiles.Begin(t) * words + k * rows,
                  .a_step = rows,
                  .b = panel + k * width,
                  .bias = is_last && bias != nullptr ? bias + column : nullptr,
                  .accumulate = accumulate || k > 0,
                  .row_scales = encoding.has_scales() ? row_scales + tiles.Begin(t) : nullptr,
                  .column_scales = encoding.has_scales() ? panel + words * width : nullptr,
                  .out = to,
                  .out_stride = stride,
                  .next = next + (t - block.first) * fetched,
                  .next_size = fetched});
    if (is_last && activation.has_value()) AddBiasActivate(to, stride, rows, columns, nullptr, *activation);
    if (packs_result) Transpose(to, stride, rows, columns, stored, rows);
  }
}

}  // namespace anemone::internal
