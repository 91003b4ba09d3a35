// Reading a decoder's config.json (hf_config.h).
//
// Facts: transformers 4.44.2 and 5 configuration_utils.py, modeling_rope_utils.py, activations.py.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "config/nodes.h"
#include "family/words/config_languages.h"
#include "family/words/hf_config.h"
#include "family/words/hf_keys.h"
#include "family/words/hf_numbers.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

using internal::HfActivation;
using internal::HfNameIn;
using internal::IsTrue;
using internal::Text;

// Keys that change nothing of what the weights compute, or are the tokenizer's.
constexpr std::string_view kHarmless[] = {"architectures",
                                          "auto_map",
                                          "bos_token_id",
                                          "cache_implementation",
                                          "decoder_start_token_id",
                                          "ep_size",
                                          "num_mtp_layers",
                                          "num_nextn_predict_layers",
                                          "seq_aux",
                                          "dtype",
                                          "eos_token_id",
                                          "gradient_checkpointing",
                                          "id2label",
                                          "is_decoder",
                                          "keys_to_ignore_at_inference",
                                          "label2id",
                                          "max_window_layers",
                                          "model_max_length",
                                          "model_type",
                                          "original_max_position_embeddings",
                                          "output_attentions",
                                          "output_hidden_states",
                                          "pad_token_id",
                                          "padded_vocab_size",
                                          "return_dict",
                                          "sep_token_id",
                                          "sliding_window_size",
                                          "summary_activation",
                                          "summary_first_dropout",
                                          "summary_proj_to_labels",
                                          "summary_type",
                                          "summary_use_proj",
                                          "task_specific_params",
                                          "tokenizer_class",
                                          "torch_dtype",
                                          "transformers_version",
                                          "unk_token_id",
                                          "unsloth_fixed",
                                          "unsloth_version",
                                          "vocab_size",
                                          "z_loss_weight",
                                          "_sliding_window_pattern",
                                          "_attn_implementation_autoset",
                                          "_from_model_config",
                                          "_name_or_path",
                                          "n_ctx",
                                          "attention_softmax_in_fp32",
                                          "scale_attention_softmax_in_fp32",
                                          "fp32_residual_connection",
                                          "runner_max_seq_length",
                                          "inference_runner",
                                          "validate_runner_input",
                                          "pre_allocate_kv_cache",
                                          "max_sequence_length",
                                          "max_batch_size",
                                          "classifier_dropout"};

// Keys with one value that the tables carry; another one is refused.
struct Fixed {
  std::string_view key, value;  // YAML; null is accepted for what is not true
  std::string_view why;
};
constexpr Fixed kFixed[] = {
    {"add_cross_attention", "false", "decoders that read an encoder"},
    {"alibi", "false", "positions by ALiBi"},
    {"apply_residual_connection_post_layernorm", "false", "residuals behind norms"},
    {"attention_chunk_size", "null", "attention in chunks"},
    {"is_causal", "true", "attention to later tokens"},
    {"kv_sharing_modes", "null", "keys and values of other layers"},
    {"per_layer_config", "null", "layers of several kinds"},
    {"decoder_sparse_step", "1", "layers with and without experts"},
    {"original_rope", "true", "other rotary positions"},
    {"post_layer_norm", "true", "a model without its last norm"},
    {"reorder_and_upcast_attn", "false", "attention in another order"},
    {"rmsnorm", "true", "other norms"},
    {"scale_attn_by_inverse_layer_idx", "false", "attention scaled by layer"},
    {"scale_attn_weights", "true", "attention that is not scaled"},
    {"use_bidirectional_attention", "false", "attention to later tokens"},
};

constexpr HfActivation kActivations[] = {
    {"silu", "", "fast-swiglu", false},
    {"swish", "", "fast-swiglu", false},
    {"gelu_pytorch_tanh", "gelu", "fast-geglu", true},
    {"gelu_new", "gelu", "fast-geglu", true},
    {"gelu_fast", "gelu", "fast-geglu", true},
    {"gelu", "gelu", "fast-geglu", false},
    {"relu2", "squared-relu", "", false},
    {"relu", "", "fast-reglu", false},
};

constexpr std::string_view kGemmasActivation = "gelu_pytorch_tanh";  // where its config is silent

// Another name that some version of transformers has for a key.
constexpr std::pair<std::string_view, std::string_view> kAliases[] = {{"num_experts", "num_local_experts"}};

constexpr HfKey kYarnKeys[] = {{"yarn_rotary_scaling_factor", "factor"},
                               {"yarn_original_max_position_embeddings", "original_max_position_embeddings"},
                               {"yarn_beta_fast", "beta_fast"},
                               {"yarn_beta_slow", "beta_slow"},
                               {"yarn_mscale", "mscale"},
                               {"yarn_mscale_all_dim", "mscale_all_dim"},
                               {"yarn_correction_range_round_to_int", "truncate"}};

class HfReader {
 public:
  HfReader(const ConfigNode& json, const HfArchitecture& architecture)
      : json_(json), architecture_(architecture), silent_(ParseWord(architecture.silent)) {}

