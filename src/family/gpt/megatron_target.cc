// What Megatron-LM's arguments and Megatron-Bridge's run_config.yaml say of a model in NeMo 1's keys. What is written
// is read again and compared by its words: what neither has a key for is refused by that.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <utility>

#include "anemone/dtype.h"
#include "config/nodes.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/gemma_words.h"
#include "family/words/megatron_config.h"
#include "family/words/megatron_tables.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

bool IsTrue(const ConfigNode& map, std::string_view key) { return WordAt(map, key).AsBool().value_or(false); }
int64_t SizeIn(const ConfigNode& map, std::string_view key) { return WordAt(map, key).AsInt().value_or(1); }

// A model in both forms: as its config says it, and in words, where each value that changes it is.
struct Described {
  const ConfigNode& model;
  ConfigNode words;
  const MegatronFacts& facts;

  // The value that stands for a key of NeMo 1's; null: none does.
  ConfigNode Value(std::string_view nemo1) const {
    const ConfigNode* word = words.Get(nemo1);
    if (word == nullptr || (word->is_null() && IsLatentWord(nemo1))) return WordAt(model, nemo1);
    const ConfigNode* silent = SilentWord(nemo1);
    return word->is_null() && silent != nullptr ? *silent : *word;
  }
  bool has_experts() const { return !WordAt(words, "num_moe_experts").is_null(); }
  bool is_latent() const { return IsTrue(words, "multi_latent_attention"); }
  bool is_yarn() const { return WordAt(words, "position_embedding_type").AsString() == std::string(kYarn); }
  bool is_rope() const { return WordAt(words, "position_embedding_type").AsString() == "rope"; }
  std::string activation() const { return WordAt(words, "activation").AsString().value_or(""); }
  bool by_tanh() const { return IsTrue(words, "gelu by tanh"); }
};

Result<Described> Describe(const ConfigNode& model, const MegatronFacts& facts) {
  if (WordAt(model, "num_layers").is_null() || WordAt(model, "hidden_size").is_null())
    return Unsupported("expected the config of a GPT, found no sizes of one: Megatron holds no other model here");
  const std::string target = WordAt(model, "target").AsString().value_or("");
  const std::string name = target.substr(target.rfind('.') + 1);
  if (WordAt(model, "mm_cfg").is_map() || (!name.empty() && !name.starts_with("MegatronGPT")))
    return Unsupported(fmt::format("target: expected a GPT, found {}", name.empty() ? "a model with pictures" : name));
  ANEMONE_TRY(CheckMegatronResidual(model));
  ANEMONE_ASSIGN(ConfigNode words, WordsOf(model, nullptr));
  return Described{model, std::move(words), facts};
}

// The rows of the table, under the names that `name_of` gives them; "-": left out.
template <typename NameOf>
void PutTable(const Described& described, NameOf name_of, ConfigNode* to) {
  for (const MegatronKey& row : kMegatronKeys) {
    const std::string_view name = name_of(row);
    const ConfigNode value = described.Value(row.nemo1);
    const bool is_word = described.words.Get(row.nemo1) != nullptr, is_known = is_word || !value.is_null();
    // Of attention that the model does not have.
    if (is_word && value.is_null() && IsLatentWord(row.nemo1) && !described.is_latent()) continue;
    if (name != kNoBridgeKey && is_known && value.is_scalar()) (*to)[name] = value;
  }
  // Read from texts of JSON and YAML; written as numbers are.
  for (auto& entry : to->map)
    entry.second.text = entry.second.kind == ConfigNode::Kind::kString ? entry.second.text : "";
  ConfigNode& ffn = (*to)["ffn_hidden_size"];
  if (ffn.is_null() && described.is_latent()) ffn = WordAt(described.model, "ffn_hidden_size");
  if (ffn.is_null()) ffn = WordAt(described.words, "moe_ffn_hidden_size");
  // It changes no result, and Transformer Engine asks for an environment variable beside it.
  (*to)["apply_query_key_layer_scaling"] = ConfigNode::Bool(false);
  if (SizeIn(*to, "tensor_model_parallel_size") == 1) (*to)["sequence_parallel"] = ConfigNode::Bool(false);
}

