// The arithmetic of the encoders around their large products (gemm.h), vectorised for whatever this machine has.
//
// Matrices are row-major, fp32; a "stride" is in elements between rows. Threads: pure functions of their arguments.
#ifndef ANEMONE_CLIP_KERNELS_H_
#define ANEMONE_CLIP_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "anemone/clip.h"

namespace anemone::internal {

// out[r] = (in[r] − mean) / √(variance + epsilon) · weight + bias, for each row. `in` may be `out`.
void LayerNorm(const float* in, size_t in_stride, size_t rows, size_t width, const float* weight, const float* bias,
               float epsilon, float* out, size_t out_stride);

// x[r][c] = f(x[r][c] + bias[c]). bias may be null.
void AddBias(float* x, size_t stride, size_t rows, size_t columns, const float* bias);
void AddBiasActivate(float* x, size_t stride, size_t rows, size_t columns, const float* bias, Activation activation);

// Softmax of x[0..count) in place; what follows up to `padded` becomes 0.
void Softmax(float* x, size_t count, size_t padded);

// out[r][c] (+)= Σ_k a[r][k] · w[c][k]: few rows against a weight that is read once, which is where sgemm's packing of
// the weight would cost more than the arithmetic. Adds to `out` where `accumulate`.
void SkinnyGemm(const float* a, size_t a_stride, size_t rows, const float* w, size_t columns, size_t depth,
                bool accumulate, float* out, size_t out_stride);

// Rounded to bf16, ties to even: as bf16 bits, or as the floats they stand for. A NaN stays one.
void RoundToBf16(const float* in, size_t count, uint16_t* out);
void RoundToBf16(const float* in, size_t count, float* out);

// The largest size of an element; NaN where one is a NaN or infinite.
float LargestSize(const float* x, size_t count);
// x · inverse rounded to the nearest integer, from −127 to 127 where |x · inverse| is at most 127: times `scale`, or as
// a byte that is `more` larger.
void RoundToMultiples(const float* x, size_t count, float inverse, float scale, float* out);
void RoundToIntegers(const float* x, size_t count, float inverse, int more, uint8_t* out);

// Divides each row by its Euclidean norm, in place.
void NormalizeRows(float* x, size_t rows, size_t width);

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_KERNELS_H_
