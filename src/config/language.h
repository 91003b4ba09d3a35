// ConfigLanguage: whose words a model's config is in. A format carries one, a family's dialect goes with one.
#ifndef ANEMONE_CONFIG_LANGUAGE_H_
#define ANEMONE_CONFIG_LANGUAGE_H_

#include <cstdint>

namespace anemone {

enum class ConfigLanguage : uint8_t {
  kNone,
  kNemo1,        // model_config.yaml, hparams.yaml
  kNemo2,        // context/model.yaml
  kHuggingFace,  // config.json
  kOpenClip,     // open_clip_config.json
  kMegatron,     // the arguments of Megatron-LM
  kBridge,       // run_config.yaml of Megatron-Bridge
};

// The words of either are put into NeMo 1's on reading, and made of them on writing.
constexpr bool IsOfMegatron(ConfigLanguage language) {
  return language == ConfigLanguage::kMegatron || language == ConfigLanguage::kBridge;
}

}  // namespace anemone

#endif  // ANEMONE_CONFIG_LANGUAGE_H_
