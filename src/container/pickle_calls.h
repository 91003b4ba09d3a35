// Calls of Python's own containers.
#ifndef ANEMONE_CONTAINER_PICKLE_CALLS_H_
#define ANEMONE_CONTAINER_PICKLE_CALLS_H_

#include "anemone/status.h"
#include "anemone/value.h"
#include "container/pickle_work.h"

namespace anemone::internal {

// True for a class of containers, as `set`: its objects hold copies of their arguments' items and nothing else.
bool IsContainer(const ValueNode& global);

// Makes of a call (a kObject) what Python makes of it at that moment. By REDUCE: bytes, a bytearray, a set or a
// frozenset as protocol 2 writes them [CPython Lib/pickle.py save_bytes, save_bytearray, set.__reduce__]; a Counter of
// a dict and an OrderedDict of pairs, as Python 2 wrote it, with entries and no arguments. Where another call copies a
// container, its argument becomes that copy: what comes into the container later is none of it.
Status MakeContainer(ValueNode& call, ValueGraph& graph, PickleWork& work);

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_PICKLE_CALLS_H_
