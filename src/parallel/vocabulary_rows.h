// The rows of vocabulary tables, which Megatron pads for the number of tensor ranks.
#ifndef ANEMONE_PARALLEL_VOCABULARY_ROWS_H_
#define ANEMONE_PARALLEL_VOCABULARY_ROWS_H_

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"

namespace anemone {

// Vocabulary tables padded for `tp` ranks. `was_tp` is how many they were padded for; 0 where `dims` tell the tokens.
Status PadForRanks(const ResolvedModel& model, ModelSymbols* dims, int tp, int was_tp, Checkpoint* checkpoint);

}  // namespace anemone

#endif  // ANEMONE_PARALLEL_VOCABULARY_ROWS_H_
