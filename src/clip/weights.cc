#include "clip/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/rounding.h"
#include "tensor/fill.h"

namespace anemone::internal {
namespace {

// A panel of `weight`, the tensor of all of the layer's rows.
Status PackedPanel(const Tensor& weight, const Linear& linear, size_t p, float* to) {
  const ColumnPanels panels = linear.Panels();
  const size_t columns = panels.Size(p);
  const size_t row = linear.in * sizeof(float);
  thread_local Buffer unpacked;
  float* const rows = unpacked.Get(columns * linear.in);
  ANEMONE_TRY(Fill(weight, panels.Begin(p) * row, {reinterpret_cast<std::byte*>(rows), columns * row}));
  PackPanel(linear.encoding, rows, linear.in, columns, linear.in, to);
  return {};
}

}  // namespace

Linear Linear::Rows(size_t begin, size_t end) const {
  const auto from = [&](const auto* at, size_t offset) { return at == nullptr ? nullptr : at + offset; };
  const size_t panels = begin / group * Panels().in_group;
  return {{from(weight.packed, panels * encoding.PanelSize(in)), weight.stored, from(weight.fp32, begin * in),
           from(weight.bf16, begin * in)},
          from(bias, begin),
          in,
          end - begin,
          group,
          encoding,
          first_panel + panels};
}

Status StoredFactor::ReadPanel(size_t p, float* to) const { return PackedPanel(tensor, linear, p, to).In(name); }

// A part of a tensor that one thread reads: bytes as they are, or a panel of a factor, to be packed.
struct WeightReader::Piece {
  const Tensor* tensor;
  const std::string* name;
  std::byte* to;
  uint64_t offset = 0;
  uint64_t size = 0;
  const Linear* linear = nullptr;  // whose panel it is
  size_t panel = 0;
};

// A linear layer's weight in the precision in which it is held.
Result<Tensor> WeightReader::AsFactor(const Tensor& weight) const {
  if (compute_ != ClipCompute::kBf16) return weight.Cast(DType::kF32);
  ANEMONE_ASSIGN(Tensor bf16, weight.Cast(DType::kBF16));
  return form_ == FactorForm::kBf16 ? bf16 : bf16.Cast(DType::kF32);
}

void WeightReader::Point(const Want& want, const void* at) const {
  if (const auto* const to = std::get_if<const float**>(&want.to)) {
    **to = static_cast<const float*>(at);
    return;
  }
  Factor& factor = std::get<Linear*>(want.to)->weight;
  switch (form_) {
    case FactorForm::kFp32:
      factor.fp32 = static_cast<const float*>(at);
      break;
    case FactorForm::kBf16:
      factor.bf16 = static_cast<const uint16_t*>(at);
      break;
    case FactorForm::kPacked:
      factor.packed = static_cast<const float*>(at);
      break;
  }
}

Status WeightReader::ReadPiece(const Piece& piece) {
  if (piece.linear == nullptr) return Fill(*piece.tensor, piece.offset, {piece.to, piece.size});
  return PackedPanel(*piece.tensor, *piece.linear, piece.panel, reinterpret_cast<float*>(piece.to));
}

// Adds the pieces of a tensor that goes to `to`, and answers what they take there.
uint64_t WeightReader::Cut(const Want& want, const Tensor& tensor, std::byte* to, std::vector<Piece>* pieces) const {
  constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
  const uint64_t size = tensor.size_bytes();
  const Linear* const linear = want.factor_of();
  if (linear == nullptr || form_ != FactorForm::kPacked) {
    for (uint64_t offset = 0; offset < size; offset += kPieceBytes) {
      pieces->push_back({.tensor = &tensor,
                         .name = &want.name,
                         .to = to + offset,
                         .offset = offset,
                         .size = std::min(kPieceBytes, size - offset)});
    }
    return size;
  }
  const uint64_t panel = linear->encoding.PanelSize(linear->in) * sizeof(float);
  const size_t count = linear->Panels().count;
  for (size_t p = 0; p < count; ++p) {
    pieces->push_back({.tensor = &tensor, .name = &want.name, .to = to + p * panel, .linear = linear, .panel = p});
  }
  return count * panel;
}

// The tensor of that name, in fp32, a factor's as AsFactor says.
Result<Tensor> WeightReader::TensorOf(const Want& want) const {
  ANEMONE_ASSIGN(const Tensor tensor, source_(want.name));
  if (tensor.shape() != want.shape) {
    return Corrupt(
        fmt::format("{}: expected shape {}, found {}", want.name, ToString(want.shape), ToString(tensor.shape())));
  }
  Result<Tensor> cast = want.factor_of() != nullptr ? AsFactor(tensor) : tensor.Cast(DType::kF32);
  if (!cast.ok()) return cast.status().In(want.name);
  return cast;
}

// Reads tensors side by side into `block`, with all threads.
Status WeightReader::ReadInto(const std::vector<Want>& wants, Buffer* block) {
  std::vector<Tensor> tensors;
  tensors.reserve(wants.size());
  const auto padded = [](uint64_t bytes) { return RoundUp(bytes, Buffer::kAlign); };
  for (const Want& want : wants) {
    ANEMONE_ASSIGN(Tensor tensor, TensorOf(want));
    tensors.push_back(std::move(tensor));
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
  workers_.Parallel(pieces.size(), [&](size_t i) {
    const Piece& piece = pieces[i];
    const Status status = ReadPiece(piece);
    if (!status.ok()) {
      const std::lock_guard lock(mutex);
      if (failure.ok()) failure = status.In(*piece.name);
    }
  });
  return workers_.Stops() ? Interrupted() : failure;
}

// Takes the factors out of `wants`: their panels are read when they are multiplied.
Status WeightReader::LeaveStored(std::vector<Want>* wants) {
  stored_.clear();
  stored_.reserve(wants->size());  // they are pointed to
  for (const Want& want : *wants) {
    if (want.factor_of() == nullptr) continue;
    Linear& linear = *std::get<Linear*>(want.to);
    ANEMONE_ASSIGN(Tensor tensor, TensorOf(want));
    linear.weight.stored = &stored_.emplace_back(StoredFactor{want.name, std::move(tensor), linear});
  }
  std::erase_if(*wants, [](const Want& want) { return want.factor_of() != nullptr; });
  return {};
}

// One tensor, in a block of its own.
Status WeightReader::ReadOne(const Want& want) {
  auto& block = kept_[want.name];
  if (block != nullptr) {
    Point(want, block->Get(0));
    return {};
  }
  block = std::make_unique<Buffer>();
  Status status = ReadInto({want}, block.get());
  if (!status.ok()) kept_.erase(want.name);
  return status;
}

Result<const float*> WeightReader::Read(const std::string& name, const Shape& shape) {
  const float* data = nullptr;
  ANEMONE_TRY(ReadOne({name, shape, &data}));
  return data;
}

Result<const float*> WeightReader::ReadRow(const std::string& name, const Tensor& table, uint64_t row, uint64_t width) {
  const std::string key = fmt::format("{}[{}]", name, row);
  auto& block = kept_[key];
  if (block != nullptr) return block->Get(0);
  block = std::make_unique<Buffer>();
  auto* const values = block->Get(width);
  const uint64_t bytes = width * sizeof(float);
  const Status status = Fill(table, row * bytes, {reinterpret_cast<std::byte*>(values), bytes});
  if (status.ok()) return values;
  kept_.erase(key);
  return status.In(name);
}

Status WeightReader::ReadNorm(const std::string& name, uint64_t width, Norm* norm) {
  ANEMONE_ASSIGN(norm->weight, Read(name + ".weight", {width}));
  ANEMONE_ASSIGN(norm->bias, Read(name + ".bias", {width}));
  return {};
}

Status WeightReader::ReadLinear(const std::string& name, const Shape& shape, bool bias, Linear* linear) {
  const uint64_t out = shape.front();
  uint64_t in = 1;
  for (size_t i = 1; i < shape.size(); ++i) in *= shape[i];
  // Of the first and the last product: int8 would save little there.
  const Encoding encoding = Encoding::For(compute_ == ClipCompute::kInt8 ? ClipCompute::kFp32 : compute_);
  *linear = {{}, nullptr, in, out, out, encoding};
  ANEMONE_TRY(ReadOne({name + ".weight", shape, linear}));
  if (bias) {
    ANEMONE_ASSIGN(linear->bias, Read(name + ".bias", {out}));
  }
  return {};
}

Status WeightReader::ReadLayer(const std::string& prefix, const ClipTower& tower, bool is_head, bool once,
                               LayerWeights* layer) {
  const uint64_t h = tower.width;
  const uint64_t f = tower.ffn;
  const Encoding encoding = Encoding::For(compute_);
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
  if (!keep_ && once && form_ == FactorForm::kPacked) ANEMONE_TRY(LeaveStored(&wants));
  if (!keep_) return ReadInto(wants, &layer_);
  for (const Want& want : wants) ANEMONE_TRY(ReadOne(want));
  return {};
}

}  // namespace anemone::internal
