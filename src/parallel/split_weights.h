// The weights of one rank as those of all.
#ifndef ANEMONE_PARALLEL_SPLIT_WEIGHTS_H_
#define ANEMONE_PARALLEL_SPLIT_WEIGHTS_H_

#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"
#include "parallel/layout.h"

namespace anemone {

// The shards of a layout, weights only. Errors: as SplitShards.
Result<std::vector<Shard>> SplitWeights(const StateDict& whole, const ResolvedModel& model, PipelineRanges& ranges,
                                        const Layout& layout, std::vector<std::string>* notes);
// Checks that SplitWeights works. The shards are not kept: they take several times the memory of `whole`.
Status CheckSplitWeights(const StateDict& whole, const ResolvedModel& model, PipelineRanges& ranges,
                         const Layout& layout);

}  // namespace anemone

#endif  // ANEMONE_PARALLEL_SPLIT_WEIGHTS_H_
