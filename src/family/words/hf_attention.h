// Internal: which layers of a decoder see all tokens, by its config.json.
#ifndef ANEMONE_FAMILY_WORDS_HF_ATTENTION_H_
#define ANEMONE_FAMILY_WORDS_HF_ATTENTION_H_

#include "anemone/status.h"
#include "family/words/hf_reader.h"

namespace anemone::internal {

// Errors: Unsupported for windows that differ otherwise than NeMo's; Corrupt for keys that contradict each other.
Status ReadWindow(HfReader& config);
// The layers of a Gemma 3 and their positions.
Status ReadGemma3(HfReader& config);

}  // namespace anemone::internal

#endif  // ANEMONE_FAMILY_WORDS_HF_ATTENTION_H_
