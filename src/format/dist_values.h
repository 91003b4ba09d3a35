// Small steps on plain values that reading and writing distributed checkpoints share.
#ifndef ANEMONE_FORMAT_DIST_VALUES_H_
#define ANEMONE_FORMAT_DIST_VALUES_H_

#include <string_view>
#include <vector>

#include "anemone/value.h"

namespace anemone {

ValueRef NewString(ValueGraph& graph, std::string_view text);
ValueRef NewInt(ValueGraph& graph, int64_t number);
// A dict's or dict-like object's key, value … to add to; null when it is neither, or null itself.
std::vector<ValueRef>* Pairs(ValueRef node);
// Adds a pair. REQUIRES: Pairs(dict).
void SetKey(ValueGraph& graph, ValueRef dict, std::string_view key, ValueRef value);
// The dict under a key, made when absent. REQUIRES: Pairs(dict).
ValueRef Child(ValueGraph& graph, ValueRef dict, std::string_view key);
// The same value in another graph, sharing and cycles kept. Pairs whose value is one of `without` are left out.
ValueRef CopyValue(ValueRef from, ValueGraph& graph, const std::vector<ValueRef>& without = {});
// The optimizer's dict in a training dictionary: the one that holds `param_groups` or `state`, by itself (fp32) or
// under "optimizer" (with fp32 masters). NeMo 1 says `optimizer_states`, NeMo 2 and Megatron-LM `optimizer`. Null when
// absent.
ValueRef FindOptimizer(ValueRef root);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_DIST_VALUES_H_
