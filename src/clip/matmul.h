// Products of bf16 matrices by oneDNN, where that is faster than the project's own (tile.h): with AMX.
#ifndef ANEMONE_CLIP_MATMUL_H_
#define ANEMONE_CLIP_MATMUL_H_

#include <cstddef>
#include <cstdint>

#include "anemone/status.h"

namespace anemone::internal {

// Whether this processor has AMX and this build oneDNN, which knows it.
bool HasBf16Products();

enum class MatmulType : uint8_t { kF32, kBf16 };

// out[r][c] (+)= Σ_k a[r][k] · w[c][k], summed in fp32; `a` and `w` hold `type`, rows of w being `depth` long. Adds to
// `out` where `accumulate`. Strides in elements. Errors: Unsupported (no oneDNN, or it has no code for `type` here).
Status Matmul(MatmulType type, const void* a, size_t a_stride, size_t rows, const void* w, size_t columns, size_t depth,
              bool accumulate, float* out, size_t out_stride, int threads);

// What the encoders call. A variable, so that a test can put plain arithmetic in its place, and their way through bf16
// runs on machines without such instructions, too. Threads: set it while nothing is encoded.
struct Products {
  bool (*has_bf16)();
  decltype(&Matmul) matmul;
};
extern Products products;

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_MATMUL_H_
