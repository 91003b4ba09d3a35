// Writing torch_dist folders: one `.distcp` with an item for each tensor or layer, `.metadata` in the words of
// torch 2.3, with the attributes that all versions share. [pytorch v2.2 … v2.15 distributed/checkpoint/metadata.py:
// absent attributes have defaults]
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "container/pickle.h"
#include "format/dist/dist.h"
#include "format/dist/entries.h"
#include "format/torch/torch_write.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr size_t kMaxRanks = 4096;

// What becomes one key: a tensor, a stack of them, or an object.
struct Output {
  std::string key;
  std::vector<Tensor> layers;  // one for each layer when stacked, else one
  bool stacked = false;
  bool flattened = false;  // laid out as Megatron's distributed optimizer does
  Value object;            // when `layers` is empty
  bool has_experts = false;
  uint64_t halves = 1;  // of a flattened one: 2, a gate's rows and those that it weighs
};

// Prefixes ("model.decoder.layers") whose layers Megatron stacks: those that were, and those with its attention's
// names.
std::unordered_set<std::string> FindStacks(const Checkpoint& checkpoint) {
  std::unordered_set<std::string> stacks;
  // A distributed checkpoint that stacked nothing keeps its per-layer keys.
  if (const auto& origin = checkpoint.origin.distributed) {
    return {origin->layer_stacks.begin(), origin->layer_stacks.end()};
  }
  std::map<std::string, std::pair<std::set<uint64_t>, std::set<uint64_t>>, std::less<>> layers;  // all, with experts
  for (const StateDict::Item& item : checkpoint.weights().items()) {
    const auto name = SplitLayerName(item.name);
    if (!name) continue;
    auto& [all, with_experts] = layers[std::string(name->prefix)];
    all.insert(name->layer);
    if (name->suffix == "mlp.router.weight") with_experts.insert(name->layer);
    if ((name->suffix.starts_with("self_attention.linear_") || name->suffix.starts_with("mlp.linear_"))) {
      stacks.emplace(name->prefix);
    }
  }
  // Layers with and without experts are not stacked [core_v0.16.1 transformer_block.py, non_homogeneous_layers].
  for (const auto& [prefix, which] : layers) {
    if (!which.second.empty() && which.second.size() != which.first.size()) stacks.erase(prefix);
  }
  return stacks;
}

Shape Prepended(uint64_t first, const Shape& rest) {
  Shape shape = {first};
  shape.insert(shape.end(), rest.begin(), rest.end());
  return shape;
}

// Gathers named tensors and objects into keys, stacking layers where every layer has the same.
class Gatherer {
 public:
  Gatherer(std::unordered_set<std::string> stacks, const TorchDistOptions& options)
      : stacks_(std::move(stacks)), options_(options) {}

  void Add(std::string_view prefix, const std::string& name, const Tensor& tensor, bool flattened = false) {
    Named& named = Place(prefix, name);
    named.parts.back().tensor = tensor;
    named.flattened = flattened;
  }
  void Add(const std::string& name, Value object) { Place("", name).parts.back().object = std::move(object); }
  void AddVerbatim(std::string key, Value object) {
    outputs_.push_back({std::move(key), {}, false, false, std::move(object)});
  }

  Result<std::vector<Output>> Take() {
    for (Named& named : named_) ANEMONE_TRY(Emit(named).In(named.key));
    return std::move(outputs_);
  }

 private:
  struct Part {
    uint64_t layer, expert;
    std::string name;
    std::optional<Tensor> tensor;
    Value object;
  };
  struct Named {
    std::string prefix;  // "optimizer.state.exp_avg.", behind "chained_0." in a chain, or nothing
    std::string key;     // without the layer's index when stacked, nor the expert's
    bool stacked = false, flattened = false;
    uint64_t experts = 0;  // of a layer; none where names speak of no expert
    std::vector<Part> parts;
  };

  std::optional<LayerName> Stacked(std::string_view name) const {
    const auto split = SplitLayerName(name);
    if (!split || !stacks_.contains(std::string(split->prefix))) return std::nullopt;
    return split;
  }

