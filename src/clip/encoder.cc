// The towers. A batch goes through a layer at a time, so that a layer's weights need be in memory only while it is at
// work; inside a layer, a chunk of sequences at a time, so that activations stay small however large the batch is.
#include <fmt/format.h>
#include <sys/mman.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <tuple>
#include <utility>
#include <variant>

#include "anemone/clip.h"
#include "clip/attention.h"
#include "clip/gemm.h"
#include "clip/kernels.h"
#include "clip/matmul.h"
#include "clip/packed.h"
#include "tensor/lower.h"

namespace anemone {
namespace {

constexpr size_t kChunkRows = 1100;     // tokens at work at once: four ViT-L/14 pictures
constexpr size_t kSkinnyRows = 24;      // up to here a library's product would pack a weight for longer than multiply
constexpr uint64_t kMaxSize = 1 << 20;  // of any dimension; products of three fit 64 bits

// Memory that is reused and never shrinks; not initialised. Large blocks ask for huge pages: a weight is read once from
// end to end, where small pages would cost a fault each to fill and a table walk each to read.
class Buffer {
 public:
  template <typename T = float>
  T* Get(size_t count) {
    const size_t size = count * sizeof(T);
    if (size > capacity_) {
      const size_t align = size >= 2 * kHugePage ? kHugePage : kAlign;
      data_ = {::operator new[](size, std::align_val_t{align}), Free{align}};
      if (align == kHugePage) madvise(data_.get(), size, MADV_HUGEPAGE);  // a hint: failing is no failure
      capacity_ = size;
    }
    return static_cast<T*>(data_.get());
  }
  static constexpr size_t kAlign = 64;

 private:
  static constexpr size_t kHugePage = size_t{2} << 20;
  struct Free {
    size_t align;
    void operator()(void* p) const { ::operator delete[](p, std::align_val_t{align}); }
  };
  std::unique_ptr<void, Free> data_{nullptr, Free{kAlign}};
  size_t capacity_ = 0;
};

// A linear layer's weight, [out, in]: one of the three.
struct Factor {
  const float* packed = nullptr;   // panels, in `encoding`, for the project's own products
  const float* fp32 = nullptr;     // for a library's
  const uint16_t* bf16 = nullptr;  // the bits
};

struct Linear {
  Factor weight;
  const float* bias = nullptr;  // [out], may be null
  size_t in = 0;
  size_t out = 0;
  size_t group = 0;  // outputs that are packed apart from others; divides `out`
  internal::Encoding encoding = {};

  internal::ColumnPanels Panels() const { return {out, group}; }
  // Output features [begin, end) alone: whole groups.
  Linear Rows(size_t begin, size_t end) const {
    const auto from = [&](const auto* at, size_t offset) { return at == nullptr ? nullptr : at + offset; };
    const size_t panels = begin / group * Panels().in_group;
    return {{from(weight.packed, panels * encoding.PanelSize(in)), from(weight.fp32, begin * in),
             from(weight.bf16, begin * in)},
            from(bias, begin),
            in,
            end - begin,
            group,
            encoding};
  }
};

struct Norm {
  const float* weight = nullptr;
  const float* bias = nullptr;
};

// Rows that a linear layer is applied to, normalised before where there is a norm.
struct Input {
  const float* data;
  size_t stride;
  size_t rows;
  const Norm* norm = nullptr;
  double epsilon = 0;
};

struct LayerWeights {
  Norm norm1, norm2;
  Linear qkv, out, up, down;
};

enum class Then : uint8_t {
  kBias,
  kActivate,
  kAddTo
};  // what becomes of a product: stored, activated, added to what is there

// A picture or a text in a chunk. A text that begins as one before it does has no rows for what they share: a causal
// tower computes the same there.
struct Sequence {
  size_t begin;                     // its first own row of the chunk
  size_t length;                    // tokens, shared ones among them
  size_t pooled;                    // the token that stands for it; an own one
  std::vector<size_t> shared = {};  // rows of its first tokens, which are another's

  size_t own() const { return length - shared.size(); }
  size_t end() const { return begin + own(); }
  size_t pooled_row() const { return begin + pooled - shared.size(); }
};
using Chunk = std::vector<Sequence>;

size_t RowsOf(const Chunk& chunk) { return chunk.back().end(); }

// Whether oneDNN is to multiply bf16: it is there, is faster than the project's own loop, and a trial product is right.
bool LibraryHasBf16() {
  if (!internal::products.has_bf16()) return false;
  const uint16_t one = 0x3F80;
  float product = 0;
  return internal::products.matmul(internal::MatmulType::kBf16, &one, 1, 1, &one, 1, 1, false, &product, 1, 1).ok() &&
         product == 1.0F;
}

}  // namespace

struct ClipModel::Impl {
  ClipSpec spec;
  ClipWeights weights;
  ClipOptions options;
  const internal::Gemm* gemm = nullptr;  // chosen when the first product is wanted: opening a library takes time
  tbb::task_arena arena;

  // Weights: named blocks kept for good (everything, with keep_weights; small tensors never need to be), and one block
  // that each layer reuses.
  std::map<std::string, std::unique_ptr<Buffer>> kept;
  Buffer layer_block;
  Buffer hidden, normal, qkv, attended, wide, rounded, packed_rows, row_scales;
  std::atomic<bool> stopped = false;
  bool has_multiplied = false;
  std::mutex failure_mutex;
  Status product_failure;   // the first, of any thread
  bool keeps_bf16 = false;  // factors, as instructions take them; else bf16 factors are fp32 values
  bool packs = false;       // fp32 factors, for the project's own products

  explicit Impl(int threads) : arena(threads) {}