  Result<ConfigNode> Read(std::vector<std::string>* notes) {
    to_ = ParseWord(architecture_.implied);
    ANEMONE_TRY(CheckHfNumbers(json_));
    if (architecture_.has_padding_row) ANEMONE_TRY(CheckPaddingRow(json_));
    ANEMONE_TRY(Flags());
    ANEMONE_TRY(Keys());
    ANEMONE_TRY(FixedKeys());
    ANEMONE_TRY(ReadActivation());
    ANEMONE_TRY(Biases());
    ANEMONE_TRY(Window());
    ANEMONE_TRY(SameTwice());
    ANEMONE_TRY(RotaryTypes());
    ANEMONE_TRY(IsGemma3() ? Gemma3() : IsLatent() ? Latent(notes) : Positions());
    ANEMONE_TRY(Groups());
    ANEMONE_TRY(Experts());
    if (notes != nullptr) NoteUnknown(notes);
    return std::move(to_);
  }

 private:
  // What the class takes for a key.
  const ConfigNode& At(std::string_view key) {
    const std::string_view name = HfNameIn(json_, key);
    known_.push_back(name);
    static const ConfigNode kNull;
    if (const ConfigNode* node = json_.Get(name)) return *node;
    const ConfigNode* node = silent_.Get(key);
    return node == nullptr ? kNull : *node;
  }
  void Set(std::string_view word, ConfigNode value) {
    const size_t dot = word.find('.');
    if (dot == std::string_view::npos) {
      to_[std::string(word)] = std::move(value);
      return;
    }
    ConfigNode& inner = to_[std::string(word.substr(0, dot))];
    if (!inner.is_map()) inner = ConfigNode::Map();
    inner[std::string(word.substr(dot + 1))] = std::move(value);
  }

  // Python takes any text for true, and transformers 5 takes none.
  Status Flags() {
    for (const auto& [key, silent] : silent_.map) {
      const ConfigNode& value = WordAt(json_, key);
      if (!silent.AsBool() || value.is_null() || value.AsBool()) continue;
      return Corrupt(fmt::format("{}: expected true or false, found {}", key, ShownQuoted(value)));
    }
    return {};
  }

  Status Keys() {
    for (const HfKey& key : HfKeysOf(architecture_)) {
      const ConfigNode& value = At(key.key);
      // NeMo's Gemma 2 reads its caps, and knows null, but not that one is missing [NeMo v2.0.0 gemma2_modules.py].
      if (value.is_null() && key.word.ends_with("_softcapping")) Set(key.word, ConfigNode::Null());
      if (value.is_null() || key.word == "vocab_size" || key.word == "activation" || key.word == "window_size")
        continue;
      if (!value.is_scalar())
        return Corrupt(fmt::format("{}: expected one value, found a {}", key.key, value.is_map() ? "map" : "list"));
      if (value.kind == ConfigNode::Kind::kString)
        return Corrupt(fmt::format("{}: expected a number, found \"{}\"", key.key, Text(value)));
      Set(key.word, value);
    }
    return {};
  }

  Status CheckFixed(const Fixed& fixed) {
    const ConfigNode& value = At(fixed.key);
    // Python takes null for false.
    const bool is_nothing = fixed.value == "false" || fixed.value == "null";
    const bool is_silent = value.is_null() && (is_nothing || json_.Get(fixed.key) == nullptr);
    if (is_silent || SameConfig(value, ParseWord(fixed.value))) return {};
    return Unsupported(
        fmt::format("{}: expected {}, found {}; not carried: {}", fixed.key, fixed.value, Shown(value), fixed.why));
  }

  Status FixedKeys() {
    for (const Fixed& fixed : kFixed) ANEMONE_TRY(CheckFixed(fixed));
    for (const char* key : {"quantization_config", "compression_config"}) {
      if (!At(key).is_null())
        return Unsupported(fmt::format("{}: expected weights as they are, found quantized ones", key),
                           "save the model dequantized first");
    }
    return {};
  }

  // A Gemma of version 4 computes hidden_activation, one of version 5 hidden_act, and not the exact form of GELU
  // [transformers 4.44.2 and 5.24 configuration_gemma.py, modeling_gemma.py].
  Status SameInEveryVersion(std::string_view name, const HfActivation* older) {
    const ConfigNode* own = json_.Get("hidden_act");
    if (architecture_.model_type != "gemma" || own == nullptr) return {};
    const std::string text = Text(*own);
    const std::string_view said = text == "gelu" ? kGemmasActivation : std::string_view(text);
    const auto* newer = std::ranges::find(kActivations, said, &HfActivation::hf);
    const bool is_known = newer != std::end(kActivations) && older != std::end(kActivations);
    if (is_known && newer->gated == older->gated && newer->by_tanh == older->by_tanh) return {};
    return Unsupported(
        fmt::format("hidden_act: expected what hidden_activation says, {}, found {}: version 4 of "
                    "transformers computes the one, version 5 the other",
                    name, Shown(*own)));
  }

  Status ReadActivation() {
    const std::string_view key = HfKeyOf(architecture_, "activation");
    if (key.empty()) return {};
    std::string name = Text(At(key));
    if (At(key).is_null() && key == "hidden_activation") name = kGemmasActivation;
    const auto* found = std::ranges::find(kActivations, name, &HfActivation::hf);
    ANEMONE_TRY(SameInEveryVersion(name, found));
    const bool is_known = found != std::end(kActivations);
    const std::string_view ours = !is_known ? "" : architecture_.is_gated ? found->gated : found->plain;
    if (ours.empty()) return Unsupported(fmt::format("{}: expected an activation that NeMo has, found {}", key, name));
    Set("activation", TextNode(ours));
    const bool is_gelu = ours.ends_with("gelu") || ours.ends_with("geglu");
    Set("openai_gelu", ConfigNode::Bool(is_gelu && architecture_.is_gated && found->by_tanh));
    Set("bias_activation_fusion", ConfigNode::Bool(is_gelu && !architecture_.is_gated && found->by_tanh));
    return {};
  }

