// A T5's config, as transformers writes it and as NeMo 1 does.
#ifndef ANEMONE_FAMILY_WORDS_T5_CONFIG_H_
#define ANEMONE_FAMILY_WORDS_T5_CONFIG_H_

#include <cstdint>

#include "anemone/config.h"
#include "anemone/dtype.h"
#include "anemone/status.h"

namespace anemone {

// Whether this is a config.json of a T5 or an mT5.
bool IsT5Json(const ConfigNode& root);

// NeMo 1's config of the model that config.json describes; `shares_head`: its output layer is the embedding. Errors:
// Unsupported naming the key for what NeMo has no such model of; Corrupt.
Result<ConfigNode> NemoT5Config(const ConfigNode& config_json, bool shares_head, DType dtype);

// config.json of the model that NeMo's config describes. `kept`: one that came along, whose other keys stay; null:
// none. Errors: Unsupported naming the key for what transformers' T5 does not compute; Corrupt.
Result<ConfigNode> HfT5Config(const ConfigNode& model, const ConfigNode* kept, uint64_t rows, DType dtype);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_T5_CONFIG_H_
