// The scores lie transposed, a column a query: the softmax goes down the columns of whole vectors, and what it leaves
// is packed already for the product with the values.
#include "clip/attention.h"

#include <algorithm>
#include <cmath>

#include "clip/buffer.h"
#include "clip/packed.h"
#include "clip/tile.h"

namespace anemone::internal {
namespace {

// Memory of a thread, and how a call's factors lie in it.
struct Scratch {
  Buffer keys_memory, values_memory, queries_memory, scores_memory, seen_memory;
  float* keys;     // tiles of keys, the depth outermost
  float* values;   // panels of the depth, keys outermost
  float* queries;  // a panel of queries, the depth outermost
  float* scores;   // [keys][a panel of queries]
  float* seen;     // keys that each of these queries sees
};

void PackKeysAndValues(const Attention& call, const RowTiles& tiles, const ColumnPanels& panels, Scratch& scratch) {
  const size_t width = BestTile().columns;
  scratch.keys = scratch.keys_memory.Get(call.keys * call.depth);
  scratch.values = scratch.values_memory.Get(panels.count * call.keys * width);
  for (size_t t = 0; t < tiles.count; ++t) {
    Transpose(call.k + tiles.Begin(t) * call.kv_stride, call.kv_stride, tiles.Size(t), call.depth,
              scratch.keys + tiles.Begin(t) * call.depth, tiles.Size(t));
  }
  for (size_t p = 0; p < panels.count; ++p) {
    float* to = scratch.values + p * call.keys * width;
    for (size_t key = 0; key < call.keys; ++key, to += width) {
      std::copy_n(call.v + key * call.kv_stride + panels.Begin(p), panels.Size(p), to);
    }
  }
}

// Queries [first, first + count), at most a panel of them.
void AttendPanel(const Attention& call, size_t first, size_t count, const RowTiles& tiles, const ColumnPanels& panels,
                 Scratch& scratch) {
  const size_t width = BestTile().columns;
  const auto visible = [&](size_t query) {
    return call.causal ? std::min(call.keys, call.first_query + query + 1) : call.keys;
  };
  const size_t seen = visible(first + count - 1);
  Transpose(call.q + first * call.q_stride, call.q_stride, count, call.depth, scratch.queries, width);
  for (size_t t = 0; t < tiles.count && tiles.Begin(t) < seen; ++t) {
    MultiplyTile({.rows = tiles.Size(t),
                  .columns = width,
                  .depth = call.depth,
                  .a = scratch.keys + tiles.Begin(t) * call.depth,
                  .a_step = tiles.Size(t),
                  .b = scratch.queries,
                  .out = scratch.scores + tiles.Begin(t) * width,
                  .out_stride = width});
  }
  for (size_t c = 0; c < width; ++c) {
    scratch.seen[c] = static_cast<float>(visible(first + std::min(c, count - 1)));
  }
  SoftmaxColumns(scratch.scores, seen, 1.0F / std::sqrt(static_cast<float>(call.depth)), scratch.seen);
  const RowTiles rows(count);
  for (size_t p = 0; p < panels.count; ++p) {
    for (size_t t = 0; t < rows.count; ++t) {
      MultiplyTile({.rows = rows.Size(t),
                    .columns = panels.Size(p),
                    .depth = seen,
                    .a = scratch.scores + rows.Begin(t),
                    .a_step = width,
                    .b = scratch.values + p * call.keys * width,
                    .out = call.out + (first + rows.Begin(t)) * call.out_stride + panels.Begin(p),
                    .out_stride = call.out_stride});
    }
  }
}

}  // namespace

void Attend(const Attention& call) {
  thread_local Scratch scratch;
  const size_t width = BestTile().columns;
  const RowTiles tiles(call.keys);
  const ColumnPanels panels(call.depth, call.depth);
  PackKeysAndValues(call, tiles, panels, scratch);
  scratch.scores = scratch.scores_memory.Get(call.keys * width);
  scratch.seen = scratch.seen_memory.Get(width);
  scratch.queries = scratch.queries_memory.Get(call.depth * width);
  std::fill_n(scratch.queries, call.depth * width, 0.0F);  // columns of no query
  for (size_t first = 0; first < call.queries; first += width) {
    AttendPanel(call, first, std::min(width, call.queries - first), tiles, panels, scratch);
  }
}

}  // namespace anemone::internal
