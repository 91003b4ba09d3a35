// Pickle: a data-only reader and writer. The reader builds a ValueGraph and calls nothing: every GLOBAL is a name,
// every REDUCE, NEWOBJ and BUILD a node. Protocols 0 to 5 as far as torch, Lightning, NeMo and OmegaConf write them;
// the opcodes that are refused and why: docs/formats/pickle.md (rules PKL-n).
#ifndef ANEMONE_CONTAINER_PICKLE_H_
#define ANEMONE_CONTAINER_PICKLE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "anemone/status.h"
#include "anemone/value.h"

namespace anemone {

struct PickleLimits {
  uint64_t max_bytes = uint64_t{1} << 30;  // of the pickle itself
  uint64_t max_nodes = 64'000'000;
  // Bytes that the pickle takes in its file; 0 means as many as it has. Nodes are at most a million and one for each
  // four of these: a byte of input makes up to 200 of memory, and a byte under compression a thousand times that.
  uint64_t stored_bytes = 0;
  uint32_t max_depth = 10'000;  // of nested marks
};

// Sees values while the pickle is read, so that what is understood need not be kept. References do not outlast a call.
struct ObjectVisitor {
  // Each kObject once it is called and again once it has its state, and each kPersistent. True: the node now holds all
  // that matters (as a kTensor, or under its callable), and its parts are freed.
  std::function<Result<bool>(ValueNode& node)> object;
  // Each key and value that is put into a kDict, or on a kObject. True: the pair is not kept.
  std::function<Result<bool>(const ValueNode& dict, const ValueNode& key, const ValueNode& value)> pair;
};

// Reads one pickle from the start of `bytes`; `consumed`, if given, receives its length (several may follow one
// another).
//
// What a node is:  Python 2 strings are kString where they are UTF-8, else kBytes (`text` holds the same bytes either
// way).
//   The protocol 2 spellings of bytes, bytearray, set and frozenset (a call of `_codecs encode`, `builtins set` …)
//   become kBytes and kSet like the opcodes of later protocols; such a node keeps the callee in `callable`. An
//   OrderedDict of pairs and a Counter of a dict have entries and no arguments. `integer`
//   is 1 for a bytearray and for a frozenset. None, booleans, integers, the empty tuple and globals of one name are
//   shared nodes: do not change them in place. Nesting is as deep as the input pleases: recurse over the result only
//   with a limit.
// Errors: Corrupt with the byte offset and opcode (stack underflow, memo miss, counts beyond the input …), Unsupported
//   (EXT, INST, out-of-band buffers), LimitExceeded; each with its rule's id.
// Cost: linear in the input; memory bounded by limits and by the input.
//   With a visitor, memory is bounded by what it leaves.
Result<Value> ReadPickle(std::string_view bytes, const PickleLimits& limits = {}, uint64_t* consumed = nullptr,
                         const ObjectVisitor& visitor = {});

// Answers the node to write in a tensor's place: see WritePickle.
using TensorEncoder = std::function<Result<ValueRef>(const Tensor&, ValueGraph&)>;
// Entries of a kObject that have no nodes of their own: of a million entries none need be there before its turn. They
// are written behind those that the node has. What they refer to must last until the pickle is written.
struct LateEntry {
  std::string_view key;
  const Tensor* tensor = nullptr;  // or
  ValueRef value = nullptr;
};
struct LateEntries {
  size_t count = 0;
  std::function<LateEntry(size_t)> at;
};
using LateEntriesOf = std::unordered_map<const ValueNode*, LateEntries>;

// Writes protocol 2, using only opcodes that torch.load(weights_only=True) of 1.13 … 2.15 accepts where the values
// allow. A kTensor node is handed to `tensor`, which answers the node to write in its place (calls, tuples, names and a
// persistent id), made in the graph it is given, which does not last; it is asked once for each, in the order in which
// they are written. Without an encoder a tensor is InvalidArgument. Shared nodes are written once and memoised; cycles
// through lists, dicts and objects' state are kept. Deterministic. Errors: Unsupported (a cycle through a tuple's or
// call's arguments; text beyond 4 GiB), the encoder's own.
Result<std::string> WritePickle(const Value& value, const TensorEncoder& tensor = {}, const LateEntriesOf& late = {});

// Every global a pickle names, with how it is used. Also those whose object the pickle throws away again.
struct PickleGlobal {
  std::string name;     // "module name", as Python 3 imports it
  bool called = false;  // by REDUCE, NEWOBJ, NEWOBJ_EX, INST or OBJ
};
std::vector<PickleGlobal> ListGlobals(const ValueGraph& graph);  // sorted by name

// True when `bytes` begin like a pickle of protocol 2 or later.
bool LooksLikePickle(std::string_view bytes);

}  // namespace anemone

#endif  // ANEMONE_CONTAINER_PICKLE_H_
