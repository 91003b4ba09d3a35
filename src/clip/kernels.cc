// Vectors are kept in arrays here, which vectors without a fixed size do not allow; SSSE3 and AVX3_DL would gain
// nothing.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "clip/kernels.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
// clang-format off
#include <hwy/highway.h>
#include <hwy/cache_control.h>
#include <hwy/contrib/math/math-inl.h>
#include "clip/exp_inl.h"
// clang-format on

#include <algorithm>
#include <bit>
#include <cmath>

#include "clip/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace anemone::internal {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Not MaskedLoad and BlendedStore: with SSE4 they want addresses of whole vectors, and touch what follows.
V LoadPart(D d, const float* p, size_t count) {
  HWY_ALIGN float whole[hn::MaxLanes(D())] = {};
  std::copy_n(p, count, whole);
  return hn::Load(d, whole);
}
void StorePart(D d, V v, float* p, size_t count) {
  HWY_ALIGN float whole[hn::MaxLanes(D())];
  hn::Store(v, d, whole);
  std::copy_n(whole, count, p);
}

// Σ f(x) over a row.
template <typename F>
float Sum(const float* x, size_t count, const F& f) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  V sum0 = hn::Zero(d);
  V sum1 = hn::Zero(d);
  size_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    sum0 = hn::Add(sum0, f(hn::LoadU(d, x + i)));
    sum1 = hn::Add(sum1, f(hn::LoadU(d, x + i + lanes)));
  }
  for (; i + lanes <= count; i += lanes) sum0 = hn::Add(sum0, f(hn::LoadU(d, x + i)));
  if (i < count) {
    const V last = f(LoadPart(d, x + i, count - i));
    sum0 = hn::Add(sum0, hn::IfThenElseZero(hn::FirstN(d, count - i), last));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
}

void LayerNormImpl(const float* in, size_t in_stride, size_t rows, size_t width, const float* weight, const float* bias,
                   float epsilon, float* out, size_t out_stride) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  for (size_t r = 0; r < rows; ++r) {
    const float* x = in + r * in_stride;
    float* y = out + r * out_stride;
    const float mean = Sum(x, width, [](V v) { return v; }) / static_cast<float>(width);
    const V mean_v = hn::Set(d, mean);
    const float variance = Sum(x, width,
                               [&](V v) {
                                 const V delta = hn::Sub(v, mean_v);
                                 return hn::Mul(delta, delta);
                               }) /
                           static_cast<float>(width);
    const V scale = hn::Set(d, 1.0F / std::sqrt(variance + epsilon));
    size_t i = 0;
    for (; i + lanes <= width; i += lanes) {
      const V normal = hn::Mul(hn::Sub(hn::LoadU(d, x + i), mean_v), scale);
      hn::StoreU(hn::MulAdd(normal, hn::LoadU(d, weight + i), hn::LoadU(d, bias + i)), d, y + i);
    }
    for (; i < width; ++i) y[i] = (x[i] - mean) * hn::GetLane(scale) * weight[i] + bias[i];
  }
}

