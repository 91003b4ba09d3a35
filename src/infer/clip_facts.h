// What a CLIP's own files say of how it computes, read by a table of paths and by nothing that conversion uses: so that
// convert --check and diff --forward see a field that the reader of configs has overlooked.
#ifndef ANEMONE_INFER_CLIP_FACTS_H_
#define ANEMONE_INFER_CLIP_FACTS_H_

#include <map>
#include <string>

#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone {

// A fact's name ("text.epsilon") and its value in words that do not depend on the format. A fact that the files do not
// tell, or in a way that is not understood, is absent. Errors: as reading; Corrupt.
using ClipFacts = std::map<std::string, std::string>;
Result<ClipFacts> ClipFactsOf(const Checkpoint& checkpoint);

}  // namespace anemone

#endif  // ANEMONE_INFER_CLIP_FACTS_H_
