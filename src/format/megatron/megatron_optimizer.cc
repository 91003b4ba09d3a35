// Facts: Megatron-LM core_v0.9.0 … d98e8a6 megatron/core/optimizer/distrib_optimizer.py (get_parameter_state_dp_zero,
// _compute_per_buffer_param_layout), megatron/core/distributed/param_and_grad_buffer.py, megatron/core/optimizer/
// optimizer.py (Float16OptimizerWithFloat16Params), megatron/core/optimizer/__init__.py (_get_param_groups),
// megatron/training/training.py (get_model).
#include "format/megatron/megatron_optimizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rounding.h"
#include "format/optimizer_state.h"
#include "format/torch/megatron_file.h"
#include "format/torch/state_dict.h"
#include "format/torch/torch_file.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

// ---- parameters ----

// A rank's models as they are stored, one or one a virtual stage, and those of their entries that are trained.
struct Models {
  std::vector<StateDict> dicts;
  std::vector<std::vector<const StateDict::Item*>> parameters;  // in the order of named_parameters()
};

bool IsTrained(const StateDict::Item& item) {
  constexpr std::string_view kBuffers[] = {".inv_freq", ".expert_bias", ".local_tokens_per_expert"};
  return item.tensor() != nullptr &&
         std::ranges::none_of(kBuffers, [&](std::string_view end) { return item.name.ends_with(end); });
}

Result<Models> ModelsOf(const Value& root) {
  Models models;
  std::vector<std::string> left_out;
  const auto add = [&](ValueRef node) -> Status {
    ANEMONE_ASSIGN(StateDict dict, ToStateDict({root.graph, node}, &left_out));
    models.dicts.push_back(std::move(dict));
    return {};
  };
  if (const ValueRef model = Lookup(*root.node, "model"); model != nullptr) ANEMONE_TRY(add(model));
  while (models.dicts.empty() || Lookup(*root.node, "model") == nullptr) {
    const ValueRef chunk = Lookup(*root.node, fmt::format("model{}", models.dicts.size()));
    if (chunk == nullptr) break;
    ANEMONE_TRY(add(chunk));
  }
  for (const StateDict& dict : models.dicts) {
    auto& parameters = models.parameters.emplace_back();
    for (const StateDict::Item& item : dict.items()) {
      if (IsTrained(item)) parameters.push_back(&item);
    }
  }
  return models;
}

// Those of them that are the experts', or the others.
Models Part(Models models, bool of_experts) {
  for (auto& parameters : models.parameters)
    std::erase_if(parameters, [&](const StateDict::Item* item) { return IsOfExperts(item->name) != of_experts; });
  return models;
}

// ---- states ----

// By kind ("exp_avg"), for each of a rank's models: its tensors under the names and in the shapes that are stored.
struct States {
  std::map<std::string, std::vector<StateDict>> kinds;
  ValueRef step = nullptr;  // of torch's optimizers

  Status Add(const std::string& kind, size_t model, size_t models, const std::string& name, Tensor tensor) {
    std::vector<StateDict>& dicts = kinds[kind];
    dicts.resize(models);
    return dicts[model].Add(name, std::move(tensor));
  }
};

int64_t IntIn(const ConfigNode& args, std::string_view key, int64_t otherwise) {
  const ConfigNode* node = args.Get(key);
  return node == nullptr ? otherwise : node->AsInt().value_or(otherwise);
}

bool IsSet(const ConfigNode& args, std::string_view key) {
  const ConfigNode* node = args.Get(key);
  return node != nullptr && node->AsBool().value_or(false);
}

// Where a parameter begins in a flat tensor.
struct Place {
  const StateDict::Item* parameter = nullptr;
  uint64_t begin = 0;
};

struct Buffer {
  size_t model = 0;
  std::vector<Place> places;
  uint64_t size = 0;
};