struct Identity {
  V operator()(D, V x) const { return x; }
};
struct QuickGelu {  // x / (1 + e^(−1.702 x)); the exponent stays where BoundedExp is defined
  V operator()(D d, V x) const {
    const V exponent = hn::Min(hn::Mul(x, hn::Set(d, -1.702F)), hn::Set(d, 88.0F));
    return hn::Div(x, hn::Add(hn::Set(d, 1.0F), BoundedExp(d, exponent)));
  }
};
struct GeluTanh {
  V operator()(D d, V x) const {
    const V cube = hn::Mul(hn::Mul(x, x), x);
    const V inner = hn::Mul(hn::Set(d, 0.7978845608028654F), hn::MulAdd(hn::Set(d, 0.044715F), cube, x));
    return hn::Mul(hn::Mul(hn::Set(d, 0.5F), x), hn::Add(hn::Set(d, 1.0F), hn::Tanh(d, inner)));
  }
};
struct Gelu {
  V operator()(D d, V x) const {
    return hn::Mul(hn::Mul(hn::Set(d, 0.5F), x),
                   hn::Add(hn::Set(d, 1.0F), Erf(d, hn::Mul(x, hn::Set(d, 0.7071067811865476F)))));
  }
  // Rational minimax on [-4, 4], beyond which erf is ±1 in fp32 (a few units in the last place).
  static V Erf(D d, V x) {
    x = hn::Min(hn::Max(x, hn::Set(d, -4.0F)), hn::Set(d, 4.0F));
    const V x2 = hn::Mul(x, x);
    V p = hn::Set(d, -2.72614225801306e-10F);
    for (const float c : {2.77068142495902e-08F, -2.10102402082508e-06F, -5.69250639462346e-05F, -7.34990630326855e-04F,
                          -2.95459980854025e-03F, -1.60960333262415e-02F}) {
      p = hn::MulAdd(p, x2, hn::Set(d, c));
    }
    V q = hn::Set(d, -1.45660718464996e-05F);
    for (const float c :
         {-2.13374055278905e-04F, -1.68282697438203e-03F, -7.37332916720468e-03F, -1.42647390514189e-02F}) {
      q = hn::MulAdd(q, x2, hn::Set(d, c));
    }
    return hn::Div(hn::Mul(x, p), q);
  }
};

template <typename F>
void BiasMap(float* x, size_t stride, size_t rows, size_t columns, const float* bias, const F& f) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  for (size_t r = 0; r < rows; ++r) {
    float* row = x + r * stride;
    size_t i = 0;
    for (; i + lanes <= columns; i += lanes) {
      V v = hn::LoadU(d, row + i);
      if (bias != nullptr) v = hn::Add(v, hn::LoadU(d, bias + i));
      hn::StoreU(f(d, v), d, row + i);
    }
    if (i < columns) {
      V v = LoadPart(d, row + i, columns - i);
      if (bias != nullptr) v = hn::Add(v, LoadPart(d, bias + i, columns - i));
      StorePart(d, f(d, v), row + i, columns - i);
    }
  }
}

void AddBiasImpl(float* x, size_t stride, size_t rows, size_t columns, const float* bias) {
  BiasMap(x, stride, rows, columns, bias, Identity());
}

void AddBiasActivateImpl(float* x, size_t stride, size_t rows, size_t columns, const float* bias,
                         Activation activation) {
  switch (activation) {
    case Activation::kQuickGelu:
      return BiasMap(x, stride, rows, columns, bias, QuickGelu());
    case Activation::kGelu:
      return BiasMap(x, stride, rows, columns, bias, Gelu());
    case Activation::kGeluTanh:
      return BiasMap(x, stride, rows, columns, bias, GeluTanh());
  }
}

void SoftmaxImpl(float* x, size_t count, size_t padded) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  float greatest = x[0];
  size_t i = 0;
  if (count >= lanes) {
    V most = hn::LoadU(d, x);
    for (i = lanes; i + lanes <= count; i += lanes) most = hn::Max(most, hn::LoadU(d, x + i));
    greatest = hn::GetLane(hn::MaxOfLanes(d, most));
  }
  for (; i < count; ++i) greatest = std::max(greatest, x[i]);

  const V greatest_v = hn::Set(d, greatest);
  V sums = hn::Zero(d);
  for (i = 0; i + lanes <= count; i += lanes) {
    const V e = BoundedExp(d, hn::Sub(hn::LoadU(d, x + i), greatest_v));
    sums = hn::Add(sums, e);
    hn::StoreU(e, d, x + i);
  }
  if (i < count) {
    const auto mask = hn::FirstN(d, count - i);
    const V e = hn::IfThenElseZero(mask, BoundedExp(d, hn::Sub(LoadPart(d, x + i, count - i), greatest_v)));
    sums = hn::Add(sums, e);
    StorePart(d, e, x + i, count - i);
  }
  const float inverse = 1.0F / hn::GetLane(hn::SumOfLanes(d, sums));
  const V inverse_v = hn::Set(d, inverse);
  for (i = 0; i + lanes <= count; i += lanes) hn::StoreU(hn::Mul(hn::LoadU(d, x + i), inverse_v), d, x + i);
  for (; i < count; ++i) x[i] *= inverse;
  std::fill(x + count, x + padded, 0.0F);
}

