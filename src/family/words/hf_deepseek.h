// Internal: multi-latent attention, experts and positions of a DeepSeek V2 or V3, by its config.json.
#ifndef ANEMONE_FAMILY_WORDS_HF_DEEPSEEK_H_
#define ANEMONE_FAMILY_WORDS_HF_DEEPSEEK_H_

#include <string>
#include <vector>

#include "anemone/status.h"
#include "family/words/hf_reader.h"

namespace anemone::internal {

// `notes`: a line for what Megatron computes otherwise. Errors: Unsupported, Corrupt.
Status ReadLatent(HfReader& config, std::vector<std::string>* notes);

}  // namespace anemone::internal

#endif  // ANEMONE_FAMILY_WORDS_HF_DEEPSEEK_H_
