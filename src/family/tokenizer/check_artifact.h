// Checks files that travel with a model: JSON and SentencePiece models that were cut short are no such files any more.
#ifndef ANEMONE_FAMILY_TOKENIZER_CHECK_ARTIFACT_H_
#define ANEMONE_FAMILY_TOKENIZER_CHECK_ARTIFACT_H_

#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone {

// Errors: Corrupt, naming the file and the place in it; as reading. A file over 64 MiB, or of another kind, is not
// looked at.
Status CheckArtifact(const Artifact& artifact);

// True for a file that loaders look for by its name, in whatever folder the format puts it (config/companions.h).
bool IsCompanion(const Artifact& artifact);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_TOKENIZER_CHECK_ARTIFACT_H_