// R rows of `a` against C rows of `w`: R · C dot products whose operands stay in registers. Fetches the next C rows
// ahead where `ahead`: hardware stops at the end of each page.
template <size_t R, size_t C>
HWY_INLINE void DotTile(const float* a, size_t a_stride, const float* w, size_t depth, bool accumulate, float* out,
                        size_t out_stride, bool ahead) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  V sums[R][C];
  for (size_t r = 0; r < R; ++r) {
    for (size_t c = 0; c < C; ++c) sums[r][c] = hn::Zero(d);
  }
  size_t k = 0;
  for (; k + lanes <= depth; k += lanes) {
    V right[C];
    for (size_t c = 0; c < C; ++c) {
      right[c] = hn::LoadU(d, w + c * depth + k);
      if (ahead) hwy::Prefetch(w + (C + c) * depth + k);
    }
    for (size_t r = 0; r < R; ++r) {
      const V left = hn::LoadU(d, a + r * a_stride + k);
      for (size_t c = 0; c < C; ++c) sums[r][c] = hn::MulAdd(left, right[c], sums[r][c]);
    }
  }
  for (size_t r = 0; r < R; ++r) {
    for (size_t c = 0; c < C; ++c) {
      float sum = hn::GetLane(hn::SumOfLanes(d, sums[r][c]));
      for (size_t i = k; i < depth; ++i) sum += a[r * a_stride + i] * w[c * depth + i];
      float& to = out[r * out_stride + c];
      to = accumulate ? to + sum : sum;
    }
  }
}

template <size_t C>
void DotColumns(const float* a, size_t a_stride, size_t rows, const float* w, size_t depth, bool accumulate, float* out,
                size_t out_stride) {
  size_t r = 0;
  for (; r + 4 <= rows; r += 4)
    DotTile<4, C>(a + r * a_stride, a_stride, w, depth, accumulate, out + r * out_stride, out_stride, r == 0);
  for (; r + 2 <= rows; r += 2)
    DotTile<2, C>(a + r * a_stride, a_stride, w, depth, accumulate, out + r * out_stride, out_stride, r == 0);
  for (; r < rows; ++r)
    DotTile<1, C>(a + r * a_stride, a_stride, w, depth, accumulate, out + r * out_stride, out_stride, r == 0);
}

void SkinnyGemmImpl(const float* a, size_t a_stride, size_t rows, const float* w, size_t columns, size_t depth,
                    bool accumulate, float* out, size_t out_stride) {
  size_t c = 0;
  for (; c + 3 <= columns; c += 3)
    DotColumns<3>(a, a_stride, rows, w + c * depth, depth, accumulate, out + c, out_stride);
  for (; c < columns; ++c) DotColumns<1>(a, a_stride, rows, w + c * depth, depth, accumulate, out + c, out_stride);
}

float LargestSizeImpl(const float* x, size_t count) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  V most = hn::Zero(d);
  V nothing = hn::Zero(d);  // unless there is a NaN or an infinity
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const V v = hn::LoadU(d, x + i);
    most = hn::Max(most, hn::Abs(v));
    nothing = hn::MulAdd(v, hn::Zero(d), nothing);
  }
  float largest = hn::GetLane(hn::MaxOfLanes(d, most));
  float none = hn::GetLane(hn::SumOfLanes(d, nothing));
  for (; i < count; ++i) {
    largest = std::max(largest, std::fabs(x[i]));
    none += x[i] * 0;
  }
  return largest + none;
}

