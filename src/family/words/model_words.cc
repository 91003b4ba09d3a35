// Facts: NeMo v2.0.0 megatron_gpt_model.py, megatron_base_model.py (build_transformer_config), utils_funcs.py
// (activation_to_func); Megatron-LM core_v0.9.0 transformer_config.py, mlp.py.
#include "family/words/model_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "config/nodes.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/nemo2_ssm.h"

namespace anemone {
namespace {

struct Word {
  std::string_view key;
  std::string_view silent;  // YAML
  bool is_latent = false;   // of multi-latent attention
};
constexpr Word kWords[] = {
    {"num_layers", "null"},
    {"hidden_size", "null"},
    {"ffn_hidden_size", "null"},
    {"num_attention_heads", "null"},
    {"num_query_groups", "null"},
    {"kv_channels", "null"},
    {"max_position_embeddings", "null"},
    {"share_embeddings_and_output_weights", "true"},
    {"normalization", "layernorm"},
    {"layernorm_zero_centered_gamma", "false"},
    {"layernorm_epsilon", "1e-5"},
    {"activation", "gelu"},
    {"bias", "true"},
    {"qkv_bias", "false"},
    {"qk_layernorm", "false"},
    {"position_embedding_type", "learned_absolute"},
    {"rotary_base", "10000"},
    {"rotary_base_local", "null"},
    {"rope_scaling_factor", "null"},
    {"rotary_percentage", "1.0"},
    {"rotary_interleaved", "false"},
    {"seq_len_interpolation_factor", "null"},
    // Of positions that YaRN scales (`position_embedding_type: yarn`): Megatron-Bridge's names; no NeMo has them.
    {"yarn_rotary_scaling_factor", "null"},
    {"yarn_original_max_position_embeddings", "null"},
    {"yarn_beta_fast", "null"},
    {"yarn_beta_slow", "null"},
    {"yarn_mscale", "null"},
    {"yarn_mscale_all_dim", "null"},
    {"yarn_correction_range_round_to_int", "null"},
    {"scale_positional_embedding", "false"},
    {"rope_scaling.factor", "null"},
    {"rope_scaling.low_freq_factor", "null"},
    {"rope_scaling.high_freq_factor", "null"},
    {"rope_scaling.original_max_position_embeddings", "null"},
    {"window_size", "null"},
    {"interleaved_attn_pattern", "null"},
    {"apply_embedding_scaling", "false"},
    {"transformer_block_type", "pre_ln"},
    {"normalize_attention_scores", "true"},
    {"headscale", "false"},
    {"name", "null"},
    {"num_moe_experts", "null"},
    {"moe_router_topk", "2"},
    {"moe_router_pre_softmax", "false"},
    {"moe_ffn_hidden_size", "null"},
    {"mcore_customization_config.attn_logit_softcapping", "null"},
    {"mcore_customization_config.final_logit_softcapping", "null"},
    {"mcore_customization_config.query_pre_attn_scalar", "null"},
    {"mcore_customization_config.new_decoder_architecture", "false"},
    {"mcore_customization_config.parallel_attention", "false"},
    // Attention and MLP both read the layer's input, each behind a norm of its own. NeMo's Falcon has it, but leaves
    // out the biases of both sums [NeMo v2.0.0 falcon_decoder_layer.py].
    {"parallel_residual", "false"},
    // Below are Megatron-core's and NeMo 2's names; NeMo 1 has none of it.
    {"multi_latent_attention", "false"},
    {"q_lora_rank", "null", true},
    {"kv_lora_rank", "null", true},
    {"qk_head_dim", "null", true},
    {"qk_pos_emb_head_dim", "null", true},
    {"v_head_dim", "null", true},
    {"rope_type", "null", true},
    {"rotary_scaling_factor", "null", true},
    {"original_max_position_embeddings", "null", true},
    {"beta_fast", "null", true},
    {"beta_slow", "null", true},
    {"mscale", "null", true},
    {"mscale_all_dim", "null", true},
    {"moe_layer_freq", "null"},
    {"moe_shared_expert_intermediate_size", "null"},
    {"moe_router_score_function", "softmax"},
    {"moe_router_enable_expert_bias", "false"},
    {"moe_router_num_groups", "null"},
    {"moe_router_group_topk", "null"},
    {"moe_router_topk_scaling_factor", "null"},
    {"mtp_num_layers", "null"},
};

std::string Text(const ConfigNode& node) { return node.AsString().value_or(""); }
bool IsTrue(const ConfigNode& node) { return node.AsBool().value_or(false); }

// gelu is computed by its tanh form wherever it is fused with its bias [megatron/core/fusions/fused_bias_gelu.py].
Status SetActivation(const ConfigNode& model, ConfigNode* words) {
  std::string name = Text((*words)["activation"]);
  if (name.starts_with("fast-")) name = name.substr(5);
  ANEMONE_ASSIGN(const bool openai, FlagOf(model, "openai_gelu", false));
  ANEMONE_ASSIGN(const bool fused, FlagOf(model, "bias_activation_fusion", true));
  const bool is_gelu = name == "gelu" || name == "geglu";
  (*words)["activation"] = ConfigNode::String(name == "approx-gelu" ? "quick-gelu" : std::move(name));
  (*words)["gelu by tanh"] = ConfigNode::Bool(is_gelu && (openai || fused));
  return {};
}

// [w, 0]: a token sees so many before it. Others see all.
Status SetWindow(ConfigNode* words) {
  ConfigNode& window = (*words)["window_size"];
  if (window.is_null()) return {};
  const auto left = window.is_list() && window.list.size() == 2 ? window.list[0].AsInt() : std::nullopt;
  const auto right = left ? window.list[1].AsInt() : std::nullopt;
  if (!right) return Corrupt("window_size: expected two numbers, found something else");
  if (*left < 0) {
    window = ConfigNode::Null();
  } else if (*right != 0) {
    return Unsupported(
        fmt::format("window_size: expected one that ends with the token itself, found [{}, {}]", *left, *right));
  } else {
    window = ConfigNode::Int(*left);
  }
  return {};
}

// [NeMo v2.0.0 megatron_gpt_model.py; nemo/collections/llm/gpt/model/llama.py, Llama31Config]
constexpr PositionFactor kFactors[] = {
    {"factor", "scale_factor", 8},
    {"low_freq_factor", "low_freq_factor", 1},
    {"high_freq_factor", "high_freq_factor", 4},
    {"original_max_position_embeddings", "old_context_len", 8192},
};
std::string WordOf(const PositionFactor& factor) { return fmt::format("rope_scaling.{}", factor.hf); }

// [core_v0.16.1 yarn_rotary_pos_embedding.py; transformers 5.24 modeling_rope_utils.py]
void SetYarn(ConfigNode* words) {
  const bool is_yarn = Text((*words)["position_embedding_type"]) == kYarn;
  for (const std::string_view word : YarnWords()) {
    if (!is_yarn) (*words)[word] = ConfigNode::Null();
  }
  if (!is_yarn) return;
  const auto fill = [&](const char* key, ConfigNode value) {
    if (ConfigNode& node = (*words)[key]; node.is_null()) node = std::move(value);
  };
  fill("yarn_beta_fast", ConfigNode::Int(32));
  fill("yarn_beta_slow", ConfigNode::Int(1));
  fill("yarn_correction_range_round_to_int", ConfigNode::Bool(true));
  ConfigNode &scale = (*words)["yarn_mscale"], &all = (*words)["yarn_mscale_all_dim"];
  if (scale.is_null() || all.is_null()) scale = all = ConfigNode::Null();  // one alone says nothing
}

void SetPositions(ConfigNode* words, std::vector<std::string>* notes) {
  for (const char* key : {"seq_len_interpolation_factor", "rope_scaling_factor"}) {
    if (ConfigNode& factor = (*words)[key]; factor.AsDouble() == 1.0) factor = ConfigNode::Null();
  }
  const bool is_scaled = IsTrue((*words)["scale_positional_embedding"]);
  // [NeMo v2.0.0 convert_llama_hf_to_nemo.py, mended in 2.2.0 by pull request 11548.]
  if (ConfigNode& factor = (*words)["seq_len_interpolation_factor"]; is_scaled && !factor.is_null()) {
    if (notes != nullptr) {
      notes->push_back(
          "seq_len_interpolation_factor: left out beside scale_positional_embedding: NeMo's converter of Llama 3.1 "
          "says "
          "both, which scales positions twice; the model was trained with one");
    }
    factor = ConfigNode::Null();
  }
  SetYarn(words);
  const std::string type = Text((*words)["position_embedding_type"]);
  const bool is_rope = type == "rope", is_rotary = is_rope || type == kYarn;
  for (const PositionFactor& position : kFactors) {
    ConfigNode& word = (*words)[WordOf(position)];
    word = is_rope && is_scaled ? ConfigNode::Float(word.AsDouble().value_or(position.built_in)) : ConfigNode::Null();
  }
  if (is_rotary) return;
  for (const Word& word : kWords) {
    if (word.key.starts_with("rotary_") || word.key.starts_with("seq_len_") || word.key.starts_with("scale_pos"))
      (*words)[std::string(word.key)] = ConfigNode::Null();
  }
}

void SetSizes(const ConfigNode& model, ConfigNode* words) {
  const auto number = [&](const char* key) { return WordAt(*words, key).AsInt(); };
  const auto fill = [&](const char* key, std::optional<int64_t> value) {
    ConfigNode& node = (*words)[key];
    if (node.is_null() && value) node = ConfigNode::Int(*value);
  };
  const auto heads = number("num_attention_heads"), width = number("hidden_size");
  fill("num_query_groups", heads);
  if (heads && width && *heads > 0) fill("kv_channels", *width / *heads);
  constexpr int64_t kMostWidth = int64_t{1} << 40;
  if (width && *width < kMostWidth) fill("ffn_hidden_size", 4 * *width);
  fill("max_position_embeddings", WordAt(model, "encoder_seq_length").AsInt());
  if (number("mtp_num_layers") == 0) (*words)["mtp_num_layers"] = ConfigNode::Null();
}

Status SetExperts(const ConfigNode& model, ConfigNode* words) {
  const auto null = [&](std::string_view key) { (*words)[key] = ConfigNode::Null(); };
  const bool has_experts = !WordAt(*words, "num_moe_experts").is_null();
  if (!has_experts) {
    for (const Word& word : kWords) {
      if (word.key.starts_with("moe_")) null(word.key);
    }
    return {};
  }
  if (ConfigNode& ffn = (*words)["moe_ffn_hidden_size"]; ffn.is_null()) ffn = WordAt(*words, "ffn_hidden_size");
  const auto layers = WordAt(*words, "num_layers").AsInt();
  ConfigNode freq = ConfigNode::Null();
  if (layers && *layers > 0 && !WordAt(model, "moe_layer_freq").is_null()) {
    ANEMONE_ASSIGN(const std::vector<bool> which, ExpertLayers(model, static_cast<uint64_t>(*layers)));
    const bool all = std::ranges::all_of(which, [](bool has) { return has; });
    if (!all) freq = ConfigNode::List();
    for (const bool has : which) {
      if (!all) freq.list.push_back(ConfigNode::Int(has ? 1 : 0));
    }
  }
  // Where all layers have experts, nothing has the size of an MLP.
  if (freq.is_null()) null("ffn_hidden_size");
  (*words)["moe_layer_freq"] = std::move(freq);
  if (WordAt(*words, "moe_shared_expert_intermediate_size").AsInt() == 0) null("moe_shared_expert_intermediate_size");
  if (WordAt(*words, "moe_router_topk_scaling_factor").AsDouble() == 1.0) null("moe_router_topk_scaling_factor");
  // Scores of sigmoids are divided by their sum, whatever this says.
  if (Text(WordAt(*words, "moe_router_score_function")) == "sigmoid") null("moe_router_pre_softmax");
  const auto groups = WordAt(*words, "moe_router_num_groups").AsInt(),
             chosen = WordAt(*words, "moe_router_group_topk").AsInt();
  if (!groups || !chosen || *chosen >= *groups) {
    for (const char* key : {"moe_router_num_groups", "moe_router_group_topk"}) null(key);
  }
  return {};
}

// [core_v0.16.1 multi_latent_attention.py, yarn_rotary_pos_embedding.py]
void SetLatent(ConfigNode* words) {
  const auto null = [&](std::string_view key) { (*words)[key] = ConfigNode::Null(); };
  if (!IsTrue(WordAt(*words, "multi_latent_attention"))) {
    for (const std::string_view key : LatentWords()) null(key);
    return;
  }
  null("kv_channels");  // heads have sizes of their own
  const auto fill = [&](const char* key, const ConfigNode& value) {
    if (ConfigNode& node = (*words)[key]; node.is_null()) node = value;
  };
  fill("rope_type", ConfigNode::String("yarn"));
  const ConfigNode length = WordAt(*words, "max_position_embeddings");
  fill("original_max_position_embeddings", length);  // an older name
  fill("beta_fast", ConfigNode::Int(32));
  fill("beta_slow", ConfigNode::Int(1));
  if (Text(WordAt(*words, "rope_type")) != "rope") return;
  for (const char* key : {"original_max_position_embeddings", "beta_fast", "beta_slow", "mscale"}) null(key);
  // It scales attention also where positions are not scaled.
  const bool is_scaled = WordAt(*words, "rotary_scaling_factor").AsDouble().value_or(1) > 1 &&
                         WordAt(*words, "mscale_all_dim").AsDouble().value_or(0) != 0;
  for (const char* key : {"rotary_scaling_factor", "mscale_all_dim"}) {
    if (!is_scaled) null(key);
  }
}

}  // namespace

std::span<const PositionFactor> PositionFactors() { return kFactors; }

const std::vector<std::string_view>& LatentWords() {
  static const std::vector<std::string_view> words = [] {
    std::vector<std::string_view> latent;
    for (const Word& word : kWords) {
      if (word.is_latent) latent.push_back(word.key);
    }
    return latent;
  }();
  return words;
}

bool HasOddHeads(const ConfigNode& config) {
  const auto number = [&](std::string_view word) { return WordAt(config, word).AsInt().value_or(0); };
  int64_t together = 0;
  return !WordAt(config, "kv_channels").is_null() &&
         (__builtin_mul_overflow(number("kv_channels"), number("num_attention_heads"), &together) ||
          together != number("hidden_size"));
}

int64_t MtpLayersOf(const ConfigNode& model) { return WordAt(model, "mtp_num_layers").AsInt().value_or(0); }

const std::vector<std::string_view>& YarnWords() {
  static const std::vector<std::string_view> words = [] {
    std::vector<std::string_view> yarn;
    for (const Word& word : kWords) {
      if (word.key.starts_with("yarn_")) yarn.push_back(word.key);
    }
    return yarn;
  }();
  return words;
}

bool IsLatentWord(std::string_view key) { return std::ranges::find(LatentWords(), key) != LatentWords().end(); }

std::string_view KeyBeyondNemo1(const ConfigNode& model) {
  if (IsTrue(WordAt(model, "multi_latent_attention"))) return "multi_latent_attention";
  if (WordAt(model, "num_moe_experts").is_null()) return {};
  const auto number = [&](std::string_view key) { return WordAt(model, key).AsDouble().value_or(0); };
  const ConfigNode& freq = WordAt(model, "moe_layer_freq");
  const auto has_experts = [](const ConfigNode& layer) { return layer.AsInt() == 1; };
  if (!freq.is_null() && !has_experts(freq) && !(freq.is_list() && std::ranges::all_of(freq.list, has_experts)))
    return "moe_layer_freq";
  if (number("moe_shared_expert_intermediate_size") > 0) return "moe_shared_expert_intermediate_size";
  const std::string score = Text(WordAt(model, "moe_router_score_function"));
  if (!score.empty() && score != "softmax") return "moe_router_score_function";
  if (IsTrue(WordAt(model, "moe_router_enable_expert_bias"))) return "moe_router_enable_expert_bias";
  if (number("moe_router_group_topk") > 0 && number("moe_router_group_topk") < number("moe_router_num_groups"))
    return "moe_router_num_groups";
  const double factor = number("moe_router_topk_scaling_factor");
  return factor != 0 && factor != 1 ? "moe_router_topk_scaling_factor" : std::string_view();
}

Status CheckMegatronResidual(const ConfigNode& model) {
  if (!IsTrue(WordAt(model, "parallel_residual"))) return {};
  return Unsupported(
      "use_parallel_residual: expected false, found true: no layer of NeMo's or Megatron's computes attention and MLP "
      "side by side and adds the biases of both",
      "OUT.safetensors and a Hugging Face folder hold the model");
}

Status CheckNemo1Factors(const ConfigNode& model) {
  if (WordAt(model, "name").AsString() == std::string(kGemma3Name))
    return Unsupported("name: expected a model that NeMo 1 has, found Gemma 3", "NeMo 2 has it, from 2.4.0");
  if (IsMambaWords(model)) {
    return Unsupported("name: expected a model that is written for NeMo 1, found Mamba",
                       "NeMo 2 has it, from 2.3.0, and transformers");
  }
  ANEMONE_TRY(CheckMegatronResidual(model));
  if (const std::string_view key = KeyBeyondNemo1(model); !key.empty()) {
    const ConfigNode& value = WordAt(model, key);
    return Unsupported(fmt::format("{}: expected a model that NeMo 1 has, found {}", key,
                                   value.is_scalar() ? value.ScalarText() : "a list"),
                       "NeMo 2 has DeepSeek V2 and V3, from 2.2.0");
  }
  if (Text(WordAt(model, "position_embedding_type")) == kYarn)
    return Unsupported("rope_type: expected none, linear or llama3, as NeMo 1 scales positions, found yarn",
                       "Megatron-Bridge has it");
  if (const int64_t layers = MtpLayersOf(model); layers > 0)
    return Unsupported(fmt::format("mtp_num_layers: expected none, as NeMo 1 builds, found {}", layers),
                       "NeMo 2 has them, from 2.3.0");
  for (const PositionFactor& factor : kFactors) {
    const auto value = WordAt(model, WordOf(factor)).AsDouble();
    if (!value || *value == factor.built_in) continue;
    return Unsupported(
        fmt::format("{}: expected {}, which NeMo 1 has built in, found {}", WordOf(factor), factor.built_in, *value),
        "no config of NeMo 1 says another: its model would compute other positions; NeMo 2 has it");
  }
  return {};
}

const ConfigNode& WordAt(const ConfigNode& map, std::string_view key) {
  static const ConfigNode kNull;
  if (const ConfigNode* node = map.Get(key)) return *node;
  const size_t dot = key.find('.');
  const ConfigNode* inner = dot == std::string_view::npos ? nullptr : map.Get(key.substr(0, dot));
  return inner == nullptr ? kNull : WordAt(*inner, key.substr(dot + 1));
}

const ConfigNode& WordOr(const ConfigNode& map, std::string_view key, const ConfigNode& silent) {
  const ConfigNode& value = WordAt(map, key);
  return value.is_null() ? silent : value;
}

ConfigNode ExpertsInAllLayers(const ConfigNode& model) {
  const int64_t layers = WordAt(model, "num_layers").AsInt().value_or(0);
  return ConfigNode::List(
      std::vector<ConfigNode>(static_cast<size_t>(std::max<int64_t>(0, layers)), ConfigNode::Int(1)));
}

ConfigNode NumberWord(double value) {
  const bool is_whole = value == std::floor(value) && std::abs(value) < 1e15;
  return is_whole ? ConfigNode::Int(static_cast<int64_t>(value)) : ConfigNode::Float(value);
}

Status CheckFixed(const ConfigNode& config, std::span<const FixedWord> words, std::string_view who) {
  for (const FixedWord& word : words) {
    const ConfigNode& said = WordAt(config, word.key);
    // Python takes null for false.
    const bool is_silent = said.is_null() && (word.value != "true" || config.Get(word.key) == nullptr);
    const ConfigNode value = is_silent ? ParseWord(word.silent) : said;
    if (SameConfig(value, ParseWord(word.value))) continue;
    return Unsupported(
        fmt::format("{}: expected {}, as {} computes, found {}", word.key, word.value, who, Shown(value)));
  }
  return {};
}

Status CheckNumber(std::string_view key, const ConfigNode& value) {
  if (value.AsDouble() || value.AsBool()) return {};
  return Corrupt(fmt::format("{}: expected a number, found {}", key, ShownQuoted(value)));
}

bool IsOfTransformers5(const ConfigNode& config_json) {
  return WordAt(config_json, "transformers_version").AsString().value_or("").starts_with("5.");
}

ConfigNode ParseWord(std::string_view yaml) {
  const auto map = Config::ParseYaml(fmt::format("value: {}", yaml), "a table");
  const ConfigNode* value = map.ok() ? map->root().Get("value") : nullptr;
  return value == nullptr ? ConfigNode::Null() : *value;
}

const ConfigNode* SilentWord(std::string_view key) {
  static const ConfigNode kSilent = [] {
    ConfigNode map = ConfigNode::Map();
    for (const Word& word : kWords) map[std::string(word.key)] = ParseWord(word.silent);
    return map;
  }();
  const ConfigNode* value = kSilent.Get(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<ConfigNode> WordsOf(const ConfigNode& model, std::vector<std::string>* notes) {
  ConfigNode words = ConfigNode::Map();
  for (const Word& word : kWords) {
    const ConfigNode& value = WordAt(model, word.key);
    const ConfigNode* silent = SilentWord(word.key);
    words[std::string(word.key)] = value.is_null() && silent != nullptr ? *silent : value;
  }
  ANEMONE_TRY(SetActivation(model, &words));
  ANEMONE_TRY(SetWindow(&words));
  SetPositions(&words, notes);
  SetSizes(model, &words);
  ANEMONE_TRY(SetExperts(model, &words));
  SetLatent(&words);
  const std::string norm = Text(words["normalization"]);
  if (norm == "layernorm1p") words["layernorm_zero_centered_gamma"] = ConfigNode::Bool(true);
  if (norm.starts_with("layernorm") || norm == "low_precision_layernorm")
    words["normalization"] = ConfigNode::String("layernorm");
  if (IsTrue(words["bias"])) words["qkv_bias"] = ConfigNode::Bool(true);
  const std::string name = Text(words["name"]);
  if (name.empty() || name == "megatron_gpt" || name == "te_gpt") words["name"] = ConfigNode::Null();
  return words;
}

std::vector<std::string> DifferingWords(const ConfigNode& a, const ConfigNode& b) {
  const auto text = [](const ConfigNode& node) { return node.is_scalar() ? node.ScalarText() : std::string("a list"); };
  std::vector<std::string> lines;
  for (const auto& [key, value] : a.map) {
    const ConfigNode& other = WordAt(b, key);
    if (!SameConfig(value, other)) lines.push_back(fmt::format("{}: {} and {}", key, text(value), text(other)));
  }
  return lines;
}

}  // namespace anemone