  // Where it belongs, with a last part that has its name and place and nothing else.
  Named& Place(std::string_view prefix, const std::string& full_name) {
    const auto expert = SplitExpertName(full_name);
    const std::string& name = expert ? expert->key : full_name;
    const auto split = Stacked(name);
    const std::string key = split ? fmt::format("{}.{}", split->prefix, split->suffix) : name;
    if (split) {
      uint64_t& count = layer_counts_[std::string(split->prefix)];
      count = std::max(count, split->layer + 1);
    }
    const auto [it, added] = index_.emplace(fmt::format("{}{}", prefix, key), named_.size());
    if (added) named_.push_back({std::string(prefix), key, split.has_value(), false, 0, {}});
    Named& named = named_[it->second];
    if (expert) named.experts = std::max(named.experts, expert->expert + 1);
    named.parts.push_back({split ? split->layer : 0, expert ? expert->expert : 0, full_name, {}, {}});
    return named;
  }

  std::string Renamed(std::string_view key) const {
    if (!options_.key_from.empty() && key.starts_with(options_.key_from)) {
      return options_.key_to + std::string(key.substr(options_.key_from.size()));
    }
    return std::string(key);
  }

  // A layer's tensor: the `experts` parts from `part` on as one, or where there are none that part.
  static Result<Tensor> LayerOf(const Part* part, uint64_t experts) {
    if (experts == 0) return *part->tensor;
    std::vector<Tensor> all;
    for (uint64_t expert = 0; expert < experts; ++expert) {
      const Tensor& one = *part[expert].tensor;
      ANEMONE_ASSIGN(Tensor thick, one.Reshape(Prepended(1, one.shape())));
      all.push_back(std::move(thick));
    }
    return Tensor::Concat(std::move(all), 0);
  }

  // Whether every layer has all of its parts, in order, and they are alike.
  static bool IsUniform(const Named& named, uint64_t layers) {
    const uint64_t each = std::max<uint64_t>(named.experts, 1);
    if (named.parts.size() != layers * each) return false;
    const Part& first = named.parts[0];
    for (uint64_t i = 0; i < named.parts.size(); ++i) {
      const Part& part = named.parts[i];
      if (part.layer != i / each || part.expert != i % each || part.tensor.has_value() != first.tensor.has_value())
        return false;
      if (part.tensor &&
          (part.tensor->dtype() != first.tensor->dtype() || part.tensor->shape() != first.tensor->shape())) {
        return false;
      }
    }
    return true;
  }

  Status Emit(Named& named) {
    const uint64_t layers = named.stacked ? layer_counts_[std::string(SplitStackedKey(named.key).prefix)] : 1;
    std::ranges::stable_sort(named.parts, {}, [](const Part& part) { return std::pair(part.layer, part.expert); });
    const bool is_uniform = IsUniform(named, layers), has_experts = named.experts > 0;
    if (has_experts && !is_uniform) {
      return Corrupt(named.stacked ? "expected every layer to have the same experts, found others"
                                   : "expected a layer's experts to be alike, found others");
    }
    const bool stack = named.stacked && is_uniform;
    if (named.parts[0].tensor && (stack || has_experts)) {
      Output& output = outputs_.emplace_back(Output{named.prefix + Renamed(named.key), {}, stack, named.flattened, {}});
      output.has_experts = has_experts;
      for (size_t at = 0; at < named.parts.size(); at += std::max<uint64_t>(named.experts, 1)) {
        ANEMONE_ASSIGN(Tensor layer, LayerOf(&named.parts[at], named.experts));
        output.layers.push_back(std::move(layer));
      }
      return {};
    }
    for (Part& part : named.parts) {
      const std::string own =
          has_experts ? fmt::format("{}/shard_{}_{}", named.key, part.expert, named.experts) : part.name;
      const std::string key = named.prefix + Renamed(stack && !has_experts ? named.key : own);
      if (part.tensor) {
        outputs_.push_back({key, {std::move(*part.tensor)}, false, named.flattened, {}});
      } else {
        outputs_.push_back(
            {ObjectKey(key, stack ? part.layer : 0, stack ? layers : 1), {}, false, false, std::move(part.object)});
      }
    }
    return {};
  }

