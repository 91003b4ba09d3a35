// e^x in vectors, for tile.cc and kernels.cc, once for each instruction set [Highway, g3doc/faq.md, "-inl.h"].
#if defined(ANEMONE_CLIP_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ANEMONE_CLIP_EXP_INL_H_
#undef ANEMONE_CLIP_EXP_INL_H_
#else
#define ANEMONE_CLIP_EXP_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace anemone::internal {
namespace HWY_NAMESPACE {

// e^x for x of at most 88, less than a unit in the last place off; of x below -87 that of -87 (1.6e-38). Highway's goes
// further, to zero and to infinity, and takes more than twice the time. NaN stays NaN.
template <class D, class V>
HWY_INLINE V BoundedExp(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToUnsigned<D> bits;
  const V least = hn::Set(d, -87.0F);
  x = hn::IfThenElse(hn::Lt(x, least), least, x);  // not Max, which may take NaN for less
  // x = q ln 2 + r. So large a number has no fraction: its last bits are q and a float's exponent bias.
  const V whole = hn::Set(d, 0x1.8p23F + 127);
  const V biased = hn::MulAdd(x, hn::Set(d, 1.442695041F), whole);
  const V q = hn::Sub(biased, whole);
  V r = hn::MulAdd(q, hn::Set(d, -0.693145752F), x);  // ln 2 in two parts
  r = hn::MulAdd(q, hn::Set(d, -1.42860677e-6F), r);
  V p = hn::Set(d, 1.38145406e-3F);  // minimax on ±½ ln 2, 3e-9 off
  for (const float c : {8.36874545e-3F, 4.16683890e-2F, 1.66665211e-1F, 4.99999940e-1F, 1.0F, 1.0F}) {
    p = hn::MulAdd(p, r, hn::Set(d, c));
  }
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(bits, biased))));
}

}  // namespace HWY_NAMESPACE
}  // namespace anemone::internal
HWY_AFTER_NAMESPACE();

#endif  // ANEMONE_CLIP_EXP_INL_H_
