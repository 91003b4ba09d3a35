// Writing torch_dist folders: a `.distcp` for each rank with an item for each tensor or layer, and `.metadata`, which
// indexes them.
#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <span>
#include <unordered_set>
#include <utility>

#include "base/text_hash.h"
#include "engine/share.h"
#include "format/dist/dist.h"
#include "format/dist/entries.h"
#include "format/dist/torch_dist_index.h"
#include "format/optimizer_state.h"
#include "format/torch/torch_write.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr size_t kMaxRanks = 4096;

// `key/shard_3_24`; a name that ends in a shard of its own (an expert's) has that as its second axis.
std::string ObjectKey(std::string_view name, uint64_t index, uint64_t count) {
  const auto own = SplitObjectKey(name);
  if (!own) return fmt::format("{}/shard_{}_{}", name, index, count);
  if (count == 1 || own->shape.empty()) return std::string(name);
  return fmt::format("{}/shard_{}.{}_{}.{}", own->key, index, own->offsets[0], count, own->shape[0]);
}

// What becomes one key: a tensor, a stack of them, or an object.
struct Output {
  std::string_view name;           // its key; of one of several objects, what their keys begin with
  std::span<const Tensor> layers;  // one for each layer when stacked, else one
  bool stacked = false;
  bool flattened = false;  // laid out as Megatron's distributed optimizer does
  bool has_experts = false;
  uint8_t halves = 1;         // of a flattened one: 2, a gate's rows and those that it weighs
  uint32_t object_count = 0;  // 0: its name is its key
  uint32_t object_index = 0;
  ValueRef object = nullptr;  // when `layers` is empty; null: None

  // There are as many keys as objects, and each is read a few times: no list holds them.
  std::string key() const {
    return object_count == 0 ? std::string(name) : ObjectKey(name, object_index, object_count);
  }
};

