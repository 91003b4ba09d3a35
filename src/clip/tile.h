// The innermost loop of the project's own matrix products, and how factors lie for it.
//
// One factor is cut into tiles of rows, the other into panels of columns; each lies with its depth outermost, in words
// of 32 bits, so that the loop reads both from end to end. fp32, vectorised for whatever this machine has; bf16 and
// int8 where the processor has instructions for them.
//
// Threads: pure functions of their arguments.
#ifndef ANEMONE_CLIP_TILE_H_
#define ANEMONE_CLIP_TILE_H_

#include <cstddef>
#include <cstdint>

namespace anemone::internal {

// The most rows of a tile, and the columns of a panel, on this processor: what its registers hold.
struct TileShape {
  size_t rows = 0;
  size_t columns = 0;
};
TileShape BestTile();
// The instruction set that the loop is compiled for: "AVX3" (AVX-512), "AVX2", …
const char* TileInstructions();

// What a word holds: a float; the bf16 bits of two neighbours along the depth; four of them as integers, of which those
// of the rows are 128 too large and unsigned, those of the columns signed.
enum class Words : uint8_t { kF32, kBf16, kInt8 };
// Whether this processor has instructions for it (AVX-512 BF16, AVX-512 VNNI), which ANEMONE_INSTRUCTIONS may forbid.
bool HasTileOf(Words words);

// out[r][c] = Σ_k a[k · a_step + r] · b[k · BestTile().columns + c], on top of `bias` and of `out`.
struct TileCall {
  Words words = Words::kF32;  // of `a` and `b`
  size_t rows = 0;            // 1 to BestTile().rows
  size_t columns = 0;         // 1 to BestTile().columns; the panel holds all of them
  size_t depth = 0;           // in words
  const float* a = nullptr;
  size_t a_step = 0;
  const float* b = nullptr;
  const float* bias = nullptr;  // [columns], may be null
  bool accumulate = false;      // adds to what `out` holds
  // What integers are multiples of, [rows] and [columns]; kInt8 alone.
  const float* row_scales = nullptr;
  const float* column_scales = nullptr;
  float* out = nullptr;
  size_t out_stride = 0;
  // Memory to fetch into the cache meanwhile: what the next tiles read. It may lie outside of what there is.
  const float* next = nullptr;
  size_t next_size = 0;  // elements
};
void MultiplyTile(const TileCall& call);

// to[c · to_step + r] = from[r · stride + c].
void Transpose(const float* from, size_t stride, size_t rows, size_t columns, float* to, size_t to_step);

// Softmax of scale · x down each column of a panel x[rows][BestTile().columns], over the column's first `seen[c]` rows
// (1 to rows); the others become 0.
void SoftmaxColumns(float* x, size_t rows, float scale, const float* seen);

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_TILE_H_
