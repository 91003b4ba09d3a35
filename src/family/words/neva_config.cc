// Facts: transformers 4.44.2 configuration_llava.py, modeling_llava.py, configuration_{clip,llama,mistral,qwen2}.py;
// NeMo v2.0.0 examples/multimodal/multimodal_llm/neva/conf/llava_config.yaml, neva_model.py,
// scripts/checkpoint_converters/convert_llava_hf_to_nemo.py; files that NeMo wrote (tests/golden).
#include "family/words/neva_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "config/nodes.h"
#include "family/megatron/megatron_layer.h"
#include "family/words/encoder_config.h"
#include "family/words/hf_architectures.h"
#include "family/words/hf_numbers.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

// What the language model's class takes for a size that `text_config` leaves out, as the published files do.
struct Silent {
  std::string_view model_type, sizes;
};
constexpr Silent kSilentTexts[] = {
    {"llama",
     "{hidden_size: 4096, intermediate_size: 11008, num_attention_heads: 32, num_hidden_layers: 32, vocab_size: "
     "32000}"},
    {"mistral",
     "{hidden_size: 4096, intermediate_size: 14336, num_attention_heads: 32, num_hidden_layers: 32, vocab_size: "
     "32000}"},
    {"qwen2",
     "{hidden_size: 4096, intermediate_size: 22016, num_attention_heads: 32, num_hidden_layers: 32, vocab_size: "
     "151936}"},
};
// The same of the tower's classes.
constexpr Silent kSilentTowers[] = {
    {kClipTowerType,
     "{hidden_size: 768, intermediate_size: 3072, num_attention_heads: 12, image_size: 224, patch_size: 32, "
     "num_hidden_layers: 12}"},
    {kSiglipTowerType,
     "{hidden_size: 768, intermediate_size: 3072, num_attention_heads: 12, image_size: 224, patch_size: 16, "
     "num_hidden_layers: 12}"},
};

// The values that a tower computes with, where its config is silent.
constexpr Silent kSilentComputed[] = {
    {kClipTowerType, "{hidden_act: quick_gelu, layer_norm_eps: 1.0e-5, attention_dropout: 0.0}"},
    {kSiglipTowerType, "{hidden_act: gelu_pytorch_tanh, layer_norm_eps: 1.0e-6, attention_dropout: 0.0}"},
};

template <size_t n>
ConfigNode SilentOf(const Silent (&table)[n], std::string_view model_type) {
  const auto* found =
      std::find_if(std::begin(table), std::end(table), [&](const Silent& s) { return s.model_type == model_type; });
  return found == std::end(table) ? ConfigNode::Map() : ParseWord(found->sizes);
}

// What NeMo's config has beside the language model's. Code reads and writes mm_cfg, not a table of fields as for a
// CLIP: most of what it says follows from several keys together (the tower's name stands for its sizes,
// class_token_length and image_token_len follow from the tower's class and from vision_select_feature). Sizes are those
// of the weights; a table compares what the config says of them (kSaid in neva/neva.cc).
constexpr std::string_view kAround = R"yaml(restore_from_path: null
mm_cfg:
  llm:
    from_pretrained: null
    freeze: false
    model_type: v1
  vision_encoder:
    from_pretrained: null
    from_hf: true
    patch_dim: null
    crop_size: null
    hidden_size: null
    vision_select_layer: -2
    vision_select_feature: patch
    class_token_length: 1
    freeze: true
  pretrain_mm_mlp_adapter: null
  mm_mlp_adapter_type: mlp2x_gelu
  use_im_start_end: false
micro_batch_size: 16
global_batch_size: 128
use_cpu_initialization: true
data:
  num_workers: 8
  dataloader_type: cyclic
  data_path: null
  lazy_preprocess: true
  is_multimodal: true
  media_type: image
  sep_image_conv_front: false
  image_token_len: null
  conv_template: v1
  image_folder: null
  image_aspect_ratio: square
target: nemo.collections.multimodal.models.multimodal_llm.neva.neva_model.MegatronNevaModel
)yaml";