// Megatron-Bridge lists DeepSeek's layers, and where all have experts, too [deepseek_v3_bridge.py, provider_bridge].
ConfigNode ExpertLayersOf(const Described& described) {
  const ConfigNode& which = WordAt(described.words, "moe_layer_freq");
  if (!which.is_null()) return which;
  return described.is_latent() ? ExpertsInAllLayers(described.words) : ConfigNode::Int(1);
}

// Megatron counts the tokens before the own one, NeMo the own one, too.
ConfigNode WindowOf(const Described& described) {
  const auto tokens = WordAt(described.words, "window_size").AsInt();
  return tokens ? ConfigNode::List({ConfigNode::Int(*tokens - 1), ConfigNode::Int(0)}) : ConfigNode::Null();
}

void PutPrecision(const Described& described, ConfigNode* to, ConfigNode dtype) {
  (*to)["bf16"] = ConfigNode::Bool(described.facts.dtype == DType::kBF16);
  (*to)["fp16"] = ConfigNode::Bool(described.facts.dtype == DType::kF16);
  (*to)["params_dtype"] = std::move(dtype);
}

std::string TorchName(DType dtype) {
  const bool is_half = dtype == DType::kBF16 || dtype == DType::kF16;
  return fmt::format("torch.{}", Info(is_half ? dtype : DType::kF32).torch);
}

Status CheckSame(const Described& described, const ConfigNode& written, std::string_view who) {
  ANEMONE_ASSIGN(const ConfigNode read, Nemo1OfMegatron(written, nullptr));
  ANEMONE_ASSIGN(const ConfigNode words, WordsOf(read, nullptr));
  const std::vector<std::string> lines = DifferingWords(described.words, words);
  if (lines.empty()) return {};
  return Unsupported(
      fmt::format("expected a model that {} has words for, found others: {}", who, fmt::join(lines, "; ")));
}

// ---- Megatron-LM ----

Status PutActivation(const Described& described, ConfigNode* args) {
  const std::string activation = described.activation();
  const bool swiglu = activation == "swiglu";
  (*args)["swiglu"] = ConfigNode::Bool(swiglu);
  (*args)["squared_relu"] = ConfigNode::Bool(activation == "squared-relu");
  (*args)["openai_gelu"] = ConfigNode::Bool(false);  // Megatron-core does not look at it
  (*args)["bias_gelu_fusion"] = ConfigNode::Bool(described.by_tanh());
  (*args)["bias_swiglu_fusion"] = ConfigNode::Bool(swiglu && IsTrue(described.model, "bias_activation_fusion"));
  if (!described.by_tanh() || IsTrue(described.words, "bias")) return {};
  return Unsupported(
             "activation: expected gelu with a bias, found its tanh form without one: Megatron-LM has no argument for "
             "that")
      .Use("to", "megatron-bridge", "name a function");
}

void PutPositions(const Described& described, ConfigNode* args) {
  (*args)["position_embedding_type"] = WordAt(described.words, "position_embedding_type");
  (*args)["add_position_embedding"] = ConfigNode::Bool(true);
  (*args)["use_rotary_position_embeddings"] = ConfigNode::Bool(false);  // an older way to say it
  const bool is_scaled = described.is_rope() && IsTrue(described.words, "scale_positional_embedding");
  const ConfigNode& factor = WordAt(described.words, "rope_scaling.factor");
  (*args)["use_rope_scaling"] = ConfigNode::Bool(is_scaled);
  (*args)["rope_scaling_factor"] = factor.is_null() ? ConfigNode::Float(8) : factor;
  // An integer to Megatron-LM's parser.
  ConfigNode& base = (*args)["rotary_base"];
  if (const auto number = base.AsDouble(); number && *number == static_cast<double>(static_cast<int64_t>(*number)))
    base = ConfigNode::Int(static_cast<int64_t>(*number));
}

