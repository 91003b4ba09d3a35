// A decoder's config.json, as transformers 4 and 5 write it, to and from the words of its model (model_words.h).
//
// Both directions end in a comparison of words: what the other side cannot say is refused by its name, not left out.
#ifndef ANEMONE_FAMILY_WORDS_HF_CONFIG_H_
#define ANEMONE_FAMILY_WORDS_HF_CONFIG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/dtype.h"
#include "anemone/status.h"
#include "family/words/hf_architectures.h"

namespace anemone {

// Whether this is transformers' config of a decoder, of a known class or not.
bool IsHfDecoderConfig(const ConfigNode& root);

// A config in NeMo 1's keys that says what config.json says, of computing and of training. Errors: Unsupported naming
// the key, for what NeMo 1 or the tables do not have; Corrupt for a value that makes no sense. `notes`: a line for keys
// that are not known.
Result<ConfigNode> Nemo1OfHf(const ConfigNode& config_json, std::vector<std::string>* notes);

// The class that computes what a config in NeMo 1's keys says. Errors: Unsupported where none is known to.
Result<const HfArchitecture*> HfArchitectureOf(const ConfigNode& model);

// A class by its name ("LlamaForCausalLM"). Errors: InvalidArgument with all that are known.
Result<const HfArchitecture*> HfArchitectureNamed(std::string_view name);

struct HfRequest {
  const HfArchitecture* architecture = nullptr;  // that the result is to be of
  const ConfigNode* kept = nullptr;              // a config.json that came along: what still holds in it stays
  uint64_t vocab_rows = 0;                       // of the embedding
  DType dtype = DType::kF32;                     // of the weights
};
// The config.json that says what a config in NeMo 1's keys says. Errors: Unsupported naming every word that the class
// has no way to say.
Result<ConfigNode> HfOfNemo1(const ConfigNode& model, const HfRequest& request, std::vector<std::string>* notes);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_HF_CONFIG_H_
