// Vectors are kept in arrays here, which vectors without a fixed size do not allow; SSSE3 and AVX3_DL would gain
// nothing.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "clip/tile.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
// clang-format off
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
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

// Four rows by four columns at a time.
void TransposeImpl(const float* from, size_t stride, size_t rows, size_t columns, float* to, size_t to_step) {
  size_t r = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> d4;
  const hn::Repartition<double, decltype(d4)> pairs;
  for (; r + 4 <= rows; r += 4) {
    const float* const row = from + r * stride;
    size_t c = 0;
    for (; c + 4 <= columns; c += 4) {
      const auto v0 = hn::LoadU(d4, row + c);
      const auto v1 = hn::LoadU(d4, row + stride + c);
      const auto v2 = hn::LoadU(d4, row + 2 * stride + c);
      const auto v3 = hn::LoadU(d4, row + 3 * stride + c);
      const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d4, v0, v1));
      const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d4, v2, v3));
      const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d4, v0, v1));
      const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d4, v2, v3));
      float* const out = to + c * to_step + r;
      hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(pairs, low01, low23)), d4, out);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(pairs, low01, low23)), d4, out + to_step);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(pairs, high01, high23)), d4, out + 2 * to_step);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(pairs, high01, high23)), d4, out + 3 * to_step);
    }
    for (; c < columns; ++c) {
      for (size_t i = 0; i < 4; ++i) to[c * to_step + r + i] = row[i * stride + c];
    }
  }
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
  for (size_t v = 0; v < columns; v += lanes) {
    const V limit = hn::LoadU(d, seen + v);
    const auto is_seen = [&](size_t r) { return hn::Lt(hn::Set(d, static_cast<float>(r)), limit); };
    V most = hn::LoadU(d, x + v);
    for (size_t r = 1; r < rows; ++r) {
      most = hn::IfThenElse(is_seen(r), hn::Max(most, hn::LoadU(d, x + r * columns + v)), most);
    }
    V sum = hn::Zero(d);
    for (size_t r = 0; r < rows; ++r) {
      float* const at = x + r * columns + v;
      const V e = hn::IfThenElseZero(is_seen(r), hn::Exp(d, hn::Mul(hn::Sub(hn::LoadU(d, at), most), scales)));
      sum = hn::Add(sum, e);
      hn::StoreU(e, d, at);
    }
    const V inverse = hn::Div(hn::Set(d, 1.0F), sum);
    for (size_t r = 0; r < rows; ++r) {
      float* const at = x + r * columns + v;
      hn::StoreU(hn::Mul(hn::LoadU(d, at), inverse), d, at);
    }
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
