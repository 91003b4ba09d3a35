// An optimizer's state by parameter name: what stands between a rank's `optimizer_states`, which counts parameters, and
// other layouts, where the count is another.
//
// A rank's file numbers parameters (torch's form): through the groups in order; NeMo makes two groups, with weight
// decay and without, in the order of `named_parameters()`, over all virtual chunks
// [nemo/collections/nlp/modules/common/megatron/utils.py get_params_for_weight_decay_optimization;
// core/optim/optimizer_with_main_params.py]. A distributed checkpoint names them (src/format/dist/dist.h), its groups
// have no `params`.
#ifndef ANEMONE_PARALLEL_OPTIMIZER_H_
#define ANEMONE_PARALLEL_OPTIMIZER_H_

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"
#include "format/format.h"

namespace anemone {

// Which parameters have no weight decay.
enum class DecayRule : uint8_t {
  kAllButBiases,    // Transformer Engine's norms are ordinary modules
  kNorBiasNorNorm,  // apex's norms are known to NeMo
  kAll,             // one group
};

// A parameter's group: 0 with weight decay, 1 without.
size_t DecayGroupOf(std::string_view name, DecayRule rule);

// What a family's table says of an optimizer's parameters.
struct ParameterRules {
  bool is_mcore = false;
  // Names that a state dict has beside another of the same tensor, without prefix: the copy's, the parameter's.
  std::vector<std::pair<std::string, std::string>> second_names;
  // Ends of names, behind the layer's number, that the family reads but writes otherwise: the one read, the one
  // written.
  std::vector<std::pair<std::string, std::string>> old_names;
};
Result<ParameterRules> RulesOf(const ResolvedModel& model);

// The tensors of one kind that lie beside the weights, as a rank or a whole model stores those: by name, per chunk.
struct MomentTensors {
  std::vector<StateDict> dicts;  // one, or one a virtual chunk
};

struct OptimizerState {
  ParameterRules rules;
  DecayRule rule = DecayRule::kAll;
  // "exp_avg", "exp_avg_sq", …; "" for the fp32 masters of 16-bit parameters.
  std::map<std::string, MomentTensors> moments;
  // What is not by parameter, from the first rank that has it. Values point into `keep`.
  std::array<ValueRef, 2> groups = {};  // with weight decay, and without; null where a rank has none
  std::vector<std::string> keys;        // of one parameter's state, in order: moments and scalars
  std::map<std::string, ValueRef> scalars;
  std::string masters_key;      // "fp32_from_fp16_params"; empty: no masters
  std::string inner_key;        // "optimizer"; empty: the state stands by itself
  bool is_distributed = false;  // Megatron's distributed optimizer, whose masters and moments are named ones
  Value keep;
};

// True when the dictionary is Lightning's and holds an optimizer.
bool HasOptimizer(const Value& training);
// Of either form. REQUIRES: HasOptimizer(*shard.training). Errors: Unsupported, naming what was found, for optimizers
// that keep no state by parameter (a distributed one's rank files), for several, and where the parameters are not those
// of the weights (frozen ones, adapters).
Result<OptimizerState> ReadOptimizer(const Shard& shard, const ParameterRules& rules);
// Errors: Corrupt where two ranks' learning rates, steps and the like differ.
Status CheckAgree(const OptimizerState& a, const OptimizerState& b);
// The training dictionary of a rank with these weights: `training` with weights left empty for the writer and, if
// there is one, the optimizer's state written anew. `moments` are the rank's. Errors: Unsupported where a parameter has
// no moments, and for states that names cannot say (a step of each parameter's own).
Result<Value> WithOptimizer(const Value& training, const Shard& shard, const OptimizerState* optimizer,
                            const std::map<std::string, MomentTensors>& moments,
                            ParameterKeys keys = ParameterKeys::kNumbers);
// How the training dictionary does; nullopt without an optimizer's state.
std::optional<ParameterKeys> KeysOf(const Value& training);
// The training dictionary in the other form. REQUIRES: HasOptimizer(*shard->training). Errors: as ReadOptimizer and
// WithOptimizer.
Status KeyParametersBy(ParameterKeys keys, const ParameterRules& rules, Shard* shard, std::vector<std::string>* notes);

// A training dictionary with Adam's state for these weights, all zeros that lie nowhere: fp32 moments, and fp32 masters
// of 16-bit weights. For plans of models that do not exist yet.
Result<Value> NewAdam(const Shard& shard, const ParameterRules& rules);

}  // namespace anemone

#endif  // ANEMONE_PARALLEL_OPTIMIZER_H_
