// The model_config.yaml that NeMo 1's converters write for a decoder of Hugging Face's.
#ifndef ANEMONE_FAMILY_WORDS_NEMO_GPT_CONFIG_H_
#define ANEMONE_FAMILY_WORDS_NEMO_GPT_CONFIG_H_

#include <cstdint>

#include "anemone/config.h"
#include "anemone/dtype.h"

namespace anemone {

struct NemoGptRequest {
  uint64_t vocab_rows = 0;  // of the embedding
  bool fixes_rows = false;  // whatever the tokenizer says
  bool has_tied_output = false;
  DType dtype = DType::kF32;
};
// All keys of NeMo v2.0.0's megatron_llama_config.yaml, which all its converters start from or agree with, those of
// `model` in their place. The tokenizer is for the caller to say.
ConfigNode NemoGptConfig(const ConfigNode& model, const NemoGptRequest& request);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_NEMO_GPT_CONFIG_H_
