// A distributed checkpoint's optimizer: states by parameter name, groups without `params`, one optimizer or a chain.
#ifndef ANEMONE_FORMAT_DIST_OPTIMIZER_H_
#define ANEMONE_FORMAT_DIST_OPTIMIZER_H_

#include <vector>

#include "anemone/status.h"
#include "anemone/value.h"
#include "format/optimizer_state.h"

namespace anemone {

// state[name] = {exp_avg, exp_avg_sq[, fp32_param]}. Who is in which group is not written; they are NeMo's. Of a chain
// (FindOptimizers), each member has the states of some of the parameters. REQUIRES: result->rules is set. Errors:
// Unsupported, naming what was found.
Status ReadNamed(const std::vector<Parameter>& parameters, const ValueList& chain, OptimizerState* result);
// The optimizer's dict with these parameters. Errors: Unsupported where a parameter has no moments, and for states that
// names cannot say (a step of each parameter's own).
Result<ValueRef> WriteNamed(const ParameterGroups& groups, StateWriter& writer);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_DIST_OPTIMIZER_H_
