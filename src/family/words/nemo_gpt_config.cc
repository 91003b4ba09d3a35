// Facts: NeMo v2.0.0 examples/nlp/language_modeling/conf/megatron_llama_config.yaml, scripts/checkpoint_converters/
// convert_*_hf_to_nemo.py, and what they wrote (tests/golden).
#include "family/words/nemo_gpt_config.h"

#include <string>
#include <string_view>

#include "family/words/model_words.h"

namespace anemone {
namespace {

constexpr std::string_view kTemplate = R"yaml(mcore_gpt: true
micro_batch_size: 1
global_batch_size: 8
tensor_model_parallel_size: 1
pipeline_model_parallel_size: 1
virtual_pipeline_model_parallel_size: null
encoder_seq_length: null
max_position_embeddings: null
num_layers: null
hidden_size: null
ffn_hidden_size: null
num_attention_heads: null
init_method_std: 0.02
use_scaled_init_method: true
hidden_dropout: 0.0
attention_dropout: 0.0
ffn_dropout: 0.0
kv_channels: null
apply_query_key_layer_scaling: true
normalization: rmsnorm
layernorm_epsilon: 1.0e-05
do_layer_norm_weight_decay: false
make_vocab_size_divisible_by: 128
pre_process: true
post_process: true
persist_layer_norm: true
bias: false
activation: fast-swiglu
headscale: false
transformer_block_type: pre_ln
openai_gelu: false
normalize_attention_scores: true
position_embedding_type: rope
rotary_percentage: 1.0
attention_type: multihead
share_embeddings_and_output_weights: false
overlap_p2p_comm: false
batch_p2p_comm: true
num_query_groups: null
tokenizer: null
native_amp_init_scale: 4294967296
native_amp_growth_interval: 1000
hysteresis: 2
fp32_residual_connection: false
fp16_lm_cross_entropy: false
megatron_amp_O2: false
grad_allreduce_chunk_size_mb: 125
grad_div_ar_fusion: true
gradient_accumulation_fusion: false
bias_activation_fusion: false
bias_dropout_add_fusion: false
masked_softmax_fusion: true
get_attention_mask_from_fusion: true
apply_rope_fusion: false
seed: 1234
resume_from_checkpoint: null
use_cpu_initialization: false
onnx_safe: false
apex_transformer_log_level: 30
gradient_as_bucket_view: true
sync_batch_comm: false
activations_checkpoint_granularity: null
activations_checkpoint_method: null
activations_checkpoint_num_layers: null
num_micro_batches_with_partial_activation_checkpoints: null
activations_checkpoint_layers_per_pipeline: null
sequence_parallel: false
transformer_engine: true
fp8: false
fp8_e4m3: false
fp8_hybrid: true
fp8_margin: 0
fp8_interval: 1
fp8_amax_history_len: 1024
fp8_amax_compute_algo: max
reduce_amax: true
use_emha: false
data:
  index_mapping_dir: null
  data_impl: mmap
  splits_string: 900,50,50
  seq_length: null
  skip_warmup: true
  num_workers: 2
  dataloader_type: single
  reset_position_ids: false
  reset_attention_mask: false
  eod_mask_loss: false
  validation_drop_last: true
  no_seqlen_plus_one_input_tokens: false
  pad_samples_to_global_batch_size: false
  shuffle_documents: true
nsys_profile:
  enabled: false
  start_step: 10
  end_step: 10
  ranks:
  - 0
  gen_shape: false
optim:
  name: fused_adam
  lr: 0.0002
  weight_decay: 0.01
  betas:
  - 0.9
  - 0.98
  sched:
    name: CosineAnnealing
    warmup_steps: 500
    constant_steps: 50000
    min_lr: 2.0e-05
)yaml";

}  // namespace

uint64_t VocabularyDivisor(uint64_t rows) {
  uint64_t divisor = 128;
  while (divisor > 1 && rows % divisor != 0) divisor /= 2;
  return divisor;
}

ConfigNode NemoGptConfig(const ConfigNode& model, const NemoGptRequest& request) {
  Result<Config> config = Config::ParseYaml(kTemplate, "NeMo's configuration of a GPT");
  ConfigNode to = config.ok() ? config->root() : ConfigNode::Map();
  for (auto& [key, value] : to.map) {
    if (const ConfigNode* silent = SilentWord(key)) value = *silent;
  }
  for (const auto& [key, value] : model.map) {
    ConfigNode& node = to[key] = value;
    if (node.kind == ConfigNode::Kind::kFloat) node.text.clear();  // YAML 1.1 reads JSON's 1e-05 as a text
  }
  const ConfigNode* length = model.Get("max_position_embeddings");
  if (length != nullptr) {
    to["encoder_seq_length"] = *length;
    to["data"]["seq_length"] = *length;
  }
  // Where all layers have experts, it has the size of an expert's in its place. DeepSeek's configs have both sizes.
  const ConfigNode* ffn = model.Get("moe_ffn_hidden_size");
  if (ffn != nullptr && model.Get("moe_layer_freq") == nullptr &&
      !WordAt(model, "multi_latent_attention").AsBool().value_or(false))
    to["ffn_hidden_size"] = *ffn;
  const ConfigNode *heads = to.Get("num_attention_heads"), *groups = to.Get("num_query_groups");
  if (groups != nullptr && groups->is_null() && heads != nullptr) to["num_query_groups"] = *heads;
  to["share_embeddings_and_output_weights"] = ConfigNode::Bool(request.has_tied_output);
  to["make_vocab_size_divisible_by"] = ConfigNode::Int(static_cast<int64_t>(VocabularyDivisor(request.vocab_rows)));
  if (request.fixes_rows) to["override_vocab_size"] = ConfigNode::Int(static_cast<int64_t>(request.vocab_rows));
  switch (request.dtype) {
    case DType::kBF16:
      to["precision"] = ConfigNode::String("bf16");
      break;
    case DType::kF16:
      to["precision"] = ConfigNode::Int(16);
      break;
    default:
      to["precision"] = ConfigNode::Int(32);
  }
  to["target"] =
      ConfigNode::String("nemo.collections.nlp.models.language_modeling.megatron_gpt_model.MegatronGPTModel");
  to["nemo_version"] = ConfigNode::String("2.0.0");
  return to;
}

}  // namespace anemone
