#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "family/families.h"
#include "family/tokenizer/tokenizer_files.h"
#include "family/words/hf_config.h"
#include "family/words/megatron_config.h"
#include "family/words/model_words.h"
#include "family/words/nemo2_ssm.h"
#include "family/words/nemo_gpt_config.h"

namespace anemone {
namespace {

constexpr std::string_view kNemoPrefix = "model.";

// Of the embedding, on all ranks together; 0 without one.
uint64_t EmbeddingRows(const Checkpoint& checkpoint) {
  uint64_t rows = 0;
  checkpoint.ForEachDict([&](const StateDict& dict) {
    for (const StateDict::Item& item : dict.items()) {
      const bool is_it = item.tensor() != nullptr && item.name.ends_with("embedding.word_embeddings.weight");
      if (rows == 0 && is_it && !item.tensor()->shape().empty())
        rows = item.tensor()->shape()[0] * static_cast<uint64_t>(checkpoint.layout.tp);
    }
  });
  return rows;
}

// A decoder's layers, and those behind them that predict several tokens.
constexpr std::string_view kLayers[] = {"decoder.layers.", "mtp.layers."};
bool IsInLayer(std::string_view name) {
  return std::ranges::any_of(kLayers, [&](std::string_view prefix) { return name.starts_with(prefix); });
}

// "decoder.layers.7" of a tensor in that layer.
std::string_view LayerOf(std::string_view name) {
  for (const std::string_view prefix : kLayers) {
    const size_t at = name.find(prefix), end = at == std::string_view::npos ? at : name.find('.', at + prefix.size());
    if (end != std::string_view::npos) return name.substr(at, end - at);
  }
  return {};
}

// Whether attention is a latent's, whose norm is before it, by itself.
bool IsLatent(const Checkpoint& checkpoint) { return HasName(checkpoint, ".linear_kv_down_proj."); }

// How the layers of a checkpoint differ in where their norms are.
struct Layers {
  bool is_latent = false;
  std::set<std::string, std::less<>> all = {}, with_experts = {};

  explicit Layers(const Checkpoint& checkpoint) : is_latent(IsLatent(checkpoint)) {
    checkpoint.ForEachDict([&](const StateDict& dict) {
      for (const StateDict::Item& item : dict.items()) {
        const std::string layer(LayerOf(item.name));
        if (layer.empty()) continue;
        all.insert(layer);
        if (item.name.find(".mlp.router.") != std::string::npos) with_experts.insert(layer);
      }
    });
  }
  bool has_experts(std::string_view name) const { return with_experts.contains(LayerOf(name)); }
  bool differ() const { return !with_experts.empty() && with_experts.size() != all.size(); }
};

// Norms as Transformer Engine's layers have them, which NeMo builds: in the linear layers behind them, but before
// experts and latent attention [core_v0.9.0, core_v0.11.0 megatron/core/models/gpt/gpt_layer_specs.py].
std::string NemoName(std::string name, const Layers& layers) {
  const bool has_experts = layers.has_experts(name);
  constexpr std::string_view kFirst = ".input_layernorm.", kSecond = ".pre_mlp_layernorm.",
                             kFused = ".mlp.linear_fc1.layer_norm_";
  const auto replace = [&](std::string_view from, std::string_view to) {
    const size_t at = name.find(from);
    if (at == std::string::npos || !IsInLayer(name) || name.ends_with("_extra_state")) return;
    name.replace(at, from.size(), to);
  };
  if (!layers.is_latent) replace(kFirst, ".self_attention.linear_qkv.layer_norm_");
  if (has_experts) {
    replace(kFused, kSecond);
  } else {
    replace(kSecond, kFused);
  }
  return std::string(kNemoPrefix) + name;
}

// Megatron-core's newer name of the module in a layer that predicts several tokens; distributed checkpoints keep the
// older one [Megatron-LM d98e8a6 multi_token_prediction.py].
std::string OlderName(std::string name) {
  constexpr std::string_view kNewer = ".mtp_model_layer.";
  if (const size_t at = name.find(kNewer); at != std::string::npos)
    name.replace(at, kNewer.size(), ".transformer_layer.");
  return name;
}

Status Rename(const std::function<std::string(std::string)>& to, Checkpoint* checkpoint) {
  const auto rename = [&](StateDict& dict) -> Status {
    StateDict renamed;
    for (const StateDict::Item& item : dict.items()) ANEMONE_TRY(renamed.Add(to(item.name), item.entry));
    dict = std::move(renamed);
    return {};
  };
  for (Shard& shard : checkpoint->shards) {
    ANEMONE_TRY(rename(shard.weights));
    for (StateDict& chunk : shard.chunks) ANEMONE_TRY(rename(chunk));
  }
  return {};
}

Status TakeNemoNames(Checkpoint* checkpoint) {
  const Layers layers(*checkpoint);
  ANEMONE_TRY(Rename([&](std::string name) { return NemoName(std::move(name), layers); }, checkpoint));
  if (auto& distributed = checkpoint->origin.distributed) {
    for (std::string& stack : distributed->layer_stacks) stack.insert(0, kNemoPrefix);
  }
  return {};
}

// The reverse, as distributed checkpoints name modules: `is_local` where Megatron-core's layers are the model's, which
// have both norms in the linear layers behind them.
class DistributedNames {
 public:
  DistributedNames(const Checkpoint& checkpoint, bool is_local)
      : is_latent_(IsLatent(checkpoint)),
        second_is_fused_(!is_latent_ && (is_local || !HasName(checkpoint, ".mlp.router."))) {}

