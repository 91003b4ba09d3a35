// Facts: transformers 4.44.2 and 5.24 configuration_t5.py, modeling_t5.py, configuration_mt5.py; NeMo v2.0.0
// megatron_t5_config.yaml, token_level_encoder_decoder.py, transformer.py; NeMo's hf_t5-v1_1_to_nemo.py and
// hf_t5v1_1_base_config.yaml.
#include "family/words/t5_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "config/nodes.h"
#include "family/words/config_languages.h"
#include "family/words/encoder_config.h"
#include "family/words/hf_keys.h"
#include "family/words/hf_numbers.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

// Of an encoder and of a decoder alike.
constexpr std::string_view kTower = R"yaml(num_layers: null
hidden_size: null
ffn_hidden_size: null
num_attention_heads: null
init_method_std: 0.02
hidden_dropout: 0.1
attention_dropout: 0.1
ffn_dropout: 0.1
position_embedding_type: relative
relative_attention_num_buckets: 32
relative_attention_max_distance: 128
relative_position_bias_self_attention_only: true
kv_channels: null
apply_query_key_layer_scaling: false
layernorm_epsilon: 1.0e-06
persist_layer_norm: true
bias_activation_fusion: false
grad_div_ar_fusion: true
masked_softmax_fusion: false
bias_dropout_add_fusion: false
bias: false
normalization: rmsnorm
arch: transformer
activation: geglu
headscale: false
transformer_block_type: pre_ln
hidden_steps: 32
num_self_attention_per_cross_attention: 1
openai_gelu: true
onnx_safe: false
fp32_residual_connection: false
activations_checkpoint_method: null
activations_checkpoint_num_layers: 1
megatron_legacy: true
normalize_attention_scores: false
)yaml";

constexpr std::string_view kWhole = R"yaml(encoder: null
decoder: null
micro_batch_size: 4
global_batch_size: 8
tensor_model_parallel_size: 1
pipeline_model_parallel_size: 1
resume_from_checkpoint: null
pipeline_model_parallel_split_rank: 0
make_vocab_size_divisible_by: 128
megatron_amp_O2: false
grad_allreduce_chunk_size_mb: 125
grad_div_ar_fusion: true
gradient_as_bucket_view: true
seq_length: 512
max_position_embeddings: 512
tokenizer: null
embedding_init_method_std: 0.02
embedding_dropout: 0.1
share_token_embeddings: true
share_decoder_tokens_head_embeddings: false
tokens_head_bias: false
native_amp_init_scale: 4294967296
native_amp_growth_interval: 1000
fp16_lm_cross_entropy: false
seed: 1234
use_cpu_initialization: false
apex_transformer_log_level: 30
data:
  data_prefix: null
  index_mapping_dir: null
  data_impl: mmap
  splits_string: 949,45,5
  seq_length: 512
  seq_length_dec: 128
  skip_warmup: true
  num_workers: 0
  dataloader_type: single
  masked_lm_prob: 0.15
  dataset_type: t5
  short_seq_prob: 0.0
  max_ngram_size: 10
  mean_ngram_size: null
  geometric_dist: true
  permutation: false
  whole_word_masking: false
  favor_longer_ngrams: false
optim:
  name: fused_adam
  lr: 0.0001
  betas:
  - 0.9
  - 0.999
  eps: 1.0e-08
  weight_decay: 0.01
  sched:
    name: WarmupAnnealing
    min_lr: 1.0e-05
    last_epoch: -1
    warmup_ratio: 0.01
precision: 32
target: nemo.collections.nlp.models.language_modeling.megatron_t5_model.MegatronT5Model
nemo_version: 2.0.0
)yaml";

// The values that each class takes where config.json is silent. Both compute the same.
struct T5Class {
  std::string_view name, model_type;
  std::string_view silent;
  bool ties;  // version 4
};
constexpr T5Class kClasses[] = {
    {"T5ForConditionalGeneration", "t5",
     "{d_model: 512, d_ff: 2048, d_kv: 64, num_heads: 8, num_layers: 6, relative_attention_num_buckets: 32, "
     "relative_attention_max_distance: 128, layer_norm_epsilon: 1.0e-06, dropout_rate: 0.1, feed_forward_proj: relu}",
     true},
    {kMt5Class, "mt5",
     "{d_model: 512, d_ff: 1024, d_kv: 64, num_heads: 6, num_layers: 8, relative_attention_num_buckets: 32, "
     "relative_attention_max_distance: 128, layer_norm_epsilon: 1.0e-06, dropout_rate: 0.1, feed_forward_proj: "
     "gated-gelu}",
     false},
};
const T5Class& ClassOf(const ConfigNode& json) {
  return WordAt(json, "model_type").AsString() == "mt5" ? kClasses[1] : kClasses[0];
}