  template <typename F>
  void Parallel(size_t count, const F& f) {
    arena.execute([&] {
      tbb::parallel_for(
          tbb::blocked_range<size_t>(0, count, 1),
          [&](const tbb::blocked_range<size_t>& range) {
            for (size_t i = range.begin(); i < range.end() && !Stops(); ++i) f(i);
          },
          tbb::simple_partitioner());
    });
  }
  size_t threads() const { return static_cast<size_t>(arena.max_concurrency()); }

  // Of the first and the last product: int8 would save little there.
  internal::Encoding OutsideLayers() const {
    return internal::Encoding::For(options.compute == ClipCompute::kInt8 ? ClipCompute::kFp32 : options.compute);
  }

  // The beginning of a call.
  Status Begin() {
    if (gemm == nullptr) {
      ANEMONE_ASSIGN(const internal::GemmChoice choice, internal::ChooseGemm(internal::GemmShapeOf(spec)));
      gemm = choice.library;
      // int8 is the own loop's alone.
      packs = (gemm == internal::OwnGemm() || options.compute == ClipCompute::kInt8) && !keeps_bf16;
    }
    if (!has_multiplied) ANEMONE_TRY(gemm->make_room(threads()));
    has_multiplied = true;
    return {};
  }
  // Whether the call was cancelled: what is left of it is skipped, and its result is thrown away.
  bool Stops() {
    if (!stopped && options.cancelled && options.cancelled()) stopped = true;
    return stopped;
  }

  // ---- weights ----

  struct Want {
    std::string name;
    Shape shape;
    std::variant<const float**, Linear*> to;

    const Linear* factor_of() const {
      const auto* const linear = std::get_if<Linear*>(&to);
      return linear == nullptr ? nullptr : *linear;
    }
  };

  // What a linear layer's weight is in memory.
  Result<Tensor> AsFactor(const Tensor& weight) const {
    if (options.compute != ClipCompute::kBf16) return weight.Cast(DType::kF32);
    ANEMONE_ASSIGN(Tensor bf16, weight.Cast(DType::kBF16));
    return keeps_bf16 ? bf16 : bf16.Cast(DType::kF32);
  }

  void Point(const Want& want, const void* at) const {
    if (const auto* const to = std::get_if<const float**>(&want.to)) {
      **to = static_cast<const float*>(at);
    } else if (keeps_bf16) {
      std::get<Linear*>(want.to)->weight.bf16 = static_cast<const uint16_t*>(at);
    } else if (packs) {
      std::get<Linear*>(want.to)->weight.packed = static_cast<const float*>(at);
    } else {
      std::get<Linear*>(want.to)->weight.fp32 = static_cast<const float*>(at);
    }
  }

  // A part of a tensor that one thread reads: as it is, or a panel of a factor, to be packed.
  struct Piece {
    const Tensor* tensor;
    uint64_t offset;
    uint64_t size;
    std::byte* to;
    const std::string* name;
    const Linear* linear = nullptr;  // whose panel it is
  };
  static Status ReadPiece(const Piece& piece) {
    if (piece.linear == nullptr) return Fill(*piece.tensor, piece.offset, {piece.to, piece.size});
    thread_local Buffer unpacked;
    float* const rows = unpacked.Get(piece.size / sizeof(float));
    ANEMONE_TRY(Fill(*piece.tensor, piece.offset, {reinterpret_cast<std::byte*>(rows), piece.size}));
    const size_t depth = piece.linear->in;
    internal::PackPanel(piece.linear->encoding, rows, depth, piece.size / sizeof(float) / depth, depth,
                        reinterpret_cast<float*>(piece.to));
    return {};
  }
  // Adds the pieces of a tensor that goes to `to`, and answers what they take there.
  uint64_t Cut(const Want& want, const Tensor& tensor, std::byte* to, std::vector<Piece>* pieces) const {
    constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
    const uint64_t size = tensor.size_bytes();
    const Linear* const linear = want.factor_of();
    if (linear == nullptr || !packs) {
      for (uint64_t offset = 0; offset < size; offset += kPieceBytes) {
        pieces->push_back({&tensor, offset, std::min(kPieceBytes, size - offset), to + offset, &want.name});
      }
      return size;
    }
    const uint64_t row = linear->in * sizeof(float);
    const uint64_t panel = linear->encoding.PanelSize(linear->in) * sizeof(float);
    const internal::ColumnPanels panels = linear->Panels();
    for (size_t p = 0; p < panels.count; ++p) {
      pieces->push_back({&tensor, panels.Begin(p) * row, panels.Size(p) * row, to + p * panel, &want.name, linear});
    }
    return panels.count * panel;
  }

  // Reads tensors side by side into `block`, with all threads: in fp32, factors as AsFactor says.
  Status Read(const std::vector<Want>& wants, Buffer* block) {
    std::vector<Tensor> tensors;
    tensors.reserve(wants.size());
    const auto padded = [](uint64_t bytes) { return (bytes + Buffer::kAlign - 1) / Buffer::kAlign * Buffer::kAlign; };
    for (const Want& want : wants) {
      ANEMONE_ASSIGN(Tensor tensor, weights(want.name));
      if (tensor.shape() != want.shape) {
        return Corrupt(
            fmt::format("{}: expected shape {}, found {}", want.name, ToString(want.shape), ToString(tensor.shape())));
      }
      Result<Tensor> cast = want.factor_of() != nullptr ? AsFactor(tensor) : tensor.Cast(DType::kF32);
      if (!cast.ok()) return cast.status().In(want.name);
      tensors.push_back(*std::move(cast));
    }
    std::vector<Piece> pieces;
    size_t total = 0;
    for (size_t i = 0; i < wants.size(); ++i) total += padded(Cut(wants[i], tensors[i], nullptr, &pieces));
    pieces.clear();
    auto* to = block->Get<std::byte>(total);
    for (size_t i = 0; i < wants.size(); ++i) {
      Point(wants[i], to);
      to += padded(Cut(wants[i], tensors[i], to, &pieces));
    }
    std::mutex mutex;
    Status failure;
    Parallel(pieces.size(), [&](size_t i) {
      const Piece& piece = pieces[i];
      const Status status = ReadPiece(piece);
      if (!status.ok()) {
        const std::lock_guard lock(mutex);
        if (failure.ok()) failure = status.In(*piece.name);
      }
    });
    return stopped ? Status(ErrorKind::kInterrupted, "interrupted") : failure;
  }

