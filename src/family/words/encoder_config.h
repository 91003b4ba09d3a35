// Keys and values that the configs of BERT, T5, ViT and Mamba share, NeMo's and transformers'.
#ifndef ANEMONE_FAMILY_WORDS_ENCODER_CONFIG_H_
#define ANEMONE_FAMILY_WORDS_ENCODER_CONFIG_H_

#include <span>
#include <string_view>

#include "anemone/config.h"
#include "anemone/dtype.h"
#include "anemone/status.h"
#include "family/words/model_words.h"

namespace anemone {

// Two names of one value, NeMo's and transformers', and what each side takes where it is silent ("null": it must say
// it).
struct PairedKey {
  std::string_view nemo, nemo_silent, hf, hf_silent;
};

// True for a key of config.json that one of the tables has.
bool HasKey(std::span<const PairedKey> paired, std::span<const FixedWord> fixed, std::string_view key);

// Sets all of them in NeMo's config, or in config.json. `came_along`: config.json is an old one, whose spelling stays
// where the value is the same. Errors: Corrupt naming the key for what is no number.
Status SetNemoKeys(std::span<const PairedKey> keys, const ConfigNode& config_json, ConfigNode* model);
Status SetHfKeys(std::span<const PairedKey> keys, const ConfigNode& model, bool came_along, ConfigNode* config_json);

// True for a form of GELU by tanh, by transformers' names.
bool IsGeluByTanh(std::string_view hf_activation);
// The same of the activation in config.json. Errors: Unsupported for one that is no GELU.
Result<bool> ReadGelu(const ConfigNode& config_json);

// Errors: Unsupported where the heads of NeMo's config are not `hidden_size` wide together; `who` computes such alone.
Status CheckHeadsFillWidth(const ConfigNode& model, std::string_view who);
// NeMo's word for weights of this dtype, where it is not fp32, which its templates have.
void SetPrecision(DType dtype, ConfigNode* model);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_ENCODER_CONFIG_H_