  std::string operator()(std::string name) const {
    for (const std::string_view prefix : {"model.module.", "module.", "model."}) {
      if (!name.starts_with(prefix)) continue;
      name.erase(0, prefix.size());
      break;
    }
    if (!IsInLayer(name)) return name;
    if (!name.ends_with("_extra_state")) {
      if (!is_latent_) Replace(".input_layernorm.", ".self_attention.linear_qkv.layer_norm_", &name);
      if (second_is_fused_) Replace(".pre_mlp_layernorm.", ".mlp.linear_fc1.layer_norm_", &name);
    }
    return EachExpert(std::move(name));
  }

 private:
  static void Replace(std::string_view from, std::string_view to, std::string* name) {
    if (const size_t at = name->find(from); at != std::string::npos) name->replace(at, from.size(), to);
  }

  // "mlp.experts.linear_fc1.weight3", of a grouped product, is an expert's like any other's.
  static std::string EachExpert(std::string name) {
    constexpr std::string_view kExperts = ".mlp.experts.linear_fc";
    const size_t at = name.find(kExperts), end = name.find_last_not_of("0123456789") + 1;
    if (at == std::string::npos || end == name.size()) return name;
    const std::string expert = fmt::format("local_experts.{}.", name.substr(end));
    name.resize(end);
    return name.insert(at + std::string_view(".mlp.experts.").size(), expert);
  }

