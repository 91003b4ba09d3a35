#include "family/words/nemo2_pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>

#include "family/words/model_words.h"
#include "family/words/nemo2_classes.h"
#include "family/words/nemo2_tower.h"
#include "family/words/nemo2_words.h"
#include "family/words/neva_config.h"

namespace anemone {
namespace {

using nemo2::FlagOf;
using nemo2::Target;
using nemo2::TextOf;

// What a LLaVA has besides its language model [NeMo v2.0.0 examples/multimodal/multimodal_llm/neva/conf].
constexpr nemo2::Pair kVision[] = {
    {"from_pretrained", "pretrained_model_name_or_path"}, {"hidden_size", "hidden_size"}, {"patch_dim", "patch_size"}};
// A tower's patches and pictures as its published name tells them: "openai/clip-vit-large-patch14-336", 224 without.
void SizesByName(std::string_view name, ConfigNode& encoder) {
  constexpr std::string_view kPatch = "patch";
  const size_t at = name.rfind(kPatch);
  if (at == std::string_view::npos || encoder.Get("patch_dim") != nullptr) return;
  const auto number = [&name](size_t from) {
    int64_t value = 0;
    for (; from < name.size() && name[from] >= '0' && name[from] <= '9' && value < 10'000; ++from)
      value = 10 * value + (name[from] - '0');
    return value;
  };
  const int64_t patch = number(at + kPatch.size());
  const size_t dash = name.find('-', at);
  const int64_t size = dash == std::string_view::npos ? 224 : number(dash + 1);
  if (patch == 0 || size == 0) return;
  encoder["patch_dim"] = ConfigNode::Int(patch);
  encoder["crop_size"] = ConfigNode::List({ConfigNode::Int(size), ConfigNode::Int(size)});
}

// A projector of the same layers under NeMo 2's name and under NeMo 1's.
constexpr nemo2::Pair kDownsample = {"mlp_downsample", "vila_downsample_mlp"};
constexpr nemo2::Pair kProjectors[] = {{"mlp2x_gelu", "mcore_mlp"}, {"linear", "mcore_affine"}, kDownsample};
bool IsMlpOfGelu(std::string_view type) { return type.starts_with("mlp") && type.ends_with("x_gelu"); }

// mm_mlp_adapter_type. Errors: Unsupported for a projector that NeMo 1 does not build.
Result<std::string> ProjectorToNemo1(const ConfigNode& projector) {
  const std::string type = TextOf(projector, "projector_type");
  if (type.empty() || type == "linear" || IsMlpOfGelu(type)) return type;
  const auto* found = std::ranges::find(kProjectors, type, &nemo2::Pair::nemo2);
  if (found == std::end(kProjectors))
    return Unsupported(fmt::format("projector_type: expected mlp2x_gelu or its kin, found {}", type));
  constexpr std::string_view kGelu = "torch.nn.functional.gelu";
  const std::string function = Target(projector, "activation_func");
  if (found == kProjectors && !function.empty() && function != kGelu)
    return Unsupported(fmt::format("activation_func: expected {}, as NeMo 1 computes, found {}", kGelu, function));
  return std::string(found->nemo1);
}

// NeMo 2 builds a tower as transformers' module or as Megatron-core's.
Status TowerToNemo1(const ConfigNode& vision, ConfigNode& encoder) {
  const std::string target = TextOf(vision, "_target_");
  if (target.empty() || target.ends_with("HFCLIPVisionConfig")) {
    for (const nemo2::Pair& pair : kVision) {
      if (const ConfigNode* value = vision.Get(pair.nemo2)) encoder[pair.nemo1] = *value;
    }
    if (const ConfigNode* size = vision.Get("image_size")) encoder["crop_size"] = ConfigNode::List({*size, *size});
    SizesByName(TextOf(vision, "pretrained_model_name_or_path"), encoder);
    return {};
  }
  if (!IsMegatronTower(vision))
    return Unsupported(fmt::format("expected HFCLIPVisionConfig or CLIPViTConfig, found {}", target));
  ANEMONE_ASSIGN(const ConfigNode tower, HfTowerOfNemo2(vision));
  SetTower(tower, tower, nullptr, &encoder);
  encoder[std::string(kIsMegatronTower)] = ConfigNode::Bool(true);
  return {};
}

// The config of the tower. What its class takes grew with NeMo: a name alone in 2.0.0, a width from 2.1.0
// [nemo/collections/vlm/neva/model/base.py].
Result<ConfigNode> TowerToNemo2(const ConfigNode& encoder, std::string_view place, std::string_view version) {
  if (FlagOf(encoder, kIsMegatronTower)) {
    const ConfigNode& tower = WordAt(encoder, kTowerConfigKey);
    if (!tower.is_map()) return NotFound(fmt::format("{}: expected the tower's config, found none", kTowerConfigKey));
    return Nemo2TowerOfHf(WholeTower(tower), place);
  }
  if (WordAt(encoder, "from_hf").AsBool() == false) {
    return Unsupported(
        "from_hf: expected true, as NeMo 2 builds a tower of transformers' or of Megatron-core, found false",
        "convert it to Hugging Face, and that to NeMo 2");
  }
  // [HFCLIPVisionConfig.configure_model builds transformers' CLIPVisionModel.]
  const bool is_siglip = WordAt(encoder, fmt::format("{}.model_type", kTowerConfigKey)).AsString() == kSiglipTowerType;
  if (is_siglip || WordAt(encoder, "class_token_length").AsInt() == 0) {
    return Unsupported("expected a CLIP, as NeMo 2 builds of transformers for a LLaVA, found a SigLIP")
        .Use("dialect", kMegatronTowerDialect, "write a tower of Megatron-core's, which NeMo 2.1 has");
  }
  const std::string name = TextOf(encoder, "from_pretrained");
  if (name.empty()) return Unsupported("from_pretrained: expected a tower's name, which NeMo 2 builds it from");
  ConfigNode vision = ConfigNode::Map();
  vision["_target_"] = TextNode(fmt::format("{}HFCLIPVisionConfig", place));
  vision["pretrained_model_name_or_path"] = TextNode(name);
  const ConfigNode* size = encoder.Get("hidden_size");
  if (size != nullptr && !nemo2::IsBefore(version, "2.1.0")) vision["hidden_size"] = *size;
  return vision;
}

}  // namespace

Result<ConfigNode> SeeingToNemo1(const ConfigNode& config) {
  constexpr std::string_view kTower = "vision_transformer_config", kProjector = "vision_projection_config";
  ConfigNode to = ConfigNode::Map();
  // The first key, set last: keys that are added move the values before them.
  to["vision_encoder"] = ConfigNode::Null();
  ConfigNode encoder = ConfigNode::Map();
  encoder["from_hf"] = ConfigNode::Bool(true);
  encoder["class_token_length"] = ConfigNode::Int(1);
  if (const ConfigNode* vision = config.Get(kTower); vision != nullptr)
    ANEMONE_TRY(TowerToNemo1(*vision, encoder).In(fmt::format("config.{}", kTower)));
  if (const ConfigNode* layer = config.Get("vision_feature_layer")) encoder["vision_select_layer"] = *layer;
  if (!FlagOf(config, "drop_vision_class_token", true)) encoder["vision_select_feature"] = TextNode("cls_patch");
  if (TextOf(config, "_target_").starts_with(kLlavaNext)) to[std::string(kPatchMerge)] = TextNode(kUnpad);
  if (const ConfigNode* projector = config.Get(kProjector); projector != nullptr) {
    const ConfigNode* width = projector->Get("input_size");
    if (width != nullptr && encoder.Get("hidden_size") == nullptr) encoder["hidden_size"] = *width;
    Result<std::string> type = ProjectorToNemo1(*projector);
    if (!type.ok()) return type.status().In(fmt::format("config.{}", kProjector));
    if (!type->empty()) to["mm_mlp_adapter_type"] = TextNode(*type);
  }
  to["vision_encoder"] = std::move(encoder);
  return to;
}

// The classes are in another place from 2.2.0.
Status SeeingToNemo2(const ConfigNode& mm_cfg, const ConfigNode& language, std::string_view version,
                     ConfigNode& config) {
  const std::string place =
      nemo2::IsBefore(version, "2.2.0") ? "nemo.collections.vlm.neva.model.base." : "nemo.collections.vlm.vision.base.";
  const ConfigNode& encoder = WordAt(mm_cfg, "vision_encoder");
  Result<ConfigNode> vision = TowerToNemo2(encoder, place, version);
  if (!vision.ok()) return vision.status().In("mm_cfg.vision_encoder");
  ConfigNode projector = ConfigNode::Map();
  projector["_target_"] = TextNode(place + "MultimodalProjectorConfig");
  ANEMONE_TRY(CheckSeeing(mm_cfg));
  const auto left_out = VectorsLeftOut(encoder);
  if (!left_out.ok()) return left_out.status().In("mm_cfg.vision_encoder");
  // It leaves out a tower's class token, which a SigLIP has not.
  if (*left_out == 1 && TextOf(*vision, "vision_model_type") == "siglip") {
    return Unsupported(
        "mm_cfg.vision_encoder.class_token_length: expected 0, as NeMo 2 leaves out no vector of a SigLIP, found 1 "
        "(vision_feature_select_strategy: full says the same in config.json)");
  }
  if (*left_out == 0) config["drop_vision_class_token"] = ConfigNode::Bool(false);
  if (const ConfigNode* layer = encoder.Get("vision_select_layer")) config["vision_feature_layer"] = *layer;
  if (const ConfigNode* size = encoder.Get("hidden_size")) projector["input_size"] = *size;
  if (const std::string type = TextOf(mm_cfg, "mm_mlp_adapter_type"); !type.empty()) {
    // [MultimodalProjectorConfig.configure_model of every version; VILA's from 2.4.0.]
    constexpr std::string_view kFirstDownsample = "2.4.0";
    if (!IsMlpOfGelu(type) && (type != kDownsample.nemo1 || nemo2::IsBefore(version, kFirstDownsample))) {
      return Unsupported(
          fmt::format("mm_cfg.mm_mlp_adapter_type: expected mlp2x_gelu or its kin, as NeMo {} builds, "
                      "found {}",
                      version, type));
    }
    projector["projector_type"] = TextNode(IsMlpOfGelu(type) ? std::string_view(type) : kDownsample.nemo2);
  }
  for (const char* key : {"hidden_size", "ffn_hidden_size"}) {
    if (const ConfigNode* size = language.Get("hidden_size")) projector[key] = *size;
  }
  config["vision_transformer_config"] = *std::move(vision);
  config["vision_projection_config"] = std::move(projector);
  return {};
}

}  // namespace anemone
