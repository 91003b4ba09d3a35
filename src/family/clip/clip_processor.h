// What transformers' processors want beside a CLIP's weights and config.
#ifndef ANEMONE_FAMILY_CLIP_CLIP_PROCESSOR_H_
#define ANEMONE_FAMILY_CLIP_CLIP_PROCESSOR_H_

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"

namespace anemone {

// Family::complete. Adds to `result`, a CLIP or SigLIP in Hugging Face's dialect, the files that it lacks and that are
// known: preprocessor_config.json by what `source` says of pixels; and CLIP's public tokenizer, unless `source` names
// another. Errors: as ClipArchitectureOf.
Status AddProcessor(const Checkpoint& source, ConfigLanguage language, const TranslateOptions& options,
                    Checkpoint* result);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_CLIP_CLIP_PROCESSOR_H_