  // `key/shard_3_24`; a name that ends in a shard of its own (an expert's) has that as its second axis.
  static std::string ObjectKey(const std::string& name, uint64_t index, uint64_t count) {
    const auto own = SplitObjectKey(name);
    if (!own) return fmt::format("{}/shard_{}_{}", name, index, count);
    if (count == 1 || own->shape.empty()) return name;
    return fmt::format("{}/shard_{}.{}_{}.{}", own->key, index, own->offsets[0], count, own->shape[0]);
  }

  std::unordered_set<std::string> stacks_;
  const TorchDistOptions& options_;
  std::vector<Named> named_;
  std::unordered_map<std::string, size_t> index_;
  std::map<std::string, uint64_t> layer_counts_;
  std::vector<Output> outputs_;
};

std::string FileOfRank(size_t rank) { return fmt::format("__{}_0.distcp", rank); }

// The nodes of `.metadata`; what repeats is shared, as pickling shared Python objects would.
class MetadataWriter {
 public:
  MetadataWriter() : value_{std::make_shared<ValueGraph>(), nullptr} {
    state_dict_ = graph().New(Kind::kDict);
    planner_ = graph().New(Kind::kDict);
    storage_ = graph().New(Kind::kDict);
    mcore_ = graph().New(Kind::kDict);
  }

  void AddObject(const std::string& key, uint64_t offset, uint64_t length) {
    const ValueRef name = AddKey(key, Object("torch.distributed.checkpoint.metadata BytesStorageMetadata", nullptr));
    AddPlace(name, nullptr, nullptr, 0, offset, length);
  }

  // Chunks follow by AddChunk.
  void BeginTensor(const std::string& key, DType dtype, const Shape& size, const Shape* original) {
    const ValueRef state = graph().New(Kind::kDict);
    chunks_ = graph().New(Kind::kList);
    SetAttribute(state, "properties", Properties(dtype));
    SetAttribute(state, "size", Size(size));
    SetAttribute(state, "chunks", chunks_);
    tensor_ = AddKey(key, Object("torch.distributed.checkpoint.metadata TensorStorageMetadata", state));
    sizes_ = {};
    const ValueRef extra = graph().New(Kind::kDict);
    if (original != nullptr) SetAttribute(extra, "nd_reformulated_orig_global_shape", Tuple(*original));
    mcore_->items.push_back(tensor_);
    mcore_->items.push_back(extra);
  }

  void AddChunk(const Shape& offsets, const Shape& sizes, size_t rank, uint64_t offset, uint64_t length) {
    if (sizes_ == nullptr) sizes_ = Size(sizes);  // all chunks of a tensor written here have one size
    const ValueRef at = Size(offsets);
    const ValueRef state = graph().New(Kind::kDict);
    SetAttribute(state, "offsets", at);
    SetAttribute(state, "sizes", sizes_);
    const ValueRef index = Number(chunks_->items.size());
    chunks_->items.push_back(Object("torch.distributed.checkpoint.metadata ChunkStorageMetadata", state));
    AddPlace(tensor_, at, index, rank, offset, length);
  }

  Result<std::string> Finish() {
    const ValueRef state = graph().New(Kind::kDict);
    SetAttribute(state, "state_dict_metadata", state_dict_);
    SetAttribute(state, "planner_data", planner_);
    SetAttribute(state, "storage_data", storage_);
    SetAttribute(state, "mcore_data", mcore_);
    value_.node = Object("torch.distributed.checkpoint.metadata Metadata", state);
    return WritePickle(value_, {});
  }

 private:
  ValueGraph& graph() { return *value_.graph; }

