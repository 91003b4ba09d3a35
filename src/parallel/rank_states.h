// The `_extra_state` entries of Megatron's modules where a layout changes.
#ifndef ANEMONE_PARALLEL_RANK_STATES_H_
#define ANEMONE_PARALLEL_RANK_STATES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"

namespace anemone {

// An extra state survives as it is unless it holds data of one rank (FP8 scaling), which means nothing in another
// layout.
Opaque ForNewLayout(const Opaque& opaque, uint64_t* dropped);
void NoteDroppedStates(uint64_t dropped, std::vector<std::string>* notes);

// The entries that strict loading asks of a Megatron model's linear layers, where a whole checkpoint has none: NeMo's
// converter leaves them out of a LLaVA.
Status AddExtraStates(Checkpoint* checkpoint, const TranslateOptions& options = {});

}  // namespace anemone

#endif  // ANEMONE_PARALLEL_RANK_STATES_H_
