// The arithmetic of a tower's layers: linear layers by whatever multiplies, norms, attention, MLPs.
#ifndef ANEMONE_CLIP_LAYERS_H_
#define ANEMONE_CLIP_LAYERS_H_

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "anemone/clip.h"
#include "anemone/status.h"
#include "clip/buffer.h"
#include "clip/chunks.h"
#include "clip/gemm.h"
#include "clip/weights.h"
#include "clip/workers.h"

namespace anemone::internal {

// Rows that a linear layer is applied to, normalised before where there is a norm.
struct Input {
  const float* data;
  size_t stride;
  size_t rows;
  const Norm* norm = nullptr;
  double epsilon = 0;
  bool is_packed = false;  // as Then::kActivatePacked stored them; without a norm
};

// A product is stored, stored after its activation (in rows, or as the next product takes it), or added to what the
// output holds. A bias is added in each case.
enum class Then : uint8_t { kBias, kActivate, kActivatePacked, kAddTo };

// Rows are fp32, `tower.width` wide and side by side unless a stride is given. Results depend neither on the number of
// threads nor on other rows. Threads: one call at a time. What fails or stops leaves results undefined; TakeFailure
// and Workers::Stops tell.
class Layers {
 public:
  // `workers` must live as long.
  Layers(ClipCompute compute, Workers* workers) : compute_(compute), workers_(*workers) {}

  // Sets the library that multiplies weights in fp32 rows. To be called before the first such product.
  void set_gemm(const Gemm* gemm) { gemm_ = gemm; }

  // out = then(input · weightᵀ + bias).
  void Apply(const Input& input, const Linear& linear, Then then, Activation activation, float* out, size_t out_stride);
  // `out` may be `in`.
  void ApplyNorm(const float* in, size_t in_stride, size_t rows, size_t width, const Norm& norm, double epsilon,
                 float* out, size_t out_stride);

  // All tokens of one chunk through one layer.
  void FullLayer(float* x, const Chunk& sequences, const ClipTower& tower, const LayerWeights& layer, bool causal);
  // The last layer: keys and values of every token, everything else for the pooled ones alone, which end up in
  // `pooled`.
  void LastLayer(const float* x, const Chunk& sequences, const ClipTower& tower, const LayerWeights& layer, bool causal,
                 float* pooled);
  // SigLIP's pooling: a learned query, `probe`, attends to every token of n pictures; then an MLP with a residual
  // [transformers modeling_siglip.py, SiglipMultiheadAttentionPoolingHead].
  void PoolByAttention(const float* x, size_t n, size_t length, const float* probe, const ClipTower& tower,
                       const LayerWeights& head, float* pooled);

  // The first failure of a product since the last call.
  Status TakeFailure();

 private:
  void ApplyPacked(const Input& input, const Linear& linear, Then then, Activation activation, float* out,
                   size_t out_stride);
  void ApplyByLibrary(const Input& input, const Linear& linear, Then then, Activation activation, float* out,
                      size_t out_stride);
  void Mlp(float* x, size_t stride, size_t rows, const ClipTower& tower, const LayerWeights& layer);
  void Fail(const Status& status);

  ClipCompute compute_;
  Workers& workers_;
  const Gemm* gemm_ = nullptr;
  Buffer normal_, qkv_, attended_, wide_, rounded_, packed_rows_, row_scales_;
  std::mutex failure_mutex_;
  Status failure_;  // of any thread
};

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_LAYERS_H_
