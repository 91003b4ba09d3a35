// Facts: transformers 4.44.2 configuration_bert.py, modeling_bert.py; NeMo v2.0.0 megatron_bert_config.yaml,
// megatron_bert_model.py, scripts/checkpoint_converters/convert_bert_{hf_to_nemo,nemo_to_hf}.py; files that NeMo wrote
// (tests/golden).
#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "config/nodes.h"
#include "family/bert/bert.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/config_languages.h"
#include "family/words/encoder_config.h"
#include "family/words/hf_keys.h"
#include "family/words/hf_numbers.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

constexpr std::string_view kTemplate = R"yaml(mcore_bert: true
micro_batch_size: 4
global_batch_size: 8
tensor_model_parallel_size: 1
pipeline_model_parallel_size: 1
virtual_pipeline_model_parallel_size: null
encoder_seq_length: 512
max_position_embeddings: 512
position_embedding_type: learned_absolute
num_layers: 12
hidden_size: 768
ffn_hidden_size: 3072
num_attention_heads: 12
transformer_block_type: post_ln
add_pooler: true
add_lm_head: true
init_method_std: 0.02
hidden_dropout: 0.1
attention_dropout: 0.1
kv_channels: null
apply_query_key_layer_scaling: false
normalization: layernorm
layernorm_epsilon: 1.0e-12
make_vocab_size_divisible_by: 128
pre_process: true
post_process: true
bert_binary_head: true
megatron_legacy: false
bias_activation_fusion: true
bias_gelu_fusion: true
tokenizer: null
native_amp_init_scale: 4294967296
native_amp_growth_interval: 1000
fp32_residual_connection: false
fp16_lm_cross_entropy: false
megatron_amp_O2: false
grad_allreduce_chunk_size_mb: 125
grad_div_ar_fusion: false
seed: 1234
use_cpu_initialization: false
onnx_safe: false
gradient_as_bucket_view: true
activations_checkpoint_granularity: null
activations_checkpoint_method: null
activations_checkpoint_num_layers: null
num_micro_batches_with_partial_activation_checkpoints: null
activations_checkpoint_layers_per_pipeline: null
sequence_parallel: false
data:
  data_prefix:
  - 1.0
  - /path/to/data
  index_mapping_dir: null
  data_impl: mmap
  splits_string: 900,50,50
  seq_length: 512
  skip_warmup: true
  num_workers: 0
  dataloader_type: single
  reset_position_ids: false
  reset_attention_mask: false
  eod_mask_loss: false
  masked_lm_prob: 0.15
  short_seq_prob: 0.1
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
precision: 32
target: nemo.collections.nlp.models.language_modeling.megatron_bert_model.MegatronBertModel
nemo_version: 2.0.0
)yaml";

constexpr PairedKey kKeys[] = {
    {"num_layers", "null", "num_hidden_layers", "12"},
    {"hidden_size", "null", "hidden_size", "768"},
    {"ffn_hidden_size", "null", "intermediate_size", "3072"},
    {"num_attention_heads", "null", "num_attention_heads", "12"},
    {"max_position_embeddings", "null", "max_position_embeddings", "512"},
    {"layernorm_epsilon", "1.0e-05", "layer_norm_eps", "1.0e-12"},
    // Of training alone.
    {"init_method_std", "0.02", "initializer_range", "0.02"},
    {"hidden_dropout", "0.1", "hidden_dropout_prob", "0.1"},
    {"attention_dropout", "0.1", "attention_probs_dropout_prob", "0.1"},
};

// Keys of one value that both sides compute.
constexpr FixedWord kFixedInJson[] = {
    {"model_type", "bert", "bert"},   {"position_embedding_type", "absolute", "absolute"},
    {"is_decoder", "false", "false"}, {"add_cross_attention", "false", "false"},
    {"type_vocab_size", "2", "2"},    {"chunk_size_feed_forward", "0", "0"},
    {"pruned_heads", "{}", "{}"},     {"quantization_config", "null", "null"}};
constexpr FixedWord kFixedInNemo[] = {{"transformer_block_type", "post_ln", "pre_ln"},
                                      {"normalization", "layernorm", "layernorm"},
                                      {"position_embedding_type", "learned_absolute", "learned_absolute"},
                                      {"bias", "true", "true"},
                                      {"activation", "gelu", "gelu"},
                                      {"num_query_groups", "null", "null"},
                                      {"window_size", "null", "null"},
                                      {"layernorm_zero_centered_gamma", "false", "false"},
                                      {"headscale", "false", "false"},
                                      {"normalize_attention_scores", "true", "true"}};

