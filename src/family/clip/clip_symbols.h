// The sizes and flags of a CLIP or a SigLIP, as its tables ask for them.
#ifndef ANEMONE_FAMILY_CLIP_CLIP_SYMBOLS_H_
#define ANEMONE_FAMILY_CLIP_CLIP_SYMBOLS_H_

#include "family/family.h"

namespace anemone {

// Errors: as ClipArchitectureOf; Corrupt (sizes beyond 64 bits).
Status ReadClipSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                       ModelSymbols* symbols);
// Flags that only NeMo's configs have. SigLIP has no legacy models. Errors: Corrupt (no NeMo model's config).
Status SetNemoFlags(const Config& config, ModelSymbols* symbols);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_CLIP_CLIP_SYMBOLS_H_