// How the parameters of one dtype follow each other in a model's buffer: last first, each at a multiple of 64 elements
// from its bucket's beginning. What a bucket is padded with at its end is not stored.
class BufferLayout {
 public:
  BufferLayout(const ConfigNode& args, const Shard& shard, const Models& models) {
    uint64_t count = 0;
    for (const auto& parameters : models.parameters) {
      for (const StateDict::Item* item : parameters) count += item->tensor()->num_elements();
    }
    const bool has_stages = IntIn(args, "pipeline_model_parallel_size", 1) > 1;
    shares_embedding_ = has_stages && !IsSet(args, "untie_embeddings_and_output_weights");
    if (!IsSet(args, "overlap_grad_reduce") || shard.pp_rank > 0) return;
    const int64_t ranks = IntIn(args, "data_parallel_size", 1) * IntIn(args, "context_parallel_size", 1);
    const int64_t buckets = IntIn(args, "ddp_num_buckets", 0);
    constexpr int64_t kLeast = 40'000'000, kOfRank = 1'000'000;
    bucket_size_ = buckets > 0 ? count / static_cast<uint64_t>(buckets)
                               : static_cast<uint64_t>(std::max<int64_t>(
                                     1, IntIn(args, "ddp_bucket_size", std::max(kLeast, kOfRank * ranks))));
  }

  Buffer Of(size_t model, const std::vector<const StateDict::Item*>& parameters) const {
    constexpr uint64_t kAlignment = 64;
    Buffer buffer{.model = model, .places = {}, .size = 0};
    uint64_t bucket = 0;
    bool is_begun = false;
    for (const StateDict::Item* item : std::vector(parameters.rbegin(), parameters.rend())) {
      const uint64_t begin = bucket + RoundUp(buffer.size - bucket, kAlignment);
      const bool is_apart = shares_embedding_ && IsEmbedding(item->name);
      if (is_apart && is_begun) bucket = begin;
      buffer.places.push_back({item, begin});
      buffer.size = begin + item->tensor()->num_elements();
      // Interleaved stages have one bucket, but the first.
      const bool is_full = bucket_size_ > 0 && model == 0 && buffer.size - bucket >= bucket_size_;
      is_begun = !is_full && !is_apart;
      if (!is_begun) bucket = buffer.size;
    }
    return buffer;
  }

 private:
  // Of the first stage, and of the last, which has a copy.
  static bool IsEmbedding(std::string_view name) {
    return name == "embedding.word_embeddings.weight" || name == "output_layer.weight";
  }

  bool shares_embedding_ = false;
  uint64_t bucket_size_ = 0;  // 0: one bucket
};

// Whether a parameter's first and last elements are those of the weight, in the weight's dtype.
Result<bool> IsMasterOf(const Tensor& master, const Tensor& weight) {
  constexpr uint64_t kCompared = 16;
  const uint64_t size = weight.num_elements(), count = std::min(size, kCompared);
  ANEMONE_ASSIGN(const Tensor flat, weight.Reshape({size}));
  for (const uint64_t begin : {uint64_t{0}, size - count}) {
    ANEMONE_ASSIGN(const Tensor part, master.Narrow(0, begin, count));
    ANEMONE_ASSIGN(const Tensor rounded, part.Cast(weight.dtype()));
    ANEMONE_ASSIGN(const Tensor own, flat.Narrow(0, begin, count));
    ANEMONE_ASSIGN(const std::string one, rounded.Read());
    ANEMONE_ASSIGN(const std::string other, own.Read());
    if (one != other) return false;
  }
  return true;
}

// Groups tell since core_v0.16.0 whether they follow the default schedule. Older versions load and store the state in
// pieces, which version 0.16 does not.
std::string_view ShardingOfVersion(ValueRef optimizer) {
  if (IsList(optimizer) && !optimizer->items.empty()) optimizer = optimizer->items.front();
  const ValueRef inner = optimizer == nullptr ? nullptr : Lookup(*optimizer, "optimizer");
  const ValueRef groups = inner == nullptr ? nullptr : Lookup(*inner, "param_groups");
  const bool is_old = IsList(groups) && !groups->items.empty() && Pairs(groups->items[0]) != nullptr &&
                      Lookup(*groups->items[0], "default_config") == nullptr;
  return is_old ? kModelSpace : kFullyReshardable;
}