// Prefixes ("model.decoder.layers") whose layers Megatron stacks: those that were, and those with its attention's
// names.
internal::TextSet FindStacks(const Checkpoint& checkpoint) {
  internal::TextSet stacks;
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

// Gathers named tensors and objects into keys, stacking layers where every layer has the same. What it is given must
// outlast it: of a million tensors it holds views.
class Gatherer {
 public:
  Gatherer(internal::TextSet stacks, const TorchDistOptions& options) : stacks_(std::move(stacks)), options_(options) {}

  void Add(std::string_view prefix, std::string_view name, const Tensor& tensor, bool flattened = false) {
    Named& named = Place(*texts_.emplace(prefix).first, name);
    named.parts.back().tensor = &tensor;
    named.flattened = flattened;
  }
  void Add(std::string_view name, ValueRef object) { Place("", name).parts.back().object = object; }
  void AddVerbatim(std::string_view key, ValueRef object) {
    outputs_.push_back({.name = key, .layers = {}, .object = object});
  }

  // Their keys and layers last as long as this.
  Result<std::vector<Output>> Take() {
    index_.clear();
    outputs_.reserve(outputs_.size() + named_.size());
    std::vector<Named> all = std::exchange(named_, {});  // it is gone afterwards
    for (Named& named : all) ANEMONE_TRY(Emit(named).In(named.key));
    return std::move(outputs_);
  }

 private:
  struct Part {
    uint64_t layer, expert;
    std::string_view name;
    const Tensor* tensor = nullptr;
    ValueRef object = nullptr;
  };
  struct Named {
    std::string_view prefix;  // "optimizer.state.exp_avg.", behind "chained_0." in a chain, or nothing
    std::string_view key;     // without the layer's index when stacked, nor the expert's
    bool stacked = false, flattened = false;
    uint64_t experts = 0;  // of a layer; none where names speak of no expert
    std::vector<Part> parts;
  };

  std::optional<LayerName> Stacked(std::string_view name) const {
    const auto split = SplitLayerName(name);
    if (!split || !stacks_.contains(std::string(split->prefix))) return std::nullopt;
    return split;
  }

  // Where it belongs, with a last part that has its name and place and nothing else. `prefix` is of `texts_`.
  Named& Place(std::string_view prefix, std::string_view full_name) {
    const auto expert = SplitExpertName(full_name);
    const std::string_view name = expert ? std::string_view(expert->key) : full_name;
    const auto split = Stacked(name);
    if (split) {
      uint64_t& count = layer_counts_[std::string(split->prefix)];
      count = std::max(count, split->layer + 1);
    }
    std::string_view key = full_name;
    if (split) {
      key = *texts_.insert(fmt::format("{}.{}", split->prefix, split->suffix)).first;
    } else if (expert) {
      key = *texts_.insert(expert->key).first;
    }
    const auto [it, added] = index_.emplace(std::pair(prefix, key), named_.size());
    if (added) named_.push_back({prefix, key, split.has_value(), false, 0, {}});
    Named& named = named_[it->second];
    if (expert) named.experts = std::max(named.experts, expert->expert + 1);
    named.parts.push_back({split ? split->layer : 0, expert ? expert->expert : 0, full_name});
    return named;
  }

  std::string_view Keep(std::string text) { return keys_.Keep(std::move(text)); }
  // `name` lasts as long as this.
  std::string_view KeyOf(const Named& named, std::string_view name) {
    const bool is_renamed = !options_.key_from.empty() && name.starts_with(options_.key_from);
    if (is_renamed) name.remove_prefix(options_.key_from.size());
    if (named.prefix.empty() && !is_renamed) return name;
    return Keep(fmt::format("{}{}{}", named.prefix, is_renamed ? options_.key_to : "", name));
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
      if (part.layer != i / each || part.expert != i % each || (part.tensor == nullptr) != (first.tensor == nullptr))
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
      std::vector<Tensor>& stacked = stacked_.emplace_back();
      for (size_t at = 0; at < named.parts.size(); at += std::max<uint64_t>(named.experts, 1)) {
        ANEMONE_ASSIGN(Tensor layer, LayerOf(&named.parts[at], named.experts));
        stacked.push_back(std::move(layer));
      }
      outputs_.push_back({.name = KeyOf(named, named.key),
                          .layers = stacked,
                          .stacked = stack,
                          .flattened = named.flattened,
                          .has_experts = has_experts});
      return {};
    }
    for (Part& part : named.parts) {
      std::string_view own = part.name;
      if (has_experts) own = Keep(fmt::format("{}/shard_{}_{}", named.key, part.expert, named.experts));
      const std::string_view key = KeyOf(named, stack && !has_experts ? named.key : own);
      if (part.tensor != nullptr) {
        outputs_.push_back({.name = key, .layers = {part.tensor, 1}, .flattened = named.flattened});
      } else {
        outputs_.push_back({.name = key,
                            .layers = {},
                            .object_count = static_cast<uint32_t>(stack ? layers : 1),
                            .object_index = static_cast<uint32_t>(stack ? part.layer : 0),
                            .object = part.object});
      }
    }
    return {};
  }

  internal::TextSet stacks_;
  const TorchDistOptions& options_;
  std::set<std::string, std::less<>> texts_;  // prefixes, and keys of several parts
  Literals keys_;                             // of outputs, where they are no names
  std::deque<std::vector<Tensor>> stacked_;   // the layers of outputs, where they are no tensors of the checkpoint
  std::vector<Named> named_;
  std::map<std::pair<std::string_view, std::string_view>, size_t> index_;  // by prefix and key
  std::map<std::string, uint64_t> layer_counts_;
  std::vector<Output> outputs_;
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
  internal::TextViewMap<uint64_t> columns;
  for (const Output& output : outputs) {
    if (!output.layers.empty() && output.name.ends_with(".linear_fc2.weight"))
      columns.emplace(output.name, output.layers.front().shape().back());
  }
  constexpr std::string_view kFirst = ".linear_fc1.";
  for (Output& output : outputs) {
    const size_t at = output.name.rfind(kFirst);
    if (!output.flattened || at == std::string::npos) continue;
    const auto second = columns.find(std::string(output.name.substr(0, at)) + ".linear_fc2.weight");
    const std::string_view end = output.name.substr(at + kFirst.size());
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

// Appends the items of a folder: each a torch.save of one tensor, which its dtype and shape lay out but for the
// elements.
class ItemWriter {
 public:
  // `items`: how many each rank's file will have.
  ItemWriter(std::vector<PlanFile>& files, const std::vector<size_t>& items, const LayOutOptions& options)
      : files_(files), kinds_(files.size()), zip_{.has_crc32 = options.has_crc32}, keeps_blocks_(options.keeps_blocks) {
    for (size_t rank = 0; rank < files.size(); ++rank) {
      files[rank].segments.reserve(3 * items[rank]);
      files[rank].crcs.reserve(items[rank]);
    }
    places_.reserve(std::accumulate(items.begin(), items.end(), size_t{0}));
  }

  // The elements of `tensor`, in another shape.
  Status Append(size_t rank, const Tensor& tensor, const Shape& shape) {
    PlanFile& file = files_[rank];
    const auto [kind, is_new] = kinds_[rank].try_emplace({tensor.dtype(), shape});
    if (is_new) {
      ANEMONE_ASSIGN(Tensor shaped, tensor.Reshape(shape));
      Value value{std::make_shared<ValueGraph>(), nullptr};
      value.node = NewTensor(*value.graph, std::move(shaped));
      PlanFile item;
      ANEMONE_TRY(LayOutTorchFile(std::move(value), "archive", item, zip_));
      kind->second = TakeSurroundings(item, file);
    }
    std::optional<uint32_t> crc32;
    if (const std::optional<uint64_t> place = keeps_blocks_ ? BestPlace(tensor) : std::nullopt) {
      // Zeros before the item let the elements lie in their blocks as in their source's.
      file.AppendZeros((*place - file.size - kind->second.before.size()) % kBlockBytes);
      crc32 = RecordedCrcOf(tensor);
    }
    const uint64_t start = file.size;
    AppendWithin(kind->second, tensor, file, crc32);
    places_.push_back({start, file.size - start});
    return {};
  }
  // In a list of one, as Megatron saves objects.
  Status Append(ValueRef object) {
    PlanFile& file = files_.front();
    Value listed{std::make_shared<ValueGraph>(), nullptr};
    listed.node = listed.graph->New(Kind::kList);
    listed.node->items.push_back(object != nullptr ? CopyValue(object, *listed.graph) : listed.graph->New(Kind::kNone));
    const uint64_t start = file.size;
    ANEMONE_ASSIGN(TorchPickle pickle, PickleTorch(listed));
    if (pickle.storages.empty()) {
      const auto [alike, is_new] = objects_.try_emplace(pickle.bytes);
      if (is_new) {
        PlanFile item;
        ANEMONE_TRY(LayOutTorchFile(std::move(pickle), "archive", item));
        alike->second = TakeSurroundings(item, file);
      }
      file.AppendKept(alike->second.before);
    } else {
      ANEMONE_TRY(LayOutTorchFile(std::move(pickle), "archive", file));
    }
    places_.push_back({start, file.size - start});
    return {};
  }
  const std::vector<ItemPlace>& places() const { return places_; }

 private:
  std::vector<PlanFile>& files_;                                        // by rank
  std::vector<std::map<std::pair<DType, Shape>, Surroundings>> kinds_;  // by rank
  std::map<std::string, Surroundings> objects_;                         // by their pickles: most are empty states
  const ZipOptions zip_;
  const bool keeps_blocks_;
  std::vector<ItemPlace> places_;
};

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

// How one layer of an output is cut into chunks.
struct Grid {
  Shape part;                // the layer, as it is stored
  bool is_reformed = false;  // in another shape than it has
  bool is_split = false;     // over the ranks, one chunk in each one's file
  std::vector<Shape> begins;
  Shape sizes;
};

Grid GridOf(const Output& output, size_t ranks) {
  Grid grid;
  grid.part = FlatShape(output);
  grid.is_reformed = grid.part != output.layers.front().shape();
  const size_t rank = grid.part.size();
  const size_t axis = grid.is_reformed ? rank : SplitAxis(output.name).value_or(rank);
  grid.is_split = axis < rank && grid.part[axis] % ranks == 0;
  grid.begins = FragmentsOf(grid.part, grid.is_reformed);
  grid.sizes = grid.part;
  if (grid.is_reformed) std::fill(grid.sizes.begin(), grid.sizes.end() - 1, 1);
  if (grid.is_split) {
    grid.sizes[axis] /= ranks;
    grid.begins.resize(ranks, grid.begins.front());
    for (size_t i = 0; i < ranks; ++i) grid.begins[i][axis] = i * grid.sizes[axis];
  }
  return grid;
}

// Items in each rank's file.
std::vector<size_t> CountItems(const std::vector<Output>& outputs, size_t ranks) {
  std::vector<size_t> items(ranks);
  for (const Output& output : outputs) {
    if (output.layers.empty()) {
      ++items.front();
      continue;
    }
    const Grid grid = GridOf(output, ranks);
    for (size_t i = 0; i < grid.begins.size(); ++i) items[grid.is_split ? i : 0] += output.layers.size();
  }
  return items;
}

Status AppendItems(const Output& output, size_t ranks, ItemWriter& items) {
  if (output.layers.empty()) return items.Append(output.object);
  const Grid grid = GridOf(output, ranks);
  for (const Tensor& layer : output.layers) {
    ANEMONE_ASSIGN(const Tensor whole, layer.Reshape(grid.part));
    for (size_t i = 0; i < grid.begins.size(); ++i) {
      Tensor piece = whole;
      for (size_t cut = 0; cut < grid.part.size(); ++cut) {
        ANEMONE_ASSIGN(piece, piece.Narrow(cut, grid.begins[i][cut], grid.sizes[cut]));
      }
      ANEMONE_TRY(items.Append(grid.is_split ? i : 0, piece, output.stacked ? Prepended(1, grid.sizes) : grid.sizes));
    }
  }
  return {};
}

// What the index says of an output.
IndexedKey KeyOf(const Output& output, size_t ranks) {
  IndexedKey key;
  key.name = output.key();
  if (output.layers.empty()) return key;
  const Grid grid = GridOf(output, ranks);
  const Tensor& first = output.layers.front();
  const uint64_t layers = output.layers.size();
  key.dtype = first.dtype();
  key.shape = output.stacked ? Prepended(layers, grid.part) : grid.part;
  if (grid.is_reformed) key.original_shape = output.stacked ? Prepended(layers, first.shape()) : first.shape();
  key.chunk_shape = output.stacked ? Prepended(1, grid.sizes) : grid.sizes;
  for (uint64_t layer = 0; layer < layers; ++layer) {
    for (size_t i = 0; i < grid.begins.size(); ++i) {
      key.chunks.push_back({output.stacked ? Prepended(layer, grid.begins[i]) : grid.begins[i], grid.is_split ? i : 0});
    }
  }
  return key;
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
  const bool is_flat = origin.has_flat_optimizer || ShardingOf(*training) == kModelSpace;
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
        gatherer.Add(prefix, parameter, *leaf.tensor, is_flat && !verbatim);
      }
    }
    if (of_parameters == Pairs(state)->size() / 2) own.insert(state);
  }
  if (const ValueRef objects = Lookup(*training->node, "sharded_objects"); Pairs(objects) != nullptr) {
    own.insert(objects);
    for (size_t i = 0; i + 1 < Pairs(objects)->size(); i += 2) {
      gatherer.AddVerbatim((*Pairs(objects))[i]->text, (*Pairs(objects))[i + 1]);
    }
  }
  common.node = CopyValue(training->node, *common.graph, own);
  return common;
}

