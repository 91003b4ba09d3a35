// Average: one checkpoint whose weights are the mean of several's.
#ifndef ANEMONE_EDIT_AVERAGE_H_
#define ANEMONE_EDIT_AVERAGE_H_

#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone {

// All must have the same names, shapes, dtypes and layout. Floating tensors are averaged in double and rounded once;
// of others, those that are equal stay and signed integers that differ are added up, as NeMo's script does, with a
// note. Config and artifacts are the first's. Training state is left behind.
// Errors: InvalidArgument naming the tensor and the checkpoints that disagree.
Result<Checkpoint> AverageCheckpoints(const std::vector<Checkpoint>& checkpoints);

}  // namespace anemone

#endif  // ANEMONE_EDIT_AVERAGE_H_