void PutTokenizer(const MegatronFacts& facts, ConfigNode* to) {
  const bool is_known = !facts.tokenizer.empty();
  (*to)["tokenizer_type"] = is_known ? TextNode("HuggingFaceTokenizer") : ConfigNode::Null();
  (*to)["tokenizer_model"] = is_known ? TextNode(facts.tokenizer) : ConfigNode::Null();
  for (const char* key : {"vocab_file", "merge_file"}) (*to)[key] = ConfigNode::Null();
}

void PutMachines(const Described& described, ConfigNode* args) {
  const int64_t ranks = SizeIn(*args, "tensor_model_parallel_size") * SizeIn(*args, "pipeline_model_parallel_size");
  (*args)["world_size"] = ConfigNode::Int(ranks);
  (*args)["data_parallel_size"] = ConfigNode::Int(1);
  (*args)["rank"] = ConfigNode::Int(0);
  (*args)["context_parallel_size"] = ConfigNode::Int(1);
  const bool is_local = WordAt(described.model, "transformer_engine").AsBool() == false;
  (*args)["transformer_impl"] = TextNode(is_local ? "local" : "transformer_engine");
  (*args)["use_dist_ckpt"] = ConfigNode::Bool(true);
  (*args)["ckpt_format"] = TextNode("torch_dist");
}

// The keys of `made` in `kept`; a value that says the same keeps its form.
ConfigNode Over(ConfigNode kept, const ConfigNode& made) {
  for (const auto& [key, value] : made.map) {
    ConfigNode& node = kept[key];
    if (!SameConfig(node, value)) node = value;
  }
  return kept;
}

// ---- Megatron-Bridge ----

ConfigNode Target(std::string_view name) {
  ConfigNode node = ConfigNode::Map();
  node["_target_"] = TextNode(name);
  return node;
}
// A function or a dtype by name.
ConfigNode Named(std::string_view name) {
  ConfigNode node = ConfigNode::Map();
  node["_call_"] = ConfigNode::Bool(false);
  node["_target_"] = TextNode(name);
  return node;
}

Status PutBridgeActivation(const Described& described, ConfigNode* model) {
  const std::string activation = described.activation();
  const bool has_bias = IsTrue(described.words, "bias");
  // gelu that is fused with its bias is its tanh form, whichever is named.
  const bool by_fusion = activation == "gelu" && has_bias && described.by_tanh();
  const auto is_it = [&](const BridgeActivation& row) {
    const std::string_view gated = row.gated.empty() ? row.gated : row.gated.substr(row.gated.find('-') + 1);
    return row.by_tanh == (described.by_tanh() && !by_fusion) && (row.plain == activation || gated == activation);
  };
  const auto* row = std::ranges::find_if(kBridgeActivations, is_it);
  if (row == std::end(kBridgeActivations))
    return Unsupported(fmt::format("activation: expected one that Megatron-Bridge has, found {}", activation));
  const bool gates = row->plain != activation;
  (*model)["activation_func"] = Named(row->function);
  (*model)["gated_linear_unit"] = ConfigNode::Bool(gates);
  const bool is_plain_gelu = activation == "gelu";
  (*model)["bias_activation_fusion"] =
      ConfigNode::Bool(is_plain_gelu ? by_fusion : IsTrue(described.model, "bias_activation_fusion") && gates);
  return {};
}

// The class that computes what no field says.
const BridgeClass& BridgeClassOf(const ConfigNode& words) {
  const auto computes = [&](const BridgeClass& row) {
    constexpr std::string_view kImplied[] = {"multi_latent_attention", "apply_embedding_scaling", "name"};
    const ConfigNode implied = ParseWord(row.implied);
    return !row.written.empty() && std::ranges::all_of(kImplied, [&](std::string_view key) {
      const ConfigNode &said = WordAt(words, key), &own = WordAt(implied, key);
      return SameConfig(own, said) || (own.is_null() && said.AsBool() == false);
    });
  };
  const auto* found = std::ranges::find_if(kBridgeClasses, computes);
  // What no class computes is refused where the words are compared.
  return found == std::end(kBridgeClasses) ? kBridgeClasses[0] : *found;
}

