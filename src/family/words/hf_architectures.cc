// Facts: transformers 4.44.2 configuration_*.py and modeling_*.py (Qwen3 and Qwen3-MoE: 4.51; Gemma 3: 4.50 and 5.24;
// GPT-NeoX: 4.44 and 5.24; DeepSeek: 5.24 and deepseek-ai/DeepSeek-V3 configuration_deepseek.py);
// THUDM/chatglm2-6b configuration_chatglm.py, baichuan-inc/Baichuan2-7B-Base configuration_baichuan.py; NeMo v2.0.0
// scripts/checkpoint_converters.
#include "family/words/hf_architectures.h"

#include <algorithm>

namespace anemone {
namespace {

constexpr HfKey kCommon[] = {
    {"num_layers", "num_hidden_layers"},
    {"hidden_size", "hidden_size"},
    {"ffn_hidden_size", "intermediate_size"},
    {"num_attention_heads", "num_attention_heads"},
    {"num_query_groups", "num_key_value_heads"},
    {"kv_channels", "head_dim"},
    {"max_position_embeddings", "max_position_embeddings"},
    {"layernorm_epsilon", "rms_norm_eps"},
    {"rotary_base", "rope_theta"},
    {"share_embeddings_and_output_weights", "tie_word_embeddings"},
    {"activation", "hidden_act"},
    {"vocab_size", "vocab_size"},
    // Of training alone.
    {"init_method_std", "initializer_range"},
    {"attention_dropout", "attention_dropout"},
};

// GPT-2 has words of its own for everything; GPTBigCode took them over.
std::vector<HfKey> Gpt2Keys() {
  return {{"num_layers", "n_layer"},
          {"hidden_size", "n_embd"},
          {"ffn_hidden_size", "n_inner"},
          {"num_attention_heads", "n_head"},
          {"max_position_embeddings", "n_positions"},
          {"layernorm_epsilon", "layer_norm_epsilon"},
          {"activation", "activation_function"},
          {"num_query_groups", ""},
          {"kv_channels", ""},
          {"rotary_base", ""},
          {"attention_dropout", "attn_pdrop"},
          {"hidden_dropout", "resid_pdrop"}};
}

std::vector<HfKey> DeepSeekKeys() {
  return {{"num_query_groups", ""},
          {"kv_channels", ""},
          {"num_moe_experts", "n_routed_experts"},
          {"moe_router_topk", "num_experts_per_tok"},
          {"moe_ffn_hidden_size", "moe_intermediate_size"},
          {"moe_router_num_groups", "n_group"},
          {"moe_router_group_topk", "topk_group"},
          {"moe_router_topk_scaling_factor", "routed_scaling_factor"},
          {"moe_aux_loss_coeff", "aux_loss_alpha"},
          {"q_lora_rank", "q_lora_rank"},
          {"kv_lora_rank", "kv_lora_rank"},
          {"qk_head_dim", "qk_nope_head_dim"},
          {"qk_pos_emb_head_dim", "qk_rope_head_dim"},
          {"v_head_dim", "v_head_dim"}};
}

std::vector<HfKey> DeepSeekV3Keys() {
  std::vector<HfKey> keys = DeepSeekKeys();
  keys.push_back({"mtp_num_layers", "num_nextn_predict_layers"});
  return keys;
}

// Long as it is data: a row for each class.
const std::vector<HfArchitecture>& Table() {
  static const std::vector<HfArchitecture> table = {
      {.name = "LlamaForCausalLM",
       .model_type = "llama",
       .dialect = "hf",
       .silent = "{attention_bias: false, attention_dropout: 0.0, hidden_act: silu, initializer_range: 0.02, "
                 "max_position_embeddings: 2048, mlp_bias: false, num_key_value_heads: null, pretraining_tp: 1, "
                 "rms_norm_eps: 1.0e-06, rope_scaling: null, rope_theta: 10000.0, tie_word_embeddings: false, "
                 "use_cache: true}",
       .implied = "{normalization: rmsnorm, position_embedding_type: rope}"},
      {.name = "MistralForCausalLM",
       .model_type = "mistral",
       .dialect = "hf",
       .silent = "{attention_dropout: 0.0, head_dim: null, hidden_act: silu, initializer_range: 0.02, "
                 "max_position_embeddings: 131072, num_key_value_heads: 8, rms_norm_eps: 1.0e-06, rope_theta: 10000.0, "
                 "sliding_window: 4096, tie_word_embeddings: false, use_cache: true}",
       .implied = "{normalization: rmsnorm, position_embedding_type: rope, bias: false}",
       .keys = {{"window_size", "sliding_window"}},
       .reads_layer_types = true},
      {.name = "MixtralForCausalLM",
       .model_type = "mixtral",
       .dialect = "hf_mixtral",
       .silent = "{attention_dropout: 0.0, hidden_act: silu, initializer_range: 0.02, max_position_embeddings: 131072, "
                 "num_experts_per_tok: 2, num_key_value_heads: 8, num_local_experts: 8, output_router_logits: false, "
                 "rms_norm_eps: 1.0e-05, rope_theta: 1000000.0, router_aux_loss_coef: 0.001, router_jitter_noise: 0.0, "
                 "sliding_window: null, tie_word_embeddings: false, use_cache: true}",
       .implied = "{normalization: rmsnorm, position_embedding_type: rope, bias: false, moe_router_pre_softmax: false}",
       .keys = {{"window_size", "sliding_window"},
                {"ffn_hidden_size", ""},
                {"num_moe_experts", "num_local_experts"},
                {"moe_router_topk", "num_experts_per_tok"},
                {"moe_ffn_hidden_size", "intermediate_size"},
                {"moe_aux_loss_coeff", "router_aux_loss_coef"}}},
      {.name = "Qwen2ForCausalLM",
       .model_type = "qwen2",
       .dialect = "hf",
       .silent = "{attention_dropout: 0.0, hidden_act: silu, initializer_range: 0.02, max_position_embeddings: 32768, "
                 "max_window_layers: 28, num_key_value_heads: 32, rms_norm_eps: 1.0e-06, "
                 "rope_theta: 10000.0, sliding_window: null, tie_word_embeddings: false, use_cache: true, "
                 "use_sliding_window: false}",
       .implied = "{normalization: rmsnorm, position_embedding_type: rope, bias: false, qkv_bias: true}",
       .keys = {{"window_size", "sliding_window"}},
       .reads_layer_types = true,
       .fixes_rows = true},
      {.name = "Qwen3ForCausalLM",
       .model_type = "qwen3",
       .dialect = "hf",
       .silent = "{attention_bias: false, attention_dropout: 0.0, head_dim: 128, hidden_act: silu, initializer_range: "
                 "0.02, max_position_embeddings: 32768, max_window_layers: 28, num_key_value_heads: 32, rms_norm_eps: "
                 "1.0e-06, rope_scaling: null, rope_theta: 10000.0, sliding_window: null, tie_word_embeddings: false, "
                 "use_cache: true, use_sliding_window: false}",
       .implied = "{normalization: rmsnorm, position_embedding_type: rope, bias: false, qk_layernorm: true}",
       .keys = {{"window_size", "sliding_window"}},
       .unties = false,
       .reads_layer_types = true,
       .fixes_rows = true},
      {.name = "Qwen3MoeForCausalLM",
       .model_type = "qwen3_moe",
       .dialect = "hf_moe",
       .silent = "{attention_bias: false, attention_dropout: 0.0, decoder_sparse_step: 1, head_dim: null, hidden_act: "
                 "silu, initializer_range: 0.02, max_position_embeddings: 32768, max_window_layers: 28, "
                 "mlp_only_layers: [], moe_intermediate_size: 768, norm_topk_prob: false, num_experts: 128, "
                 "num_experts_per_tok: 8, num_key_value_heads: 4, output_router_logits: false, rms_norm_eps: 1.0e-06, "
                 "rope_scaling: null, rope_theta: 10000.0, router_aux_loss_coef: 0.001, sliding_window: null, "
                 "tie_word_embeddings: false, use_cache: true, use_sliding_window: false}",
       .implied = "{normalization: rmsnorm, position_embedding_type: rope, bias: false, qk_layernorm: true}",
       .keys = {{"window_size", "sliding_window"},
                {"ffn_hidden_size", ""},
                {"num_moe_experts", "num_experts"},
                {"moe_router_topk", "num_experts_per_tok"},
                {"moe_ffn_hidden_size", "moe_intermediate_size"},
                {"moe_aux_loss_coeff", "router_aux_loss_coef"},
                {"moe_router_pre_softmax", "norm_topk_prob"}},
       .unties = false,
       .fixes_rows = true},
      {.name = "DeepseekV2ForCausalLM",
       .model_type = "deepseek_v2",
       .dialect = "hf_deepseek",
       .silent = "{attention_bias: false, attention_dropout: 0.0, aux_loss_alpha: 0.001, first_k_dense_replace: 0, "
                 "hidden_act: silu, initializer_range: 0.02, kv_lora_rank: 512, max_position_embeddings: 2048, "
                 "moe_intermediate_size: 1407, n_group: null, n_routed_experts: 64, n_shared_experts: 2, "
                 "norm_topk_prob: false, num_experts_per_tok: null, num_key_value_heads: null, q_lora_rank: 1536, "
                 "qk_nope_head_dim: 128, qk_rope_head_dim: 64, rms_norm_eps: 1.0e-06, rope_scaling: null, rope_theta: "
                 "10000.0, routed_scaling_factor: 1.0, scoring_func: softmax, tie_word_embeddings: false, topk_group: "
                 "null, topk_method: greedy, use_cache: true, v_head_dim: 128}",
       .implied = "{normalization: rmsnorm, position_embedding_type: rope, bias: false, qk_layernorm: true, "
                  "multi_latent_attention: true, moe_router_pre_softmax: true}",
       .keys = DeepSeekKeys()},
      {.name = "DeepseekV3ForCausalLM",
       .model_type = "deepseek_v3",
       .dialect = "hf_deepseek",
       .silent = "{attention_bias: false, attention_dropout: 0.0, aux_loss_alpha: 0.001, first_k_dense_replace: 3, "
                 "hidden_act: silu, initializer_range: 0.02, kv_lora_rank: 512, max_position_embeddings: 4096, "
                 "moe_intermediate_size: 2048, n_group: 8, n_routed_experts: 256, n_shared_experts: 1, "
                 "norm_topk_prob: true, num_experts_per_tok: 8, num_key_value_heads: null, q_lora_rank: 1536, "
                 "qk_nope_head_dim: 128, qk_rope_head_dim: 64, rms_norm_eps: 1.0e-06, rope_interleave: true, "
                 "rope_scaling: null, rope_theta: 10000.0, routed_scaling_factor: 2.5, scoring_func: sigmoid, "
                 "tie_word_embeddings: false, topk_group: 4, topk_method: noaux_tc, use_cache: true, v_head_dim: 128}",
       .implied = "{normalization: rmsnorm, position_embedding_type: rope, bias: false, qk_layernorm: true, "
                  "multi_latent_attention: true, moe_router_score_function: sigmoid, moe_router_enable_expert_bias: "
                  "true}",
       .keys = DeepSeekV3Keys()},
      {.name = "GemmaForCausalLM",
       .model_type = "gemma",
       .dialect = "hf",
       .silent = "{attention_bias: false, attention_dropout: 0.0, head_dim: 256, hidden_act: gelu_pytorch_tanh, "
                 "hidden_activation: gelu_pytorch_tanh, initializer_range: 0.02, max_position_embeddings: 8192, "
                 "num_key_value_heads: 16, rms_norm_eps: 1.0e-06, rope_theta: 10000.0, tie_word_embeddings: true, "
                 "use_cache: true}",
       .implied = "{normalization: rmsnorm, layernorm_zero_centered_gamma: true, position_embedding_type: rope, bias: "
                  "false, apply_embedding_scaling: true}",
       .keys = {{"activation", "hidden_activation"}},
       .unties = false},
      {.name = "Gemma2ForCausalLM",
       .model_type = "gemma2",
       .dialect = "hf",
       .silent = "{attention_bias: false, attention_dropout: 0.0, attn_logit_softcapping: 50.0, cache_implementation: "
                 "hybrid, final_logit_softcapping: 30.0, head_dim: 256, hidden_activation: gelu_pytorch_tanh, "
                 "initializer_range: 0.02, max_position_embeddings: 8192, num_key_value_heads: 4, "
                 "query_pre_attn_scalar: 256, rms_norm_eps: 1.0e-06, rope_theta: 10000.0, sliding_window: 4096, "
                 "tie_word_embeddings: true, use_cache: true}",
       .implied = "{normalization: rmsnorm, layernorm_zero_centered_gamma: true, position_embedding_type: rope, bias: "
                  "false, apply_embedding_scaling: true, name: megatron_gemma2}",
       .keys = {{"activation", "hidden_activation"},
                {"window_size", "sliding_window"},
                {"mcore_customization_config.attn_logit_softcapping", "attn_logit_softcapping"},
                {"mcore_customization_config.final_logit_softcapping", "final_logit_softcapping"},
                {"mcore_customization_config.query_pre_attn_scalar", "query_pre_attn_scalar"}},
       .unties = false,
       .reads_layer_types = true},
      {.name = "Gemma3ForCausalLM",
       .model_type = "gemma3_text",
       .dialect = "hf",
       .silent = "{attention_bias: false, attention_dropout: 0.0, attn_logit_softcapping: null, cache_implementation: "
                 "hybrid, final_logit_softcapping: null, head_dim: 256, hidden_activation: gelu_pytorch_tanh, "
                 "initializer_range: 0.02, max_position_embeddings: 131072, num_key_value_heads: 4, "
                 "query_pre_attn_scalar: 256, rms_norm_eps: 1.0e-06, rope_local_base_freq: 10000.0, rope_scaling: "
                 "null, rope_theta: 1000000.0, sliding_window: 4096, sliding_window_pattern: 6, tie_word_embeddings: "
                 "true, use_cache: true}",
       .implied = "{normalization: rmsnorm, layernorm_zero_centered_gamma: true, position_embedding_type: rope, bias: "
                  "false, qk_layernorm: true, apply_embedding_scaling: true, name: gemma3}",
       .keys = {{"activation", "hidden_activation"},
                {"window_size", "sliding_window"},
                {"rotary_base_local", "rope_local_base_freq"},
                {"mcore_customization_config.query_pre_attn_scalar", "query_pre_attn_scalar"}},
       .unties = false,
       .reads_layer_types = true},
      {.name = "NemotronForCausalLM",
       .model_type = "nemotron",
       .dialect = "hf",
       .silent = "{attention_bias: false, attention_dropout: 0.0, head_dim: null, hidden_act: relu2, "
                 "initializer_range: 0.0134, max_position_embeddings: 4096, mlp_bias: false, norm_eps: 1.0e-05, "
                 "num_key_value_heads: null, partial_rotary_factor: 0.5, rope_theta: 10000.0, tie_word_embeddings: "
                 "false, use_cache: true}",
       .implied = "{normalization: layernorm1p, position_embedding_type: rope}",
       .keys = {{"layernorm_epsilon", "norm_eps"}, {"rotary_percentage", "partial_rotary_factor"}},
       .is_gated = false,
       .unties = false},
      {.name = "Starcoder2ForCausalLM",
       .model_type = "starcoder2",
       .dialect = "hf_starcoder2",
       .silent = "{attention_dropout: 0.0, embedding_dropout: 0.0, hidden_act: gelu_pytorch_tanh, initializer_range: "
                 "0.018042, max_position_embeddings: 4096, norm_epsilon: 1.0e-05, num_key_value_heads: 2, "
                 "residual_dropout: 0.0, rope_theta: 10000.0, sliding_window: null, tie_word_embeddings: true, "
                 "use_bias: true, use_cache: true}",
       .implied = "{normalization: layernorm, position_embedding_type: rope}",
       .keys = {{"layernorm_epsilon", "norm_epsilon"},
                {"window_size", "sliding_window"},
                {"bias", "use_bias"},
                {"hidden_dropout", "residual_dropout"}},
       .is_gated = false},
      {.name = "Phi3ForCausalLM",
       .model_type = "phi3",
       .dialect = "hf_phi3",
       .silent = "{attention_bias: false, attention_dropout: 0.0, embd_pdrop: 0.0, hidden_act: silu, "
                 "initializer_range: 0.02, max_position_embeddings: 4096, num_key_value_heads: null, "
                 "partial_rotary_factor: 1.0, resid_pdrop: 0.0, rms_norm_eps: 1.0e-05, rope_scaling: null, rope_theta: "
                 "10000.0, sliding_window: null, tie_word_embeddings: false, use_cache: true}",
       .implied = "{normalization: rmsnorm, position_embedding_type: rope}",
       .keys = {{"window_size", "sliding_window"},
                {"rotary_percentage", "partial_rotary_factor"},
                {"hidden_dropout", "resid_pdrop"}}},
      {.name = "BaichuanForCausalLM",
       .model_type = "baichuan",
       .dialect = "hf_baichuan",
       .silent = "{hidden_act: silu, initializer_range: 0.02, max_position_embeddings: 4096, model_max_length: 4096, "
                 "rms_norm_eps: 1.0e-06, tie_word_embeddings: false, use_cache: true}",
       .implied = "{normalization: rmsnorm, position_embedding_type: rope, bias: false}",
       .keys = {{"num_query_groups", ""}, {"kv_channels", ""}, {"rotary_base", ""}, {"attention_dropout", ""}}},
      {.name = "FalconForCausalLM",
       .model_type = "falcon",
       .dialect = "hf_falcon",
       .silent = "{activation: gelu, alibi: false, attention_dropout: 0.0, bias: false, hidden_dropout: 0.0, "
                 "initializer_range: 0.02, layer_norm_epsilon: 1.0e-05, max_position_embeddings: 2048, multi_query: "
                 "true, new_decoder_architecture: false, num_kv_heads: null, num_ln_in_parallel_attn: null, "
                 "parallel_attn: true, rope_scaling: null, rope_theta: 10000.0, tie_word_embeddings: true, use_cache: "
                 "true}",
       .implied = "{normalization: layernorm, position_embedding_type: rope, name: megatron_falcon_gpt}",
       .keys = {{"activation", "activation"},
                {"ffn_hidden_size", "ffn_hidden_size"},
                {"num_query_groups", "num_kv_heads"},
                {"kv_channels", ""},
                {"layernorm_epsilon", "layer_norm_epsilon"},
                {"bias", "bias"},
                {"hidden_dropout", "hidden_dropout"},
                {"mcore_customization_config.new_decoder_architecture", "new_decoder_architecture"},
                {"mcore_customization_config.parallel_attention", "parallel_attn"}},
       .is_gated = false,
       .has_padding_row = false},
      {.name = "GPTNeoXForCausalLM",
       .model_type = "gpt_neox",
       .dialect = "hf_neox",
       .silent = "{attention_bias: true, attention_dropout: 0.0, classifier_dropout: 0.1, hidden_act: gelu, "
                 "hidden_dropout: 0.0, initializer_range: 0.02, layer_norm_eps: 1.0e-05, max_position_embeddings: "
                 "2048, rope_scaling: null, rotary_emb_base: 10000, rotary_pct: 0.25, tie_word_embeddings: false, "
                 "use_cache: true, use_parallel_residual: true}",
       .implied = "{normalization: layernorm, position_embedding_type: rope, bias: true}",
       .keys = {{"num_query_groups", ""},
                {"kv_channels", ""},
                {"layernorm_epsilon", "layer_norm_eps"},
                {"rotary_base", "rotary_emb_base"},
                {"rotary_percentage", "rotary_pct"},
                {"parallel_residual", "use_parallel_residual"},
                {"hidden_dropout", "hidden_dropout"}},
       .is_gated = false,
       .has_padding_row = false},
      {.name = "GPTBigCodeForCausalLM",
       .model_type = "gpt_bigcode",
       .dialect = "hf_bigcode",
       .silent = "{activation_function: gelu_pytorch_tanh, attention_softmax_in_fp32: true, attn_pdrop: 0.1, "
                 "embd_pdrop: 0.1, initializer_range: 0.02, layer_norm_epsilon: 1.0e-05, multi_query: true, n_inner: "
                 "null, n_positions: 1024, resid_pdrop: 0.1, scale_attention_softmax_in_fp32: true, "
                 "scale_attn_weights: true, tie_word_embeddings: true, use_cache: true}",
       .implied = "{normalization: layernorm, bias: true, num_query_groups: 1}",
       .keys = Gpt2Keys(),
       .is_gated = false,
       .has_padding_row = false},
      {.name = "GPT2LMHeadModel",
       .model_type = "gpt2",
       .dialect = "hf_gpt2",
       .silent = "{activation_function: gelu_new, attn_pdrop: 0.1, embd_pdrop: 0.1, initializer_range: 0.02, "
                 "layer_norm_epsilon: 1.0e-05, n_inner: null, n_positions: 1024, reorder_and_upcast_attn: false, "
                 "resid_pdrop: 0.1, scale_attn_by_inverse_layer_idx: false, scale_attn_weights: true, "
                 "tie_word_embeddings: true, use_cache: true}",
       .implied = "{normalization: layernorm, bias: true}",
       .keys = Gpt2Keys(),
       .is_gated = false,
       .unties = false,
       .has_padding_row = false},
      {.name = "ChatGLMForConditionalGeneration",
       .model_type = "chatglm",
       .dialect = "hf_chatglm",
       .silent = "{add_bias_linear: false, add_qkv_bias: false, apply_query_key_layer_scaling: true, "
                 "apply_residual_connection_post_layernorm: false, attention_dropout: 0.0, attention_softmax_in_fp32: "
                 "true, hidden_dropout: 0.0, kv_channels: 128, layernorm_epsilon: 1.0e-05, multi_query_attention: "
                 "false, multi_query_group_num: 1, original_rope: true, post_layer_norm: true, rmsnorm: true, "
                 "rope_ratio: 1, seq_length: 2048, tie_word_embeddings: false, use_cache: true}",
       .implied = "{normalization: rmsnorm, position_embedding_type: rope, activation: fast-swiglu, "
                  "rotary_percentage: 0.5, rotary_interleaved: true}",
       .keys = {{"num_layers", "num_layers"},
                {"ffn_hidden_size", "ffn_hidden_size"},
                {"num_query_groups", "multi_query_group_num"},
                {"kv_channels", "kv_channels"},
                {"max_position_embeddings", "seq_length"},
                {"layernorm_epsilon", "layernorm_epsilon"},
                {"activation", ""},
                {"rotary_base", ""},
                {"bias", "add_bias_linear"},
                {"qkv_bias", "add_qkv_bias"},
                {"vocab_size", "padded_vocab_size"},
                {"hidden_dropout", "hidden_dropout"},
                {"init_method_std", ""}},
       .has_padding_row = false,
       .fixes_rows = true},
  };
  return table;
}

}  // namespace

std::span<const HfArchitecture> HfArchitectures() { return Table(); }

const HfArchitecture* FindHfArchitecture(std::string_view name) {
  const auto found =
      std::find_if(Table().begin(), Table().end(), [&](const HfArchitecture& a) { return a.name == name; });
  return found == Table().end() ? nullptr : &*found;
}

const HfArchitecture* FindHfArchitecture(const ConfigNode& config_json) {
  const ConfigNode* names = config_json.Get("architectures");
  if (names != nullptr && names->is_list() && !names->list.empty()) {
    std::string name = names->list.front().AsString().value_or("");
    if (name == "BaiChuanForCausalLM") name = "BaichuanForCausalLM";       // the first generation's spelling
    if (name == "ChatGLMModel") name = "ChatGLMForConditionalGeneration";  // as THUDM publishes it
    return FindHfArchitecture(name);
  }
  const ConfigNode* type = config_json.Get("model_type");
  const std::string name = type == nullptr ? "" : type->AsString().value_or("");
  const auto found =
      std::find_if(Table().begin(), Table().end(), [&](const HfArchitecture& a) { return a.model_type == name; });
  return found == Table().end() ? nullptr : &*found;
}

std::string_view DialectOfHf(const ConfigNode& config_json) {
  const HfArchitecture* architecture = FindHfArchitecture(config_json);
  if (architecture == nullptr) return {};
  if (architecture->model_type != "falcon") return architecture->dialect;
  const ConfigNode* is_new = config_json.Get("new_decoder_architecture");
  return is_new != nullptr && is_new->AsBool().value_or(false) ? architecture->dialect : "hf_falcon_old";
}

std::string_view HfKeyOf(const HfArchitecture& architecture, std::string_view word) {
  for (const HfKey& key : architecture.keys) {
    if (key.word == word) return key.key;
  }
  for (const HfKey& key : kCommon) {
    if (key.word == word) return key.key;
  }
  return {};
}

std::vector<HfKey> HfKeysOf(const HfArchitecture& architecture) {
  std::vector<HfKey> keys;
  for (const HfKey& key : kCommon) {
    const std::string_view own = HfKeyOf(architecture, key.word);
    if (!own.empty()) keys.push_back({key.word, own});
  }
  for (const HfKey& key : architecture.keys) {
    const bool is_common = std::any_of(std::begin(kCommon), std::end(kCommon),
                                       [&](const HfKey& common) { return common.word == key.word; });
    if (!is_common && !key.key.empty()) keys.push_back(key);
  }
  return keys;
}

}  // namespace anemone
