// The keys of a dict as Python compares them.
#ifndef ANEMONE_CONTAINER_PICKLE_DICT_H_
#define ANEMONE_CONTAINER_PICKLE_DICT_H_

#include "anemone/value.h"

namespace anemone::internal {

// Keeps of every key its first place and its last value, as Python's dicts do.
void DropDuplicateKeys(ValueList& pairs);

}  // namespace anemone::internal

#endif  // ANEMONE_CONTAINER_PICKLE_DICT_H_
