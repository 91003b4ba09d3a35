// The vector code behind CastElements.
#ifndef ANEMONE_TENSOR_CAST_SIMD_H_
#define ANEMONE_TENSOR_CAST_SIMD_H_

#include <cstddef>

#include "anemone/dtype.h"

namespace anemone::internal {

// Converts `count` elements. The places do not overlap and need no alignment.
using CastFunction = void (*)(const std::byte* from, std::byte* to, size_t count);

// The best this machine has for a pair; nullptr where there is none and scalar code does it.
CastFunction FindVectorCast(DType from, DType to);

}  // namespace anemone::internal

#endif  // ANEMONE_TENSOR_CAST_SIMD_H_
