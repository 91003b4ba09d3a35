// The classes of transformers that a decoder's config.json may name, as data.
#ifndef ANEMONE_FAMILY_WORDS_HF_ARCHITECTURES_H_
#define ANEMONE_FAMILY_WORDS_HF_ARCHITECTURES_H_

#include <span>
#include <string_view>
#include <vector>

#include "anemone/config.h"

namespace anemone {

// The same value in NeMo 1's words and as a key of config.json; an empty key: the class has none.
struct HfKey {
  std::string_view word, key;
};

struct HfArchitecture {
  std::string_view name;        // "LlamaForCausalLM"
  std::string_view model_type;  // "llama"
  std::string_view dialect;     // of family gpt
  // YAML. `silent`: what the class takes for a key that config.json does not have; a new config.json has them all.
  // `implied`: what the class computes and no key says, in NeMo 1's words.
  std::string_view silent, implied;
  std::vector<HfKey> keys = {};  // where its spelling is not the common one, or where it has more
  bool is_gated = true;          // its MLP
  // NeMo 1's converter gives the output layer a copy of the embedding, also where the class ties the two.
  bool unties = true;
  bool has_padding_row = true;     // its embedding is made with pad_token_id
  bool reads_layer_types = false;  // its code asks `layer_types` which layers see a window
  bool fixes_rows = false;         // NeMo 1's converter writes override_vocab_size
};

std::span<const HfArchitecture> HfArchitectures();
// By `architectures` of a config.json, or by `model_type` where it names none; nullptr: none that is known.
const HfArchitecture* FindHfArchitecture(const ConfigNode& config_json);
const HfArchitecture* FindHfArchitecture(std::string_view name);
// The dialect of family gpt in which this config.json's class stores its weights; "": of no class that is known.
std::string_view DialectOfHf(const ConfigNode& config_json);
// How config.json calls a word in this class; empty: it does not.
std::string_view HfKeyOf(const HfArchitecture& architecture, std::string_view word);
// Every word that this class has a key for, the common ones first.
std::vector<HfKey> HfKeysOf(const HfArchitecture& architecture);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_HF_ARCHITECTURES_H_
