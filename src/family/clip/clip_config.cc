#include "family/clip/clip_config.h"

#include <fmt/format.h>

#include "family/clip/config_languages.h"

namespace anemone {
namespace {

Status CheckTower(const TowerArchitecture& tower, std::string_view name) {
  if (tower.layers == 0 || tower.width == 0 || tower.heads == 0 || tower.ffn == 0) {
    return Corrupt(fmt::format("{}: expected layers, width, heads and feed-forward size above 0, found {}, {}, {}, {}",
                               name, tower.layers, tower.width, tower.heads, tower.ffn));
  }
  if (tower.width % tower.heads != 0) {
    return Corrupt(fmt::format("{}: expected a width that {} heads divide, found {}", name, tower.heads, tower.width));
  }
  return {};
}

bool IsClipTokenizer(std::string_view name) {
  return name.starts_with("openai/clip-") || name.starts_with("laion/CLIP-");
}

}  // namespace

Status CheckArchitecture(const ClipArchitecture& spec) {
  if (spec.has_vision) {
    ANEMONE_TRY(CheckTower(spec.vision, "vision"));
    if (spec.patch == 0 || spec.image_height < spec.patch || spec.image_width < spec.patch ||
        // Hugging Face's SigLIP crops what does not fill a patch; NeMo asserts that nothing is left.
        (!spec.siglip && (spec.image_height % spec.patch != 0 || spec.image_width % spec.patch != 0))) {
      return Corrupt(fmt::format("vision: expected an image size that patch {} divides, found {}×{}", spec.patch,
                                 spec.image_height, spec.image_width));
    }
  }
  return spec.has_text ? CheckTower(spec.text, "text") : Status();
}

std::optional<Rgb> ReadRgb(const ConfigNode* node) {
  if (node == nullptr || (node->is_list() && node->list.size() != 3)) return std::nullopt;
  Rgb rgb;
  for (size_t i = 0; i < rgb.size(); ++i) {
    const std::optional<double> value = (node->is_list() ? node->list[i] : *node).AsDouble();
    if (!value) return std::nullopt;
    rgb[i] = *value;
  }
  return rgb;
}

ConfigNode RgbNode(const Rgb& rgb) {
  return ConfigNode::List({ConfigNode::Float(rgb[0]), ConfigNode::Float(rgb[1]), ConfigNode::Float(rgb[2])});
}

bool NamesClipTokenizer(const ConfigNode& nemo_model) {
  const ConfigNode* tokenizer = nemo_model.Get("tokenizer");
  const ConfigNode* type = tokenizer == nullptr ? nullptr : tokenizer->Get("type");
  const std::string word = type == nullptr ? "" : type->AsString().value_or("");
  return IsClipTokenizer(word);
}

std::string OtherTokenizer(const Config& config) {
  std::string name;
  if (KindOfClipConfig(config) == ClipConfigKind::kOpenClip) {
    const ConfigNode* node = config.Find("model_cfg.text_cfg.hf_tokenizer_name");
    name = node == nullptr ? "" : node->AsString().value_or("");
  } else if (KindOfClipConfig(config) == ClipConfigKind::kNemo) {
    const Result<ConfigNode> model = NemoModelNode(config);
    const ConfigNode* tokenizer = model.ok() ? model->Get("tokenizer") : nullptr;
    for (const std::string_view key : {"type", "model"}) {
      const ConfigNode* node = tokenizer == nullptr ? nullptr : tokenizer->Get(key);
      if (name.empty() && node != nullptr) name = node->AsString().value_or("");
    }
  }
  return IsClipTokenizer(name) ? "" : name;
}

ClipConfigKind KindOfClipConfig(const Config& config) {
  const ConfigNode& root = config.root();
  const ConfigLanguage language = DetectLanguage(root);
  if (language == ConfigLanguage::kOpenClip) return ClipConfigKind::kOpenClip;
  if (language == ConfigLanguage::kHuggingFace) return ClipConfigKind::kHuggingFace;
  const ConfigNode* model = &root;
  for (const std::string_view key : {"model", "cfg"}) {
    if (root.Get("vision") == nullptr && root.Get(key) != nullptr) model = root.Get(key);
  }
  if (model->Get("vision") != nullptr && model->Get("text") != nullptr) return ClipConfigKind::kNemo;
  return ClipConfigKind::kNone;
}

Result<ClipArchitecture> ReadClipArchitecture(const Config& config, bool strict, std::vector<std::string>* notes) {
  switch (KindOfClipConfig(config)) {
    case ClipConfigKind::kHuggingFace:
      return ReadHuggingFaceClip(config, strict, notes);
    case ClipConfigKind::kOpenClip:
      return ReadOpenClip(config, strict, notes);
    case ClipConfigKind::kNemo: {
      ANEMONE_ASSIGN(const ConfigNode model, NemoModelNode(config));
      return ReadNemoClip(model);
    }
    case ClipConfigKind::kNone:
      break;
  }
  if (config.root().Get("vision_cfg") != nullptr && config.root().Get("embed_dim") != nullptr) {
    return Unsupported(
        "expected open_clip_config.json, found what is its model_cfg alone",
        R"(put it into a file {"model_cfg": …, "preprocess_cfg": {}}, with the training's own values there)");
  }
  return Corrupt(
      "expected the config of a CLIP (config.json, open_clip_config.json or NeMo's YAML), found none of them");
}

}  // namespace anemone
