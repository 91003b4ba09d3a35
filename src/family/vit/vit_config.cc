// Facts: transformers 4.44.2 and 5.24 configuration_vit.py, modeling_vit.py; NeMo v2.0.0
// megatron_vit_classification_config.yaml, megatron_vit_classification_models.py, vit_backbone.py; a file that NeMo
// wrote (tests/golden).
#include "family/vit/vit_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "config/nodes.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/config_languages.h"
#include "family/words/encoder_config.h"
#include "family/words/hf_keys.h"
#include "family/words/hf_numbers.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

constexpr std::string_view kTemplate = R"yaml(precision: 32
micro_batch_size: 1
global_batch_size: 1
tensor_model_parallel_size: 1
pipeline_model_parallel_size: 1
virtual_pipeline_model_parallel_size: null
restore_from_path: null
vision_pretraining_type: classify
finetune: true
num_classes: 1000
class_token_length: 1
patch_dim: 16
img_h: 224
img_w: 224
classes_fraction: 1.0
data_per_class_fraction: 1.0
num_channels: 3
drop_path_rate: 0.0
encoder_seq_length: 196
max_position_embeddings: 196
num_layers: 12
hidden_size: 768
ffn_hidden_size: 3072
num_attention_heads: 12
init_method_std: 0.02
use_scaled_init_method: true
hidden_dropout: 0.0
attention_dropout: 0.0
kv_channels: null
apply_query_key_layer_scaling: true
normalization: layernorm
layernorm_epsilon: 1.0e-12
do_layer_norm_weight_decay: false
pre_process: true
post_process: true
persist_layer_norm: true
native_amp_init_scale: 4294967296
native_amp_growth_interval: 1000
hysteresis: 2
fp32_residual_connection: false
fp16_lm_cross_entropy: false
megatron_amp_O2: false
grad_allreduce_chunk_size_mb: 125
grad_div_ar_fusion: true
masked_softmax_fusion: true
bias_dropout_add_fusion: true
seed: 1234
resume_from_checkpoint: null
use_cpu_initialization: false
onnx_safe: false
apex_transformer_log_level: 30
gradient_as_bucket_view: true
gradient_accumulation_fusion: false
openai_gelu: false
bias_activation_fusion: false
megatron_legacy: false
activations_checkpoint_granularity: null
activations_checkpoint_method: null
activations_checkpoint_num_layers: null
sequence_parallel: false
data:
  data_path: null
  num_workers: 2
  dataloader_type: cyclic
  validation_drop_last: true
  data_sharding: false
optim:
  name: fused_adam
  lr: 0.0005
  weight_decay: 0.1
  betas:
  - 0.9
  - 0.999
  sched:
    name: CosineAnnealing
    warmup_steps: 10000
    constant_steps: 0
    min_lr: 1.0e-05
target: nemo.collections.vision.models.megatron_vit_classification_models.MegatronVitClassificationModel
nemo_version: 2.0.0
)yaml";

constexpr PairedKey kKeys[] = {
    {"num_layers", "null", "num_hidden_layers", "12"},
    {"hidden_size", "null", "hidden_size", "768"},
    {"ffn_hidden_size", "null", "intermediate_size", "3072"},
    {"num_attention_heads", "null", "num_attention_heads", "12"},
    {"patch_dim", "null", "patch_size", "16"},
    {"num_channels", "null", "num_channels", "3"},
    {"layernorm_epsilon", "null", "layer_norm_eps", "1.0e-12"},
    // Of training alone.
    {"init_method_std", "null", "initializer_range", "0.02"},
    {"hidden_dropout", "null", "hidden_dropout_prob", "0.0"},
    {"attention_dropout", "null", "attention_probs_dropout_prob", "0.0"},
};

// Keys of one value that both sides compute.
constexpr FixedWord kFixedInJson[] = {{"model_type", "vit", "vit"},
                                      {"qkv_bias", "true", "true"},
                                      {"chunk_size_feed_forward", "0", "0"},
                                      {"quantization_config", "null", "null"}};
