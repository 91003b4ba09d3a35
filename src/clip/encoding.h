// How the factors of packed products are rounded, and the words that they become.
#ifndef ANEMONE_CLIP_ENCODING_H_
#define ANEMONE_CLIP_ENCODING_H_

#include <cstddef>

#include "anemone/clip.h"
#include "clip/tile.h"

namespace anemone::internal {

// Factors in a precision, as words that this processor multiplies: of their own kind where it has instructions for
// them, else rounded floats.
struct Encoding {
  ClipCompute compute = ClipCompute::kFp32;
  Words words = Words::kF32;

  static Encoding For(ClipCompute compute);

  // Words of one row or column.
  size_t WordsOf(size_t depth) const;
  // Elements of a packed panel: its words, then the scales of its columns where they are integers.
  size_t PanelSize(size_t depth) const;
  bool has_scales() const { return words == Words::kInt8; }
};

// Which of a product's factors: int8 has another form for each.
enum class Side : uint8_t { kRows, kColumns };

// Rounds x[depth] into words. Integers are multiples of the answer, a 127th of the largest; 1 otherwise.
float Encode(const Encoding& encoding, Side side, const float* x, size_t depth, float* words);

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_ENCODING_H_
