#include "family/words/config_languages.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "config/nodes.h"
#include "family/words/hf_numbers.h"
#include "family/words/megatron_config.h"
#include "family/words/nemo2_config.h"

namespace anemone {

ConfigLanguage DetectLanguage(const ConfigNode& root) {
  constexpr std::string_view kHuggingFace[] = {"vision_config", "text_config", "text_config_dict", "model_type"};
  if (const ConfigNode* model = root.Get("model_cfg"); model != nullptr && model->is_map())
    return ConfigLanguage::kOpenClip;
  if (IsMegatronConfig(root)) return ConfigLanguage::kMegatron;
  if (std::ranges::any_of(kHuggingFace, [&](std::string_view key) { return root.Get(key) != nullptr; }))
    return ConfigLanguage::kHuggingFace;
  return IsNemo2Config(root) ? ConfigLanguage::kNemo2 : ConfigLanguage::kNone;
}

bool DescribesWeights(const ConfigNode& root) {
  const ConfigLanguage language = DetectLanguage(root);
  return language == ConfigLanguage::kHuggingFace || language == ConfigLanguage::kOpenClip;
}

Result<ConfigNode> NemoModelNode(const Config& config) {
  // An experiment's YAML keeps the model under `model`, a training run's hparams.yaml under `cfg`, a .nemo at the root.
  std::string path;
  for (const std::string_view key : {"model", "cfg"}) {
    const ConfigNode* child = config.root().Get(key);
    if (path.empty() && child != nullptr && child->is_map() && config.root().Get("vision") == nullptr) path = key;
  }
  // What points outside the model (a trainer's field that did not travel) stays text; nobody here reads it.
  return config.ResolveChildren(path, [](std::string_view key) { return key != "vision" && key != "text"; });
}

void SetHuggingFaceDType(ConfigNode& root, DType dtype) {
  for (const std::string_view key : {"torch_dtype", "dtype"}) {
    ConfigNode* node = root.Get(key);
    if (node != nullptr && !node->is_null()) *node = TextNode(Info(dtype).torch);
  }
}

Result<ConfigNode> FinishedHuggingFaceJson(ConfigNode json, uint64_t rows, DType dtype, bool came_along) {
  const ConfigNode* said = json.Get("vocab_size");
  if (said == nullptr || said->AsInt() != static_cast<int64_t>(rows))
    json["vocab_size"] = ConfigNode::Int(static_cast<int64_t>(rows));
  if (!came_along) json["torch_dtype"] = ConfigNode::String("float32");
  SetHuggingFaceDType(json, dtype);
  ANEMONE_TRY(CheckHfNumbers(json));
  if (came_along) return json;
  TypeHfNumbers(&json);
  std::ranges::sort(
      json.map, {}, [](const auto& entry) -> const auto& { return entry.first; });
  return json;
}

}  // namespace anemone