constexpr FixedWord kFixedInNemo[] = {{"finetune", "true", "false"},
                                      {"class_token_length", "1", "8"},
                                      {"preprocess_layernorm", "false", "false"},
                                      {"layerscale", "false", "false"},
                                      {"normalization", "layernorm", "layernorm"},
                                      {"activation", "gelu", "gelu"},
                                      {"onnx_safe", "false", "false"},
                                      {"num_query_groups", "null", "null"}};

bool IsKnown(std::string_view key) {
  // `pooler_…` is of models that do not classify, `encoder_stride` of those that draw.
  constexpr std::string_view kOthers[] = {"encoder_stride", "hidden_act", "image_size", "problem_type"};
  return key.starts_with("pooler_") || std::ranges::find(kOthers, key) != std::end(kOthers) ||
         HasKey(kKeys, kFixedInJson, key);
}

// A number, or one for height and one for width.
struct Extent {
  int64_t height = 0, width = 0;
  bool operator==(const Extent&) const = default;
};
Result<Extent> ExtentAt(const ConfigNode& json, std::string_view key, int64_t silent) {
  const ConfigNode& value = WordAt(json, key);
  if (value.is_null()) return Extent{silent, silent};
  const bool is_pair = value.is_list() && value.list.size() == 2;
  const auto height = is_pair ? value.list[0].AsInt() : value.AsInt();
  const auto width = is_pair ? value.list[1].AsInt() : value.AsInt();
  if (height.value_or(0) > 0 && width.value_or(0) > 0) return Extent{*height, *width};
  return Corrupt(fmt::format("{}: expected a size or two, found {}", key, Shown(value)));
}

int64_t LabelsIn(const ConfigNode& json) {
  constexpr int64_t kSilent = 2;  // [transformers configuration_utils.py, num_labels]
  const ConfigNode& names = WordAt(json, "id2label");
  if (names.is_map()) return static_cast<int64_t>(names.map.size());
  return WordAt(json, "num_labels").AsInt().value_or(kSilent);
}

void SetLabels(int64_t count, ConfigNode* json) {
  ConfigNode names = ConfigNode::Map(), numbers = ConfigNode::Map();
  for (int64_t i = 0; i < count; ++i) {
    const std::string name = fmt::format("LABEL_{}", i);
    names[std::to_string(i)] = ConfigNode::String(name);
    numbers[name] = ConfigNode::Int(i);
  }
  (*json)["id2label"] = std::move(names);
  (*json)["label2id"] = std::move(numbers);
  json->Erase("num_labels");
}

// NeMo's GELU is by tanh where it is fused with its bias, or asked for as OpenAI's
// [NeMo v2.0.0 megatron/mlp.py; fused_bias_gelu.py].
bool IsByTanh(const ConfigNode& model) {
  return internal::IsTrue(WordAt(model, "openai_gelu")) || internal::IsTrue(WordAt(model, "bias_activation_fusion"));
}
ConfigNode NewJson() {
  ConfigNode json =
      ParseWord("{encoder_stride: 16, hidden_act: gelu, model_type: vit, qkv_bias: true, torch_dtype: float32}");
  json["transformers_version"] = TextNode("4.44.2");
  json["architectures"] = ConfigNode::List({TextNode("ViTForImageClassification")});
  return json;
}

}  // namespace

bool IsVitJson(const ConfigNode& root) {
  const ConfigNode& names = WordAt(root, "architectures");
  if (names.is_list() && !names.list.empty())
    return names.list.front().AsString().value_or("") == "ViTForImageClassification";
  return WordAt(root, "model_type").AsString() == "vit";
}

