#include "family/words/nemo2_config.h"
#include "family/words/gemma_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>

#include "config/nodes.h"
#include "family/words/model_words.h"
#include "family/words/nemo2_tower.h"
#include "family/words/neva_config.h"

namespace anemone {
namespace {

#define ANEMONE_LLM "nemo.collections.llm.gpt.model."

constexpr Nemo2Model kModels[] = {
    {"meta-llama/Llama-2-7b-hf", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama2Config7B"},
    {"meta-llama/Llama-2-13b-hf", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama2Config13B"},
    {"meta-llama/Llama-2-70b-hf", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama2Config70B"},
    {"meta-llama/Meta-Llama-3-8B", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama3Config8B"},
    {"meta-llama/Meta-Llama-3-70B", ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama3Config70B"},
    {"mistralai/Mixtral-8x7B-v0.1", ANEMONE_LLM "mixtral.MixtralModel", ANEMONE_LLM "mixtral.MixtralConfig8x7B"},
    {"mistralai/Mixtral-8x22B-v0.1", ANEMONE_LLM "mixtral.MixtralModel", ANEMONE_LLM "mixtral.MixtralConfig8x22B"},
    {"mistralai/Mistral-7B-v0.1", ANEMONE_LLM "mistral.MistralModel", ANEMONE_LLM "mistral.MistralConfig7B"},
    {"nvidia/nemotron-3-8b-base-4k", ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.Nemotron3Config8B"},
    {"nemotron4-22b", ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.Nemotron4Config22B"},
    {"nemotron4-15b", ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.Nemotron4Config15B"},
    {"nemotron4-340b", ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.Nemotron4Config340B"},
};

// A config class that builds any model of an architecture, given all its sizes, and the first version that has it.
// What NeMo 2 builds alike has no class of its own here: a Baichuan 2 is a Llama.
struct Architecture {
  std::string_view model_class, config_class, since;
  bool has_vocab_size = false;  // in every version; rows as they are, never padded
};
constexpr Architecture kGpt = {ANEMONE_LLM "base.GPTModel", ANEMONE_LLM "base.GPTConfig", "2.0.0"};
constexpr Architecture kLlama = {ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.LlamaConfig", "2.0.0"};
constexpr Architecture kLlama31 = {ANEMONE_LLM "llama.LlamaModel", ANEMONE_LLM "llama.Llama31Config", "2.0.0"};
constexpr Architecture kMistral = {ANEMONE_LLM "mistral.MistralModel", ANEMONE_LLM "mistral.MistralConfig7B", "2.0.0"};
constexpr Architecture kMixtral = {ANEMONE_LLM "mixtral.MixtralModel", ANEMONE_LLM "mixtral.MixtralConfig", "2.0.0"};
constexpr Architecture kQwen2 = {ANEMONE_LLM "qwen2.Qwen2Model", ANEMONE_LLM "qwen2.Qwen2Config", "2.0.0", true};
constexpr Architecture kGemma = {ANEMONE_LLM "gemma.GemmaModel", ANEMONE_LLM "gemma.GemmaConfig", "2.0.0"};
constexpr Architecture kGemma2 = {ANEMONE_LLM "gemma2.Gemma2Model", ANEMONE_LLM "gemma2.Gemma2Config", "2.1.0", true};
constexpr Architecture kGemma3 = {ANEMONE_LLM "gemma3.Gemma3Model", ANEMONE_LLM "gemma3.Gemma3Config", "2.4.0", true};
constexpr Architecture kDeepSeek = {ANEMONE_LLM "deepseek.DeepSeekModel", ANEMONE_LLM "deepseek.DeepSeekConfig",
                                    "2.2.0"};
constexpr Architecture kNemotron = {ANEMONE_LLM "nemotron.NemotronModel", ANEMONE_LLM "nemotron.NemotronConfig",
                                    "2.0.0"};
constexpr Architecture kStarcoder = {ANEMONE_LLM "starcoder.StarcoderModel", ANEMONE_LLM "starcoder.StarcoderConfig",
                                     "2.0.0"};
constexpr Architecture kStarcoder2 = {ANEMONE_LLM "starcoder2.Starcoder2Model",
                                      ANEMONE_LLM "starcoder2.Starcoder2Config", "2.0.0"};
constexpr Architecture kChatGlm = {ANEMONE_LLM "chatglm.ChatGLMModel", ANEMONE_LLM "chatglm.ChatGLMConfig", "2.0.0"};
constexpr std::string_view kFirstClip = "2.2.0", kFirstMtp = "2.3.0";

constexpr std::string_view kClip = "nemo.collections.vlm.clip.model.base.";
constexpr std::string_view kNemo1Clip =
    "nemo.collections.multimodal.models.vision_language_foundation.clip.megatron_clip_models.MegatronCLIPModel";
constexpr std::string_view kNemo1Gpt =
    "nemo.collections.nlp.models.language_modeling.megatron_gpt_model.MegatronGPTModel";

constexpr std::string_view kNemo1Neva =
    "nemo.collections.multimodal.models.multimodal_llm.neva.neva_model.MegatronNevaModel";
constexpr std::string_view kNeva = "nemo.collections.vlm.neva.model.";
constexpr std::string_view kLlavaNext = "nemo.collections.vlm.llava_next.model.", kFirstLlavaNext = "2.1.0";

// The same value under two names, and what NeMo 1 takes it for where its config is silent; NeMo 2's classes take other
// values then [NeMo v2.0.0 megatron_base_model.py build_transformer_config, megatron_gpt_model.py;
// llm/gpt/model/base.py GPTConfig; Megatron-LM core_v0.9.0 TransformerConfig].
struct Pair {
  std::string_view nemo1, nemo2;
  std::string_view silent = {};  // YAML; empty: nothing is written
};
constexpr Pair kShared[] = {
    {"num_layers", "num_layers"},
    {"hidden_size", "hidden_size"},
    {"ffn_hidden_size", "ffn_hidden_size"},
    {"num_attention_heads", "num_attention_heads"},
    {"num_query_groups", "num_query_groups", "null"},
    {"kv_channels", "kv_channels", "null"},
    {"hidden_dropout", "hidden_dropout", "0.1"},
    {"attention_dropout", "attention_dropout", "0.1"},
    {"init_method_std", "init_method_std", "0.02"},
    {"layernorm_epsilon", "layernorm_epsilon", "1e-5"},
    {"bias", "add_bias_linear", "true"},
    {"qkv_bias", "add_qkv_bias", "false"},
    {"qk_layernorm", "qk_layernorm"},
    {"apply_query_key_layer_scaling", "apply_query_key_layer_scaling"},
    {"attention_softmax_in_fp32", "attention_softmax_in_fp32"},
    {"fp32_residual_connection", "fp32_residual_connection"},
    {"fp16_lm_cross_entropy", "fp16_lm_cross_entropy"},
    {"apply_rope_fusion", "apply_rope_fusion", "false"},
    {"masked_softmax_fusion", "masked_softmax_fusion"},
    {"bias_activation_fusion", "bias_activation_fusion", "true"},
    {"bias_dropout_add_fusion", "bias_dropout_fusion", "true"},
    {"persist_layer_norm", "persist_layer_norm"},
    {"gradient_accumulation_fusion", "gradient_accumulation_fusion"},
    {"make_vocab_size_divisible_by", "make_vocab_size_divisible_by", "128"},
    {"share_embeddings_and_output_weights", "share_embeddings_and_output_weights", "true"},
    {"position_embedding_type", "position_embedding_type", "learned_absolute"},
    {"rotary_percentage", "rotary_percent", "1.0"},
    {"rotary_base", "rotary_base", "10000"},
    {"rotary_interleaved", "rotary_interleaved", "false"},
    {"seq_len_interpolation_factor", "seq_len_interpolation_factor", "null"},
    {"tensor_model_parallel_size", "tensor_model_parallel_size"},
    {"pipeline_model_parallel_size", "pipeline_model_parallel_size"},
    {"virtual_pipeline_model_parallel_size", "virtual_pipeline_model_parallel_size"},
    {"context_parallel_size", "context_parallel_size"},
    {"expert_model_parallel_size", "expert_model_parallel_size"},
    {"sequence_parallel", "sequence_parallel"},
    {"use_cpu_initialization", "use_cpu_initialization"},
    {"window_size", "window_size", "null"},
    // Mixtures of experts.
    {"num_moe_experts", "num_moe_experts"},
    {"moe_router_topk", "moe_router_topk"},
    {"moe_ffn_hidden_size", "moe_ffn_hidden_size"},
    {"moe_layer_freq", "moe_layer_freq"},
    {"moe_shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"},
    {"moe_router_score_function", "moe_router_score_function"},
    {"moe_router_enable_expert_bias", "moe_router_enable_expert_bias"},
    {"moe_router_num_groups", "moe_router_num_groups"},
    {"moe_router_group_topk", "moe_router_group_topk"},
    {"moe_router_topk_scaling_factor", "moe_router_topk_scaling_factor"},
    {"moe_router_load_balancing_type", "moe_router_load_balancing_type"},
    {"moe_router_pre_softmax", "moe_router_pre_softmax"},
    {"moe_grouped_gemm", "moe_grouped_gemm"},
    {"moe_aux_loss_coeff", "moe_aux_loss_coeff"},
    {"moe_z_loss_coeff", "moe_z_loss_coeff"},
    {"moe_input_jitter_eps", "moe_input_jitter_eps"},
    {"moe_token_dropping", "moe_token_dropping"},
    {"moe_token_dispatcher_type", "moe_token_dispatcher_type"},
    {"moe_expert_capacity_factor", "moe_expert_capacity_factor"},
    {"moe_pad_expert_input_to_capacity", "moe_pad_expert_input_to_capacity"},
    // Layers that predict several tokens.
    {"mtp_num_layers", "mtp_num_layers"},
    {"mtp_loss_scaling_factor", "mtp_loss_scaling_factor"},
    // Multi-latent attention.
    {"multi_latent_attention", "multi_latent_attention"},
    {"q_lora_rank", "q_lora_rank"},
    {"kv_lora_rank", "kv_lora_rank"},
    {"qk_head_dim", "qk_head_dim"},
    {"qk_pos_emb_head_dim", "qk_pos_emb_head_dim"},
    {"v_head_dim", "v_head_dim"},
    {"rope_type", "rope_type"},
    {"rotary_scaling_factor", "rotary_scaling_factor"},
    {"beta_fast", "beta_fast"},
    {"beta_slow", "beta_slow"},
    {"mscale", "mscale"},
    {"mscale_all_dim", "mscale_all_dim"},
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
  bool openai = false;  // `openai_gelu`, which NeMo 1 has go before the name
};
constexpr std::string_view kOpenAiGelu = "nemo.collections.llm.fn.activation.openai_gelu";
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
    {"gelu", kOpenAiGelu, false, true},
    {"fast-geglu", kOpenAiGelu, true, true},
};

std::string TextOf(const ConfigNode& map, std::string_view key) {
  const ConfigNode* node = map.Get(key);
  return node == nullptr ? std::string() : node->AsString().value_or("");
}
constexpr std::string_view kSilu = "torch.nn.functional.silu";

bool FlagOf(const ConfigNode& map, std::string_view key, bool fallback = false) {
  const ConfigNode* node = map.Get(key);
  return node == nullptr ? fallback : node->AsBool().value_or(fallback);
}

// A function or class by name, not called: what NeMo 2's YAML has for one.
ConfigNode Reference(std::string_view name) {
  ConfigNode node = ConfigNode::Map();
  node["_call_"] = ConfigNode::Bool(false);
  node["_target_"] = TextNode(name);
  return node;
}
std::string Target(const ConfigNode& map, std::string_view key) {
  const ConfigNode* node = map.Get(key);
  return node == nullptr ? std::string() : TextOf(*node, "_target_");
}

void Copy(const ConfigNode& from, bool to_nemo2, ConfigNode& to) {
  for (const Pair& pair : kShared) {
    const ConfigNode* value = from.Get(to_nemo2 ? pair.nemo1 : pair.nemo2);
    const bool is_value = value != nullptr && (value->is_scalar() || value->is_list());
    if (is_value) to[std::string(to_nemo2 ? pair.nemo2 : pair.nemo1)] = *value;
  }
}

// The values that NeMo 1 takes where its config says nothing.
void SaySilent(const ConfigNode& from, ConfigNode& to) {
  for (const Pair& pair : kShared) {
    if (pair.silent.empty() || from.Get(pair.nemo1) != nullptr) continue;
    if (auto map = Config::ParseYaml(fmt::format("value: {}", pair.silent), pair.nemo1); map.ok())
      to[std::string(pair.nemo2)] = *map->root().Get("value");
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
  to["normalization"] = TextNode(norm == "RMSNorm" ? "rmsnorm" : is_centered ? "layernorm1p" : "layernorm");
  if (norm == "RMSNorm" && is_centered) to["layernorm_zero_centered_gamma"] = ConfigNode::Bool(true);
  const std::string function = Target(from, "activation_func");
  const bool gates = FlagOf(from, "gated_linear_unit");
  const auto* found = std::find_if(std::begin(kActivations), std::end(kActivations), [&](const Activation& a) {
    return a.gates == gates && (a.function == function || (function.empty() && a.name == "gelu"));
  });
  if (found == std::end(kActivations)) {
    return Unsupported(fmt::format("activation_func: expected one that NeMo 1 has, found {}", function));
  }
  to["activation"] = TextNode(found->name);
  if (found->openai) to["openai_gelu"] = ConfigNode::Bool(true);
  if (const ConfigNode* rows = from.Get("vocab_size"); rows != nullptr && !rows->is_null())
    to["override_vocab_size"] = *rows;
  return {};
}

// The length that YaRN stretches was `max_position_embeddings` up to Megatron-core 0.13, which NeMo 2.4 builds with
// [core_v0.13.0 and core_v0.14.0 MLATransformerConfig].
constexpr const char* kStretched = "original_max_position_embeddings";
constexpr int64_t kStretchedBuiltIn = 4096;

Status DeepSeekToNemo1(const ConfigNode& from, ConfigNode& to) {
  // Its classes have other values for each of them; a config that leaves one out tells no model.
  for (const char* key : {"q_lora_rank", "kv_lora_rank", "qk_head_dim", "qk_pos_emb_head_dim", "v_head_dim",
                          "rotary_scaling_factor", "mscale", "mscale_all_dim", "moe_layer_freq", "qk_layernorm"}) {
    if (from.Get(key) == nullptr) return Corrupt(fmt::format("{}: expected a value, found nothing", key));
  }
  to["multi_latent_attention"] = ConfigNode::Bool(true);
  to.Erase("kv_channels");  // it means nothing here: NeMo's importer puts a number of heads there
  const ConfigNode* length = from.Get(kStretched);
  if (length == nullptr) length = from.Get("max_position_embeddings");
  to[kStretched] = length == nullptr ? ConfigNode::Int(kStretchedBuiltIn) : *length;
  return {};
}

void DeepSeekToNemo2(const ConfigNode& model, ConfigNode& config) {
  config["kv_channels"] = WordAt(model, "num_attention_heads");
  const ConfigNode& length = WordAt(model, kStretched);
  config["max_position_embeddings"] = length.is_null() ? ConfigNode::Int(kStretchedBuiltIn) : length;
  if (length.AsInt().value_or(kStretchedBuiltIn) != kStretchedBuiltIn) config[kStretched] = length;
  const auto fill = [&](const char* key, ConfigNode value) {
    if (config.Get(key) == nullptr) config[key] = std::move(value);
  };
  fill("moe_layer_freq", ConfigNode::Int(1));
  fill("moe_router_pre_softmax", ConfigNode::Bool(true));
  for (const char* key : {"q_lora_rank", "moe_shared_expert_intermediate_size", "moe_router_num_groups",
                          "moe_router_group_topk", "moe_router_topk_scaling_factor"}) {
    fill(key, ConfigNode::Null());
  }
}

// Whether a class of NeMo 2's is in the architecture's module: the config's and the model's are in one.
bool IsOf(const Architecture& architecture, std::string_view name) {
  const auto module = [](std::string_view path) { return path.substr(0, path.rfind('.')); };
  return module(name) == module(architecture.model_class);
}

// What NeMo 1 says of some architectures in words of its own [NeMo v2.0.0 scripts/checkpoint_converters].
void ArchitectureToNemo1(std::string_view config_class, const ConfigNode& from, ConfigNode& to) {
  if (IsOf(kGemma, config_class) || IsOf(kGemma2, config_class) || IsOf(kGemma3, config_class))
    to["apply_embedding_scaling"] = ConfigNode::Bool(true);
  if (config_class.find(".llama.Llama31") != std::string_view::npos) {
    to["scale_positional_embedding"] = ConfigNode::Bool(true);
    for (const PositionFactor& factor : PositionFactors()) {
      const ConfigNode* value = from.Get(factor.nemo2);
      if (value == nullptr || !value->AsDouble() || value->AsDouble() == factor.built_in) continue;
      ConfigNode& scaling = to["rope_scaling"];
      if (!scaling.is_map()) scaling = ConfigNode::Map();
      scaling[std::string(factor.hf)] = *value;
    }
  }
  if (IsOf(kGemma3, config_class)) TakeGemma3(from, to);
  if (IsOf(kGemma2, config_class)) TakeGemma2(from, to);
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

// What a LLaVA has besides its language model [NeMo v2.0.0 examples/multimodal/multimodal_llm/neva/conf].
constexpr Pair kVision[] = {
    {"from_pretrained", "pretrained_model_name_or_path"}, {"hidden_size", "hidden_size"}, {"patch_dim", "patch_size"}};
// A tower's patches and pictures as its published name tells them: "openai/clip-vit-large-patch14-336", 224 without.
void SizesByName(std::string_view name, ConfigNode& encoder) {
  constexpr std::string_view kPatch = "patch";
  const size_t at = name.rfind(kPatch);
  if (at == std::string_view::npos || encoder.Get("patch_dim") != nullptr) return;
  const auto number = [&name](size_t from) {
    int64_t value = 0;
    for (; from < name.size() && name[from] >= '0' && name[from] <= '9' && value < 10'000; ++from)
      value = 10 * value + (name[from] - '0');
    return value;
  };
  const int64_t patch = number(at + kPatch.size());
  const size_t dash = name.find('-', at);
  const int64_t size = dash == std::string_view::npos ? 224 : number(dash + 1);
  if (patch == 0 || size == 0) return;
  encoder["patch_dim"] = ConfigNode::Int(patch);
  encoder["crop_size"] = ConfigNode::List({ConfigNode::Int(size), ConfigNode::Int(size)});
}

// A projector of the same layers under NeMo 2's name and under NeMo 1's.
constexpr Pair kDownsample = {"mlp_downsample", "vila_downsample_mlp"};
constexpr Pair kProjectors[] = {{"mlp2x_gelu", "mcore_mlp"}, {"linear", "mcore_affine"}, kDownsample};
bool IsMlpOfGelu(std::string_view type) { return type.starts_with("mlp") && type.ends_with("x_gelu"); }

// mm_mlp_adapter_type. Errors: Unsupported for a projector that NeMo 1 does not build.
Result<std::string> ProjectorToNemo1(const ConfigNode& projector) {
  const std::string type = TextOf(projector, "projector_type");
  if (type.empty() || type == "linear" || IsMlpOfGelu(type)) return type;
  const auto* found = std::ranges::find(kProjectors, type, &Pair::nemo2);
  if (found == std::end(kProjectors))
    return Unsupported(fmt::format("projector_type: expected mlp2x_gelu or its kin, found {}", type));
  constexpr std::string_view kGelu = "torch.nn.functional.gelu";
  const std::string function = Target(projector, "activation_func");
  if (found == kProjectors && !function.empty() && function != kGelu)
    return Unsupported(fmt::format("activation_func: expected {}, as NeMo 1 computes, found {}", kGelu, function));
  return std::string(found->nemo1);
}

// NeMo 2 builds a tower as transformers' module or as Megatron-core's.
Status TowerToNemo1(const ConfigNode& vision, ConfigNode& encoder) {
  const std::string target = TextOf(vision, "_target_");
  if (target.empty() || target.ends_with("HFCLIPVisionConfig")) {
    for (const Pair& pair : kVision) {
      if (const ConfigNode* value = vision.Get(pair.nemo2)) encoder[pair.nemo1] = *value;
    }
    if (const ConfigNode* size = vision.Get("image_size")) encoder["crop_size"] = ConfigNode::List({*size, *size});
    SizesByName(TextOf(vision, "pretrained_model_name_or_path"), encoder);
    return {};
  }
  if (!IsMegatronTower(vision))
    return Unsupported(fmt::format("expected HFCLIPVisionConfig or CLIPViTConfig, found {}", target));
  ANEMONE_ASSIGN(const ConfigNode tower, HfTowerOfNemo2(vision));
  SetTower(tower, tower, nullptr, &encoder);
  encoder[std::string(kIsMegatronTower)] = ConfigNode::Bool(true);
  return {};
}

Result<ConfigNode> SeeingToNemo1(const ConfigNode& config) {
  constexpr std::string_view kTower = "vision_transformer_config", kProjector = "vision_projection_config";
  ConfigNode to = ConfigNode::Map();
  // The first key, set last: keys that are added move the values before them.
  to["vision_encoder"] = ConfigNode::Null();
  ConfigNode encoder = ConfigNode::Map();
  encoder["from_hf"] = ConfigNode::Bool(true);
  encoder["class_token_length"] = ConfigNode::Int(1);
  if (const ConfigNode* vision = config.Get(kTower); vision != nullptr)
    ANEMONE_TRY(TowerToNemo1(*vision, encoder).In(fmt::format("config.{}", kTower)));
  if (const ConfigNode* layer = config.Get("vision_feature_layer")) encoder["vision_select_layer"] = *layer;
  if (!FlagOf(config, "drop_vision_class_token", true)) encoder["vision_select_feature"] = TextNode("cls_patch");
  if (TextOf(config, "_target_").starts_with(kLlavaNext)) to[std::string(kPatchMerge)] = TextNode(kUnpad);
  if (const ConfigNode* projector = config.Get(kProjector); projector != nullptr) {
    const ConfigNode* width = projector->Get("input_size");
    if (width != nullptr && encoder.Get("hidden_size") == nullptr) encoder["hidden_size"] = *width;
    Result<std::string> type = ProjectorToNemo1(*projector);
    if (!type.ok()) return type.status().In(fmt::format("config.{}", kProjector));
    if (!type->empty()) to["mm_mlp_adapter_type"] = TextNode(*type);
  }
  to["vision_encoder"] = std::move(encoder);
  return to;
}

// ---- NeMo 1 → NeMo 2 ----

bool IsHalf(const ConfigNode& model) {
  const ConfigNode* precision = model.Get("precision");
  return precision != nullptr && precision->ScalarText().starts_with("16");
}

Status TransformerToNemo2(const ConfigNode& from, bool is_half, ConfigNode& to) {
  Copy(from, /*to_nemo2=*/true, to);
  // NeMo 1 turns both off itself [megatron_base_model.py]; Megatron-core refuses them.
  if (ConfigNode* scaling = to.Get("apply_query_key_layer_scaling"); scaling != nullptr && !is_half)
    *scaling = ConfigNode::Bool(false);
  const ConfigNode* ranks = from.Get("tensor_model_parallel_size");
  ConfigNode* sequence = to.Get("sequence_parallel");
  if (sequence != nullptr && (ranks == nullptr || ranks->AsInt().value_or(1) == 1)) *sequence = ConfigNode::Bool(false);
  const std::string norm = TextOf(from, "normalization");
  to["normalization"] = TextNode(norm == "rmsnorm" ? "RMSNorm" : "LayerNorm");
  to["layernorm_zero_centered_gamma"] =
      ConfigNode::Bool(norm == "layernorm1p" || FlagOf(from, "layernorm_zero_centered_gamma"));
  const std::string activation = TextOf(from, "activation");
  const std::string_view wanted = activation.empty() ? "gelu" : std::string_view(activation);
  const auto* found = std::find_if(std::begin(kActivations), std::end(kActivations),
                                   [&](const Activation& a) { return a.name == wanted; });
  if (found == std::end(kActivations)) {
    return Unsupported(fmt::format("activation: expected one of NeMo's, found {}", activation));
  }
  to["activation_func"] = Reference(FlagOf(from, "openai_gelu") ? kOpenAiGelu : found->function);
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

// `file`: a SentencePiece model's in context/. Others are known by name, with files of their own beside some.
ConfigNode TokenizerToNemo2(const ConfigNode* from, const std::string& file) {
  if (from != nullptr && from->Get("_target_") != nullptr) return *from;  // NeMo 2's already
  ConfigNode to = ConfigNode::Map();
  const std::string library = from == nullptr ? "" : TextOf(*from, "library");
  std::string name = from == nullptr ? "" : TextOf(*from, "type");
  if (library == "sentencepiece" && !file.empty()) {
    to["_target_"] = TextNode("nemo.collections.common.tokenizers.sentencepiece_tokenizer.SentencePieceTokenizer");
    to["model_path"] = TextNode(file);
    return to;
  }
  const bool is_megatrons = library == "megatron" && name == "GPT2BPETokenizer";
  if (is_megatrons) name = "gpt2";  // [nlp/modules/common/megatron/megatron_utils.py]
  if (name.empty() || (library == "megatron" && !is_megatrons)) return ConfigNode::Null();
  to["_target_"] = TextNode("nemo.collections.common.tokenizers.huggingface.auto_tokenizer.AutoTokenizer");
  // A plain text would be a folder in context/ [NeMo v2.0.0 lightning/io/mixin.py, _artifact_transform_load].
  ConfigNode& artifact = to["pretrained_model_name"] = ConfigNode::Map();
  artifact["_target_"] = TextNode("nemo.lightning.io.artifact.file.DirOrStringArtifact");
  artifact["attr"] = TextNode(name);
  artifact["skip"] = ConfigNode::Bool(true);
  constexpr Pair kFiles[] = {{"vocab_file", "vocab_file"}, {"merge_file", "merges_file"}};
  for (const Pair& pair : kFiles) {
    constexpr std::string_view kReference = "nemo:";
    const std::string text = TextOf(*from, pair.nemo1);
    if (is_megatrons && text.starts_with(kReference))
      to[std::string(pair.nemo2)] = TextNode(std::string_view(text).substr(kReference.size()));
  }
  return to;
}

// Numbers between dots, to be compared; of anything else none.
std::vector<int64_t> ParseVersion(std::string_view text) {
  std::vector<int64_t> numbers(1, 0);
  for (const char c : text) {
    if (c == '.') {
      numbers.push_back(0);
    } else if (c >= '0' && c <= '9' && numbers.back() < 10'000) {
      numbers.back() = 10 * numbers.back() + (c - '0');
    } else {
      return {};
    }
  }
  return numbers;
}
bool IsBefore(std::string_view version, std::string_view other) { return ParseVersion(version) < ParseVersion(other); }

// The config of the tower. What its class takes grew with NeMo: a name alone in 2.0.0, a width from 2.1.0
// [nemo/collections/vlm/neva/model/base.py].
Result<ConfigNode> TowerToNemo2(const ConfigNode& encoder, std::string_view place, std::string_view version) {
  if (FlagOf(encoder, kIsMegatronTower)) {
    const ConfigNode& tower = WordAt(encoder, kTowerConfigKey);
    if (!tower.is_map()) return NotFound(fmt::format("{}: expected the tower's config, found none", kTowerConfigKey));
    return Nemo2TowerOfHf(WholeTower(tower), place);
  }
  if (WordAt(encoder, "from_hf").AsBool() == false) {
    return Unsupported(
        "from_hf: expected true, as NeMo 2 builds a tower of transformers' or of Megatron-core, found false",
        "convert it to Hugging Face, and that to NeMo 2");
  }
  // [HFCLIPVisionConfig.configure_model builds transformers' CLIPVisionModel.]
  if (WordAt(encoder, "class_token_length").AsInt() == 0) {
    return Unsupported("expected a CLIP, as NeMo 2 builds of transformers for a LLaVA, found a SigLIP")
        .Use("dialect", kMegatronTowerDialect, "write a tower of Megatron-core's, which NeMo 2.1 has");
  }
  const std::string name = TextOf(encoder, "from_pretrained");
  if (name.empty()) return Unsupported("from_pretrained: expected a tower's name, which NeMo 2 builds it from");
  ConfigNode vision = ConfigNode::Map();
  vision["_target_"] = TextNode(fmt::format("{}HFCLIPVisionConfig", place));
  vision["pretrained_model_name_or_path"] = TextNode(name);
  const ConfigNode* size = encoder.Get("hidden_size");
  if (size != nullptr && !IsBefore(version, "2.1.0")) vision["hidden_size"] = *size;
  return vision;
}

// Into a LLaVA's `config`, which has its language model's already. The classes are in another place from 2.2.0.
Status SeeingToNemo2(const ConfigNode& mm_cfg, const ConfigNode& language, std::string_view version,
                     ConfigNode& config) {
  const std::string place =
      IsBefore(version, "2.2.0") ? std::string(kNeva) + "base." : "nemo.collections.vlm.vision.base.";
  const ConfigNode& encoder = WordAt(mm_cfg, "vision_encoder");
  Result<ConfigNode> vision = TowerToNemo2(encoder, place, version);
  if (!vision.ok()) return vision.status().In("mm_cfg.vision_encoder");
  ConfigNode projector = ConfigNode::Map();
  projector["_target_"] = TextNode(place + "MultimodalProjectorConfig");
  if (TextOf(encoder, "vision_select_feature") == "cls_patch")
    config["drop_vision_class_token"] = ConfigNode::Bool(false);
  if (const ConfigNode* layer = encoder.Get("vision_select_layer")) config["vision_feature_layer"] = *layer;
  if (const ConfigNode* size = encoder.Get("hidden_size")) projector["input_size"] = *size;
  if (const std::string type = TextOf(mm_cfg, "mm_mlp_adapter_type"); !type.empty()) {
    // [MultimodalProjectorConfig.configure_model of every version; VILA's from 2.4.0.]
    constexpr std::string_view kFirstDownsample = "2.4.0";
    if (!IsMlpOfGelu(type) && (type != kDownsample.nemo1 || IsBefore(version, kFirstDownsample))) {
      return Unsupported(
          fmt::format("mm_cfg.mm_mlp_adapter_type: expected mlp2x_gelu or its kin, as NeMo {} builds, "
                      "found {}",
                      version, type));
    }
    projector["projector_type"] = TextNode(IsMlpOfGelu(type) ? std::string_view(type) : kDownsample.nemo2);
  }
  for (const char* key : {"hidden_size", "ffn_hidden_size"}) {
    if (const ConfigNode* size = language.Get("hidden_size")) projector[key] = *size;
  }
  config["vision_transformer_config"] = *std::move(vision);
  config["vision_projection_config"] = std::move(projector);
  return {};
}

// The architecture that a config of NeMo 1 describes. Errors: Unsupported, for what NeMo 2 has not.
Result<const Architecture*> ArchitectureOf(const ConfigNode& model, const ConfigNode& config) {
  const std::string target = TextOf(model, "target"), name = TextOf(model, "name");
  const std::string class_name = target.substr(target.rfind('.') + 1);
  const bool is_gpt = class_name.empty() || class_name.starts_with("MegatronGPT") || class_name == "MegatronNevaModel";
  if (!is_gpt) return Unsupported(fmt::format("target: expected a GPT or a CLIP, found {}", target));
  if (name == kGemma2Name) return &kGemma2;
  if (name == kGemma3Name) return &kGemma3;
  if (FlagOf(model, "multi_latent_attention")) return &kDeepSeek;
  if (const std::string_view key = KeyBeyondNemo1(model); !key.empty())
    return Unsupported(fmt::format("{}: expected a model that NeMo 2 has, found other experts than DeepSeek's", key));
  if (!name.empty() && name != "te_gpt" && name != "megatron_gpt")
    return Unsupported(fmt::format("name: expected a layer that NeMo 2 builds, found {}", name));
  const std::string block = TextOf(model, "transformer_block_type"),
                    positions = TextOf(config, "position_embedding_type");
  if (!block.empty() && block != "pre_ln")
    return Unsupported(fmt::format("transformer_block_type: expected pre_ln, found {}", block));
  if (positions != "rope" && positions != "learned_absolute" && positions != "none")
    return Unsupported(fmt::format("position_embedding_type: expected rope or learned_absolute, found {}", positions),
                       positions == kYarn ? "no class of NeMo 2's but GPT-OSS scales so; Megatron-Bridge does" : "");
  const bool has_rope = positions == "rope", has_bias = FlagOf(config, "add_bias_linear", true);
  const bool gates = FlagOf(config, "gated_linear_unit"), is_silu = Target(config, "activation_func") == kSilu;
  const bool is_rms = TextOf(config, "normalization") == "RMSNorm";
  const auto is_set = [&](std::string_view key) {
    const ConfigNode* node = config.Get(key);
    return node != nullptr && !node->is_null();
  };
  const auto number = [&](std::string_view key) {
    const ConfigNode* node = config.Get(key);
    return node == nullptr ? 0 : node->AsInt().value_or(0);
  };
  if (is_rms && gates && has_rope && !has_bias) {
    const bool is_scaled = FlagOf(model, "scale_positional_embedding");
    if (FlagOf(model, "apply_embedding_scaling") && !is_scaled) return &kGemma;
    // The one class that scales positions so; it builds experts, windows and biases as its fields say.
    if (is_scaled && !FlagOf(model, "apply_embedding_scaling")) return &kLlama31;
    if (!is_silu || FlagOf(config, "qk_layernorm")) return &kGpt;
    if (is_set("num_moe_experts")) return &kMixtral;
    if (FlagOf(config, "add_qkv_bias")) return FlagOf(config, "rotary_interleaved") ? &kChatGlm : &kQwen2;
    const bool is_wide =
        is_set("kv_channels") && number("kv_channels") * number("num_attention_heads") != number("hidden_size");
    return is_set("window_size") || is_wide ? &kMistral : &kLlama;
  }
  if (FlagOf(model, "apply_embedding_scaling") || FlagOf(model, "scale_positional_embedding"))
    return Unsupported("expected a model that NeMo 2 has, found scaled embeddings or positions in another");
  if (is_set("num_moe_experts")) return &kGpt;
  if (has_rope && !has_bias && TextOf(model, "activation") == "squared-relu" &&
      TextOf(model, "normalization") == "layernorm1p")
    return &kNemotron;
  const ConfigNode* part = config.Get("rotary_percent");
  const bool is_partial = part != nullptr && part->AsDouble().value_or(1) != 1;  // GPT-NeoX
  if (!is_rms && has_bias && !gates && has_rope) return is_partial ? &kGpt : &kStarcoder2;
  if (!is_rms && has_bias && !gates && number("num_query_groups") == 1) return &kStarcoder;
  return &kGpt;
}

// What the class alone does not say, or NeMo 1's converters have wrong.
void ArchitectureToNemo2(const Architecture& architecture, const ConfigNode& model, const Nemo2Request& request,
                         ConfigNode& config, std::vector<std::string>& notes) {
  const auto number = [&](std::string_view key) {
    const ConfigNode* node = model.Get(key);
    return node == nullptr ? int64_t{0} : node->AsInt().value_or(0);
  };
  const int64_t fixed_rows = number("override_vocab_size"),
                ranks = std::max<int64_t>(1, number("tensor_model_parallel_size"));
  const int64_t rows = fixed_rows > 0 ? fixed_rows : static_cast<int64_t>(request.vocab_rows);
  if (architecture.has_vocab_size && rows > 0) {
    config["vocab_size"] = ConfigNode::Int(rows);
  } else if (fixed_rows > 0 && fixed_rows % ranks == 0) {
    // The class has no word for rows of its own: padding to all of them is the same.
    config["make_vocab_size_divisible_by"] = ConfigNode::Int(fixed_rows / ranks);
  }
  if (&architecture == &kMixtral && FlagOf(config, "moe_router_pre_softmax")) {
    config["moe_router_pre_softmax"] = ConfigNode::Bool(false);
    notes.emplace_back("moe_router_pre_softmax: written as false, as Mixtral computes; NeMo's converter says true");
  }
  if (&architecture == &kLlama31) {
    ConfigNode& factor = config["seq_len_interpolation_factor"];
    if (!factor.is_null())
      notes.emplace_back("seq_len_interpolation_factor: left out, as the class scales positions already");
    factor = ConfigNode::Null();
    for (const PositionFactor& position : PositionFactors()) {
      const auto value = WordAt(model, fmt::format("rope_scaling.{}", position.hf)).AsDouble();
      if (value) config[std::string(position.nemo2)] = NumberWord(*value);
    }
  }
  if (&architecture == &kGemma3) GiveGemma3(model, config);
  if (&architecture == &kDeepSeek) DeepSeekToNemo2(model, config);
  if (&architecture == &kGemma2) GiveGemma2(model, config);
}

// The version that is written for. Errors: Unsupported where it lacks the model.
Result<std::string> VersionFor(const Nemo2Request& request, std::string_view since, std::string_view what,
                               std::vector<std::string>& notes) {
  constexpr std::string_view kDefault = "2.0.0";
  if (request.version.empty()) {
    if (!IsBefore(kDefault, since)) return std::string(kDefault);
    notes.push_back(fmt::format("written for NeMo {}, the first that has {}", since, what));
    return std::string(since);
  }
  if (ParseVersion(request.version).size() < 2 || IsBefore(request.version, kDefault))
    return InvalidArgument(fmt::format("expected a version of NeMo 2 such as 2.0.0, found '{}'", request.version));
  if (IsBefore(request.version, since))
    return Unsupported(fmt::format("expected NeMo {} or later, which has {}, found {}", since, what, request.version));
  return std::string(request.version);
}

Result<ConfigNode> ClipToNemo2(const ConfigNode& from) {
  ConfigNode config = ConfigNode::Map();
  config["_target_"] = TextNode(std::string(kClip) + "CLIPConfig");
  PrecisionToNemo2(from, config);
  for (const bool is_text : {true, false}) {
    const ConfigNode& tower = *from.Get(is_text ? "text" : "vision");
    ConfigNode& to = config[is_text ? "text_transformer_config" : "vision_transformer_config"] = ConfigNode::Map();
    to["_target_"] = TextNode(std::string(kClip) + (is_text ? "CLIPTextModelConfig" : "CLIPViTConfig"));
    if (const Status status = TransformerToNemo2(tower, IsHalf(from), to); !status.ok())
      return status.In(is_text ? "text" : "vision");
    to.Erase("position_embedding_type");  // these classes have no such field
    PrecisionToNemo2(from, to);
    if (is_text) {
      if (const ConfigNode* length = tower.Get("max_position_embeddings")) to["max_seq_length"] = *length;
    } else {
      to["vision_model_type"] = TextNode("clip");
      to["add_class_token"] = ConfigNode::Bool(true);
    }
  }
  return config;
}

// What the written class computes must be what the model is.
Status CheckSameWords(const ConfigNode& model, const ConfigNode& model_yaml) {
  ANEMONE_ASSIGN(const ConfigNode read, ToNemo1Config(model_yaml));
  ANEMONE_ASSIGN(ConfigNode own, WordsOf(model, nullptr));
  ANEMONE_ASSIGN(const ConfigNode written, WordsOf(read, nullptr));
  if (TextOf(model_yaml, "_target_") == kMixtral.model_class && !own["moe_router_pre_softmax"].is_null())
    own["moe_router_pre_softmax"] = ConfigNode::Bool(false);  // said in a note
  const std::vector<std::string> lines = DifferingWords(own, written);
  if (lines.empty()) return {};
  return Unsupported(
      fmt::format("expected a model that NeMo 2 has words for, found others: {}", fmt::join(lines, "; ")));
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
    if (TextOf(model_yaml, "_target_") == kDeepSeek.model_class || FlagOf(config, "multi_latent_attention"))
      ANEMONE_TRY(DeepSeekToNemo1(config, to).In("config"));
    ArchitectureToNemo1(TextOf(config, "_target_"), config, to);
  }
  to["tokenizer"] = TokenizerToNemo1(model_yaml.Get("tokenizer"));
  to["optim"] = OptimToNemo1(model_yaml.Get("optim"));
  to["target"] = TextNode(target);
  to["nemo_version"] = TextNode("2.0.0");
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

Result<ConfigNode> ToNemo2Config(const ConfigNode& model_config, const Nemo2Request& request,
                                 std::vector<std::string>* notes) {
  const Nemo2Model* asked = request.id.empty() ? nullptr : FindNemo2Model(request.id);
  if (!request.id.empty() && asked == nullptr) {
    return InvalidArgument(fmt::format("expected a model NeMo 2 converts, found '{}'", request.id),
                           fmt::format("known are {}", fmt::join(Nemo2ModelIds(), ", ")));
  }
  std::vector<std::string> said;
  ConfigNode to = ConfigNode::Map();
  const ConfigNode *text = model_config.Get("text"), *vision = model_config.Get("vision");
  if (text != nullptr && text->is_map() && vision != nullptr && vision->is_map()) {
    ANEMONE_TRY(VersionFor(request, kFirstClip, "CLIP", said).status());
    to["_target_"] = TextNode(std::string(kClip) + "CLIPModel");
    ANEMONE_ASSIGN(to["config"], ClipToNemo2(model_config));
    to["tokenizer"] = TokenizerToNemo2(model_config.Get("tokenizer"), request.tokenizer);
    if (notes != nullptr) notes->insert(notes->end(), said.begin(), said.end());
    return to;
  }
  if (model_config.Get("num_layers") == nullptr || model_config.Get("hidden_size") == nullptr) {
    const bool is_t5 = model_config.Get("encoder") != nullptr && model_config.Get("decoder") != nullptr;
    return Unsupported(fmt::format("expected the config of a GPT or a CLIP, found {}",
                                   is_t5 ? "that of a T5: NeMo 2.0 has none" : "neither's sizes"));
  }
  ANEMONE_TRY(CheckMegatronResidual(model_config));
  ConfigNode config = ConfigNode::Map();
  config["_target_"] = ConfigNode::Null();
  ANEMONE_TRY(TransformerToNemo2(model_config, IsHalf(model_config), config));
  SaySilent(model_config, config);
  PrecisionToNemo2(model_config, config);
  for (const char* key : {"encoder_seq_length", "max_position_embeddings"}) {
    if (const ConfigNode* length = model_config.Get(key); length != nullptr && !length->is_null())
      config["seq_length"] = *length;
  }
  ANEMONE_ASSIGN(const Architecture* architecture, ArchitectureOf(model_config, config));
  const std::string_view model_class = asked != nullptr ? asked->model_class : architecture->model_class;
  if ((model_class == kMixtral.model_class) != (architecture == &kMixtral)) {
    return InvalidArgument(
        fmt::format("expected a {} as asked, found the config of a {}", model_class, architecture->model_class));
  }
  // The first version whose Megatron-core has the key beside `max_position_embeddings`.
  const auto stretched = WordAt(model_config, kStretched).AsInt();
  const bool is_other = architecture == &kDeepSeek && stretched.value_or(kStretchedBuiltIn) != kStretchedBuiltIn;
  const bool has_mtp = MtpLayersOf(model_config) > 0 && IsBefore(architecture->since, kFirstMtp);
  const std::string_view what = has_mtp ? "layers that predict several tokens" : architecture->model_class;
  ANEMONE_ASSIGN(const std::string version, VersionFor(request,
                                                       is_other  ? "2.5.0"
                                                       : has_mtp ? kFirstMtp
                                                                 : architecture->since,
                                                       what, said));
  ArchitectureToNemo2(*architecture, model_config, request, config, said);
  config["_target_"] = TextNode(asked != nullptr ? asked->config_class : architecture->config_class);
  if (const ConfigNode* seeing = model_config.Get("mm_cfg"); seeing != nullptr && seeing->is_map()) {
    const bool is_next = TextOf(*seeing, kPatchMerge) == kUnpad;
    const bool is_megatron = FlagOf(WordAt(*seeing, "vision_encoder"), kIsMegatronTower);
    std::string written = version;
    if (is_next) {
      ANEMONE_ASSIGN(written, VersionFor(request, kFirstLlavaNext, "LLaVA-NeXT", said));
    } else if (is_megatron) {
      ANEMONE_ASSIGN(written, VersionFor(request, kFirstMegatronTower, "the layers of such a tower", said));
    }
    to["_target_"] = TextNode(is_next ? std::string(kLlavaNext) + "llava_next.LlavaNextModel"
                                      : std::string(kNeva) + "llava.LlavaModel");
    ConfigNode& whole = to["config"] = ConfigNode::Map();
    whole["_target_"] =
        TextNode(is_next ? std::string(kLlavaNext) + "base.LlavaNextConfig" : std::string(kNeva) + "llava.LlavaConfig");
    ANEMONE_TRY(SeeingToNemo2(*seeing, config, written, whole));
    if (is_megatron) PrecisionToNemo2(model_config, whole["vision_transformer_config"]);
    whole["language_transformer_config"] = std::move(config);
  } else {
    to["_target_"] = TextNode(model_class);
    to["config"] = std::move(config);
    ANEMONE_TRY(CheckSameWords(model_config, to));
  }
  to["optim"] = ConfigNode::Null();
  to["tokenizer"] = TokenizerToNemo2(model_config.Get("tokenizer"), request.tokenizer);
  to["model_transform"] = ConfigNode::Null();
  if (notes != nullptr) notes->insert(notes->end(), said.begin(), said.end());
  return to;
}

}  // namespace anemone
