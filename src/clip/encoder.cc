// The towers. A batch goes through a layer at a time, so that a layer's weights need be in memory only while it is at
// work; inside a layer, a chunk of sequences at a time, so that activations stay small however large the batch is.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <deque>
#include <memory>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "anemone/clip.h"
#include "base/rounding.h"
#include "clip/chunks.h"
#include "clip/gemm.h"
#include "clip/kernels.h"
#include "clip/layers.h"
#include "clip/matmul.h"
#include "clip/packed.h"
#include "clip/weights.h"
#include "clip/workers.h"
#include "tensor/fill.h"

namespace anemone {
namespace {

using internal::Chunk;
using internal::FactorForm;
using internal::LayerWeights;
using internal::Linear;
using internal::Norm;
using internal::Sequence;
using internal::Then;

constexpr uint64_t kMaxSize = 1 << 20;  // of any dimension; products of three fit 64 bits

// True where oneDNN multiplies bf16: this machine has it, it is faster than the project's own loop, and a trial product
// comes out right.
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
  ClipOptions options;
  internal::Workers workers;
  internal::WeightReader weights;
  std::deque<internal::Layers> layers;  // of each thread
  internal::Buffer hidden;
  bool has_begun = false;

  Impl(const ClipSpec& model, ClipWeights source, ClipOptions how)
      : spec(model),
        options(std::move(how)),
        workers(options.threads, options.cancelled),
        weights(std::move(source), options.compute, options.keep_weights, &workers) {
    for (size_t i = 0; i < workers.count(); ++i) layers.emplace_back(options.compute, &workers);
  }

  // Where the threads divide each product.
  internal::Layers& together() { return layers.front(); }

  // The beginning of a call. What multiplies is chosen at the first: opening a library takes time.
  Status Begin() {
    if (has_begun) return {};
    ANEMONE_ASSIGN(const internal::GemmChoice choice, internal::ChooseGemm(internal::GemmShapeOf(spec)));
    ANEMONE_TRY(choice.library->make_room(workers.count()));
    for (internal::Layers& each : layers) each.set_gemm(choice.library);
    // int8 is the own loop's alone.
    const bool packs = choice.library == internal::OwnGemm() || options.compute == ClipCompute::kInt8;
    const bool keeps_bf16 = options.compute == ClipCompute::kBf16 && LibraryHasBf16();
    weights.set_form(keeps_bf16 ? FactorForm::kBf16 : packs ? FactorForm::kPacked : FactorForm::kFp32);
    has_begun = true;
    return {};
  }

  // The end of a call: what was read is forgotten, unless it is to be kept, and what failed is told.
  Status Finish() {
    const bool was_stopped = workers.TakeStop();
    weights.Forget(was_stopped);
    Status failure = TakeFailure();
    return was_stopped ? Interrupted() : failure;
  }

  Status TakeFailure() {
    Status failure;
    for (internal::Layers& each : layers) {
      Status of_each = each.TakeFailure();
      if (failure.ok()) failure = std::move(of_each);
    }
    return failure;
  }

  // Every layer over every chunk. Pooled rows end up in `pooled` unless all_rows, where the last layer is as the
  // others.
  Status RunTower(const std::string& name, const ClipTower& tower, bool causal, float* x,
                  const std::vector<Chunk>& chunks, bool all_rows, float* pooled) {
    // More rows would read them from memory for each panel of the weights.
    constexpr size_t kMostRowsBesideAPanel = 600;
    const bool once = chunks.size() == 1 && RowsOf(chunks.front()) <= kMostRowsBesideAPanel;
    struct Place {
      float* x;
      float* pooled;
    };
    std::vector<Place> places;  // of chunks
    places.reserve(chunks.size());
    for (const Chunk& chunk : chunks) {
      places.push_back({x, pooled});
      x += RowsOf(chunk) * tower.width;
      pooled += chunk.size() * tower.width;
    }
    // Each thread takes chunks of its own, as long as there are enough for all; a trace has them in order.
    const size_t apart = options.trace ? 0 : RoundDown(chunks.size(), workers.count());
    for (uint64_t i = 0; i < tower.layers && !workers.Stops(); ++i) {
      LayerWeights layer;
      const std::string prefix = fmt::format("{}.layers.{}", name, i);
      ANEMONE_TRY(weights.ReadLayer(prefix, tower, false, once, &layer));
      const auto apply = [&](internal::Layers& to, size_t c) {
        if (i + 1 < tower.layers || all_rows) return to.FullLayer(places[c].x, chunks[c], tower, layer, causal);
        to.LastLayer(places[c].x, chunks[c], tower, layer, causal, places[c].pooled);
      };
      workers.ParallelByThread(apart, [&](size_t c, size_t thread) { apply(layers[thread], c); });
      for (size_t c = apart; c < chunks.size(); ++c) {
        apply(together(), c);
        const size_t rows = RowsOf(chunks[c]);
        if (options.trace) options.trace(prefix, {places[c].x, rows * tower.width}, rows, tower.width);
      }
      ANEMONE_TRY(TakeFailure());
    }
    return {};
  }

