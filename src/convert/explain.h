// What a pass changed, seen from outside: two states of one checkpoint, compared.
#ifndef ANEMONE_CONVERT_EXPLAIN_H_
#define ANEMONE_CONVERT_EXPLAIN_H_

#include <string>
#include <vector>

#include "anemone/convert.h"

namespace anemone {

// Everything but the notes, name and purpose. Tensors are told apart by name, dtype and shape; no weights are read.
PassReport Compare(const Checkpoint& before, const Checkpoint& after);

// The conversion's notes, the result's, and the source's, each once, in the order in which they are told.
std::vector<std::string> AllNotes(const Conversion& conversion);

}  // namespace anemone

#endif  // ANEMONE_CONVERT_EXPLAIN_H_
