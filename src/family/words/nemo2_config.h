// The model configs of NeMo 1 (model_config.yaml) and NeMo 2 (context/model.yaml), one made from the other for the
// models both have: GPT and its kin, LLaVA, CLIP. What has no counterpart is left out.
#ifndef ANEMONE_FAMILY_WORDS_NEMO2_CONFIG_H_
#define ANEMONE_FAMILY_WORDS_NEMO2_CONFIG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// Whether this is a model.yaml: a class to build, with a `config` to build it from.
bool IsNemo2Config(const ConfigNode& root);

// Whether other configs have words for all that the model computes. Errors: Unsupported, naming the key.
Status CheckNemo2Carried(const ConfigNode& model_yaml);

// The model_config.yaml that NeMo 1 would build the same model from, as far as it has words. Errors: Unsupported,
// naming the key, for what NeMo 1 has not (activations of one's own).
Result<ConfigNode> ToNemo1Config(const ConfigNode& model_yaml);

// What is known besides NeMo 1's config.
struct Nemo2Request {
  std::string_view id = {};       // as above; empty: by the config's own words
  std::string tokenizer = {};     // a SentencePiece model's file in context/; empty: none
  std::string_view version = {};  // of NeMo 2 that is to read it; empty: 2.0.0, or the first that has the model
  uint64_t vocab_rows = 0;        // of the embedding; 0: not known
};
// The model.yaml of the same model; `notes` get a line for each value that is not as NeMo 1's config has it. Errors:
// InvalidArgument (no such id or version), Unsupported for models that NeMo 2, or that version, does not have.
Result<ConfigNode> ToNemo2Config(const ConfigNode& model_config, const Nemo2Request& request,
                                 std::vector<std::string>* notes = nullptr);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_NEMO2_CONFIG_H_
