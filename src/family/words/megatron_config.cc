// Facts: as megatron_tables.h says; Megatron-LM gpt_builders.py.
#include "family/words/megatron_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

#include "base/listing.h"
#include "config/nodes.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/gemma_words.h"
#include "family/words/megatron_tables.h"
#include "family/words/model_words.h"
#include "family/words/nemo2_ssm.h"

namespace anemone {
namespace {

// Arguments that code below reads.
constexpr std::string_view kRead[] = {
    "add_position_embedding",
    "bias_gelu_fusion",
    "bias_swiglu_fusion",
    "group_query_attention",
    "merge_file",
    "moe_layer_freq",
    "normalization",
    "num_query_groups",
    "padded_vocab_size",
    "position_embedding_type",
    "rope_scaling_factor",
    "spec",
    "squared_relu",
    "swiglu",
    "tokenizer_model",
    "tokenizer_type",
    "untie_embeddings_and_output_weights",
    "use_legacy_models",
    "use_rope_scaling",
    "use_rotary_position_embeddings",
    "use_te_activation_func",
    "use_transformer_engine_op_fuser",
    "vocab_file",
    "window_size",
};

// Arguments of training, of files, of machines and of other models, which change nothing of what this one computes.
constexpr std::string_view kTraining[] = {
#include "family/words/megatron_arguments.inc"
};

bool Has(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

bool IsNothing(const ConfigNode& node) {
  if (node.is_list()) return node.list.empty();
  return node.is_null() || node.AsBool() == false || node.AsString() == "" || node.AsString() == "none";
}

std::string TextIn(const ConfigNode& map, std::string_view key) { return WordAt(map, key).AsString().value_or(""); }
bool IsTrue(const ConfigNode& map, std::string_view key) { return WordAt(map, key).AsBool().value_or(false); }

// The arguments that say which layers are of Mamba 2 [core_v0.9.0 to core_v0.20.0 arguments.py].
constexpr std::string_view kNewLayerPattern = "hybrid_layer_pattern";
constexpr std::string_view kOfMamba[] = {kLayerPattern, kNewLayerPattern, "hybrid_attention_ratio", "hybrid_mlp_ratio",
                                         "is_hybrid_model"};

const ConfigNode& PatternIn(const ConfigNode& args) {
  const ConfigNode& newer = WordAt(args, kNewLayerPattern);
  return newer.is_null() ? WordAt(args, kLayerPattern) : newer;
}

Status SetNorm(const ConfigNode& args, ConfigNode* words) {
  const std::string norm = TextIn(args, "normalization");
  const bool centered = IsTrue(*words, "layernorm_zero_centered_gamma");
  if (norm == "RMSNorm") {
    (*words)["normalization"] = TextNode("rmsnorm");
  } else if (norm.empty() || norm == "LayerNorm") {
    (*words)["normalization"] = TextNode(centered ? "layernorm1p" : "layernorm");
  } else {
    return Unsupported(fmt::format("normalization: expected LayerNorm or RMSNorm, found {}", norm));
  }
  return {};
}

// An activation is fused with its bias, which computes gelu by its tanh form, unless there is none to add.
void SetActivation(const ConfigNode& args, ConfigNode* words) {
  const bool swiglu = IsTrue(args, "swiglu");
  (*words)["activation"] = TextNode(swiglu ? "fast-swiglu" : IsTrue(args, "squared_relu") ? "squared-relu" : "gelu");
  if (const std::string own = TextIn(args, "activation"); !own.empty()) (*words)["activation"] = TextNode(own);
  const bool has_bias = WordAt(args, "add_bias_linear").AsBool().value_or(true);
  const bool fused = WordAt(args, swiglu ? "bias_swiglu_fusion" : "bias_gelu_fusion").AsBool().value_or(has_bias);
  (*words)["bias_activation_fusion"] = ConfigNode::Bool(fused);
  TakeActivationOfTe(args, words);
}

// A pattern may say where pipeline stages begin.
Status SetMamba(ConfigNode args, ConfigNode* words) {
  ConfigNode pattern = PatternIn(args);
  std::erase(pattern.text, '|');
  args[kLayerPattern] = std::move(pattern);
  return SsmToNemo1(args, *words);
}

Status SetPositions(const ConfigNode& args, bool is_mamba, ConfigNode* words) {
  std::string type = TextIn(args, "position_embedding_type");
  if (type.empty() || IsTrue(args, "use_rotary_position_embeddings"))
    type = IsTrue(args, "use_rotary_position_embeddings") ? "rope" : "learned_absolute";
  // Megatron-Bridge's providers say how YaRN scales them; no argument of Megatron-LM's does.
  const bool is_yarn = type == kYarn && !WordAt(args, YarnWords().front()).is_null();
  for (const std::string_view word : YarnWords()) {
    if (is_yarn) (*words)[word] = WordAt(args, word);
  }
  // [core_v0.16.1 yarn_rotary_pos_embedding.py: its frequencies are those of a whole head.]
  if (const ConfigNode& part = WordAt(args, "rotary_percent"); is_yarn && part.AsDouble().value_or(1) != 1)
    return Unsupported(fmt::format("rotary_percent: expected 1 beside yarn, found {}", part.ScalarText()));
  const bool has_none = is_mamba && type == "none";
  if (type != "rope" && type != "learned_absolute" && !is_yarn && !has_none) {
    return Unsupported(fmt::format("position_embedding_type: expected rope or learned_absolute, found {}", type));
  }
  if (type == "learned_absolute" && !WordAt(args, "add_position_embedding").AsBool().value_or(true))
    return Unsupported(
        "add_position_embedding: expected true, found false: models without positions are not supported");
  (*words)["position_embedding_type"] = TextNode(type);
  if (type != "rope" || !IsTrue(args, "use_rope_scaling")) return {};
  // What NeMo 1 has built in, but for the factor [core_v0.14.0 rotary_pos_embedding.py, _apply_scaling].
  const ConfigNode& factor = WordAt(args, "rope_scaling_factor");
  if (!factor.is_null()) {
    ConfigNode& scaling = (*words)["rope_scaling"] = ConfigNode::Map();
    scaling["factor"] = factor;
  }
  (*words)["scale_positional_embedding"] = ConfigNode::Bool(true);
  return {};
}

// Megatron's window is how many tokens one sees before itself; NeMo's converters, and transformers, count it, too.
Status SetWindow(const ConfigNode& args, ConfigNode* words) {
  const ConfigNode& window = WordAt(args, "window_size");
  if (window.is_null()) return {};
  const auto left = window.is_list() && window.list.size() == 2 ? window.list[0].AsInt() : std::nullopt;
  const auto right = left ? window.list[1].AsInt() : std::nullopt;
  if (!right || *left >= int64_t{1} << 40) return Corrupt("window_size: expected two numbers, found something else");
  if (*left < 0) return {};
  (*words)["window_size"] = ConfigNode::List({ConfigNode::Int(*left + 1), ConfigNode::Int(*right)});
  return {};
}

// NeMo 1's name for a tokenizer, whose files are elsewhere.
void SetTokenizer(const ConfigNode& args, ConfigNode* words) {
  const std::string type = TextIn(args, "tokenizer_type"), model = TextIn(args, "tokenizer_model");
  if (type.empty() || type.starts_with("Null")) return;
  ConfigNode tokenizer = ConfigNode::Map();
  const bool is_hf = type.find("HuggingFace") != std::string::npos;
  const bool is_pieces = type.find("SentencePiece") != std::string::npos || type.starts_with("Llama2");
  tokenizer["library"] = TextNode(is_hf ? "huggingface" : is_pieces ? "sentencepiece" : "megatron");
  tokenizer["type"] = is_hf ? TextNode(model) : is_pieces ? ConfigNode::Null() : TextNode(type);
  tokenizer["model"] = is_pieces ? TextNode(model) : ConfigNode::Null();
  for (const char* key : {"vocab_file", "merge_file"}) tokenizer[key] = WordAt(args, key);
  (*words)["tokenizer"] = std::move(tokenizer);
}

// ---- Megatron-Bridge ----

// Keys of a provider that code reads, under the names that the arguments have.
constexpr std::pair<std::string_view, std::string_view> kBridge[] = {
    {"bias_activation_fusion", "bias_gelu_fusion"},
    {"rope_scaling", "use_rope_scaling"},
};

std::string ArgumentOf(std::string_view bridge) {
  const auto* row = std::ranges::find(kMegatronKeys, bridge, BridgeKeyOf);
  if (row != std::end(kMegatronKeys)) return std::string(row->key);
  const auto* other = std::ranges::find(kBridge, bridge, [](const auto& pair) { return pair.first; });
  return std::string(other == std::end(kBridge) ? bridge : other->second);
}

std::string LastName(std::string_view python) { return std::string(python.substr(python.rfind('.') + 1)); }

// How an activation is written: {_target_: torch.nn.functional.silu}, or "silu".
std::string FunctionName(const ConfigNode& node) {
  return LastName(node.is_map() ? TextIn(node, "_target_") : node.AsString().value_or(""));
}

Status TakeBridgeActivation(const ConfigNode& model, ConfigNode* args) {
  const std::string name = FunctionName(WordAt(model, "activation_func"));
  const bool gated = IsTrue(model, "gated_linear_unit");
  const std::string_view function = name.empty() ? std::string_view("gelu") : name;
  const auto* known = std::ranges::find(kBridgeActivations, function,
                                        [](const BridgeActivation& row) { return LastName(row.function); });
  const std::string_view word = known == std::end(kBridgeActivations) ? "" : gated ? known->gated : known->plain;
  if (word.empty())
    return Unsupported(fmt::format("activation_func: expected one that is carried, found {}{}", name,
                                   gated ? " in a gated MLP" : " in an MLP without gates"));
  (*args)["activation"] = TextNode(word);
  (*args)["openai_gelu"] = ConfigNode::Bool(known->by_tanh);
  return {};
}

// The class of run_config.yaml's model.
Result<const BridgeClass*> ClassOfBridge(const ConfigNode& root) {
  const std::string name = LastName(TextIn(*root.Get("model"), "_target_"));
  const auto* known =
      std::ranges::find_if(kBridgeClasses, [&](const BridgeClass& row) { return name.starts_with(row.name); });
  // Models of audio and of images, and classifiers of tokens, have a decoder's name with one of these in it.
  constexpr std::string_view kOthers[] = {"VL", "Audio", "Omni", "ASR", "Classification"};
  const bool is_other =
      std::ranges::any_of(kOthers, [&](std::string_view part) { return name.find(part) != std::string::npos; });
  if (known == std::end(kBridgeClasses) || is_other)
    return Unsupported(fmt::format("_target_: expected a class that is carried, found {}", name)).In("model");
  return known;
}

// After so many layers that see a window one sees all: a pair, or a list of every layer's kind.
Status PairOfKinds(ConfigNode* pattern) {
  if (!pattern->is_list() || pattern->list.empty() || !pattern->list.front().AsString()) return {};
  const auto sees_all = [](const ConfigNode& layer) { return layer.AsString() == "full_attention"; };
  const auto local = static_cast<size_t>(std::ranges::find_if(pattern->list, sees_all) - pattern->list.begin());
  for (size_t i = 0; i < pattern->list.size(); ++i) {
    const bool expected = i % (local + 1) == local,
               known = sees_all(pattern->list[i]) || pattern->list[i].AsString() == "sliding_attention";
    if (!known || expected != sees_all(pattern->list[i]))
      return Unsupported(fmt::format(
          "interleaved_attn_pattern: expected one layer that sees all after each {}, found another order", local));
  }
  *pattern = ConfigNode::List({ConfigNode::Int(static_cast<int64_t>(local)), ConfigNode::Int(1)});
  return {};
}

// What a class computes beside what its fields say.
Status TakeBridgeClass(const BridgeClass& known, ConfigNode model, ConfigNode* words) {
  for (const auto& [key, value] : ParseWord(known.implied).map) (*words)[key] = value;
  const std::string name = TextIn(*words, "name");
  if (name == kGemma2Name) TakeGemma2(model, *words);
  if (name != kGemma3Name) return {};
  if (ConfigNode* pattern = model.Get("interleaved_attn_pattern")) ANEMONE_TRY(PairOfKinds(pattern));
  TakeGemma3(model, *words);
  return {};
}

// run_config.yaml's model in the words of Megatron-LM's arguments.
Result<ConfigNode> ArgsOfBridge(const ConfigNode& root) {
  ConfigNode model = *root.Get("model");
  // The builder's layout keeps what the transformer is apart.
  if (const ConfigNode* inner = model.Get("transformer"); inner != nullptr && inner->is_map()) {
    const ConfigNode fields = *inner;
    for (const auto& [key, value] : fields.map) {
      if (model.Get(key) == nullptr) model[key] = value;
    }
  }
  ConfigNode args = ConfigNode::Map();
  for (const auto& [key, value] : model.map) args[ArgumentOf(key)] = value;
  args["swiglu"] = ConfigNode::Bool(false);
  args["group_query_attention"] = ConfigNode::Bool(!WordAt(model, "num_query_groups").is_null());
  const bool shared = WordAt(model, "share_embeddings_and_output_weights").AsBool().value_or(true);
  args["untie_embeddings_and_output_weights"] = ConfigNode::Bool(!shared);
  if (const ConfigNode* tokenizer = root.Get("tokenizer"); tokenizer != nullptr && tokenizer->is_map()) {
    for (const char* key : {"tokenizer_type", "tokenizer_model", "vocab_file", "merge_file"})
      args[key] = WordAt(*tokenizer, key);
  }
  ANEMONE_TRY(TakeBridgeActivation(model, &args).In("model"));
  return args;
}

void NoteUnknown(const ConfigNode& args, std::vector<std::string>* notes) {
  std::vector<std::string> unknown;
  for (const auto& argument : args.map) {
    const std::string& key = argument.first;
    const ConfigNode& value = argument.second;
    const auto has_key = [&](const auto& row) { return row.key == key; };
    if (IsNothing(value) || Has(kRead, key) || std::ranges::any_of(kMegatronKeys, has_key) ||
        std::ranges::any_of(kMegatronOnly, has_key) || Has(kTraining, key))
      continue;
    unknown.push_back(fmt::format("{} = {}", key, Shown(value)));
  }
  if (!unknown.empty())
    notes->push_back(fmt::format("arguments that are not known are not looked at: {}", Listing(unknown)));
}

// What no model is without.
Status CheckSizes(const ConfigNode& args) {
  for (const char* key : {"num_layers", "hidden_size", "num_attention_heads"}) {
    const ConfigNode& value = WordAt(args, key);
    if (value.AsInt().value_or(0) < 1) {
      return Corrupt(fmt::format("{}: expected a number, found {}", key, value.is_null() ? "nothing" : Shown(value)));
    }
  }
  return {};
}

// A module and what it calls the layers: Megatron-core's compute what the other arguments say.
Status CheckSpec(const ConfigNode& args) {
  const ConfigNode& spec = WordAt(args, "spec");
  const ConfigNode& module = spec.is_list() && !spec.list.empty() ? spec.list.front() : spec;
  if (module.is_null() || module.is_list() || module.AsString().value_or("").starts_with("megatron.core.")) return {};
  return Unsupported(fmt::format("spec: expected layers of megatron.core, found {}", Shown(module)),
                     std::string(kWeightsAlone));
}

Result<ConfigNode> Nemo1OfArgs(const ConfigNode& args, bool is_mamba) {
  ANEMONE_TRY(CheckSizes(args));
  ANEMONE_TRY(CheckSpec(args));
  ANEMONE_TRY(CheckCarried(args, is_mamba));
  ConfigNode words = ConfigNode::Map();
  for (const MegatronKey& same : kMegatronKeys) {
    const ConfigNode* value = args.Get(same.key);
    if (value != nullptr && value->is_scalar() && !value->is_null()) words[std::string(same.nemo1)] = *value;
  }
  // 1, or a list of which layers have experts.
  if (const ConfigNode* layers = args.Get("moe_layer_freq"); layers != nullptr && !layers->is_null())
    words["moe_layer_freq"] = *layers;
  const bool grouped = IsTrue(args, "group_query_attention");
  words["num_query_groups"] = WordAt(args, grouped ? "num_query_groups" : "num_attention_heads");
  words["mcore_gpt"] = ConfigNode::Bool(!IsTrue(args, "use_legacy_models"));
  words["share_embeddings_and_output_weights"] = ConfigNode::Bool(!IsTrue(args, "untie_embeddings_and_output_weights"));
  ANEMONE_TRY(SetNorm(args, &words));
  SetActivation(args, &words);
  ANEMONE_TRY(SetPositions(args, is_mamba, &words));
  ANEMONE_TRY(SetWindow(args, &words));
  SetTokenizer(args, &words);
  if (is_mamba) ANEMONE_TRY(SetMamba(args, &words));
  return words;
}

}  // namespace

Status CheckCarried(const ConfigNode& fields, bool is_mamba) {
  for (const MegatronOnly& only : kMegatronOnly) {
    const ConfigNode& value = WordAt(fields, only.key);
    if (is_mamba && Has(kOfMamba, only.key)) continue;
    if (value.is_null() || SameConfig(value, ParseWord(only.value))) continue;
    return Unsupported(
        fmt::format("{}: expected {}, found {}; not supported: {}", only.key, only.value, Shown(value), only.why));
  }
  return {};
}

void TakeActivationOfTe(const ConfigNode& fields, ConfigNode* words) {
  const std::string activation = TextIn(*words, "activation");
  const bool is_gelu = activation == "gelu" || activation.ends_with("geglu");
  const auto is_set = [&](std::string_view key) { return IsTrue(fields, key); };
  if (is_gelu && std::ranges::any_of(kComputedByTe, is_set)) (*words)["openai_gelu"] = ConfigNode::Bool(true);
}

bool IsMegatronArgs(const ConfigNode& root) {
  constexpr std::string_view kKeys[] = {"num_attention_heads", "tensor_model_parallel_size", "world_size"};
  return std::ranges::all_of(kKeys, [&](std::string_view key) { return root.Get(key) != nullptr; });
}

bool IsBridgeConfig(const ConfigNode& root) {
  const ConfigNode* model = root.Get("model");
  return model != nullptr && model->is_map() && TextIn(*model, "_target_").starts_with("megatron.bridge.");
}

Result<ConfigNode> Nemo1OfMegatron(const ConfigNode& config, std::vector<std::string>* notes) {
  if (IsBridgeConfig(config)) {
    ANEMONE_ASSIGN(const BridgeClass* known, ClassOfBridge(config));
    ANEMONE_ASSIGN(ConfigNode args, ArgsOfBridge(config));
    if (known->implied.find(kGemma3Name) != std::string_view::npos) {
      for (const char* key : {"softmax_scale", "rotary_base", "window_size"}) args.Erase(key);  // its own, read below
    }
    const bool is_mamba = known->implied.find(kMambaName) != std::string_view::npos;
    auto words = Nemo1OfArgs(args, is_mamba);
    const Status taken = words.ok() ? TakeBridgeClass(*known, *config.Get("model"), &*words) : words.status();
    return taken.ok() ? std::move(words) : taken.In("model");
  }
  if (notes != nullptr) NoteUnknown(config, notes);
  ConfigNode args = config;
  // Legacy models alone look at it [core_v0.9.0 megatron/legacy/model/transformer.py, ParallelMLP].
  if (!IsTrue(args, "use_legacy_models")) args["openai_gelu"] = ConfigNode::Bool(false);
  return Nemo1OfArgs(args, !PatternIn(args).is_null());
}

}  // namespace anemone