  // One tensor, in a block of its own.
  Status ReadOne(const Want& want) {
    auto& block = kept[want.name];
    if (block != nullptr) {
      Point(want, block->Get(0));
      return {};
    }
    block = std::make_unique<Buffer>();
    Status status = Read({want}, block.get());
    if (!status.ok()) kept.erase(want.name);
    return status;
  }
  Result<const float*> ReadOne(const std::string& name, const Shape& shape) {
    const float* data = nullptr;
    ANEMONE_TRY(ReadOne({name, shape, &data}));
    return data;
  }

  Status ReadNorm(const std::string& name, uint64_t width, Norm* norm) {
    ANEMONE_ASSIGN(norm->weight, ReadOne(name + ".weight", {width}));
    ANEMONE_ASSIGN(norm->bias, ReadOne(name + ".bias", {width}));
    return {};
  }

  Status ReadLinear(const std::string& name, uint64_t out, uint64_t in, bool bias, Linear* linear) {
    *linear = {{}, nullptr, in, out, out, OutsideLayers()};
    ANEMONE_TRY(ReadOne({name + ".weight", {out, in}, linear}));
    if (bias) {
      ANEMONE_ASSIGN(linear->bias, ReadOne(name + ".bias", {out}));
    }
    return {};
  }

  // A layer, or SigLIP's pooling head, whose one norm comes before the MLP.
  Status ReadLayer(const std::string& prefix, const ClipTower& tower, bool is_head, LayerWeights* layer) {
    const uint64_t h = tower.width;
    const uint64_t f = tower.ffn;
    const internal::Encoding encoding = internal::Encoding::For(options.compute);
    layer->qkv = {{}, nullptr, h, 3 * h, h, encoding};
    layer->out = {{}, nullptr, h, h, h, encoding};
    layer->up = {{}, nullptr, h, f, f, encoding};
    layer->down = {{}, nullptr, f, h, h, encoding};
    const std::string norm2 = is_head ? ".norm" : ".norm2";
    std::vector<Want> wants = {
        {prefix + ".attn.qkv.weight", {3 * h, h}, &layer->qkv},  {prefix + ".attn.qkv.bias", {3 * h}, &layer->qkv.bias},
        {prefix + ".attn.out.weight", {h, h}, &layer->out},      {prefix + ".attn.out.bias", {h}, &layer->out.bias},
        {prefix + norm2 + ".weight", {h}, &layer->norm2.weight}, {prefix + norm2 + ".bias", {h}, &layer->norm2.bias},
        {prefix + ".mlp.up.weight", {f, h}, &layer->up},         {prefix + ".mlp.up.bias", {f}, &layer->up.bias},
        {prefix + ".mlp.down.weight", {h, f}, &layer->down},     {prefix + ".mlp.down.bias", {h}, &layer->down.bias},
    };
    if (!is_head) {
      wants.push_back({prefix + ".norm1.weight", {h}, &layer->norm1.weight});
      wants.push_back({prefix + ".norm1.bias", {h}, &layer->norm1.bias});
    }
    if (!options.keep_weights) return Read(wants, &layer_block);
    for (const Want& want : wants) ANEMONE_TRY(ReadOne(want));
    return {};
  }

  // The end of a call: what was read apart from layers is forgotten, unless it is to be kept, and what failed is told.
  Status Finish() {
    const bool was_stopped = stopped.exchange(false);
    if (!options.keep_weights || was_stopped) kept.clear();
    Status failure = std::exchange(product_failure, {});
    return was_stopped ? Status(ErrorKind::kInterrupted, "interrupted") : failure;
  }

  // ---- arithmetic ----

  // What a product's failure ends with. Threads: any.
  void Fail(const Status& status) {
    const std::lock_guard lock(failure_mutex);
    if (product_failure.ok()) product_failure = status;
  }

  // out = then(a · weightᵀ + bias).
  void Apply(const Input& a, const Linear& linear, Then then, Activation activation, float* out, size_t out_stride) {
    if (linear.weight.packed == nullptr) return ApplyByLibrary(a, linear, then, activation, out, out_stride);
    const internal::RowTiles tiles(a.rows);
    const size_t words = linear.encoding.WordsOf(linear.in);
    float* const packed = packed_rows.Get(a.rows * words);
    float* const scales = row_scales.Get(a.rows);
    Parallel(tiles.count, [&](size_t t) {
      PackTile(a, tiles.Begin(t), tiles.Size(t), linear, packed + tiles.Begin(t) * words, scales + tiles.Begin(t));
    });
    const internal::PackedProduct product = {
        .encoding = linear.encoding,
        .tiles = tiles,
        .a = packed,
        .row_scales = scales,
        .panels = linear.Panels(),
        .weight = linear.weight.packed,
        .depth = linear.in,
        .bias = linear.bias,
        .accumulate = then == Then::kAddTo,
        .activation = then == Then::kActivate ? std::optional(activation) : std::nullopt,
        .out = out,
        .out_stride = out_stride};
    const internal::PackedProduct::Parts parts = product.For(threads());
    Parallel(parts.count(), [&](size_t part) { product.Multiply(parts, part); });
  }

