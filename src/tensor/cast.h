// Casts between dtypes. Rules, for every pair:
//   float → float   round to nearest, ties to even, once. Overflow gives infinity, or NaN where the format has none
//   (e4m3fn,
//                   the fnuz ones). NaN stays NaN: its sign and leading payload bits are kept where there is room, and
//                   a narrowed NaN is quiet. Subnormals are exact.
//   float → int     towards zero, saturating; NaN gives 0.
//   int → int       saturating.
//   int → float     round to nearest, ties to even, once.
//   any → bool      true unless it compares equal to zero (NaN is true, -0 is false); bool → any  0 or 1.
// Complex numbers cast to themselves only, and nothing is cast to e8m0.
#ifndef ANEMONE_TENSOR_CAST_H_
#define ANEMONE_TENSOR_CAST_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "anemone/dtype.h"

namespace anemone::internal {

bool CanCast(DType from, DType to);
bool IsFloat(DType dtype);  // real floating formats, e8m0 included

// Converts `count` elements. `from` and `to` may be equal when sizes are; otherwise they do not overlap. Need no
// alignment. REQUIRES: CanCast. Runs the vector code of this machine where a pair has one.
void CastElements(DType from_dtype, const std::byte* from, DType to_dtype, std::byte* to, size_t count);
// The same by scalar code alone: the reference that the vector code equals bit for bit.
void CastElementsScalar(DType from_dtype, const std::byte* from, DType to_dtype, std::byte* to, size_t count);

}  // namespace anemone::internal

#endif  // ANEMONE_TENSOR_CAST_H_
