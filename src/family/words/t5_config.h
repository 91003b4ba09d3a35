// A T5's config, as transformers writes it and as NeMo 1 does.
#ifndef ANEMONE_FAMILY_WORDS_T5_CONFIG_H_
#define ANEMONE_FAMILY_WORDS_T5_CONFIG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/dtype.h"
#include "anemone/status.h"

namespace anemone {

// Whether this is a config.json of a T5 or an mT5.
bool IsT5Json(const ConfigNode& root);

// NeMo 1's config of the model that config.json describes; `shares_head`: its output layer is the embedding. Errors:
// Unsupported naming the key for what NeMo has no such model of; Corrupt. `notes`: a line for keys that are not known.
Result<ConfigNode> NemoT5Config(const ConfigNode& config_json, bool shares_head, DType dtype,
                                std::vector<std::string>* notes = nullptr);

// The class of transformers that computes what T5's does, of a config and a tokenizer of its own.
inline constexpr std::string_view kMt5Class = "MT5ForConditionalGeneration";

struct HfT5Request {
  const ConfigNode* kept = nullptr;  // a config.json that came along, whose other keys stay
  bool is_mt5 = false;               // where none did
  uint64_t rows = 0;                 // of the embedding
  DType dtype = DType::kF32;
};
// config.json of the model that NeMo's config describes. Errors: Unsupported naming the key for what transformers' T5
// does not compute; Corrupt.
Result<ConfigNode> HfT5Config(const ConfigNode& model, const HfT5Request& request);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_T5_CONFIG_H_