bool IsKnown(std::string_view key) {
  // `directionality` and `pooler_…` are in old files, and nothing reads them.
  constexpr std::string_view kOthers[] = {"directionality", "hidden_act", "output_past", "tie_word_embeddings",
                                          "use_cache"};
  return key.starts_with("pooler_") || std::ranges::find(kOthers, key) != std::end(kOthers) ||
         HasKey(kKeys, kFixedInJson, key);
}

// gelu by tanh, where it is fused with its bias [megatron/core/fusions/fused_bias_gelu.py]. NeMo's converter says
// nothing of it, for models that compute without; a model that NeMo trained has a head.
bool IsByTanh(const ConfigNode& model, bool has_head) {
  const std::string_view key =
      WordAt(model, "mcore_bert").AsBool().value_or(false) ? "bias_activation_fusion" : "bias_gelu_fusion";
  return WordAt(model, key).AsBool().value_or(has_head);
}

constexpr const char* kShared = "share_embeddings_and_output_weights";

ConfigNode NewJson(const BertHeads& heads) {
  ConfigNode json = ParseWord(
      "{classifier_dropout: null, hidden_act: gelu, model_type: bert, pad_token_id: 0, position_embedding_type: "
      "absolute, torch_dtype: float32, type_vocab_size: 2, use_cache: true}");
  json["transformers_version"] = TextNode("4.44.2");
  json["architectures"] = ConfigNode::List({TextNode(heads.lm ? heads.binary ? "BertForPreTraining" : "BertForMaskedLM"
                                                     : heads.binary ? "BertForNextSentencePrediction"
                                                                    : "BertModel")});
  return json;
}

}  // namespace

bool IsBertJson(const ConfigNode& root) {
  constexpr std::string_view kClasses[] = {"BertModel", "BertForMaskedLM", "BertForPreTraining",
                                           "BertForNextSentencePrediction"};
  const ConfigNode& names = WordAt(root, "architectures");
  if (names.is_list() && !names.list.empty()) {
    const std::string name = names.list.front().AsString().value_or("");
    return std::find(std::begin(kClasses), std::end(kClasses), name) != std::end(kClasses);
  }
  return WordAt(root, "model_type").AsString() == "bert";
}

Result<ConfigNode> NemoBertConfig(const ConfigNode& config_json, DType dtype, std::vector<std::string>* notes) {
  ANEMONE_TRY(CheckHfNumbers(config_json));
  ANEMONE_TRY(CheckPaddingRow(config_json));
  ANEMONE_TRY(CheckFixed(config_json, kFixedInJson, "NeMo").Hint(kWeightsAlone));
  ConfigNode to = Config::ParseYaml(std::string(kTemplate), "NeMo's configuration of a BERT")->root();
  ANEMONE_TRY(SetNemoKeys(kKeys, config_json, &to));
  to["encoder_seq_length"] = to["max_position_embeddings"];
  to["data"]["seq_length"] = to["max_position_embeddings"];
  ANEMONE_ASSIGN(const bool by_tanh, ReadGelu(config_json));
  for (const char* key : {"bias_activation_fusion", "bias_gelu_fusion"}) to[key] = ConfigNode::Bool(by_tanh);
  if (WordAt(config_json, "tie_word_embeddings").AsBool() == false) to[kShared] = ConfigNode::Bool(false);
  SetPrecision(dtype, &to);
  if (notes != nullptr) internal::NoteUnknownKeys(config_json, IsKnown, notes);
  return to;
}

Result<ConfigNode> HfBertConfig(const ConfigNode& model, const ConfigNode* kept, const BertHeads& heads, uint64_t rows,
                                DType dtype) {
  ANEMONE_TRY(CheckFixed(model, kFixedInNemo, "transformers' BERT").Hint(kWeightsAlone));
  ANEMONE_TRY(CheckHeadsFillWidth(model, "transformers' BERT"));
  ConfigNode json = kept != nullptr ? *kept : NewJson(heads);
  ANEMONE_TRY(SetHfKeys(kKeys, model, kept != nullptr, &json));
  const std::string activation = WordAt(json, "hidden_act").AsString().value_or("gelu");
  const bool was_by_tanh = activation != "gelu", by_tanh = IsByTanh(model, heads.lm);
  if (by_tanh != was_by_tanh) json["hidden_act"] = TextNode(by_tanh ? "gelu_new" : "gelu");
  const bool ties = WordAt(model, kShared).AsBool().value_or(true);
  if (WordAt(json, "tie_word_embeddings").AsBool().value_or(true) != ties)
    json["tie_word_embeddings"] = ConfigNode::Bool(ties);
  ANEMONE_ASSIGN(json, FinishedHuggingFaceJson(std::move(json), rows, dtype, kept != nullptr));
  ANEMONE_TRY(CheckPaddingRow(json));
  return json;
}

}  // namespace anemone
