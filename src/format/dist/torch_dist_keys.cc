#include "format/dist/torch_dist_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "base/text_hash.h"
#include "format/dist/entries.h"
#include "format/optimizer_state.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

// `key/shard_3_24`; a name that ends in a shard of its own (an expert's) has that as its second axis.
std::string ObjectKey(std::string_view name, uint64_t index, uint64_t count) {
  const auto own = SplitObjectKey(name);
  if (!own) return fmt::format("{}/shard_{}_{}", name, index, count);
  if (count == 1 || own->shape.empty()) return std::string(name);
  return fmt::format("{}/shard_{}.{}_{}.{}", own->key, index, own->offsets[0], count, own->shape[0]);
}

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

// Gathers named tensors and objects into keys, stacking layers where every layer has the same. What it is given must
// outlast it: of a million tensors it holds views.
class Gatherer {
 public:
  Gatherer(internal::TextSet stacks, const TorchDistOptions& options) : stacks_(std::move(stacks)), options_(options) {}

  void Add(std::string_view prefix, std::string_view name, const Tensor& tensor, bool flattened = false) {
    Part& part = Place(*texts_.emplace(prefix).first, name);
    part.tensor = &tensor;
    named_[part.named].flattened = flattened;
  }
  void Add(std::string_view name, ValueRef object) { Place("", name).object = object; }
  void AddVerbatim(std::string_view key, ValueRef object) {
    outputs_.push_back({.name = key, .layers = {}, .object = object});
  }

  // Their keys and layers last as long as this.
  Result<std::vector<DistOutput>> Take() {
    index_.clear();
    const std::vector<Named> all = std::exchange(named_, {});  // they are gone afterwards
    std::vector<Part> parts = std::exchange(parts_, {});
    outputs_.reserve(outputs_.size() + all.size());
    std::ranges::sort(parts, {},
                      [](const Part& part) { return std::tuple(part.named, part.layer, part.expert, part.name); });
    for (auto first = parts.begin(); first != parts.end();) {
      const Named& named = all[first->named];
      const auto end = std::find_if(first, parts.end(), [&](const Part& part) { return part.named != first->named; });
      ANEMONE_TRY(Emit(named, {first, end}).In(named.key));
      first = end;
    }
    return std::move(outputs_);
  }

 private:
  struct Part {
    size_t named;  // its place among them
    uint64_t layer, expert;
    std::string_view name;
    const Tensor* tensor = nullptr;
    ValueRef object = nullptr;
  };
  struct Named {
    std::string_view prefix;  // "optimizer.state.exp_avg.", behind "chained_0." in a chain, or nothing
    std::string_view key;     // without the layer's index when stacked, nor the expert's
    bool stacked = false, flattened = false;
    uint64_t experts = 0;  // of a layer; 0 where no name has an expert's number
  };

  std::optional<LayerName> Stacked(std::string_view name) const {
    const auto split = SplitLayerName(name);
    if (!split || !stacks_.contains(std::string(split->prefix))) return std::nullopt;
    return split;
  }

  // A new part of the key that it belongs to, with its name and place and nothing else. `prefix` is of `texts_`.
  Part& Place(std::string_view prefix, std::string_view full_name) {
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
    // Any other is the only part of its key: of a million names the index holds few.
    const bool shares_key = split || expert || stacks_.contains(std::string(SplitStackedKey(name).prefix));
    size_t place = named_.size();
    if (shares_key) place = index_.emplace(std::pair(prefix, key), place).first->second;
    if (place == named_.size()) named_.push_back({prefix, key, split.has_value()});
    if (expert) named_[place].experts = std::max(named_[place].experts, expert->expert + 1);
    return parts_.emplace_back(Part{place, split ? split->layer : 0, expert ? expert->expert : 0, full_name});
  }

  // An output's key: `name`, which lasts as long as this, behind what takes the place of its beginning.
  DistOutput WithKey(const Named& named, std::string_view name) {
    const bool is_renamed = !options_.key_from.empty() && name.starts_with(options_.key_from);
    if (is_renamed) name.remove_prefix(options_.key_from.size());
    if (named.prefix.empty() && !is_renamed) return {.name = name, .layers = {}};
    const auto prefix = texts_.insert(fmt::format("{}{}", named.prefix, is_renamed ? options_.key_to : "")).first;
    return {.prefix = &*prefix, .name = name, .layers = {}};
  }

  // A layer's tensor: the `experts` parts from `part` on as one, or where there are none that part.
  static Result<Tensor> LayerOf(const Part* part, uint64_t experts) {
    if (experts == 0) return *part->tensor;
    std::vector<Tensor> all;
    for (uint64_t expert = 0; expert < experts; ++expert) {
      const Tensor& one = *part[expert].tensor;
      Shape shape = one.shape();
      shape.insert(shape.begin(), 1);
      ANEMONE_ASSIGN(Tensor thick, one.Reshape(std::move(shape)));
      all.push_back(std::move(thick));
    }
    return Tensor::Concat(std::move(all), 0);
  }