// Towers that NeMo builds by name.
struct KnownTower {
  std::string_view name;
  int64_t width, image, patch, layers;
  std::string_view config;  // of transformers
};
constexpr KnownTower kTowers[] = {
    {"openai/clip-vit-large-patch14-336", 1024, 336, 14, 24,
     "{model_type: clip_vision_model, hidden_act: quick_gelu, hidden_size: 1024, image_size: 336, intermediate_size: "
     "4096, num_attention_heads: 16, num_hidden_layers: 24, patch_size: 14, projection_dim: 768, vocab_size: 32000}"},
    {"openai/clip-vit-large-patch14", 1024, 224, 14, 24,
     "{model_type: clip_vision_model, hidden_act: quick_gelu, hidden_size: 1024, image_size: 224, intermediate_size: "
     "4096, num_attention_heads: 16, num_hidden_layers: 24, patch_size: 14, projection_dim: 768, vocab_size: 32000}"},
    {"google/siglip-so400m-patch14-384", 1152, 384, 14, 27,
     "{model_type: siglip_vision_model, hidden_act: gelu_pytorch_tanh, hidden_size: 1152, image_size: 384, "
     "intermediate_size: 4304, num_attention_heads: 16, num_hidden_layers: 27, patch_size: 14}"}};

// Keys of one value that NeMo computes.
constexpr FixedWord kFixed[] = {{"projector_hidden_act", "gelu", "gelu"},
                                {"quantization_config", "null", "null"},
                                {"multimodal_projector_bias", "true", "true"}};

// Of mm_cfg: LITA reads videos, and tokens around images are another text.
constexpr FixedWord kFixedInMm[] = {{"use_lita", "false", "false"}, {"use_im_start_end", "false", "false"}};

constexpr const char* kTies = "tie_word_embeddings";

// The class or, where none is named, the type of model.
bool IsOf(const ConfigNode& root, std::string_view name, std::string_view type) {
  const ConfigNode& names = WordAt(root, "architectures");
  if (names.is_list() && !names.list.empty()) return names.list.front().AsString() == name;
  return WordAt(root, "model_type").AsString() == type && root.Get("text_config") != nullptr;
}

// Puts what NeMo 2 says of computing in its own tower over what the config.json that came along says.
void TakeComputed(const ConfigNode& said, ConfigNode* vision) {
  const std::string type = WordAt(said, "model_type").AsString().value_or("");
  for (const auto& [key, silent] : SilentOf(kSilentComputed, type).map) {
    const ConfigNode &value = WordAt(said, key), &own = WordOr(*vision, key, silent);
    const auto is_by_tanh = [](const ConfigNode& act) { return IsGeluByTanh(act.AsString().value_or("")); };
    if (value.is_null() || SameConfig(own, value) || (is_by_tanh(own) && is_by_tanh(value))) continue;
    const ConfigNode taken = value;
    (*vision)[key] = taken;
  }
}

}  // namespace

ConfigNode WholeTower(const ConfigNode& vision) {
  const std::string type = WordAt(vision, "model_type").AsString().value_or(std::string(kClipTowerType));
  ConfigNode whole = SilentOf(kSilentTowers, type);
  whole["model_type"] = TextNode(type);
  for (const auto& [key, value] : vision.map) whole[key] = value;
  return whole;
}

std::string TowerNameOf(const ConfigNode& whole, const ConfigNode& vision, std::vector<std::string>* notes) {
  std::string own = WordAt(vision, "_name_or_path").AsString().value_or("");
  if (!own.empty()) return own;
  const auto number = [&](std::string_view key) { return WordAt(whole, key).AsInt().value_or(0); };
  for (const KnownTower& tower : kTowers) {
    if (tower.width == number("hidden_size") && tower.image == number("image_size") &&
        tower.patch == number("patch_size") && tower.layers == number("num_hidden_layers")) {
      const ConfigNode &act = WordAt(whole, "hidden_act"), known = WordAt(ParseWord(tower.config), "hidden_act");
      if (notes != nullptr && !act.is_null() && !SameConfig(act, known)) {
        notes->push_back(
            fmt::format("vision_config.hidden_act: {}; NeMo builds {}, which computes {}: set "
                        "mm_cfg.vision_encoder.from_pretrained",
                        act.ScalarText(), tower.name, known.ScalarText()));
      }
      return std::string(tower.name);
    }
  }
  const bool is_siglip = WordAt(whole, "model_type").AsString() == kSiglipTowerType;
  const std::string_view name = kTowers[is_siglip ? 2 : number("image_size") == kTowers[0].image ? 0 : 1].name;
  if (notes != nullptr) {
    notes->push_back(fmt::format(
        "mm_cfg.vision_encoder.from_pretrained: {}, as NeMo's converter writes; the tower has another size: "
        "NeMo builds it from the folder or name that is set there",
        name));
  }
  return std::string(name);
}

