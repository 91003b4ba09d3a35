#include "format/dist/entries.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace anemone {
namespace {

// "0.3" → {0, 3}
std::optional<Shape> ParseDotted(std::string_view text) {
  Shape numbers;
  while (true) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) return std::nullopt;
    numbers.push_back(number);
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    if (text.empty()) return numbers;
    if (text.front() != '.') return std::nullopt;
    text.remove_prefix(1);
  }
}

bool IsIndex(std::string_view word) {
  return !word.empty() && word.size() <= 9 && std::ranges::all_of(word, [](char c) { return c >= '0' && c <= '9'; });
}

// The position just after the first component "layers" whose next component does (or does not) begin with an index;
// npos.
size_t AfterLayers(std::string_view name, bool index_follows) {
  constexpr std::string_view kLayers = "layers.";
  for (size_t at = name.find(kLayers); at != std::string_view::npos; at = name.find(kLayers, at + 1)) {
    if (at != 0 && name[at - 1] != '.') continue;
    const std::string_view rest = name.substr(at + kLayers.size());
    const bool index = IsIndex(rest.substr(0, rest.find('.')));
    if (!rest.empty() && index == index_follows) return at + kLayers.size();
  }
  return std::string_view::npos;
}

// Tiles that do not tile are the file's fault, not the caller's.
Result<Tensor> Tiled(Shape shape, std::vector<Tensor::Tile> tiles) {
  auto tensor = Tensor::Assemble(std::move(shape), std::move(tiles));
  if (tensor.ok() || tensor.status().kind() != ErrorKind::kInvalidArgument) return tensor;
  return Corrupt("[TD-4] expected chunks that cover the tensor once, found " + tensor.status().error().what);
}

Shape WithoutFirst(const Shape& shape) { return Shape(shape.begin() + 1, shape.end()); }

// [fragments…, n] in chunks → `original`: fragment f lies at f · original / fragments, its elements in C order.
Result<Tensor> Unflatten(const std::vector<Tensor::Tile>& chunks, const Shape& shape, const Shape& original) {
  const size_t rank = original.size();
  Shape local(rank);
  for (size_t axis = 0; axis < rank; ++axis) local[axis] = original[axis] / shape[axis];
  std::vector<const Tensor::Tile*> sorted;
  for (const Tensor::Tile& tile : chunks) {
    for (size_t axis = 0; axis < rank; ++axis) {
      if (tile.tensor.shape()[axis] != 1) {
        return Corrupt(fmt::format("[TD-8] expected slices of one fragment, found {}", ToString(tile.tensor.shape())));
      }
    }
    sorted.push_back(&tile);
  }
  std::ranges::sort(sorted, {}, [](const Tensor::Tile* tile) { return tile->offsets; });
  std::vector<Tensor::Tile> fragments;
  for (size_t first = 0; first < sorted.size();) {
    const Shape fragment(sorted[first]->offsets.begin(), sorted[first]->offsets.begin() + static_cast<ptrdiff_t>(rank));
    std::vector<Tensor::Tile> slices;
    for (; first < sorted.size() && std::ranges::equal(fragment, std::span(sorted[first]->offsets).first(rank));
         ++first) {
      ANEMONE_ASSIGN(Tensor flat, sorted[first]->tensor.Reshape({sorted[first]->tensor.num_elements()}));
      slices.push_back({{sorted[first]->offsets.back()}, std::move(flat)});
    }
    ANEMONE_ASSIGN(const Tensor flat, Tiled({shape.back()}, std::move(slices)));
    ANEMONE_ASSIGN(Tensor block, flat.Reshape(local));
    std::vector<uint64_t> offsets(rank);
    for (size_t axis = 0; axis < rank; ++axis) offsets[axis] = fragment[axis] * local[axis];
    fragments.push_back({std::move(offsets), std::move(block)});
  }
  return Tiled(original, std::move(fragments));
}

// Of chunks that have elements. `original`: null where it is not flattened.
Result<Tensor> Assemble(DType dtype, std::vector<Tensor::Tile> chunks, const Shape& shape, const Shape* original) {
  if (original != nullptr) return Unflatten(chunks, shape, *original);
  if (NumElements(shape) == 0) return Tensor::FromBytes(dtype, shape, {});
  if (chunks.size() == 1 && chunks[0].tensor.shape() == shape) return std::move(chunks[0].tensor);
  return Tiled(shape, std::move(chunks));
}

}  // namespace