// One buffer's tensors, {param, exp_avg, exp_avg_sq, numel_unpadded}, divided into parameters.
Status ReadBuffer(const Buffer& buffer, ValueRef stored, size_t models, States* states) {
  const ValueList* pairs = Pairs(stored);
  if (pairs == nullptr || Lookup(*stored, "param") == nullptr)
    return Unsupported("expected one tensor for each kind of state, found an older form");
  for (size_t i = 0; i + 1 < pairs->size(); i += 2) {
    const ValueNode& flat = *(*pairs)[i + 1];
    const std::string& kind = (*pairs)[i]->text;
    if (flat.kind != Kind::kTensor) continue;
    if (flat.tensor->shape() != Shape{buffer.size}) {
      return Corrupt(fmt::format("{}: expected {} elements in the order of buckets, found {}", kind, buffer.size,
                                 ToString(flat.tensor->shape())));
    }
    for (const auto& [item, begin] : buffer.places) {
      const Tensor& weight = *item->tensor();
      ANEMONE_ASSIGN(const Tensor own, flat.tensor->Narrow(0, begin, weight.num_elements()));
      if (kind == "param") {
        ANEMONE_ASSIGN(const bool is_master, IsMasterOf(own, weight));
        if (!is_master)
          return Corrupt("expected a parameter that rounds to the weight, found another order").In(item->name);
      }
      ANEMONE_ASSIGN(Tensor shaped, own.Reshape(weight.shape()));
      ANEMONE_TRY(states->Add(kind, buffer.model, models, item->name, std::move(shaped)));
    }
  }
  return {};
}

// distrib_optim.pt: {0: {(torch.bfloat16, torch.float32): one buffer's tensors}, 1: …}.
Result<States> ReadBuckets(const Value& file, const BufferLayout& layout, const Models& models) {
  if (Pairs(file.node) == nullptr || Lookup(*file.node, "buckets_coalesced") == nullptr)
    return Unsupported("expected the buffers of one optimizer, found several or an older form");
  std::map<int64_t, ValueRef> buffers;
  const ValueList& pairs = *Pairs(file.node);
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    if (pairs[i]->kind == Kind::kInt) buffers.emplace(pairs[i]->integer, pairs[i + 1]);
  }
  States states;
  int64_t next = 0;
  for (size_t m = 0; m < models.parameters.size(); ++m) {
    std::vector<DType> dtypes;
    for (const StateDict::Item* item : models.parameters[m]) {
      if (std::ranges::find(dtypes, item->tensor()->dtype()) == dtypes.end()) dtypes.push_back(item->tensor()->dtype());
    }
    for (const DType dtype : dtypes) {
      std::vector<const StateDict::Item*> own;
      std::ranges::copy_if(models.parameters[m], std::back_inserter(own),
                           [&](const StateDict::Item* item) { return item->tensor()->dtype() == dtype; });
      const auto found = buffers.find(next++);
      const ValueList* of_dtype = found == buffers.end() ? nullptr : Pairs(found->second);
      if (of_dtype == nullptr || of_dtype->size() != 2)
        return Corrupt(fmt::format("expected buffer {} of one dtype, found none", next - 1));
      ANEMONE_TRY(ReadBuffer(layout.Of(m, own), (*of_dtype)[1], models.parameters.size(), &states)
                      .In(fmt::format("buffer {}", next - 1)));
    }
  }
  if (static_cast<size_t>(next) != buffers.size())
    return Corrupt(fmt::format("expected {} buffers, found {}", next, buffers.size()));
  return states;
}

