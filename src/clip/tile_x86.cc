#include "clip/tile_x86.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <utility>

#define ANEMONE_TARGET __attribute__((target("avx512f,avx512bw,avx512bf16,avx512vnni")))

namespace anemone::internal {
namespace {

constexpr size_t kTileRows = 12;
constexpr size_t kLanes = 16;
constexpr size_t kVectors = 2;

// One column vector of one row: the sum, its scales and what it comes on top of.
ANEMONE_TARGET inline void Store(const TileCall& call, size_t r, size_t v, __m512 sum) {
  const size_t first = v * kLanes;
  if (call.columns <= first) return;
  const size_t count = std::min(kLanes, call.columns - first);
  const auto mask = static_cast<__mmask16>((1U << count) - 1);
  float* const out = call.out + r * call.out_stride + first;
  if (call.column_scales != nullptr) {
    const __m512 scale =
        _mm512_mul_ps(_mm512_set1_ps(call.row_scales[r]), _mm512_maskz_loadu_ps(mask, call.column_scales + first));
    sum = _mm512_mul_ps(sum, scale);
  }
  if (call.accumulate) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, out));
  if (call.bias != nullptr) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, call.bias + first));
  _mm512_mask_storeu_ps(out, mask, sum);
}

template <size_t kRows>
ANEMONE_TARGET void Bf16TileOf(const TileCall& call) {
  __m512 sums[kRows][kVectors];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) sums[r][v] = _mm512_setzero_ps();
  }
  const float* a = call.a;
  const float* b = call.b;
  Ahead ahead(call);
  for (size_t k = 0; k < call.depth;) {
    ahead.Fetch();
    for (const size_t end = std::min(k + Ahead::kSteps, call.depth); k < end; ++k) {
      const auto right0 = reinterpret_cast<__m512bh>(_mm512_loadu_ps(b));
      const auto right1 = reinterpret_cast<__m512bh>(_mm512_loadu_ps(b + kLanes));
      for (size_t r = 0; r < kRows; ++r) {
        const auto left = reinterpret_cast<__m512bh>(_mm512_set1_ps(a[r]));
        sums[r][0] = _mm512_dpbf16_ps(sums[r][0], left, right0);
        sums[r][1] = _mm512_dpbf16_ps(sums[r][1], left, right1);
      }
      a += call.a_step;
      b += kVectors * kLanes;
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) Store(call, r, v, sums[r][v]);
  }
}

// Integers in a vector of a type of their own: GCC 12 keeps arrays of __m512i in memory.
using Integers = int __attribute__((vector_size(64)));

ANEMONE_TARGET inline Integers AddProducts(Integers sum, Integers unsigned_bytes, Integers signed_bytes) {
  return reinterpret_cast<Integers>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum),
                                                        reinterpret_cast<__m512i>(unsigned_bytes),
                                                        reinterpret_cast<__m512i>(signed_bytes)));
}

template <size_t kRows>
ANEMONE_TARGET void Int8TileOf(const TileCall& call) {
  Integers sums[kRows][kVectors];
  Integers excess[kVectors] = {};  // what the rows' integers are too large by, times the columns
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) sums[r][v] = Integers{};
  }
  const auto too_large = reinterpret_cast<Integers>(_mm512_set1_epi8(static_cast<char>(128)));
  const float* a = call.a;
  const float* b = call.b;
  Ahead ahead(call);
  for (size_t k = 0; k < call.depth;) {
    ahead.Fetch();
    for (const size_t end = std::min(k + Ahead::kSteps, call.depth); k < end; ++k) {
      const auto right0 = reinterpret_cast<Integers>(_mm512_loadu_ps(b));
      const auto right1 = reinterpret_cast<Integers>(_mm512_loadu_ps(b + kLanes));
      excess[0] = AddProducts(excess[0], too_large, right0);
      excess[1] = AddProducts(excess[1], too_large, right1);
      for (size_t r = 0; r < kRows; ++r) {
        const auto left = reinterpret_cast<Integers>(_mm512_set1_ps(a[r]));
        sums[r][0] = AddProducts(sums[r][0], left, right0);
        sums[r][1] = AddProducts(sums[r][1], left, right1);
      }
      a += call.a_step;
      b += kVectors * kLanes;
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) {
      const Integers sum = sums[r][v] - excess[v];
      Store(call, r, v, _mm512_cvtepi32_ps(reinterpret_cast<__m512i>(sum)));
    }
  }
}

using Tile = void (*)(const TileCall&);
template <size_t... kLess>
constexpr std::array<Tile, kTileRows> Bf16Tiles(std::index_sequence<kLess...>) {
  return {Bf16TileOf<kLess + 1>...};
}
template <size_t... kLess>
constexpr std::array<Tile, kTileRows> Int8Tiles(std::index_sequence<kLess...>) {
  return {Int8TileOf<kLess + 1>...};
}

}  // namespace

bool HasX86TileOf(Words words) {
  return words == Words::kBf16 ? __builtin_cpu_supports("avx512bf16") != 0 : __builtin_cpu_supports("avx512vnni") != 0;
}

void MultiplyX86Tile(const TileCall& call) {
  static constexpr auto kBf16 = Bf16Tiles(std::make_index_sequence<kTileRows>());
  static constexpr auto kInt8 = Int8Tiles(std::make_index_sequence<kTileRows>());
  (call.words == Words::kBf16 ? kBf16 : kInt8)[call.rows - 1](call);
}

}  // namespace anemone::internal

#else

namespace anemone::internal {

bool HasX86TileOf(Words) { return false; }
void MultiplyX86Tile(const TileCall&) {}

}  // namespace anemone::internal

#endif