Result<ConfigNode> NemoVitConfig(const ConfigNode& config_json, DType dtype, std::vector<std::string>* notes) {
  ANEMONE_TRY(CheckHfNumbers(config_json));
  ANEMONE_TRY(CheckFixed(config_json, kFixedInJson, "NeMo").Hint(kWeightsAlone));
  ConfigNode to = Config::ParseYaml(std::string(kTemplate), "NeMo's configuration of a ViT")->root();
  ANEMONE_ASSIGN(const Extent patch, ExtentAt(config_json, "patch_size", 16));
  if (patch.height != patch.width)
    return Unsupported(
        fmt::format("patch_size: expected squares, as NeMo has them, found {} by {}", patch.height, patch.width));
  ConfigNode said = config_json;
  said["patch_size"] = ConfigNode::Int(patch.width);
  ANEMONE_TRY(SetNemoKeys(kKeys, said, &to));
  ANEMONE_ASSIGN(const Extent image, ExtentAt(config_json, "image_size", 224));
  to["img_h"] = ConfigNode::Int(image.height);
  to["img_w"] = ConfigNode::Int(image.width);
  for (const char* key : {"encoder_seq_length", "max_position_embeddings"})
    to[key] = ConfigNode::Int((image.height / patch.height) * (image.width / patch.width));
  to["num_classes"] = ConfigNode::Int(LabelsIn(config_json));
  ANEMONE_ASSIGN(const bool by_tanh, ReadGelu(config_json));
  to["openai_gelu"] = ConfigNode::Bool(by_tanh);
  SetPrecision(dtype, &to);
  if (notes != nullptr) {
    internal::NoteUnknownKeys(config_json, IsKnown, notes);
    notes->emplace_back(
        "pictures: NeMo's data sets normalize by ImageNet's mean and deviation, whatever preprocessor_config.json "
        "says");
  }
  return to;
}

Result<ConfigNode> HfVitConfig(const ConfigNode& model, const ConfigNode* kept, DType dtype) {
  ANEMONE_TRY(CheckFixed(model, kFixedInNemo, "transformers' ViT").Hint(kWeightsAlone));
  ANEMONE_TRY(CheckHeadsFillWidth(model, "transformers' ViT"));
  ConfigNode json = kept != nullptr ? *kept : NewJson();
  ANEMONE_ASSIGN(const Extent patch, ExtentAt(json, "patch_size", 16));
  const ConfigNode as_said = WordAt(json, "patch_size");
  if (!as_said.is_null()) json["patch_size"] = ConfigNode::Int(patch.width);
  ANEMONE_TRY(SetHfKeys(kKeys, model, kept != nullptr, &json));
  if (as_said.is_list() && WordAt(json, "patch_size").AsInt() == patch.height) json["patch_size"] = as_said;
  ANEMONE_ASSIGN(const uint64_t height, SizeOf(model, "img_h"));
  ANEMONE_ASSIGN(const uint64_t image_width, SizeOf(model, "img_w"));
  const Extent image{static_cast<int64_t>(height), static_cast<int64_t>(image_width)};
  ANEMONE_ASSIGN(const Extent said, ExtentAt(json, "image_size", 224));
  if (kept == nullptr || said != image) {
    json["image_size"] = image.height == image.width
                             ? ConfigNode::Int(image.width)
                             : ConfigNode::List({ConfigNode::Int(image.height), ConfigNode::Int(image.width)});
  }
  ANEMONE_ASSIGN(const uint64_t classes, SizeOf(model, "num_classes"));
  if (kept == nullptr || LabelsIn(json) != static_cast<int64_t>(classes))
    SetLabels(static_cast<int64_t>(classes), &json);
  const std::string activation = WordAt(json, "hidden_act").AsString().value_or("gelu");
  if (IsByTanh(model) != IsGeluByTanh(activation)) json["hidden_act"] = TextNode(IsByTanh(model) ? "gelu_new" : "gelu");
  SetHuggingFaceDType(json, dtype);
  ANEMONE_TRY(CheckHfNumbers(json));
  if (kept == nullptr) {
    std::ranges::sort(
        json.map, {}, [](const auto& entry) -> const auto& { return entry.first; });
  }
  return json;
}

}  // namespace anemone
