#include "family/diffusion/stored_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>

namespace anemone {
namespace {

// As NeMo's embedders name what they hold.
constexpr TextKind kEmbedders[] = {
    {"text.transformers", "transformer.text_model.embeddings.token_embedding.weight",
     "transformer.text_model.embeddings.position_embedding.weight",
     "transformer.text_model.encoder.layers.{}.mlp.fc1.weight", ""},
    {"text.openclip", "model.token_embedding.weight", "model.positional_embedding",
     "model.transformer.resblocks.{}.mlp.c_fc.weight", "model.text_projection", 1},
    {"text.megatron", "model.language_model.embedding.word_embeddings.weight",
     "model.language_model.embedding.position_embeddings",
     "model.language_model.encoder.layers.{}.mlp.dense_h_to_4h.weight", "model.head.weight", 0}};

// The same in a DreamBooth.
constexpr TextKind InDreamBooth(TextKind kind) {
  kind.part = kPipelineText;
  return kind;
}

constexpr TextKind kTextKinds[] = {
    kEmbedders[0],
    kEmbedders[1],
    kEmbedders[2],
    InDreamBooth(kEmbedders[0]),
    InDreamBooth(kEmbedders[1]),
    InDreamBooth(kEmbedders[2]),
    {"text.transformers", "text_model.embeddings.token_embedding.weight",
     "text_model.embeddings.position_embedding.weight", "text_model.encoder.layers.{}.mlp.fc1.weight", "", 0,
     kPipelineText},
    // As version 5 of transformers stores it.
    {"text.transformers", "embeddings.token_embedding.weight", "embeddings.position_embedding.weight",
     "encoder.layers.{}.mlp.fc1.weight", "", 0, kPipelineText},
};

}  // namespace

StoredNames::StoredNames(const Checkpoint& checkpoint) {
  checkpoint.ForEachDict([&](const StateDict& dict) {
    for (const StateDict::Item& item : dict.items()) {
      const std::string_view name = item.name;
      has_schedule_ |= name.ends_with("alphas_cumprod_prev");
      has_scale_ |= name == "scale_factor" || name.ends_with(".scale_factor");
      for (const std::string_view part : {kUnetNames, kVaeNames, kTextNames, kControlNames, kPipelineText}) {
        const size_t at = name.find(part);
        if (at != std::string_view::npos && item.tensor() != nullptr) tensors_.emplace(name.substr(at), item.tensor());
      }
    }
  });
}

uint64_t StoredNames::Size(std::string_view part, std::string_view name, size_t axis) const {
  const auto found = tensors_.find(fmt::format("{}{}", part, name));
  return found == tensors_.end() || axis >= found->second->shape().size() ? 0 : found->second->shape()[axis];
}

size_t StoredNames::Rank(std::string_view part, std::string_view name) const {
  const auto found = tensors_.find(fmt::format("{}{}", part, name));
  return found == tensors_.end() ? 0 : found->second->shape().size();
}

bool StoredNames::Has(std::string_view part) const {
  const auto found = tensors_.lower_bound(part);
  return found != tensors_.end() && found->first.starts_with(part);
}

uint64_t StoredNames::Count(std::string_view part, std::string_view pattern) const {
  uint64_t count = 0;
  while (Size(part, fmt::format(fmt::runtime(pattern), count), 0) > 0) ++count;
  return count;
}

std::span<const TextKind> TextKinds() { return kTextKinds; }

const TextKind* TextKindOf(const StoredNames& names) {
  const auto* found =
      std::ranges::find_if(kTextKinds, [&](const TextKind& kind) { return names.Size(kind.part, kind.tokens, 0) > 0; });
  return found == std::end(kTextKinds) ? nullptr : found;
}

}  // namespace anemone
