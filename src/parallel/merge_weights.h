// The weights of all ranks as those of one.
#ifndef ANEMONE_PARALLEL_MERGE_WEIGHTS_H_
#define ANEMONE_PARALLEL_MERGE_WEIGHTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"

namespace anemone {

struct MergedWeights {
  StateDict weights;                       // in the order in which the dialect's own writer stores them
  std::map<std::string, uint64_t> layers;  // of each tower, counted
};

// Copies that differ are errors, or the first is taken.
enum class Copies : uint8_t { kCompare, kTakeFirst };

// Errors: as MergeShards.
Result<MergedWeights> MergeWeights(const Checkpoint& source, const ResolvedModel& model, Copies copies,
                                   std::vector<std::string>* notes);

}  // namespace anemone

#endif  // ANEMONE_PARALLEL_MERGE_WEIGHTS_H_
