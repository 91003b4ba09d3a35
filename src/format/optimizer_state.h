// An optimizer's state by parameter name: what the middle of the program knows, whatever a format keys it by.
//
// A rank's file numbers parameters (lightning/optimizer.h); a distributed checkpoint names them (dist/optimizer.h).
// NeMo makes two groups of them, with weight decay and without, in the order of `named_parameters()`, over all virtual
// chunks [nemo/collections/nlp/modules/common/megatron/utils.py get_params_for_weight_decay_optimization].
#ifndef ANEMONE_FORMAT_OPTIMIZER_STATE_H_
#define ANEMONE_FORMAT_OPTIMIZER_STATE_H_

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "anemone/value.h"

namespace anemone {

// Which parameters have no weight decay.
enum class DecayRule : uint8_t {
  kAllButBiases,    // Transformer Engine's norms are ordinary modules
  kNorBiasNorNorm,  // apex's norms are known to NeMo
  kNoVectors,       // Megatron-LM: norms have none, whichever module they are in
  kAll,             // one group
};

// Whether a parameter is an expert's, which ranks of experts divide. What all tokens share is none.
bool IsOfExperts(std::string_view name);

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
  bool is_megatron_lm = false;  // of its own training
  // The rule of NeMo's own training, or Megatron-LM's.
  DecayRule Default() const {
    if (is_megatron_lm) return DecayRule::kNoVectors;
    return is_mcore ? DecayRule::kAllButBiases : DecayRule::kNorBiasNorNorm;
  }
};

// What a parameter's state is called in a rank's dictionary: its name, behind "model1." … in virtual stages but the
// first.
std::string StateNameIn(size_t model, const std::string& name);

// The tensors of one kind that lie beside the weights, as a rank or a whole model stores those: by name, per chunk.
struct MomentTensors {
  std::vector<StateDict> dicts;  // one, or one a virtual chunk
};
// "exp_avg", "exp_avg_sq", …; "" for the fp32 masters of 16-bit parameters.
using Moments = std::map<std::string, MomentTensors>;

struct OptimizerState {
  ParameterRules rules;
  DecayRule rule = DecayRule::kAll;
  Moments moments;
  // What is not by parameter, from the first rank that has it. Values point into `keep`.
  std::array<ValueRef, 2> groups = {};  // with weight decay, and without; null where a rank has none
  std::vector<std::string> keys;        // of one parameter's state, in order: moments and scalars
  std::map<std::string, ValueRef> scalars;
  std::string masters_key;       // "fp32_from_fp16_params"; empty: no masters
  std::string inner_key;         // "optimizer"; empty: the state stands by itself
  bool has_common_step = false;  // written beside named states, as it was read
  bool is_distributed = false;   // Megatron's distributed optimizer, whose masters and moments are named ones
  Value keep;
};

// Errors: Corrupt where two ranks' learning rates, steps and the like differ.
Status CheckAgree(const OptimizerState& a, const OptimizerState& b);

// ---- what codecs are made of ----

struct Parameter {
  size_t dict = 0;
  const StateDict::Item* item = nullptr;
  bool is_16_bit() const { return item->tensor()->dtype() == DType::kBF16 || item->tensor()->dtype() == DType::kF16; }
};
using ParameterGroups = std::array<std::vector<Parameter>, 2>;  // with weight decay, and without

// A rank's weights, or those of its virtual chunks.
std::vector<const StateDict*> DictsOf(const Shard& shard);
// In the order of named_parameters(), which is that of the state dict: without buffers and second names.
std::vector<Parameter> ParametersOf(const Shard& shard, const ParameterRules& rules);
ParameterGroups Grouped(const std::vector<Parameter>& parameters, DecayRule rule);
// On other stages a second name is a parameter of its own, with the same moments.
Status NameMomentsTwice(const Shard& shard, OptimizerState* state);

// The names of parameters in a checkpoint's training dictionaries, which follow the weights' when those get others.
class StateNames {
 public:
  explicit StateNames(const Checkpoint& before);
  // Gives states the names that the weights have now. REQUIRES: the weights are the same entries in the same order.
  void Follow(Checkpoint* after) const;

 private:
  std::vector<std::vector<std::string>> before_;  // of each shard; empty where it has no training
};

// Unsupported, with what to do instead.
Status NotCarried(std::string what);
bool IsList(ValueRef node);
bool IsTrue(ValueRef flag);
// What a group says of how its parameters are trained, to compare.
Result<std::string> GroupText(ValueRef group);

// What all parameters have alike. Errors: Unsupported where an earlier one has another.
Status ReadScalar(const std::string& key, ValueRef value, OptimizerState* result);
// One parameter's dict.
Status ReadState(const Parameter& parameter, ValueRef state, OptimizerState* result);

// The values of a state, in the graph of a training dictionary. Refers to all that it is given.
class StateWriter {
 public:
  StateWriter(ValueGraph& graph, const OptimizerState& optimizer, const Moments& moments)
      : graph_(graph), optimizer_(optimizer), moments_(moments) {}

  ValueGraph& graph() { return graph_; }
  const OptimizerState& optimizer() const { return optimizer_; }

  // The dict of a parameter, without its master.
  Result<ValueRef> DictOf(const Parameter& parameter);
  // Null where it has none.
  Result<ValueRef> MasterOf(const Parameter& parameter);
  // A stored group with these ids, or without any.
  ValueRef Group(ValueRef stored, ValueRef ids);
  // The optimizer of these states and groups, as it was wrapped.
  ValueRef Whole(ValueRef state, ValueRef groups);
  // Errors: Unsupported where a group of parameters is not to be found.
  Status CheckHasGroup(const ParameterGroups& groups, size_t group) const;

 private:
  Result<ValueRef> TensorOf(const std::string& kind, const Parameter& parameter);

  ValueGraph& graph_;
  const OptimizerState& optimizer_;
  const Moments& moments_;
};

// How the distributed optimizer's states are stored that any layout loads [distrib_optimizer.py]: by Megatron-core 0.15
// and later, and by 0.9 to 0.15, which cut each parameter into pieces of one dimension.
inline constexpr std::string_view kFullyReshardable = "fully_reshardable", kModelSpace = "fully_sharded_model_space";
// The form that a training dictionary says it has; "" for another optimizer.
std::string_view ShardingOf(const Value& training);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_OPTIMIZER_STATE_H_