  ValueRef Word(std::string_view text) {
    ValueRef& node = words_[std::string(text)];
    if (node == nullptr) node = NewString(graph(), text);
    return node;
  }
  ValueRef Global(std::string_view name) {
    ValueRef& node = globals_[std::string(name)];
    if (node == nullptr) node = NewGlobal(graph(), name);
    return node;
  }
  ValueRef Number(uint64_t number) {
    constexpr uint64_t kKept = 1 << 16;
    if (number >= kKept) return NewInt(graph(), static_cast<int64_t>(number));
    ValueRef& node = numbers_[number];
    if (node == nullptr) node = NewInt(graph(), static_cast<int64_t>(number));
    return node;
  }
  void SetAttribute(ValueRef state, std::string_view name, ValueRef value) {
    state->items.push_back(Word(name));
    state->items.push_back(value);
  }
  // cls.__new__(cls), then its state.
  ValueRef Object(std::string_view cls, ValueRef state) {
    const ValueRef node = graph().New(Kind::kObject);
    node->is_new = true;
    node->callable = Global(cls);
    node->state = state;
    return node;
  }
  ValueRef Call(std::string_view function, ValueRef argument) {
    const ValueRef node = graph().New(Kind::kObject);
    node->callable = Global(function);
    node->items.push_back(argument);
    return node;
  }
  ValueRef Tuple(const Shape& numbers) {
    const ValueRef tuple = graph().New(Kind::kTuple);
    for (const uint64_t number : numbers) tuple->items.push_back(Number(number));
    return tuple;
  }
  ValueRef Size(const Shape& sizes) { return Call("torch Size", Tuple(sizes)); }
  ValueRef Properties(DType dtype) {
    ValueRef& node = properties_[dtype];
    if (node != nullptr) return node;
    // Called and not built from a state, whose enum torch 2.2 knows by another name.
    node = Call("torch.distributed.checkpoint.metadata TensorProperties",
                Global(fmt::format("torch {}", Info(dtype).torch)));
    return node;
  }

  ValueRef AddKey(const std::string& key, ValueRef metadata) {
    const ValueRef name = NewString(graph(), key);
    state_dict_->items.insert(state_dict_->items.end(), {name, metadata});
    const ValueRef path = graph().New(Kind::kTuple);
    path->items.push_back(name);
    planner_->items.insert(planner_->items.end(), {name, path});
    return name;
  }
  void AddPlace(ValueRef key, ValueRef offsets, ValueRef index, size_t rank, uint64_t offset, uint64_t length) {
    const ValueRef where = graph().New(Kind::kDict);
    SetAttribute(where, "fqn", key);
    SetAttribute(where, "index", index != nullptr ? index : graph().New(Kind::kNone));
    if (offsets != nullptr) SetAttribute(where, "offset", offsets);
    const ValueRef info = graph().New(Kind::kDict);
    SetAttribute(info, "relative_path", Word(FileOfRank(rank)));
    SetAttribute(info, "offset", Number(offset));
    SetAttribute(info, "length", Number(length));
    storage_->items.push_back(Object("torch.distributed.checkpoint.metadata MetadataIndex", where));
    storage_->items.push_back(Object("torch.distributed.checkpoint.filesystem _StorageInfo", info));
  }

  Value value_;
  ValueRef state_dict_, planner_, storage_, mcore_;
  ValueRef tensor_ = nullptr, chunks_ = nullptr, sizes_ = nullptr;
  std::unordered_map<std::string, ValueRef> words_, globals_;
  std::unordered_map<uint64_t, ValueRef> numbers_;
  std::map<DType, ValueRef> properties_;
};

// The fragments of a layer's flat tensor and the size of one: [a, b] → [1, 1, a·b], of a gated MLP [2, 1, a·b/2], of
// experts with theirs before. Megatron-core loads one fragment for each part that it divides a parameter into, and one
// twice is an error [core_v0.9.0 dist_checkpointing/strategies/torch.py, sharded_tensor_to_torch_sharded_tensor]. One
// axis stays as it is, as Megatron leaves it when unstacked.
Shape FlatShape(const Output& output) {
  const Shape& shape = output.layers.front().shape();
  if (!output.flattened || shape.empty() || (shape.size() == 1 && !output.stacked)) return shape;
  Shape flat(shape.size(), 1);
  if (output.has_experts) flat[0] = shape[0];
  flat[output.has_experts ? 1 : 0] *= output.halves;
  uint64_t fragments = 1;
  for (const uint64_t count : flat) fragments *= count;
  flat.push_back(*NumElements(shape) / fragments);
  return flat;
}

