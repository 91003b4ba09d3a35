#include "family/words/hf_positions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <span>
#include <utility>

#include "config/nodes.h"
#include "family/words/hf_keys.h"
#include "family/words/model_words.h"

namespace anemone::internal {
namespace {

// Some versions of transformers write what rotary_emb_base and rotary_pct say under other names, too.
Status SameTwice(HfReader& config) {
  for (const auto& [key, other] :
       {std::pair{"rope_theta", "rotary_base"}, {"partial_rotary_factor", "rotary_percentage"}}) {
    const std::string_view own = HfKeyOf(config.architecture(), other);
    if (own.empty() || own == key) continue;
    const ConfigNode& value = config.At(key);
    if (!value.is_null() && !SameConfig(value, config.At(own)))
      return Corrupt(fmt::format("{}: expected that of {}, {}, found {}", key, own, config.At(own).ScalarText(),
                                 value.ScalarText()));
  }
  // Version 5 takes the one of rope_parameters, version 4 the other.
  const std::string_view own = HfKeyOf(config.architecture(), "rotary_base");
  const ConfigNode &base = WordAt(config.json(), own), &newer = WordAt(config.At("rope_parameters"), "rope_theta");
  if (!own.empty() && !base.is_null() && !newer.is_null() && !SameConfig(base, newer))
    return Corrupt(fmt::format("rope_parameters.rope_theta: expected that of {}, {}, found {}", own, base.ScalarText(),
                               newer.ScalarText()));
  const ConfigNode &older = config.At("rope_scaling"), &parameters = config.At("rope_parameters");
  for (const auto& [key, value] : older.map) {
    const std::string_view name = key == "type" ? "rope_type" : std::string_view(key);
    const ConfigNode& other = WordAt(parameters, name);
    if (!parameters.is_map() || SameConfig(value, other)) continue;
    return Corrupt(fmt::format("rope_scaling.{}: expected that of rope_parameters, {}, found {}", key, Shown(other),
                               Shown(value)));
  }
  return {};
}

Status RotaryTypes(HfReader& config) {
  const ConfigNode& parameters = config.At("rope_parameters");
  for (const auto& [place, map] : {std::pair{"rope_parameters", &parameters},
                                   {"rope_parameters.full_attention", &WordAt(parameters, "full_attention")},
                                   {"rope_parameters.sliding_attention", &WordAt(parameters, "sliding_attention")},
                                   {"rope_scaling", &config.At("rope_scaling")}}) {
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

// Version 5 rotates heads of `head_dim` channels in a class that has no such key of its own
// [transformers 5.24 modeling_gpt_neox.py, compute_default_rope_parameters].
Status CheckHeadDim(HfReader& config) {
  if (!config.Is("gpt_neox")) return {};
  const ConfigNode& said = config.At("head_dim");
  const auto width = config.At("hidden_size").AsInt(), heads = config.At("num_attention_heads").AsInt();
  if (said.is_null() || !width || heads.value_or(0) < 1 || said.AsInt() == *width / *heads) return {};
  return Unsupported(
      fmt::format("head_dim: expected {}, the width of a head, found {}: version 5 of transformers "
                  "rotates so many channels",
                  *width / *heads, Shown(said)));
}

// Classes whose code is not the folder's own.
bool IsOfTransformers(const HfReader& config) { return !config.Is("baichuan") && !config.Is("chatglm"); }

// [transformers 5.24 modeling_rope_utils.py, _compute_yarn_parameters and standardize_rope_params]
Status ReadYarn(HfReader& config, const ConfigNode& scaling, std::string_view place) {
  const std::span<const HfKey> yarn = YarnKeys();
  for (const auto& [key, value] : scaling.map) {
    constexpr std::string_view kRead[] = {"rope_type", "type", "rope_theta", "partial_rotary_factor"};
    const bool is_known = value.is_null() || std::ranges::find(kRead, key) != std::end(kRead) ||
                          std::ranges::find(yarn, key, &HfKey::key) != yarn.end();
    if (!is_known)
      return Unsupported(
          fmt::format("{}.{}: expected none, found {}: Megatron has no word for it", place, key, Shown(value)));
  }
  config.Set("position_embedding_type", TextNode(kYarn));
  for (const HfKey& key : yarn) {
    const ConfigNode& value = WordAt(scaling, key.key);
    const bool is_flag = key.key == "truncate";
    if (!value.is_null() && (is_flag ? !value.AsBool() : value.AsDouble().value_or(0) <= 0))
      return Corrupt(fmt::format("{}.{}: expected {}, found {}", place, key.key,
                                 is_flag ? "true or false" : "a number above 0", Shown(value)));
    if (!value.is_null()) config.Set(key.word, is_flag ? value : NumberWord(*value.AsDouble()));
  }
  if (WordAt(config.words(), "yarn_original_max_position_embeddings").is_null())
    config.Set("yarn_original_max_position_embeddings", config.At("max_position_embeddings"));
  // YaRN divides by its logarithm.
  if (WordAt(config.words(), "rotary_base").AsDouble() == 1.0)
    return Corrupt(fmt::format("{}.rope_theta: expected a number other than 1 beside yarn, found 1", place));
  if (!WordAt(config.words(), "yarn_rotary_scaling_factor").is_null()) return {};
  return Corrupt(fmt::format("{}.factor: expected a number above 0, found nothing", place));
}

}  // namespace

std::string_view RopePlace(const ConfigNode& rope_parameters) {
  return rope_parameters.is_map() ? "rope_parameters" : "rope_scaling";
}

std::string RopeType(const ConfigNode& map) {
  const std::string type = Text(WordAt(map, "rope_type"));
  return type.empty() ? Text(WordAt(map, "type")) : type;
}

Status CheckPositions(HfReader& config) {
  ANEMONE_TRY(SameTwice(config));
  ANEMONE_TRY(CheckHeadDim(config));
  return RotaryTypes(config);
}

// rope_scaling and rope_theta of transformers 4, rope_parameters of 5.
Status ReadPositions(HfReader& config) {
  const ConfigNode& parameters = config.At("rope_parameters");
  const ConfigNode& scaling = parameters.is_map() ? parameters : config.At("rope_scaling");
  // [baichuan-inc/Baichuan2-13B-Base modeling_baichuan.py; NeMo v2.0.0 convert_baichuan2_hf_to_nemo.py, which goes by
  // the number of layers, too.]
  constexpr int64_t kLayersWithAlibi = 40;
  if (config.Is("baichuan") && config.At("num_hidden_layers").AsInt() == kLayersWithAlibi)
    return Unsupported(
        "num_hidden_layers: expected a Baichuan2 with rotary positions (32), found 40, whose positions "
        "are ALiBi: they are not supported");
  if (const auto ratio = config.At("rope_ratio").AsDouble())
    config.Set("rotary_base", ConfigNode::Float(10000.0 * *ratio));
  if (!scaling.is_map()) return {};
  if (const ConfigNode& base = WordAt(parameters, "rope_theta"); !base.is_null()) config.Set("rotary_base", base);
  const std::string type = RopeType(scaling);
  const bool is_plain = type == "default" || type.empty();
  if (const ConfigNode& part = WordAt(parameters, "partial_rotary_factor"); !part.is_null()) {
    // A class that rotates all of a head does not read it, unless positions are scaled.
    const bool is_read = !HfKeyOf(config.architecture(), "rotary_percentage").empty();
    if (is_read) config.Set("rotary_percentage", part);
    if (!is_read && !is_plain && part.AsDouble() != 1.0)
      return Unsupported(fmt::format("rope_parameters.partial_rotary_factor: expected 1, as {} computes, found {}",
                                     config.architecture().name, part.ScalarText()));
  }
  if (is_plain) return {};
  const std::string_view place = RopePlace(parameters);
  if (type == "linear") {
    const ConfigNode& factor = WordAt(scaling, "factor");
    if (factor.AsDouble().value_or(0) <= 0)
      return Corrupt(fmt::format("{}.factor: expected a number above 0, found {}", place, factor.ScalarText()));
    config.Set("seq_len_interpolation_factor", factor);
    return {};
  }
  if (type == kYarn && IsOfTransformers(config)) return ReadYarn(config, scaling, place);
  if (type != "llama3")
    return Unsupported(fmt::format("{}.rope_type: expected linear, llama3 or yarn, found {}", place, type),
                       "neither NeMo's decoders nor Megatron's scale positions so");
  for (const PositionFactor& factor : PositionFactors()) {
    const ConfigNode& found = WordAt(scaling, factor.hf);
    const auto value = found.AsDouble();
    if (!value) return Corrupt(fmt::format("{}.{}: expected a number, found {}", place, factor.hf, found.ScalarText()));
    if (*value != factor.built_in) config.Set(fmt::format("rope_scaling.{}", factor.hf), ConfigNode::Float(*value));
  }
  config.Set("scale_positional_embedding", ConfigNode::Bool(true));
  return {};
}

}  // namespace anemone::internal
