// Writing a decoder's config.json (hf_config.h): what config.json does not say already is set, then what it says is
// compared with the words of the model.
//
// Facts: transformers 4.44.2 and 5 configuration_utils.py, modeling_rope_utils.py, activations.py.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
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

class HfWriter {
 public:
  HfWriter(const ConfigNode& model, const HfRequest& request)
      : model_(model), request_(request), silent_(ParseWord(request.architecture->silent)) {}

  Result<ConfigNode> Write(std::vector<std::string>* notes) {
    const HfArchitecture& architecture = *request_.architecture;
    ANEMONE_ASSIGN(words_, WordsOf(model_, notes));
    // [NeMo v2.0.0 convert_mixtral_hf_to_nemo.py says true, mended by NeMo's pull request 13678.]
    if (architecture.model_type == "mixtral" && IsTrue(words_["moe_router_pre_softmax"])) {
      words_["moe_router_pre_softmax"] = ConfigNode::Bool(false);
      if (notes != nullptr)
        notes->emplace_back("moe_router_pre_softmax: read as false, as Mixtral computes; NeMo's converter says true");
    }
    ANEMONE_TRY(CheckRouting(notes));
    if (request_.kept != nullptr) {
      json_ = *request_.kept;
      if (json_.Get("model_type") == nullptr) json_["model_type"] = TextNode(architecture.model_type);
    } else {
      json_ = ParseWord(architecture.silent);
      json_["architectures"] = ConfigNode::List({TextNode(architecture.name)});
      json_["model_type"] = TextNode(architecture.model_type);
      json_["torch_dtype"] = ConfigNode::Null();
      json_["transformers_version"] = TextNode("4.44.2");
    }
    // What others are silent about follows from these.
    const auto is_size = [](const HfKey& key) {
      return key.word == "num_layers" || key.word == "hidden_size" || key.word == "num_attention_heads" ||
             key.word == "mcore_customization_config.new_decoder_architecture";
    };
    ANEMONE_ASSIGN(ConfigNode before, Words());
    for (const HfKey& key : HfKeysOf(architecture)) {
      if (is_size(key)) Key(key, before);
    }
    ANEMONE_ASSIGN(before, Words());
    for (const HfKey& key : HfKeysOf(architecture)) {
      if (!is_size(key)) Key(key, before);
    }
    WriteActivation(before);
    Positions(before);
    Special(before);
    SetRows();
    ANEMONE_ASSIGN(const ConfigNode after, Words());
    const std::vector<std::string> lines = DifferingWords(words_, after);
    if (!lines.empty()) {
      return Unsupported(
          fmt::format("{} cannot say what this model computes: {}", architecture.name, fmt::join(lines, "; ")),
          std::string(kWeightsAlone));
    }
    if (request_.kept == nullptr) json_["torch_dtype"] = TextNode("float32");
    SetHuggingFaceDType(json_, request_.dtype);
    if (request_.kept != nullptr) return std::move(json_);
    FinishNew();
    return std::move(json_);
  }

