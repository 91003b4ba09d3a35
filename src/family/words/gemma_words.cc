// Facts: NeMo v2.4.0 nemo/collections/llm/gpt/model/gemma2.py, gemma3.py; Megatron-Bridge 0.3.1 and 0.7.0
// src/megatron/bridge/models/gemma/gemma2_provider.py, gemma3_provider.py, gemma3_bridge.py.
#include "family/words/gemma_words.h"

#include <cmath>

#include "config/nodes.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

// `silent`: what the class has where the file says nothing; "": nothing that sizes would not say.
struct GemmaKey {
  const char* name;
  std::string_view silent;
};
constexpr GemmaKey kGemma2Keys[] = {
    {"attn_logit_softcapping", "50.0"}, {"final_logit_softcapping", "30.0"}, {"query_pre_attn_scalar", ""}};

}  // namespace

void TakeGemma2(const ConfigNode& from, ConfigNode& to) {
  to["name"] = TextNode(kGemma2Name);
  ConfigNode& custom = to["mcore_customization_config"] = ConfigNode::Map();
  for (const auto& [key, silent] : kGemma2Keys) {
    if (const ConfigNode* value = from.Get(key)) {
      custom[key] = *value;
    } else if (!silent.empty()) {
      custom[key] = ParseWord(silent);
    }
  }
}

void GiveGemma2(const ConfigNode& model, ConfigNode& config) {
  const ConfigNode& custom = WordAt(model, "mcore_customization_config");
  for (const auto& [key, silent] : kGemma2Keys) {
    if (const ConfigNode* value = custom.Get(key)) {
      config[key] = *value;
    } else if (!silent.empty()) {
      config[key] = ConfigNode::Null();
    }
  }
}

// It has pairs where others have numbers.
void TakeGemma3(const ConfigNode& from, ConfigNode& to) {
  to["name"] = TextNode(kGemma3Name);
  to["qk_layernorm"] = ConfigNode::Bool(true);
  const ConfigNode& bases = WordAt(from, "rotary_base");
  if (bases.is_list() && bases.list.size() == 2) {
    to["rotary_base_local"] = bases.list[0];
    to["rotary_base"] = bases.list[1];
  }
  if (const ConfigNode& window = WordAt(from, "window_size"); window.AsInt())
    to["window_size"] = ConfigNode::List({window, ConfigNode::Int(0)});
  for (const char* key : {"interleaved_attn_pattern", "rope_scaling_factor"}) {
    if (const ConfigNode* value = from.Get(key)) to[key] = *value;
  }
  // 1 / √ of it scales the scores; the channels of a head where nothing is said.
  ConfigNode& custom = to["mcore_customization_config"] = ConfigNode::Map();
  ConfigNode& scalar = custom["query_pre_attn_scalar"] = WordAt(from, "kv_channels");
  if (const auto scale = WordAt(from, "softmax_scale").AsDouble(); scale && *scale > 0) {
    const double exact = 1 / (*scale * *scale), whole = std::round(exact);
    const bool is_whole = std::abs(1 / std::sqrt(whole) - *scale) < 1e-9 * *scale;
    scalar = is_whole ? ConfigNode::Int(static_cast<int64_t>(whole)) : ConfigNode::Float(exact);
  }
}

void GiveGemma3(const ConfigNode& model, ConfigNode& config) {
  config.Erase("qk_layernorm");  // its layers have these norms always
  config["rotary_base"] = ConfigNode::List({WordAt(model, "rotary_base_local"), WordAt(model, "rotary_base")});
  if (const ConfigNode& window = WordAt(model, "window_size"); window.is_list() && !window.list.empty())
    config["window_size"] = window.list[0];
  config["interleaved_attn_pattern"] = WordAt(model, "interleaved_attn_pattern");
  const ConfigNode& factor = WordAt(model, "rope_scaling_factor");
  config["rope_scaling_factor"] = factor.is_null() ? ConfigNode::Float(1.0) : factor;
  const auto scalar = WordAt(model, "mcore_customization_config.query_pre_attn_scalar").AsDouble();
  if (scalar && scalar != WordAt(model, "kv_channels").AsDouble())
    config["softmax_scale"] = ConfigNode::Float(1 / std::sqrt(*scalar));
}

}  // namespace anemone