// Layers with and without experts, or with latent attention: a provider's own layers are all alike, with neither.
ConfigNode LayersOfTheirOwn() {
  ConfigNode node = ConfigNode::Map();
  node["_args_"] = ConfigNode::List();
  node["_partial_"] = ConfigNode::Bool(true);
  node["_target_"] = TextNode("megatron.core.models.gpt.gpt_layer_specs.get_gpt_decoder_block_spec");
  node["use_transformer_engine"] = ConfigNode::Bool(true);
  return node;
}

// The plain provider's fields; whether others' layers compute the same with them is not known.
Status PutYarn(const Described& described, ConfigNode* model) {
  if (!described.is_yarn()) return {};
  const std::string name = WordAt(*model, "_target_").AsString().value_or("");
  if (!name.ends_with(".GPTModelProvider"))
    return Unsupported(fmt::format("position_embedding_type: expected rope in a {}, found {}",
                                   name.substr(name.rfind('.') + 1), kYarn));
  for (const std::string_view word : YarnWords()) (*model)[word] = WordAt(described.words, word);
  return {};
}

Result<ConfigNode> BridgeModel(const Described& described) {
  ConfigNode model = Target(BridgeClassOf(described.words).written);
  ANEMONE_TRY(PutYarn(described, &model));
  PutTable(described, BridgeKeyOf, &model);
  // The class has numbers for positions that are not scaled; no rank of queries is a value.
  for (const std::string_view key : LatentWords()) {
    if (key != "q_lora_rank" && WordAt(model, key).is_null()) model.Erase(key);
  }
  model["num_query_groups"] = WordAt(described.words, "num_query_groups");
  model["share_embeddings_and_output_weights"] = WordAt(described.words, "share_embeddings_and_output_weights");
  const bool is_rms = WordAt(described.words, "normalization").AsString() == "rmsnorm";
  model["normalization"] = TextNode(is_rms ? "RMSNorm" : "LayerNorm");
  ANEMONE_TRY(PutBridgeActivation(described, &model));
  model["position_embedding_type"] = WordAt(described.words, "position_embedding_type");
  const bool is_scaled = described.is_rope() && IsTrue(described.words, "scale_positional_embedding");
  const ConfigNode& factor = WordAt(described.words, "rope_scaling.factor");
  model["rope_scaling"] = ConfigNode::Bool(is_scaled);
  if (is_scaled) model["rope_scaling_factor"] = factor.is_null() ? ConfigNode::Float(8) : factor;
  if (!WindowOf(described).is_null()) model["window_size"] = WindowOf(described);
  const ConfigNode& expert_layers = WordAt(described.words, "moe_layer_freq");
  model["moe_layer_freq"] = ExpertLayersOf(described);
  if (described.is_latent() || !expert_layers.is_null()) model["transformer_layer_spec"] = LayersOfTheirOwn();
  const ConfigNode& name = WordAt(described.words, "name");
  if (name.AsString() == std::string(kGemma2Name)) GiveGemma2(described.model, model);
  if (name.AsString() == std::string(kGemma3Name)) {
    GiveGemma3(described.model, model);
    const auto scalar = WordAt(described.words, "mcore_customization_config.query_pre_attn_scalar").AsDouble();
    if (scalar) model["softmax_scale"] = ConfigNode::Float(1 / std::sqrt(*scalar));
  }
  // The rows that are stored, padded already.
  model["vocab_size"] = ConfigNode::Int(static_cast<int64_t>(described.facts.vocab_rows));
  model["should_pad_vocab"] = ConfigNode::Bool(false);
  PutPrecision(described, &model, Named(TorchName(described.facts.dtype)));
  model["autocast_dtype"] = Named(TorchName(described.facts.dtype));
  return model;
}