ConfigNode TowerOfName(std::string_view name) {
  const auto last = [](std::string_view path) { return path.substr(path.rfind('/') + 1); };
  while (name.ends_with('/')) name.remove_suffix(1);
  const auto* found =
      std::ranges::find_if(kTowers, [&](const KnownTower& tower) { return last(tower.name) == last(name); });
  return found == std::end(kTowers) ? ConfigNode::Map() : ParseWord(found->config);
}

void SetTower(const ConfigNode& whole, const ConfigNode& vision, std::vector<std::string>* notes, ConfigNode* encoder) {
  ConfigNode& to = *encoder;
  to["from_pretrained"] = TextNode(TowerNameOf(whole, vision, notes));
  to["patch_dim"] = WordAt(whole, "patch_size");
  to["crop_size"] = ConfigNode::List({WordAt(whole, "image_size"), WordAt(whole, "image_size")});
  to["hidden_size"] = WordAt(whole, "hidden_size");
  const bool is_siglip = WordAt(whole, "model_type").AsString() == kSiglipTowerType;
  to["class_token_length"] = ConfigNode::Int(is_siglip ? 0 : 1);
  to[kTowerConfigKey] = vision;
}

Status CheckPictures(const ConfigNode& config_json) {
  ANEMONE_TRY(CheckFixed(config_json, kFixed, "NeMo"));
  const ConfigNode& layer = WordAt(config_json, "vision_feature_layer");
  if (!layer.is_null() && !FeatureLayerOf(config_json))
    return Unsupported("vision_feature_layer: expected one layer, as NeMo computes, found several");
  return {};
}

Status CheckSeeing(const ConfigNode& mm_cfg) {
  return CheckFixed(mm_cfg, kFixedInMm, "other LLaVAs").Hint(kWeightsAlone).In("mm_cfg");
}

// [NevaWordEmbeddingMixin.encode_vision_x]
Result<int64_t> VectorsLeftOut(const ConfigNode& encoder) {
  const ConfigNode patch = TextNode("patch"), one = ConfigNode::Int(1);
  const ConfigNode &feature = WordOr(encoder, "vision_select_feature", patch),
                   &tokens = WordOr(encoder, "class_token_length", one);
  const std::string name = feature.AsString().value_or("");
  if (name == "cls_patch") return 0;
  if (name != "patch")
    return Unsupported(fmt::format("vision_select_feature: expected patch or cls_patch, found {}", Shown(feature)));
  const int64_t count = tokens.AsInt().value_or(-1);
  if (count == 0 || count == 1) return count;
  return Unsupported(
      fmt::format("class_token_length: expected 0 or 1, as the image tower has, found {}", Shown(tokens)),
      std::string(kWeightsAlone));
}

std::optional<int64_t> FeatureLayerOf(const ConfigNode& config_json) {
  const ConfigNode& layer = WordAt(config_json, "vision_feature_layer");
  return layer.is_list() && layer.list.size() == 1 ? layer.list.front().AsInt() : layer.AsInt();
}

bool IsLlavaNextJson(const ConfigNode& root) { return IsOf(root, "LlavaNextForConditionalGeneration", "llava_next"); }
bool IsLlavaJson(const ConfigNode& root) {
  return IsOf(root, "LlavaForConditionalGeneration", "llava") || IsLlavaNextJson(root);
}
bool IsLlavaNextConfig(const Config& config) {
  return WordAt(ModelNode(config), fmt::format("mm_cfg.{}", kPatchMerge)).AsString() == kUnpad;
}

