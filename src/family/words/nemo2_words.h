// What both languages of NeMo's configs, NeMo 1's and NeMo 2's, have words for.
#ifndef ANEMONE_FAMILY_WORDS_NEMO2_WORDS_H_
#define ANEMONE_FAMILY_WORDS_NEMO2_WORDS_H_

#include <string>
#include <string_view>

#include "anemone/config.h"
#include "config/nodes.h"

namespace anemone::nemo2 {

// The same value under two names, and what NeMo 1 takes it for where its config is silent; NeMo 2's classes take other
// values then [NeMo v2.0.0 megatron_base_model.py build_transformer_config, megatron_gpt_model.py;
// llm/gpt/model/base.py GPTConfig; Megatron-LM core_v0.9.0 TransformerConfig].
struct Pair {
  std::string_view nemo1, nemo2;
  std::string_view silent = {};  // YAML; empty: nothing is written
};
inline constexpr Pair kShared[] = {
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
    {"moe_router_topk_limited_devices", "moe_router_topk_limited_devices"},
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
inline constexpr std::string_view kOpenAiGelu = "nemo.collections.llm.fn.activation.openai_gelu";
inline constexpr Activation kActivations[] = {
    {"gelu", "torch.nn.functional.gelu", false},
    {"fast-swiglu", "torch.nn.functional.silu", true},
    {"fast-geglu", "torch.nn.functional.gelu", true},
    {"fast-reglu", "torch.nn.functional.relu", true},
    {"swiglu", "torch.nn.functional.silu", true},
    {"geglu", "torch.nn.functional.gelu", true},
    {"reglu", "torch.nn.functional.relu", true},
    {"squared-relu", "nemo.collections.nlp.modules.common.megatron.utils.squared_relu", false},
    {"squared-relu", "nemo.collections.llm.fn.activation.squared_relu", false},
    {"squared-relu", "nemo.collections.llm.gpt.model.ssm.NemotronHConfigBase.<lambda>", false},
    {"approx-gelu", "nemo.collections.nlp.modules.common.megatron.utils.ApproxGELUActivation", false},
    {"gelu", kOpenAiGelu, false, true},
    {"fast-geglu", kOpenAiGelu, true, true},
};

// The length that YaRN stretches was `max_position_embeddings` up to Megatron-core 0.13, which NeMo 2.4 builds with
// [core_v0.13.0 and core_v0.14.0 MLATransformerConfig].
inline constexpr const char* kStretched = "original_max_position_embeddings";
inline constexpr int64_t kStretchedBuiltIn = 4096;

inline std::string TextOf(const ConfigNode& map, std::string_view key) {
  const ConfigNode* node = map.Get(key);
  return node == nullptr ? std::string() : node->AsString().value_or("");
}

inline bool FlagOf(const ConfigNode& map, std::string_view key, bool fallback = false) {
  const ConfigNode* node = map.Get(key);
  return node == nullptr ? fallback : node->AsBool().value_or(fallback);
}

// A function or class by name, not called: what NeMo 2's YAML has for one.
inline ConfigNode Reference(std::string_view name) {
  ConfigNode node = ConfigNode::Map();
  node["_call_"] = ConfigNode::Bool(false);
  node["_target_"] = TextNode(name);
  return node;
}
inline std::string Target(const ConfigNode& map, std::string_view key) {
  const ConfigNode* node = map.Get(key);
  return node == nullptr ? std::string() : TextOf(*node, "_target_");
}

// Values that both languages have, under the names of the one they go to.
inline void CopyShared(const ConfigNode& from, std::string_view Pair::*old_name, std::string_view Pair::*new_name,
                       ConfigNode& to) {
  for (const Pair& pair : kShared) {
    const ConfigNode* value = from.Get(pair.*old_name);
    const bool is_value = value != nullptr && (value->is_scalar() || value->is_list());
    if (is_value) to[std::string(pair.*new_name)] = *value;
  }
}

}  // namespace anemone::nemo2

#endif  // ANEMONE_FAMILY_WORDS_NEMO2_WORDS_H_
