// Internal: what reading and writing a decoder's config.json share.
#ifndef ANEMONE_FAMILY_WORDS_HF_KEYS_H_
#define ANEMONE_FAMILY_WORDS_HF_KEYS_H_

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/status.h"
#include "family/words/hf_architectures.h"

namespace anemone::internal {

// Activations by transformers' names: ungated and gated NeMo's.
struct HfActivation {
  std::string_view hf, plain, gated;
  bool by_tanh;
};
std::span<const HfActivation> HfActivations();
// nullptr: NeMo has none of this name.
const HfActivation* FindHfActivation(std::string_view hf);

// What `rope_scaling` of type yarn says.
std::span<const HfKey> YarnKeys();

// The name under which config.json has a key, or would have it.
std::string_view HfNameIn(const ConfigNode& json, std::string_view key);

// What a config.json of this class says, in NeMo 1's keys. Errors: as Nemo1OfHf.
Result<ConfigNode> ReadHfConfig(const ConfigNode& json, const HfArchitecture& architecture,
                                std::vector<std::string>* notes);

// A line in `notes` for each key that is not known, unless it changes nothing in any class.
void NoteUnknownKeys(const ConfigNode& json, const std::function<bool(std::string_view key)>& is_known,
                     std::vector<std::string>* notes);

// The classes that are known, for a hint.
std::string KnownHfClasses();

inline bool IsTrue(const ConfigNode& node) { return node.AsBool().value_or(false); }
inline std::string Text(const ConfigNode& node) { return node.AsString().value_or(""); }

}  // namespace anemone::internal

#endif  // ANEMONE_FAMILY_WORDS_HF_KEYS_H_
