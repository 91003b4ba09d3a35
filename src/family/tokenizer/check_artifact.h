// Whether a file that travels with a model is whole, as far as its kind tells.
#ifndef ANEMONE_FAMILY_TOKENIZER_CHECK_ARTIFACT_H_
#define ANEMONE_FAMILY_TOKENIZER_CHECK_ARTIFACT_H_

#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone {

// A file that was cut short is no JSON any more, and no SentencePiece model. Errors: Corrupt, naming the file and the
// place in it; as reading. A file over 64 MiB, or of another kind, is not looked at.
Status CheckArtifact(const Artifact& artifact);

// Whether a loader looks for the file by its name, in whatever folder the format puts it (config/companions.h).
bool IsCompanion(const Artifact& artifact);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_TOKENIZER_CHECK_ARTIFACT_H_
