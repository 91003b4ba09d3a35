// The parts of GPT's table that models built on it take over.
#ifndef ANEMONE_FAMILY_GPT_H_
#define ANEMONE_FAMILY_GPT_H_

#include <vector>

#include "family/family.h"

namespace anemone {

std::vector<CanonicalRow> GptCanonical();
Dialect GptMcore();
Dialect GptLegacy();
Result<ModelSymbols> GptSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions& options);
Result<Target> GptTarget(const Checkpoint& source, const Dialect& from, const Dialect& to,
                         const TranslateOptions& options);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_GPT_H_
