// Small steps on the plain values of training dictionaries, which several formats read and write.
#ifndef ANEMONE_FORMAT_VALUES_H_
#define ANEMONE_FORMAT_VALUES_H_

#include <string_view>
#include <unordered_set>
#include <vector>

#include "anemone/tensor.h"
#include "anemone/value.h"

namespace anemone {

ValueRef NewString(ValueGraph& graph, std::string_view text);
ValueRef NewInt(ValueGraph& graph, int64_t number);
ValueRef NewFloat(ValueGraph& graph, double number);
ValueRef NewBool(ValueGraph& graph, bool value);
ValueRef NewTensor(ValueGraph& graph, Tensor tensor);
// A class or function: "module name".
ValueRef NewGlobal(ValueGraph& graph, std::string_view name);
ValueRef NewTuple(ValueGraph& graph, ValueList items);
ValueRef NewCall(ValueGraph& graph, std::string_view function, ValueList arguments = {});
// cls.__new__(cls), then its state.
ValueRef NewObject(ValueGraph& graph, std::string_view cls, ValueRef state);
// A dict's or dict-like object's key, value … to add to; null when it is neither, or null itself.
ValueList* Pairs(ValueRef node);
// Adds a pair. REQUIRES: Pairs(dict).
void SetKey(ValueGraph& graph, ValueRef dict, std::string_view key, ValueRef value);
// Adds a pair, or replaces the value where the key is there. REQUIRES: Pairs(dict).
void PutKey(ValueGraph& graph, ValueRef dict, std::string_view key, ValueRef value);
// Removes a pair, where the key is there. REQUIRES: Pairs(dict).
void DropKey(ValueRef dict, std::string_view key);
// The dict under a key, made when absent. REQUIRES: Pairs(dict).
ValueRef Child(ValueGraph& graph, ValueRef dict, std::string_view key);
// The same value in another graph, sharing and cycles kept. Pairs whose value is one of `without` are left out.
ValueRef CopyValue(ValueRef from, ValueGraph& graph, const std::unordered_set<ValueRef>& without = {});
// The first of a list, or what a dict has under 0, as Megatron makes one of a list that it took things out of; null for
// others, and for null itself.
ValueRef FirstOf(ValueRef node);
// The optimizers' dicts in a training dictionary: those that hold `param_groups` or `state`, by themselves (fp32) or
// under "optimizer" (with fp32 masters). NeMo 1 says `optimizer_states`, NeMo 2 and Megatron-LM `optimizer`. One, or
// the members of a chain, by their number: {0: …, 1: …}, as Megatron keeps one for the experts where these have ranks
// of their own [megatron/core/optimizer/optimizer.py ChainedOptimizer].
std::vector<ValueRef> FindOptimizers(ValueRef root);
// Whether an optimizer's `state`, which may be null, holds parameters by name; else by number, or none.
bool IsByName(ValueRef state);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_VALUES_H_
