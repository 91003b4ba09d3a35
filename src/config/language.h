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
  kMegatron,     // the arguments of Megatron-LM, run_config.yaml of Megatron-Bridge
};

}  // namespace anemone

#endif  // ANEMONE_CONFIG_LANGUAGE_H_
