// Reading a decoder's config.json (hf_config.h).
//
// Facts: transformers 4.44.2 and 5 configuration_utils.py, activations.py.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "config/nodes.h"
#include "family/words/config_languages.h"
#include "family/words/hf_attention.h"
#include "family/words/hf_config.h"
#include "family/words/hf_deepseek.h"
#include "family/words/hf_keys.h"
#include "family/words/hf_numbers.h"
#include "family/words/hf_positions.h"
#include "family/words/hf_reader.h"
#include "family/words/model_words.h"

namespace anemone {
namespace internal {
namespace {

constexpr FixedKey kFixed[] = {
    {"add_cross_attention", "false", "decoders that read an encoder"},
    {"alibi", "false", "positions by ALiBi"},
    {"apply_residual_connection_post_layernorm", "false", "residuals behind norms"},
    {"attention_chunk_size", "null", "attention in chunks"},
    {"is_causal", "true", "attention to later tokens"},
    {"kv_sharing_modes", "null", "keys and values of other layers"},
    {"per_layer_config", "null", "layers of several kinds"},
    {"decoder_sparse_step", "1", "layers with and without experts"},
    {"original_rope", "true", "other rotary positions"},
    {"post_layer_norm", "true", "a model without its last norm"},
    {"reorder_and_upcast_attn", "false", "attention in another order"},
    {"rmsnorm", "true", "other norms"},
    {"scale_attn_by_inverse_layer_idx", "false", "attention scaled by layer"},
    {"scale_attn_weights", "true", "attention that is not scaled"},
    {"use_bidirectional_attention", "false", "attention to later tokens"},
};

constexpr std::string_view kGemmasActivation = "gelu_pytorch_tanh";  // where its config is silent

Status ReadKeys(HfReader& config) {
  for (const HfKey& key : HfKeysOf(config.architecture())) {
    const ConfigNode& value = config.At(key.key);
    // NeMo's Gemma 2 reads its caps, and knows null, but not that one is missing [NeMo v2.0.0 gemma2_modules.py].
    if (value.is_null() && key.word.ends_with("_softcapping")) config.Set(key.word, ConfigNode::Null());
    if (value.is_null() || key.word == "vocab_size" || key.word == "activation" || key.word == "window_size") continue;
    if (!value.is_scalar())
      return Corrupt(fmt::format("{}: expected one value, found a {}", key.key, value.is_map() ? "map" : "list"));
    if (value.kind == ConfigNode::Kind::kString)
      return Corrupt(fmt::format("{}: expected a number, found \"{}\"", key.key, Text(value)));
    config.Set(key.word, value);
  }
  return {};
}

Status CheckFixedKeys(HfReader& config) {
  for (const FixedKey& fixed : kFixed) ANEMONE_TRY(config.CheckFixed(fixed));
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (!config.At(key).is_null())
      return Unsupported(fmt::format("{}: expected weights as they are, found quantized ones", key),
                         "save the model dequantized first");
  }
  return {};
}

// A Gemma of version 4 computes hidden_activation, one of version 5 hidden_act, and not the exact form of GELU
// [transformers 4.44.2 and 5.24 configuration_gemma.py, modeling_gemma.py].
Status SameInEveryVersion(const HfReader& config, std::string_view name, const HfActivation* older) {
  const ConfigNode* own = config.json().Get("hidden_act");
  if (!config.Is("gemma") || own == nullptr) return {};
  const std::string text = Text(*own);
  const std::string_view said = text == "gelu" ? kGemmasActivation : std::string_view(text);
  const HfActivation* newer = FindHfActivation(said);
  if (newer != nullptr && older != nullptr && newer->gated == older->gated && newer->by_tanh == older->by_tanh)
    return {};
  return Unsupported(
      fmt::format("hidden_act: expected what hidden_activation says, {}, found {}: version 4 of "
                  "transformers computes the one, version 5 the other",
                  name, Shown(*own)));
}

Status ReadActivation(HfReader& config) {
  const std::string_view key = HfKeyOf(config.architecture(), "activation");
  if (key.empty()) return {};
  std::string name = Text(config.At(key));
  if (config.At(key).is_null() && key == "hidden_activation") name = kGemmasActivation;
  const HfActivation* found = FindHfActivation(name);
  ANEMONE_TRY(SameInEveryVersion(config, name, found));
  const bool is_gated = config.architecture().is_gated;
  const std::string_view ours = found == nullptr ? "" : is_gated ? found->gated : found->plain;
  if (ours.empty()) return Unsupported(fmt::format("{}: expected an activation that NeMo has, found {}", key, name));
  config.Set("activation", TextNode(ours));
  const bool is_gelu = ours.ends_with("gelu") || ours.ends_with("geglu");
  config.Set("openai_gelu", ConfigNode::Bool(is_gelu && is_gated && found->by_tanh));
  config.Set("bias_activation_fusion", ConfigNode::Bool(is_gelu && !is_gated && found->by_tanh));
  return {};
}

// All linear layers have biases or none, but for those of queries, keys and values.
Status ReadBiases(HfReader& config) {
  if (!HfKeyOf(config.architecture(), "bias").empty() || config.words().Get("bias") != nullptr) {
    const bool has_key = HfKeyOf(config.architecture(), "bias").empty(),
               is_implied = has_key && IsTrue(WordAt(config.words(), "bias"));
    for (const char* key : {"attention_bias", "mlp_bias"}) {
      const ConfigNode& bias = config.At(key);
      if (bias.is_null() || IsTrue(bias) == is_implied) continue;
      return Unsupported(
          fmt::format("{}: expected {}, found {}: NeMo has no such model", key, is_implied, !is_implied));
    }
    return {};
  }
  const bool in_attention = IsTrue(config.At("attention_bias")), in_mlp = IsTrue(config.At("mlp_bias"));
  if (in_attention != in_mlp) {
    return Unsupported(
        fmt::format("attention_bias: expected that of mlp_bias, {}, found {}: Megatron has biases in all linear layers "
                    "or in none",
                    in_mlp, in_attention));
  }
  config.Set("bias", ConfigNode::Bool(in_mlp));
  return {};
}

// Words for groups that are not a number of them.
Status ReadGroups(HfReader& config) {
  if (config.Is("falcon") && !IsTrue(config.At("new_decoder_architecture"))) {
    config.Set("num_query_groups", IsTrue(config.At("multi_query")) ? ConfigNode::Int(1) : ConfigNode::Null());
  }
  if (config.Is("chatglm") && !IsTrue(config.At("multi_query_attention")))
    config.Set("num_query_groups", ConfigNode::Null());
  if (config.Is("gpt_bigcode") && !IsTrue(config.At("multi_query")))
    return Unsupported("multi_query: expected true, found false: heads with keys of their own are not supported");
  if (!config.Is("falcon")) return {};
  const ConfigNode& norms = config.At("num_ln_in_parallel_attn");
  if (norms.AsInt() == 1 && IsTrue(config.At("new_decoder_architecture")))
    return Unsupported("num_ln_in_parallel_attn: expected 2, found 1: NeMo has no such model");
  const bool is_parallel = IsTrue(config.At("new_decoder_architecture")) || IsTrue(config.At("parallel_attn"));
  if (is_parallel && IsTrue(config.At("bias")))  // [NeMo v2.0.0 falcon_decoder_layer.py]
    return Unsupported(
        "bias: expected false, found true: NeMo's Falcon leaves out biases where it adds attention and MLP");
  return {};
}

Status ReadExperts(HfReader& config) {
  const ConfigNode& dense = config.At("mlp_only_layers");
  if (!dense.is_null() && !(dense.is_list() && dense.list.empty()))
    return Unsupported("mlp_only_layers: expected none, found some: layers with and without experts are not supported");
  if (!HfKeyOf(config.architecture(), "moe_router_pre_softmax").empty())
    config.Set("moe_router_pre_softmax", ConfigNode::Bool(!IsTrue(config.At("norm_topk_prob"))));
  const bool has_experts = WordAt(config.words(), "num_moe_experts").AsInt().value_or(0) > 0;
  const auto experts = WordAt(config.words(), "num_moe_experts").AsInt(),
             chosen = WordAt(config.words(), "moe_router_topk").AsInt();
  const bool is_unsaid = WordAt(config.words(), "moe_router_topk").is_null();
  if (has_experts && !is_unsaid && (!chosen || *chosen < 1 || *chosen > *experts))
    return Corrupt(fmt::format("num_experts_per_tok: expected 1 to {}, the number of experts, found {}", *experts,
                               Shown(WordAt(config.words(), "moe_router_topk"))));
  const bool divides = !IsTrue(WordAt(config.words(), "moe_router_pre_softmax"));
  if (has_experts && divides && WordAt(config.words(), "moe_router_topk").AsInt() == 1)
    return Unsupported(  // [core_v0.9.0 moe_utils.py, topk_softmax_with_capacity]
        "num_experts_per_tok: expected 2 or more, found 1: its weight is 1 in transformers, its score in Megatron");
  return {};
}

}  // namespace

Result<ConfigNode> ReadHfConfig(const ConfigNode& json, const HfArchitecture& architecture,
                                std::vector<std::string>* notes) {
  HfReader config(json, architecture);
  ANEMONE_TRY(CheckHfNumbers(json));
  if (architecture.has_padding_row) ANEMONE_TRY(CheckPaddingRow(json));
  ANEMONE_TRY(config.CheckFlags());
  ANEMONE_TRY(ReadKeys(config));
  ANEMONE_TRY(CheckFixedKeys(config));
  ANEMONE_TRY(ReadActivation(config));
  ANEMONE_TRY(ReadBiases(config));
  ANEMONE_TRY(ReadWindow(config));
  ANEMONE_TRY(CheckPositions(config));
  const bool is_latent = IsTrue(WordAt(config.words(), "multi_latent_attention"));
  ANEMONE_TRY(config.Is("gemma3_text") ? ReadGemma3(config)
              : is_latent              ? ReadLatent(config, notes)
                                       : ReadPositions(config));
  ANEMONE_TRY(ReadGroups(config));
  ANEMONE_TRY(ReadExperts(config));
  if (notes != nullptr) config.NoteUnknown(notes);
  return std::move(config.words());
}

}  // namespace internal