// A gated MLP's first layer has twice the rows that its second has columns.
void FindHalves(std::vector<Output>& outputs) {
  std::unordered_map<std::string_view, uint64_t> columns;
  for (const Output& output : outputs) {
    if (!output.layers.empty() && output.key.ends_with(".linear_fc2.weight"))
      columns.emplace(output.key, output.layers.front().shape().back());
  }
  constexpr std::string_view kFirst = ".linear_fc1.";
  for (Output& output : outputs) {
    const size_t at = output.key.rfind(kFirst);
    if (!output.flattened || at == std::string::npos) continue;
    const auto second = columns.find(output.key.substr(0, at) + ".linear_fc2.weight");
    const std::string_view end = std::string_view(output.key).substr(at + kFirst.size());
    if (second == columns.end() || (end != "weight" && end != "bias")) continue;
    const Shape& shape = output.layers.front().shape();
    const size_t rows = output.has_experts ? 1 : 0;
    if (rows < shape.size() && shape[rows] == 2 * second->second) output.halves = 2;
  }
}

// Where the pieces of a layer's tensor of the shape `part` begin: all of it, or a flat one's fragments.
std::vector<Shape> FragmentsOf(const Shape& part, bool is_flat) {
  std::vector<Shape> begins = {Shape(part.size(), 0)};
  if (!is_flat) return begins;
  for (size_t axis = 0; axis + 1 < part.size(); ++axis) {
    const std::vector<Shape> before = std::move(begins);
    begins.clear();
    for (const Shape& shape : before) {
      for (uint64_t i = 0; i < part[axis]; ++i) {
        begins.push_back(shape);
        begins.back()[axis] = i;
      }
    }
  }
  return begins;
}

Status AppendTensor(Tensor tensor, PlanFile& file) {
  Value value{std::make_shared<ValueGraph>(), nullptr};
  value.node = NewTensor(*value.graph, std::move(tensor));
  return LayOutTorchFile(value, "archive", file);
}

// The axis along which Megatron's tensor ranks divide a parameter; any grid of chunks is legal, this one lets each rank
// read one file. nullopt: kept whole.
std::optional<size_t> SplitAxis(std::string_view key) {
  constexpr std::string_view rows[] = {"linear_qkv.weight",   "linear_qkv.bias",  "linear_fc1.weight",
                                       "linear_fc1.bias",     "linear_q.weight",  "linear_q.bias",
                                       "linear_kv.weight",    "linear_kv.bias",   "word_embeddings.weight",
                                       "output_layer.weight", "output_layer.bias"};
  constexpr std::string_view columns[] = {"linear_proj.weight", "linear_fc2.weight"};
  const auto ends = [&](std::string_view name) { return key.ends_with(name); };
  if (std::ranges::any_of(rows, ends)) return 0;
  if (std::ranges::any_of(columns, ends)) return 1;
  return std::nullopt;
}

// `files` are those of the ranks.
Status Append(const Output& output, std::vector<PlanFile>& files, MetadataWriter& metadata) {
  if (output.layers.empty()) {
    PlanFile& file = files.front();
    const uint64_t start = file.size;
    ANEMONE_TRY(LayOutTorchFile(output.object, "archive", file));
    metadata.AddObject(output.key, start, file.size - start);
    return {};
  }
  const Tensor& first = output.layers.front();
  const uint64_t layers = output.layers.size();
  const Shape part = FlatShape(output);
  const bool reformed = part != first.shape();
  const Shape original = output.stacked ? Prepended(layers, first.shape()) : first.shape();
  metadata.BeginTensor(output.key, first.dtype(), output.stacked ? Prepended(layers, part) : part,
                       reformed ? &original : nullptr);
  const size_t axis = reformed ? part.size() : SplitAxis(output.key).value_or(part.size());
  const bool split = axis < part.size() && part[axis] % files.size() == 0;
  std::vector<Shape> begins = FragmentsOf(part, reformed);
  Shape sizes = part;
  if (reformed) std::fill(sizes.begin(), sizes.end() - 1, 1);
  if (split) {
    sizes[axis] /= files.size();
    begins.resize(files.size(), begins.front());
    for (size_t rank = 0; rank < begins.size(); ++rank) begins[rank][axis] = rank * sizes[axis];
  }
  for (uint64_t layer = 0; layer < layers; ++layer) {
    ANEMONE_ASSIGN(const Tensor whole, output.layers[layer].Reshape(part));
    for (size_t i = 0; i < begins.size(); ++i) {
      Tensor piece = whole;
      for (size_t cut = 0; cut < part.size(); ++cut) {
        ANEMONE_ASSIGN(piece, piece.Narrow(cut, begins[i][cut], sizes[cut]));
      }
      const size_t rank = split ? i : 0;
      const Shape offsets = output.stacked ? Prepended(layer, begins[i]) : begins[i];
      const Shape stored = output.stacked ? Prepended(1, sizes) : sizes;
      ANEMONE_ASSIGN(Tensor chunk, piece.Reshape(stored));
      PlanFile& file = files[rank];
      const uint64_t start = file.size;
      ANEMONE_TRY(AppendTensor(std::move(chunk), file));
      metadata.AddChunk(offsets, stored, rank, start, file.size - start);
    }
  }
  return {};
}

