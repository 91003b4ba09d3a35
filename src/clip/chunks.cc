#include "clip/chunks.h"

#include <algorithm>
#include <utility>

namespace anemone::internal {
namespace {

// Tokens at work at once: their activations stay in the last cache, of which each thread has a share. More of them
// would ask for a weight less often, which costs less than memory does (docs/benchmarks.md).
constexpr size_t kLeastRows = 300;
constexpr size_t kRowsOfThread = 150;

}  // namespace

size_t RowsOf(const Chunk& chunk) { return chunk.back().end(); }

size_t RowsOf(const std::vector<Chunk>& chunks) {
  size_t rows = 0;
  for (const Chunk& chunk : chunks) rows += RowsOf(chunk);
  return rows;
}

std::vector<Chunk> ChunksOf(std::vector<Sequence> sequences, const std::vector<std::vector<int32_t>>* ids,
                            size_t threads) {
  const size_t most = std::max(kLeastRows, kRowsOfThread * threads);
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < sequences.size(); ++i) {
    Sequence& s = sequences[i];
    if (chunks.empty() || RowsOf(chunks.back()) + s.length > most) {
      chunks.emplace_back();
      s.begin = 0;
    } else {
      const Sequence& before = chunks.back().back();
      s.begin = before.end();
      if (ids != nullptr) {
        const std::vector<int32_t>& text = (*ids)[i];
        const auto differ = std::mismatch(text.begin(), text.end() - 1, (*ids)[i - 1].begin(), (*ids)[i - 1].end());
        const auto same = static_cast<size_t>(differ.first - text.begin());
        s.shared.assign(before.shared.begin(),
                        before.shared.begin() + static_cast<ptrdiff_t>(std::min(same, before.shared.size())));
        for (size_t row = before.begin; s.shared.size() < same; ++row) s.shared.push_back(row);
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
