// What a config of each language looks like, and what all configs of one say alike.
#ifndef ANEMONE_FAMILY_WORDS_CONFIG_LANGUAGES_H_
#define ANEMONE_FAMILY_WORDS_CONFIG_LANGUAGES_H_

#include "anemone/config.h"
#include "anemone/dtype.h"
#include "anemone/status.h"
#include "config/language.h"

namespace anemone {

// By content; kNone for NeMo 1's, whose keys are its models' own.
ConfigLanguage DetectLanguage(const ConfigNode& root);

// Whether a config that the user gives says what the weights are, as their own config would; NeMo's says what they
// become.
bool DescribesWeights(const ConfigNode& root);

// The model's node of a NeMo config with interpolations resolved.
Result<ConfigNode> NemoModelNode(const Config& config);

// What Hugging Face's config says of the weights' dtype, under the name that the version of transformers gave it, where
// it says anything.
void SetHuggingFaceDType(ConfigNode& root, DType dtype);

// A config.json whose other keys are set, with the rows of its vocabulary and the weights' dtype. `came_along`: it is
// an old one changed, whose keys stay in their order. Errors: as CheckHfNumbers.
Result<ConfigNode> FinishedHuggingFaceJson(ConfigNode json, uint64_t rows, DType dtype, bool came_along);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_CONFIG_LANGUAGES_H_