  bool is_latent_, second_is_fused_;
};

Status GiveDistributedNames(bool is_local, Checkpoint* checkpoint) {
  if (!HasName(*checkpoint, "decoder.layers."))
    return Unsupported("expected a decoder, found no decoder.layers: Megatron holds no other model here");
  const DistributedNames rename(*checkpoint, is_local);
  StateDict renamed;
  bool is_other = false;
  for (const StateDict::Item& item : checkpoint->weights().items()) {
    if (item.name.ends_with(".mlp.experts.weight1") || item.name.ends_with(".mlp.experts.weight2"))
      return Unsupported("expected a tensor for each expert, found all in one matrix").In(item.name);
    std::string name = rename(item.name);
    is_other |= name != item.name;
    ANEMONE_TRY(renamed.Add(std::move(name), item.entry));
  }
  checkpoint->weights() = std::move(renamed);
  auto& distributed = checkpoint->origin.distributed;
  // torch alone stacks nothing.
  const bool is_apart = distributed && (is_other || distributed->backend == "torch");
  if (is_apart && !Layers(*checkpoint).differ()) distributed->layer_stacks = {"decoder.layers"};
  return {};
}

// Megatron-LM always does; Megatron-Bridge where it says so.
bool PadsRows(const ConfigNode& config) {
  return IsMegatronArgs(config) || WordAt(config, "model.should_pad_vocab").AsBool().value_or(false);
}

// NeMo's config of the files that came along; null: there are none.
Status TakeTokenizer(const ConfigNode& words, ConfigLanguage language, ConfigNode* config, Checkpoint* checkpoint,
                     std::vector<std::string>* notes) {
  const auto is_tokenizer = [](const Artifact& artifact) { return !TokenizerFileName(artifact.name).empty(); };
  if (std::ranges::none_of(checkpoint->artifacts, is_tokenizer)) return {};
  // As a Hugging Face folder has them.
  for (Artifact& artifact : checkpoint->artifacts) {
    if (const std::string_view name = TokenizerFileName(artifact.name); !name.empty()) artifact.name = name;
  }
  if (language == ConfigLanguage::kNemo2) {
    if (auto tokenizer = TokenizerToNemo2(&checkpoint->artifacts, notes)) {
      (*config)["tokenizer"] = *std::move(tokenizer);
      return {};
    }
  }
  const Result<const HfArchitecture*> architecture = HfArchitectureOf(words);
  // The name that the training loaded it by; its folder says nothing of where the tokenizer came from.
  std::string name = WordAt(words, "tokenizer.type").AsString().value_or("");
  std::error_code error;  // a checkpoint that was made in memory has no path
  if (name.empty()) name = std::filesystem::absolute(checkpoint->path, error).lexically_normal().string();
  const NemoTokenizerRequest request = {
      .architecture = architecture.ok() ? std::string((*architecture)->name) : std::string(), .name = std::move(name)};
  ANEMONE_ASSIGN((*config)["tokenizer"], TokenizerToNemo1(request, &checkpoint->artifacts, notes));
  return {};
}

// NeMo's converter says so of every Mixtral, wrongly; Megatron's arguments are what was trained.
Status CheckRouter(const ConfigNode& words) {
  const Result<const HfArchitecture*> architecture = HfArchitectureOf(words);
  const bool is_mixtral = architecture.ok() && (*architecture)->model_type == "mixtral";
  if (!is_mixtral || !WordAt(words, "moe_router_pre_softmax").AsBool().value_or(false)) return {};
  return Unsupported("moe_router_pre_softmax: expected false, as MixtralForCausalLM computes, found true",
                     std::string(kWeightsAlone));
}

}  // namespace

Status TakeMegatronCheckpoint(const MegatronTarget& target, Checkpoint* checkpoint, std::vector<std::string>* notes) {
  Result<ConfigNode> said = Nemo1OfMegatron(checkpoint->config->root(), notes);
  if (!said.ok()) return said.status().In(checkpoint->config_name);
  ConfigNode words = *std::move(said);
  if (HasName(*checkpoint, ".mtp_model_layer.")) ANEMONE_TRY(Rename(OlderName, checkpoint));
  if (target.language == ConfigLanguage::kHuggingFace) ANEMONE_TRY(CheckRouter(words).In(checkpoint->config_name));
  const uint64_t rows = EmbeddingRows(*checkpoint);
  const auto said_rows = WordAt(checkpoint->config->root(), "padded_vocab_size").AsInt();
  if (said_rows && rows > 0 && *said_rows != static_cast<int64_t>(rows)) {
    return Corrupt(fmt::format("padded_vocab_size: expected {} as the embedding has rows, found {}", rows, *said_rows))
        .In(checkpoint->config_name);
  }
  const bool tied = WordAt(words, "share_embeddings_and_output_weights").AsBool().value_or(true);
  // How rows were padded tells transformers' rows from a tokenizer's tokens; NeMo is told the rows.
  const bool is_rounded = target.language == ConfigLanguage::kHuggingFace && PadsRows(checkpoint->config->root());
  ConfigNode config = NemoGptConfig(words, {.vocab_rows = std::max<uint64_t>(rows, 1),
                                            .fixes_rows = rows > 0 && !is_rounded,
                                            .has_tied_output = tied,
                                            .dtype = DTypeOf(*checkpoint)});
  const int64_t divisor = WordAt(words, "make_vocab_size_divisible_by").AsInt().value_or(0);
  const int64_t ranks = WordAt(words, "tensor_model_parallel_size").AsInt().value_or(1);
  constexpr int64_t kMost = int64_t{1} << 31;
  if (is_rounded && divisor > 0 && divisor < kMost && ranks > 0 && ranks < kMost)
    config["make_vocab_size_divisible_by"] = ConfigNode::Int(divisor * ranks);
  // Experts are read one by one, however Megatron multiplied them.
  if (HasName(*checkpoint, ".local_experts.")) config["moe_grouped_gemm"] = ConfigNode::Bool(false);
  if (!IsOfMegatron(target.language)) {
    // They say how far a training came.
    std::erase_if(checkpoint->artifacts, [](const Artifact& artifact) { return artifact.name == "train_state.pt"; });
  }
  if (target.names) {
    ANEMONE_TRY(TakeNemoNames(checkpoint));
    ANEMONE_TRY(TakeTokenizer(words, target.language, &config, checkpoint, notes));
  }
  checkpoint->config = Config(std::move(config));
  checkpoint->config_name = "model_config.yaml";
  return {};
}

namespace {

// "meta-llama/Llama-2-7b-hf", "gpt2"; "" for a folder of another machine's, which Megatron would not find.
std::string HubNameOf(std::string name) {
  const bool is_path = name.starts_with('/') || name.starts_with('.') || std::ranges::count(name, '/') > 1;
  return is_path ? std::string() : name;
}

// The files as a Hugging Face folder has them, in `tokenizer/`. What the tokenizer is loaded by: that folder, or else
// the hub's name that the config has.
Result<std::string> GiveTokenizer(const MegatronRequest& request, const ConfigNode& model, Checkpoint* checkpoint) {
  const ConfigNode& tokenizer = WordAt(model, "tokenizer");
  const Result<const HfArchitecture*> architecture = HfArchitectureOf(model);
  std::vector<Artifact> files = checkpoint->artifacts;
  std::vector<std::string> notes;
  const HfTokenizerRequest of = {.architecture =
                                     architecture.ok() ? std::string((*architecture)->name) : std::string()};
  ANEMONE_TRY(TokenizerToHuggingFace(tokenizer.is_map() ? &tokenizer : nullptr, of, &files, &notes));
  const bool is_loadable = std::ranges::any_of(files, [](const Artifact& file) {
    return file.name == "tokenizer.json" || file.name == "tokenizer_config.json";
  });
  constexpr std::string_view kFolder = "tokenizer/";
  for (Artifact& file : files) {
    if (TokenizerFileName(file.name) == file.name) file.name.insert(0, kFolder);
  }
  checkpoint->artifacts = std::move(files);
  if (!is_loadable) return HubNameOf(WordAt(tokenizer, "type").AsString().value_or(""));
  return request.folder + "/tokenizer";
}

// The flags of what Megatron-LM does not take from a checkpoint [core_v0.20.0 megatron/training/checkpointing.py,
// load_args_from_checkpoint].
std::string FlagsBeside(const ConfigNode& args) {
  std::string flags;
  const auto add = [&](std::string_view flag, std::string_view value = "") {
    flags += fmt::format(" --{}{}{}", flag, value.empty() ? "" : " ", value);
  };
  const auto is_true = [&](std::string_view key) { return WordAt(args, key).AsBool().value_or(false); };
  for (const char* key : {"bf16", "fp16"}) {
    if (is_true(key)) add(key);
  }
  const ConfigNode& epsilon = WordAt(args, "layernorm_epsilon");
  if (epsilon.AsDouble() && *epsilon.AsDouble() != 1e-5) add("norm-epsilon", epsilon.ScalarText());
  if (is_true("layernorm_zero_centered_gamma")) add("apply-layernorm-1p");
  if (is_true("qk_layernorm")) add("qk-layernorm");
  if (is_true("multi_latent_attention")) {
    add("multi-latent-attention");
    for (const std::string_view key : LatentWords()) {
      const ConfigNode& value = WordAt(args, key);
      std::string flag(key);
      std::ranges::replace(flag, '_', '-');
      if (!value.is_null()) add(flag, value.ScalarText());
    }
  }
  if (const int64_t layers = MtpLayersOf(args); layers > 0) {
    add("mtp-num-layers", std::to_string(layers));
    const ConfigNode& factor = WordAt(args, "mtp_loss_scaling_factor");
    if (!factor.is_null()) add("mtp-loss-scaling-factor", factor.ScalarText());
  }
  if (is_true("use_rope_scaling")) {
    add("use-rope-scaling");
    add("rope-scaling-factor", WordAt(args, "rope_scaling_factor").ScalarText());
  }
  const ConfigNode& factor = WordAt(args, "rotary_seq_len_interpolation_factor");
  if (!factor.is_null()) add("rotary-seq-len-interpolation-factor", factor.ScalarText());
  const ConfigNode& window = WordAt(args, "window_size");
  if (window.is_list() && window.list.size() == 2)
    add("window-size", fmt::format("{},{}", window.list[0].ScalarText(), window.list[1].ScalarText()));
  const bool is_gelu = !is_true("swiglu") && !is_true("squared_relu") && is_true("add_bias_linear");
  if (is_gelu && !is_true("bias_gelu_fusion")) add("no-bias-gelu-fusion");
  return flags;
}

}  // namespace

Status GiveMegatronCheckpoint(const MegatronRequest& request, const Checkpoint& source, Checkpoint* checkpoint,
                              std::vector<std::string>* notes) {
  const ConfigNode model = checkpoint->config->root();
  if (IsMambaWords(model))
    return Unsupported("name: expected a model that is written for Megatron, a GPT, found Mamba",
                       "NeMo 2 folders and transformers' hold it")
        .In(checkpoint->config_name);
  const ConfigNode* kept = source.config ? &source.config->root() : nullptr;
  const bool is_bridge = request.language == ConfigLanguage::kBridge;
  MegatronFacts facts{.vocab_rows = EmbeddingRows(*checkpoint), .dtype = DTypeOf(*checkpoint)};
  const bool is_kept = kept != nullptr && (is_bridge ? IsBridgeConfig(*kept) : IsMegatronArgs(*kept));
  if (!is_kept) {
    ANEMONE_ASSIGN(facts.tokenizer, GiveTokenizer(request, model, checkpoint));
  }
  Result<ConfigNode> config = is_bridge ? ToBridgeConfig(model, kept, facts) : ToMegatronArgs(model, kept, facts);
  if (!config.ok()) return config.status().In(checkpoint->config_name);
  const bool is_local = !is_bridge && WordAt(*config, "transformer_impl").AsString() == "local";
  ANEMONE_TRY(GiveDistributedNames(is_local, checkpoint));
  if (!is_bridge) {
    const std::string flags = FlagsBeside(*config);
    if (!flags.empty())
      notes->push_back(fmt::format("Megatron-LM does not take these from a checkpoint, give them, too:{}", flags));
  }
  checkpoint->config = Config(*std::move(config));
  checkpoint->config_name = is_bridge ? "run_config.yaml" : "args";
  return {};
}

}  // namespace anemone