// A value in a list of one, as Megatron saves objects.
Value Listed(const Value& value) {
  Value listed{std::make_shared<ValueGraph>(), nullptr};
  listed.node = listed.graph->New(Kind::kList);
  listed.node->items.push_back(value.node != nullptr ? CopyValue(value.node, *listed.graph)
                                                     : listed.graph->New(Kind::kNone));
  return listed;
}

// The training dictionary without what is written as keys of its own.
Result<Value> GatherTraining(const Checkpoint& checkpoint, Gatherer& gatherer) {
  Value common{std::make_shared<ValueGraph>(), nullptr};
  const auto& training = checkpoint.shards.front().training;
  if (!training || Pairs(training->node) == nullptr) {
    common.node = common.graph->New(Kind::kDict);
    return common;
  }
  const std::vector<ValueRef> optimizers = FindOptimizers(training->node);
  DistributedOrigin origin;
  origin.has_chained_optimizer = optimizers.size() > 1;
  if (checkpoint.origin.distributed) origin = *checkpoint.origin.distributed;
  std::unordered_set<ValueRef> own;
  for (size_t member = 0; member < optimizers.size(); ++member) {
    const ValueRef state = Lookup(*optimizers[member], "state");
    if (!IsByName(state)) continue;
    size_t of_parameters = 0;
    const std::string chained = origin.has_chained_optimizer ? fmt::format("chained_{}.", member) : "";
    for (size_t i = 0; i + 1 < Pairs(state)->size(); i += 2) {
      const std::string& parameter = (*Pairs(state))[i]->text;
      const auto* kinds = Pairs((*Pairs(state))[i + 1]);
      if (kinds == nullptr) continue;  // the step that all parameters have
      own.insert((*Pairs(state))[i + 1]);
      ++of_parameters;
      for (size_t j = 0; j + 1 < kinds->size(); j += 2) {
        const ValueNode& leaf = *(*kinds)[j + 1];
        if (leaf.kind != Kind::kTensor)
          return Unsupported("expected an optimizer's tensors, found another value").In(parameter);
        const bool verbatim = (*kinds)[j]->text == "tensor" && parameter.starts_with("optimizer.");
        const std::string prefix =
            verbatim ? chained : fmt::format("{}optimizer.state.{}.", chained, (*kinds)[j]->text);
        gatherer.Add(prefix, parameter, *leaf.tensor, origin.has_flat_optimizer && !verbatim);
      }
    }
    if (of_parameters == Pairs(state)->size() / 2) own.insert(state);
  }
  if (const ValueRef objects = Lookup(*training->node, "sharded_objects"); Pairs(objects) != nullptr) {
    own.insert(objects);
    for (size_t i = 0; i + 1 < Pairs(objects)->size(); i += 2) {
      gatherer.AddVerbatim((*Pairs(objects))[i]->text, Listed({training->graph, (*Pairs(objects))[i + 1]}));
    }
  }
  common.node = CopyValue(training->node, *common.graph, own);
  return common;
}

// A state of the module `state` for each that has a weight `weight`, in the same layer.
struct StateOf {
  std::string_view weight, state;
};

Status AddStates(std::span<const StateOf> modules, StateDict& weights) {
  std::vector<std::string> names;
  for (const StateDict::Item& item : weights.items()) {
    for (const StateOf& module : modules) {
      if (!item.name.ends_with(module.weight)) continue;
      std::string state = item.name.substr(0, item.name.size() - module.weight.size());
      state += module.state;
      if (weights.Find(state) == nullptr) names.push_back(std::move(state));
    }
  }
  for (const std::string& name : names) ANEMONE_TRY(weights.Add(name, Opaque{}));
  return {};
}

}  // namespace

