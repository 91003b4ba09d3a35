// Facts: NeMo v2.0.0 megatron_griffin_config.yaml, megatron_griffin_model.py, megatron/griffin/griffin_model.py,
// recurrent_module.py; transformers 4.44.2 and 5.24 configuration_recurrent_gemma.py, modeling_recurrent_gemma.py.
#include "family/griffin/griffin_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/lower_case.h"
#include "config/nodes.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/config_languages.h"
#include "family/words/encoder_config.h"
#include "family/words/hf_keys.h"
#include "family/words/hf_numbers.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

constexpr std::string_view kTemplate = R"yaml(restore_from_path: null
mcore_gpt: true
micro_batch_size: 2
global_batch_size: 2
tensor_model_parallel_size: 1
pipeline_model_parallel_size: 1
virtual_pipeline_model_parallel_size: null
vocab_size: 256000
encoder_seq_length: 512
max_position_embeddings: 512
position_embedding_type: rope
rotary_percentage: 0.5
rotary_base: 10000
logits_soft_cap: 30.0
num_layers: 26
gated_linear_unit: true
window_size: null
num_query_groups: 1
attention_dropout: 0.0
hidden_dropout: 0.0
hidden_size: 2560
bias_activation_fusion: true
ffn_hidden_size: 7680
num_attention_heads: 10
transformer_block_type: pre_ln
init_method_std: 0.02
kv_channels: null
apply_query_key_layer_scaling: true
normalization: RMSNorm
layernorm_epsilon: 1.0e-06
rotary_interleaved: false
layernorm_zero_centered_gamma: true
make_vocab_size_divisible_by: 128
pre_process: true
post_process: true
megatron_legacy: false
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
activations_checkpoint_recurrent: false
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
  ceil_to_power_2: true
  get_attention_mask_from_fusion: true
  pad_to_max_length: true
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
target: nemo.collections.nlp.models.language_modeling.megatron_griffin_model.MegatronGriffinModel
nemo_version: 2.0.0
)yaml";

constexpr std::string_view kNemosGriffin = "NeMo's Griffin", kTransformers = "transformers' RecurrentGemma";

constexpr PairedKey kKeys[] = {
    {"num_layers", "null", "num_hidden_layers", "26"},
    {"hidden_size", "null", "hidden_size", "2560"},
    {"num_attention_heads", "null", "num_attention_heads", "10"},
    {"layernorm_epsilon", "1.0e-05", "rms_norm_eps", "1.0e-06"},
    {"logits_soft_cap", "30.0", "logits_soft_cap", "30.0"},
    {"attention_dropout", "0.1", "attention_dropout", "0.0"},  // of training alone
};

// Keys of one value that NeMo's layers compute.
constexpr FixedWord kFixedInJson[] = {{"conv1d_width", "4", "4"},
                                      {"tie_word_embeddings", "true", "true"},
                                      {"rope_scaling", "null", "null"},
                                      {"quantization_config", "null", "null"}};
// Keys of one value that transformers' class computes; a silent config has NeMo's.
constexpr FixedWord kFixedInNemo[] = {{"bias", "true", "true"},
                                      {"normalization", "rmsnorm", "layernorm"},
                                      {"layernorm_zero_centered_gamma", "true", "true"},
                                      {"activation", "gelu", "gelu"},
                                      {"gated_linear_unit", "true", "true"},
                                      {"openai_gelu", "false", "false"},
                                      {"bias_activation_fusion", "true", "true"},  // by tanh, as recurrent layers have
                                      {"position_embedding_type", "rope", "rope"},
                                      {"rotary_interleaved", "false", "false"}};

