// Where a checkpoint comes from: which NeMo or transformers wrote it, and how far it was trained.
#ifndef ANEMONE_INSPECT_PROVENANCE_H_
#define ANEMONE_INSPECT_PROVENANCE_H_

#include <string>
#include <utility>
#include <vector>

#include "anemone/checkpoint.h"

namespace anemone {

// What a checkpoint says of its origin: each is a name ("nemo version", "step", "consumed samples") and a value.
std::vector<std::pair<std::string, std::string>> Provenance(const Checkpoint& checkpoint);

}  // namespace anemone

#endif  // ANEMONE_INSPECT_PROVENANCE_H_
