// A training between NeMo 2 and Megatron-LM: both have Megatron-core's optimizer in a distributed checkpoint, in
// dictionaries of their own. Rule MEG-18: docs/formats/megatron.md.
#ifndef ANEMONE_FORMAT_MEGATRON_NEMO2_TRAINING_H_
#define ANEMONE_FORMAT_MEGATRON_NEMO2_TRAINING_H_

#include <optional>

#include "anemone/value.h"

namespace anemone {

// The dictionary that the other has. nullopt where no optimizer's states are by name.
std::optional<Value> TrainingForMegatron(const Value& nemo2);
std::optional<Value> TrainingForNemo2(const Value& megatron);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_MEGATRON_NEMO2_TRAINING_H_