// Those that change nothing of what the model computes, and those that are read apart from the tables.
bool IsKnown(std::string_view key) {
  constexpr std::string_view kOthers[] = {"attention_bias",
                                          "attention_window_size",
                                          "block_types",
                                          "embeddings_scale_by_sqrt_dim",
                                          "final_w_init_variance_scale",
                                          "head_dim",
                                          "hidden_activation",
                                          "intermediate_size",
                                          "lru_width",
                                          "num_key_value_heads",
                                          "partial_rotary_factor",
                                          "rope_parameters",
                                          "rope_theta",
                                          "use_cache",
                                          "w_init_variance_scale"};
  return std::ranges::find(kOthers, key) != std::end(kOthers) || HasKey(kKeys, kFixedInJson, key);
}

// ---- config.json ----

// Errors: Unsupported for layers in another order than NeMo's.
Status CheckBlocks(const ConfigNode& json, uint64_t layers) {
  const ConfigNode& blocks = WordAt(json, "block_types");
  if (blocks.is_null()) return {};
  if (!blocks.is_list() || blocks.list.empty())
    return Corrupt(fmt::format("block_types: expected a list of recurrent and attention, found {}", Shown(blocks)));
  for (uint64_t i = 0; i < layers; ++i) {
    const std::string said = blocks.list[i % blocks.list.size()].AsString().value_or("");
    const std::string_view wanted = GriffinAttends(i) ? "attention" : "recurrent";
    if (said == wanted) continue;
    return Unsupported(
        fmt::format("block_types: expected {} in layer {}, as {} has it, found \"{}\"", wanted, i, kNemosGriffin, said),
        std::string(kWeightsAlone));
  }
  return {};
}

// A key of positions: version 5 of transformers has both in a map of their own.
ConfigNode Position(const ConfigNode& json, std::string_view key, std::string_view silent) {
  const ConfigNode& in_map = WordAt(json, fmt::format("rope_parameters.{}", key));
  return WordOr(json, key, in_map.is_null() ? ParseWord(silent) : in_map);
}
constexpr std::string_view kTheta = "rope_theta", kFactor = "partial_rotary_factor";
constexpr std::string_view kSilentTheta = "10000.0", kSilentFactor = "0.5";

Status CheckPositions(const ConfigNode& json) {
  const ConfigNode& type = WordAt(json, "rope_parameters.rope_type");
  if (type.is_null() || type.AsString() == "default") return {};
  return Unsupported(
      fmt::format("rope_parameters.rope_type: expected default, as {} has it, found {}", kNemosGriffin, Shown(type)),
      std::string(kWeightsAlone));
}

// A size that follows from others in NeMo. Errors: Unsupported where config.json says another.
Status CheckSize(const ConfigNode& json, std::string_view key, uint64_t expected) {
  const ConfigNode& said = WordAt(json, key);
  if (said.is_null() || said.AsInt() == static_cast<int64_t>(expected)) return {};
  return Unsupported(fmt::format("{}: expected {}, as {} has it, found {}", key, expected, kNemosGriffin, Shown(said)),
                     std::string(kWeightsAlone));
}

struct Sizes {
  uint64_t layers, width, heads, groups, ffn;
};

// The sizes that a config.json says, or that its class takes in their place. `intermediate_size` counts gate and up
// [RecurrentGemmaMlp].
Result<Sizes> SizesOf(const ConfigNode& json) {
  Sizes sizes{};
  ANEMONE_ASSIGN(sizes.layers, SizeOf(json, "num_hidden_layers", 26));
  ANEMONE_ASSIGN(sizes.width, SizeOf(json, "hidden_size", 2560));
  ANEMONE_ASSIGN(sizes.heads, SizeOf(json, "num_attention_heads", 10));
  ANEMONE_ASSIGN(sizes.groups, SizeOf(json, "num_key_value_heads", sizes.heads));
  ANEMONE_ASSIGN(const uint64_t both, SizeOf(json, "intermediate_size", 7680));
  if (sizes.width % sizes.heads != 0) {
    return Corrupt(
        fmt::format("num_attention_heads: expected a divisor of hidden_size {}, found {}", sizes.width, sizes.heads));
  }
  if (both < 2)
    return Corrupt(fmt::format("intermediate_size: expected the size of gate and up together, found {}", both));
  sizes.ffn = both / 2;
  ANEMONE_TRY(CheckSize(json, "lru_width", sizes.width));
  ANEMONE_TRY(CheckSize(json, "head_dim", sizes.width / sizes.heads));
  return sizes;
}