Result<ConfigNode> TextConfigOf(const ConfigNode& config_json) {
  const ConfigNode& text = WordAt(config_json, "text_config");
  if (!text.is_map()) return Corrupt("text_config: expected the language model's config, found none");
  const std::string type = WordAt(text, "model_type").AsString().value_or("llama");
  ConfigNode whole = SilentOf(kSilentTexts, type);
  whole["model_type"] = TextNode(type);
  for (const auto& [key, value] : text.map) whole[key] = value;
  // Version 5 ties what the whole model says, 4 what its text_config does [transformers 5.24 modeling_llava_next.py].
  const ConfigNode& ties = WordAt(config_json, kTies);
  if (IsOfTransformers5(config_json) && ties.AsBool()) whole[kTies] = ties;
  // A name of LLaVA's own says no more than model_type does.
  if (FindHfArchitecture(whole) == nullptr)
    std::erase_if(whole.map, [](const auto& e) { return e.first == "architectures"; });
  return whole;
}

Result<ConfigNode> NemoNevaConfig(const ConfigNode& config_json, ConfigNode model, uint64_t rows,
                                  std::vector<std::string>* notes) {
  ANEMONE_TRY(CheckHfNumbers(config_json));
  ANEMONE_TRY(CheckPictures(config_json));
  const ConfigNode& layer = WordAt(config_json, "vision_feature_layer");
  const std::string strategy = WordAt(config_json, "vision_feature_select_strategy").AsString().value_or("default");
  if (strategy != "default" && strategy != "full")
    return Unsupported(fmt::format("vision_feature_select_strategy: expected default or full, found {}", strategy));
  const ConfigNode& vision = WordAt(config_json, "vision_config");
  if (!vision.is_map()) return Corrupt("vision_config: expected the tower's config, found none");
  const ConfigNode tower = WholeTower(vision);
  ConfigNode to = std::move(model);
  const ConfigNode around = Config::ParseYaml(std::string(kAround), "NeMo's configuration of a LLaVA")->root();
  for (const auto& [key, value] : around.map) to[key] = value;
  ConfigNode& encoder = to["mm_cfg"]["vision_encoder"];
  SetTower(tower, vision, notes, &encoder);
  if (!layer.is_null()) encoder["vision_select_layer"] = ConfigNode::Int(*FeatureLayerOf(config_json));
  const bool is_siglip = WordAt(encoder, "class_token_length").AsInt() == 0;
  // transformers leaves the first vector out, whichever the tower is.
  if (strategy == "full") {
    encoder["vision_select_feature"] = TextNode("cls_patch");
  } else {
    encoder["class_token_length"] = ConfigNode::Int(1);
  }
  ANEMONE_ASSIGN(const int64_t left_out, VectorsLeftOut(encoder));  // before new keys move it
  if (const ConfigNode& image = WordAt(config_json, kImageTokenKey); image.AsInt())
    to["mm_cfg"][kImageTokenKey] = image;
  if (IsLlavaNextJson(config_json)) to["mm_cfg"][std::string(kPatchMerge)] = TextNode(kUnpad);
  const int64_t patch = WordAt(tower, "patch_size").AsInt().value_or(0);
  const int64_t side = patch > 0 ? WordAt(tower, "image_size").AsInt().value_or(0) / patch : 0;
  constexpr int64_t kMostSide = 1 << 15;
  if (side < 1 || side > kMostSide)
    return Corrupt("vision_config: expected an image_size of several patch_size, found something else");
  to["data"]["image_token_len"] = ConfigNode::Int(side * side + (is_siglip ? 0 : 1) - left_out);
  // Whatever the tokenizer says: placeholders of images have rows, too.
  to["override_vocab_size"] = ConfigNode::Int(static_cast<int64_t>(rows));
  return to;
}

