// Internal: a decoder's rotary positions, by its config.json.
//
// Facts: transformers 4.44.2 and 5.24 modeling_rope_utils.py, configuration_utils.py.
#ifndef ANEMONE_FAMILY_WORDS_HF_POSITIONS_H_
#define ANEMONE_FAMILY_WORDS_HF_POSITIONS_H_

#include <string>
#include <string_view>

#include "anemone/config.h"
#include "anemone/status.h"
#include "family/words/hf_reader.h"

namespace anemone::internal {

// The key that says how positions are scaled: that of version 5 of transformers, if config.json has it.
std::string_view RopePlace(const ConfigNode& rope_parameters);
// The type that such a map names; "": none.
std::string RopeType(const ConfigNode& map);
// Errors: Corrupt for maps that are none and for keys of two versions that differ.
Status CheckPositions(HfReader& config);
// Errors: Unsupported naming what NeMo and Megatron have no word for; Corrupt for values that make no sense.
Status ReadPositions(HfReader& config);

}  // namespace anemone::internal

#endif  // ANEMONE_FAMILY_WORDS_HF_POSITIONS_H_
