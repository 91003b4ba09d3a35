// The keys of Megatron-LM's arguments and of Megatron-Bridge's providers beside NeMo 1's: one table for reading and for
// writing. What takes more than a name is code: megatron_config.cc reads it, megatron_target.cc writes it.
//
// Facts: Megatron-LM v2.5, core_v0.9.0, core_v0.14.0, core_v0.20.0 megatron/training/arguments.py
// (core_transformer_config_from_args, validate_args); Megatron-Bridge 0.3.1 and 0.7.0
// src/megatron/bridge/models/gpt_provider.py, gpt/model_config.py; files that they wrote.
#ifndef ANEMONE_FAMILY_WORDS_MEGATRON_TABLES_H_
#define ANEMONE_FAMILY_WORDS_MEGATRON_TABLES_H_

#include <string_view>

namespace anemone {

// Arguments that say the same in NeMo 1, under its name of them.
struct MegatronKey {
  std::string_view key, nemo1;
  std::string_view bridge = {};  // a provider's name of it; empty: as `key`; kNoBridgeKey: it has none
};
inline constexpr std::string_view kNoBridgeKey = "-";
inline constexpr MegatronKey kMegatronKeys[] = {
    {"num_layers", "num_layers"},
    {"hidden_size", "hidden_size"},
    {"ffn_hidden_size", "ffn_hidden_size"},
    {"num_attention_heads", "num_attention_heads"},
    {"kv_channels", "kv_channels"},
    {"max_position_embeddings", "max_position_embeddings", "seq_length"},
    {"add_bias_linear", "bias"},
    {"add_qkv_bias", "qkv_bias"},
    {"qk_layernorm", "qk_layernorm"},
    {"openai_gelu", "openai_gelu", "-"},
    {"norm_epsilon", "layernorm_epsilon", "-"},  // up to core 0.15
    {"layernorm_epsilon", "layernorm_epsilon"},  // before core 0.3, and since core 0.16
    {"apply_layernorm_1p", "layernorm_zero_centered_gamma", "-"},
    {"layernorm_zero_centered_gamma", "layernorm_zero_centered_gamma"},
    {"rotary_base", "rotary_base"},
    {"rotary_percent", "rotary_percentage"},
    {"rotary_interleaved", "rotary_interleaved"},
    {"rotary_seq_len_interpolation_factor", "seq_len_interpolation_factor", "seq_len_interpolation_factor"},
    {"init_method_std", "init_method_std"},
    {"hidden_dropout", "hidden_dropout"},
    {"attention_dropout", "attention_dropout"},
    {"fp32_residual_connection", "fp32_residual_connection"},
    {"apply_query_key_layer_scaling", "apply_query_key_layer_scaling"},
    {"attention_softmax_in_fp32", "attention_softmax_in_fp32"},
    {"masked_softmax_fusion", "masked_softmax_fusion"},
    {"bias_dropout_fusion", "bias_dropout_add_fusion"},
    {"apply_rope_fusion", "apply_rope_fusion"},
    {"make_vocab_size_divisible_by", "make_vocab_size_divisible_by"},
    {"num_experts", "num_moe_experts", "num_moe_experts"},
    {"moe_router_topk", "moe_router_topk"},
    {"moe_router_pre_softmax", "moe_router_pre_softmax"},
    {"moe_ffn_hidden_size", "moe_ffn_hidden_size"},
    {"moe_shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"},
    {"moe_router_score_function", "moe_router_score_function"},
    {"moe_router_enable_expert_bias", "moe_router_enable_expert_bias"},
    {"moe_router_num_groups", "moe_router_num_groups"},
    {"moe_router_group_topk", "moe_router_group_topk"},
    {"moe_router_topk_scaling_factor", "moe_router_topk_scaling_factor"},
    {"moe_grouped_gemm", "moe_grouped_gemm"},
    {"moe_aux_loss_coeff", "moe_aux_loss_coeff"},
    {"moe_z_loss_coeff", "moe_z_loss_coeff"},
    {"moe_input_jitter_eps", "moe_input_jitter_eps"},
    {"moe_router_load_balancing_type", "moe_router_load_balancing_type"},
    {"moe_token_dispatcher_type", "moe_token_dispatcher_type"},
    {"moe_expert_capacity_factor", "moe_expert_capacity_factor"},
    {"moe_pad_expert_input_to_capacity", "moe_pad_expert_input_to_capacity"},
    {"moe_extended_tp", "moe_extended_tp", "-"},
    {"expert_tensor_parallel_size", "expert_tensor_parallel_size"},
    {"multi_latent_attention", "multi_latent_attention"},
    {"q_lora_rank", "q_lora_rank"},
    {"kv_lora_rank", "kv_lora_rank"},
    {"qk_head_dim", "qk_head_dim"},
    {"qk_pos_emb_head_dim", "qk_pos_emb_head_dim"},
    {"v_head_dim", "v_head_dim"},
    {"rope_type", "rope_type"},
    {"rotary_scaling_factor", "rotary_scaling_factor"},
    {"original_max_position_embeddings", "original_max_position_embeddings"},
    {"beta_fast", "beta_fast"},
    {"beta_slow", "beta_slow"},
    {"mscale", "mscale"},
    {"mscale_all_dim", "mscale_all_dim"},
    {"mtp_num_layers", "mtp_num_layers"},
    {"mtp_loss_scaling_factor", "mtp_loss_scaling_factor"},
    {"tensor_model_parallel_size", "tensor_model_parallel_size"},
    {"pipeline_model_parallel_size", "pipeline_model_parallel_size"},
    {"virtual_pipeline_model_parallel_size", "virtual_pipeline_model_parallel_size"},
    {"expert_model_parallel_size", "expert_model_parallel_size"},
    {"sequence_parallel", "sequence_parallel"},
};
constexpr std::string_view BridgeKeyOf(const MegatronKey& row) { return row.bridge.empty() ? row.key : row.bridge; }

// Arguments with one value that is carried; null is accepted, too, and another one is refused. Most are fields of
// Megatron-core's TransformerConfig, which NeMo 2's configs have as well.
struct MegatronOnly {
  std::string_view key, value;  // YAML
  std::string_view why;
};
inline constexpr MegatronOnly kMegatronOnly[] = {
    {"activation_func_clamp_value", "null", "activations that are cut off"},
    {"apply_residual_connection_post_layernorm", "false", "residuals behind norms"},
    {"attention_output_gate", "false", "gated attention"},
    {"enable_mhc_connections", "false", "hyper-connections"},
    {"experimental_attention_variant", "null", "attention of another kind"},
    {"glu_linear_offset", "0.0", "gates with an offset"},
    {"heterogeneous_block_specs", "false", "layers that differ"},
    {"heterogeneous_layers_config_encoded_json", "null", "layers that differ"},
    {"heterogeneous_layers_config_path", "null", "layers that differ"},
    {"hybrid_attention_ratio", "0.0", "state-space layers"},
    {"hybrid_layer_pattern", "null", "state-space layers"},
    {"hybrid_mlp_ratio", "0.0", "state-space layers"},
    {"hybrid_override_pattern", "null", "state-space layers"},
    {"is_hybrid_model", "false", "state-space layers"},
    {"linear_attention_freq", "null", "linear attention"},
    {"linear_attention_type", "null", "linear attention"},
    {"moe_apply_probs_on_input", "false", "experts that are weighted before they compute"},
    {"moe_latent_size", "null", "experts of a smaller width"},
    {"moe_mlp_glu_interleave_size", "null", "gate and up in other rows"},
    {"moe_router_force_biased", "null", "tokens that go to experts by chance"},
    {"moe_router_force_load_balancing", "false", "tokens that go to experts by chance"},
    {"moe_shared_expert_gate", "false", "experts that all tokens share"},
    {"moe_shared_expert_glu_interleave_size", "null", "experts that all tokens share"},
    {"mtp_hybrid_override_pattern", "null", "state-space layers"},
    {"mtp_use_repeated_layer", "false", "one layer that predicts several tokens in turn"},
    {"mup_embedding_mult", "1.0", "scaled embeddings"},
    {"mup_output_mult", "1.0", "scaled logits"},
    {"no_rope_freq", "null", "layers without rotary positions"},
    {"qk_l2_norm", "false", "norms of queries and keys without weights"},
    {"quick_geglu", "false", "another activation"},
    {"retro_add_retriever", "false", "models that retrieve"},
    {"softmax_scale", "null", "attention that is scaled otherwise"},
    {"softmax_type", "vanilla", "attention with sinks"},
    {"use_mup", "false", "muP"},
    {"window_attn_skip_freq", "null", "layers with and without a window"},
};

// Fields, of core 0.12 and later, by which Transformer Engine computes the activation. Its gelu is the one by tanh,
// whether it is fused with a bias or not [core_v0.20.0 extensions/transformer_engine.py TEActivationOp,
// _make_te_ops_activation; Transformer Engine 2 pytorch/ops/basic/activation.py].
inline constexpr std::string_view kComputedByTe[] = {"use_te_activation_func", "use_transformer_engine_op_fuser"};

// Classes of Megatron-Bridge's models whose names begin so, and what they compute beside what their fields say, in
// NeMo 1's words (YAML). Others compute what is not carried.
struct BridgeClass {
  std::string_view name;
  std::string_view implied = "{}";
  std::string_view written = {};  // in full; empty: another of the class is
};
inline constexpr BridgeClass kBridgeClasses[] = {
    {"GPTModelProvider", "{}", "megatron.bridge.models.gpt_provider.GPTModelProvider"},
    {"BridgeGPTModelConfig"},
    {"GPTModelConfig"},
    {"GPTProvider"},
    {"Llama"},
    {"CodeLlama"},
    {"MistralModelProvider"},
    {"Mixtral"},
    {"Qwen2"},
    {"Qwen25"},
    {"Qwen3"},
    {"NemotronModelProvider"},
    {"Nemotron3ModelProvider"},
    {"Nemotron4ModelProvider"},
    {"StarCoder"},
    {"HybridModelProvider", "{name: mamba}"},
    {"MambaModelProvider", "{name: mamba}"},
    {"MambaProvider", "{name: mamba}"},
    {"NVIDIAMamba", "{name: mamba}"},
    {"NemotronH", "{name: mamba}"},
    {"NemotronNano", "{name: mamba}"},
    {"MLAModelProvider", "{multi_latent_attention: true}", "megatron.bridge.models.mla_provider.MLAModelProvider"},
    {"DeepSeek", "{multi_latent_attention: true}"},
    {"MoonlightModelProvider", "{multi_latent_attention: true}"},
    {"KimiK2", "{multi_latent_attention: true}"},
    {"GemmaModelProvider", "{apply_embedding_scaling: true}",
     "megatron.bridge.models.gemma.gemma_provider.GemmaModelProvider"},
    {"CodeGemma", "{apply_embedding_scaling: true}"},
    {"Gemma2ModelProvider", "{apply_embedding_scaling: true, name: megatron_gemma2}",
     "megatron.bridge.models.gemma.gemma2_provider.Gemma2ModelProvider"},
    {"Gemma3ModelProvider", "{apply_embedding_scaling: true, name: gemma3}",
     "megatron.bridge.models.gemma.gemma3_provider.Gemma3ModelProvider"},
};

// How a provider of Megatron-Bridge writes an activation: {_target_: torch.nn.functional.silu}, or "silu". NeMo 1's
// word for it in an MLP without and with gates; empty: it has none.
struct BridgeActivation {
  std::string_view function, plain, gated;
  bool by_tanh = false;  // wherever it is used
};
inline constexpr BridgeActivation kBridgeActivations[] = {
    {"torch.nn.functional.silu", "", "fast-swiglu"},
    {"torch.nn.functional.gelu", "gelu", "fast-geglu"},
    {"torch.nn.functional.relu", "", "fast-reglu"},
    {"megatron.core.activations.squared_relu", "squared-relu", ""},
    {"megatron.core.activations.fast_gelu", "gelu", "fast-geglu", true},
    {"megatron.core.transformer.utils.openai_gelu", "gelu", "fast-geglu", true},
};

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_MEGATRON_TABLES_H_