 private:
  // How Megatron routes tokens, where no class of transformers has a word for it [core_v0.9.0 moe/router.py].
  Status CheckRouting(std::vector<std::string>* notes) const {
    if (WordAt(words_, "num_moe_experts").is_null()) return {};
    if (Text(WordAt(model_, "moe_router_load_balancing_type")) == "sinkhorn")
      return Unsupported(
          "moe_router_load_balancing_type: expected aux_loss or none, found sinkhorn, which weights experts otherwise "
          "than any class of transformers",
          std::string(kWeightsAlone));
    const ConfigNode& devices = WordAt(model_, "moe_router_topk_limited_devices");
    if (!devices.is_null())
      return Unsupported(
          fmt::format("moe_router_topk_limited_devices: expected null, found {}: no class of transformers chooses "
                      "experts by their devices",
                      Shown(devices)),
          std::string(kWeightsAlone));
    const ConfigNode& capacity = WordAt(model_, "moe_expert_capacity_factor");
    if (notes != nullptr && capacity.AsDouble().value_or(-1) >= 0)
      notes->push_back(fmt::format(
          "moe_expert_capacity_factor: {}: Megatron leaves out tokens beyond an expert's capacity, transformers none",
          Shown(capacity)));
    return {};
  }
  // What a config.json that is made anew has, of whatever version.
  void FinishNew() {
    for (auto& [key, value] : json_.map) {
      if (value.kind == ConfigNode::Kind::kFloat) value.text.clear();  // YAML's spelling
    }
    // Not every version of every class takes null for what follows from others.
    for (const auto& [key, word] :
         {std::pair{"head_dim", "kv_channels"}, {"num_key_value_heads", "num_query_groups"}}) {
      if (ConfigNode* size = json_.Get(key); size != nullptr && size->is_null()) *size = words_[word];
    }
    // Where all layers have experts, nothing has this size.
    const std::string size(HfKeyOf(*request_.architecture, "ffn_hidden_size"));
    if (size == "intermediate_size" && WordAt(json_, size).is_null()) {
      const ConfigNode& said = WordAt(model_, "ffn_hidden_size");
      json_[size] = said.is_null() ? words_["moe_ffn_hidden_size"] : said;
    }
    TypeHfNumbers(&json_);
    std::sort(json_.map.begin(), json_.map.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  }
  Result<ConfigNode> Words() const {
    ANEMONE_ASSIGN(ConfigNode model, internal::ReadHfConfig(json_, *request_.architecture, nullptr));
    // A config.json may say a number of layers that no folder of transformers' has.
    if (WordAt(words_, "mtp_num_layers").is_null()) model.Erase("mtp_num_layers");
    return WordsOf(model, nullptr);
  }
  void SetRows() {
    const std::string own(HfKeyOf(*request_.architecture, "vocab_size"));
    for (const std::string& name : {own, std::string("vocab_size")}) {
      const bool is_same = WordAt(json_, name).AsInt() == static_cast<int64_t>(request_.vocab_rows);
      if (request_.vocab_rows > 0 && !is_same) json_[name] = ConfigNode::Int(static_cast<int64_t>(request_.vocab_rows));
    }
  }
  // What the class takes for a key.
  const ConfigNode& Said(std::string_view key) const {
    const ConfigNode* own = json_.Get(key);
    return own != nullptr ? *own : WordAt(silent_, key);
  }
  bool Changed(std::string_view word, const ConfigNode& before) const {
    return !SameConfig(WordAt(words_, word), WordAt(before, word));
  }

  void Key(const HfKey& key, const ConfigNode& before) {
    if (key.word == "activation" || key.word == "vocab_size" || key.word == "moe_router_pre_softmax") return;
    const bool is_word = words_.Get(key.word) != nullptr;
    const ConfigNode& value = is_word ? WordAt(words_, key.word) : WordAt(model_, key.word);
    // In a new one, NeMo's rule for what is silent (an MLP of four widths) is not its class's.
    const bool is_unsaid = request_.kept == nullptr && json_.Get(key.key) == nullptr && !value.is_null();
    if (is_word && !is_unsaid && !Changed(key.word, before)) return;
    if (!is_word && (value.is_null() || SameConfig(value, Said(key.key)))) return;
    json_[std::string(HfNameIn(json_, key.key))] = value;
  }

  void WriteActivation(const ConfigNode& before) {
    const std::string_view key = HfKeyOf(*request_.architecture, "activation");
    if (key.empty() || (!Changed("activation", before) && !Changed("gelu by tanh", before))) return;
    const std::string name = Text(words_["activation"]);
    const bool by_tanh = IsTrue(words_["gelu by tanh"]);
    for (const HfActivation& activation : internal::HfActivations()) {
      std::string_view ours = request_.architecture->is_gated ? activation.gated : activation.plain;
      if (ours.starts_with("fast-")) ours.remove_prefix(5);
      if (ours != name || activation.by_tanh != by_tanh) continue;
      json_[std::string(key)] = TextNode(activation.hf);
      return;
    }
  }

  // Of all layers, or of those that see all.
  const ConfigNode& LinearFactor() const {
    const ConfigNode& factor = WordAt(words_, "seq_len_interpolation_factor");
    return factor.is_null() ? WordAt(words_, "rope_scaling_factor") : factor;
  }

  // YaRN as DeepSeek writes it.
  void LatentPositions(const ConfigNode& before) {
    constexpr std::pair<std::string_view, std::string_view> kKeys[] = {
        {"beta_fast", "beta_fast"},           {"beta_slow", "beta_slow"},
        {"factor", "rotary_scaling_factor"},  {"mscale", "mscale"},
        {"mscale_all_dim", "mscale_all_dim"}, {"original_max_position_embeddings", "original_max_position_embeddings"}};
    const bool has_changed = Changed("rope_type", before) ||
                             std::ranges::any_of(kKeys, [&](const auto& key) { return Changed(key.second, before); });
    if (!has_changed) return;
    ConfigNode scaling = ConfigNode::Null();
    if (Text(words_["rope_type"]) == "yarn") {
      scaling = ConfigNode::Map();
      for (const auto& [key, word] : kKeys) scaling[std::string(key)] = WordAt(words_, word);
      scaling["type"] = TextNode("yarn");
    }
    json_["rope_scaling"] = std::move(scaling);
  }

  // What DeepSeek counts otherwise.
  void LatentSizes(const ConfigNode& before) {
    if (ConfigNode* heads = json_.Get("num_key_value_heads");
        heads != nullptr && !SameConfig(*heads, WordAt(words_, "num_attention_heads")))
      *heads = WordAt(words_, "num_attention_heads");
    if (Changed("moe_layer_freq", before)) {
      const std::vector<ConfigNode>& layers = WordAt(words_, "moe_layer_freq").list;
      const auto has_experts = [](const ConfigNode& layer) { return layer.AsInt() == 1; };
      json_["first_k_dense_replace"] = ConfigNode::Int(std::ranges::find_if(layers, has_experts) - layers.begin());
    }
    const auto size = WordAt(words_, "moe_ffn_hidden_size").AsInt(),
               shared = WordAt(words_, "moe_shared_expert_intermediate_size").AsInt();
    if (Changed("moe_shared_expert_intermediate_size", before) || Changed("moe_ffn_hidden_size", before))
      json_["n_shared_experts"] = ConfigNode::Int(size.value_or(0) > 0 ? shared.value_or(0) / *size : 0);
    if (json_.Get("topk_method") != nullptr && request_.architecture->model_type == "deepseek_v2" &&
        Changed("moe_router_num_groups", before))
      json_["topk_method"] = TextNode(words_["moe_router_num_groups"].is_null() ? "greedy" : "group_limited_greedy");
    if (request_.kept != nullptr) return;
    // No groups are one group.
    for (const char* key : {"n_group", "topk_group", "routed_scaling_factor"}) {
      if (ConfigNode* node = json_.Get(key); node != nullptr && node->is_null()) *node = ConfigNode::Int(1);
    }
    if (ConfigNode* node = json_.Get("num_experts_per_tok"); node != nullptr && node->is_null())
      *node = WordAt(words_, "moe_router_topk");
  }

  void Positions(const ConfigNode& before) {
    if (IsTrue(words_["multi_latent_attention"])) {
      LatentPositions(before);
      LatentSizes(before);
      return;
    }
    bool has_changed = Changed("seq_len_interpolation_factor", before) ||
                       Changed("scale_positional_embedding", before) || Changed("rope_scaling_factor", before) ||
                       Changed("position_embedding_type", before) ||
                       std::ranges::any_of(YarnWords(), [&](std::string_view word) { return Changed(word, before); });
    ConfigNode llama3 = ParseWord("{rope_type: llama3}");
    for (const PositionFactor& factor : PositionFactors()) {
      const std::string word = fmt::format("rope_scaling.{}", factor.hf);
      has_changed = has_changed || Changed(word, before);
      const double value = words_[word].AsDouble().value_or(factor.built_in);
      const bool is_length = factor.hf == "original_max_position_embeddings";
      llama3[std::string(factor.hf)] =
          is_length ? ConfigNode::Int(static_cast<int64_t>(value)) : ConfigNode::Float(value);
    }
    if (!has_changed) return;
    std::sort(llama3.map.begin(), llama3.map.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    ConfigNode scaling = ConfigNode::Null();
    if (IsTrue(words_["scale_positional_embedding"])) {
      scaling = std::move(llama3);
    } else if (Text(words_["position_embedding_type"]) == kYarn) {
      scaling = ParseWord("{rope_type: yarn}");
      for (const HfKey& key : internal::YarnKeys()) {
        // Silent where it says what is taken then.
        const ConfigNode& value = WordAt(words_, key.word);
        if (!value.is_null() && !(key.key == "truncate" && IsTrue(value))) scaling[std::string(key.key)] = value;
      }
    } else if (const ConfigNode& factor = LinearFactor(); !factor.is_null()) {
      scaling = ConfigNode::Map();
      scaling["factor"] = ConfigNode::Float(factor.AsDouble().value_or(1));
      scaling["rope_type"] = TextNode("linear");
    }
    json_["rope_scaling"] = std::move(scaling);
  }

  // Words that several keys say.
  void Special(const ConfigNode& before) {
    const std::string_view type = request_.architecture->model_type;
    if (Changed("window_size", before) && !words_["window_size"].is_null() &&
        json_.Get("use_sliding_window") != nullptr) {
      json_["use_sliding_window"] = ConfigNode::Bool(true);
      json_["max_window_layers"] = ConfigNode::Int(0);
    }
    if (Changed("bias", before) && json_.Get("mlp_bias") != nullptr) {
      for (const char* key : {"attention_bias", "mlp_bias"}) json_[key] = words_["bias"];
    }
    if (Changed("moe_router_pre_softmax", before) && json_.Get("norm_topk_prob") != nullptr)
      json_["norm_topk_prob"] = ConfigNode::Bool(!IsTrue(words_["moe_router_pre_softmax"]));
    if (type == "falcon" && !IsTrue(WordAt(json_, "new_decoder_architecture")) && Changed("num_query_groups", before))
      json_["multi_query"] = ConfigNode::Bool(WordAt(words_, "num_query_groups").AsInt() == 1);
    if (type == "gemma3_text" && Changed("interleaved_attn_pattern", before)) {
      const ConfigNode& pattern = WordAt(words_, "interleaved_attn_pattern");
      const auto local = pattern.is_list() && pattern.list.size() == 2 ? pattern.list[0].AsInt() : std::nullopt;
      if (local) json_["sliding_window_pattern"] = ConfigNode::Int(*local + 1);
      json_.Erase("layer_types");
    }
    if (type == "chatglm") {
      if (Changed("num_query_groups", before)) json_["multi_query_attention"] = ConfigNode::Bool(true);
      const auto base = words_["rotary_base"].AsDouble();
      if (base && Changed("rotary_base", before)) json_["rope_ratio"] = ConfigNode::Float(*base / 10000.0);
    }
    // Its class takes token 32000 for padding where nothing is said.
    constexpr uint64_t kSilentPadding = 32000;
    if (type == "phi3" && request_.kept == nullptr && request_.vocab_rows > 0 && request_.vocab_rows <= kSilentPadding)
      json_["pad_token_id"] = ConfigNode::Null();
    if (type == "baichuan" && Changed("max_position_embeddings", before))
      json_["model_max_length"] = words_["max_position_embeddings"];
  }

  const ConfigNode& model_;
  const HfRequest& request_;
  const ConfigNode silent_;
  ConfigNode words_, json_;
};

}  // namespace

Result<ConfigNode> HfOfNemo1(const ConfigNode& model, const HfRequest& request, std::vector<std::string>* notes) {
  return HfWriter(model, request).Write(notes);
}

}  // namespace anemone
