// Facts: NeMo f92e176 nemo/collections/llm/gpt/model/ssm.py; Megatron-LM core_v0.12.0 to core_v0.14.0
// megatron/core/ssm/mamba_mixer.py, mamba_block.py, mamba_hybrid_layer_allocation.py, transformer_config.py.
#include "family/words/nemo2_ssm.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/nodes.h"
#include "family/words/model_words.h"
#include "family/words/nemo2_words.h"

namespace anemone {
namespace {

// The words, and what Megatron-core takes where a config is silent.
struct SsmWord {
  std::string_view key, silent;  // YAML
};
constexpr std::string_view kHeads = "mamba_num_heads", kGroups = "mamba_num_groups", kHeadDim = "mamba_head_dim";
constexpr SsmWord kSsmWords[] = {
    {kLayerPattern, "null"}, {"mamba_state_dim", "128"}, {kHeadDim, "64"}, {kGroups, "8"}, {kHeads, "null"}};

// Keys of one value that Megatron's layers compute in every model here.
constexpr FixedWord kFixed[] = {{"softmax_scale", "null", "null"},
                                {"softmax_type", "vanilla", "vanilla"},
                                {"attention_output_gate", "false", "false"},
                                {"apply_residual_connection_post_layernorm", "false", "false"},
                                {"heterogeneous_block_specs", "false", "false"},
                                {"num_moe_experts", "null", "null"},
                                {"multi_latent_attention", "false", "false"},
                                {"mtp_num_layers", "null", "null"}};

constexpr int64_t kExpand = 2;  // of the mixer, which no config says
constexpr int64_t kMostLayers = 100'000;

std::optional<int64_t> DefaultHeads(const ConfigNode& model) {
  constexpr int64_t kMost = int64_t{1} << 40;
  const auto width = WordAt(model, "hidden_size").AsInt();
  const ConfigNode& said = WordAt(model, kHeadDim);
  const auto dim = said.is_null() ? 64 : said.AsInt();
  if (!width || !dim || *dim < 1 || *width < 1 || *width > kMost || kExpand * *width % *dim != 0) return std::nullopt;
  return kExpand * *width / *dim;
}

}  // namespace

bool IsMambaWords(const ConfigNode& model) { return WordAt(model, "name").AsString() == std::string(kMambaName); }

Status CheckLayerPattern(std::string_view key, std::string_view pattern) {
  for (const char letter : pattern) {
    if (letter == kMambaLayer || letter == kAttentionLayer || letter == kMlpLayer) continue;
    return Unsupported(
        fmt::format("{}: expected layers that NeMo 2 has, M (Mamba 2), * (attention) and - (MLP), found {}", key,
                    letter == kExpertsLayer ? "E: a mixture of experts" : fmt::format("'{}'", letter)),
        std::string(kWeightsAlone));
  }
  return {};
}

Result<std::string> LayerPatternOf(const ConfigNode& model) {
  const ConfigNode& said = WordAt(model, kLayerPattern);
  const auto layers = WordAt(model, "num_layers").AsInt();
  const auto pattern = said.AsString();
  if (!layers || *layers < 1 || *layers > kMostLayers)
    return Corrupt(
        fmt::format("num_layers: expected a number of layers, found {}", Shown(WordAt(model, "num_layers"))));
  if (!pattern || pattern->size() != static_cast<size_t>(*layers)) {
    return Corrupt(fmt::format("{}: expected a letter for each of {} layers, found {}", kLayerPattern, *layers,
                               pattern ? std::to_string(pattern->size()) : ShownQuoted(said)));
  }
  ANEMONE_TRY(CheckLayerPattern(kLayerPattern, *pattern));
  return *pattern;
}

Result<int64_t> MambaHeadsOf(const ConfigNode& model) {
  const ConfigNode& said = WordAt(model, kHeads);
  const auto heads = said.is_null() ? DefaultHeads(model) : said.AsInt();
  if (heads && *heads > 0) return *heads;
  return Corrupt(fmt::format("{}: expected a number of heads, or {} times hidden_size in whole heads of {}, found {}",
                             kHeads, kExpand, kHeadDim, ShownQuoted(said)));
}

bool HasOwnMambaHeads(const ConfigNode& model) {
  const ConfigNode& said = WordAt(model, kHeads);
  return !said.is_null() && said.AsInt() != DefaultHeads(model);
}

Status SsmToNemo1(const ConfigNode& from, ConfigNode& to) {
  ANEMONE_TRY(CheckFixed(from, kFixed, "NeMo 2's MambaModel"));
  to["name"] = TextNode(kMambaName);
  for (const SsmWord& word : kSsmWords) {
    const ConfigNode& value = WordAt(from, word.key);
    to[std::string(word.key)] = value.is_null() ? ParseWord(word.silent) : value;
  }
  // NeMo 2.0 to 2.2 said so [NeMo v2.0.0 ssm.py, mamba_ssm_ngroups].
  if (const ConfigNode& groups = WordAt(from, "mamba_ssm_ngroups"); WordAt(from, kGroups).is_null() && groups.AsInt())
    to[std::string(kGroups)] = groups;
  if (to[std::string(kLayerPattern)].is_null()) {
    for (const char* ratio : {"hybrid_attention_ratio", "hybrid_mlp_ratio"}) {
      const ConfigNode& value = WordAt(from, ratio);
      if (value.is_null() || value.AsDouble() == 0.0) continue;
      return Unsupported(
          fmt::format("{}: expected 0 in a config without {}, found {}", ratio, kLayerPattern, Shown(value)),
          fmt::format("set {} to the letters that Megatron-core prints when it builds the model", kLayerPattern));
    }
    const auto layers = WordAt(from, "num_layers").AsInt().value_or(0);
    to[std::string(kLayerPattern)] =
        ConfigNode::String(std::string(static_cast<size_t>(std::clamp<int64_t>(layers, 0, kMostLayers)), kMambaLayer));
  }
  // The class's field of that name builds nothing: the tokenizer's tokens are counted.
  to.Erase("override_vocab_size");
  ANEMONE_TRY(LayerPatternOf(to).status());
  return MambaHeadsOf(to).status();
}

Status SsmToNemo2(const ConfigNode& model, ConfigNode& config) {
  ANEMONE_TRY(LayerPatternOf(model).status());
  for (const SsmWord& word : kSsmWords) {
    const ConfigNode& value = WordAt(model, word.key);
    config[std::string(word.key)] = value.is_null() ? ParseWord(word.silent) : value;
  }
  if (!HasOwnMambaHeads(model)) config.Erase(kHeads);
  config["is_hybrid_model"] = ConfigNode::Bool(true);
  // NeMo 1's, which other models name, is not in every version that has this one.
  if (nemo2::TextOf(model, "activation") == "squared-relu")
    config["activation_func"] = nemo2::Reference("nemo.collections.llm.fn.activation.squared_relu");
  return {};
}

}  // namespace anemone
