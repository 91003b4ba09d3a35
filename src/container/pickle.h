// Pickle: a data-only reader and writer. The reader builds a ValueGraph and calls nothing: every GLOBAL is a name, every
// REDUCE, NEWOBJ and BUILD a node. Protocols 0 to 5 as far as torch, Lightning, NeMo and OmegaConf write them; the opcodes
// that are refused and why: docs/formats/pickle.md (rules PKL-n).
#ifndef ANEMONE_CONTAINER_PICKLE_H_
#define ANEMONE_CONTAINER_PICKLE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "anemone/bytes.h"
#include "anemone/status.h"
#include "anemone/value.h"

namespace anemone {

struct PickleLimits {
  uint64_t max_bytes = uint64_t{1} << 30;   // of the pickle itself
  uint64_t max_nodes = 64'000'000;
  uint32_t max_depth = 10'000;              // of nested marks
};

// Reads one pickle from the start of `bytes`; `consumed`, if given, receives its length (several may follow one another).
// Errors: Corrupt with the byte offset and opcode (stack underflow, memo miss, counts beyond the input …), Unsupported
// (EXT, INST, out-of-band buffers), LimitExceeded. Cost: linear in the input; memory bounded by limits and by the input.
Result<Value> ReadPickle(std::string_view bytes, const PickleLimits& limits = {}, uint64_t* consumed = nullptr);

// Writes protocol 2, using only opcodes that torch.load(weights_only=True) of 1.13 … 2.15 accepts where the values allow.
// A kTensor node is handed to `tensor`, which answers the node to write in its place (an object holding a persistent id).
// Shared nodes are written once and memoised; cycles through lists, dicts and objects' state are kept.
// Errors: Unsupported (a cycle through a tuple's or call's arguments).
using TensorEncoder = std::function<Result<ValueRef>(const Tensor&, ValueGraph&)>;
Result<std::string> WritePickle(const Value& value, const TensorEncoder& tensor);

// Every global a pickle names, with how it is used: what `scan` lists. `nested` says it was found in a pickle inside bytes.
struct PickleGlobal {
  std::string name;     // "module name"
  bool called = false;  // by REDUCE, NEWOBJ or BUILD
};
std::vector<PickleGlobal> ListGlobals(const ValueGraph& graph);

}  // namespace anemone

#endif  // ANEMONE_CONTAINER_PICKLE_H_
