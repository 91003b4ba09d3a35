#include "family/neva/stored.h"

#include <algorithm>

#include <fmt/format.h>

#include "family/megatron/megatron_layer.h"
#include "family/words/llava_config.h"
#include "family/words/model_words.h"
#include "family/words/neva_config.h"
#include "schema/matcher.h"

namespace anemone::neva {

Stored StoredBesidesLanguage(const Checkpoint& checkpoint, const Dialect& dialect) {
  Stored stored;
  const NameMatcher matcher(dialect);
  checkpoint.ForEachDict([&](const StateDict& dict) {
    const std::string prefix = matcher.BestPrefix(dict).prefix;
    for (const StateDict::Item& item : dict.items()) {
      const auto hit = matcher.Match(item.name, prefix);
      if (!hit || item.tensor() == nullptr || item.tensor()->shape().empty()) continue;
      const StoredRow& row = matcher.row(hit->row);
      if (row.tower != kTower && !row.canonical.starts_with("projector.") && row.canonical != kNewline) {
        stored.has_language |= hit->captures.layer.has_value();
        continue;
      }
      stored.has_nemo_tower |= row.name.find(kNemoModule) != std::string::npos;
      stored.has_learned_positions |= row.name.ends_with(".position_embeddings");
      stored.has_megatron_tower |= row.name.find(".vision_encoder.decoder.") != std::string::npos;
      stored.has_megatron_projector |= row.name.find(".mm_projector.encoder.") != std::string::npos;
      if (!row.canonical.empty()) stored.shapes.emplace(row.canonical, item.tensor()->shape());
      if (hit->captures.layer) stored.layers = std::max(stored.layers, *hit->captures.layer + 1);
    }
  });
  return stored;
}

void SetProjector(const Stored& stored, ModelSymbols* symbols) {
  symbols->Set(kMegatronProjector, stored.has_megatron_projector);
  for (const std::string_view place : kProjections) {
    const std::string weight = fmt::format("{}.weight", place);
    symbols->Set(place, stored.Has(weight) || stored.Has(fmt::format("{}.bias", place)));
    symbols->Set(fmt::format("{}.rows", place), stored.Axis(weight, 0));
    if (!IsNorm(place)) symbols->Set(fmt::format("{}.columns", place), stored.Axis(weight, 1));
  }
}

std::string ProjectorType(const ModelSymbols& symbols) {
  const auto has = [&](std::string_view place) {
    const Result<bool> holds = symbols.Holds(place);
    return holds.ok() && *holds;
  };
  if (has("projector")) return "linear";
  if (has("projector.1")) return "mlp_downsample";
  constexpr std::string_view kLinears[] = {"projector.0", "projector.2", "projector.4", "projector.6"};
  const auto* end = std::ranges::find_if_not(kLinears, has);
  return end == std::begin(kLinears) ? "" : fmt::format("mlp{}x_gelu", end - std::begin(kLinears));
}

bool IsAnyLlavaJson(const ConfigNode& root) { return IsLlavaJson(root) || IsOwnLlavaJson(root); }

bool IsLlava(const Checkpoint& checkpoint) { return checkpoint.config && IsAnyLlavaJson(checkpoint.config->root()); }

const ConfigNode& EncoderOf(const Checkpoint& checkpoint) {
  static const ConfigNode none;
  if (!checkpoint.config || IsLlava(checkpoint)) return none;
  return WordAt(ModelNode(*checkpoint.config), "mm_cfg.vision_encoder");
}

bool IsOfNemosClip(const ConfigNode& encoder) { return !WordAt(encoder, "from_hf").AsBool().value_or(false); }

ConfigNode& MmCfgOf(Config& config) {
  ConfigNode& root = config.root();
  ConfigNode* within = root.Get("cfg");
  return (within != nullptr && within->is_map() ? *within : root)["mm_cfg"];
}

ConfigNode& EncoderOf(Config& config) { return MmCfgOf(config)["vision_encoder"]; }

}  // namespace anemone::neva