bool IsHfDecoderConfig(const ConfigNode& root) {
  if (root.Get("model_type") == nullptr && root.Get("architectures") == nullptr) return false;
  return FindHfArchitecture(root) != nullptr ||
         (root.Get("text_config") == nullptr && root.Get("vision_config") == nullptr);
}

namespace {

// transformers' Auto classes build what `model_type` names, NeMo's converters what the class does.
Status CheckType(const ConfigNode& config_json, const HfArchitecture& architecture, std::vector<std::string>* notes) {
  const ConfigNode& type = WordAt(config_json, "model_type");
  if (type.is_null() || type.AsString() == std::string(architecture.model_type)) return {};
  const std::string line = fmt::format("model_type: expected {}, as {} has, found {}", architecture.model_type,
                                       architecture.name, Shown(type));
  const auto is_others = [&](const HfArchitecture& other) { return type.AsString() == std::string(other.model_type); };
  if (std::ranges::any_of(HfArchitectures(), is_others))
    return Corrupt(line).Use("architecture", architecture.name, "take it for that");
  if (notes != nullptr) notes->push_back(line + ": the class counts");
  return {};
}

}  // namespace

Result<ConfigNode> Nemo1OfHf(const ConfigNode& config_json, std::vector<std::string>* notes) {
  const HfArchitecture* architecture = FindHfArchitecture(config_json);
  if (architecture == nullptr) {
    const ConfigNode& names = WordAt(config_json, "architectures");
    return Unsupported(fmt::format("architectures: expected one that is known, found {}",
                                   names.is_list() && !names.list.empty() ? names.list.front().ScalarText() : "none"),
                       internal::KnownHfClasses());
  }
  ANEMONE_TRY(CheckType(config_json, *architecture, notes));
  ANEMONE_ASSIGN(ConfigNode model, internal::ReadHfConfig(config_json, *architecture, notes));
  for (const char* word : {"num_layers", "hidden_size", "num_attention_heads"}) {
    if (model.Get(word) == nullptr)
      return Corrupt(fmt::format("{}: expected a number, found nothing", HfKeyOf(*architecture, word)));
  }
  if (WordAt(model, "num_moe_experts").AsInt().value_or(0) > 0 && WordAt(model, "moe_router_topk").is_null())
    return Corrupt("num_experts_per_tok: expected a number, found nothing");
  return model;
}

}  // namespace anemone
