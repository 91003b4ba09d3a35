// The config that came along: that of the model which a NeMo checkpoint was made from, kept inside it (KeepConfig), so
// that the way back gives what came in.
#ifndef ANEMONE_FAMILY_WORDS_KEPT_CONFIG_H_
#define ANEMONE_FAMILY_WORDS_KEPT_CONFIG_H_

#include <optional>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// Hugging Face's config.json, of a .nemo or of a NeMo 2 folder, if it is one of the family's; nullopt: none.
// Errors: as ReadJsonArtifact.
Result<std::optional<Config>> KeptHfConfig(const Checkpoint& source, bool (*is_one)(const ConfigNode& root));

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_KEPT_CONFIG_H_
