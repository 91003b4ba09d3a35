// The vector code behind CastElements.
#ifndef ANEMONE_TENSOR_CAST_SIMD_H_
#define ANEMONE_TENSOR_CAST_SIMD_H_

#include <cstddef>
#include <vector>

#include "anemone/dtype.h"

namespace anemone::internal {

// Converts `count` elements. The places do not overlap and need no alignment.
using CastFunction = void (*)(const std::byte* from, std::byte* to, size_t count);

// The best this machine has for a pair; nullptr where there is none and scalar code does it.
CastFunction FindVectorCast(DType from, DType to);

struct VectorCast {
  const char* target;     // the instruction set's name
  CastFunction function;  // nullptr where there is none
};
// Every one this machine can run, the best first: for the tests, which hold each against the scalar code.
std::vector<VectorCast> VectorCasts(DType from, DType to);

}  // namespace anemone::internal

#endif  // ANEMONE_TENSOR_CAST_SIMD_H_