ConfigNode NewJson() {
  ConfigNode json = ParseWord(
      "{attention_bias: false, block_types: [recurrent, recurrent, attention], conv1d_width: 4, "
      "embeddings_scale_by_sqrt_dim: true, hidden_activation: gelu_pytorch_tanh, model_type: recurrent_gemma, "
      "tie_word_embeddings: true, torch_dtype: float32, transformers_version: 4.44.2, use_cache: true, "
      "w_init_variance_scale: 0.01}");
  json["architectures"] = ConfigNode::List({TextNode(kRecurrentGemmaClass)});
  return json;
}

// ---- NeMo's config ----

// Words that NeMo reads in several spellings, in one.
ConfigNode InOneSpelling(ConfigNode model) {
  const ConfigNode& norm = WordAt(model, "normalization");
  if (norm.AsString()) model["normalization"] = TextNode(LowerCase(*norm.AsString()));
  const std::string activation = WordAt(model, "activation").AsString().value_or("");
  // A key of its own says that an MLP is gated.
  if (activation == "geglu" || activation == "fast-geglu") model["activation"] = TextNode("gelu");
  return model;
}

// The tokens before its own that one attends to. Errors: Unsupported for all of them.
Result<ConfigNode> WindowOf(const ConfigNode& model) {
  const ConfigNode& window = WordAt(model, "window_size");
  const bool is_pair = window.is_list() && window.list.size() == 2;
  if (is_pair && window.list[0].AsInt().value_or(-1) > 0 && window.list[1].AsInt() == 0) return window.list[0];
  return Unsupported(
      fmt::format("window_size: expected two numbers, a window and 0, as transformers' RecurrentGemma attends, found "
                  "{}",
                  is_pair ? fmt::format("[{}, {}]", Shown(window.list[0]), Shown(window.list[1])) : Shown(window)),
      std::string(kWeightsAlone));
}

}  // namespace

bool IsGriffinJson(const ConfigNode& root) {
  const ConfigNode& names = WordAt(root, "architectures");
  if (names.is_list() && !names.list.empty()) {
    const std::string name = names.list.front().AsString().value_or("");
    return name == kRecurrentGemmaClass || name == "RecurrentGemmaModel";
  }
  return WordAt(root, "model_type").AsString() == "recurrent_gemma";
}

Result<ConfigNode> NemoGriffinConfig(const ConfigNode& config_json, DType dtype, std::vector<std::string>* notes) {
  ANEMONE_TRY(CheckHfNumbers(config_json));
  ANEMONE_TRY(CheckFixed(config_json, kFixedInJson, kNemosGriffin).Hint(kWeightsAlone));
  ANEMONE_ASSIGN(const Sizes sizes, SizesOf(config_json));
  ANEMONE_TRY(CheckBlocks(config_json, sizes.layers));
  ANEMONE_TRY(CheckPositions(config_json));
  const ConfigNode& activation = WordAt(config_json, "hidden_activation");
  if (!activation.is_null() && !IsGeluByTanh(Shown(activation))) {
    return Unsupported(fmt::format("hidden_activation: expected gelu_pytorch_tanh, as {} computes, found {}",
                                   kNemosGriffin, Shown(activation)),
                       std::string(kWeightsAlone));
  }
  ConfigNode to = Config::ParseYaml(kTemplate, "NeMo's configuration of a Griffin")->root();
  ANEMONE_TRY(SetNemoKeys(kKeys, config_json, &to));
  to["ffn_hidden_size"] = SizeNode(sizes.ffn);
  to["num_query_groups"] = SizeNode(sizes.groups);
  const ConfigNode window = WordOr(config_json, "attention_window_size", ConfigNode::Int(2048));
  if (window.AsInt().value_or(0) < 1)
    return Corrupt(fmt::format("attention_window_size: expected a number above 0, found {}", Shown(window)));
  to["window_size"] = ConfigNode::List({window, ConfigNode::Int(0)});
  const std::pair<std::string_view, ConfigNode> positions[] = {
      {"rotary_base", Position(config_json, kTheta, kSilentTheta)},
      {"rotary_percentage", Position(config_json, kFactor, kSilentFactor)}};
  for (const auto& [key, value] : positions) {
    ANEMONE_TRY(CheckNumber(key == "rotary_base" ? kTheta : kFactor, value));
    to[key] = NumberWord(*value.AsDouble());
  }
  SetPrecision(dtype, &to);
  if (notes != nullptr) internal::NoteUnknownKeys(config_json, IsKnown, notes);
  return to;
}

