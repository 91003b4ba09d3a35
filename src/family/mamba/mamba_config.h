// The config.json of a model with layers of Mamba 2: transformers' Nemotron-H and Mamba 2, and state-spaces' own.
#ifndef ANEMONE_FAMILY_MAMBA_MAMBA_CONFIG_H_
#define ANEMONE_FAMILY_MAMBA_MAMBA_CONFIG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/dtype.h"
#include "anemone/status.h"

namespace anemone {

inline constexpr std::string_view kNemotronHClass = "NemotronHForCausalLM", kMamba2Class = "Mamba2ForCausalLM";

// True for a config.json of one of the two classes; of state-spaces' mamba_ssm, with layers of Mamba 2.
bool IsHfMambaJson(const ConfigNode& root);
bool IsStateSpacesJson(const ConfigNode& root);
inline bool IsMambaJson(const ConfigNode& root) { return IsHfMambaJson(root) || IsStateSpacesJson(root); }
// The class of transformers that the weights of such a config are loaded by.
std::string_view MambaClassOf(const ConfigNode& config_json);

// The words of the model that config.json describes (words/nemo2_ssm.h). Errors: Unsupported naming the key for what
// NeMo 2 has no such model of; Corrupt. `notes`: a line for keys that are not known, and for steps that are limited.
Result<ConfigNode> MambaWordsOf(const ConfigNode& config_json, DType dtype, std::vector<std::string>* notes = nullptr);

// The rows that config.json says the embedding has; 0: it does not say.
uint64_t MambaRowsOf(const ConfigNode& config_json);

struct HfMambaRequest {
  const ConfigNode* kept = nullptr;  // a config.json that came along, whose other keys stay
  std::string_view class_name = {};  // where none did; empty: the class that the model tells
  uint64_t rows = 0;                 // of the embedding
  DType dtype = DType::kF32;
};
// config.json of the model that the words describe. Errors: Unsupported naming the key for what the class does not
// compute; Corrupt.
Result<ConfigNode> HfMambaConfig(const ConfigNode& model, const HfMambaRequest& request);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_MAMBA_MAMBA_CONFIG_H_
