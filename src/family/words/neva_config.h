// A LLaVA's config: transformers' config.json around that of its language model, and NeMo 1's around a GPT's.
//
// The language model's part is translated as any decoder's is (hf_config.h); here is what is around it.
#ifndef ANEMONE_FAMILY_WORDS_NEVA_CONFIG_H_
#define ANEMONE_FAMILY_WORDS_NEVA_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// Whether this is transformers' config of a LLaVA.
bool IsLlavaJson(const ConfigNode& root);

// The same of a LLaVA-NeXT (LLaVA 1.6).
bool IsLlavaNextJson(const ConfigNode& root);
// Whether NeMo 1's words say one. NeMo 1 has no such model, and no such key: NeMo 2's config is put into these words.
bool IsLlavaNextConfig(const Config& config);
constexpr std::string_view kPatchMerge = "mm_patch_merge_type", kUnpad = "spatial_unpad";  // in mm_cfg
// The tilings that transformers' LLaVA-NeXT takes where config.json is silent.
constexpr std::string_view kSilentPinpoints = "[[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]";

// In mm_cfg.vision_encoder, keys of this project's: transformers' config of the tower, which NeMo 1 has no words for;
// and whether NeMo 2 builds the tower of Megatron-core, as the dialect of that name spells it.
constexpr const char *kTowerConfigKey = "hf_config", *kIsMegatronTower = "megatron_core";
constexpr const char* kMegatronTowerDialect = "mcore_vit";
// `model_type` of a tower, in transformers' words.
inline constexpr std::string_view kClipTowerType = "clip_vision_model", kSiglipTowerType = "siglip_vision_model";
// In mm_cfg, one more: the token that stands for an image.
constexpr const char* kImageTokenKey = "image_token_index";

// `vision_config`, with the sizes that its class takes where it is silent.
ConfigNode WholeTower(const ConfigNode& vision);
// The config of a tower by the last word of its published name, or of a path that ends in it; empty: it is not known.
ConfigNode TowerOfName(std::string_view name);
// What mm_cfg.vision_encoder.from_pretrained is to say; `whole`: of WholeTower. A note where the tower is another one.
std::string TowerNameOf(const ConfigNode& whole, const ConfigNode& vision, std::vector<std::string>* notes);

// Into mm_cfg.vision_encoder, all that a tower's config says. Arguments as above; `vision` is kept as it is.
void SetTower(const ConfigNode& whole, const ConfigNode& vision, std::vector<std::string>* notes, ConfigNode* encoder);

// Whether the projector and the layer of the tower are as NeMo, and LLaVA's own code, compute them. Errors: Unsupported
// naming the key.
Status CheckPictures(const ConfigNode& config_json);

// Whether only what NeMo's NeVA and transformers' LLaVA both compute is asked for, tower aside. Errors: Unsupported
// naming the key.
Status CheckSeeing(const ConfigNode& mm_cfg);
// How many of the tower's vectors NeMo leaves out, from the first on: a class token, mostly. Errors: Unsupported.
Result<int64_t> VectorsLeftOut(const ConfigNode& encoder);

// The one layer of `vision_feature_layer`, a list of one included; empty: several, or none is said.
std::optional<int64_t> FeatureLayerOf(const ConfigNode& config_json);

// `text_config`, with the sizes that its class takes where it is silent. Errors: Corrupt without one.
Result<ConfigNode> TextConfigOf(const ConfigNode& config_json);

// NeMo 1's config of the whole model: `model` is the language model's. `name`: of the source, for a tower of unknown
// origin. Errors: Unsupported naming the key for what NeMo has no such model of.
Result<ConfigNode> NemoNevaConfig(const ConfigNode& config_json, ConfigNode model, uint64_t rows,
                                  std::vector<std::string>* notes);

struct LlavaRequest {
  const ConfigNode* kept = nullptr;         // a config.json that came along; null: none
  const ConfigNode* vision = nullptr;       // of the tower's own config.json; null: as `kept` says
  ConfigNode text = {};                     // of the language model
  std::optional<int64_t> image_token = {};  // its id, by the tokenizer
  uint64_t rows = 0;
  bool any_projector = false;  // for LLaVA's own code
};
// config.json of the model that NeMo's config describes. Errors: Unsupported naming the key for what transformers'
// LLaVA does not compute; NotFound when nothing tells the tower's config.
Result<ConfigNode> LlavaJson(const ConfigNode& model, LlavaRequest request, std::vector<std::string>* notes);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_NEVA_CONFIG_H_
