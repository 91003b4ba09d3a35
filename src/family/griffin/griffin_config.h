// The config of a Griffin: transformers' RecurrentGemma's config.json, and NeMo 1's.
#ifndef ANEMONE_FAMILY_GRIFFIN_GRIFFIN_CONFIG_H_
#define ANEMONE_FAMILY_GRIFFIN_GRIFFIN_CONFIG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/dtype.h"
#include "anemone/status.h"

namespace anemone {

inline constexpr std::string_view kRecurrentGemmaClass = "RecurrentGemmaForCausalLM";

// True for the config.json of a RecurrentGemma.
bool IsGriffinJson(const ConfigNode& root);

// Layer i attends; the others are recurrent. NeMo's are so, and no config says it.
constexpr bool GriffinAttends(uint64_t layer) { return layer % 3 == 2; }

// NeMo 1's config of the model that config.json describes. Errors: Unsupported naming the key for what NeMo has no such
// model of; Corrupt. `notes`: a line for keys that are not known.
Result<ConfigNode> NemoGriffinConfig(const ConfigNode& config_json, DType dtype,
                                     std::vector<std::string>* notes = nullptr);

struct HfGriffinRequest {
  const ConfigNode* kept = nullptr;  // a config.json that came along, whose other keys stay
  bool qkv_bias = false;             // queries, keys and values have one that is not zero
  uint64_t rows = 0;                 // of the embedding
  DType dtype = DType::kF32;
};
// config.json of the model that NeMo's config describes. Errors: Unsupported naming the key for what transformers'
// RecurrentGemma does not compute; Corrupt.
Result<ConfigNode> HfGriffinConfig(const ConfigNode& model, const HfGriffinRequest& request);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_GRIFFIN_GRIFFIN_CONFIG_H_