  // All linear layers have biases or none, but for those of queries, keys and values.
  Status Biases() {
    if (!HfKeyOf(architecture_, "bias").empty() || to_.Get("bias") != nullptr) {
      const bool has_key = HfKeyOf(architecture_, "bias").empty(), is_implied = has_key && IsTrue(WordAt(to_, "bias"));
      for (const char* key : {"attention_bias", "mlp_bias"}) {
        const ConfigNode& bias = At(key);
        if (bias.is_null() || IsTrue(bias) == is_implied) continue;
        return Unsupported(
            fmt::format("{}: expected {}, found {}: NeMo has no such model", key, is_implied, !is_implied));
      }
      return {};
    }
    const bool in_attention = IsTrue(At("attention_bias")), in_mlp = IsTrue(At("mlp_bias"));
    if (in_attention != in_mlp) {
      return Unsupported(fmt::format(
          "attention_bias: expected that of mlp_bias, {}, found {}: Megatron has biases in all linear layers "
          "or in none",
          in_mlp, in_attention));
    }
    Set("bias", ConfigNode::Bool(in_mlp));
    return {};
  }

  Status CheckTypesOfLayers(const ConfigNode& types) {
    const auto layers = At("num_hidden_layers").AsInt();
    if (types.is_null()) return {};
    if (!types.is_list()) return Corrupt(fmt::format("layer_types: expected a list, found {}", ShownQuoted(types)));
    if (layers && *layers != static_cast<int64_t>(types.list.size()))
      return Corrupt(
          fmt::format("layer_types: expected one for each of {} layers, found {}", *layers, types.list.size()));
    for (const ConfigNode& type : types.list) {
      if (Text(type) != "full_attention" && Text(type) != "sliding_attention")
        return Unsupported(
            fmt::format("layer_types: expected full_attention or sliding_attention, found {}", Shown(type)));
    }
    return {};
  }

  Status Window() {
    const std::string_view key = HfKeyOf(architecture_, "window_size");
    const ConfigNode& types = At("layer_types");
    const bool alternates = architecture_.model_type == "gemma2" || IsGemma3();
    ANEMONE_TRY(CheckTypesOfLayers(types));
    if (types.is_list() && !alternates) {
      const auto is = [&](std::string_view type) {
        return std::all_of(types.list.begin(), types.list.end(), [&](const ConfigNode& t) { return Text(t) == type; });
      };
      if (!is("full_attention") && !is("sliding_attention"))
        return Unsupported("layer_types: expected one kind of attention in all layers, found several");
      if (is("full_attention")) return {};
      if (key.empty()) return Unsupported("layer_types: expected full_attention, found sliding_attention");
    }
    if (architecture_.model_type == "gemma2") ANEMONE_TRY(Gemma2Layers(types));
    if (key.empty()) return CheckFixed({"sliding_window", "null", "attention to a window"});
    const ConfigNode &window = At(key), &use = At("use_sliding_window");
    if (!use.is_null() && !IsTrue(use)) {
      if (!types.is_list()) return {};
      return Corrupt("layer_types: expected full_attention beside use_sliding_window: false, found sliding_attention");
    }
    if (IsTrue(use) && WordAt(json_, key).is_null())
      return Corrupt(fmt::format("{}: expected a number beside use_sliding_window, found nothing", key));
    if (window.is_null()) return {};
    if (!use.is_null() && !types.is_list()) {
      // [transformers modeling_qwen2.py: layers from this one on have the window.]
      const auto full = At("max_window_layers").AsInt(), layers = At("num_hidden_layers").AsInt();
      if (full && layers && *full >= *layers) return {};
      if (full.value_or(0) > 0)
        return Unsupported("max_window_layers: expected one kind of attention in all layers, found two");
    }
    const auto size = window.AsInt();
    if (!size || *size < 1)
      return Corrupt(fmt::format("{}: expected a number above 0, found {}", key, window.ScalarText()));
    Set("window_size", ConfigNode::List({ConfigNode::Int(*size), ConfigNode::Int(0)}));
    return {};
  }

  // NeMo's Gemma 2 has a window in every other layer, from the first on [NeMo v2.0.0 gemma2_modules.py].
  Status Gemma2Layers(const ConfigNode& types) {
    if (At("sliding_window").is_null()) return Unsupported("sliding_window: expected a number, found null");
    for (size_t i = 0; types.is_list() && i < types.list.size(); ++i) {
      if (Text(types.list[i]) != (i % 2 == 0 ? "sliding_attention" : "full_attention"))
        return Unsupported("layer_types: expected a window in every other layer, from the first on, found others");
    }
    return {};
  }

  bool IsGemma3() const { return architecture_.model_type == "gemma3_text"; }

