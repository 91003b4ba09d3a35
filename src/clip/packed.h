// Products of packed matrices: the weights of a model are packed once, the rows that they multiply each time.
//
// Each sum is made in the same order whatever else is multiplied with it: results depend neither on the number of
// threads nor on the other rows. Threads: pure functions of their arguments; parts of a product are the caller's to
// give to threads.
#ifndef ANEMONE_CLIP_PACKED_H_
#define ANEMONE_CLIP_PACKED_H_

#include <algorithm>
#include <cstddef>
#include <optional>
#include <vector>

#include "anemone/clip.h"
#include "clip/encoding.h"
#include "clip/tile.h"

namespace anemone::internal {

// Rows in tiles, the first of which have one more than the others. Tile i of a packed matrix begins at word Begin(i) ·
// (words of a row). REQUIRES: rows > 0.
struct RowTiles {
  explicit RowTiles(size_t rows)
      : count((rows + BestTile().rows - 1) / BestTile().rows), least(rows / count), larger(rows % count) {}

  size_t Begin(size_t i) const { return i * least + std::min(i, larger); }
  size_t Size(size_t i) const { return least + (i < larger ? 1 : 0); }

  size_t count;
  size_t least;   // rows of a tile
  size_t larger;  // tiles that have one more
};

// Columns in panels of one size. A group of columns begins with a panel of its own, so that groups can be multiplied
// apart; the last panel of a group is filled up with zeros.
struct ColumnPanels {
  ColumnPanels(size_t all, size_t of_group)
      : group(of_group),
        in_group((of_group + BestTile().columns - 1) / BestTile().columns),
        count(all / of_group * in_group) {}

  size_t Begin(size_t i) const { return i / in_group * group + i % in_group * BestTile().columns; }
  size_t Size(size_t i) const { return std::min(BestTile().columns, group - i % in_group * BestTile().columns); }

  size_t group;
  size_t in_group;
  size_t count;
};

// A tile of rows, and what their integers are multiples of: scales[rows], where there are some.
void PackTile(const Encoding& encoding, const float* rows, size_t stride, size_t count, size_t depth, float* to,
              float* scales);
// A panel of a weight [columns, depth], from `columns` (a panel's) rows of it, of that stride: PanelSize elements.
void PackPanel(const Encoding& encoding, const float* rows, size_t stride, size_t columns, size_t depth, float* to);

// out = a · weightᵀ + bias, or that added to `out`, then activated.
struct PackedProduct {
  Encoding encoding;
  RowTiles tiles;
  const float* a = nullptr;  // packed
  const float* row_scales = nullptr;
  ColumnPanels panels;
  const float* weight = nullptr;  // packed
  size_t depth = 0;
  const float* bias = nullptr;  // may be null
  bool accumulate = false;
  std::optional<Activation> activation;
  float* out = nullptr;
  size_t out_stride = 0;
  // `out` becomes the packed rows of the next product, of `out_stride` words, instead of rows. REQUIRES: PacksResult.
  bool packs_result = false;
  static bool PacksResult(const Encoding& encoding, size_t depth);

  // The product cut into parts for so many threads; Multiply does one of them.
  struct Parts {
    size_t of_tiles;
    size_t of_panels;
    size_t count() const { return of_tiles * of_panels; }
  };
  Parts For(size_t threads) const;
  void Multiply(const Parts& parts, size_t part) const;
  // The columns of one panel alone, which lies at `panel`, not in `weight`.
  void MultiplyPanel(size_t p, const float* panel) const;

 private:
  struct Block {  // of tiles, multiplied by a panel while they are in the cache
    size_t first, last;
  };
  std::vector<Block> BlocksOf(size_t first_tile, size_t last_tile) const;
  void MultiplyBlock(const Block& block, size_t first_panel, size_t last_panel) const;
  void MultiplyPart(const Block& block, size_t p, const float* panel, bool is_next_beside, size_t k) const;
};

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_PACKED_H_
