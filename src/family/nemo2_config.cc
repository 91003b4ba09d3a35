#include "family/nemo2_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

namespace anemone {
namespace {

#define ANEMONE_LLM "nemo.collections.llm.gpt.model."

constexpr Nemo2Model kModels[] = {
    {"meta-llama/Llama-2-7b-hf", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama2Config7B"},
    {"meta-llama/Llama-2-13b-hf", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama2Config13B"},
    {"meta-llama/Llama-2-70b-hf", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama2Config70B"},
    {"meta-llama/Meta-Llama-3-8B", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama3Config8B"},
    {"meta-llama/Meta-Llama-3-70B", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama3Config70B"},
    {"mistralai/Mistral-7B-v0.1", ANEMONE_LLM "mistral.MistralModel", ANEMONE_LLM "mistral.MistralConfig7B"},
    {"nvidia/nemotron-3-8b-base-4k", ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.Nemotron3Config8B"},
    {"nemotron4-22b", ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.Nemotron4Config22B"},
    {"nemotron4-15b", ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.Nemotron4Config15B"},
    {"nemotron4-340b", ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.Nemotron4Config340B"},
};
constexpr Nemo2Model kLlama = {"", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.LlamaConfig"};
constexpr Nemo2Model kGpt = {"", ANEMONE_LLM "base.GPTModel", ANEMONE_LLM "base.GPTConfig"};

constexpr std::string_view kClip = "nemo.collections.vlm.clip.model.base.";
constexpr std::string_view kNemo1Clip =
    "nemo.collections.multimodal.models.vision_language_foundation.clip.megatron_clip_models.MegatronCLIPModel";
constexpr std::string_view kNemo1Gpt =
    "nemo.collections.nlp.models.language_modeling.megatron_gpt_model.MegatronGPTModel";

constexpr std::string_view kNemo1Neva =
    "nemo.collections.multimodal.models.multimodal_llm.neva.neva_model.MegatronNevaModel";
constexpr std::string_view kNeva = "nemo.collections.vlm.neva.model.";

// The same value under two names [NeMo v2.0.0 megatron_base_model.py build_transformer_config, megatron_gpt_model.py;
// llm/gpt/model/base.py GPTConfig; Megatron-LM core_v0.9.0 TransformerConfig].
struct Pair {
  std::string_view nemo1, nemo2;
};
constexpr Pair kShared[] = {
    {"num_layers", "num_layers"},
    {"hidden_size", "hidden_size"},
    {"ffn_hidden_size", "ffn_hidden_size"},
    {"num_attention_heads", "num_attention_heads"},
    {"num_query_groups", "num_query_groups"},
    {"kv_channels", "kv_channels"},
    {"hidden_dropout", "hidden_dropout"},
    {"attention_dropout", "attention_dropout"},
    {"init_method_std", "init_method_std"},
    {"layernorm_epsilon", "layernorm_epsilon"},
    {"bias", "add_bias_linear"},
    {"qkv_bias", "add_qkv_bias"},
    {"qk_layernorm", "qk_layernorm"},
    {"apply_query_key_layer_scaling", "apply_query_key_layer_scaling"},
    {"attention_softmax_in_fp32", "attention_softmax_in_fp32"},
    {"fp32_residual_connection", "fp32_residual_connection"},
    {"fp16_lm_cross_entropy", "fp16_lm_cross_entropy"},
    {"apply_rope_fusion", "apply_rope_fusion"},
    {"masked_softmax_fusion", "masked_softmax_fusion"},
    {"bias_activation_fusion", "bias_activation_fusion"},
    {"bias_dropout_add_fusion", "bias_dropout_fusion"},
    {"persist_layer_norm", "persist_layer_norm"},
    {"gradient_accumulation_fusion", "gradient_accumulation_fusion"},
    {"make_vocab_size_divisible_by", "make_vocab_size_divisible_by"},
    {"share_embeddings_and_output_weights", "share_embeddings_and_output_weights"},
    {"position_embedding_type", "position_embedding_type"},
    {"rotary_percentage", "rotary_percent"},
    {"rotary_base", "rotary_base"},
    {"rotary_interleaved", "rotary_interleaved"},
    {"seq_len_interpolation_factor", "seq_len_interpolation_factor"},
    {"tensor_model_parallel_size", "tensor_model_parallel_size"},
    {"pipeline_model_parallel_size", "pipeline_model_parallel_size"},
    {"virtual_pipeline_model_parallel_size", "virtual_pipeline_model_parallel_size"},
    {"context_parallel_size", "context_parallel_size"},
    {"expert_model_parallel_size", "expert_model_parallel_size"},
    {"sequence_parallel", "sequence_parallel"},
    {"use_cpu_initialization", "use_cpu_initialization"},
    // CLIP's towers.
    {"output_dim", "output_dim"},
    {"patch_dim", "patch_dim"},
    {"img_h", "img_h"},
    {"img_w", "img_w"},
    {"class_token_length", "class_token_len"},
};

// Activations by name, by function, and whether they gate [NeMo v2.0.0 nlp/parts/utils_funcs.py activation_to_func].
struct Activation {
  std::string_view name, function;
  bool gates;
};
constexpr Activation kActivations[] = {
    {"gelu", "torch.nn.functional.gelu", false},
    {"fast-swiglu", "torch.nn.functional.silu", true},
    {"fast-geglu", "torch.nn.functional.gelu", true},
    {"fast-reglu", "torch.nn.functional.relu", true},
    {"swiglu", "torch.nn.functional.silu", true},
    {"geglu", "torch.nn.functional.gelu", true},
    {"reglu", "torch.nn.functional.relu", true},
    {"squared-relu", "nemo.collections.nlp.modules.common.megatron.utils.squared_relu", false},
    {"squared-relu", "nemo.collections.llm.fn.activation.squared_relu", false},
    {"approx-gelu", "nemo.collections.nlp.modules.common.megatron.utils.ApproxGELUActivation", false},
};

std::string TextOf(const ConfigNode& map, std::string_view key) {
  const ConfigNode* node = map.Get(key);
  return node == nullptr ? std::string() : node->AsString().value_or("");
}
bool FlagOf(const ConfigNode& map, std::string_view key, bool fallback = false) {
  const ConfigNode* node = map.Get(key);
  return node == nullptr ? fallback : node->AsBool().value_or(fallback);
}
ConfigNode Text(std::string_view text) { return ConfigNode::String(std::string(text)); }

// A function or class by name, not called: what NeMo 2's YAML has for one.
ConfigNode Reference(std::string_view name) {
  ConfigNode node = ConfigNode::Map();
  node["_call_"] = ConfigNode::Bool(false);
  node["_target_"] = Text(name);
  return node;
}
std::string Target(const ConfigNode& map, std::string_view key) {
  const ConfigNode* node = map.Get(key);
  return node == nullptr ? std::string() : TextOf(*node, "_target_");
}

void Copy(const ConfigNode& from, bool to_nemo2, ConfigNode& to) {
  for (const Pair& pair : kShared) {
    const ConfigNode* value = from.Get(to_nemo2 ? pair.nemo1 : pair.nemo2);
    if (value != nullptr && value->is_scalar()) to[to_nemo2 ? pair.nemo2 : pair.nemo1] = *value;
  }
}

// ---- NeMo 2 → NeMo 1 ----

Status TransformerToNemo1(const ConfigNode& from, ConfigNode& to) {
  Copy(from, /*to_nemo2=*/false, to);
  for (const char* key : {"encoder_seq_length", "max_position_embeddings"}) {
    for (const char* theirs : {"seq_length", "max_seq_length"}) {
      if (const ConfigNode* length = from.Get(theirs)) to[key] = *length;
    }
  }
  const std::string norm = TextOf(from, "normalization");
  const bool is_centered = FlagOf(from, "layernorm_zero_centered_gamma");
  to["normalization"] = Text(norm == "RMSNorm" ? "rmsnorm" : is_centered ? "layernorm1p" : "layernorm");
  if (norm == "RMSNorm" && is_centered) to["layernorm_zero_centered_gamma"] = ConfigNode::Bool(true);
  const std::string function = Target(from, "activation_func");
  const bool gates = FlagOf(from, "gated_linear_unit");
  const auto* found = std::find_if(std::begin(kActivations), std::end(kActivations), [&](const Activation& a) {
    return a.gates == gates && (a.function == function || (function.empty() && a.name == "gelu"));
  });
  if (found == std::end(kActivations)) {
    return Unsupported(fmt::format("activation_func: expected one that NeMo 1 has, found {}", function));
  }
  to["activation"] = Text(found->name);
  return {};
}

ConfigNode PrecisionOf(const ConfigNode& config) {
  const std::string dtype = Target(config, "params_dtype");
  if (FlagOf(config, "bf16") || dtype == "torch.bfloat16") return Text("bf16");
  if (FlagOf(config, "fp16") || dtype == "torch.float16") return ConfigNode::Int(16);
  return ConfigNode::Int(32);
}

// NeMo 1 demands an `optim` [megatron_base_model.py].
ConfigNode OptimToNemo1(const ConfigNode* optim) {
  ConfigNode to = ConfigNode::Map();
  const ConfigNode* config = optim == nullptr ? nullptr : optim->Get("config");
  to["name"] = Text("fused_adam");
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
  to["library"] = Text("huggingface");
  to["type"] = ConfigNode::Null();
  to["model"] = ConfigNode::Null();
  to["vocab_file"] = ConfigNode::Null();
  to["merge_file"] = ConfigNode::Null();
  if (tokenizer == nullptr) return to;
  if (const ConfigNode* name = tokenizer->Get("pretrained_model_name")) to["type"] = *name;
  if (TextOf(*tokenizer, "_target_").find("sentencepiece") != std::string::npos) {
    to["library"] = Text("sentencepiece");
    if (const ConfigNode* path = tokenizer->Get("model_path")) to["model"] = *path;
  }
  return to;
}

// What a LLaVA has besides its language model [NeMo v2.0.0 examples/multimodal/multimodal_llm/neva/conf].
constexpr Pair kVision[] = {
    {"from_pretrained", "pretrained_model_name_or_path"}, {"hidden_size", "hidden_size"}, {"patch_dim", "patch_size"}};
ConfigNode SeeingToNemo1(const ConfigNode& config) {
  ConfigNode to = ConfigNode::Map();
  ConfigNode& encoder = to["vision_encoder"] = ConfigNode::Map();
  encoder["from_hf"] = ConfigNode::Bool(true);
  encoder["class_token_length"] = ConfigNode::Int(1);
  if (const ConfigNode* vision = config.Get("vision_transformer_config"); vision != nullptr) {
    for (const Pair& pair : kVision) {
      if (const ConfigNode* value = vision->Get(pair.nemo2)) encoder[pair.nemo1] = *value;
    }
    if (const ConfigNode* size = vision->Get("image_size")) encoder["crop_size"] = ConfigNode::List({*size, *size});
  }
  if (const ConfigNode* layer = config.Get("vision_feature_layer")) encoder["vision_select_layer"] = *layer;
  const ConfigNode* projector = config.Get("vision_projection_config");
  if (const ConfigNode* type = projector == nullptr ? nullptr : projector->Get("projector_type"))
    to["mm_mlp_adapter_type"] = *type;
  return to;
}

// ---- NeMo 1 → NeMo 2 ----

Status TransformerToNemo2(const ConfigNode& from, ConfigNode& to) {
  Copy(from, /*to_nemo2=*/true, to);
  const std::string norm = TextOf(from, "normalization");
  to["normalization"] = Text(norm == "rmsnorm" ? "RMSNorm" : "LayerNorm");
  to["layernorm_zero_centered_gamma"] =
      ConfigNode::Bool(norm == "layernorm1p" || FlagOf(from, "layernorm_zero_centered_gamma"));
  const std::string activation = TextOf(from, "activation");
  const std::string_view wanted = activation.empty() ? "gelu" : std::string_view(activation);
  const auto* found = std::find_if(std::begin(kActivations), std::end(kActivations),
                                   [&](const Activation& a) { return a.name == wanted; });
  if (found == std::end(kActivations)) {
    return Unsupported(fmt::format("activation: expected one of NeMo's, found {}", activation));
  }
  to["activation_func"] = Reference(found->function);
  to["gated_linear_unit"] = ConfigNode::Bool(found->gates);
  return {};
}

void PrecisionToNemo2(const ConfigNode& from, ConfigNode& to) {
  const ConfigNode* node = from.Get("precision");
  const std::string precision = node == nullptr ? "32" : node->ScalarText();
  const bool bf16 = precision.starts_with("bf16"), fp16 = precision.starts_with("16");
  to["bf16"] = ConfigNode::Bool(bf16);
  to["fp16"] = ConfigNode::Bool(fp16);
  to["params_dtype"] = Reference(bf16 ? "torch.bfloat16" : fp16 ? "torch.float16" : "torch.float32");
}

ConfigNode TokenizerToNemo2(const ConfigNode* from, const std::string& file) {
  if (file.empty()) return ConfigNode::Null();
  ConfigNode to = ConfigNode::Map();
  if (from != nullptr && TextOf(*from, "library") == "sentencepiece") {
    to["_target_"] = Text("nemo.collections.common.tokenizers.sentencepiece_tokenizer.SentencePieceTokenizer");
    to["model_path"] = Text(file);
  } else {
    to["_target_"] = Text("nemo.collections.common.tokenizers.huggingface.auto_tokenizer.AutoTokenizer");
    to["pretrained_model_name"] = Text(file);
  }
  return to;
}

// Into a LLaVA's `config`, which has its language model's already.
void SeeingToNemo2(const ConfigNode& mm_cfg, const ConfigNode& language, ConfigNode& config) {
  ConfigNode vision = ConfigNode::Map(), projector = ConfigNode::Map();
  vision["_target_"] = Text(std::string(kNeva) + "base.HFCLIPVisionConfig");
  projector["_target_"] = Text(std::string(kNeva) + "base.MultimodalProjectorConfig");
  if (const ConfigNode* encoder = mm_cfg.Get("vision_encoder"); encoder != nullptr) {
    for (const Pair& pair : kVision) {
      if (const ConfigNode* value = encoder->Get(pair.nemo1)) vision[pair.nemo2] = *value;
    }
    const ConfigNode* crop = encoder->Get("crop_size");
    if (crop != nullptr && !crop->list.empty()) vision["image_size"] = crop->list.front();
    if (const ConfigNode* layer = encoder->Get("vision_select_layer")) config["vision_feature_layer"] = *layer;
    if (const ConfigNode* size = encoder->Get("hidden_size")) projector["input_size"] = *size;
  }
  if (const ConfigNode* type = mm_cfg.Get("mm_mlp_adapter_type")) projector["projector_type"] = *type;
  for (const char* key : {"hidden_size", "ffn_hidden_size"}) {
    if (const ConfigNode* size = language.Get("hidden_size")) projector[key] = *size;
  }
  config["vision_transformer_config"] = std::move(vision);
  config["vision_projection_config"] = std::move(projector);
}

Result<ConfigNode> ClipToNemo2(const ConfigNode& from) {
  ConfigNode config = ConfigNode::Map();
  config["_target_"] = Text(std::string(kClip) + "CLIPConfig");
  PrecisionToNemo2(from, config);
  for (const bool is_text : {true, false}) {
    const ConfigNode& tower = *from.Get(is_text ? "text" : "vision");
    ConfigNode& to = config[is_text ? "text_transformer_config" : "vision_transformer_config"] = ConfigNode::Map();
    to["_target_"] = Text(std::string(kClip) + (is_text ? "CLIPTextModelConfig" : "CLIPViTConfig"));
    if (const Status status = TransformerToNemo2(tower, to); !status.ok())
      return status.In(is_text ? "text" : "vision");
    to.Erase("position_embedding_type");  // these classes have no such field
    PrecisionToNemo2(from, to);
    if (is_text) {
      if (const ConfigNode* length = tower.Get("max_position_embeddings")) to["max_seq_length"] = *length;
    } else {
      to["vision_model_type"] = Text("clip");
      to["add_class_token"] = ConfigNode::Bool(true);
    }
  }
  return config;
}

}  // namespace

bool IsNemo2Config(const ConfigNode& root) {
  const ConfigNode* config = root.Get("config");
  return root.Get("_target_") != nullptr && config != nullptr && config->is_map();
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
      node["position_embedding_type"] = Text("learned_absolute");
      if (const Status status = TransformerToNemo1(*tower, node); !status.ok()) return status.In(name);
    }
  } else if (const ConfigNode* language = config.Get("language_transformer_config"); language != nullptr) {
    target = kNemo1Neva;
    if (!language->is_map()) return Unsupported("config.language_transformer_config: expected a config, found none");
    ANEMONE_TRY(TransformerToNemo1(*language, to).In("config.language_transformer_config"));
    to["mm_cfg"] = SeeingToNemo1(config);
  } else {
    if (const ConfigNode* experts = config.Get("num_moe_experts"); experts != nullptr && !experts->is_null()) {
      return Unsupported("num_moe_experts: a mixture of experts is not carried");
    }
    ANEMONE_TRY(TransformerToNemo1(config, to).In("config"));
  }
  to["tokenizer"] = TokenizerToNemo1(model_yaml.Get("tokenizer"));
  to["optim"] = OptimToNemo1(model_yaml.Get("optim"));
  to["target"] = Text(target);
  to["nemo_version"] = Text("2.0.0");
  return to;
}

const Nemo2Model* FindNemo2Model(std::string_view id) {
  const auto* found =
      std::find_if(std::begin(kModels), std::end(kModels), [&](const Nemo2Model& m) { return m.id == id; });
  return found == std::end(kModels) ? nullptr : found;
}

std::vector<std::string_view> Nemo2ModelIds() {
  std::vector<std::string_view> ids;
  for (const Nemo2Model& model : kModels) ids.push_back(model.id);
  return ids;
}

Result<ConfigNode> ToNemo2Config(const ConfigNode& model_config, std::string_view id, const std::string& tokenizer) {
  const Nemo2Model* asked = id.empty() ? nullptr : FindNemo2Model(id);
  if (!id.empty() && asked == nullptr) {
    return InvalidArgument(fmt::format("expected a model NeMo 2 converts, found '{}'", id),
                           fmt::format("known are {}", fmt::join(Nemo2ModelIds(), ", ")));
  }
  ConfigNode to = ConfigNode::Map();
  const ConfigNode *text = model_config.Get("text"), *vision = model_config.Get("vision");
  if (text != nullptr && text->is_map() && vision != nullptr && vision->is_map()) {
    to["_target_"] = Text(std::string(kClip) + "CLIPModel");
    ANEMONE_ASSIGN(to["config"], ClipToNemo2(model_config));
    to["tokenizer"] = TokenizerToNemo2(model_config.Get("tokenizer"), tokenizer);
    return to;
  }
  if (model_config.Get("num_layers") == nullptr || model_config.Get("hidden_size") == nullptr) {
    return Unsupported("expected the config of a GPT or a CLIP, found neither's sizes");
  }
  ConfigNode config = ConfigNode::Map();
  config["_target_"] = ConfigNode::Null();
  ANEMONE_TRY(TransformerToNemo2(model_config, config));
  PrecisionToNemo2(model_config, config);
  for (const char* key : {"encoder_seq_length", "max_position_embeddings"}) {
    if (const ConfigNode* length = model_config.Get(key); length != nullptr && !length->is_null())
      config["seq_length"] = *length;
  }
  const bool is_llama = TextOf(model_config, "normalization") == "rmsnorm" &&
                        TextOf(model_config, "position_embedding_type") == "rope" &&
                        FlagOf(config, "gated_linear_unit") && !FlagOf(model_config, "bias", true);
  const Nemo2Model& model = asked != nullptr ? *asked : is_llama ? kLlama : kGpt;
  config["_target_"] = Text(model.config_class);
  if (const ConfigNode* seeing = model_config.Get("mm_cfg"); seeing != nullptr && seeing->is_map()) {
    to["_target_"] = Text(std::string(kNeva) + "llava.LlavaModel");
    ConfigNode& whole = to["config"] = ConfigNode::Map();
    whole["_target_"] = Text(std::string(kNeva) + "llava.LlavaConfig");
    SeeingToNemo2(*seeing, config, whole);
    whole["language_transformer_config"] = std::move(config);
  } else {
    to["_target_"] = Text(model.model_class);
    to["config"] = std::move(config);
  }
  to["optim"] = ConfigNode::Null();
  to["tokenizer"] = TokenizerToNemo2(model_config.Get("tokenizer"), tokenizer);
  to["model_transform"] = ConfigNode::Null();
  return to;
}

}  // namespace anemone
