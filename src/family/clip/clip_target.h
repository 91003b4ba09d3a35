// The config and the sizes of a CLIP or a SigLIP in another dialect.
#ifndef ANEMONE_FAMILY_CLIP_CLIP_TARGET_H_
#define ANEMONE_FAMILY_CLIP_CLIP_TARGET_H_

#include "family/family.h"

namespace anemone {

// What NeMo's transform, tokenizer and pooling make otherwise is a note. Errors: as ClipArchitectureOf; Unsupported (a
// tower alone for NeMo, a text that NeMo pools elsewhere, what OpenCLIP or transformers have no word for); Corrupt (a
// YAML of NeMo's that is another model's).
Result<Target> ClipTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                          const TranslateOptions& options, const ModelSymbols& symbols);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_CLIP_CLIP_TARGET_H_
