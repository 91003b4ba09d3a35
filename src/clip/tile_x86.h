// The loop of tile.h for words of bf16 and of int8, which Highway does not multiply.
#ifndef ANEMONE_CLIP_TILE_X86_H_
#define ANEMONE_CLIP_TILE_X86_H_

#include <cstddef>

#include "clip/tile.h"

namespace anemone::internal {

bool HasX86TileOf(Words words);
// Of BestTile()'s shape for AVX-512. Only where HasX86TileOf(call.words).
void MultiplyX86Tile(const TileCall& call);

// Fetches what a call names, a part of it at each of its steps through the depth.
class Ahead {
 public:
  static constexpr size_t kSteps = 8;

  explicit Ahead(const TileCall& call) : at_(call.next), end_(call.next + call.next_size) {
    const size_t steps = (call.depth + kSteps - 1) / kSteps;
    lines_ = (call.next_size / kLine + steps - 1) / steps;
  }
  [[gnu::always_inline]] void Fetch() {
    for (size_t i = 0; i < lines_ && at_ < end_; ++i, at_ += kLine) __builtin_prefetch(at_, 0, 2);
  }

 private:
  static constexpr size_t kLine = 64 / sizeof(float);
  const float* at_;
  const float* end_;
  size_t lines_;
};

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_TILE_X86_H_
