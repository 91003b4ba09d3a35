// The optimizer of a mixture of experts in a training dictionary: one, or a chain of two where experts have ranks of
// their own. States are by parameter name.
#ifndef ANEMONE_FORMAT_DIST_CHAIN_H_
#define ANEMONE_FORMAT_DIST_CHAIN_H_

#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "anemone/value.h"

namespace anemone {

// Beside the states of parameters: the step of all of them.
inline constexpr std::string_view kCommonStep = "common_step";

// Leaves out the groups of experts, which one process trains in the groups of the others. Errors: Unsupported where
// they are trained otherwise.
Status FoldExperts(ValueList* groups);

// The training dictionary with a chain, {0: all but the experts, 1: the experts}, or with one optimizer. A dictionary
// that has it so stays as it is. REQUIRES: an optimizer (FindOptimizers). Errors: Unsupported for states that are not
// by name; as FoldExperts.
Result<Value> WithChain(const Value& training);
Result<Value> WithoutChain(const Value& training);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_DIST_CHAIN_H_