// The same value on both sides, of encoder and decoder alike.
struct Key {
  std::string_view nemo, hf;
};
constexpr Key kKeys[] = {
    {"hidden_size", "d_model"},
    {"ffn_hidden_size", "d_ff"},
    {"kv_channels", "d_kv"},
    {"num_attention_heads", "num_heads"},
    {"relative_attention_num_buckets", "relative_attention_num_buckets"},
    {"relative_attention_max_distance", "relative_attention_max_distance"},
    {"layernorm_epsilon", "layer_norm_epsilon"},
};

// The MLP: transformers' name and the activation that it stands for, NeMo's, and whether its GELU is by tanh. The first
// of several names is written.
struct Mlp {
  std::string_view hf, act, nemo;
  bool by_tanh;
};
constexpr Mlp kMlps[] = {{"gated-gelu", "gelu_new", "geglu", true},
                         {"gated-gelu_new", "gelu_new", "geglu", true},
                         {"gated-silu", "silu", "swiglu", false},
                         {"gated-relu", "relu", "reglu", false}};
const Mlp* FindMlp(std::string_view proj) {
  const auto* found = std::ranges::find(kMlps, proj, &Mlp::hf);
  return found == std::end(kMlps) ? nullptr : found;
}

// Keys of one value that transformers' T5 computes; a silent config has NeMo's.
constexpr std::string_view kWho = "transformers' T5";
constexpr FixedWord kFixedInTower[] = {{"position_embedding_type", "relative", "learned_absolute"},
                                       {"relative_position_bias_self_attention_only", "true", "true"},
                                       {"normalization", "rmsnorm", "layernorm"},
                                       {"bias", "false", "true"},
                                       {"normalize_attention_scores", "false", "true"},
                                       {"transformer_block_type", "pre_ln", "pre_ln"},
                                       {"headscale", "false", "false"},
                                       {"arch", "transformer", "transformer"}};
// Of config.json.
constexpr FixedWord kFixedInJson[] = {
    {"attention_chunk_size", "null", "null"}, {"is_causal", "true", "true"}, {"is_encoder_decoder", "true", "true"},
    {"layer_types", "null", "null"},          {"pruned_heads", "{}", "{}"},  {"quantization_config", "null", "null"},
    {"sliding_window", "null", "null"}};
constexpr FixedWord kFixedInWhole[] = {{"share_token_embeddings", "true", "true"},
                                       {"tokens_head_bias", "false", "true"}};

// The value that the class of a config.json takes for a key.
ConfigNode ValueAt(const ConfigNode& json, std::string_view key) {
  const ConfigNode& value = WordAt(json, key);
  return value.is_null() ? WordAt(ParseWord(ClassOf(json).silent), key) : value;
}

// The first T5 scales what its decoder gives by its width; version 5 of transformers says so in a key of its own.
bool ScalesOutputs(const ConfigNode& json) {
  if (const auto says = WordAt(json, "scale_decoder_outputs").AsBool()) return *says;
  if (IsOfTransformers5(json) && WordAt(json, "model_type").AsString() == "mt5") return false;
  return WordAt(json, "tie_word_embeddings").AsBool().value_or(ClassOf(json).ties);
}

bool IsKnown(std::string_view key) {
  constexpr std::string_view kOthers[] = {
      "dense_act_fn", "dropout_rate",        "feed_forward_proj",     "initializer_factor",
      "is_gated_act", "n_positions",         "num_decoder_layers",    "num_layers",
      "output_past",  "tie_word_embeddings", "scale_decoder_outputs", "use_cache"};
  return std::ranges::find(kOthers, key) != std::end(kOthers) ||
         std::ranges::find(kKeys, key, &Key::hf) != std::end(kKeys) ||
         std::ranges::find(kFixedInJson, key, &FixedWord::key) != std::end(kFixedInJson);
}

