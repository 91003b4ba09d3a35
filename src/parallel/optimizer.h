// An optimizer's state by parameter name (format/optimizer_state.h), of a model whose family is known: what stands
// between a rank's training dictionary and other layouts, where parameters are counted otherwise.
#ifndef ANEMONE_PARALLEL_OPTIMIZER_H_
#define ANEMONE_PARALLEL_OPTIMIZER_H_

#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"
#include "format/format.h"
#include "format/lightning/optimizer.h"

namespace anemone {

Result<ParameterRules> RulesOf(const ResolvedModel& model);

// The training dictionary in the other form. REQUIRES: HasOptimizer(*shard->training). Errors: as ReadOptimizer and
// WithOptimizer.
Status KeyParametersBy(ParameterKeys keys, const ParameterRules& rules, Shard* shard, std::vector<std::string>* notes);

// A training dictionary with Adam's state for these weights, each a virtual zero fill: fp32 moments, and fp32 masters
// of 16-bit weights. For plans of models that do not exist yet.
Result<Value> NewAdam(const Shard& shard, const ParameterRules& rules);

}  // namespace anemone

#endif  // ANEMONE_PARALLEL_OPTIMIZER_H_