void RoundToMultiplesImpl(const float* x, size_t count, float inverse, float scale, float* out) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const V rounded = hn::Round(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse)));
    hn::StoreU(hn::Mul(rounded, hn::Set(d, scale)), d, out + i);
  }
  for (; i < count; ++i) out[i] = std::nearbyint(x[i] * inverse) * scale;
}

void RoundToIntegersImpl(const float* x, size_t count, float inverse, int more, uint8_t* out) {
  const D d;
  const hn::Rebind<int8_t, D> bytes;
  const size_t lanes = hn::Lanes(d);
  const auto flip = hn::Set(bytes, static_cast<int8_t>(more));  // 128 or 0 more: the highest bit, turned or not
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto rounded = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse)));
    hn::StoreU(hn::Xor(hn::DemoteTo(bytes, hn::DemoteTo(hn::Rebind<int16_t, D>(), rounded)), flip), bytes,
               reinterpret_cast<int8_t*>(out) + i);
  }
  for (; i < count; ++i) out[i] = static_cast<uint8_t>(static_cast<int>(std::nearbyint(x[i] * inverse)) + more);
}

void NormalizeRowsImpl(float* x, size_t rows, size_t width) {
  for (size_t r = 0; r < rows; ++r) {
    float* row = x + r * width;
    const float norm = std::sqrt(Sum(row, width, [](V v) { return hn::Mul(v, v); }));
    if (norm == 0) continue;
    for (size_t i = 0; i < width; ++i) row[i] /= norm;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace anemone::internal
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "tensor/simd.h"

namespace anemone::internal {
namespace {

// Branch-free, so that compilers vectorise the loops around it.
inline uint32_t Bf16Bits(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = bits + 0x7FFF + ((bits >> 16) & 1);
  const bool is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
  return (is_nan ? bits | 0x400000 : rounded) & 0xFFFF0000;
}

}  // namespace

void LayerNorm(const float* in, size_t in_stride, size_t rows, size_t width, const float* weight, const float* bias,
               float epsilon, float* out, size_t out_stride) {
  ANEMONE_BEST(LayerNormImpl)(in, in_stride, rows, width, weight, bias, epsilon, out, out_stride);
}
void AddBias(float* x, size_t stride, size_t rows, size_t columns, const float* bias) {
  ANEMONE_BEST(AddBiasImpl)(x, stride, rows, columns, bias);
}
void AddBiasActivate(float* x, size_t stride, size_t rows, size_t columns, const float* bias, Activation activation) {
  ANEMONE_BEST(AddBiasActivateImpl)(x, stride, rows, columns, bias, activation);
}
void Softmax(float* x, size_t count, size_t padded) { ANEMONE_BEST(SoftmaxImpl)(x, count, padded); }
void SkinnyGemm(const float* a, size_t a_stride, size_t rows, const float* w, size_t columns, size_t depth,
                bool accumulate, float* out, size_t out_stride) {
  ANEMONE_BEST(SkinnyGemmImpl)(a, a_stride, rows, w, columns, depth, accumulate, out, out_stride);
}

void RoundToBf16(const float* in, size_t count, uint16_t* out) {
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<uint16_t>(Bf16Bits(in[i]) >> 16);
}
void RoundToBf16(const float* in, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) out[i] = std::bit_cast<float>(Bf16Bits(in[i]));
}
float LargestSize(const float* x, size_t count) { return ANEMONE_BEST(LargestSizeImpl)(x, count); }
void RoundToMultiples(const float* x, size_t count, float inverse, float scale, float* out) {
  ANEMONE_BEST(RoundToMultiplesImpl)(x, count, inverse, scale, out);
}
void RoundToIntegers(const float* x, size_t count, float inverse, int more, uint8_t* out) {
  ANEMONE_BEST(RoundToIntegersImpl)(x, count, inverse, more, out);
}
void NormalizeRows(float* x, size_t rows, size_t width) { ANEMONE_BEST(NormalizeRowsImpl)(x, rows, width); }

}  // namespace anemone::internal
#endif  // HWY_ONCE
