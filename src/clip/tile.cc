// Vectors are kept in arrays here, which vectors without a fixed size do not allow; SSSE3 and AVX3_DL would gain
// nothing.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "clip/tile.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
// clang-format off
#include <hwy/highway.h>
#include "clip/exp_inl.h"
// clang-format on

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "clip/tile.h"
#include "clip/tile_x86.h"

HWY_BEFORE_NAMESPACE();
namespace anemone::internal {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Two vectors of columns. Rows: their sums, the two vectors and one number of the other factor fill the registers, of
// which there are 32 with AVX-512 and NEON, 16 otherwise.
constexpr size_t kVectors = 2;
constexpr size_t kTileRows = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON ? 12 : 6;
size_t TileColumns() { return kVectors * hn::Lanes(D()); }

TileShape ShapeImpl() { return {kTileRows, TileColumns()}; }

template <size_t kRows>
void TileOf(const TileCall& call) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  V sums[kRows][kVectors];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
  }
  const float* a = call.a;
  const float* b = call.b;
  Ahead ahead(call);
  for (size_t k = 0; k < call.depth;) {
    ahead.Fetch();
    for (const size_t end = std::min(k + Ahead::kSteps, call.depth); k < end; ++k) {
      V right[kVectors];
      for (size_t v = 0; v < kVectors; ++v) right[v] = hn::LoadU(d, b + v * lanes);
      for (size_t r = 0; r < kRows; ++r) {
        const V left = hn::Set(d, a[r]);
        for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(left, right[v], sums[r][v]);
      }
      a += call.a_step;
      b += kVectors * lanes;
    }
  }
  if (call.columns == kVectors * lanes) {
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t v = 0; v < kVectors; ++v) {
        float* const out = call.out + r * call.out_stride + v * lanes;
        V sum = sums[r][v];
        if (call.accumulate) sum = hn::Add(sum, hn::LoadU(d, out));
        if (call.bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, call.bias + v * lanes));
        hn::StoreU(sum, d, out);
      }
    }
    return;
  }
  for (size_t r = 0; r < kRows; ++r) {  // the last panel of a matrix
    HWY_ALIGN float row[kVectors * hn::MaxLanes(D())];
    for (size_t v = 0; v < kVectors; ++v) hn::Store(sums[r][v], d, row + v * lanes);
    float* const out = call.out + r * call.out_stride;
    for (size_t c = 0; c < call.columns; ++c) {
      if (call.accumulate) row[c] += out[c];
      out[c] = call.bias == nullptr ? row[c] : row[c] + call.bias[c];
    }
  }
}

template <size_t... kLess>
void TileOfRows(const TileCall& call, std::index_sequence<kLess...>) {
  static constexpr std::array<void (*)(const TileCall&), sizeof...(kLess)> kTiles = {TileOf<kLess + 1>...};
  kTiles[call.rows - 1](call);
}

void MultiplyTileImpl(const TileCall& call) { TileOfRows(call, std::make_index_sequence<kTileRows>()); }

#if HWY_TARGET != HWY_SCALAR
// Turns squares within each block of four numbers: of four rows' vectors, columns of four numbers.
template <class DT, class VT = hn::Vec<DT>>
void TransposeInBlocks(DT d, VT* v) {
  const hn::Repartition<double, DT> pairs;
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, v[0], v[1]));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, v[2], v[3]));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, v[0], v[1]));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, v[2], v[3]));
  v[0] = hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23));
  v[1] = hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23));
  v[2] = hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23));
  v[3] = hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23));
}

// The first `rows` rows, of as many columns as `d` has numbers. kWhole: as many rows, too.
template <bool kWhole, class DT>
void TransposeSquare(DT d, const float* from, size_t stride, size_t rows, float* to, size_t to_step) {
  constexpr size_t kBlocks = hn::MaxLanes(DT()) / 4;
  const auto is_row = hn::FirstN(d, rows);
  const auto load = [&](size_t row) { return kWhole || row < rows ? hn::LoadU(d, from + row * stride) : hn::Zero(d); };
  const auto store = [&](hn::Vec<DT> column, float* at) {
    kWhole ? hn::StoreU(column, d, at) : hn::BlendedStore(column, is_row, d, at);
  };
  hn::Vec<DT> v[kBlocks][4];  // of each four rows
  for (size_t g = 0; g < kBlocks; ++g) {
    for (size_t i = 0; i < 4; ++i) v[g][i] = load(g * 4 + i);
    TransposeInBlocks(d, v[g]);
  }
  // Block b of v[g][i] holds rows 4g to 4g+3 of column 4b+i.
  for (size_t i = 0; i < 4; ++i) {
    float* const out = to + i * to_step;
    if constexpr (kBlocks == 1) {
      store(v[0][i], out);
    } else if constexpr (kBlocks == 2) {
      store(hn::ConcatLowerLower(d, v[1][i], v[0][i]), out);
      store(hn::ConcatUpperUpper(d, v[1][i], v[0][i]), out + 4 * to_step);
    } else {
      static_assert(kBlocks == 4);
      const auto even01 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(v[1][i]), v[0][i]);
      const auto odd01 = hn::OddEvenBlocks(v[1][i], hn::SwapAdjacentBlocks(v[0][i]));
      const auto even23 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(v[3][i]), v[2][i]);
      const auto odd23 = hn::OddEvenBlocks(v[3][i], hn::SwapAdjacentBlocks(v[2][i]));
      store(hn::ConcatLowerLower(d, even23, even01), out);
      store(hn::ConcatLowerLower(d, odd23, odd01), out + 4 * to_step);
      store(hn::ConcatUpperUpper(d, even23, even01), out + 8 * to_step);
      store(hn::ConcatUpperUpper(d, odd23, odd01), out + 12 * to_step);
    }
  }
}

