// Files of JSON that came along with a model.
#ifndef ANEMONE_FAMILY_WORDS_JSON_ARTIFACT_H_
#define ANEMONE_FAMILY_WORDS_JSON_ARTIFACT_H_

#include <optional>
#include <string>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// The artifact of that name, an object; nullopt without one. Errors: as reading; Corrupt.
Result<std::optional<Config>> ReadJsonArtifact(const Checkpoint& source, const std::string& file);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_WORDS_JSON_ARTIFACT_H_
