#include "family/clip/nemo_clip_template.h"

#include <string_view>

#include <fmt/format.h>

namespace anemone {
namespace {

// What both towers say of their layers and of training them.
constexpr std::string_view kLayer = R"yaml(  init_method_std: 0.02
  use_scaled_init_method: true
  hidden_dropout: 0.0
  attention_dropout: 0.0
  kv_channels: null
  apply_query_key_layer_scaling: true
  normalization: layernorm
  layernorm_epsilon: 1.0e-05
  do_layer_norm_weight_decay: false
  pre_process: true
  post_process: true
  persist_layer_norm: true
  activations_checkpoint_granularity: null
  activations_checkpoint_method: null
  activations_checkpoint_num_layers: null)yaml";
constexpr std::string_view kTraining = R"yaml(  sequence_parallel: false
  native_amp_init_scale: 4294967296
  native_amp_growth_interval: 1000
  hysteresis: 2
  fp32_residual_connection: false
  fp16_lm_cross_entropy: false
  masked_softmax_fusion: true
  bias_dropout_add_fusion: true
  use_cpu_initialization: false
  onnx_safe: false
  gradient_accumulation_fusion: false
  openai_gelu: false
  bias_activation_fusion: false
  megatron_legacy: true)yaml";

constexpr std::string_view kYaml = R"yaml(precision: 32
micro_batch_size: 64
global_batch_size: 2048
tensor_model_parallel_size: 1
pipeline_model_parallel_size: 1
virtual_pipeline_model_parallel_size: null
restore_from_pretrained: null
output_dim: 768
local_loss: false
gather_with_grad: true
mcore_gpt: false
transformer_engine: false
vision:
  precision: 32
  patch_dim: 14
  img_h: 224
  img_w: 224
  image_mean: null
  image_std: null
  num_channels: 3
  drop_patch_rate: 0.0
  drop_path_rate: 0.0
  global_average_pool: false
  output_dim: 768
  class_token_length: 1
  preprocess_layernorm: true
  encoder_seq_length: 256
  max_position_embeddings: 256
  position_embedding_type: learned_parameters
  num_layers: 24
  hidden_size: 1024
  ffn_hidden_size: 4096
  num_attention_heads: 16
{layer}
{training}
  activation: approx-gelu
text:
  precision: 32
  output_dim: 768
  encoder_seq_length: 77
  max_position_embeddings: 77
  position_embedding_type: learned_parameters
  num_layers: 12
  hidden_size: 768
  ffn_hidden_size: 3072
  num_attention_heads: 12
{layer}
  num_micro_batches_with_partial_activation_checkpoints: null
  activations_checkpoint_layers_per_pipeline: null
{training}
  fp8: false
  fp8_e4m3: false
  fp8_hybrid: false
  fp8_margin: 0
  fp8_interval: 1
  fp8_amax_history_len: 1
  fp8_amax_compute_algo: most_recent
  use_emha: false
  activation: approx-gelu
megatron_amp_O2: false
grad_allreduce_chunk_size_mb: 125
grad_div_ar_fusion: true
seed: 1234
resume_from_checkpoint: null
apex_transformer_log_level: 30
gradient_as_bucket_view: true
tokenizer:
  library: huggingface
  type: openai/clip-vit-large-patch14
  model: null
  vocab_file: null
  merge_file: null
  delimiter: null
  sentencepiece_legacy: false
make_vocab_size_divisible_by: 128
data:
  num_workers: 8
  train:
    dataset_path: []
  validation:
    dataset_path: []
  webdataset:
    infinite_sampler: false
    local_root_path: null
  imagenet_val: null
nsys_profile:
  enabled: false
  start_step: 10
  end_step: 10
  ranks:
  - 0
  gen_shape: false
optim:
  name: fused_adam
  lr: 0.001
  weight_decay: 0.2
  betas:
  - 0.9
  - 0.98
  sched:
    name: CosineAnnealing
    warmup_steps: 2000
    constant_steps: 0
    min_lr: 1.0e-05
)yaml";

}  // namespace

ConfigNode NemoClipTemplate() {
  auto config =
      Config::ParseYaml(fmt::format(kYaml, fmt::arg("layer", kLayer), fmt::arg("training", kTraining)), "template");
  return config.ok() ? std::move(config->root()) : ConfigNode::Map();
}

}  // namespace anemone
