// Facts: transformers 5.24 configuration_nemotron_h.py, modeling_nemotron_h.py, configuration_mamba2.py,
// modeling_mamba2.py; the code beside nvidia's published Nemotron-H; state-spaces' mamba_ssm 2.2
// models/config_mamba.py, mixer_seq_simple.py, modules/mamba2.py; Megatron-LM core_v0.14.0 mamba_mixer.py.
#include "family/mamba/mamba_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <utility>

#include "base/rounding.h"
#include "config/nodes.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/config_languages.h"
#include "family/words/encoder_config.h"
#include "family/words/hf_keys.h"
#include "family/words/hf_numbers.h"
#include "family/words/model_words.h"
#include "family/words/nemo2_ssm.h"

namespace anemone {
namespace {

// ---- keys ----

constexpr PairedKey kNemotronKeys[] = {
    {"hidden_size", "null", "hidden_size", "4096"},
    {"ffn_hidden_size", "null", "intermediate_size", "21504"},
    {"num_attention_heads", "null", "num_attention_heads", "32"},
    {"num_query_groups", "null", "num_key_value_heads", "8"},
    {"kv_channels", "null", "head_dim", "128"},
    {"mamba_state_dim", "128", "ssm_state_size", "128"},
    {"mamba_num_heads", "null", "mamba_num_heads", "128"},
    {"mamba_head_dim", "64", "mamba_head_dim", "64"},
    {"mamba_num_groups", "8", "n_groups", "8"},
    {"layernorm_epsilon", "1.0e-05", "layer_norm_epsilon", "1.0e-05"},
    {"encoder_seq_length", "8192", "max_position_embeddings", "4096"},
    // Of training alone.
    {"init_method_std", "0.02", "initializer_range", "0.02"},
    {"hidden_dropout", "0.0", "hidden_dropout", "0.0"},
    {"attention_dropout", "0.0", "attention_dropout", "0.0"},
};
constexpr PairedKey kMamba2Keys[] = {
    {"hidden_size", "null", "hidden_size", "4096"},
    {"num_layers", "null", "num_hidden_layers", "64"},
    {"mamba_state_dim", "128", "state_size", "128"},
    {"mamba_num_heads", "null", "num_heads", "128"},
    {"mamba_head_dim", "64", "head_dim", "64"},
    {"mamba_num_groups", "8", "n_groups", "8"},
    {"layernorm_epsilon", "1.0e-05", "layer_norm_epsilon", "1.0e-05"},
    {"init_method_std", "0.02", "initializer_range", "0.1"},
};

// Keys of one value that Megatron's layers compute: the convolution is over four tokens, and the norm behind a mixer
// adds 1e-5, whatever a config says.
constexpr FixedWord kFixedInNemotron[] = {{"model_type", "nemotron_h", "nemotron_h"},
                                          {"conv_kernel", "4", "4"},
                                          {"layer_norm_epsilon", "1.0e-05", "1.0e-05"},
                                          {"mamba_hidden_act", "silu", "silu"},
                                          {"use_conv_bias", "true", "true"},
                                          {"use_bias", "false", "false"},
                                          {"mlp_bias", "false", "false"},
                                          {"attention_bias", "false", "false"},
                                          {"mamba_proj_bias", "false", "false"},
                                          {"sliding_window", "null", "null"},
                                          {"num_nextn_predict_layers", "0", "0"},
                                          {"quantization_config", "null", "null"}};
constexpr FixedWord kFixedInMamba2[] = {{"model_type", "mamba2", "mamba2"},
                                        {"conv_kernel", "4", "4"},
                                        {"layer_norm_epsilon", "1.0e-05", "1.0e-05"},
                                        {"hidden_act", "silu", "silu"},
                                        {"use_conv_bias", "true", "true"},
                                        {"use_bias", "false", "false"},
                                        {"quantization_config", "null", "null"}};
constexpr FixedWord kFixedInStateSpaces[] = {{"d_intermediate", "0", "0"},
                                             {"attn_layer_idx", "[]", "[]"},
                                             {"rms_norm", "true", "true"},
                                             {"ssm_cfg.d_ssm", "null", "null"},
                                             {"ssm_cfg.rmsnorm", "true", "true"},
                                             {"ssm_cfg.norm_before_gate", "false", "false"},
                                             {"ssm_cfg.D_has_hdim", "false", "false"}};
// Of the words, where a class of transformers is to compute them.
constexpr FixedWord kFixedInWords[] = {{"normalization", "rmsnorm", "layernorm"},
                                       {"layernorm_zero_centered_gamma", "false", "false"},
                                       {"bias", "false", "true"},
                                       {"qkv_bias", "false", "false"},
                                       {"qk_layernorm", "false", "false"},
                                       {"window_size", "null", "null"},
                                       {"openai_gelu", "false", "false"},
                                       {"layernorm_epsilon", "1.0e-05", "1.0e-05"}};

// Names by which the class takes a key, too, and which then counts [configuration_nemotron_h.py, __post_init__].
struct Alias {
  std::string_view name, key;
};
constexpr Alias kAliases[] = {{"mamba_n_groups", "n_groups"},
                              {"mamba_d_conv", "conv_kernel"},
                              {"mamba_dt_limit", "time_step_limit"},
                              {"mamba_dt_min", "time_step_min"},
                              {"mamba_conv_bias", "use_conv_bias"}};

// Keys that change nothing of what the model computes: those of its first weights, of how it is run, and of a mixture
// of experts or layers that predict several tokens, which it has not. The tables' own keys are known, too.
bool IsKnown(std::string_view key) {
  constexpr std::string_view kOthers[] = {"attention_head_dim",
                                          "auto_map",
                                          "chunk_size",
                                          "expand",
                                          "hybrid_override_pattern",
                                          "intermediate_size",
                                          "layer_types",
                                          "layers_block_type",
                                          "mamba_chunk_size",
                                          "mamba_dt_init_floor",
                                          "mamba_dt_max",
                                          "mamba_expand",
                                          "mamba_ssm_cache_dtype",
                                          "mlp_hidden_act",
                                          "moe_intermediate_size",
                                          "moe_latent_size",
                                          "moe_shared_expert_intermediate_size",
                                          "moe_shared_expert_overlap",
                                          "mtp_hybrid_override_pattern",
                                          "mtp_layers_block_type",
                                          "n_group",
                                          "n_routed_experts",
                                          "n_shared_experts",
                                          "norm_topk_prob",
                                          "num_experts_per_tok",
                                          "num_hidden_layers",
                                          "num_logits_to_keep",
                                          "output_router_logits",
                                          "pad_vocab_size_multiple",
                                          "rescale_prenorm_residual",
                                          "residual_in_fp32",
                                          "routed_scaling_factor",
                                          "tie_word_embeddings",
                                          "time_step_floor",
                                          "time_step_limit",
                                          "time_step_max",
                                          "time_step_min",
                                          "time_step_rank",
                                          "topk_group",
                                          "use_cache",
                                          "use_mamba_kernels"};
  return std::ranges::find(kOthers, key) != std::end(kOthers) || HasKey(kNemotronKeys, kFixedInNemotron, key) ||
         HasKey(kMamba2Keys, kFixedInMamba2, key) ||
         std::ranges::find(kAliases, key, &Alias::name) != std::end(kAliases);
}

// The MLP's activation: transformers' name and NeMo's.
struct Mlp {
  std::string_view hf, nemo;
};
constexpr Mlp kMlps[] = {{"relu2", "squared-relu"}, {"gelu", "gelu"}};

// ---- layers ----

// transformers' names of layers. The first of several is written.
struct LayerType {
  std::string_view name;
  char letter;
};
constexpr LayerType kLayerTypes[] = {
    {"linear_attention", kMambaLayer}, {"mamba", kMambaLayer}, {"full_attention", kAttentionLayer},
    {"attention", kAttentionLayer},    {"mlp", kMlpLayer},     {"moe", kExpertsLayer}};
constexpr const char *kBlocks = "layers_block_type", *kTypes = "layer_types";

Result<std::string> PatternOfList(std::string_view key, const ConfigNode& list) {
  std::string pattern;
  for (const ConfigNode& item : list.list) {
    const auto* found = std::ranges::find(kLayerTypes, item.AsString().value_or(""), &LayerType::name);
    if (found == std::end(kLayerTypes))
      return Unsupported(
          fmt::format("{}: expected linear_attention, full_attention or mlp, found {}", key, Shown(item)));
    pattern += found->letter;
  }
  return pattern;
}

// A Nemotron-H's layers, which several keys may say.
Result<std::string> PatternOf(const ConfigNode& json) {
  std::optional<std::string> pattern;
  std::string_view first;
  const auto take = [&](std::string_view key, std::string said) -> Status {
    if (pattern && *pattern != said)
      return Corrupt(fmt::format("{}: expected the layers of {}, {}, found {}", key, first, *pattern, said));
    if (!pattern) first = key;
    pattern = std::move(said);
    return {};
  };
  for (const char* key : {kBlocks, kTypes}) {
    const ConfigNode& list = WordAt(json, key);
    if (list.is_null()) continue;
    if (!list.is_list()) return Corrupt(fmt::format("{}: expected a list, found {}", key, Shown(list)));
    ANEMONE_ASSIGN(std::string said, PatternOfList(key, list));
    ANEMONE_TRY(take(key, std::move(said)));
  }
  if (const ConfigNode& letters = WordAt(json, kLayerPattern); !letters.is_null()) {
    if (!letters.AsString())
      return Corrupt(fmt::format("{}: expected letters, found {}", kLayerPattern, Shown(letters)));
    ANEMONE_TRY(take(kLayerPattern, *letters.AsString()));
  }
  if (!pattern || pattern->empty())
    return Corrupt(fmt::format("{}: expected a letter for each layer, found none", kLayerPattern));
  ANEMONE_TRY(CheckLayerPattern(first, *pattern));
  const ConfigNode& layers = WordAt(json, "num_hidden_layers");
  if (!layers.is_null() && layers.AsInt() != static_cast<int64_t>(pattern->size())) {
    return Corrupt(fmt::format("num_hidden_layers: expected {}, the layers of {}, found {}", pattern->size(), first,
                               Shown(layers)));
  }
  return *pattern;
}

void SetPattern(const std::string& pattern, bool is_kept, ConfigNode* json) {
  if (is_kept) {
    const Result<std::string> said = PatternOf(*json);
    if (said.ok() && *said == pattern) return;
  }
  json->Erase(kBlocks);
  json->Erase(kTypes);
  (*json)[kLayerPattern] = ConfigNode::String(pattern);
  (*json)["num_hidden_layers"] = SizeNode(pattern.size());
}

// ---- time steps ----

// A number as version 5 writes one that JSON does not have.
std::optional<double> NumberOf(const ConfigNode& value) {
  const ConfigNode& name = WordAt(value, "__float__");
  if (name.AsString() == "Infinity") return HUGE_VAL;
  return value.AsDouble();
}

Status CheckTimeSteps(const ConfigNode& json) {
  const ConfigNode& limit = WordAt(json, "time_step_limit");
  if (limit.is_null()) return {};
  const bool is_pair = limit.is_list() && limit.list.size() == 2;
  if (is_pair && NumberOf(limit.list[0]) == 0.0 && NumberOf(limit.list[1]) == HUGE_VAL) return {};
  return Unsupported(
      fmt::format("time_step_limit: expected 0 and Infinity, as Megatron-core computes, found {}",
                  is_pair ? fmt::format("{} and {}", Shown(limit.list[0]), Shown(limit.list[1])) : Shown(limit)),
      std::string(kWeightsAlone));
}

// ---- reading ----

// state-spaces' config in the keys of transformers' Mamba 2 [transformers convert_mamba2_ssm_checkpoint_to_pytorch.py].
Result<ConfigNode> AsMamba2(const ConfigNode& root) {
  ANEMONE_TRY(CheckFixed(root, kFixedInStateSpaces, "NeMo 2's MambaModel").Hint(kWeightsAlone));
  ConfigNode json = ConfigNode::Map();
  const auto take = [&](const char* key, const char* theirs, const char* silent) {
    const ConfigNode& value = WordAt(root, theirs);
    json[key] = value.is_null() ? ParseWord(silent) : value;
  };
  take("hidden_size", "d_model", "2560");
  take("num_hidden_layers", "n_layer", "64");
  take("state_size", "ssm_cfg.d_state", "128");
  take("conv_kernel", "ssm_cfg.d_conv", "4");
  take("expand", "ssm_cfg.expand", "2");
  take("head_dim", "ssm_cfg.headdim", "64");
  take("n_groups", "ssm_cfg.ngroups", "1");
  take("use_bias", "ssm_cfg.bias", "false");
  take("use_conv_bias", "ssm_cfg.conv_bias", "true");
  take("hidden_act", "ssm_cfg.activation", "silu");
  take("time_step_limit", "ssm_cfg.dt_limit", "null");
  take("tie_word_embeddings", "tie_embeddings", "true");
  const auto width = json["hidden_size"].AsInt(), expand = json["expand"].AsInt(), dim = json["head_dim"].AsInt();
  constexpr int64_t kMost = int64_t{1} << 31;
  const auto is_size = [](const std::optional<int64_t>& value) { return value && *value > 0 && *value < kMost; };
  if (!is_size(width) || !is_size(expand) || !is_size(dim) || *expand * *width % *dim != 0) {
    return Corrupt(
        fmt::format("d_model, ssm_cfg: expected whole heads of headdim in expand times d_model, found {}, {} and {}",
                    Shown(json["head_dim"]), Shown(json["expand"]), Shown(json["hidden_size"])));
  }
  json["num_heads"] = ConfigNode::Int(*expand * *width / *dim);
  return json;
}

ConfigNode WithAliases(ConfigNode json) {
  for (const Alias& alias : kAliases) {
    // A copy: the new key may move all others.
    if (ConfigNode value = WordAt(json, alias.name); !value.is_null()) json[std::string(alias.key)] = std::move(value);
  }
  const ConfigNode heads = WordAt(json, "num_attention_heads");
  if (json.Get("num_key_value_heads") != nullptr && WordAt(json, "num_key_value_heads").is_null())
    json["num_key_value_heads"] = heads.is_null() ? ConfigNode::Int(32) : heads;
  // The first published models say it so.
  if (ConfigNode dim = WordAt(json, "attention_head_dim"); !dim.is_null() && WordAt(json, "head_dim").is_null())
    json["head_dim"] = std::move(dim);
  return json;
}

// The mixers' width in widths of the hidden vector; 0: not a whole number.
int64_t ExpandOf(const ConfigNode& model) {
  const auto number = [&](const char* key, int64_t silent) { return WordAt(model, key).AsInt().value_or(silent); };
  const int64_t width = number("hidden_size", 0), heads = number("mamba_num_heads", 0),
                dim = number("mamba_head_dim", 64);
  constexpr int64_t kMost = int64_t{1} << 31;
  if (width < 1 || heads < 1 || dim < 1 || heads > kMost || dim > kMost || heads * dim % width != 0) return 0;
  return heads * dim / width;
}

Status SetNemotronWords(const ConfigNode& config_json, ConfigNode* to) {
  const ConfigNode json = WithAliases(config_json);
  ANEMONE_TRY(CheckFixed(json, kFixedInNemotron, "NeMo 2's MambaModel").Hint(kWeightsAlone));
  ANEMONE_TRY(CheckTimeSteps(json));
  ANEMONE_ASSIGN(const std::string pattern, PatternOf(json));
  ANEMONE_TRY(SetNemoKeys(kNemotronKeys, json, to));
  (*to)["num_layers"] = SizeNode(pattern.size());
  (*to)[kLayerPattern] = ConfigNode::String(pattern);
  const ConfigNode& said = WordAt(json, "mlp_hidden_act");
  const std::string activation = said.is_null() ? "relu2" : Shown(said);
  const auto* mlp = std::ranges::find(kMlps, activation, &Mlp::hf);
  if (mlp == std::end(kMlps) && pattern.find(kMlpLayer) != std::string::npos)
    return Unsupported(fmt::format("mlp_hidden_act: expected relu2 or gelu, as NeMo 2 has them, found {}", activation),
                       std::string(kWeightsAlone));
  (*to)["activation"] = TextNode(mlp == std::end(kMlps) ? "gelu" : mlp->nemo);
  return {};
}

Status SetMamba2Words(const ConfigNode& json, ConfigNode* to) {
  ANEMONE_TRY(CheckFixed(json, kFixedInMamba2, "NeMo 2's MambaModel").Hint(kWeightsAlone));
  ANEMONE_TRY(CheckTimeSteps(json));
  ANEMONE_TRY(SetNemoKeys(kMamba2Keys, json, to));
  const auto layers = WordAt(*to, "num_layers").AsInt();
  constexpr int64_t kMostLayers = 100'000;
  if (!layers || *layers < 1 || *layers > kMostLayers)
    return Corrupt(
        fmt::format("num_hidden_layers: expected a number of layers, found {}", Shown(WordAt(*to, "num_layers"))));
  (*to)[kLayerPattern] = ConfigNode::String(std::string(static_cast<size_t>(*layers), kMambaLayer));
  const int64_t expand = ExpandOf(*to);
  if (WordAt(json, "expand").AsInt().value_or(2) != expand || expand == 0) {
    return Corrupt(fmt::format("expand: expected heads that are {} times hidden_size wide together, found {} of {}",
                               Shown(WordAt(json, "expand")), Shown(WordAt(*to, "mamba_num_heads")),
                               Shown(WordAt(*to, "mamba_head_dim"))));
  }
  // No layer has them; Megatron-core divides by the heads.
  (*to)["num_attention_heads"] = ConfigNode::Int(1);
  (*to)["ffn_hidden_size"] = ConfigNode(WordAt(*to, "hidden_size"));
  (*to)["encoder_seq_length"] = ConfigNode::Int(2048);  // [ssm.py, BaseMambaConfig130M]
  for (const char* key : {"hidden_dropout", "attention_dropout"}) (*to)[key] = ConfigNode::Float(0);
  (*to)["activation"] = TextNode("gelu");
  return {};
}

bool IsNemotron(const ConfigNode& json) {
  const ConfigNode& names = WordAt(json, "architectures");
  if (names.is_list() && !names.list.empty()) return names.list.front().AsString() == std::string(kNemotronHClass);
  return WordAt(json, "model_type").AsString() == "nemotron_h";
}

// ---- writing ----

ConfigNode NewJson(std::string_view class_name) {
  // `time_step_min` 0: transformers raises each smaller step to it, and Megatron-core computes with all.
  const bool is_nemotron = class_name == kNemotronHClass;
  ConfigNode json = ParseWord(
      is_nemotron
          ? "{attention_bias: false, chunk_size: 128, conv_kernel: 4, expand: 2, mamba_hidden_act: silu, "
            "mamba_proj_bias: false, mlp_bias: false, mlp_hidden_act: relu2, model_type: nemotron_h, "
            "num_logits_to_keep: "
            "1, rescale_prenorm_residual: true, residual_in_fp32: false, tie_word_embeddings: false, time_step_floor: "
            "0.0001, time_step_max: 0.1, time_step_min: 0.0, torch_dtype: float32, use_bias: false, use_cache: true, "
            "use_conv_bias: true}"
          : "{chunk_size: 256, conv_kernel: 4, expand: 2, hidden_act: silu, model_type: mamba2, "
            "rescale_prenorm_residual: false, residual_in_fp32: true, tie_word_embeddings: false, time_step_floor: "
            "0.0001, time_step_max: 0.1, time_step_min: 0.001, torch_dtype: float32, use_bias: false, use_cache: true, "
            "use_conv_bias: true}");
  json["transformers_version"] = TextNode("4.48.0");
  json["architectures"] = ConfigNode::List({TextNode(class_name)});
  return json;
}

// The words with each size that NeMo takes from others.
Result<ConfigNode> WithAllSizes(ConfigNode model) {
  ANEMONE_ASSIGN(const uint64_t width, SizeOf(model, "hidden_size"));
  ANEMONE_ASSIGN(const uint64_t heads, SizeOf(model, "num_attention_heads"));
  ANEMONE_ASSIGN(const uint64_t groups, SizeOf(model, "num_query_groups", heads));
  ANEMONE_ASSIGN(const uint64_t channels, SizeOf(model, "kv_channels", std::max<uint64_t>(width / heads, 1)));
  ANEMONE_ASSIGN(const uint64_t ffn, SizeOf(model, "ffn_hidden_size", 4 * width));
  ANEMONE_ASSIGN(const int64_t mamba_heads, MambaHeadsOf(model));
  for (const char* key : {"mamba_state_dim", "mamba_head_dim", "mamba_num_groups"})
    ANEMONE_TRY(SizeOf(model, key, 1).status());
  model["num_query_groups"] = SizeNode(groups);
  model["kv_channels"] = SizeNode(channels);
  model["ffn_hidden_size"] = SizeNode(ffn);
  model["mamba_num_heads"] = ConfigNode::Int(mamba_heads);
  return model;
}

// Before version 5 of transformers, Mamba 2 has no groups in the norm behind its mixer, as state-spaces' and Megatron's
// have; Nemotron-H always had.
std::string_view ClassFor(const ConfigNode& model, const std::string& pattern) {
  const bool is_pure = std::ranges::all_of(pattern, [](char letter) { return letter == kMambaLayer; });
  const bool has_groups = WordAt(model, "mamba_num_groups").AsInt().value_or(8) != 1;
  return is_pure && !has_groups && ExpandOf(model) > 0 ? kMamba2Class : kNemotronHClass;
}

// The words that depend on the layers there are.
Status CheckLayers(const ConfigNode& model, const std::string& pattern) {
  ANEMONE_ASSIGN(const std::string positions, TextOf(model, "position_embedding_type", "learned_absolute"));
  const bool has_attention = pattern.find(kAttentionLayer) != std::string::npos;
  if (positions == "none" || (positions == "rope" && !has_attention)) return {};
  return Unsupported(
      fmt::format("position_embedding_type: expected none, as transformers computes, found {}", positions),
      std::string(kWeightsAlone));
}

Result<std::string_view> ActivationOf(const ConfigNode& model, const std::string& pattern) {
  ANEMONE_ASSIGN(const std::string activation, TextOf(model, "activation", "gelu"));
  const auto* mlp = std::ranges::find(kMlps, activation, &Mlp::nemo);
  if (pattern.find(kMlpLayer) == std::string::npos) return std::string_view("relu2");
  if (mlp != std::end(kMlps)) return mlp->hf;
  return Unsupported(
      fmt::format("activation: expected squared-relu or gelu, as transformers' Nemotron-H computes, found {}",
                  activation),
      std::string(kWeightsAlone));
}

Status SetNemotron(const ConfigNode& model, const std::string& pattern, bool is_kept, ConfigNode* json) {
  ANEMONE_ASSIGN(const std::string_view activation, ActivationOf(model, pattern));
  const ConfigNode aliased = WithAliases(*json);
  for (const PairedKey& key : kNemotronKeys) {
    // An older name, or a null that means another key, stays where it says the same.
    const ConfigNode& said = WordAt(aliased, key.hf);
    const bool is_same = is_kept && !said.is_null() && SameConfig(said, WordAt(model, key.nemo));
    if (!is_same) ANEMONE_TRY(SetHfKeys(std::span(&key, 1), model, is_kept, json));
  }
  SetPattern(pattern, is_kept, json);
  const ConfigNode& said = WordAt(*json, "mlp_hidden_act");
  const bool has_mlp = pattern.find(kMlpLayer) != std::string::npos;
  if (has_mlp && (said.is_null() ? "relu2" : Shown(said)) != activation)
    (*json)["mlp_hidden_act"] = TextNode(activation);
  return {};
}

Status SetMamba2(const ConfigNode& model, const std::string& pattern, bool is_kept, ConfigNode* json) {
  if (std::ranges::any_of(pattern, [](char letter) { return letter != kMambaLayer; }))
    return Unsupported(fmt::format("{}: expected M alone, as transformers' Mamba 2 has layers, found {}", kLayerPattern,
                                   pattern))
        .Use("architecture", std::string(kNemotronHClass), "write the class that has others");
  ANEMONE_TRY(SetHfKeys(kMamba2Keys, model, is_kept, json));
  const int64_t expand = ExpandOf(model);
  if (expand == 0) {
    return Unsupported(
               "mamba_num_heads: expected heads that are a multiple of hidden_size wide together, as "
               "transformers' Mamba 2 has them, found others")
        .Use("architecture", std::string(kNemotronHClass), "write the class that has others");
  }
  if (WordAt(*json, "expand").AsInt().value_or(2) != expand) (*json)["expand"] = ConfigNode::Int(expand);
  return {};
}

}  // namespace

bool IsHfMambaJson(const ConfigNode& root) {
  const ConfigNode& names = WordAt(root, "architectures");
  if (names.is_list() && !names.list.empty()) {
    const std::string name = names.list.front().AsString().value_or("");
    return name == kNemotronHClass || name == kMamba2Class;
  }
  const std::string type = WordAt(root, "model_type").AsString().value_or("");
  return type == "nemotron_h" || type == "mamba2";
}

bool IsStateSpacesJson(const ConfigNode& root) {
  return WordAt(root, "d_model").AsInt() && WordAt(root, "n_layer").AsInt() &&
         WordAt(root, "ssm_cfg.layer").AsString() == "Mamba2";
}

std::string_view MambaClassOf(const ConfigNode& config_json) {
  return IsNemotron(config_json) ? kNemotronHClass : kMamba2Class;
}

Result<ConfigNode> MambaWordsOf(const ConfigNode& config_json, DType dtype, std::vector<std::string>* notes) {
  ANEMONE_TRY(CheckHfNumbers(config_json));
  ConfigNode to = ParseWord(
      "{precision: 32, normalization: rmsnorm, bias: false, position_embedding_type: none, bias_activation_fusion: "
      "false, apply_query_key_layer_scaling: false}");
  to["name"] = TextNode(kMambaName);
  const bool is_nemotron = IsNemotron(config_json);
  ConfigNode json = config_json;
  if (!is_nemotron && !IsHfMambaJson(config_json)) {
    ANEMONE_ASSIGN(json, AsMamba2(config_json));
  }
  ANEMONE_TRY(is_nemotron ? SetNemotronWords(json, &to) : SetMamba2Words(json, &to));
  const ConfigNode& tied = WordAt(json, "tie_word_embeddings");
  to["share_embeddings_and_output_weights"] = ConfigNode::Bool(tied.AsBool().value_or(false));
  to["max_position_embeddings"] = ConfigNode(WordAt(to, "encoder_seq_length"));  // a copy: a new key may move the other
  SetPrecision(dtype, &to);
  ANEMONE_TRY(LayerPatternOf(to).status());
  ANEMONE_TRY(MambaHeadsOf(to).status());
  if (notes == nullptr) return to;
  if (IsHfMambaJson(config_json)) internal::NoteUnknownKeys(config_json, IsKnown, notes);
  if (!is_nemotron && WordAt(json, "rescale_prenorm_residual").AsBool().value_or(false)) {
    notes->emplace_back(
        "rescale_prenorm_residual: version 5 of transformers (5.24) divides out_proj's weights by the root of the "
        "number of layers when it loads them; NeMo 2, and version 4, compute with the weights as they are stored");
  }
  const ConfigNode steps = is_nemotron ? WithAliases(json) : ConfigNode();
  const double least = is_nemotron ? WordAt(steps, "time_step_min").AsDouble().value_or(0.001) : 0;
  if (least > 0) {
    notes->push_back(fmt::format(
        "time_step_min: version 5 of transformers raises smaller time steps to {}; NeMo 2, and the code that was "
        "published beside such models, compute with the steps as they are",
        least));
  }
  return to;
}

uint64_t MambaRowsOf(const ConfigNode& config_json) {
  const auto rows = WordAt(config_json, "vocab_size").AsInt();
  constexpr int64_t kMost = int64_t{1} << 31;
  if (!rows || *rows < 1 || *rows > kMost) return 0;
  if (!IsStateSpacesJson(config_json)) return static_cast<uint64_t>(*rows);
  const auto multiple = WordAt(config_json, "pad_vocab_size_multiple").AsInt().value_or(8);
  return multiple < 1 || multiple > kMost ? 0 : RoundUp(static_cast<uint64_t>(*rows), static_cast<uint64_t>(multiple));
}

Result<ConfigNode> HfMambaConfig(const ConfigNode& given, const HfMambaRequest& request) {
  ANEMONE_TRY(CheckFixed(given, kFixedInWords, "transformers").Hint(kWeightsAlone));
  ANEMONE_ASSIGN(const std::string pattern, LayerPatternOf(given));
  ANEMONE_TRY(CheckLayers(given, pattern));
  ANEMONE_ASSIGN(const ConfigNode model, WithAllSizes(given));
  const bool is_kept = request.kept != nullptr;
  const std::string_view class_name = is_kept                       ? MambaClassOf(*request.kept)
                                      : !request.class_name.empty() ? request.class_name
                                                                    : ClassFor(model, pattern);
  ConfigNode json = is_kept ? *request.kept : NewJson(class_name);
  ANEMONE_TRY(class_name == kNemotronHClass ? SetNemotron(model, pattern, is_kept, &json)
                                            : SetMamba2(model, pattern, is_kept, &json));
  ANEMONE_ASSIGN(const bool shares, FlagOf(model, "share_embeddings_and_output_weights", true));
  // A Nemotron-H's output layer is its own whatever the key says [modeling_nemotron_h.py, _tied_weights_keys].
  const bool tied = shares && class_name == kMamba2Class;
  if (WordAt(json, "tie_word_embeddings").AsBool().value_or(false) != tied)
    json["tie_word_embeddings"] = ConfigNode::Bool(tied);
  return FinishedHuggingFaceJson(std::move(json), request.rows, request.dtype, is_kept);
}

}  // namespace anemone