// The parameters of a group, in the numbers' order: vectors and biases have no weight decay.
using Group = std::vector<std::pair<size_t, const StateDict::Item*>>;
Group MembersOf(ValueRef group, const Models& models) {
  const ValueRef factor = Lookup(*group, "wd_mult");
  const bool decays = factor == nullptr || factor->kind != Kind::kFloat || factor->real != 0;
  Group members;
  for (size_t m = 0; m < models.parameters.size(); ++m) {
    for (const StateDict::Item* item : models.parameters[m]) {
      const bool is_vector = item->tensor()->shape().size() == 1 || item->name.ends_with(".bias");
      if (is_vector != decays) members.emplace_back(m, item);
    }
  }
  return members;
}

// Masters of 16-bit parameters: a list for each group.
Status ReadMasters(ValueRef list, const Group& members, size_t models, States* states) {
  size_t next = 0;
  for (const auto& [model, item] : members) {
    const DType dtype = item->tensor()->dtype();
    if (dtype != DType::kBF16 && dtype != DType::kF16) continue;
    const bool fits = IsList(list) && next < list->items.size() && list->items[next]->kind == Kind::kTensor &&
                      list->items[next]->tensor->shape() == item->tensor()->shape();
    if (!fits) return Corrupt("expected an fp32 master, found none").In(item->name);
    ANEMONE_TRY(states->Add("fp32_param", model, models, item->name, *list->items[next++]->tensor));
  }
  return {};
}

// {state: {0: {exp_avg, …}}, param_groups: [{params: [0, …]}]}, by itself or under "optimizer", beside masters.
Result<States> ReadNumbers(ValueRef outer, const Models& models) {
  const ValueRef below = Lookup(*outer, "optimizer"), inner = below == nullptr ? outer : below;
  const ValueRef state = Lookup(*inner, "state"), groups = Lookup(*inner, "param_groups");
  const ValueRef masters = Lookup(*outer, "fp32_from_fp16_params");
  if (Pairs(state) == nullptr || !IsList(groups))
    return Unsupported("expected Adam's state, found another optimizer's");
  std::map<int64_t, ValueRef> by_number;
  size_t trained = 0, read = 0;
  for (const auto& parameters : models.parameters) trained += parameters.size();
  for (size_t i = 0; i + 1 < Pairs(state)->size(); i += 2) {
    if ((*Pairs(state))[i]->kind == Kind::kInt) by_number.emplace((*Pairs(state))[i]->integer, (*Pairs(state))[i + 1]);
  }
  States states;
  for (size_t g = 0; g < groups->items.size(); ++g) {
    const ValueRef numbers = Pairs(groups->items[g]) == nullptr ? nullptr : Lookup(*groups->items[g], "params");
    const Group members = MembersOf(groups->items[g], models);
    if (!IsList(numbers) || numbers->items.size() != members.size())
      return Unsupported("expected all parameters in a group with and one without weight decay, found other groups");
    for (size_t i = 0; i < members.size(); ++i) {
      const auto& [model, item] = members[i];
      const auto own = by_number.find(numbers->items[i]->integer);
      const ValueList* pairs = own == by_number.end() ? nullptr : Pairs(own->second);
      if (pairs == nullptr) return Corrupt("expected a state, found none").In(item->name);
      for (size_t j = 0; j + 1 < pairs->size(); j += 2) {
        const ValueRef value = (*pairs)[j + 1];
        if ((*pairs)[j]->text == "step") {
          states.step = value;
        } else if (value->kind == Kind::kTensor && value->tensor->shape() == item->tensor()->shape()) {
          ANEMONE_TRY(states.Add((*pairs)[j]->text, model, models.parameters.size(), item->name, *value->tensor));
        } else {
          return Unsupported(fmt::format("{}: expected a tensor like the weight", (*pairs)[j]->text)).In(item->name);
        }
      }
    }
    read += members.size();
    if (masters != nullptr) {
      const ValueRef list = IsList(masters) && g < masters->items.size() ? masters->items[g] : nullptr;
      ANEMONE_TRY(ReadMasters(list, members, models.parameters.size(), &states));
    }
  }
  if (read != trained) return Unsupported(fmt::format("expected {} parameters in groups, found {}", trained, read));
  return states;
}