  // The features of n pooled rows; those of a tower without a projection (SigLIP's images) are the rows themselves.
  Result<ClipFeatures> Project(const std::string& tower, std::vector<float> pooled, uint64_t n, uint64_t width) {
    const bool projects = spec.projects && !(spec.siglip && tower == "vision");
    ClipFeatures features;
    features.count = n;
    features.width = projects ? spec.projection : width;
    if (projects) {
      Linear projection;
      ANEMONE_TRY(weights.ReadLinear(tower + ".projection", {spec.projection, width}, spec.siglip, &projection));
      features.values.resize(n * spec.projection);
      together().Apply({pooled.data(), width, n}, projection, Then::kBias, {}, features.values.data(), spec.projection);
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
    workers.Parallel(grid, [&](size_t gy) {
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
    together().Apply({rows.data(), patch.in, grid * grid}, patch, Then::kAddTo, spec.vision.activation, to + first * h,
                     h);
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

  Linear patch;
  ANEMONE_TRY(weights.ReadLinear("vision.patch_embedding", {h, 3, p, p}, spec.siglip, &patch));
  ANEMONE_ASSIGN(const float* positions, weights.Read("vision.position_embedding.weight", {length, h}));
  float* x = hidden.Get(n * length * h);
  EmbedPatches(pixels, patch, positions, first, x);
  if (!spec.siglip) {
    ANEMONE_ASSIGN(const float* token, weights.Read("vision.class_embedding", {h}));
    for (size_t image = 0; image < n; ++image) internal::AddBias(x + image * length * h, h, 1, h, token);
    Norm norm;
    ANEMONE_TRY(weights.ReadNorm("vision.pre_norm", h, &norm));
    together().ApplyNorm(x, h, n * length, h, norm, spec.vision.norm_epsilon, x, h);
  }
  if (options.trace) options.trace("vision.embeddings", {x, n * length * h}, n * length, h);

  const std::vector<Chunk> chunks =
      internal::ChunksOf(std::vector<Sequence>(n, Sequence{0, length, 0}), nullptr, workers.count());
  const bool all_rows = spec.siglip || options.trace != nullptr;
  std::vector<float> pooled(n * h);
  ANEMONE_TRY(RunTower("vision", spec.vision, false, x, chunks, all_rows, pooled.data()));

  Norm norm;
  ANEMONE_TRY(weights.ReadNorm("vision.post_norm", h, &norm));
  if (spec.siglip) {
    together().ApplyNorm(x, h, n * length, h, norm, spec.vision.norm_epsilon, x, h);
    ANEMONE_ASSIGN(const float* probe, weights.Read("vision.head.probe", {1, 1, h}));
    LayerWeights head;
    ANEMONE_TRY(weights.ReadLayer("vision.head", spec.vision, true, n == 1, &head));
    together().PoolByAttention(x, n, length, probe, spec.vision, head, pooled.data());
  } else {
    if (all_rows) internal::Gather(x, h, chunks, pooled.data());
    together().ApplyNorm(pooled.data(), h, n, h, norm, spec.vision.norm_epsilon, pooled.data(), h);
  }
  return Project("vision", std::move(pooled), n, h);
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
  ANEMONE_ASSIGN(const Tensor table, weights.Find("text.token_embedding.weight"));
  if (table.shape() != Shape{spec.vocab, h}) {
    return Corrupt(fmt::format("text.token_embedding.weight: expected shape {}, found {}", ToString({spec.vocab, h}),
                               ToString(table.shape())));
  }
  ANEMONE_ASSIGN(const Tensor cast, table.Cast(DType::kF32));
  ANEMONE_ASSIGN(const float* positions, weights.Read("text.position_embedding.weight", {spec.context, h}));
  auto text = ids.begin();
  for (const Chunk& chunk : chunks) {
    for (const Sequence& s : chunk) {
      for (size_t i = s.shared.size(); i < s.length; ++i, row += h) {
        const auto id = static_cast<uint64_t>((*text)[i]);
        ANEMONE_ASSIGN(const float* values, weights.ReadRow("text.token_embedding.weight", cast, id, h));
        std::copy_n(values, h, row);
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
  const std::vector<Chunk> chunks = internal::ChunksOf(std::move(sequences), shares ? &ids : nullptr, workers.count());
  const size_t rows = RowsOf(chunks);

  float* x = hidden.Get(rows * h);
  ANEMONE_TRY(EmbedTexts(ids, chunks, x));
  if (options.trace) options.trace("text.embeddings", {x, rows * h}, rows, h);

  const bool all_rows = options.trace != nullptr;
  std::vector<float> pooled(ids.size() * h);
  ANEMONE_TRY(RunTower("text", spec.text, !spec.siglip, x, chunks, all_rows, pooled.data()));
  if (all_rows) internal::Gather(x, h, chunks, pooled.data());
  Norm norm;
  ANEMONE_TRY(weights.ReadNorm("text.final_norm", h, &norm));
  std::vector<float> in_order(pooled.size());
  for (size_t i = 0; i < order.size(); ++i) {
    together().ApplyNorm(pooled.data() + i * h, h, 1, h, norm, spec.text.norm_epsilon, in_order.data() + order[i] * h,
                         h);
  }
  return Project("text", std::move(in_order), ids.size(), h);
}

Result<double> ClipModel::Impl::Scalar(const std::string& name) {
  if (!spec.has_text || !spec.has_vision) {
    return InvalidArgument(fmt::format("expected both towers to compare pictures with texts, found the {} tower alone",
                                       spec.has_vision ? "image" : "text"));
  }
  ANEMONE_ASSIGN(const Tensor tensor, weights.Find(name));
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
  return ClipModel(std::make_unique<Impl>(spec, std::move(weights), std::move(options)));
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
