// Weights that are a function of their names: the same numbers as tools/clip_random.py, which says how.
#ifndef ANEMONE_TESTS_UNIT_CLIP_RANDOM_WEIGHTS_H_
#define ANEMONE_TESTS_UNIT_CLIP_RANDOM_WEIGHTS_H_

#include <bit>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/clip.h"

namespace anemone::testing {

inline std::vector<float> RandomValues(std::string_view name, const Shape& shape) {
  uint64_t count = 1;
  for (const uint64_t size : shape) count *= size;
  float base = 0;
  float scale = 0;
  if (name == "logit_scale") {
    base = 3;
  } else if (name == "logit_bias") {
    base = -2;
  } else if (name.ends_with(".bias")) {
    scale = 0.125F;
  } else if (name.find("norm") != std::string_view::npos) {
    base = 1;
    scale = 0.125F;
  } else if (name == "text.token_embedding.weight") {
    scale = 0.25F;
  } else if (name.ends_with("position_embedding.weight")) {
    scale = 0.125F;
  } else if (name == "vision.class_embedding") {
    scale = 0.5F;
  } else if (name == "vision.head.probe") {
    scale = 1;
  } else {
    const uint64_t depth = count / shape.front();
    scale = 1;
    const int bits = static_cast<int>(std::bit_width(depth - 1));
    for (int i = 0; i < bits / 2; ++i) scale /= 2;
  }
  uint64_t seed = 0xcbf29ce484222325;
  for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  std::vector<float> values(count);
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    values[i] = (static_cast<float>(z >> 40) * 0x1p-23F - 1) * scale + base;
  }
  return values;
}

// The shape that `spec` gives a canonical name.
inline Shape CanonicalShape(const ClipSpec& spec, const std::string& name) {
  const bool text = name.starts_with("text.");
  const ClipTower& tower = text ? spec.text : spec.vision;
  const uint64_t h = tower.width;
  const uint64_t f = tower.ffn;
  const auto ends = [&](std::string_view suffix) { return name.ends_with(suffix); };
  if (name == "logit_scale" || name == "logit_bias") return {};
  if (ends("head.probe")) return {1, 1, h};
  if (ends("attn.qkv.weight")) return {3 * h, h};
  if (ends("attn.qkv.bias")) return {3 * h};
  if (ends("attn.out.weight")) return {h, h};
  if (ends("mlp.up.weight")) return {f, h};
  if (ends("mlp.up.bias")) return {f};
  if (ends("mlp.down.weight")) return {h, f};
  if (ends("token_embedding.weight")) return {spec.vocab, h};
  if (ends("patch_embedding.weight")) return {h, 3, spec.patch_size, spec.patch_size};
  if (ends("projection.weight")) return {spec.projection, h};
  if (ends("projection.bias")) return {spec.projection};
  if (ends("position_embedding.weight")) {
    const uint64_t grid = spec.image_size / spec.patch_size;
    return {text ? spec.context : grid * grid + (spec.siglip ? 0 : 1), h};
  }
  return {h};  // norms, the other biases, the class embedding
}

inline ClipWeights RandomWeights(const ClipSpec& spec) {
  return [spec](const std::string& name) -> Result<Tensor> {
    const Shape shape = CanonicalShape(spec, name);
    const std::vector<float> values = RandomValues(name, shape);
    return Tensor::FromBytes(DType::kF32, shape,
                             std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
  };
}

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_UNIT_CLIP_RANDOM_WEIGHTS_H_
