// The numbers of a config.json that all classes of transformers call alike, and what each may be.
//
// A class builds no model of another number, or computes NaN with it, and a conversion would hand it on.
#ifndef ANEMONE_FAMILY_WORDS_HF_NUMBERS_H_
#define ANEMONE_FAMILY_WORDS_HF_NUMBERS_H_

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// Of the config and of all maps inside. Errors: Corrupt naming the key.
Status CheckHfNumbers(const ConfigNode& config_json);
// The row of an embedding that a class leaves out of training. Errors: Corrupt where `pad_token_id` is none of
// `vocab_size` rows.
Status CheckPaddingRow(const ConfigNode& config_json);
// Each in the type that version 5 takes: 1 as 1.0 where a field is a float.
void TypeHfNumbers(ConfigNode* config_json);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_HF_NUMBERS_H_
