// The output of `convert --explain`.
#ifndef ANEMONE_CLI_EXPLAIN_H_
#define ANEMONE_CLI_EXPLAIN_H_

#include "anemone/convert.h"

namespace anemone::cli {

// A line for each pass and one for each kind of change; or one JSON object.
void PrintPasses(const Conversion& conversion, bool json);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_EXPLAIN_H_
