// A ViT's config, as NeMo 1 has it and as transformers does.
#ifndef ANEMONE_FAMILY_VIT_VIT_CONFIG_H_
#define ANEMONE_FAMILY_VIT_VIT_CONFIG_H_

#include <string>
#include <vector>

#include "anemone/config.h"
#include "anemone/dtype.h"
#include "anemone/status.h"

namespace anemone {

// True for a config.json of a ViT that classifies: by its class, or else by its model_type.
bool IsVitJson(const ConfigNode& root);

// NeMo 1's config of the model that config.json describes, all keys of megatron_vit_classification_config.yaml. Errors:
// Unsupported naming the key for what NeMo has no such model of; Corrupt. `notes`: a line for keys that are not known,
// and what neither config says of pictures.
Result<ConfigNode> NemoVitConfig(const ConfigNode& config_json, DType dtype, std::vector<std::string>* notes = nullptr);

// config.json of the model that NeMo's config describes. `kept`: one that came along, whose other keys stay; null:
// none. Errors: Unsupported naming the key for what transformers' ViT does not compute; Corrupt.
Result<ConfigNode> HfVitConfig(const ConfigNode& model, const ConfigNode* kept, DType dtype);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_VIT_VIT_CONFIG_H_