Status AddAttentionStates(StateDict& weights) {
  constexpr StateOf kAttention[] = {
      {".self_attention.linear_proj.weight", ".self_attention.core_attention.fused_attention._extra_state"}};
  return AddStates(kAttention, weights);
}

Status AddModuleStates(StateDict& weights) {
  // Attention's has its place by the version of Transformer Engine; norms have one since its version 2.
  constexpr StateOf kModules[] = {
      {".self_attention.linear_proj.weight", ".self_attention.core_attention._extra_state"},
      {".self_attention.q_layernorm.weight", ".self_attention.q_layernorm._extra_state"},
      {".self_attention.k_layernorm.weight", ".self_attention.k_layernorm._extra_state"},
      {".input_layernorm.weight", ".input_layernorm._extra_state"},
      {".pre_mlp_layernorm.weight", ".pre_mlp_layernorm._extra_state"},
      {".linear_proj.post_layernorm.weight", ".linear_proj.post_layernorm._extra_state"},
      {".linear_fc2.post_layernorm.weight", ".linear_fc2.post_layernorm._extra_state"},
      {"decoder.final_layernorm.weight", "decoder.final_layernorm._extra_state"},
  };
  ANEMONE_TRY(AddAttentionStates(weights));
  return AddStates(kModules, weights);
}

void NameTorchDist(Config& config) {
  if (ConfigNode* format = config.root().Get("dist_ckpt_format")) *format = ConfigNode::String("torch_dist");
}

Status LayOutTorchDist(const Checkpoint& checkpoint, const TorchDistOptions& options, Plan& plan) {
  if (checkpoint.shards.size() != 1) {
    return InvalidArgument(fmt::format("expected one shard, found {}", checkpoint.shards.size()),
                           "a distributed checkpoint is stored whole: merge its ranks to TP 1 and PP 1");
  }
  if (options.ranks < 1 || options.ranks > kMaxRanks) {
    return InvalidArgument(fmt::format("expected a shard grid of 1 to {} ranks, found {}", kMaxRanks, options.ranks));
  }
  Gatherer gatherer(FindStacks(checkpoint), options);
  ANEMONE_ASSIGN(const Value common, GatherTraining(checkpoint, gatherer));
  for (const StateDict::Item& item : checkpoint.weights().items()) {
    if (item.tensor() != nullptr) {
      gatherer.Add("", item.name, *item.tensor());
    } else if (!options.drop_extra_state) {
      gatherer.Add(item.name, Listed(item.opaque()->value));
    }
  }
  ANEMONE_ASSIGN(std::vector<Output> outputs, gatherer.Take());
  FindHalves(outputs);
  // Objects first, as torch does.
  std::stable_partition(outputs.begin(), outputs.end(), [](const Output& output) { return output.layers.empty(); });

  std::vector<PlanFile> items(options.ranks);
  for (size_t rank = 0; rank < items.size(); ++rank) items[rank].path = options.folder + FileOfRank(rank);
  PlanFile index, rest, marker;
  index.path = options.folder + ".metadata";
  rest.path = options.folder + "common.pt";
  marker.path = options.folder + "metadata.json";
  MetadataWriter metadata;
  for (const Output& output : outputs) ANEMONE_TRY(Append(output, items, metadata).In(output.key));
  ANEMONE_ASSIGN(std::string pickle, metadata.Finish());
  index.Append(std::move(pickle));
  ANEMONE_TRY(LayOutTorchFile(common, "common", rest));
  marker.Append(
      R"({"sharded_backend": "torch_dist", "sharded_backend_version": 1, "common_backend": "torch", "common_backend_version": 1})");
  // A rank that has nothing to store has no file.
  for (PlanFile& file : items) {
    if (file.size != 0 || &file == &items.front()) plan.files.push_back(std::move(file));
  }
  for (PlanFile* file : {&index, &rest, &marker}) plan.files.push_back(std::move(*file));
  plan.is_directory = true;
  return {};
}

}  // namespace anemone