  // True where every layer has all of its parts, in order, and they are alike.
  static bool IsUniform(const Named& named, std::span<const Part> parts, uint64_t layers) {
    const uint64_t each = std::max<uint64_t>(named.experts, 1);
    if (parts.size() != layers * each) return false;
    const Part& first = parts[0];
    for (uint64_t i = 0; i < parts.size(); ++i) {
      const Part& part = parts[i];
      if (part.layer != i / each || part.expert != i % each || (part.tensor == nullptr) != (first.tensor == nullptr))
        return false;
      if (part.tensor &&
          (part.tensor->dtype() != first.tensor->dtype() || part.tensor->shape() != first.tensor->shape())) {
        return false;
      }
    }
    return true;
  }

  Status Emit(const Named& named, std::span<const Part> parts) {
    const uint64_t layers = named.stacked ? layer_counts_[std::string(SplitStackedKey(named.key).prefix)] : 1;
    const bool is_uniform = IsUniform(named, parts, layers), has_experts = named.experts > 0;
    if (has_experts && !is_uniform) {
      return Corrupt(named.stacked ? "expected every layer to have the same experts, found others"
                                   : "expected a layer's experts to be alike, found others");
    }
    const bool stack = named.stacked && is_uniform;
    if (parts[0].tensor && (stack || has_experts)) {
      std::vector<Tensor>& stacked = stacked_.emplace_back();
      for (size_t at = 0; at < parts.size(); at += std::max<uint64_t>(named.experts, 1)) {
        ANEMONE_ASSIGN(Tensor layer, LayerOf(&parts[at], named.experts));
        stacked.push_back(std::move(layer));
      }
      DistOutput& output = outputs_.emplace_back(WithKey(named, named.key));
      output.layers = stacked;
      output.stacked = stack;
      output.flattened = named.flattened;
      output.has_experts = has_experts;
      return {};
    }
    for (const Part& part : parts) {
      std::string_view own = part.name;
      if (has_experts) own = keys_.Keep(fmt::format("{}/shard_{}_{}", named.key, part.expert, named.experts));
      DistOutput& output = outputs_.emplace_back(WithKey(named, stack && !has_experts ? named.key : own));
      if (part.tensor != nullptr) {
        output.layers = {part.tensor, 1};
        output.flattened = named.flattened;
      } else {
        output.object_count = static_cast<uint32_t>(stack ? layers : 1);
        output.object_index = static_cast<uint32_t>(stack ? part.layer : 0);
        output.object = part.object;
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
  std::vector<Part> parts_;  // by the key and the place in it, once all are there
  std::map<std::pair<std::string_view, std::string_view>, size_t> index_;  // keys of several parts, by prefix and key
  std::map<std::string, uint64_t> layer_counts_;
  std::vector<DistOutput> outputs_;
};

// A gated MLP's first layer has twice the rows that its second has columns.
void FindHalves(std::vector<DistOutput>& outputs) {
  internal::TextViewMap<uint64_t> columns;
  for (const DistOutput& output : outputs) {
    if (!output.layers.empty() && output.name.ends_with(".linear_fc2.weight"))
      columns.emplace(output.name, output.layers.front().shape().back());
  }
  constexpr std::string_view kFirst = ".linear_fc1.";
  for (DistOutput& output : outputs) {
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

}  // namespace

std::string DistOutput::key() const {
  const std::string before = prefix == nullptr ? "" : *prefix;
  return before + (object_count == 0 ? std::string(name) : ObjectKey(name, object_index, object_count));
}

Result<DistOutputs> GatherTorchDist(const Checkpoint& checkpoint, const TorchDistOptions& options) {
  const auto gatherer = std::make_shared<Gatherer>(FindStacks(checkpoint), options);
  DistOutputs outputs;
  outputs.texts = gatherer;
  ANEMONE_ASSIGN(outputs.common, GatherTraining(checkpoint, *gatherer));
  for (const StateDict::Item& item : checkpoint.weights().items()) {
    if (item.tensor() != nullptr) {
      gatherer->Add("", item.name, *item.tensor());
    } else if (options.lay_out.extra_state != ExtraState::kDrop) {
      gatherer->Add(item.name, item.opaque()->value.node);
    }
  }
  for (const std::string& name : options.empty_states) gatherer->Add(name, nullptr);
  ANEMONE_ASSIGN(outputs.keys, gatherer->Take());
  FindHalves(outputs.keys);
  std::stable_partition(outputs.keys.begin(), outputs.keys.end(),
                        [](const DistOutput& output) { return output.layers.empty(); });
  return outputs;
}

}  // namespace anemone
