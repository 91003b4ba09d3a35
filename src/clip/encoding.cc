#include "clip/encoding.h"

#include <algorithm>

#include "clip/kernels.h"

namespace anemone::internal {
namespace {

size_t PerWord(Words words) {
  switch (words) {
    case Words::kF32:
      return 1;
    case Words::kBf16:
      return 2;
    case Words::kInt8:
      return 4;
  }
  return 1;
}

constexpr float kLargest = 127;  // of an integer's size

}  // namespace

Encoding Encoding::For(ClipCompute compute) {
  Words words = Words::kF32;
  if (compute == ClipCompute::kBf16) words = Words::kBf16;
  if (compute == ClipCompute::kInt8) words = Words::kInt8;
  return {compute, HasTileOf(words) ? words : Words::kF32};
}

size_t Encoding::WordsOf(size_t depth) const { return (depth + PerWord(words) - 1) / PerWord(words); }
size_t Encoding::PanelSize(size_t depth) const {
  return (WordsOf(depth) + (has_scales() ? 1 : 0)) * BestTile().columns;
}

float Encode(const Encoding& encoding, Side side, const float* x, size_t depth, float* words) {
  if (const size_t last = encoding.WordsOf(depth); last > 0) words[last - 1] = 0;  // what no element fills
  switch (encoding.compute) {
    case ClipCompute::kFp32:
      std::copy_n(x, depth, words);
      return 1;
    case ClipCompute::kBf16:
      if (encoding.words == Words::kF32) {
        RoundToBf16(x, depth, words);
      } else {
        RoundToBf16(x, depth, reinterpret_cast<uint16_t*>(words));
      }
      return 1;
    case ClipCompute::kInt8:
      break;
  }
  const float scale = LargestSize(x, depth) / kLargest;
  const float inverse = scale == 0 ? 0 : 1 / scale;
  if (encoding.words == Words::kF32) {
    RoundToMultiples(x, depth, inverse, scale, words);
    return 1;
  }
  RoundToIntegers(x, depth, inverse, side == Side::kRows ? 128 : 0, reinterpret_cast<uint8_t*>(words));
  return scale;
}

}  // namespace anemone::internal