// Long as a list of what config.json has beside the language model's.
Result<ConfigNode> LlavaJson(const ConfigNode& model, LlavaRequest request, std::vector<std::string>* notes) {
  const std::string projector = WordAt(model, "mm_cfg.mm_mlp_adapter_type").AsString().value_or("linear");
  if (projector != "mlp2x_gelu" && !request.any_projector) {
    return Unsupported(fmt::format("mm_cfg.mm_mlp_adapter_type: expected mlp2x_gelu, as transformers' LLaVA computes, "
                                   "found {}",
                                   projector))
        .Use("dialect", "llava", "write LLaVA's own layout, which has it");
  }
  const ConfigNode& encoder = WordAt(model, "mm_cfg.vision_encoder");
  ANEMONE_TRY(CheckSeeing(WordAt(model, "mm_cfg")));
  const auto left_out = VectorsLeftOut(encoder);
  if (!left_out.ok()) return left_out.status().In("mm_cfg.vision_encoder");
  const std::string_view strategy = *left_out == 0 ? "full" : "default";
  const ConfigNode silent_layer = ConfigNode::Int(-2);
  const ConfigNode& layer = WordOr(encoder, "vision_select_layer", silent_layer);
  ConfigNode json;
  if (request.kept != nullptr) {
    json = *request.kept;
  } else {
    const bool is_next = WordAt(model, fmt::format("mm_cfg.{}", kPatchMerge)).AsString() == kUnpad;
    json = ParseWord("{ignore_index: -100, projector_hidden_act: gelu, torch_dtype: float32}");
    json["model_type"] = TextNode(is_next ? "llava_next" : "llava");
    json["architectures"] =
        ConfigNode::List({TextNode(is_next ? "LlavaNextForConditionalGeneration" : "LlavaForConditionalGeneration")});
    if (is_next) {
      json["image_grid_pinpoints"] = ParseWord(kSilentPinpoints);
      if (notes != nullptr) {
        notes->push_back(fmt::format("image_grid_pinpoints: {}, transformers' own; NeMo's config has no such key",
                                     kSilentPinpoints));
      }
    }
    json["transformers_version"] = TextNode("4.44.2");
    // The published ones have <image> and <pad> behind the tokens of Llama.
    constexpr int64_t kTokens = 32000;
    const auto rows = static_cast<int64_t>(request.rows);
    if (!request.image_token) request.image_token = WordAt(model, fmt::format("mm_cfg.{}", kImageTokenKey)).AsInt();
    if (!request.image_token && notes != nullptr) {
      notes->push_back(fmt::format("image_token_index: {}; no tokenizer says which token stands for an image",
                                   rows > kTokens ? kTokens : rows - 1));
    }
    json["image_token_index"] = ConfigNode::Int(request.image_token.value_or(rows > kTokens ? kTokens : rows - 1));
  }
  if (request.vision != nullptr) json["vision_config"] = *request.vision;
  if (const ConfigNode& said = WordAt(encoder, kTowerConfigKey);
      said.is_map() && WordAt(json, "vision_config").is_null())
    json["vision_config"] = said;
  if (request.vision == nullptr && WordAt(encoder, kIsMegatronTower).AsBool().value_or(false) &&
      WordAt(json, "vision_config").is_map())
    TakeComputed(WordAt(encoder, kTowerConfigKey), json.Get("vision_config"));
  if (WordAt(json, "vision_config").is_null())
    return NotFound("vision_config: expected the image tower's config, found none")
        .Use("tower", "DIR", "take the tower from there");
  json["text_config"] = std::move(request.text);
  const auto set = [&](const char* key, std::string_view silent, const ConfigNode& value) {
    const ConfigNode& now = WordAt(json, key);
    if (!SameConfig(now.is_null() ? ParseWord(silent) : now, value) || request.kept == nullptr) json[key] = value;
  };
  if (request.kept == nullptr || FeatureLayerOf(json) != layer.AsInt()) set("vision_feature_layer", "-2", layer);
  set("vision_feature_select_strategy", "default", TextNode(strategy));
  if (json.Get("vocab_size") != nullptr) json["vocab_size"] = ConfigNode::Int(static_cast<int64_t>(request.rows));
  ANEMONE_TRY(CheckHfNumbers(json));
  if (request.kept != nullptr) return json;
  TypeHfNumbers(&json);
  std::sort(json.map.begin(), json.map.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return json;
}

}  // namespace anemone