  // After so many layers that see a window, one sees all [transformers configuration_gemma3.py].
  Result<int64_t> LocalLayers() {
    const ConfigNode& types = At("layer_types");
    const ConfigNode* saved = json_.Get("_sliding_window_pattern");
    const auto period = saved != nullptr ? saved->AsInt() : At("sliding_window_pattern").AsInt();
    if (!period || *period < 1) return Corrupt("sliding_window_pattern: expected a number above 0, found none");
    if (!types.is_list()) return *period - 1;
    const auto is_full = [](const ConfigNode& type) { return Text(type) == "full_attention"; };
    const auto first = std::find_if(types.list.begin(), types.list.end(), is_full);
    const auto count = static_cast<int64_t>(types.list.size());
    // Where no layer sees all, any period beyond the layers is the same.
    const int64_t local = first != types.list.end() ? first - types.list.begin() : std::max(*period - 1, count);
    for (int64_t i = 0; i < count; ++i) {
      if (is_full(types.list[static_cast<size_t>(i)]) != ((i + 1) % (local + 1) == 0))
        return Unsupported("layer_types: expected layers that see all in equal distances, found others");
    }
    return local;
  }

  // Layers that see a window have positions of their own; only those of the others are scaled
  // [transformers modeling_gemma3.py; NeMo v2.4.0 gemma3.py].
  Status Gemma3() {
    for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
      if (!At(key).is_null())
        return Unsupported(
            fmt::format("{}: expected null, found {}: NeMo's Gemma 3 has none", key, At(key).ScalarText()));
    }
    if (At("sliding_window").is_null()) return Unsupported("sliding_window: expected a number, found null");
    ANEMONE_ASSIGN(const int64_t local, LocalLayers());
    Set("interleaved_attn_pattern", ConfigNode::List({ConfigNode::Int(local), ConfigNode::Int(1)}));
    const ConfigNode& parameters = At("rope_parameters");
    const ConfigNode &full = parameters.is_map() ? WordAt(parameters, "full_attention") : At("rope_scaling"),
                     &sliding = WordAt(parameters, "sliding_attention");
    for (const auto& [word, map] : {std::pair{"rotary_base", &full}, {"rotary_base_local", &sliding}}) {
      if (const ConfigNode* base = parameters.is_map() ? map->Get("rope_theta") : nullptr) Set(word, *base);
    }
    const auto type_of = [](const ConfigNode& map) {
      const std::string type = Text(WordAt(map, "rope_type"));
      return type.empty() ? Text(WordAt(map, "type")) : type;
    };
    const std::string_view place = PlaceOf(parameters);
    if (const std::string type = type_of(sliding); !type.empty() && type != "default")
      return Unsupported(fmt::format("rope_parameters.sliding_attention: expected default, found {}", type));
    const std::string type = type_of(full);
    if (type.empty() || type == "default") return {};
    if (type != "linear")
      return Unsupported(fmt::format("{}.{}rope_type: expected linear, found {}", place,
                                     parameters.is_map() ? "full_attention." : "", type));
    Set("rope_scaling_factor", WordAt(full, "factor"));
    return {};
  }

  // ---- DeepSeek ----

  bool IsLatent() const { return IsTrue(WordAt(to_, "multi_latent_attention")); }
  bool IsV3() const { return architecture_.model_type == "deepseek_v3"; }

  Status Latent(std::vector<std::string>* notes) {
    At("qk_head_dim");  // a sum of others
    // transformers makes as many rotary frequencies as `head_dim` says.
    const ConfigNode &channels = At("head_dim"), &rotary = At("qk_rope_head_dim");
    if (!channels.is_null() && !SameConfig(channels, rotary))
      return Corrupt(
          fmt::format("head_dim: expected that of qk_rope_head_dim, {}, found {}", Shown(rotary), Shown(channels)));
    const ConfigNode& heads = At("num_key_value_heads");
    if (!heads.is_null() && !At("num_attention_heads").is_null() && !SameConfig(heads, At("num_attention_heads")))
      return Unsupported(fmt::format("num_key_value_heads: expected that of num_attention_heads, {}, found {}",
                                     At("num_attention_heads").ScalarText(), heads.ScalarText()));
    if (At("q_lora_rank").is_null()) Set("q_lora_rank", ConfigNode::Null());
    ANEMONE_TRY(LatentPositions());
    ANEMONE_TRY(DenseLayers());
    ANEMONE_TRY(Router(notes));
    // No key of transformers' says how much training heeds them: as in NeMo's recipe and Megatron-core.
    if (MtpLayersOf(to_) > 0) Set("mtp_loss_scaling_factor", ConfigNode::Float(0.1));
    // [transformers modeling_deepseek_v2.py: q_a_layernorm, kv_a_layernorm]
    if (notes != nullptr && At("rms_norm_eps").AsDouble() != 1e-6) {
      notes->push_back(
          fmt::format("rms_norm_eps: transformers takes 1e-06 for the norms of latent vectors, Megatron {}",
                      At("rms_norm_eps").ScalarText()));
    }
    return {};
  }

  Status DenseLayers() {
    const ConfigNode &first = At("first_k_dense_replace"), &shared = At("n_shared_experts");
    const auto dense = first.is_null() ? std::optional<int64_t>(0) : first.AsInt(),
               layers = At("num_hidden_layers").AsInt();
    if (!dense || *dense < 0)
      return Corrupt(fmt::format("first_k_dense_replace: expected a number of layers, found {}", first.ScalarText()));
    constexpr int64_t kMost = 100'000;  // more layers are refused elsewhere
    if (*dense > 0 && layers && *layers <= kMost) {
      ConfigNode& which = to_["moe_layer_freq"] = ConfigNode::List();
      for (int64_t i = 0; i < *layers; ++i) which.list.push_back(ConfigNode::Int(i < *dense ? 0 : 1));
    }
    const auto count = shared.is_null() ? std::optional<int64_t>(0) : shared.AsInt(),
               size = At("moe_intermediate_size").AsInt();
    constexpr int64_t kLargest = int64_t{1} << 31;
    if (!count || *count < 0 || *count > kLargest || size.value_or(0) > kLargest)
      return Corrupt(fmt::format("n_shared_experts: expected a number of experts, found {}", shared.ScalarText()));
    if (*count > 0 && size) Set("moe_shared_expert_intermediate_size", ConfigNode::Int(*count * *size));
    return {};
  }

  Status Router(std::vector<std::string>* notes) {
    const Fixed of_v2[] = {{"scoring_func", "softmax", "other scores"},
                           {"norm_topk_prob", "false", "weights divided by their sum"}};
    const Fixed of_v3[] = {{"scoring_func", "sigmoid", "other scores"},
                           {"topk_method", "noaux_tc", "other ways to choose experts"},
                           {"norm_topk_prob", "true", "weights as they are"},
                           {"rope_interleave", "true", "rotary positions by halves"}};
    for (const Fixed& fixed : IsV3() ? std::span<const Fixed>(of_v3) : std::span<const Fixed>(of_v2))
      ANEMONE_TRY(CheckFixed(fixed));
    ANEMONE_TRY(CheckFixed({"moe_layer_freq", "1", "layers with and without experts in turns"}));
    const int64_t topk = At("num_experts_per_tok").AsInt().value_or(0), groups = At("n_group").AsInt().value_or(1),
                  chosen = At("topk_group").AsInt().value_or(groups);
    if (groups < 1 || chosen < 1)
      return Corrupt(
          fmt::format("n_group: expected groups of experts, found {}, of which {} are chosen", groups, chosen));
    const std::string method = IsV3() ? "group_limited_greedy" : Text(At("topk_method"));
    if (method == "greedy") {
      for (const char* word : {"moe_router_num_groups", "moe_router_group_topk"}) Set(word, ConfigNode::Null());
      return {};
    }
    if (method != "group_limited_greedy")
      return Unsupported(fmt::format("topk_method: expected greedy or group_limited_greedy, found {}", method));
    // [core_v0.16.1 moe_utils.py, group_limited_topk; transformers modeling_deepseek_v2.py and _v3.py]
    const int64_t theirs = IsV3() ? 2 : 1, experts = At("n_routed_experts").AsInt().value_or(0);
    if (!At("n_group").AsInt() || experts % groups != 0 || experts / groups < theirs || chosen > groups)
      return Corrupt(
          fmt::format("n_group: expected groups of {} experts, {} or more in each, found {}, of which {} are chosen",
                      experts, theirs, Shown(At("n_group")), chosen));
    const int64_t megatrons = chosen > 0 ? topk / chosen : 0;
    if (chosen >= groups || theirs == megatrons) return {};
    const std::string line = fmt::format(
        "n_group: transformers chooses groups by the sum of their best {}, Megatron by that of {} = "
        "num_experts_per_tok "
        "/ topk_group",
        theirs, megatrons);
    if (IsV3()) return Unsupported(line);
    // NVIDIA's converters carry DeepSeek-V2 so.
    if (notes != nullptr) notes->push_back(fmt::format("{}: some tokens may go to other experts", line));
    return {};
  }

  // YaRN, or none [transformers modeling_rope_utils.py, _compute_yarn_parameters].
  Status LatentPositions() {
    const ConfigNode& parameters = At("rope_parameters");
    const ConfigNode& scaling = parameters.is_map() ? parameters : At("rope_scaling");
    if (const ConfigNode* base = parameters.is_map() ? parameters.Get("rope_theta") : nullptr)
      Set("rotary_base", *base);
    std::string type = Text(WordAt(scaling, "rope_type"));
    if (type.empty()) type = Text(WordAt(scaling, "type"));
    const bool is_plain = type.empty() || type == "default";
    Set("rope_type", TextNode(is_plain ? "rope" : "yarn"));
    if (is_plain) {
      for (const auto& [word, value] :
           {std::pair{"rotary_scaling_factor", 1.0}, {"mscale", 1.0}, {"mscale_all_dim", 0.0}})
        Set(word, ConfigNode::Float(value));
      return {};
    }
    const std::string_view place = PlaceOf(parameters);
    if (type != "yarn") return Unsupported(fmt::format("{}.rope_type: expected yarn, found {}", place, type));
    for (const auto& [key, value] : scaling.map) {
      constexpr std::string_view kKnown[] = {
          "rope_type", "type",      "rope_theta", "factor",        "original_max_position_embeddings",
          "beta_fast", "beta_slow", "mscale",     "mscale_all_dim"};
      const bool is_known =
          std::ranges::find(kKnown, key) != std::end(kKnown) || value.is_null() || (key == "truncate" && IsTrue(value));
      if (!is_known)
        return Unsupported(
            fmt::format("{}.{}: expected none, found {}: Megatron has no word for it", place, key, Shown(value)));
    }
    const auto number = [&](const char* key, double silent) {
      const ConfigNode& value = WordAt(scaling, key);
      return value.is_null() ? std::optional(silent) : value.AsDouble();
    };
    for (const auto& [word, key, silent] :
         {std::tuple{"rotary_scaling_factor", "factor", 0.0},
          {"original_max_position_embeddings", "original_max_position_embeddings", 0.0},
          {"beta_fast", "beta_fast", 32.0},
          {"beta_slow", "beta_slow", 1.0},
          {"mscale", "mscale", 0.0},
          {"mscale_all_dim", "mscale_all_dim", 0.0}}) {
      const auto value = number(key, silent);
      const bool is_needed =
          std::string_view(word).starts_with("rotary_") || std::string_view(word).starts_with("original_");
      if (!value || (is_needed && *value <= 0))
        return Corrupt(
            fmt::format("{}.{}: expected a number above 0, found {}", place, key, WordAt(scaling, key).ScalarText()));
      Set(word, NumberWord(*value));
    }
    const double scale = *number("mscale", 0), all = *number("mscale_all_dim", 0);
    if (scale == 0 && all == 0) Set("mscale", ConfigNode::Int(1));
    if ((scale == 0) != (all == 0) && !(all == 0 && scale == 1))
      return Unsupported(
          fmt::format("{}.mscale: expected it and mscale_all_dim, or neither, found one of them", place));
    return {};
  }

  // Some versions of transformers write what rotary_emb_base and rotary_pct say under other names, too.
  Status SameTwice() {
    for (const auto& [key, other] :
         {std::pair{"rope_theta", "rotary_base"}, {"partial_rotary_factor", "rotary_percentage"}}) {
      const std::string_view own = HfKeyOf(architecture_, other);
      if (own.empty() || own == key) continue;
      const ConfigNode& value = At(key);
      if (!value.is_null() && !SameConfig(value, At(own)))
        return Corrupt(
            fmt::format("{}: expected that of {}, {}, found {}", key, own, At(own).ScalarText(), value.ScalarText()));
    }
    // Version 5 takes the one of rope_parameters, version 4 the other.
    const std::string_view own = HfKeyOf(architecture_, "rotary_base");
    const ConfigNode &base = WordAt(json_, own), &newer = WordAt(At("rope_parameters"), "rope_theta");
    if (!own.empty() && !base.is_null() && !newer.is_null() && !SameConfig(base, newer))
      return Corrupt(fmt::format("rope_parameters.rope_theta: expected that of {}, {}, found {}", own,
                                 base.ScalarText(), newer.ScalarText()));
    const ConfigNode &older = At("rope_scaling"), &parameters = At("rope_parameters");
    for (const auto& [key, value] : older.map) {
      const std::string_view name = key == "type" ? "rope_type" : std::string_view(key);
      const ConfigNode& other = WordAt(parameters, name);
      if (!parameters.is_map() || SameConfig(value, other)) continue;
      return Corrupt(fmt::format("rope_scaling.{}: expected that of rope_parameters, {}, found {}", key, Shown(other),
                                 Shown(value)));
    }
    return {};
  }

  Status RotaryTypes() {
    const ConfigNode& parameters = At("rope_parameters");
    for (const auto& [place, map] : {std::pair{"rope_parameters", &parameters},
                                     {"rope_parameters.full_attention", &WordAt(parameters, "full_attention")},
                                     {"rope_parameters.sliding_attention", &WordAt(parameters, "sliding_attention")},
                                     {"rope_scaling", &At("rope_scaling")}}) {
      if (!map->is_null() && !map->is_map())
        return Corrupt(fmt::format("{}: expected a map, found {}", place, ShownQuoted(*map)));
      for (const char* key : {"rope_type", "type"}) {
        const ConfigNode* type = map->Get(key);
        if (type != nullptr && Text(*type).empty())
          return Corrupt(fmt::format("{}.{}: expected a name, found {}", place, key, ShownQuoted(*type)));
      }
    }
    return {};
  }

  // The key that says how positions are scaled.
  static std::string_view PlaceOf(const ConfigNode& parameters) {
    return parameters.is_map() ? "rope_parameters" : "rope_scaling";
  }

  // Classes whose code is not the folder's own.
  bool IsOfTransformers() const {
    return architecture_.model_type != "baichuan" && architecture_.model_type != "chatglm";
  }

  // [transformers 5.24 modeling_rope_utils.py, _compute_yarn_parameters and standardize_rope_params]
  Status Yarn(const ConfigNode& scaling, std::string_view place) {
    for (const auto& [key, value] : scaling.map) {
      constexpr std::string_view kRead[] = {"rope_type", "type", "rope_theta", "partial_rotary_factor"};
      const bool is_known = value.is_null() || std::ranges::find(kRead, key) != std::end(kRead) ||
                            std::ranges::find(kYarnKeys, key, &HfKey::key) != std::end(kYarnKeys);
      if (!is_known)
        return Unsupported(
            fmt::format("{}.{}: expected none, found {}: Megatron has no word for it", place, key, Shown(value)));
    }
    Set("position_embedding_type", TextNode(kYarn));
    for (const HfKey& key : kYarnKeys) {
      const ConfigNode& value = WordAt(scaling, key.key);
      const bool is_flag = key.key == "truncate";
      if (!value.is_null() && (is_flag ? !value.AsBool() : value.AsDouble().value_or(0) <= 0))
        return Corrupt(fmt::format("{}.{}: expected {}, found {}", place, key.key,
                                   is_flag ? "true or false" : "a number above 0", Shown(value)));
      if (!value.is_null()) Set(key.word, is_flag ? value : NumberWord(*value.AsDouble()));
    }
    if (WordAt(to_, "yarn_original_max_position_embeddings").is_null())
      Set("yarn_original_max_position_embeddings", At("max_position_embeddings"));
    if (const ConfigNode& base = WordAt(to_, "rotary_base"); base.AsDouble() == 1.0)  // whose logarithm it divides by
      return Corrupt(fmt::format("{}.rope_theta: expected a number other than 1 beside yarn, found 1", place));
    if (!WordAt(to_, "yarn_rotary_scaling_factor").is_null()) return {};
    return Corrupt(fmt::format("{}.factor: expected a number above 0, found nothing", place));
  }

  // rope_scaling and rope_theta of transformers 4, rope_parameters of 5.
  Status Positions() {
    const ConfigNode& parameters = At("rope_parameters");
    const ConfigNode& scaling = parameters.is_map() ? parameters : At("rope_scaling");
    // [baichuan-inc/Baichuan2-13B-Base modeling_baichuan.py; NeMo v2.0.0 convert_baichuan2_hf_to_nemo.py, which goes by
    // the number of layers, too.]
    constexpr int64_t kLayersWithAlibi = 40;
    if (architecture_.model_type == "baichuan" && At("num_hidden_layers").AsInt() == kLayersWithAlibi)
      return Unsupported(
          "num_hidden_layers: expected a Baichuan2 with rotary positions (32), found 40, whose positions "
          "are ALiBi: they are not carried");
    if (const auto ratio = At("rope_ratio").AsDouble()) Set("rotary_base", ConfigNode::Float(10000.0 * *ratio));
    if (!scaling.is_map()) return {};
    if (const ConfigNode& base = WordAt(parameters, "rope_theta"); !base.is_null()) Set("rotary_base", base);
    std::string type = Text(WordAt(scaling, "rope_type"));
    if (type.empty()) type = Text(WordAt(scaling, "type"));
    const bool is_plain = type == "default" || type.empty();
    if (const ConfigNode& part = WordAt(parameters, "partial_rotary_factor"); !part.is_null()) {
      // A class that rotates all of a head does not read it, unless positions are scaled.
      const bool is_read = !HfKeyOf(architecture_, "rotary_percentage").empty();
      if (is_read) Set("rotary_percentage", part);
      if (!is_read && !is_plain && part.AsDouble() != 1.0)
        return Unsupported(fmt::format("rope_parameters.partial_rotary_factor: expected 1, as {} computes, found {}",
                                       architecture_.name, part.ScalarText()));
    }
    if (is_plain) return {};
    const std::string_view place = PlaceOf(parameters);
    if (type == "linear") {
      const ConfigNode& factor = WordAt(scaling, "factor");
      if (factor.AsDouble().value_or(0) <= 0)
        return Corrupt(fmt::format("{}.factor: expected a number above 0, found {}", place, factor.ScalarText()));
      Set("seq_len_interpolation_factor", factor);
      return {};
    }
    if (type == kYarn && IsOfTransformers()) return Yarn(scaling, place);
    if (type != "llama3")
      return Unsupported(fmt::format("{}.rope_type: expected linear, llama3 or yarn, found {}", place, type),
                         "neither NeMo's decoders nor Megatron's scale positions so");
    for (const PositionFactor& factor : PositionFactors()) {
      const ConfigNode& found = WordAt(scaling, factor.hf);
      const auto value = found.AsDouble();
      if (!value)
        return Corrupt(fmt::format("{}.{}: expected a number, found {}", place, factor.hf, found.ScalarText()));
      if (*value != factor.built_in) Set(fmt::format("rope_scaling.{}", factor.hf), ConfigNode::Float(*value));
    }
    Set("scale_positional_embedding", ConfigNode::Bool(true));
    return {};
  }

  // Words for groups that are not a number of them.
  Status Groups() {
    if (architecture_.model_type == "falcon" && !IsTrue(At("new_decoder_architecture"))) {
      Set("num_query_groups", IsTrue(At("multi_query")) ? ConfigNode::Int(1) : ConfigNode::Null());
    }
    if (architecture_.model_type == "chatglm" && !IsTrue(At("multi_query_attention")))
      Set("num_query_groups", ConfigNode::Null());
    if (architecture_.model_type == "gpt_bigcode" && !IsTrue(At("multi_query")))
      return Unsupported("multi_query: expected true, found false: heads with keys of their own are not carried");
    if (architecture_.model_type != "falcon") return {};
    const ConfigNode& norms = At("num_ln_in_parallel_attn");
    if (norms.AsInt() == 1 && IsTrue(At("new_decoder_architecture")))
      return Unsupported("num_ln_in_parallel_attn: expected 2, found 1: NeMo has no such model");
    const bool is_parallel = IsTrue(At("new_decoder_architecture")) || IsTrue(At("parallel_attn"));
    if (is_parallel && IsTrue(At("bias")))  // [NeMo v2.0.0 falcon_decoder_layer.py]
      return Unsupported(
          "bias: expected false, found true: NeMo's Falcon leaves out biases where it adds attention and MLP");
    return {};
  }

  Status Experts() {
    const ConfigNode& dense = At("mlp_only_layers");
    if (!dense.is_null() && !(dense.is_list() && dense.list.empty()))
      return Unsupported("mlp_only_layers: expected none, found some: layers with and without experts are not carried");
    if (!HfKeyOf(architecture_, "moe_router_pre_softmax").empty())
      Set("moe_router_pre_softmax", ConfigNode::Bool(!IsTrue(At("norm_topk_prob"))));
    const bool has_experts = WordAt(to_, "num_moe_experts").AsInt().value_or(0) > 0;
    const auto experts = WordAt(to_, "num_moe_experts").AsInt(), chosen = WordAt(to_, "moe_router_topk").AsInt();
    const bool is_unsaid = WordAt(to_, "moe_router_topk").is_null();
    if (has_experts && !is_unsaid && (!chosen || *chosen < 1 || *chosen > *experts))
      return Corrupt(fmt::format("num_experts_per_tok: expected 1 to {}, the number of experts, found {}", *experts,
                                 Shown(WordAt(to_, "moe_router_topk"))));
    const bool divides = !IsTrue(WordAt(to_, "moe_router_pre_softmax"));
    if (has_experts && divides && WordAt(to_, "moe_router_topk").AsInt() == 1)
      return Unsupported(  // [core_v0.9.0 moe_utils.py, topk_softmax_with_capacity]
          "num_experts_per_tok: expected 2 or more, found 1: its weight is 1 in transformers, its score in Megatron");
    return {};
  }

  void NoteUnknown(std::vector<std::string>* notes) {
    const auto is_known = [&](std::string_view key) {
      return std::ranges::find(known_, key) != known_.end() || silent_.Get(key) != nullptr;
    };
    internal::NoteUnknownKeys(json_, is_known, notes);
  }

  const ConfigNode& json_;
  const HfArchitecture& architecture_;
  const ConfigNode silent_;
  std::vector<std::string_view> known_;
  ConfigNode to_;
};

}  // namespace

