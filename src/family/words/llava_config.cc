// Facts: haotian-liu/LLaVA c121f04 llava/model/llava_arch.py, language_model/llava_{llama,mistral}.py,
// multimodal_encoder/clip_encoder.py; transformers 4.44.2 models/llava/convert_llava_weights_to_hf.py and
// models/llava_next/convert_llava_next_weights_to_hf.py.
#include "family/words/llava_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "config/nodes.h"
#include "family/words/model_words.h"
#include "family/words/neva_config.h"

namespace anemone {
namespace {

// A class of LLaVA's, and its language model's.
struct OwnClass {
  std::string_view name, model_type, text;
};
constexpr OwnClass kClasses[] = {{"LlavaLlamaForCausalLM", "llava_llama", "llama"},
                                 {"LlavaLlamaForCausalLM", "llava", "llama"},
                                 {"LlavaMistralForCausalLM", "llava_mistral", "mistral"},
                                 {"LlavaQwenForCausalLM", "llava_qwen", "qwen2"}};

std::string NameOfClass(const ConfigNode& root) {
  const ConfigNode& names = WordAt(root, "architectures");
  return names.is_list() && !names.list.empty() ? names.list.front().AsString().value_or("") : std::string();
}

const OwnClass* FindOwnClass(const ConfigNode& root) {
  const std::string name = NameOfClass(root), type = WordAt(root, "model_type").AsString().value_or("");
  const auto* found = std::ranges::find_if(
      kClasses, [&](const OwnClass& own) { return name.empty() ? own.model_type == type : own.name == name; });
  return found == std::end(kClasses) ? nullptr : found;
}

// What is beside the language model's config and is no part of it.
bool IsAround(std::string_view key) {
  constexpr std::string_view kKeys[] = {"architectures",
                                        "auto_map",
                                        "freeze_backbone",
                                        "image_aspect_ratio",
                                        "image_crop_resolution",
                                        "image_grid_pinpoints",
                                        "image_split_resolution",
                                        "image_token_index",
                                        "model_type",
                                        "tokenizer_model_max_length",
                                        "tokenizer_padding_side",
                                        "torch_dtype",
                                        "dtype",
                                        "transformers_version",
                                        "vision_config",
                                        "_name_or_path"};
  return key.starts_with("mm_") || key.find("_mm_") != std::string_view::npos ||
         std::ranges::find(kKeys, key) != std::end(kKeys);
}

bool IsTrue(const ConfigNode& node) { return node.AsBool().value_or(false); }

// How transformers 5 tells rotary positions; LLaVA's code runs on version 4, which has two keys for them.
constexpr std::string_view kPositions = "rope_parameters";
void SetOldPositions(const ConfigNode& parameters, ConfigNode* own) {
  if (!parameters.is_map()) return;
  ConfigNode scaling = ConfigNode::Map();
  for (const auto& [key, value] : parameters.map) {
    if (key == "rope_theta") {
      (*own)["rope_theta"] = value;
    } else {
      scaling[key] = value;
    }
  }
  if (WordAt(scaling, "rope_type").AsString().value_or("default") != "default") (*own)["rope_scaling"] = scaling;
}

// Image sizes that are tried: LLaVA has them as a list, or as Python's text of one.
ConfigNode Pinpoints(const ConfigNode& node) {
  if (!node.is_scalar() || node.is_null()) return node;
  std::string text = node.AsString().value_or("");
  std::ranges::replace(text, '(', '[');
  std::ranges::replace(text, ')', ']');
  return ParseWord(text);
}

}  // namespace

bool IsOwnLlavaJson(const ConfigNode& root) {
  return FindOwnClass(root) != nullptr && root.Get("text_config") == nullptr;
}

Result<ConfigNode> HfOfOwnLlava(const ConfigNode& own) {
  const OwnClass* own_class = FindOwnClass(own);
  if (own_class == nullptr) return Unsupported("architectures: expected a class of LLaVA's, found none");
  if (IsTrue(WordAt(own, "mm_use_im_start_end"))) {
    return Unsupported(
        "mm_use_im_start_end: expected false, found true: transformers' LLaVA sets no tokens around images");
  }
  ConfigNode text = ConfigNode::Map();
  text["model_type"] = TextNode(own_class->text);
  for (const auto& [key, value] : own.map) {
    if (!IsAround(key)) text[key] = value;
  }
  const std::string merge = WordAt(own, "mm_patch_merge_type").AsString().value_or("flat");
  const bool is_next = merge == "spatial_unpad";
  if (!is_next && merge != "flat")
    return Unsupported(fmt::format("mm_patch_merge_type: expected flat or spatial_unpad, found {}", merge));
  const bool is_anyres = WordAt(own, "image_aspect_ratio").AsString() == "anyres";
  if (is_anyres && !is_next) {
    return Unsupported(
        "image_aspect_ratio: expected pad or square, as transformers' LLaVA computes without image_newline, found "
        "anyres");
  }
  const std::string feature = WordAt(own, "mm_vision_select_feature").AsString().value_or("patch");
  if (feature != "patch" && feature != "cls_patch")
    return Unsupported(fmt::format("mm_vision_select_feature: expected patch or cls_patch, found {}", feature));
  ConfigNode json = ParseWord("{ignore_index: -100, image_token_index: 32000, projector_hidden_act: gelu}");
  json["architectures"] =
      ConfigNode::List({TextNode(is_next ? "LlavaNextForConditionalGeneration" : "LlavaForConditionalGeneration")});
  json["model_type"] = TextNode(is_next ? "llava_next" : "llava");
  if (const ConfigNode* dtype = own.Get("torch_dtype")) json["torch_dtype"] = *dtype;
  if (const ConfigNode* image = own.Get(kImageTokenKey)) json[kImageTokenKey] = *image;
  const ConfigNode& layer = WordAt(own, "mm_vision_select_layer");
  json["vision_feature_layer"] = layer.is_null() ? ConfigNode::Int(-2) : layer;
  json["vision_feature_select_strategy"] = TextNode(feature == "patch" ? "default" : "full");
  if (const ConfigNode& points = WordAt(own, "image_grid_pinpoints"); is_next && !points.is_null())
    json["image_grid_pinpoints"] = Pinpoints(points);
  const std::string tower = WordAt(own, "mm_vision_tower").AsString().value_or("");
  ConfigNode vision = TowerOfName(tower);
  // A key of this project's, where no name tells the tower.
  if (const ConfigNode* said = own.Get("vision_config"); said != nullptr && said->is_map()) vision = *said;
  if (!tower.empty()) vision["_name_or_path"] = TextNode(tower);
  if (const ConfigNode& width = WordAt(own, "mm_hidden_size"); !width.is_null() && vision.Get("hidden_size") == nullptr)
    vision["hidden_size"] = width;
  json["vision_config"] = std::move(vision);
  json["text_config"] = std::move(text);
  return json;
}

Result<ConfigNode> OwnLlavaOfHf(const ConfigNode& config_json, const OwnLlavaRequest& request) {
  const ConfigNode& text = WordAt(config_json, "text_config");
  const std::string type = WordAt(text, "model_type").AsString().value_or("llama");
  const auto* own_class = std::ranges::find_if(kClasses, [&](const OwnClass& own) { return own.text == type; });
  if (own_class == std::end(kClasses)) {
    return Unsupported(
        fmt::format("text_config.model_type: expected llama, mistral or qwen2, as LLaVA has them, found {}", type));
  }
  ANEMONE_TRY(CheckPictures(config_json));
  const bool is_next = WordAt(config_json, "model_type").AsString() == "llava_next";
  ConfigNode own = request.kept != nullptr ? *request.kept : ConfigNode::Map();
  for (const auto& [key, value] : text.map) {
    if (!IsAround(key) && key != kPositions) own[key] = value;
  }
  SetOldPositions(WordAt(text, kPositions), &own);
  const auto set = [&](const char* key, ConfigNode value) {
    if (!SameConfig(WordAt(own, key), value)) own[key] = std::move(value);
  };
  if (request.kept == nullptr) {
    set("architectures", ConfigNode::List({TextNode(own_class->name)}));
    set("model_type", TextNode(own_class->model_type));
    set("image_aspect_ratio", TextNode(is_next ? "anyres" : "pad"));
    for (const char* flag : {"mm_use_im_patch_token", "mm_use_im_start_end"}) set(flag, ConfigNode::Bool(false));
    set("use_mm_proj", ConfigNode::Bool(true));
    if (const ConfigNode* dtype = config_json.Get("torch_dtype")) set("torch_dtype", *dtype);
  }
  set("mm_projector_type", TextNode(request.projector));
  if (request.tower.empty() != WordAt(own, "mm_vision_tower").is_null() || !request.tower.empty())
    set("mm_vision_tower", request.tower.empty() ? ConfigNode::Null() : TextNode(request.tower));
  if (const ConfigNode& width = WordAt(config_json, "vision_config.hidden_size"); !width.is_null())
    set("mm_hidden_size", width);
  if (request.kept == nullptr) {
    // LLaVA's own code passes over these two.
    set(kImageTokenKey, WordAt(config_json, kImageTokenKey));
    if (request.tower.empty()) set("vision_config", WordAt(config_json, "vision_config"));
  }
  if (const auto layer = FeatureLayerOf(config_json)) set("mm_vision_select_layer", ConfigNode::Int(*layer));
  const bool is_full = WordAt(config_json, "vision_feature_select_strategy").AsString() == "full";
  set("mm_vision_select_feature", TextNode(is_full ? "cls_patch" : "patch"));
  if (is_next) {
    set("mm_patch_merge_type", TextNode("spatial_unpad"));
    const ConfigNode& points = WordAt(config_json, "image_grid_pinpoints");
    if (!points.is_null() && !SameConfig(Pinpoints(WordAt(own, "image_grid_pinpoints")), points))
      own["image_grid_pinpoints"] = points;
  } else if (request.kept == nullptr) {
    set("mm_patch_merge_type", TextNode("flat"));
  }
  if (request.kept == nullptr)
    std::ranges::sort(
        own.map, {}, [](const auto& entry) -> const auto& { return entry.first; });
  return own;
}

}  // namespace anemone
