#include "family/words/hf_deepseek.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>

#include "config/nodes.h"
#include "family/words/hf_keys.h"
#include "family/words/hf_positions.h"
#include "family/words/model_words.h"

namespace anemone::internal {
namespace {

bool IsV3(const HfReader& config) { return config.Is("deepseek_v3"); }

Status DenseLayers(HfReader& config) {
  const ConfigNode &first = config.At("first_k_dense_replace"), &shared = config.At("n_shared_experts");
  const auto dense = first.is_null() ? std::optional<int64_t>(0) : first.AsInt(),
             layers = config.At("num_hidden_layers").AsInt();
  if (!dense || *dense < 0)
    return Corrupt(fmt::format("first_k_dense_replace: expected a number of layers, found {}", first.ScalarText()));
  constexpr int64_t kMost = 100'000;  // more layers are refused elsewhere
  if (*dense > 0 && layers && *layers <= kMost) {
    ConfigNode& which = config.words()["moe_layer_freq"] = ConfigNode::List();
    for (int64_t i = 0; i < *layers; ++i) which.list.push_back(ConfigNode::Int(i < *dense ? 0 : 1));
  }
  const auto count = shared.is_null() ? std::optional<int64_t>(0) : shared.AsInt(),
             size = config.At("moe_intermediate_size").AsInt();
  constexpr int64_t kLargest = int64_t{1} << 31;
  if (!count || *count < 0 || *count > kLargest || size.value_or(0) > kLargest)
    return Corrupt(fmt::format("n_shared_experts: expected a number of experts, found {}", shared.ScalarText()));
  if (*count > 0 && size) config.Set("moe_shared_expert_intermediate_size", ConfigNode::Int(*count * *size));
  return {};
}

Status Router(HfReader& config, std::vector<std::string>* notes) {
  const FixedKey of_v2[] = {{"scoring_func", "softmax", "other scores"},
                            {"norm_topk_prob", "false", "weights divided by their sum"}};
  const FixedKey of_v3[] = {{"scoring_func", "sigmoid", "other scores"},
                            {"topk_method", "noaux_tc", "other ways to choose experts"},
                            {"norm_topk_prob", "true", "weights as they are"},
                            {"rope_interleave", "true", "rotary positions by halves"}};
  for (const FixedKey& fixed : IsV3(config) ? std::span<const FixedKey>(of_v3) : std::span<const FixedKey>(of_v2))
    ANEMONE_TRY(config.CheckFixed(fixed));
  ANEMONE_TRY(config.CheckFixed({"moe_layer_freq", "1", "layers with and without experts in turns"}));
  const int64_t topk = config.At("num_experts_per_tok").AsInt().value_or(0),
                groups = config.At("n_group").AsInt().value_or(1),
                chosen = config.At("topk_group").AsInt().value_or(groups);
  if (groups < 1 || chosen < 1)
    return Corrupt(
        fmt::format("n_group: expected groups of experts, found {}, of which {} are chosen", groups, chosen));
  const std::string method = IsV3(config) ? "group_limited_greedy" : Text(config.At("topk_method"));
  if (method == "greedy") {
    for (const char* word : {"moe_router_num_groups", "moe_router_group_topk"}) config.Set(word, ConfigNode::Null());
    return {};
  }
  if (method != "group_limited_greedy")
    return Unsupported(fmt::format("topk_method: expected greedy or group_limited_greedy, found {}", method));
  // [core_v0.16.1 moe_utils.py, group_limited_topk; transformers modeling_deepseek_v2.py and _v3.py]
  const int64_t theirs = IsV3(config) ? 2 : 1, experts = config.At("n_routed_experts").AsInt().value_or(0);
  if (!config.At("n_group").AsInt() || experts % groups != 0 || experts / groups < theirs || chosen > groups)
    return Corrupt(
        fmt::format("n_group: expected groups of {} experts, {} or more in each, found {}, of which {} are chosen",
                    experts, theirs, Shown(config.At("n_group")), chosen));
  const int64_t megatrons = chosen > 0 ? topk / chosen : 0;
  if (chosen >= groups || theirs == megatrons) return {};
  const std::string line = fmt::format(
      "n_group: transformers chooses groups by the sum of their best {}, Megatron by that of {} = "
      "num_experts_per_tok "
      "/ topk_group",
      theirs, megatrons);
  if (IsV3(config)) return Unsupported(line);
  // NVIDIA's converters carry DeepSeek-V2 so.
  if (notes != nullptr) notes->push_back(fmt::format("{}: some tokens may go to other experts", line));
  return {};
}

// YaRN, or none [transformers modeling_rope_utils.py, _compute_yarn_parameters].
Status LatentPositions(HfReader& config) {
  const ConfigNode& parameters = config.At("rope_parameters");
  const ConfigNode& scaling = parameters.is_map() ? parameters : config.At("rope_scaling");
  if (const ConfigNode* base = parameters.is_map() ? parameters.Get("rope_theta") : nullptr)
    config.Set("rotary_base", *base);
  const std::string type = RopeType(scaling);
  const bool is_plain = type.empty() || type == "default";
  config.Set("rope_type", TextNode(is_plain ? "rope" : "yarn"));
  if (is_plain) {
    for (const auto& [word, value] :
         {std::pair{"rotary_scaling_factor", 1.0}, {"mscale", 1.0}, {"mscale_all_dim", 0.0}})
      config.Set(word, ConfigNode::Float(value));
    return {};
  }
  const std::string_view place = RopePlace(parameters);
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
  for (const auto& [word, key, silent] : {std::tuple{"rotary_scaling_factor", "factor", 0.0},
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
    config.Set(word, NumberWord(*value));
  }
  const double scale = *number("mscale", 0), all = *number("mscale_all_dim", 0);
  if (scale == 0 && all == 0) config.Set("mscale", ConfigNode::Int(1));
  if ((scale == 0) != (all == 0) && !(all == 0 && scale == 1))
    return Unsupported(fmt::format("{}.mscale: expected it and mscale_all_dim, or neither, found one of them", place));
  return {};
}

}  // namespace

Status ReadLatent(HfReader& config, std::vector<std::string>* notes) {
  config.At("qk_head_dim");  // a sum of others
  // transformers makes as many rotary frequencies as `head_dim` says.
  const ConfigNode &channels = config.At("head_dim"), &rotary = config.At("qk_rope_head_dim");
  if (!channels.is_null() && !SameConfig(channels, rotary))
    return Corrupt(
        fmt::format("head_dim: expected that of qk_rope_head_dim, {}, found {}", Shown(rotary), Shown(channels)));
  const ConfigNode& heads = config.At("num_key_value_heads");
  if (!heads.is_null() && !config.At("num_attention_heads").is_null() &&
      !SameConfig(heads, config.At("num_attention_heads")))
    return Unsupported(fmt::format("num_key_value_heads: expected that of num_attention_heads, {}, found {}",
                                   config.At("num_attention_heads").ScalarText(), heads.ScalarText()));
  if (config.At("q_lora_rank").is_null()) config.Set("q_lora_rank", ConfigNode::Null());
  ANEMONE_TRY(LatentPositions(config));
  ANEMONE_TRY(DenseLayers(config));
  ANEMONE_TRY(Router(config, notes));
  // No key of transformers' says how much training heeds them: as in NeMo's recipe and Megatron-core.
  if (MtpLayersOf(config.words()) > 0) config.Set("mtp_loss_scaling_factor", ConfigNode::Float(0.1));
  // [transformers modeling_deepseek_v2.py: q_a_layernorm, kv_a_layernorm]
  if (notes != nullptr && config.At("rms_norm_eps").AsDouble() != 1e-6) {
    notes->push_back(fmt::format("rms_norm_eps: transformers takes 1e-06 for the norms of latent vectors, Megatron {}",
                                 config.At("rms_norm_eps").ScalarText()));
  }
  return {};
}

}  // namespace anemone::internal
