#include "family/words/paired_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "config/nodes.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

const ConfigNode& ValueAt(const ConfigNode& map, std::string_view key, const ConfigNode& silent) {
  const ConfigNode& value = WordAt(map, key);
  return value.is_null() ? silent : value;
}

// A float is spelled anew: YAML 1.1 reads JSON's 1e-12 as a text.
void Put(std::string_view key, const ConfigNode& value, ConfigNode* to) {
  ConfigNode& node = (*to)[std::string(key)] = value;
  if (node.kind == ConfigNode::Kind::kFloat) node.text.clear();
}

}  // namespace

Status SetNemoKeys(std::span<const PairedKey> keys, const ConfigNode& config_json, ConfigNode* model) {
  for (const PairedKey& key : keys) {
    const ConfigNode silent = ParseWord(key.hf_silent);
    const ConfigNode& value = ValueAt(config_json, key.hf, silent);
    ANEMONE_TRY(CheckNumber(key.hf, value));
    Put(key.nemo, value, model);
  }
  return {};
}

Status SetHfKeys(std::span<const PairedKey> keys, const ConfigNode& model, bool came_along, ConfigNode* config_json) {
  for (const PairedKey& key : keys) {
    const ConfigNode silent = ParseWord(key.nemo_silent), hf_silent = ParseWord(key.hf_silent);
    const ConfigNode& value = ValueAt(model, key.nemo, silent);
    ANEMONE_TRY(CheckNumber(key.nemo, value));
    if (came_along && SameConfig(ValueAt(*config_json, key.hf, hf_silent), value)) continue;
    Put(key.hf, value, config_json);
  }
  return {};
}

bool IsGeluByTanh(std::string_view hf_activation) {
  constexpr std::string_view kByTanh[] = {"gelu_new", "gelu_pytorch_tanh", "gelu_fast"};
  return std::ranges::find(kByTanh, hf_activation) != std::end(kByTanh);
}

}  // namespace anemone