Result<ConfigNode> HfGriffinConfig(const ConfigNode& given, const HfGriffinRequest& request) {
  const ConfigNode model = InOneSpelling(given);
  ANEMONE_TRY(CheckFixed(model, kFixedInNemo, kTransformers).Hint(kWeightsAlone));
  ANEMONE_TRY(CheckHeadsFillWidth(model, kTransformers));
  ANEMONE_ASSIGN(const ConfigNode window, WindowOf(model));
  ANEMONE_ASSIGN(const uint64_t width, SizeOf(model, "hidden_size"));
  ANEMONE_ASSIGN(const uint64_t heads, SizeOf(model, "num_attention_heads"));
  ANEMONE_ASSIGN(const uint64_t groups, SizeOf(model, "num_query_groups", heads));
  ANEMONE_ASSIGN(const uint64_t ffn, SizeOf(model, "ffn_hidden_size"));
  const bool is_kept = request.kept != nullptr;
  ConfigNode json = is_kept ? *request.kept : NewJson();
  ANEMONE_TRY(SetHfKeys(kKeys, model, is_kept, &json));
  const auto set = [&](std::string_view key, const ConfigNode& said, ConfigNode value) {
    if (!is_kept || !SameConfig(said, value)) json[key] = std::move(value);
  };
  const auto size = [&](std::string_view key, uint64_t silent, uint64_t value) {
    set(key, WordOr(json, key, SizeNode(silent)), SizeNode(value));
  };
  size("intermediate_size", 7680, 2 * ffn);
  size("num_key_value_heads", heads, groups);
  size("lru_width", width, width);
  size("head_dim", width / heads, width / heads);
  set("attention_window_size", WordOr(json, "attention_window_size", ConfigNode::Int(2048)), window);
  const bool said_bias = WordAt(json, "attention_bias").AsBool().value_or(false);
  set("attention_bias", ConfigNode::Bool(said_bias), ConfigNode::Bool(request.qkv_bias || said_bias));
  const std::pair<std::string_view, ConfigNode> positions[] = {
      {kTheta, WordOr(model, "rotary_base", ParseWord(kSilentTheta))},
      {kFactor, WordOr(model, "rotary_percentage", ParseWord(kSilentFactor))}};
  for (const auto& [key, value] : positions) {
    ANEMONE_TRY(CheckNumber(key == kTheta ? "rotary_base" : "rotary_percentage", value));
    const ConfigNode said = Position(json, key, key == kTheta ? kSilentTheta : kSilentFactor);
    if (is_kept && SameConfig(said, value)) continue;
    ConfigNode* const in_map = json.Get("rope_parameters");
    (in_map != nullptr && in_map->is_map() ? *in_map : json)[key] = ConfigNode::Float(*value.AsDouble());
  }
  return FinishedHuggingFaceJson(std::move(json), request.rows, request.dtype, is_kept);
}

}  // namespace anemone
