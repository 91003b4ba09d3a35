#include "clip/chunks.h"

#include <algorithm>
#include <utility>

#include "base/rounding.h"

namespace anemone::internal {
namespace {

// Tokens of a chunk: their activations stay in the last cache, of which each thread has a share. More of them would ask
// for a weight less often, which costs less than memory does (docs/benchmarks.md).
constexpr size_t kRows = 300;
// Fewer than these for each thread are one chunk: a thread alone would ask for the weights too often.
constexpr size_t kRowsOfThread = 150;

// Chunks for `count` sequences of so many tokens.
size_t ChunksFor(size_t count, size_t rows, size_t threads) {
  if (rows < kRowsOfThread * threads) return 1;
  const size_t in_chunk = std::max<size_t>(1, kRows * count / rows);
  return RoundUp((count + in_chunk - 1) / in_chunk, threads);
}

}  // namespace

size_t RowsOf(const Chunk& chunk) { return chunk.back().end(); }

size_t RowsOf(const std::vector<Chunk>& chunks) {
  size_t rows = 0;
  for (const Chunk& chunk : chunks) rows += RowsOf(chunk);
  return rows;
}

std::vector<Chunk> ChunksOf(std::vector<Sequence> sequences, const std::vector<std::vector<int32_t>>* ids,
                            size_t threads) {
  size_t rows = 0;
  for (const Sequence& s : sequences) rows += s.length;
  const size_t count = ChunksFor(sequences.size(), rows, threads);
  std::vector<Chunk> chunks;
  size_t before = 0;  // tokens
  size_t last = 0;    // of `count`
  for (size_t i = 0; i < sequences.size(); ++i) {
    Sequence& s = sequences[i];
    const size_t chunk = (2 * before + s.length) * count / (2 * rows);  // that its middle falls into
    before += s.length;
    if (chunks.empty() || chunk != last) {
      chunks.emplace_back();
      last = chunk;
      s.begin = 0;
    } else {
      const Sequence& previous = chunks.back().back();
      s.begin = previous.end();
      if (ids != nullptr) {
        const std::vector<int32_t>& text = (*ids)[i];
        const auto differ = std::mismatch(text.begin(), text.end() - 1, (*ids)[i - 1].begin(), (*ids)[i - 1].end());
        const auto same = static_cast<size_t>(differ.first - text.begin());
        s.shared.assign(previous.shared.begin(),
                        previous.shared.begin() + static_cast<ptrdiff_t>(std::min(same, previous.shared.size())));
        for (size_t row = previous.begin; s.shared.size() < same; ++row) s.shared.push_back(row);
      }
    }
    chunks.back().push_back(std::move(s));
  }
  return chunks;
}

void Gather(const float* x, size_t width, const std::vector<Chunk>& chunks, float* pooled) {
  for (const Chunk& chunk : chunks) {
    for (const Sequence& s : chunk) {
      std::copy_n(x + s.pooled_row() * width, width, pooled);
      pooled += width;
    }
    x += RowsOf(chunk) * width;
  }
}

}  // namespace anemone::internal