template <bool kWhole, class DT>
void TransposeStrip(DT d, const float* from, size_t stride, size_t rows, size_t columns, float* to, size_t to_step) {
  constexpr size_t kSide = hn::MaxLanes(DT());
  size_t c = 0;
  for (; c + kSide <= columns; c += kSide) {
    TransposeSquare<kWhole>(d, from + c, stride, rows, to + c * to_step, to_step);
  }
  for (; c < columns; ++c) {
    for (size_t i = 0; i < rows; ++i) to[c * to_step + i] = from[i * stride + c];
  }
}

// The rows from `r` on that fill squares of `d`, or more than half of the last, where storing a part of a vector
// touches no more than it (more than four numbers: AVX2, AVX-512); the first row that is left.
template <class DT>
size_t TransposeRows(DT d, const float* from, size_t stride, size_t r, size_t rows, size_t columns, float* to,
                     size_t to_step) {
  constexpr size_t kSide = hn::MaxLanes(DT());
  for (; r + kSide <= rows; r += kSide) {
    TransposeStrip<true>(d, from + r * stride, stride, kSide, columns, to + r, to_step);
  }
  if constexpr (kSide > 4) {
    if (rows - r <= kSide / 2) return r;
    TransposeStrip<false>(d, from + r * stride, stride, rows - r, columns, to + r, to_step);
    r = rows;
  }
  return r;
}
#endif

void TransposeImpl(const float* from, size_t stride, size_t rows, size_t columns, float* to, size_t to_step) {
  size_t r = 0;
#if HWY_TARGET != HWY_SCALAR
  r = TransposeRows(D(), from, stride, r, rows, columns, to, to_step);
  r = TransposeRows(hn::FixedTag<float, 4>(), from, stride, r, rows, columns, to, to_step);
#endif
  for (; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) to[c * to_step + r] = from[r * stride + c];
  }
}

void SoftmaxColumnsImpl(float* x, size_t rows, float scale, const float* seen) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const size_t columns = kVectors * lanes;
  const V scales = hn::Set(d, scale);
  // Rows that all columns see need no mask. Neighbouring vectors side by side: one would wait for itself.
  const auto whole = static_cast<size_t>(*std::min_element(seen, seen + columns));
  const auto is_seen = [&](size_t r, size_t v) {
    return hn::Lt(hn::Set(d, static_cast<float>(r)), hn::LoadU(d, seen + v * lanes));
  };
  const auto at = [&](size_t r, size_t v) { return x + r * columns + v * lanes; };
  V most[kVectors];
  V sums[kVectors];
  for (size_t v = 0; v < kVectors; ++v) {
    V even = hn::LoadU(d, at(0, v));
    V odd = even;
    size_t r = 1;
    for (; r + 1 < whole; r += 2) {
      even = hn::Max(even, hn::LoadU(d, at(r, v)));
      odd = hn::Max(odd, hn::LoadU(d, at(r + 1, v)));
    }
    for (; r < rows; ++r) even = hn::IfThenElse(is_seen(r, v), hn::Max(even, hn::LoadU(d, at(r, v))), even);
    most[v] = hn::Max(even, odd);
    sums[v] = hn::Zero(d);
  }
  const auto exp = [&](size_t r, size_t v) {
    return BoundedExp(d, hn::Mul(hn::Sub(hn::LoadU(d, at(r, v)), most[v]), scales));
  };
  const auto put = [&](size_t r, size_t v, V e) {
    sums[v] = hn::Add(sums[v], e);
    hn::StoreU(e, d, at(r, v));
  };
  for (size_t r = 0; r < whole; ++r) {
    for (size_t v = 0; v < kVectors; ++v) put(r, v, exp(r, v));
  }
  for (size_t r = whole; r < rows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) put(r, v, hn::IfThenElseZero(is_seen(r, v), exp(r, v)));
  }
  for (size_t v = 0; v < kVectors; ++v) sums[v] = hn::Div(hn::Set(d, 1.0F), sums[v]);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) hn::StoreU(hn::Mul(hn::LoadU(d, at(r, v)), sums[v]), d, at(r, v));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace anemone::internal
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "tensor/simd.h"

namespace anemone::internal {

TileShape BestTile() { return ANEMONE_BEST(ShapeImpl)(); }
const char* TileInstructions() {
  static const auto all = ANEMONE_RUNNABLE(ShapeImpl);
  return all.front().target;
}
bool HasTileOf(Words words) {
  return words == Words::kF32 || (std::string_view(TileInstructions()) == "AVX3" && HasX86TileOf(words));
}
void MultiplyTile(const TileCall& call) {
  if (call.words != Words::kF32) return MultiplyX86Tile(call);
  ANEMONE_BEST(MultiplyTileImpl)(call);
}
void Transpose(const float* from, size_t stride, size_t rows, size_t columns, float* to, size_t to_step) {
  ANEMONE_BEST(TransposeImpl)(from, stride, rows, columns, to, to_step);
}
void SoftmaxColumns(float* x, size_t rows, float scale, const float* seen) {
  ANEMONE_BEST(SoftmaxColumnsImpl)(x, rows, scale, seen);
}

}  // namespace anemone::internal
#endif  // HWY_ONCE