// A state of the module `state` for each that has a weight `weight`, in the same layer.
struct StateOf {
  std::string_view weight, state;
};

void AddStates(std::span<const StateOf> modules, const StateDict& weights, std::vector<std::string>& names) {
  for (const StateDict::Item& item : weights.items()) {
    for (const StateOf& module : modules) {
      if (!item.name.ends_with(module.weight)) continue;
      std::string state = item.name.substr(0, item.name.size() - module.weight.size());
      state += module.state;
      if (weights.Find(state) == nullptr) names.push_back(std::move(state));
    }
  }
}

}  // namespace

std::vector<std::string> AttentionStates(const StateDict& weights) {
  constexpr StateOf kAttention[] = {
      {".self_attention.linear_proj.weight", ".self_attention.core_attention.fused_attention._extra_state"}};
  std::vector<std::string> names;
  AddStates(kAttention, weights, names);
  return names;
}

std::vector<std::string> ModuleStates(const StateDict& weights) {
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
  std::vector<std::string> names = AttentionStates(weights);
  AddStates(kModules, weights, names);
  return names;
}

void NameTorchDist(Config& config) {
  if (ConfigNode* format = config.root().Get("dist_ckpt_format")) *format = ConfigNode::String("torch_dist");
}

Status LayOutTorchDist(const Checkpoint& checkpoint, const TorchDistOptions& options, Plan& plan) {
  if (checkpoint.shards.size() != 1) {
    return InvalidArgument(fmt::format("expected one shard, found {}", checkpoint.shards.size()),
                           "a distributed checkpoint is stored whole: merge its ranks to TP 1 and PP 1");
  }
  const size_t ranks = options.lay_out.shard_grid;
  if (ranks < 1 || ranks > kMaxRanks) {
    return InvalidArgument(fmt::format("expected a shard grid of 1 to {} ranks, found {}", kMaxRanks, ranks));
  }
  Gatherer gatherer(FindStacks(checkpoint), options);
  ANEMONE_ASSIGN(const Value common, GatherTraining(checkpoint, gatherer));
  for (const StateDict::Item& item : checkpoint.weights().items()) {
    if (item.tensor() != nullptr) {
      gatherer.Add("", item.name, *item.tensor());
    } else if (options.lay_out.extra_state != ExtraState::kDrop) {
      gatherer.Add(item.name, item.opaque()->value.node);
    }
  }
  for (const std::string& name : options.empty_states) gatherer.Add(name, nullptr);
  ANEMONE_ASSIGN(std::vector<Output> outputs, gatherer.Take());
  FindHalves(outputs);
  // Objects first, as torch does.
  std::stable_partition(outputs.begin(), outputs.end(), [](const Output& output) { return output.layers.empty(); });

  std::vector<PlanFile> items(ranks);
  for (size_t rank = 0; rank < items.size(); ++rank) items[rank].path = options.folder + FileOfRank(rank);
  PlanFile index, rest, marker;
  index.path = options.folder + ".metadata";
  rest.path = options.folder + "common.pt";
  marker.path = options.folder + "metadata.json";
  ItemWriter writer(items, CountItems(outputs, ranks), options.lay_out);
  for (const Output& output : outputs) ANEMONE_TRY(AppendItems(output, ranks, writer).In(output.key()));
  AppendTorchDistIndex(
      outputs.size(), [&](size_t i) { return KeyOf(outputs[i], ranks); }, writer.places(), index);
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