// ---- as a distributed checkpoint has it ----

// state[name] = {exp_avg, …}, of all models; names of virtual stages begin with their model's.
Result<ValueRef> NamedStates(States states, const Value& root, const ConfigNode& args, ValueGraph& graph) {
  const ValueRef state = graph.New(Kind::kDict);
  for (auto& [kind, dicts] : states.kinds) {
    for (StateDict& dict : dicts) {
      ANEMONE_ASSIGN(dict, InTodaysWords(dict, root, args));
    }
  }
  const size_t models = states.kinds.empty() ? 0 : states.kinds.begin()->second.size();
  for (size_t m = 0; m < models; ++m) {
    for (const StateDict::Item& item : states.kinds.begin()->second[m].items()) {
      const ValueRef own = graph.New(Kind::kDict);
      for (const auto& [kind, dicts] : states.kinds) {
        const StateDict::Item* part = dicts[m].Find(item.name);
        if (part != nullptr) SetKey(graph, own, kind, NewTensor(graph, *part->tensor()));
      }
      SetKey(graph, state, StateNameIn(m, item.name), own);
    }
  }
  if (states.step != nullptr) SetKey(graph, state, "common_step", CopyValue(states.step, graph));
  return state;
}

// What the rank's dictionary says of the optimizer beside the states; parameters have no numbers.
ValueRef OptimizerWith(ValueRef stored, ValueRef state, ValueGraph& graph) {
  const ValueRef outer = CopyValue(stored, graph);
  DropKey(outer, "fp32_from_fp16_params");
  const ValueRef below = Lookup(*outer, "optimizer"), inner = Pairs(below) == nullptr ? outer : below;
  PutKey(graph, inner, "state", state);
  const ValueRef groups = Lookup(*inner, "param_groups");
  for (size_t g = 0; IsList(groups) && g < groups->items.size(); ++g) {
    if (Pairs(groups->items[g]) != nullptr) DropKey(groups->items[g], "params");
  }
  return outer;
}

// What one optimizer is read from.
struct Stored {
  ValueRef optimizer = nullptr;        // beside the model
  std::optional<Value> buffers;        // of distrib_optim.pt; a null node: another rank has them
  ValueRef of_first_expert = nullptr;  // the same optimizer on the first expert rank, already read
};

Result<ValueRef> NamedOptimizer(const Stored& stored, const BufferLayout& layout, const Models& models,
                                const Value& root, const ConfigNode& args, ValueGraph& graph) {
  if (Pairs(stored.optimizer) == nullptr) return Unsupported("expected one optimizer, found several");
  const std::string_view sharding = ShardingOfVersion(stored.optimizer);
  ValueRef state = nullptr;
  if (!stored.buffers || stored.buffers->node != nullptr) {
    ANEMONE_ASSIGN(States states, stored.buffers ? ReadBuckets(*stored.buffers, layout, models)
                                                 : ReadNumbers(stored.optimizer, models));
    if (sharding == kModelSpace && states.kinds.contains("param")) {
      auto masters = states.kinds.extract("param");
      masters.key() = "fp32_param";
      states.kinds.insert(std::move(masters));
    }
    ANEMONE_ASSIGN(state, NamedStates(std::move(states), root, args, graph));
  } else {
    const ValueRef below = stored.of_first_expert == nullptr ? nullptr : Lookup(*stored.of_first_expert, "optimizer");
    const ValueRef found = below == nullptr ? nullptr : Lookup(*below, "state");
    if (found == nullptr) return Corrupt("expected the buffers of all but the experts on their first rank, found none");
    state = CopyValue(found, graph);
  }
  const ValueRef optimizer = OptimizerWith(stored.optimizer, state, graph);
  if (stored.buffers) PutKey(graph, optimizer, "param_state_sharding_type", NewString(graph, sharding));
  return optimizer;
}

