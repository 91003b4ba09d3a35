// How many rows the vocabulary has in the Hugging Face model that a NeMo checkpoint becomes.
#ifndef ANEMONE_FAMILY_GPT_HF_VOCABULARY_H_
#define ANEMONE_FAMILY_GPT_HF_VOCABULARY_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"
#include "family/family.h"
#include "family/tokenizer/tokenizer_size.h"

namespace anemone {

// NeMo 1's `tokenizer:` of a model of either NeMo; null: none.
ConfigNode NemoTokenizerOf(const Checkpoint& source);

// The rows that a config.json says, under `key`; nullopt: it does not say.
std::optional<VocabularyEvidence> RowsIn(const std::optional<Config>& config_json, std::string_view key = "vocab_size");

// Checks that a config.json says, under `key`, as many rows as are stored: transformers builds the table by that
// number. `rows` 0: no table is stored. Errors: Corrupt, with both numbers.
Status CheckRows(const ConfigNode& config_json, uint64_t rows, std::string_view key = "vocab_size");

// The rows to write of the `stored` ones, by what the user asks, by `config` (the number in a config.json that came
// along), and by the tokenizer where NeMo pads to its tokens. Errors: as ChooseVocabulary.
Result<VocabularyChoice> ChooseHfVocabulary(const Checkpoint& source, uint64_t stored, const TranslateOptions& options,
                                            std::optional<VocabularyEvidence> config);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_GPT_HF_VOCABULARY_H_
