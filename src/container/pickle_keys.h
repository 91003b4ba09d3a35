// Keys of dicts and members of sets, as Python compares them.
#ifndef ANEMONE_CONTAINER_PICKLE_KEYS_H_
#define ANEMONE_CONTAINER_PICKLE_KEYS_H_

#include <cstddef>
#include <cstdint>

#include "anemone/status.h"
#include "anemone/value.h"

namespace anemone::internal {

// Python must be able to hash every `step`-th of the items: no lists, dicts, sets or bytearrays, within tuples neither.
// `budget` shrinks by the values in them, and the bytes within tuples. Errors: Corrupt [PKL-12], LimitExceeded.
Status CheckHashable(const ValueList& items, size_t step, uint64_t& budget);

// Keeps of equal members (`step` 1) the first, of pairs with equal keys (`step` 2) the first key and the last value.
// Atoms, tuples and frozensets are equal by value (True == 1 == 1.0), everything else by identity.
// REQUIRES: CheckHashable.
void DropDuplicates(ValueList& items, size_t step);

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_PICKLE_KEYS_H_
