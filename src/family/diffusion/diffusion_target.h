// A Stable Diffusion in another dialect: its config, its sizes, the files beside it.
#ifndef ANEMONE_FAMILY_DIFFUSION_DIFFUSION_TARGET_H_
#define ANEMONE_FAMILY_DIFFUSION_DIFFUSION_TARGET_H_

#include "family/family.h"

namespace anemone {

// Family::read_symbols, target, complete.
Status ReadDiffusionSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options,
                            ModelSymbols* symbols);
Result<Target> DiffusionTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                               const TranslateOptions& options, const ModelSymbols& symbols);
Status CompleteDiffusion(const Checkpoint& source, ConfigLanguage language, const TranslateOptions& options,
                         Checkpoint* result);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_DIFFUSION_DIFFUSION_TARGET_H_