namespace internal {

std::span<const HfActivation> HfActivations() { return kActivations; }
std::span<const HfKey> YarnKeys() { return kYarnKeys; }

std::string_view HfNameIn(const ConfigNode& json, std::string_view key) {
  if (json.Get(key) != nullptr) return key;
  for (const auto& [name, alias] : kAliases) {
    if (name == key && json.Get(alias) != nullptr) return alias;
  }
  return key;
}

void NoteUnknownKeys(const ConfigNode& json, const std::function<bool(std::string_view key)>& is_known,
                     std::vector<std::string>* notes) {
  for (const auto& [key, value] : json.map) {
    if (std::ranges::find(kHarmless, key) == std::end(kHarmless) && !is_known(key))
      notes->push_back(fmt::format("{}: not known to change what the model computes, left alone", key));
  }
}

Result<ConfigNode> ReadHfConfig(const ConfigNode& json, const HfArchitecture& architecture,
                                std::vector<std::string>* notes) {
  return HfReader(json, architecture).Read(notes);
}

}  // namespace internal

bool IsHfDecoderConfig(const ConfigNode& root) {
  if (root.Get("model_type") == nullptr && root.Get("architectures") == nullptr) return false;
  return FindHfArchitecture(root) != nullptr ||
         (root.Get("text_config") == nullptr && root.Get("vision_config") == nullptr);
}

