// What `diff --forward` and `convert --check` print.
#ifndef ANEMONE_CLI_FORWARD_H_
#define ANEMONE_CLI_FORWARD_H_

#include "anemone/status.h"
#include "infer/forward.h"

namespace anemone::cli {

// A line a layer and the verdict, or one JSON object; answers the exit status: kDone, or kNo where the two diverge.
int PrintForward(const Result<ForwardDifference>& difference, bool json);
// The verdict alone; the layers, too, where the two diverge.
int PrintCheck(const Result<ForwardDifference>& difference);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_FORWARD_H_
