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
// make_vocab_size_divisible_by: the largest power of two, up to 128, that divides the rows. NeMo then pads to none.
uint64_t VocabularyDivisor(uint64_t rows);

// All keys of NeMo v2.0.0's megatron_llama_config.yaml, which all its converters start from or agree with, those of
// `model` in their place. The tokenizer is for the caller to say.
ConfigNode NemoGptConfig(const ConfigNode& model, const NemoGptRequest& request);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_NEMO_GPT_CONFIG_H_