const Artifact* FindMember(const std::vector<Artifact>& members, std::string_view name) {
  const auto it = std::ranges::lower_bound(members, name, {}, &Artifact::name);
  return it != members.end() && it->name == name ? &*it : nullptr;
}

Result<Tensor> AssembleWhole(const DistTensor& tensor) {
  std::vector<Tensor::Tile> chunks;
  chunks.reserve(tensor.chunks.size());
  for (const DistChunk& chunk : tensor.chunks) {
    if (chunk.tensor->num_elements() != 0) chunks.push_back({*chunk.offsets, *chunk.tensor});
  }
  return Assemble(tensor.dtype, std::move(chunks), *tensor.shape, tensor.original_shape);
}

Result<Tensor> AssembleLayer(const DistTensor& tensor, uint64_t layer) {
  std::vector<Tensor::Tile> chunks;
  const auto layer_of = [](const DistChunk& chunk) { return chunk.offsets->front(); };
  for (auto chunk = std::ranges::lower_bound(tensor.chunks, layer, {}, layer_of);
       chunk != tensor.chunks.end() && layer_of(*chunk) == layer; ++chunk) {
    if (chunk->tensor->num_elements() == 0) continue;
    ANEMONE_ASSIGN(Tensor thin, chunk->tensor->Reshape(WithoutFirst(*chunk->sizes)));
    chunks.push_back({WithoutFirst(*chunk->offsets), std::move(thin)});
  }
  std::optional<Shape> original;
  if (tensor.original_shape != nullptr) original = WithoutFirst(*tensor.original_shape);
  return Assemble(tensor.dtype, std::move(chunks), WithoutFirst(*tensor.shape), original ? &*original : nullptr);
}

bool IsStackOfLayers(const DistTensor& tensor) {
  if (tensor.shape->empty() || tensor.chunks.empty()) return false;
  if (tensor.original_shape != nullptr && tensor.original_shape->front() != tensor.shape->front()) return false;
  return std::ranges::all_of(tensor.chunks, [](const DistChunk& chunk) { return chunk.sizes->front() == 1; });
}

LayerKey SplitStackedKey(std::string_view key) {
  const size_t after = AfterLayers(key, false);
  if (after == std::string_view::npos) return {};
  return {key.substr(0, after - 1), key.substr(after)};
}

constexpr std::string_view kLocalExperts = ".experts.local_experts.", kExperts = ".experts.experts.";

std::optional<ExpertName> SplitExpertName(std::string_view name) {
  const size_t at = name.find(kLocalExperts);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = name.substr(at + kLocalExperts.size());
  const size_t dot = rest.find('.');
  if (dot == std::string_view::npos || !IsIndex(rest.substr(0, dot))) return std::nullopt;
  ExpertName result{fmt::format("{}{}{}", name.substr(0, at), kExperts, rest.substr(dot + 1))};
  std::from_chars(rest.data(), rest.data() + dot, result.expert);
  return result;
}

bool IsExpertsKey(std::string_view key) { return key.find(kExperts) != std::string_view::npos; }

std::string ExpertNameOf(std::string_view key, uint64_t expert) {
  const size_t at = key.find(kExperts);
  return fmt::format("{}{}{}.{}", key.substr(0, at), kLocalExperts, expert, key.substr(at + kExperts.size()));
}

std::optional<LayerName> SplitLayerName(std::string_view name) {
  const size_t after = AfterLayers(name, true);
  if (after == std::string_view::npos) return std::nullopt;
  const std::string_view rest = name.substr(after);
  const size_t dot = rest.find('.');
  if (dot == std::string_view::npos || dot + 1 == rest.size()) return std::nullopt;
  uint64_t layer = 0;
  std::from_chars(rest.data(), rest.data() + dot, layer);
  return LayerName{name.substr(0, after - 1), rest.substr(dot + 1), layer};
}

std::optional<ObjectShard> SplitObjectKey(std::string_view key) {
  constexpr std::string_view kShard = "/shard_";
  const size_t at = key.rfind(kShard);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view numbers = key.substr(at + kShard.size());
  const size_t bar = numbers.find('_');
  if (bar == std::string_view::npos) return std::nullopt;
  auto offsets = ParseDotted(numbers.substr(0, bar));
  auto shape = ParseDotted(numbers.substr(bar + 1));
  if (!offsets || !shape) return std::nullopt;
  if (shape->size() != offsets->size() && shape->size() + 1 != offsets->size()) return std::nullopt;
  return ObjectShard{key.substr(0, at), *std::move(offsets), *std::move(shape)};
}

}  // namespace anemone
