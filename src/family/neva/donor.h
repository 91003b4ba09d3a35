// What a NeVA or a LLaVA lacks, from another checkpoint: the tower, the projector, the language model.
#ifndef ANEMONE_FAMILY_NEVA_DONOR_H_
#define ANEMONE_FAMILY_NEVA_DONOR_H_

#include <string>

#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone::neva {

// Where the tower lies that a NeMo checkpoint leaves out, or the config of the one that it stores; "": it has both, or
// does not say.
std::string TowerElsewhere(const Checkpoint& checkpoint);

// The config of a stored tower of NeMo's own CLIP; false: the donor is none, or none is stored.
Result<bool> TellTower(const Checkpoint& donor, Checkpoint* checkpoint);

// A CLIP's tower, a GPT's layers, or what of a LLaVA's parts: its tower, and what else is not there; a projector alone
// is wanted for itself. Errors: Unsupported where the donor is of another kind or the parts do not fit.
Status TakePartsOf(const Checkpoint& given, Checkpoint* checkpoint);

}  // namespace anemone::neva

#endif  // ANEMONE_FAMILY_NEVA_DONOR_H_
