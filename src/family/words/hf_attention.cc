#include "family/words/hf_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "config/nodes.h"
#include "family/words/hf_keys.h"
#include "family/words/hf_positions.h"
#include "family/words/model_words.h"

namespace anemone::internal {
namespace {

Status CheckTypesOfLayers(HfReader& config, const ConfigNode& types) {
  const auto layers = config.At("num_hidden_layers").AsInt();
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

// NeMo's Gemma 2 has a window in every other layer, from the first on [NeMo v2.0.0 gemma2_modules.py].
Status Gemma2Layers(HfReader& config, const ConfigNode& types) {
  if (config.At("sliding_window").is_null()) return Unsupported("sliding_window: expected a number, found null");
  for (size_t i = 0; types.is_list() && i < types.list.size(); ++i) {
    if (Text(types.list[i]) != (i % 2 == 0 ? "sliding_attention" : "full_attention"))
      return Unsupported("layer_types: expected a window in every other layer, from the first on, found others");
  }
  return {};
}

// After so many layers that see a window, one sees all [transformers configuration_gemma3.py].
Result<int64_t> LocalLayers(HfReader& config) {
  const ConfigNode& types = config.At("layer_types");
  // What version 5 saves under a name of its own counts only beside the layers' types.
  const ConfigNode* saved = types.is_list() ? config.json().Get("_sliding_window_pattern") : nullptr;
  const auto period = saved != nullptr ? saved->AsInt() : config.At("sliding_window_pattern").AsInt();
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

// All `layer_types` see all: that counts in the classes that read them, and in others where there is no window.
Status FullAttention(HfReader& config, std::string_view key) {
  if (config.architecture().reads_layer_types || key.empty()) return {};
  const ConfigNode &window = config.At(key), &use = config.At("use_sliding_window");
  if (window.is_null() || (!use.is_null() && !IsTrue(use))) return {};
  return Corrupt(
      fmt::format("layer_types: expected sliding_attention beside {}: {}, as {} computes, found full_attention", key,
                  window.ScalarText(), config.architecture().name));
}

}  // namespace

Status ReadWindow(HfReader& config) {
  const std::string_view key = HfKeyOf(config.architecture(), "window_size");
  const ConfigNode& types = config.At("layer_types");
  const bool alternates = config.Is("gemma2") || config.Is("gemma3_text");
  ANEMONE_TRY(CheckTypesOfLayers(config, types));
  if (types.is_list() && !alternates) {
    const auto is = [&](std::string_view type) {
      return std::all_of(types.list.begin(), types.list.end(), [&](const ConfigNode& t) { return Text(t) == type; });
    };
    if (!is("full_attention") && !is("sliding_attention"))
      return Unsupported("layer_types: expected one kind of attention in all layers, found several");
    if (is("full_attention")) return FullAttention(config, key);
    if (key.empty()) return Unsupported("layer_types: expected full_attention, found sliding_attention");
  }
  if (config.Is("gemma2")) ANEMONE_TRY(Gemma2Layers(config, types));
  if (key.empty()) return config.CheckFixed({"sliding_window", "null", "attention to a window"});
  const ConfigNode &window = config.At(key), &use = config.At("use_sliding_window");
  if (!use.is_null() && !IsTrue(use)) {
    if (!types.is_list()) return {};
    return Corrupt("layer_types: expected full_attention beside use_sliding_window: false, found sliding_attention");
  }
  if (IsTrue(use) && WordAt(config.json(), key).is_null())
    return Corrupt(fmt::format("{}: expected a number beside use_sliding_window, found nothing", key));
  if (window.is_null()) return {};
  if (!use.is_null() && !types.is_list()) {
    // [transformers modeling_qwen2.py: layers from this one on have the window.]
    const auto full = config.At("max_window_layers").AsInt(), layers = config.At("num_hidden_layers").AsInt();
    if (!config.architecture().reads_layer_types && full.value_or(0) > 0)
      return Unsupported(
          fmt::format("max_window_layers: expected 0 beside use_sliding_window, found {}: version 4 of transformers "
                      "computes layers without a window in {}, version 5 none",
                      *full, config.architecture().name));
    if (full && layers && *full >= *layers) return {};
    if (full.value_or(0) > 0)
      return Unsupported("max_window_layers: expected one kind of attention in all layers, found two");
  }
  const auto size = window.AsInt();
  if (!size || *size < 1)
    return Corrupt(fmt::format("{}: expected a number above 0, found {}", key, window.ScalarText()));
  config.Set("window_size", ConfigNode::List({ConfigNode::Int(*size), ConfigNode::Int(0)}));
  return {};
}

// Layers that see a window have positions of their own; only those of the others are scaled
// [transformers modeling_gemma3.py; NeMo v2.4.0 gemma3.py].
Status ReadGemma3(HfReader& config) {
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    if (!config.At(key).is_null())
      return Unsupported(
          fmt::format("{}: expected null, found {}: NeMo's Gemma 3 has none", key, config.At(key).ScalarText()));
  }
  if (config.At("sliding_window").is_null()) return Unsupported("sliding_window: expected a number, found null");
  ANEMONE_ASSIGN(const int64_t local, LocalLayers(config));
  config.Set("interleaved_attn_pattern", ConfigNode::List({ConfigNode::Int(local), ConfigNode::Int(1)}));
  const ConfigNode& parameters = config.At("rope_parameters");
  const ConfigNode &full = parameters.is_map() ? WordAt(parameters, "full_attention") : config.At("rope_scaling"),
                   &sliding = WordAt(parameters, "sliding_attention");
  for (const auto& [word, map] : {std::pair{"rotary_base", &full}, {"rotary_base_local", &sliding}}) {
    if (const ConfigNode* base = parameters.is_map() ? map->Get("rope_theta") : nullptr) config.Set(word, *base);
  }
  const std::string_view place = RopePlace(parameters);
  if (const std::string type = RopeType(sliding); !type.empty() && type != "default")
    return Unsupported(fmt::format("rope_parameters.sliding_attention: expected default, found {}", type));
  const std::string type = RopeType(full);
  if (type.empty() || type == "default") return {};
  if (type != "linear")
    return Unsupported(fmt::format("{}.{}rope_type: expected linear, found {}", place,
                                   parameters.is_map() ? "full_attention." : "", type));
  config.Set("rope_scaling_factor", WordAt(full, "factor"));
  return {};
}

}  // namespace anemone::internal
