// The optimizer in Lightning's training dictionary (`optimizer_states`), or Megatron-LM's (`optimizer`, its states
// already by name), to and from its state by parameter name.
//
// A rank's file numbers parameters (torch's form): through the groups in order [core/optim/
// optimizer_with_main_params.py]; a distributed checkpoint's names them (dist/optimizer.h).
#ifndef ANEMONE_FORMAT_LIGHTNING_OPTIMIZER_H_
#define ANEMONE_FORMAT_LIGHTNING_OPTIMIZER_H_

#include <optional>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "format/format.h"
#include "format/optimizer_state.h"

namespace anemone {

// True when the dictionary is Lightning's, or Megatron-LM's, and holds an optimizer.
bool HasOptimizer(const Value& training);
// How the training dictionary tells parameters apart; nullopt without an optimizer's state.
std::optional<ParameterKeys> KeysOf(const Value& training);
// Of either form. REQUIRES: HasOptimizer(*shard.training). Errors: Unsupported, naming what was found, for optimizers
// that keep no state by parameter (a distributed one's rank files), for several, and where the parameters are not those
// of the weights (frozen ones, adapters).
Result<OptimizerState> ReadOptimizer(const Shard& shard, const ParameterRules& rules);
// The training dictionary of a rank with these weights: `training` with weights left empty for the writer and, if
// there is one, the optimizer's state written anew. `moments` are the rank's. Errors: Unsupported where a parameter has
// no moments, and for states that names cannot say (a step of each parameter's own).
Result<Value> WithOptimizer(const Value& training, const Shard& shard, const OptimizerState* optimizer,
                            const Moments& moments, ParameterKeys keys = ParameterKeys::kNumbers);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_LIGHTNING_OPTIMIZER_H_
