// LLaVA's own config.json (LlavaLlamaForCausalLM), made from transformers' and the other way.
//
// It is the language model's config with mm_* keys beside it. The image tower's config is none of its keys: it names
// the tower (`mm_vision_tower`), and known names tell the sizes.
#ifndef ANEMONE_FAMILY_WORDS_LLAVA_CONFIG_H_
#define ANEMONE_FAMILY_WORDS_LLAVA_CONFIG_H_

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// Whether this is such a config.
bool IsOwnLlavaJson(const ConfigNode& root);

// The same model's config in transformers' words; `vision_config` has what the tower's name tells. Errors: Unsupported
// naming the key for what transformers' LLaVA does not compute.
Result<ConfigNode> HfOfOwnLlava(const ConfigNode& own);

// LLaVA's own of transformers' config. `tower`: what mm_vision_tower is to say; `projector`: mm_projector_type.
// Errors: Unsupported for a language model that LLaVA has no class for.
struct OwnLlavaRequest {
  const ConfigNode* kept = nullptr;  // one that came along; null: none
  std::string tower = {};
  std::string projector = "mlp2x_gelu";
};
Result<ConfigNode> OwnLlavaOfHf(const ConfigNode& config_json, const OwnLlavaRequest& request);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_LLAVA_CONFIG_H_