  static void PackTile(const Input& a, size_t first, size_t count, const Linear& linear, float* to, float* scales) {
    const float* rows = a.data + first * a.stride;
    size_t stride = a.stride;
    if (a.norm != nullptr) {
      thread_local Buffer normalised;
      float* const values = normalised.Get(count * linear.in);
      internal::LayerNorm(rows, stride, count, linear.in, a.norm->weight, a.norm->bias, static_cast<float>(a.epsilon),
                          values, linear.in);
      rows = values;
      stride = linear.in;
    }
    internal::PackTile(linear.encoding, rows, stride, count, linear.in, to, scales);
  }

  // As Apply, by OpenBLAS or oneDNN: the weight's rows are divided among the threads.
  void ApplyByLibrary(const Input& input, const Linear& linear, Then then, Activation activation, float* out,
                      size_t out_stride) {
    const size_t rows = input.rows;
    const float* a = input.data;
    size_t a_stride = input.stride;
    if (input.norm != nullptr) {
      float* const y = normal.Get(rows * linear.in);
      ApplyNorm(a, a_stride, rows, linear.in, *input.norm, input.epsilon, y, linear.in);
      a = y;
      a_stride = linear.in;
    }
    const auto round = [&](auto* to) {
      Parallel(rows, [&](size_t r) { internal::RoundToBf16(a + r * a_stride, linear.in, to + r * linear.in); });
      return to;
    };
    if (linear.weight.bf16 != nullptr) {
      const uint16_t* bits = round(rounded.Get<uint16_t>(rows * linear.in));
      const Status status =
          internal::products.matmul(internal::MatmulType::kBf16, bits, linear.in, rows, linear.weight.bf16, linear.out,
                                    linear.in, then == Then::kAddTo, out, out_stride, arena.max_concurrency());
      if (!status.ok()) Fail(status);
    } else if (options.compute == ClipCompute::kBf16) {
      a = round(rounded.Get(rows * linear.in));
      a_stride = linear.in;
    }
    const bool skinny = rows <= kSkinnyRows;
    const size_t parts = threads() * 2;
    const size_t block = std::max<size_t>((linear.out / parts + 15) / 16 * 16, skinny ? 48 : 128);
    Parallel((linear.out + block - 1) / block, [&](size_t part) {
      const size_t begin = part * block;
      const size_t count = std::min(block, linear.out - begin);
      float* to = out + begin;
      if (linear.weight.fp32 == nullptr) {  // multiplied above
      } else if (skinny) {
        internal::SkinnyGemm(a, a_stride, rows, linear.weight.fp32 + begin * linear.in, count, linear.in,
                             then == Then::kAddTo, to, out_stride);
      } else {
        const Status status = gemm->multiply({.rows = rows,
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
        internal::AddBiasActivate(to, out_stride, rows, count, bias, activation);
      } else if (bias != nullptr) {
        internal::AddBias(to, out_stride, rows, count, bias);
      }
    });
  }

  void ApplyNorm(const float* in, size_t in_stride, size_t rows, size_t width, const Norm& norm, double epsilon,
                 float* out, size_t out_stride) {
    constexpr size_t kRows = 32;
    Parallel((rows + kRows - 1) / kRows, [&](size_t part) {
      const size_t begin = part * kRows;
      internal::LayerNorm(in + begin * in_stride, in_stride, std::min(kRows, rows - begin), width, norm.weight,
                          norm.bias, static_cast<float>(epsilon), out + begin * out_stride, out_stride);
    });
  }

  // One head: attention of the own rows of `s`, or of its pooled row alone. `kv`: the chunk's keys of this head, values
  // `values` further.
  static void AttendIn(const Sequence& s, bool pooled_alone, const float* q, size_t q_stride, const float* kv,
                       size_t values, size_t kv_stride, size_t d, bool causal, float* out, size_t out_stride) {
    internal::Attention call = {.q = q,
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

  // x[rows] += MLP(norm2(x)), rows of the given stride.
  void Mlp(float* x, size_t stride, size_t rows, const ClipTower& tower, const LayerWeights& layer) {
    float* z = wide.Get(rows * tower.ffn);
    Apply({x, stride, rows, &layer.norm2, tower.norm_epsilon}, layer.up, Then::kActivate, tower.activation, z,
          tower.ffn);
    Apply({z, tower.ffn, rows}, layer.down, Then::kAddTo, tower.activation, x, stride);
  }

  // All tokens of one chunk through one layer.
  void FullLayer(float* x, const Chunk& sequences, const ClipTower& tower, const LayerWeights& layer, bool causal) {
    const size_t h = tower.width;
    const size_t d = h / tower.heads;
    const size_t rows = RowsOf(sequences);
    float* all = qkv.Get(rows * 3 * h);
    Apply({x, h, rows, &layer.norm1, tower.norm_epsilon}, layer.qkv, Then::kBias, tower.activation, all, 3 * h);
    float* heads = attended.Get(rows * h);
    Parallel(sequences.size() * tower.heads, [&](size_t i) {
      const Sequence& s = sequences[i / tower.heads];
      const float* head = all + i % tower.heads * d;
      AttendIn(s, false, head + s.begin * 3 * h, 3 * h, head + h, h, 3 * h, d, causal,
               heads + s.begin * h + i % tower.heads * d, h);
    });
    Apply({heads, h, rows}, layer.out, Then::kAddTo, tower.activation, x, h);
    Mlp(x, h, rows, tower, layer);
  }

  // The last layer: keys and values of every token, everything else for the pooled ones alone, which end up in
  // `pooled`.
  void LastLayer(const float* x, const Chunk& sequences, const ClipTower& tower, const LayerWeights& layer, bool causal,
                 float* pooled) {
    const size_t h = tower.width;
    const size_t d = h / tower.heads;
    const size_t n = sequences.size();
    const size_t rows = RowsOf(sequences);
    float* kv = qkv.Get(rows * 2 * h + n * h);
    float* queries = kv + rows * 2 * h;
    Apply({x, h, rows, &layer.norm1, tower.norm_epsilon}, layer.qkv.Rows(h, 3 * h), Then::kBias, tower.activation, kv,
          2 * h);
    for (size_t i = 0; i < n; ++i) std::copy_n(x + sequences[i].pooled_row() * h, h, pooled + i * h);
    Apply({pooled, h, n, &layer.norm1, tower.norm_epsilon}, layer.qkv.Rows(0, h), Then::kBias, tower.activation,
          queries, h);
    float* heads = attended.Get(n * h);
    Parallel(n * tower.heads, [&](size_t i) {
      const Sequence& s = sequences[i / tower.heads];
      const size_t column = i % tower.heads * d;
      AttendIn(s, true, queries + i / tower.heads * h + column, h, kv + column, h, 2 * h, d, causal,
               heads + i / tower.heads * h + column, h);
    });
    Apply({heads, h, n}, layer.out, Then::kAddTo, tower.activation, pooled, h);
    Mlp(pooled, h, n, tower, layer);
  }

  // Every layer over every chunk. Pooled rows end up in `pooled` unless all_rows, where the last layer is as the
  // others.
  Status RunTower(const std::string& name, const ClipTower& tower, bool causal, float* x,
                  const std::vector<Chunk>& chunks, bool all_rows, float* pooled) {
    for (uint64_t i = 0; i < tower.layers && !Stops(); ++i) {
      LayerWeights layer;
      const std::string prefix = fmt::format("{}.layers.{}", name, i);
      ANEMONE_TRY(ReadLayer(prefix, tower, false, &layer));
      float* chunk_x = x;
      float* chunk_pooled = pooled;
      for (const Chunk& chunk : chunks) {
        const size_t rows = RowsOf(chunk);
        if (i + 1 < tower.layers || all_rows) {
          FullLayer(chunk_x, chunk, tower, layer, causal);
          if (options.trace) options.trace(prefix, {chunk_x, rows * tower.width}, rows, tower.width);
        } else {
          LastLayer(chunk_x, chunk, tower, layer, causal, chunk_pooled);
        }
        chunk_x += rows * tower.width;
        chunk_pooled += chunk.size() * tower.width;
      }
    }
    return {};
  }

  static void Gather(const float* x, size_t width, const std::vector<Chunk>& chunks, float* pooled) {
    for (const Chunk& chunk : chunks) {
      for (const Sequence& s : chunk) {
        std::copy_n(x + s.pooled_row() * width, width, pooled);
        pooled += width;
      }
      x += RowsOf(chunk) * width;
    }
  }

  // Sequences laid side by side in chunks of about kChunkRows rows. Where `ids` are given, the sequences' tokens, each
  // has the rows of the one before for the tokens that both begin with, all but its last.
  static std::vector<Chunk> Chunks(std::vector<Sequence> sequences, const std::vector<std::vector<int32_t>>* ids) {
    std::vector<Chunk> chunks;
    for (size_t i = 0; i < sequences.size(); ++i) {
      Sequence& s = sequences[i];
      if (chunks.empty() || RowsOf(chunks.back()) + s.length > kChunkRows) {
        chunks.emplace_back();
        s.begin = 0;
      } else {
        const Sequence& before = chunks.back().back();
        s.begin = before.end();
        if (ids != nullptr) {
          const std::vector<int32_t>& text = (*ids)[i];
          const auto differ = std::mismatch(text.begin(), text.end() - 1, (*ids)[i - 1].begin(), (*ids)[i - 1].end());
          const auto same = static_cast<size_t>(differ.first - text.begin());
          s.shared.assign(before.shared.begin(),
                          before.shared.begin() + static_cast<ptrdiff_t>(std::min(same, before.shared.size())));
          for (size_t row = before.begin; s.shared.size() < same; ++row) s.shared.push_back(row);
        }
      }
      chunks.back().push_back(std::move(s));
    }
    return chunks;
  }

  // The features of n pooled rows; those of a tower without a projection (SigLIP's images) are the rows themselves.
  Result<ClipFeatures> Project(const std::string& tower, std::vector<float> pooled, uint64_t n, uint64_t width) {
    const bool projects = spec.projects && !(spec.siglip && tower == "vision");
    ClipFeatures features;
    features.count = n;
    features.width = projects ? spec.projection : width;
    if (projects) {
      Linear projection;
      ANEMONE_TRY(ReadLinear(tower + ".projection", spec.projection, width, spec.siglip, &projection));
      features.values.resize(n * spec.projection);
      Apply({pooled.data(), width, n}, projection, Then::kBias, {}, features.values.data(), spec.projection);
    } else {
      features.values = std::move(pooled);
    }
    if (options.trace) options.trace(tower + ".features", features.values, n, features.width);
    return features;
  }

  Result<ClipFeatures> Images(std::span<const float> pixels);
  Result<ClipFeatures> Texts(std::span<const std::vector<int32_t>> texts);
  void EmbedPatches(std::span<const float> pixels, const Linear& patch, const float* positions, size_t first, float* x);
  Result<std::vector<size_t>> PooledTokens(std::vector<std::vector<int32_t>>& ids) const;
  Status EmbedTexts(const std::vector<std::vector<int32_t>>& ids, const std::vector<Chunk>& chunks, float* row);
  Status PoolByAttention(const float* x, size_t n, size_t length, float* pooled);
  Result<double> Scalar(const std::string& name);
};

// Patches as rows (channel, row, column), through the convolution's weight, on top of the positions. `x` has `first`
// rows before an image's patches.
void ClipModel::Impl::EmbedPatches(std::span<const float> pixels, const Linear& patch, const float* positions,
                                   size_t first, float* x) {
  const size_t side = spec.image_size, p = spec.patch_size, grid = side / p, h = spec.vision.width;
  const size_t length = grid * grid + first;
  std::vector<float> rows(grid * grid * patch.in);
  for (size_t image = 0; image < pixels.size() / (3 * side * side); ++image) {
    const float* from = pixels.data() + image * 3 * side * side;
    float* to = x + image * length * h;
    Parallel(grid, [&](size_t gy) {
      for (size_t gx = 0; gx < grid; ++gx) {
        float* row = rows.data() + (gy * grid + gx) * patch.in;
        for (size_t c = 0; c < 3; ++c) {
          for (size_t y = 0; y < p; ++y) {
            row = std::copy_n(from + (c * side + gy * p + y) * side + gx * p, p, row);
          }
        }
      }
    });
    std::copy_n(positions, length * h, to);
    Apply({rows.data(), patch.in, grid * grid}, patch, Then::kAddTo, spec.vision.activation, to + first * h, h);
  }
}

Result<ClipFeatures> ClipModel::Impl::Images(std::span<const float> pixels) {
  const size_t side = spec.image_size;
  const size_t p = spec.patch_size;
  const size_t grid = side / p;
  const size_t h = spec.vision.width;
  const size_t first = spec.siglip ? 0 : 1;  // rows before the patches: the class token
  const size_t length = grid * grid + first;
  const size_t n = pixels.size() / (3 * side * side);

  Linear patch = {{}, nullptr, 3 * p * p, h, h, OutsideLayers()};
  ANEMONE_TRY(ReadOne({"vision.patch_embedding.weight", {h, 3, p, p}, &patch}));
  if (spec.siglip) {
    ANEMONE_ASSIGN(patch.bias, ReadOne("vision.patch_embedding.bias", {h}));
  }
  ANEMONE_ASSIGN(const float* positions, ReadOne("vision.position_embedding.weight", {length, h}));
  float* x = hidden.Get(n * length * h);
  EmbedPatches(pixels, patch, positions, first, x);
  if (!spec.siglip) {
    ANEMONE_ASSIGN(const float* token, ReadOne("vision.class_embedding", {h}));
    for (size_t image = 0; image < n; ++image) internal::AddBias(x + image * length * h, h, 1, h, token);
    Norm norm;
    ANEMONE_TRY(ReadNorm("vision.pre_norm", h, &norm));
    ApplyNorm(x, h, n * length, h, norm, spec.vision.norm_epsilon, x, h);
  }
  if (options.trace) options.trace("vision.embeddings", {x, n * length * h}, n * length, h);

  const std::vector<Chunk> chunks = Chunks(std::vector<Sequence>(n, Sequence{0, length, 0}), nullptr);
  const bool all_rows = spec.siglip || options.trace != nullptr;
  std::vector<float> pooled(n * h);
  ANEMONE_TRY(RunTower("vision", spec.vision, false, x, chunks, all_rows, pooled.data()));

  Norm norm;
  ANEMONE_TRY(ReadNorm("vision.post_norm", h, &norm));
  if (spec.siglip) {
    ApplyNorm(x, h, n * length, h, norm, spec.vision.norm_epsilon, x, h);
    ANEMONE_TRY(PoolByAttention(x, n, length, pooled.data()));
  } else {
    if (all_rows) Gather(x, h, chunks, pooled.data());
    ApplyNorm(pooled.data(), h, n, h, norm, spec.vision.norm_epsilon, pooled.data(), h);
  }
  return Project("vision", std::move(pooled), n, h);
}

// SigLIP: a learned query attends to every token; then an MLP with a residual [transformers modeling_siglip.py,
// SiglipMultiheadAttentionPoolingHead].
Status ClipModel::Impl::PoolByAttention(const float* x, size_t n, size_t length, float* pooled) {
  const ClipTower& tower = spec.vision;
  const size_t h = tower.width;
  const size_t d = h / tower.heads;
  ANEMONE_ASSIGN(const float* probe, ReadOne("vision.head.probe", {1, 1, h}));
  LayerWeights head;
  ANEMONE_TRY(ReadLayer("vision.head", tower, true, &head));
  std::vector<float> query(h);
  Apply({probe, h, 1}, head.qkv.Rows(0, h), Then::kBias, tower.activation, query.data(), h);
  float* kv = qkv.Get(length * 2 * h);
  float* heads = attended.Get(n * h);
  for (size_t image = 0; image < n; ++image) {
    Apply({x + image * length * h, h, length}, head.qkv.Rows(h, 3 * h), Then::kBias, tower.activation, kv, 2 * h);
    Parallel(tower.heads, [&](size_t i) {
      AttendIn({0, length, 0}, true, query.data() + i * d, h, kv + i * d, h, 2 * h, d, false, heads + image * h + i * d,
               h);
    });
  }
  Apply({heads, h, n}, head.out, Then::kBias, tower.activation, pooled, h);
  Mlp(pooled, h, n, tower, head);
  return {};
}

// Each text's token whose row is its feature. Cuts texts behind it, or pads them to it.
Result<std::vector<size_t>> ClipModel::Impl::PooledTokens(std::vector<std::vector<int32_t>>& ids) const {
  std::vector<size_t> pooled_at;
  for (size_t i = 0; i < ids.size(); ++i) {
    std::vector<int32_t>& text = ids[i];
    if (text.empty() || text.size() > spec.context) {
      return InvalidArgument(fmt::format("text {}: expected 1 to {} tokens, found {}", i, spec.context, text.size()));
    }
    for (const int32_t id : text) {
      if (id < 0 || static_cast<uint64_t>(id) >= spec.vocab) {
        return InvalidArgument(fmt::format("text {}: token {} is outside the vocabulary of {}", i, id, spec.vocab));
      }
    }
    size_t pooled = 0;
    switch (spec.pooling) {
      case TextPooling::kArgmax:
        pooled = static_cast<size_t>(std::max_element(text.begin(), text.end()) - text.begin());
        break;
      case TextPooling::kFirstEos: {
        const auto at = std::find(text.begin(), text.end(), spec.eos_id);
        pooled = at == text.end() ? 0 : static_cast<size_t>(at - text.begin());
        break;
      }
      case TextPooling::kLast:
        text.resize(spec.context, spec.eos_id);
        pooled = text.size() - 1;
        break;
    }
    if (!spec.siglip) text.resize(pooled + 1);  // a causal mask: nothing after the pooled token is seen by it
    pooled_at.push_back(pooled);
  }
  return pooled_at;
}

// The rows that the texts need of the table, with their positions: those of `chunks`, in order.
Status ClipModel::Impl::EmbedTexts(const std::vector<std::vector<int32_t>>& ids, const std::vector<Chunk>& chunks,
                                   float* row) {
  const size_t h = spec.text.width;
  ANEMONE_ASSIGN(const Tensor table, weights("text.token_embedding.weight"));
  if (table.shape() != Shape{spec.vocab, h}) {
    return Corrupt(fmt::format("text.token_embedding.weight: expected shape {}, found {}", ToString({spec.vocab, h}),
                               ToString(table.shape())));
  }
  ANEMONE_ASSIGN(const Tensor cast, table.Cast(DType::kF32));
  ANEMONE_ASSIGN(const float* positions, ReadOne("text.position_embedding.weight", {spec.context, h}));
  std::map<int32_t, const float*> seen;
  auto text = ids.begin();
  for (const Chunk& chunk : chunks) {
    for (const Sequence& s : chunk) {
      for (size_t i = s.shared.size(); i < s.length; ++i, row += h) {
        const int32_t id = (*text)[i];
        const auto [it, is_new] = seen.try_emplace(id, nullptr);
        if (is_new) {
          float* copy = kept.try_emplace(fmt::format("token {}", id), std::make_unique<Buffer>()).first->second->Get(h);
          const Status status = Fill(cast, static_cast<uint64_t>(id) * h * sizeof(float),
                                     {reinterpret_cast<std::byte*>(copy), h * sizeof(float)});
          if (!status.ok()) return status.In("text.token_embedding.weight");
          it->second = copy;
        }
        std::copy_n(it->second, h, row);
        internal::AddBias(row, h, 1, h, positions + i * h);
      }
      ++text;
    }
  }
  return {};
}

Result<ClipFeatures> ClipModel::Impl::Texts(std::span<const std::vector<int32_t>> texts) {
  const size_t h = spec.text.width;
  std::vector<std::vector<int32_t>> ids(texts.begin(), texts.end());
  ANEMONE_ASSIGN(const std::vector<size_t> pooled_at, PooledTokens(ids));
  // Texts that begin alike lie beside each other, and the beginning is computed once. A trace has every row.
  const bool shares = !spec.siglip && options.trace == nullptr;
  std::vector<size_t> order(ids.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (shares) {
    std::ranges::stable_sort(order, {}, [&](size_t i) -> const std::vector<int32_t>& { return ids[i]; });
    std::vector<std::vector<int32_t>> sorted;
    sorted.reserve(ids.size());
    for (const size_t i : order) sorted.push_back(std::move(ids[i]));
    ids = std::move(sorted);
  }
  std::vector<Sequence> sequences;
  sequences.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) sequences.push_back({0, ids[i].size(), pooled_at[order[i]]});
  const std::vector<Chunk> chunks = Chunks(std::move(sequences), shares ? &ids : nullptr);
  size_t rows = 0;
  for (const Chunk& chunk : chunks) rows += RowsOf(chunk);

  float* x = hidden.Get(rows * h);
  ANEMONE_TRY(EmbedTexts(ids, chunks, x));
  if (options.trace) options.trace("text.embeddings", {x, rows * h}, rows, h);

  const bool all_rows = options.trace != nullptr;
  std::vector<float> pooled(ids.size() * h);
  ANEMONE_TRY(RunTower("text", spec.text, !spec.siglip, x, chunks, all_rows, pooled.data()));
  if (all_rows) Gather(x, h, chunks, pooled.data());
  Norm norm;
  ANEMONE_TRY(ReadNorm("text.final_norm", h, &norm));
  std::vector<float> in_order(pooled.size());
  for (size_t i = 0; i < order.size(); ++i) {
    ApplyNorm(pooled.data() + i * h, h, 1, h, norm, spec.text.norm_epsilon, in_order.data() + order[i] * h, h);
  }
  return Project("text", std::move(in_order), ids.size(), h);
}

Result<double> ClipModel::Impl::Scalar(const std::string& name) {
  if (!spec.has_text || !spec.has_vision) {
    return InvalidArgument(fmt::format("expected both towers to compare pictures with texts, found the {} tower alone",
                                       spec.has_vision ? "image" : "text"));
  }
  ANEMONE_ASSIGN(const Tensor tensor, weights(name));
  if (tensor.num_elements() != 1) {
    return Corrupt(fmt::format("{}: expected one number, found shape {}", name, ToString(tensor.shape())));
  }
  Result<Tensor> cast = tensor.Cast(DType::kF32);
  if (!cast.ok()) return cast.status().In(name);
  float value = 0;
  ANEMONE_TRY(Fill(*cast, 0, {reinterpret_cast<std::byte*>(&value), sizeof(value)}).In(name));
  return static_cast<double>(value);
}

ClipModel::ClipModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ClipModel::~ClipModel() = default;
ClipModel::ClipModel(ClipModel&&) noexcept = default;
ClipModel& ClipModel::operator=(ClipModel&&) noexcept = default;

const ClipSpec& ClipModel::spec() const { return impl_->spec; }

bool ClipHasInt8() { return internal::HasTileOf(internal::Words::kInt8); }
bool ClipHasBf16() { return internal::HasTileOf(internal::Words::kBf16) || LibraryHasBf16(); }

Result<ClipModel> ClipModel::Create(const ClipSpec& spec, ClipWeights weights, ClipOptions options) {
  for (const auto& [name, tower, is_there] :
       {std::tuple("vision", &spec.vision, spec.has_vision), std::tuple("text", &spec.text, spec.has_text)}) {
    if (!is_there) continue;
    const uint64_t least = std::min({tower->layers, tower->width, tower->ffn, tower->heads});
    const uint64_t most = std::max({tower->layers, tower->width, tower->ffn, tower->heads});
    if (least == 0 || most > kMaxSize) {
      return InvalidArgument(fmt::format("{}: expected layers, width, ffn and heads from 1 to {}, found {}, {}, {}, {}",
                                         name, kMaxSize, tower->layers, tower->width, tower->ffn, tower->heads));
    }
    if (tower->width % tower->heads != 0) {
      return InvalidArgument(
          fmt::format("{}: expected a width that {} heads divide, found {}", name, tower->heads, tower->width));
    }
  }
  constexpr uint64_t kMaxImage = 1 << 14;
  if (spec.has_vision && (spec.patch_size == 0 || spec.image_size == 0 || spec.image_size > kMaxImage ||
                          spec.image_size % spec.patch_size != 0)) {
    return InvalidArgument(fmt::format("expected an image size that is a multiple of the patch size, found {} and {}",
                                       spec.image_size, spec.patch_size));
  }
  const bool sensible_text =
      !spec.has_text || (spec.context != 0 && spec.context <= kMaxSize && spec.vocab != 0 && spec.vocab <= INT32_MAX);
  const bool sensible_projection = !spec.projects || (spec.projection != 0 && spec.projection <= kMaxSize);
  if (!sensible_text || !sensible_projection || (!spec.has_text && !spec.has_vision)) {
    return InvalidArgument(
        fmt::format("expected projection, context and vocabulary of sensible sizes, found {}, {}, {}", spec.projection,
                    spec.context, spec.vocab));
  }
  if (options.threads < 0)
    return InvalidArgument(fmt::format("expected a number of threads, found {}", options.threads));
  ANEMONE_TRY(internal::CheckGemmVariable());
  const int threads = options.threads == 0 ? int{tbb::task_arena::automatic} : options.threads;
  auto impl = std::make_unique<Impl>(threads);
  impl->spec = spec;
  impl->weights = std::move(weights);
  impl->options = std::move(options);
  impl->keeps_bf16 = impl->options.compute == ClipCompute::kBf16 && LibraryHasBf16();
  return ClipModel(std::move(impl));
}

Result<ClipFeatures> ClipModel::EncodeImages(std::span<const float> pixels) {
  if (!impl_->spec.has_vision) return InvalidArgument("expected an image tower, found the text tower alone");
  const uint64_t one = 3 * impl_->spec.image_size * impl_->spec.image_size;
  if (pixels.empty() || pixels.size() % one != 0) {
    return InvalidArgument(fmt::format("expected pictures of {} values, found {} values", one, pixels.size()));
  }
  ANEMONE_TRY(impl_->Begin());
  Result<ClipFeatures> features = impl_->Images(pixels);
  ANEMONE_TRY(impl_->Finish());
  return features;
}

Result<ClipFeatures> ClipModel::EncodeTexts(std::span<const std::vector<int32_t>> texts) {
  if (!impl_->spec.has_text) return InvalidArgument("expected a text tower, found the image tower alone");
  if (texts.empty()) return InvalidArgument("expected at least one text, found none");
  ANEMONE_TRY(impl_->Begin());
  Result<ClipFeatures> features = impl_->Texts(texts);
  ANEMONE_TRY(impl_->Finish());
  return features;
}

Result<double> ClipModel::LogitScale() const {
  ANEMONE_ASSIGN(const double log_scale, impl_->Scalar("logit_scale"));
  return std::exp(log_scale);
}

Result<double> ClipModel::LogitBias() const {
  if (!impl_->spec.siglip) return 0.0;
  return impl_->Scalar("logit_bias");
}

void ClipFeatures::Normalize() { internal::NormalizeRows(values.data(), count, width); }

Result<std::vector<float>> ClipProbabilities(const ClipFeatures& images, const ClipFeatures& texts, double scale,
                                             bool siglip, double bias) {
  if (images.width != texts.width || texts.count == 0) {
    return InvalidArgument(fmt::format("expected features of one width, found {} and {}", images.width, texts.width));
  }
  ClipFeatures a = images;
  ClipFeatures b = texts;
  a.Normalize();
  b.Normalize();
  std::vector<float> result(a.count * b.count);
  for (uint64_t i = 0; i < a.count; ++i) {
    float* row = result.data() + i * b.count;
    for (uint64_t j = 0; j < b.count; ++j) {
      double dot = 0;
      for (uint64_t k = 0; k < a.width; ++k) dot += double{a.values[i * a.width + k]} * b.values[j * a.width + k];
      const double logit = dot * scale + bias;
      row[j] = static_cast<float>(siglip ? 1 / (1 + std::exp(-logit)) : logit);
    }
    if (!siglip) internal::Softmax(row, b.count, b.count);
  }
  return result;
}

}  // namespace anemone