ConfigNode NewJson(bool is_mt5) {
  ConfigNode json = ParseWord(
      "{classifier_dropout: 0.0, decoder_start_token_id: 0, eos_token_id: 1, initializer_factor: 1.0, "
      "is_encoder_decoder: true, pad_token_id: 0, tie_word_embeddings: false, torch_dtype: float32, use_cache: true}");
  const T5Class& its_class = kClasses[is_mt5 ? 1 : 0];
  json["transformers_version"] = TextNode("4.44.2");
  json["model_type"] = TextNode(its_class.model_type);
  json["architectures"] = ConfigNode::List({TextNode(its_class.name)});
  return json;
}

// What encoder and decoder say alike. Errors: Unsupported naming the key in which they differ.
Result<ConfigNode> SharedTower(const ConfigNode& model) {
  const ConfigNode& encoder = WordAt(model, "encoder").is_map() ? WordAt(model, "encoder") : model;
  const ConfigNode& decoder = WordAt(model, "decoder").is_map() ? WordAt(model, "decoder") : model;
  for (const auto& [name, tower] : {std::pair{"encoder", &encoder}, {"decoder", &decoder}}) {
    const Status status = CheckFixed(*tower, kFixedInTower, kWho).Hint(kWeightsAlone);
    if (!status.ok()) return status.In(name);
  }
  const auto check = [&](std::string_view key) -> Status {
    if (SameConfig(WordAt(encoder, key), WordAt(decoder, key))) return {};
    return Unsupported(
        fmt::format("{}: expected the same of encoder and decoder, as transformers' T5 has it, found {} and {}", key,
                    WordAt(encoder, key).ScalarText(), WordAt(decoder, key).ScalarText()));
  };
  for (const Key& key : kKeys) ANEMONE_TRY(check(key.nemo));
  for (const char* key : {"activation", "openai_gelu"}) ANEMONE_TRY(check(key));
  return encoder;
}

}  // namespace

bool IsT5Json(const ConfigNode& root) {
  const ConfigNode& names = WordAt(root, "architectures");
  if (names.is_list() && !names.list.empty()) {
    const std::string name = names.list.front().AsString().value_or("");
    return std::ranges::find(kClasses, name, &T5Class::name) != std::end(kClasses) || name == "T5WithLMHeadModel";
  }
  const std::string type = WordAt(root, "model_type").AsString().value_or("");
  return type == "t5" || type == "mt5";
}

Result<ConfigNode> NemoT5Config(const ConfigNode& config_json, bool shares_head, DType dtype,
                                std::vector<std::string>* notes) {
  ANEMONE_TRY(CheckHfNumbers(config_json));
  ANEMONE_TRY(CheckFixed(config_json, kFixedInJson, "NeMo's T5").Hint(kWeightsAlone));
  if (ScalesOutputs(config_json)) {
    return Unsupported(
        "tie_word_embeddings: expected false, found true: a T5 that scales what its decoder gives has no "
        "place in NeMo",
        "T5 v1.1, flan-T5, mT5 and UL2 have it apart");
  }
  const std::string proj = ValueAt(config_json, "feed_forward_proj").ScalarText();
  const Mlp* mlp = FindMlp(proj);
  if (mlp == nullptr) {
    return Unsupported(fmt::format(
        "feed_forward_proj: expected gated-gelu, gated-silu or gated-relu, as NeMo has it, found {}", proj));
  }
  // transformers lets these say otherwise.
  const FixedWord said[] = {{"dense_act_fn", mlp->act, mlp->act}, {"is_gated_act", "true", "true"}};
  ANEMONE_TRY(CheckFixed(config_json, said, fmt::format("a T5 of {}", proj)).Hint(kWeightsAlone));
  ConfigNode tower = Config::ParseYaml(std::string(kTower), "NeMo's configuration of a T5")->root();
  for (const Key& key : kKeys) {
    ConfigNode& node = tower[std::string(key.nemo)] = ValueAt(config_json, key.hf);
    ANEMONE_TRY(CheckNumber(key.hf, node));
    if (node.kind == ConfigNode::Kind::kFloat) node.text.clear();  // YAML 1.1 reads JSON's 1e-06 as a text
  }
  const ConfigNode dropout = ValueAt(config_json, "dropout_rate");
  for (const char* key : {"hidden_dropout", "attention_dropout", "ffn_dropout"}) tower[key] = dropout;
  tower["activation"] = TextNode(mlp->nemo);
  tower["openai_gelu"] = ConfigNode::Bool(mlp->by_tanh);
  ConfigNode to = Config::ParseYaml(std::string(kWhole), "NeMo's configuration of a T5")->root();
  const ConfigNode layers = ValueAt(config_json, "num_layers");
  tower["num_layers"] = layers;
  to["encoder"] = tower;
  const ConfigNode& decoder_layers = WordAt(config_json, "num_decoder_layers");
  tower["num_layers"] = decoder_layers.is_null() ? layers : decoder_layers;
  to["decoder"] = tower;
  to["share_decoder_tokens_head_embeddings"] = ConfigNode::Bool(shares_head);
  SetPrecision(dtype, &to);
  if (notes != nullptr) internal::NoteUnknownKeys(config_json, IsKnown, notes);
  return to;
}

