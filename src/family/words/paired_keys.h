// Keys that have the same value in NeMo 1's config and in config.json, under names of their own.
#ifndef ANEMONE_FAMILY_WORDS_PAIRED_KEYS_H_
#define ANEMONE_FAMILY_WORDS_PAIRED_KEYS_H_

#include <span>
#include <string_view>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// The two names, and what each side takes where it is silent ("null": it must say it).
struct PairedKey {
  std::string_view nemo, nemo_silent, hf, hf_silent;
};

// Sets all of them in NeMo's config, or in config.json. `came_along`: config.json is an old one, whose spelling stays
// where the value is the same. Errors: Corrupt naming the key for what is no number.
Status SetNemoKeys(std::span<const PairedKey> keys, const ConfigNode& config_json, ConfigNode* model);
Status SetHfKeys(std::span<const PairedKey> keys, const ConfigNode& model, bool came_along, ConfigNode* config_json);

// The forms of GELU by tanh, by transformers' names.
bool IsGeluByTanh(std::string_view hf_activation);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_PAIRED_KEYS_H_