// Where experts have ranks of their own, {0: all but the experts', 1: the experts'}, which are lists in both files. The
// buffers of the first lie beside the first expert rank alone [core_v0.16.1 optimizer.py, ChainedOptimizer].
Result<ValueRef> NamedChain(const std::optional<Value>& buffers, const Value& root, const ConfigNode& args,
                            const Shard& shard, const Shard* first, ValueGraph& graph) {
  const ValueRef stored = Lookup(*root.node, "optimizer");
  ANEMONE_ASSIGN(const Models models, ModelsOf(root));
  const BufferLayout layout(args, shard, models);
  if (!IsList(stored)) return NamedOptimizer({stored, buffers, nullptr}, layout, models, root, args, graph);
  constexpr size_t kMembers = 2;
  const bool fits = stored->items.size() == kMembers &&
                    (!buffers || (IsList(buffers->node) && buffers->node->items.size() == kMembers));
  if (!fits) return Unsupported("expected one optimizer, or one beside the experts', found others");
  const ValueRef of_first = first == nullptr ? nullptr : Lookup(*first->training->node, "optimizer");
  const ValueRef chain = graph.New(Kind::kDict);
  for (size_t member = 0; member < kMembers; ++member) {
    Stored own{.optimizer = stored->items[member], .buffers = buffers, .of_first_expert = nullptr};
    if (buffers) {
      const ValueRef node = buffers->node->items[member];
      own.buffers = Value{buffers->graph, node->kind == Kind::kNone ? nullptr : node};
    }
    if (member == 0 && Pairs(of_first) != nullptr) own.of_first_expert = (*Pairs(of_first))[1];
    ANEMONE_ASSIGN(const ValueRef named, NamedOptimizer(own, layout, Part(models, member == 1), root, args, graph));
    chain->items.insert(chain->items.end(), {NewInt(graph, static_cast<int64_t>(member)), named});
  }
  return chain;
}

}  // namespace

void SetContentMetadata(std::string_view sharding, Value& training) {
  ValueGraph& graph = *training.graph;
  const ValueRef content = Child(graph, training.node, "content_metadata");
  if (!sharding.empty()) PutKey(graph, content, "distrib_optim_sharding_type", NewString(graph, sharding));
  PutKey(graph, content, "singleton_local_shards", NewBool(graph, false));
  PutKey(graph, content, "chained_optim_avoid_prefix", NewBool(graph, true));
}

Value OfAllRanks(const Value& training) {
  Value result{std::make_shared<ValueGraph>(), nullptr};
  result.node = result.graph->New(Kind::kDict);
  const ValueList& pairs = *Pairs(training.node);
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    const std::string_view key = pairs[i]->text;
    if (key.starts_with("model") || key == "optimizer" || key == "rng_state" || key == "rerun_state_machine") continue;
    SetKey(*result.graph, result.node, key, CopyValue(pairs[i + 1], *result.graph));
  }
  return result;
}

Status TakeRankOptimizer(const std::optional<ByteRange>& buckets, const ConfigNode& args, const Shard* first,
                         Shard& shard) {
  const Value root = *shard.training;
  Value own = OfAllRanks(root);
  const ValueRef stored = Lookup(*root.node, "optimizer");
  SetContentMetadata(buckets ? ShardingOfVersion(stored) : "", own);
  shard.training = own;
  if (stored == nullptr) return {};
  std::optional<Value> buffers;
  if (buckets) {
    ANEMONE_ASSIGN(TorchFile file, ReadTorchFile(*buckets));
    buffers = std::move(file.root);
  }
  ANEMONE_ASSIGN(const ValueRef optimizer, NamedChain(buffers, root, args, shard, first, *own.graph));
  SetKey(*own.graph, own.node, "optimizer", optimizer);
  return {};
}

}  // namespace anemone
