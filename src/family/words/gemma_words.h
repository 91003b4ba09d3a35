// What the classes of Gemma 2 and 3 say, in NeMo 2 and in Megatron-Bridge, whose fields are the same.
#ifndef ANEMONE_FAMILY_WORDS_GEMMA_WORDS_H_
#define ANEMONE_FAMILY_WORDS_GEMMA_WORDS_H_

#include <string_view>

#include "anemone/config.h"

namespace anemone {

inline constexpr std::string_view kGemma2Name = "megatron_gemma2";  // `name` in NeMo 1

// Fields of a class → NeMo 1's keys. NeMo 1 has no Gemma 3: its keys are this project's.
void TakeGemma2(const ConfigNode& from, ConfigNode& to);
void TakeGemma3(const ConfigNode& from, ConfigNode& to);
// The reverse. REQUIRES: `config` has the fields that all models have.
void GiveGemma2(const ConfigNode& model, ConfigNode& config);
void GiveGemma3(const ConfigNode& model, ConfigNode& config);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_GEMMA_WORDS_H_
