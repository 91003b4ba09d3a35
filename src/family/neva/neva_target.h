// The config and the sizes of a NeVA or a LLaVA in another dialect.
#ifndef ANEMONE_FAMILY_NEVA_NEVA_TARGET_H_
#define ANEMONE_FAMILY_NEVA_NEVA_TARGET_H_

#include "family/family.h"

namespace anemone::neva {

// Errors: as GptTarget; NotFound (a part that the result must have is stored nowhere, or its config); Unsupported (what
// the result's classes compute otherwise); Corrupt (a config that is not of the weights).
Result<Target> NevaTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                          const TranslateOptions& options, const ModelSymbols& symbols);
// The layout on the hub, which all versions of transformers read, but for a model that came from version 5.
Result<const Dialect*> ChooseNevaDialect(const Checkpoint& source, const TranslateOptions& options,
                                         ConfigLanguage language);

}  // namespace anemone::neva

#endif  // ANEMONE_FAMILY_NEVA_NEVA_TARGET_H_
