#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>

#include "family/families.h"
#include "family/hf_config.h"
#include "family/megatron_config.h"
#include "family/model_words.h"
#include "family/nemo_gpt_config.h"
#include "family/tokenizer_files.h"

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

// Norms as Transformer Engine's layers have them, which NeMo builds: in the linear layers behind them, but before
// experts [core_v0.9.0 megatron/core/models/gpt/gpt_layer_specs.py].
std::string NemoName(std::string name, bool has_experts) {
  constexpr std::string_view kFirst = ".input_layernorm.", kSecond = ".pre_mlp_layernorm.",
                             kFused = ".mlp.linear_fc1.layer_norm_";
  const auto replace = [&](std::string_view from, std::string_view to) {
    const size_t at = name.find(from);
    if (at == std::string::npos || !name.starts_with("decoder.layers.") || name.ends_with("_extra_state")) return;
    name.replace(at, from.size(), to);
  };
  replace(kFirst, ".self_attention.linear_qkv.layer_norm_");
  if (has_experts) {
    replace(kFused, kSecond);
  } else {
    replace(kSecond, kFused);
  }
  return std::string(kNemoPrefix) + name;
}

Status TakeNemoNames(Checkpoint* checkpoint) {
  const bool has_experts = HasName(*checkpoint, ".mlp.router.");
  const auto rename = [&](StateDict& dict) -> Status {
    StateDict renamed;
    for (const StateDict::Item& item : dict.items())
      ANEMONE_TRY(renamed.Add(NemoName(item.name, has_experts), item.entry));
    dict = std::move(renamed);
    return {};
  };
  for (Shard& shard : checkpoint->shards) {
    ANEMONE_TRY(rename(shard.weights));
    for (StateDict& chunk : shard.chunks) ANEMONE_TRY(rename(chunk));
  }
  if (auto& distributed = checkpoint->origin.distributed) {
    for (std::string& stack : distributed->layer_stacks) stack.insert(0, kNemoPrefix);
  }
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
    if (auto tokenizer = TokenizerToNemo2(&checkpoint->artifacts)) {
      (*config)["tokenizer"] = *std::move(tokenizer);
      return {};
    }
  }
  const Result<const HfArchitecture*> architecture = HfArchitectureOf(words);
  // The name that the training loaded it by; its folder says nothing of where the tokenizer came from.
  std::string name = WordAt(words, "tokenizer.type").AsString().value_or("");
  if (name.empty()) name = std::filesystem::absolute(checkpoint->path).lexically_normal().string();
  const NemoTokenizerRequest request = {
      .architecture = architecture.ok() ? std::string((*architecture)->name) : std::string(), .name = std::move(name)};
  ANEMONE_ASSIGN((*config)["tokenizer"], TokenizerToNemo1(request, &checkpoint->artifacts, notes));
  return {};
}

}  // namespace

Status TakeMegatronCheckpoint(const MegatronTarget& target, Checkpoint* checkpoint, std::vector<std::string>* notes) {
  Result<ConfigNode> said = Nemo1OfMegatron(checkpoint->config->root(), notes);
  if (!said.ok()) return said.status().In(checkpoint->config_name);
  ConfigNode words = *std::move(said);
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
  // They say how far a training came.
  std::erase_if(checkpoint->artifacts, [](const Artifact& artifact) { return artifact.name == "train_state.pt"; });
  if (target.names) {
    ANEMONE_TRY(TakeNemoNames(checkpoint));
    ANEMONE_TRY(TakeTokenizer(words, target.language, &config, checkpoint, notes));
  }
  checkpoint->config = Config(std::move(config));
  checkpoint->config_name = "model_config.yaml";
  return {};
}

}  // namespace anemone
