#include "clip/layers.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "clip/attention.h"
#include "clip/kernels.h"
#include "clip/matmul.h"
#include "clip/packed.h"

namespace anemone::internal {
namespace {

constexpr size_t kSkinnyRows = 24;  // up to here a library's product would pack a weight for longer than multiply

bool IsPacked(const Linear& linear) { return linear.weight.packed != nullptr || linear.weight.stored != nullptr; }

void PackRows(const Input& a, size_t first, size_t count, const Linear& linear, float* to, float* scales) {
  const float* rows = a.data + first * a.stride;
  size_t stride = a.stride;
  if (a.norm != nullptr) {
    thread_local Buffer normalised;
    float* const values = normalised.Get(count * linear.in);
    LayerNorm(rows, stride, count, linear.in, a.norm->weight, a.norm->bias, static_cast<float>(a.epsilon), values,
              linear.in);
    rows = values;
    stride = linear.in;
  }
  PackTile(linear.encoding, rows, stride, count, linear.in, to, scales);
}

// One head: attention of the own rows of `s`, or of its pooled row alone. `kv`: the chunk's keys of this head, values
// `values` further.
void AttendIn(const Sequence& s, bool pooled_alone, const float* q, size_t q_stride, const float* kv, size_t values,
              size_t kv_stride, size_t d, bool causal, float* out, size_t out_stride) {
  Attention call = {.q = q,
                    .q_stride = q_stride,
                    .queries = pooled_alone ? 1 : s.own(),
                    .k = kv + s.begin * kv_stride,
                    .v = kv + s.begin * kv_stride + values,
                    .kv_stride = kv_stride,
                    .keys = s.length,
                    .depth = d,
                    .causal = causal,
                    .first_query = pooled_alone ? s.pooled : s.shared.size(),
                    .out = out,
                    .out_stride = out_stride};
  if (s.shared.empty()) return Attend(call);
  thread_local Buffer side_by_side;  // what lies apart in the chunk: keys, and values beside them
  float* const gathered = side_by_side.Get(s.length * 2 * d);
  for (size_t i = 0; i < s.length; ++i) {
    const size_t row = i < s.shared.size() ? s.shared[i] : s.begin + i - s.shared.size();
    std::copy_n(kv + row * kv_stride, d, gathered + i * 2 * d);
    std::copy_n(kv + row * kv_stride + values, d, gathered + i * 2 * d + d);
  }
  call.k = gathered;
  call.v = gathered + d;
  call.kv_stride = 2 * d;
  Attend(call);
}

}  // namespace

void Layers::Fail(const Status& status) {
  const std::lock_guard lock(failure_mutex_);
  if (failure_.ok()) failure_ = status;
}

Status Layers::TakeFailure() { return std::exchange(failure_, {}); }

void Layers::Apply(const Input& input, const Linear& linear, Then then, Activation activation, float* out,
                   size_t out_stride) {
  if (IsPacked(linear)) return ApplyPacked(input, linear, then, activation, out, out_stride);
  ApplyByLibrary(input, linear, then, activation, out, out_stride);
}

void Layers::ApplyPacked(const Input& a, const Linear& linear, Then then, Activation activation, float* out,
                         size_t out_stride) {
  const RowTiles tiles(a.rows);
  const size_t words = linear.encoding.WordsOf(linear.in);
  const float* packed = a.data;
  float* const scales = row_scales_.Get(a.rows);
  if (!a.is_packed) {
    float* const rows = packed_rows_.Get(a.rows * words);
    workers_.Parallel(tiles.count, [&](size_t t) {
      PackRows(a, tiles.Begin(t), tiles.Size(t), linear, rows + tiles.Begin(t) * words, scales + tiles.Begin(t));
    });
    packed = rows;
  }
  const bool activates = then == Then::kActivate || then == Then::kActivatePacked;
  const PackedProduct product = {.encoding = linear.encoding,
                                 .tiles = tiles,
                                 .a = packed,
                                 .row_scales = scales,
                                 .panels = linear.Panels(),
                                 .weight = linear.weight.packed,
                                 .depth = linear.in,
                                 .bias = linear.bias,
                                 .accumulate = then == Then::kAddTo,
                                 .activation = activates ? std::optional(activation) : std::nullopt,
                                 .out = out,
                                 .out_stride = out_stride,
                                 .packs_result = then == Then::kActivatePacked};
  if (const StoredFactor* const stored = linear.weight.stored; stored != nullptr) {
    return workers_.Parallel(product.panels.count, [&](size_t p) {
      thread_local Buffer panel;
      float* const at = panel.Get(linear.encoding.PanelSize(linear.in));
      const Status status = stored->ReadPanel(linear.first_panel + p, at);
      if (!status.ok()) return Fail(status);
      product.MultiplyPanel(p, at);
    });
  }
  const PackedProduct::Parts parts = product.For(workers_.count());
  workers_.Parallel(parts.count(), [&](size_t part) { product.Multiply(parts, part); });
}

// By OpenBLAS or oneDNN: the weight's rows are divided among the threads.
void Layers::ApplyByLibrary(const Input& input, const Linear& linear, Then then, Activation activation, float* out,
                            size_t out_stride) {
  const size_t rows = input.rows;
  const float* a = input.data;
  size_t a_stride = input.stride;
  if (input.norm != nullptr) {
    float* const y = normal_.Get(rows * linear.in);
    ApplyNorm(a, a_stride, rows, linear.in, *input.norm, input.epsilon, y, linear.in);
    a = y;
    a_stride = linear.in;
  }
  const auto round = [&](auto* to) {
    workers_.Parallel(rows, [&](size_t r) { RoundToBf16(a + r * a_stride, linear.in, to + r * linear.in); });
    return to;
  };
  if (linear.weight.bf16 != nullptr) {
    const uint16_t* bits = round(rounded_.Get<uint16_t>(rows * linear.in));
    const Status status =
        products.matmul(MatmulType::kBf16, bits, linear.in, rows, linear.weight.bf16, linear.out, linear.in,
                        then == Then::kAddTo, out, out_stride, static_cast<int>(workers_.count()));
    if (!status.ok()) Fail(status);
  } else if (compute_ == ClipCompute::kBf16) {
    a = round(rounded_.Get(rows * linear.in));
    a_stride = linear.in;
  }
  const bool skinny = rows <= kSkinnyRows;
  const size_t parts = workers_.count() * 2;
  const size_t block = std::max<size_t>((linear.out / parts + 15) / 16 * 16, skinny ? 48 : 128);
  workers_.Parallel((linear.out + block - 1) / block, [&](size_t part) {
    const size_t begin = part * block;
    const size_t count = std::min(block, linear.out - begin);
    float* to = out + begin;
    if (linear.weight.fp32 == nullptr) {  // multiplied above
    } else if (skinny) {
      SkinnyGemm(a, a_stride, rows, linear.weight.fp32 + begin * linear.in, count, linear.in, then == Then::kAddTo, to,
                 out_stride);
    } else {
      const Status status = gemm_->multiply({.rows = rows,
                                             .columns = count,
                                             .depth = linear.in,
                                             .a = a,
                                             .a_stride = a_stride,
                                             .b = linear.weight.fp32 + begin * linear.in,
                                             .b_stride = linear.in,
                                             .accumulate = then == Then::kAddTo,
                                             .out = to,
                                             .out_stride = out_stride});
      if (!status.ok()) Fail(status);
    }
    const float* bias = linear.bias == nullptr ? nullptr : linear.bias + begin;
    if (then == Then::kActivate) {
      AddBiasActivate(to, out_stride, rows, count, bias, activation);
    } else if (bias != nullptr) {
      AddBias(to, out_stride, rows, count, bias);
    }
  });
}

void Layers::ApplyNorm(const float* in, size_t in_stride, size_t rows, size_t width, const Norm& norm, double epsilon,
                       float* out, size_t out_stride) {
  constexpr size_t kRows = 32;
  workers_.Parallel((rows + kRows - 1) / kRows, [&](size_t part) {
    const size_t begin = part * kRows;
    LayerNorm(in + begin * in_stride, in_stride, std::min(kRows, rows - begin), width, norm.weight, norm.bias,
              static_cast<float>(epsilon), out + begin * out_stride, out_stride);
  });
}

// x[rows] += MLP(norm2(x)), rows of the given stride.
void Layers::Mlp(float* x, size_t stride, size_t rows, const ClipTower& tower, const LayerWeights& layer) {
  const bool packs =
      IsPacked(layer.up) && IsPacked(layer.down) && PackedProduct::PacksResult(layer.up.encoding, tower.width);
  float* z = wide_.Get(rows * tower.ffn);
  Apply({x, stride, rows, &layer.norm2, tower.norm_epsilon}, layer.up, packs ? Then::kActivatePacked : Then::kActivate,
        tower.activation, z, tower.ffn);
  Apply({.data = z, .stride = tower.ffn, .rows = rows, .is_packed = packs}, layer.down, Then::kAddTo, tower.activation,
        x, stride);
}

void Layers::FullLayer(float* x, const Chunk& sequences, const ClipTower& tower, const LayerWeights& layer,
                       bool causal) {
  const size_t h = tower.width;
  const size_t d = h / tower.heads;
  const size_t rows = RowsOf(sequences);
  float* all = qkv_.Get(rows * 3 * h);
  Apply({x, h, rows, &layer.norm1, tower.norm_epsilon}, layer.qkv, Then::kBias, tower.activation, all, 3 * h);
  float* heads = attended_.Get(rows * h);
  workers_.Parallel(sequences.size() * tower.heads, [&](size_t i) {
    const Sequence& s = sequences[i / tower.heads];
    const float* head = all + i % tower.heads * d;
    AttendIn(s, false, head + s.begin * 3 * h, 3 * h, head + h, h, 3 * h, d, causal,
             heads + s.begin * h + i % tower.heads * d, h);
  });
  Apply({heads, h, rows}, layer.out, Then::kAddTo, tower.activation, x, h);
  Mlp(x, h, rows, tower, layer);
}

void Layers::LastLayer(const float* x, const Chunk& sequences, const ClipTower& tower, const LayerWeights& layer,
                       bool causal, float* pooled) {
  const size_t h = tower.width;
  const size_t d = h / tower.heads;
  const size_t n = sequences.size();
  const size_t rows = RowsOf(sequences);
  float* kv = qkv_.Get(rows * 2 * h + n * h);
  float* queries = kv + rows * 2 * h;
  Apply({x, h, rows, &layer.norm1, tower.norm_epsilon}, layer.qkv.Rows(h, 3 * h), Then::kBias, tower.activation, kv,
        2 * h);
  for (size_t i = 0; i < n; ++i) std::copy_n(x + sequences[i].pooled_row() * h, h, pooled + i * h);
  Apply({pooled, h, n, &layer.norm1, tower.norm_epsilon}, layer.qkv.Rows(0, h), Then::kBias, tower.activation, queries,
        h);
  float* heads = attended_.Get(n * h);
  workers_.Parallel(n * tower.heads, [&](size_t i) {
    const Sequence& s = sequences[i / tower.heads];
    const size_t column = i % tower.heads * d;
    AttendIn(s, true, queries + i / tower.heads * h + column, h, kv + column, h, 2 * h, d, causal,
             heads + i / tower.heads * h + column, h);
  });
  Apply({heads, h, n}, layer.out, Then::kAddTo, tower.activation, pooled, h);
  Mlp(pooled, h, n, tower, layer);
}

void Layers::PoolByAttention(const float* x, size_t n, size_t length, const float* probe, const ClipTower& tower,
                             const LayerWeights& head, float* pooled) {
  const size_t h = tower.width;
  const size_t d = h / tower.heads;
  std::vector<float> query(h);
  Apply({probe, h, 1}, head.qkv.Rows(0, h), Then::kBias, tower.activation, query.data(), h);
  float* kv = qkv_.Get(length * 2 * h);
  float* heads = attended_.Get(n * h);
  for (size_t image = 0; image < n; ++image) {
    Apply({x + image * length * h, h, length}, head.qkv.Rows(h, 3 * h), Then::kBias, tower.activation, kv, 2 * h);
    workers_.Parallel(tower.heads, [&](size_t i) {
      AttendIn({0, length, 0}, true, query.data() + i * d, h, kv + i * d, h, 2 * h, d, false, heads + image * h + i * d,
               h);
    });
  }
  Apply({heads, h, n}, head.out, Then::kBias, tower.activation, pooled, h);
  Mlp(pooled, h, n, tower, head);
}

}  // namespace anemone::internal