ConfigNode BridgeRun(ConfigNode model, const MegatronFacts& facts) {
  ConfigNode root = Target("megatron.bridge.training.config.ConfigContainer");
  ConfigNode& checkpoint = root["checkpoint"] = Target("megatron.bridge.training.config.CheckpointConfig");
  checkpoint["ckpt_format"] = TextNode("torch_dist");
  checkpoint["fully_parallel_save"] = ConfigNode::Bool(true);
  for (const char* key : {"dataset", "ddp", "dist"}) root[key] = ConfigNode::Null();
  root["logger"] = Target("megatron.bridge.training.config.LoggerConfig");
  root["mixed_precision"] = ConfigNode::Null();
  root["model"] = std::move(model);
  root["optimizer"] = Target("megatron.core.optimizer.optimizer_config.OptimizerConfig");
  root["scheduler"] = ConfigNode::Null();
  ConfigNode& tokenizer = root["tokenizer"] = Target("megatron.bridge.training.tokenizers.config.TokenizerConfig");
  PutTokenizer(facts, &tokenizer);
  root["train"] = ConfigNode::Null();
  return root;
}

// `made` put into the keys that a config of Megatron-Bridge has, in either of its layouts.
ConfigNode OverBridge(ConfigNode kept, const ConfigNode& made) {
  ConfigNode& model = *kept.Get("model");
  ConfigNode* inner = model.Get("transformer");
  for (const auto& [key, value] : made.map) {
    ConfigNode* node = inner != nullptr && inner->is_map() ? inner->Get(key) : nullptr;
    if (node == nullptr) node = model.Get(key);
    const bool is_class = key == "_target_" || key == "activation_func" || key.ends_with("dtype");
    if (node != nullptr && !is_class && !SameConfig(*node, value)) *node = value;
  }
  return kept;
}

}  // namespace

Result<ConfigNode> ToMegatronArgs(const ConfigNode& model, const ConfigNode* kept, const MegatronFacts& facts) {
  ANEMONE_ASSIGN(const Described described, Describe(model, facts));
  const ConfigNode& words = described.words;
  ConfigNode args = ConfigNode::Map();
  for (const MegatronOnly& only : kMegatronOnly) args[only.key] = ParseWord(only.value);
  PutTable(
      described, [](const MegatronKey& row) { return row.key; }, &args);
  args["moe_layer_freq"] = ExpertLayersOf(described);
  const ConfigNode& groups = WordAt(words, "num_query_groups");
  args["num_query_groups"] = groups;
  args["group_query_attention"] = ConfigNode::Bool(!SameConfig(groups, WordAt(words, "num_attention_heads")));
  const bool is_rms = WordAt(words, "normalization").AsString() == "rmsnorm";
  args["normalization"] = TextNode(is_rms ? "RMSNorm" : "LayerNorm");
  args["untie_embeddings_and_output_weights"] = ConfigNode::Bool(!IsTrue(words, "share_embeddings_and_output_weights"));
  args["use_legacy_models"] = ConfigNode::Bool(false);
  args["window_size"] = WindowOf(described);
  args["padded_vocab_size"] = ConfigNode::Int(static_cast<int64_t>(facts.vocab_rows));
  ANEMONE_TRY(PutActivation(described, &args));
  PutPositions(described, &args);
  if (kept != nullptr && IsMegatronArgs(*kept)) {
    args = Over(*kept, args);
  } else {
    PutPrecision(described, &args, TextNode(TorchName(facts.dtype)));
    PutTokenizer(facts, &args);
    PutMachines(described, &args);
    args["seq_length"] = ConfigNode(WordAt(args, "max_position_embeddings"));  // a copy: a new key may move the other
  }
  ANEMONE_TRY(CheckSame(described, args, "Megatron-LM"));
  return args;
}

Result<ConfigNode> ToBridgeConfig(const ConfigNode& model, const ConfigNode* kept, const MegatronFacts& facts) {
  ANEMONE_ASSIGN(const Described described, Describe(model, facts));
  ANEMONE_ASSIGN(ConfigNode made, BridgeModel(described));
  const bool is_kept = kept != nullptr && IsBridgeConfig(*kept);
  ConfigNode root = is_kept ? OverBridge(*kept, made) : BridgeRun(std::move(made), facts);
  ANEMONE_TRY(CheckSame(described, root, "Megatron-Bridge"));
  return root;
}

}  // namespace anemone
