#include "family/words/encoder_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "config/nodes.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

// A float is spelled anew: YAML 1.1 reads JSON's 1e-12 as a text.
void Put(std::string_view key, const ConfigNode& value, ConfigNode* to) {
  ConfigNode& node = (*to)[std::string(key)] = value;
  if (node.kind == ConfigNode::Kind::kFloat) node.text.clear();
}

}  // namespace

bool HasKey(std::span<const PairedKey> paired, std::span<const FixedWord> fixed, std::string_view key) {
  return std::ranges::find(paired, key, &PairedKey::hf) != paired.end() ||
         std::ranges::find(fixed, key, &FixedWord::key) != fixed.end();
}

Status SetNemoKeys(std::span<const PairedKey> keys, const ConfigNode& config_json, ConfigNode* model) {
  for (const PairedKey& key : keys) {
    const ConfigNode silent = ParseWord(key.hf_silent);
    const ConfigNode& value = WordOr(config_json, key.hf, silent);
    ANEMONE_TRY(CheckNumber(key.hf, value));
    Put(key.nemo, value, model);
  }
  return {};
}

Status SetHfKeys(std::span<const PairedKey> keys, const ConfigNode& model, bool came_along, ConfigNode* config_json) {
  for (const PairedKey& key : keys) {
    const ConfigNode silent = ParseWord(key.nemo_silent), hf_silent = ParseWord(key.hf_silent);
    const ConfigNode& value = WordOr(model, key.nemo, silent);
    ANEMONE_TRY(CheckNumber(key.nemo, value));
    if (came_along && SameConfig(WordOr(*config_json, key.hf, hf_silent), value)) continue;
    Put(key.hf, value, config_json);
  }
  return {};
}

bool IsGeluByTanh(std::string_view hf_activation) {
  constexpr std::string_view kByTanh[] = {"gelu_new", "gelu_pytorch_tanh", "gelu_fast"};
  return std::ranges::find(kByTanh, hf_activation) != std::end(kByTanh);
}

Result<bool> ReadGelu(const ConfigNode& config_json) {
  const ConfigNode& said = WordAt(config_json, "hidden_act");
  const std::string activation = said.is_null() ? "gelu" : Shown(said);
  const bool by_tanh = IsGeluByTanh(activation);
  if (by_tanh || activation == "gelu") return by_tanh;
  return Unsupported(fmt::format("hidden_act: expected gelu or one of its forms by tanh, found {}", activation));
}

Status CheckHeadsFillWidth(const ConfigNode& model, std::string_view who) {
  ANEMONE_ASSIGN(const uint64_t width, SizeOf(model, "hidden_size"));
  ANEMONE_ASSIGN(const uint64_t heads, SizeOf(model, "num_attention_heads"));
  ANEMONE_ASSIGN(const uint64_t channels, SizeOf(model, "kv_channels", width / heads));
  if (width % heads == 0 && channels == width / heads) return {};
  return Unsupported(fmt::format("kv_channels: expected {}, as {} computes, found {}", width / heads, who, channels));
}

void SetPrecision(DType dtype, ConfigNode* model) {
  if (dtype == DType::kBF16) (*model)["precision"] = ConfigNode::String("bf16");
  if (dtype == DType::kF16) (*model)["precision"] = ConfigNode::Int(16);
}

}  // namespace anemone
