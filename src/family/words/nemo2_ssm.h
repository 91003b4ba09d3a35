// NeMo 2's MambaModel: layers of Mamba 2, attention and MLPs in the order that a pattern says.
//
// Its words are a decoder's (model_words.h) and those below, in Megatron's keys; `name` says which of the two a config
// is of. NeMo 1 is not written: its own Mamba has other keys.
#ifndef ANEMONE_FAMILY_WORDS_NEMO2_SSM_H_
#define ANEMONE_FAMILY_WORDS_NEMO2_SSM_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

inline constexpr std::string_view kMambaName = "mamba";
inline constexpr std::string_view kLayerPattern = "hybrid_override_pattern";
// The letters of a pattern.
inline constexpr char kMambaLayer = 'M', kAttentionLayer = '*', kMlpLayer = '-', kExpertsLayer = 'E';

bool IsMambaWords(const ConfigNode& model);

// The pattern of a config's layers, one letter each. Errors: Corrupt where it has not `num_layers` letters; Unsupported
// for a letter, or a mixture of experts, that NeMo 2 has no layer of.
Result<std::string> LayerPatternOf(const ConfigNode& model);
Status CheckLayerPattern(std::string_view key, std::string_view pattern);
// The heads of a Mamba layer. Errors: Corrupt where the config has none and its sizes give no whole number.
Result<int64_t> MambaHeadsOf(const ConfigNode& model);

// NeMo 2's `config` in these words, into what its other keys are already in; and the reverse. Errors: Unsupported
// naming the key; Corrupt.
Status SsmToNemo1(const ConfigNode& from, ConfigNode& to);
Status SsmToNemo2(const ConfigNode& model, ConfigNode& config);
// True where NeMo 2 needs a key for the heads, which its versions before 2.4 do not have.
bool HasOwnMambaHeads(const ConfigNode& model);
inline constexpr std::string_view kFirstMambaHeads = "2.4.0";

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_NEMO2_SSM_H_