namespace {

// transformers' Auto classes build what `model_type` names, NeMo's converters what the class does.
Status CheckType(const ConfigNode& config_json, const HfArchitecture& architecture, std::vector<std::string>* notes) {
  const ConfigNode& type = WordAt(config_json, "model_type");
  if (type.is_null() || type.AsString() == std::string(architecture.model_type)) return {};
  const std::string line = fmt::format("model_type: expected {}, as {} has, found {}", architecture.model_type,
                                       architecture.name, Shown(type));
  const auto is_others = [&](const HfArchitecture& other) { return type.AsString() == std::string(other.model_type); };
  if (std::ranges::any_of(HfArchitectures(), is_others))
    return Corrupt(line).Use("architecture", architecture.name, "take it for that");
  if (notes != nullptr) notes->push_back(line + ": the class counts");
  return {};
}

}  // namespace

Result<ConfigNode> Nemo1OfHf(const ConfigNode& config_json, std::vector<std::string>* notes) {
  const HfArchitecture* architecture = FindHfArchitecture(config_json);
  if (architecture == nullptr) {
    const ConfigNode& names = WordAt(config_json, "architectures");
    return Unsupported(fmt::format("architectures: expected one that is known, found {}",
                                   names.is_list() && !names.list.empty() ? names.list.front().ScalarText() : "none"),
                       internal::KnownHfClasses());
  }
  ANEMONE_TRY(CheckType(config_json, *architecture, notes));
  ANEMONE_ASSIGN(ConfigNode model, internal::ReadHfConfig(config_json, *architecture, notes));
  for (const char* word : {"num_layers", "hidden_size", "num_attention_heads"}) {
    if (model.Get(word) == nullptr)
      return Corrupt(fmt::format("{}: expected a number, found nothing", HfKeyOf(*architecture, word)));
  }
  if (WordAt(model, "num_moe_experts").AsInt().value_or(0) > 0 && WordAt(model, "moe_router_topk").is_null())
    return Corrupt("num_experts_per_tok: expected a number, found nothing");
  return model;
}

}  // namespace anemone