Result<ConfigNode> HfT5Config(const ConfigNode& model, const HfT5Request& request) {
  ANEMONE_TRY(CheckFixed(model, kFixedInWhole, kWho).Hint(kWeightsAlone));
  ANEMONE_ASSIGN(const ConfigNode tower, SharedTower(model));
  std::string activation = WordAt(tower, "activation").AsString().value_or("gelu");
  if (activation.starts_with("fast-")) activation = activation.substr(5);
  const bool by_tanh = WordAt(tower, "openai_gelu").AsBool().value_or(false);
  const auto is_ours = [&](const Mlp& row) {
    return row.nemo == activation && (row.by_tanh == by_tanh || activation != "geglu");
  };
  const auto* mlp = std::ranges::find_if(kMlps, is_ours);
  if (mlp == std::end(kMlps)) {
    return Unsupported(fmt::format("activation: expected geglu by tanh, swiglu or reglu, as transformers' T5 computes, "
                                   "found {}",
                                   activation),
                       std::string(kWeightsAlone));
  }
  const bool is_kept = request.kept != nullptr;
  ConfigNode json = is_kept ? *request.kept : NewJson(request.is_mt5);
  const auto set = [&](std::string_view key, const ConfigNode& said, ConfigNode value) {
    if (is_kept && SameConfig(said, value)) return;
    if (value.kind == ConfigNode::Kind::kFloat) value.text.clear();  // YAML's spelling
    json[std::string(key)] = std::move(value);
  };
  for (const Key& key : kKeys) {
    ConfigNode value = WordAt(tower, key.nemo);
    if (key.nemo == "kv_channels" && value.is_null()) {
      const auto width = WordAt(tower, "hidden_size").AsInt(), heads = WordAt(tower, "num_attention_heads").AsInt();
      if (width && heads && *heads > 0) value = ConfigNode::Int(*width / *heads);
    }
    if (value.is_null()) value = key.nemo == "layernorm_epsilon" ? ParseWord("1.0e-05") : ValueAt({}, key.hf);
    set(key.hf, ValueAt(json, key.hf), std::move(value));
  }
  const auto layers = [&](std::string_view name) {
    const ConfigNode& own = WordAt(model, fmt::format("{}.num_layers", name));
    return own.is_null() ? WordAt(model, "num_layers") : own;
  };
  set("num_layers", ValueAt(json, "num_layers"), layers("encoder"));
  const ConfigNode& decoder_layers = WordAt(json, "num_decoder_layers");
  set("num_decoder_layers", decoder_layers.is_null() ? ValueAt(json, "num_layers") : decoder_layers, layers("decoder"));
  const ConfigNode& dropout = WordAt(tower, "hidden_dropout");
  set("dropout_rate", ValueAt(json, "dropout_rate"), dropout.is_null() ? ParseWord("0.1") : dropout);
  const Mlp* said = FindMlp(ValueAt(json, "feed_forward_proj").ScalarText());
  if (!is_kept || said == nullptr || !is_ours(*said)) json["feed_forward_proj"] = TextNode(mlp->hf);
  return FinishedHuggingFaceJson(std::move(json), request.rows, request.dtype, is_kept);
}

}  // namespace anemone
