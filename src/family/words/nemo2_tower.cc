// Facts: NeMo v2.1.0 nemo/collections/vlm/neva/model/{base,vit_config}.py, v2.4.0
// nemo/collections/vlm/vision/{base,clip_vit,siglip_vit}.py; Megatron-LM core_v0.9.0 models/vision/clip_vit_model.py;
// transformers 4.44.2 configuration_{clip,siglip}.py.
#include "family/words/nemo2_tower.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "config/nodes.h"
#include "family/words/megatron_tables.h"
#include "family/words/model_words.h"
#include "family/words/neva_config.h"

namespace anemone {
namespace {

struct Pair {
  std::string_view nemo2, hf;
};
constexpr Pair kSizes[] = {{"hidden_size", "hidden_size"},      {"ffn_hidden_size", "intermediate_size"},
                           {"num_layers", "num_hidden_layers"}, {"num_attention_heads", "num_attention_heads"},
                           {"patch_dim", "patch_size"},         {"img_h", "image_size"}};

// Functions and transformers' names of them, those first that are written.
constexpr Pair kActivations[] = {
    {"nemo.collections.llm.fn.activation.quick_gelu", "quick_gelu"},
    {"torch.nn.functional.gelu", "gelu"},
    {"nemo.collections.llm.fn.activation.openai_gelu", "gelu_pytorch_tanh"},
    {"nemo.collections.llm.fn.activation.openai_gelu", "gelu_new"},
    {"nemo.collections.nlp.modules.common.megatron.utils.ApproxGELUActivation", "quick_gelu"},
};

// What such a tower is always, with the value that NeMo's class takes where nothing is said.
constexpr FixedWord kFixed[] = {{"normalization", "LayerNorm", "LayerNorm"},
                                {"layernorm_zero_centered_gamma", "false", "false"},
                                {"gated_linear_unit", "false", "false"},
                                {"add_bias_linear", "true", "true"},
                                {"qk_layernorm", "false", "false"}};

// What is written besides: how it is computed, and not what.
constexpr std::string_view kWritten =
    "{hidden_dropout: 0.0, add_qkv_bias: true, apply_query_key_layer_scaling: false, bias_activation_fusion: false, "
    "bias_dropout_fusion: false, attention_softmax_in_fp32: true, apply_rope_fusion: false}";

constexpr std::string_view kSiglip = "siglip";

std::string ClassOf(const ConfigNode& vision) {
  const std::string target = WordAt(vision, "_target_").AsString().value_or("");
  return target.substr(target.rfind('.') + 1);
}

Status Expect(std::string_view key, std::string_view expected, const ConfigNode& found) {
  return Unsupported(fmt::format("{}: expected {}, found {}", key, expected, Shown(found)));
}

Result<int64_t> Size(const ConfigNode& node, std::string_view key) {
  const int64_t size = WordAt(node, key).AsInt().value_or(0);
  constexpr int64_t kMost = int64_t{1} << 32;
  if (size > 0 && size <= kMost) return size;
  return Corrupt(fmt::format("{}: expected a size, found {}", key,
                             WordAt(node, key).is_null() ? "none" : WordAt(node, key).ScalarText()));
}

// A size that NeMo computes from the others where it is null.
Status ExpectIfSaid(const ConfigNode& vision, std::string_view key, int64_t expected) {
  const ConfigNode& said = WordAt(vision, key);
  return said.is_null() || said.AsInt() == expected ? Status() : Expect(key, std::to_string(expected), said);
}

}  // namespace

bool IsMegatronTower(const ConfigNode& vision) {
  const std::string name = ClassOf(vision);
  return name.starts_with("CLIPViT") || name.starts_with("SigLIPViT");
}

Result<ConfigNode> HfTowerOfNemo2(const ConfigNode& vision) {
  ConfigNode filled = vision;
  if (WordAt(filled, "ffn_hidden_size").is_null()) {
    ANEMONE_ASSIGN(const int64_t width, Size(vision, "hidden_size"));
    filled["ffn_hidden_size"] = ConfigNode::Int(4 * width);
  }
  const std::string type = WordAt(vision, "vision_model_type").AsString().value_or("clip");
  const bool is_siglip = type == kSiglip || ClassOf(vision).starts_with("SigLIPViT");
  if (!is_siglip && type != "clip") return Expect("vision_model_type", "clip or siglip", TextNode(type));
  ANEMONE_TRY(CheckFixed(vision, kFixed, is_siglip ? "transformers' SigLIP" : "transformers' CLIP"));
  ConfigNode hf = ConfigNode::Map();
  hf["model_type"] = TextNode(is_siglip ? kSiglipTowerType : kClipTowerType);
  for (const Pair& pair : kSizes) {
    ANEMONE_ASSIGN(const int64_t size, Size(filled, pair.nemo2));
    hf[std::string(pair.hf)] = ConfigNode::Int(size);
  }
  const int64_t heads = *hf["num_attention_heads"].AsInt(), width = *hf["hidden_size"].AsInt();
  ANEMONE_TRY(ExpectIfSaid(vision, "num_query_groups", heads));
  ANEMONE_TRY(ExpectIfSaid(vision, "kv_channels", width / heads));
  ANEMONE_TRY(ExpectIfSaid(vision, "img_w", *hf["image_size"].AsInt()));
  if (!is_siglip) ANEMONE_TRY(ExpectIfSaid(vision, "class_token_len", 1));
  const std::string function =
      WordAt(vision, "activation_func._target_").AsString().value_or(std::string(kActivations[1].nemo2));
  const auto* act = std::ranges::find(kActivations, function, &Pair::nemo2);
  if (act == std::end(kActivations)) return Expect("activation_func", "one that transformers has", TextNode(function));
  // gelu that is fused with its bias, or computed by Transformer Engine, is the one by tanh.
  const auto is_set = [&](std::string_view key) { return WordAt(vision, key).AsBool().value_or(false); };
  const bool by_tanh =
      act->hf == "gelu" && (is_set("bias_activation_fusion") || std::ranges::any_of(kComputedByTe, is_set));
  hf["hidden_act"] = TextNode(by_tanh ? "gelu_pytorch_tanh" : act->hf);
  const ConfigNode& epsilon = WordAt(vision, "layernorm_epsilon");
  hf["layer_norm_eps"] = epsilon.is_null() ? ConfigNode::Float(1e-5) : epsilon;
  if (const ConfigNode& dropout = WordAt(vision, "attention_dropout"); !dropout.is_null())
    hf["attention_dropout"] = dropout;
  if (is_siglip) hf["vision_use_head"] = ConfigNode::Bool(false);
  return hf;
}

Result<ConfigNode> Nemo2TowerOfHf(const ConfigNode& whole, std::string_view place) {
  const std::string type = WordAt(whole, "model_type").AsString().value_or(std::string(kClipTowerType));
  const bool is_siglip = type == kSiglipTowerType;
  if (!is_siglip && type != kClipTowerType)
    return Expect("vision_config.model_type", fmt::format("{} or {}", kClipTowerType, kSiglipTowerType),
                  TextNode(type));
  ConfigNode to = ConfigNode::Map();
  to["_target_"] = TextNode(fmt::format("{}CLIPViTConfig", place));
  to["vision_model_type"] = TextNode(is_siglip ? kSiglip : "clip");
  to["add_class_token"] = ConfigNode::Bool(!is_siglip);
  to["class_token_len"] = ConfigNode::Int(is_siglip ? 0 : 1);
  for (const Pair& pair : kSizes) {
    ANEMONE_ASSIGN(const int64_t size, Size(whole, pair.hf));
    to[std::string(pair.nemo2)] = ConfigNode::Int(size);
  }
  const int64_t patch = *to["patch_dim"].AsInt(), heads = *to["num_attention_heads"].AsInt();
  // NeMo wants whole patches; transformers leaves the rest of a picture out.
  to["img_h"] = ConfigNode::Int(*to["img_h"].AsInt() / patch * patch);
  to["img_w"] = to["img_h"];
  to["num_query_groups"] = ConfigNode::Int(heads);
  to["kv_channels"] = ConfigNode::Int(*to["hidden_size"].AsInt() / heads);
  for (const FixedWord& fixed : kFixed) to[std::string(fixed.key)] = ParseWord(fixed.value);
  const std::string act =
      WordAt(whole, "hidden_act").AsString().value_or(is_siglip ? "gelu_pytorch_tanh" : "quick_gelu");
  const auto* found = std::ranges::find(kActivations, act, &Pair::hf);
  if (found == std::end(kActivations)) return Expect("vision_config.hidden_act", "one that NeMo 2 has", TextNode(act));
  to["activation_func"] = ParseWord(fmt::format("{{_call_: false, _target_: {}}}", found->nemo2));
  const ConfigNode& epsilon = WordAt(whole, "layer_norm_eps");
  to["layernorm_epsilon"] = epsilon.is_null() ? ConfigNode::Float(is_siglip ? 1e-6 : 1e-5) : epsilon;
  const ConfigNode& dropout = WordAt(whole, "attention_dropout");
  to["attention_dropout"] = dropout.is_null() ? ConfigNode::Float(0) : dropout;
  for (const auto& [key, value] : ParseWord(kWritten).map) to[key] = value;
  return to;
}

}  // namespace anemone
