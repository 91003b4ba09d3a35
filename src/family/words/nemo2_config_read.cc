#include "family/words/nemo2_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "family/words/gemma_words.h"
#include "family/words/megatron_config.h"
#include "family/words/model_words.h"
#include "family/words/nemo2_classes.h"
#include "family/words/nemo2_pictures.h"
#include "family/words/nemo2_ssm.h"
#include "family/words/nemo2_words.h"

namespace anemone {
namespace {

using nemo2::FlagOf;
using nemo2::Target;
using nemo2::TextOf;

constexpr std::string_view kNemo1Clip =
    "nemo.collections.multimodal.models.vision_language_foundation.clip.megatron_clip_models.MegatronCLIPModel";
constexpr std::string_view kNemo1Gpt =
    "nemo.collections.nlp.models.language_modeling.megatron_gpt_model.MegatronGPTModel";

constexpr std::string_view kNemo1Neva =
    "nemo.collections.multimodal.models.multimodal_llm.neva.neva_model.MegatronNevaModel";

constexpr std::string_view kNemo1Mamba =
    "nemo.collections.nlp.models.language_modeling.megatron_mamba_model.MegatronMambaModel";

bool IsSsm(const ConfigNode& model_yaml) {
  return nemo2::IsOf(nemo2::kSsm, TextOf(model_yaml, "_target_")) ||
         nemo2::IsOf(nemo2::kSsm, TextOf(*model_yaml.Get("config"), "_target_"));
}

Status TransformerToNemo1(const ConfigNode& from, ConfigNode& to) {
  nemo2::CopyShared(from, &nemo2::Pair::nemo2, &nemo2::Pair::nemo1, to);
  for (const char* key : {"encoder_seq_length", "max_position_embeddings"}) {
    for (const char* theirs : {"seq_length", "max_seq_length"}) {
      if (const ConfigNode* length = from.Get(theirs)) to[key] = *length;
    }
  }
  const std::string norm = TextOf(from, "normalization");
  const bool is_centered = FlagOf(from, "layernorm_zero_centered_gamma");
  to["normalization"] = TextNode(norm == "RMSNorm" ? "rmsnorm" : is_centered ? "layernorm1p" : "layernorm");
  if (norm == "RMSNorm" && is_centered) to["layernorm_zero_centered_gamma"] = ConfigNode::Bool(true);
  const std::string function = Target(from, "activation_func");
  const bool gates = FlagOf(from, "gated_linear_unit");
  const auto* found =
      std::find_if(std::begin(nemo2::kActivations), std::end(nemo2::kActivations), [&](const nemo2::Activation& a) {
        return a.gates == gates && (a.function == function || (function.empty() && a.name == "gelu"));
      });
  if (found == std::end(nemo2::kActivations)) {
    return Unsupported(fmt::format("activation_func: expected one that NeMo 1 has, found {}", function));
  }
  to["activation"] = TextNode(found->name);
  if (found->openai) to["openai_gelu"] = ConfigNode::Bool(true);
  TakeActivationOfTe(from, &to);
  if (const ConfigNode* rows = from.Get("vocab_size"); rows != nullptr && !rows->is_null())
    to["override_vocab_size"] = *rows;
  return {};
}

Status DeepSeekToNemo1(const ConfigNode& from, ConfigNode& to) {
  // Its classes have other values for each of them; a config that leaves one out tells no model.
  for (const char* key : {"q_lora_rank", "kv_lora_rank", "qk_head_dim", "qk_pos_emb_head_dim", "v_head_dim",
                          "rotary_scaling_factor", "mscale", "mscale_all_dim", "moe_layer_freq", "qk_layernorm"}) {
    if (from.Get(key) == nullptr) return Corrupt(fmt::format("{}: expected a value, found nothing", key));
  }
  to["multi_latent_attention"] = ConfigNode::Bool(true);
  to.Erase("kv_channels");  // it means nothing here: NeMo's importer puts a number of heads there
  const ConfigNode* length = from.Get(nemo2::kStretched);
  if (length == nullptr) length = from.Get("max_position_embeddings");
  to[nemo2::kStretched] = length == nullptr ? ConfigNode::Int(nemo2::kStretchedBuiltIn) : *length;
  return {};
}

// Llama31Config and all classes made of it (Llama 3.2, Llama-Nemotron, a user's own), which alone have such fields
// [NeMo v2.4.0 llm/gpt/model/llama.py, llama_nemotron.py].
bool ScalesAsLlama31(std::string_view config_class, const ConfigNode& from) {
  constexpr std::string_view kNames[] = {".llama.Llama31", ".llama.Llama32"};
  const auto is_in_class = [&](std::string_view name) { return config_class.find(name) != std::string_view::npos; };
  const auto has_field = [&](const PositionFactor& factor) { return from.Get(factor.nemo2) != nullptr; };
  return std::ranges::any_of(kNames, is_in_class) || std::ranges::all_of(PositionFactors(), has_field);
}

// What NeMo 1 says of some architectures in words of its own [NeMo v2.0.0 scripts/checkpoint_converters].
void ArchitectureToNemo1(std::string_view config_class, const ConfigNode& from, ConfigNode& to) {
  if (nemo2::IsOf(nemo2::kGemma, config_class) || nemo2::IsOf(nemo2::kGemma2, config_class) ||
      nemo2::IsOf(nemo2::kGemma3, config_class))
    to["apply_embedding_scaling"] = ConfigNode::Bool(true);
  if (ScalesAsLlama31(config_class, from)) {
    to["scale_positional_embedding"] = ConfigNode::Bool(true);
    for (const PositionFactor& factor : PositionFactors()) {
      auto value = WordAt(from, factor.nemo2).AsDouble();
      if (!value && factor.hf == "factor" && config_class.find(".Llama32") != std::string_view::npos) value = 32;
      if (!value || value == factor.built_in) continue;
      ConfigNode& scaling = to["rope_scaling"];
      if (!scaling.is_map()) scaling = ConfigNode::Map();
      scaling[std::string(factor.hf)] = NumberWord(*value);
    }
  }
  if (nemo2::IsOf(nemo2::kGemma3, config_class)) TakeGemma3(from, to);
  if (nemo2::IsOf(nemo2::kGemma2, config_class)) TakeGemma2(from, to);
}

ConfigNode PrecisionOf(const ConfigNode& config) {
  const std::string dtype = Target(config, "params_dtype");
  if (FlagOf(config, "bf16") || dtype == "torch.bfloat16") return TextNode("bf16");
  if (FlagOf(config, "fp16") || dtype == "torch.float16") return ConfigNode::Int(16);
  return ConfigNode::Int(32);
}

// NeMo 1 demands an `optim` [megatron_base_model.py].
ConfigNode OptimToNemo1(const ConfigNode* optim) {
  ConfigNode to = ConfigNode::Map();
  const ConfigNode* config = optim == nullptr ? nullptr : optim->Get("config");
  to["name"] = TextNode("fused_adam");
  if (config == nullptr) return to;
  for (const char* key : {"lr", "weight_decay"}) {
    if (const ConfigNode* value = config->Get(key)) to[key] = *value;
  }
  const ConfigNode *beta1 = config->Get("adam_beta1"), *beta2 = config->Get("adam_beta2");
  if (beta1 != nullptr && beta2 != nullptr) to["betas"] = ConfigNode::List({*beta1, *beta2});
  return to;
}

ConfigNode TokenizerToNemo1(const ConfigNode* tokenizer) {
  ConfigNode to = ConfigNode::Map();
  to["library"] = TextNode("huggingface");
  to["type"] = ConfigNode::Null();
  to["model"] = ConfigNode::Null();
  to["vocab_file"] = ConfigNode::Null();
  to["merge_file"] = ConfigNode::Null();
  if (tokenizer == nullptr) return to;
  if (const ConfigNode* name = tokenizer->Get("pretrained_model_name"))
    to["type"] = name->is_map() ? TextNode(TextOf(*name, "attr")) : *name;
  if (TextOf(*tokenizer, "_target_").find("sentencepiece") != std::string::npos) {
    to["library"] = TextNode("sentencepiece");
    if (const ConfigNode* path = tokenizer->Get("model_path")) to["model"] = *path;
  }
  return to;
}

Status CheckClass(const ConfigNode& node, std::string_view place) {
  const std::string name = TextOf(node, "_target_");
  if (name.empty() || nemo2::IsKnownClass(name)) return {};
  return Unsupported(fmt::format("{}: expected a class of NeMo's whose models are known, found {}", place, name),
                     fmt::format("where it computes what a class of NeMo's does, name that one in model.yaml "
                                 "({}); {}",
                                 nemo2::kGpt.config_class, kWeightsAlone));
}

// A layer is a function that makes one, or modules within modules.
Status CheckLayer(const ConfigNode& layer, std::string_view place) {
  ANEMONE_TRY(CheckClass(layer, fmt::format("{}._target_", place)));
  for (const auto& [key, value] : layer.map) {
    if (value.is_map()) ANEMONE_TRY(CheckLayer(value, fmt::format("{}.{}", place, key)));
  }
  return {};
}

// Classes that are not known are refused: their code, not their fields, says what they compute.
Status CheckClasses(const ConfigNode& config) {
  ANEMONE_TRY(CheckClass(config, "_target_"));
  for (const char* key : {"transformer_layer_spec", "mamba_stack_spec"}) {
    if (const ConfigNode& layer = WordAt(config, key); layer.is_map()) ANEMONE_TRY(CheckLayer(layer, key));
  }
  return {};
}

Status CheckFields(ConfigNode fields, bool is_ssm) {
  ANEMONE_TRY(CheckClasses(fields));
  if (nemo2::IsOf(nemo2::kGemma3, TextOf(fields, "_target_"))) fields.Erase("softmax_scale");  // TakeGemma3 reads it
  return CheckCarried(fields, is_ssm);
}

}  // namespace

bool IsNemo2Config(const ConfigNode& root) {
  const ConfigNode* config = root.Get("config");
  return root.Get("_target_") != nullptr && config != nullptr && config->is_map();
}

Status CheckNemo2Carried(const ConfigNode& model_yaml) {
  const ConfigNode& config = *model_yaml.Get("config");
  bool has_parts = false;
  for (const char* name : {"language_transformer_config", "text_transformer_config", "vision_transformer_config"}) {
    const ConfigNode& part = WordAt(config, name);
    if (!part.is_map()) continue;
    has_parts = true;
    ANEMONE_TRY(CheckFields(part, false).In(name).In("config"));
  }
  if (has_parts) return CheckClasses(config).In("config");
  return CheckFields(config, IsSsm(model_yaml)).In("config");
}

Result<ConfigNode> ToNemo1Config(const ConfigNode& model_yaml) {
  const ConfigNode& config = *model_yaml.Get("config");
  ConfigNode to = ConfigNode::Map();
  to["precision"] = PrecisionOf(config);
  to["mcore_gpt"] = ConfigNode::Bool(true);
  to["transformer_engine"] = ConfigNode::Bool(true);
  const ConfigNode *text = config.Get("text_transformer_config"), *vision = config.Get("vision_transformer_config");
  std::string_view target = kNemo1Gpt;
  if (text != nullptr && text->is_map() && vision != nullptr && vision->is_map()) {
    target = kNemo1Clip;
    if (const ConfigNode* size = vision->Get("output_dim")) to["output_dim"] = *size;
    for (const auto& [name, tower] : {std::pair{"vision", vision}, std::pair{"text", text}}) {
      ConfigNode& node = to[name] = ConfigNode::Map();
      node["position_embedding_type"] = TextNode("learned_absolute");
      if (const Status status = TransformerToNemo1(*tower, node); !status.ok()) return status.In(name);
    }
  } else if (const ConfigNode* language = config.Get("language_transformer_config"); language != nullptr) {
    target = kNemo1Neva;
    if (!language->is_map()) return Unsupported("config.language_transformer_config: expected a config, found none");
    ANEMONE_TRY(TransformerToNemo1(*language, to).In("config.language_transformer_config"));
    ArchitectureToNemo1(TextOf(*language, "_target_"), *language, to);
    ANEMONE_ASSIGN(to["mm_cfg"], SeeingToNemo1(config));
  } else {
    ANEMONE_TRY(TransformerToNemo1(config, to).In("config"));
    if (TextOf(model_yaml, "_target_") == nemo2::kDeepSeek.model_class || FlagOf(config, "multi_latent_attention"))
      ANEMONE_TRY(DeepSeekToNemo1(config, to).In("config"));
    ArchitectureToNemo1(TextOf(config, "_target_"), config, to);
    if (IsSsm(model_yaml)) {
      ANEMONE_TRY(SsmToNemo1(config, to).In("config"));
      target = kNemo1Mamba;
    }
  }
  to["tokenizer"] = TokenizerToNemo1(model_yaml.Get("tokenizer"));
  to["optim"] = OptimToNemo1(model_yaml.Get("optim"));
  to["target"] = TextNode(target);
  to["nemo_version"] = TextNode("2.0.0");
  return to;
}

}  // namespace anemone
