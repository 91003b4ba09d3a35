// The model configs of NeMo 1 (model_config.yaml) and NeMo 2 (context/model.yaml), one made from the other for the
// models both have: GPT and its kin, LLaVA, CLIP. What has no counterpart is left out.
#ifndef ANEMONE_FAMILY_NEMO2_CONFIG_H_
#define ANEMONE_FAMILY_NEMO2_CONFIG_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// Whether this is a model.yaml: a class to build, with a `config` to build it from.
bool IsNemo2Config(const ConfigNode& root);

// The model_config.yaml that NeMo 1 would build the same model from. Errors: Unsupported, naming the key, for what
// NeMo 1 has not (mixtures of experts, activations of one's own).
Result<ConfigNode> ToNemo1Config(const ConfigNode& model_yaml);

// A model of NeMo 2 that its converter of NeMo 1 checkpoints knows [NeMo v2.0.0
// scripts/checkpoint_converters/convert_nemo1_to_nemo2.py, MODEL_CONFIG_MAPPING].
struct Nemo2Model {
  std::string_view id;            // "meta-llama/Llama-2-7b-hf"
  std::string_view model_class;   // Python path
  std::string_view config_class;  // Python path
};
const Nemo2Model* FindNemo2Model(std::string_view id);
std::vector<std::string_view> Nemo2ModelIds();

// The model.yaml of the same model. `id`: as above, or empty: by the config's own words (Llama's, another GPT's,
// CLIP's). `tokenizer`: the file or folder in context/ that holds it; empty: none. Errors: InvalidArgument (no such
// id), Unsupported for other models.
Result<ConfigNode> ToNemo2Config(const ConfigNode& model_config, std::string_view id, const std::string& tokenizer);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_NEMO2_CONFIG_H_
