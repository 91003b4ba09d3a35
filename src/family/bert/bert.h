// A BERT's config, as transformers writes it and as NeMo 1 does.
#ifndef ANEMONE_FAMILY_BERT_BERT_H_
#define ANEMONE_FAMILY_BERT_BERT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/dtype.h"
#include "anemone/status.h"

namespace anemone {

// Whether this is a config.json of a BERT: by its class, or else by its model_type.
bool IsBertJson(const ConfigNode& root);

// NeMo 1's config of the model that config.json describes, all keys of megatron_bert_config.yaml. Errors: Unsupported
// naming the key for what NeMo has no such model of; Corrupt. `notes`: a line for keys that are not known.
Result<ConfigNode> NemoBertConfig(const ConfigNode& config_json, DType dtype,
                                  std::vector<std::string>* notes = nullptr);

struct BertHeads {
  bool pooler = false, lm = false, binary = false;
};
// config.json of the model that NeMo's config describes. `kept`: one that came along, whose other keys stay; null:
// none. Errors: Unsupported naming the key for what transformers' BERT does not compute; Corrupt.
Result<ConfigNode> HfBertConfig(const ConfigNode& model, const ConfigNode* kept, const BertHeads& heads, uint64_t rows,
                                DType dtype);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_BERT_BERT_H_
