#include "format/dist/present.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text_hash.h"
#include "format/optimizer_state.h"
#include "format/torch/extra_state.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr size_t kMaxChained = 64;  // optimizers
constexpr std::string_view kOptimizer = "optimizer.";
constexpr std::string_view kOptimizerState = "optimizer.state.";
constexpr std::string_view kChained = "chained_";

// An optimizer's tensor: the optimizer's number in a chain, 0 without one.
struct OptimizerKey {
  std::string whole;
  size_t chained_bytes = 0;  // of "chained_1."
  size_t member = 0;
  bool is_chained() const { return chained_bytes > 0; }
  std::string_view rest() const { return std::string_view(whole).substr(chained_bytes); }
};
std::optional<OptimizerKey> ReadOptimizerKey(const std::string& whole) {
  OptimizerKey result{.whole = whole};
  std::string_view key = whole;
  if (key.starts_with(kChained)) {
    const std::string_view number = key.substr(kChained.size());
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), result.member);
    if (error != std::errc() || result.member >= kMaxChained || !std::string_view(end, number.end()).starts_with('.'))
      return std::nullopt;
    key = std::string_view(end + 1, number.end());
    result.chained_bytes = whole.size() - key.size();
  }
  return key.starts_with(kOptimizer) ? std::optional(std::move(result)) : std::nullopt;
}

// Gives stored tensors and objects the names by which they are shown.
class Presenter {
 public:
  Presenter(const PresentOptions& options, Value common)
      : megatron_(options.is_megatron), listed_(options.lists_objects), training_(std::move(common)) {
    if (training_.graph == nullptr) training_.graph = std::make_shared<ValueGraph>();
    if (Pairs(training_.node) == nullptr) training_.node = training_.graph->New(Kind::kDict);
  }

  Status Present(DistMetadata stored) {
    std::deque<DistItem>& items = stored.items;
    for (; !items.empty(); items.pop_front()) ANEMONE_TRY(Sort(items.front()).In(items.front().key));
    // A stack's layers stand where its first key stood, layer by layer: the order in which modules list their
    // parameters.
    for (; !slots_.empty(); slots_.pop_front()) {
      Slot& slot = slots_.front();
      if (!slot.stack) {
        ANEMONE_TRY(AddWeight(std::move(slot.name), std::move(*slot.entry)));
        continue;
      }
      for (size_t layer = 0; layer < slot.stack->layers.size(); ++layer) {
        for (auto& [suffix, entry] : slot.stack->layers[layer]) {
          ANEMONE_TRY(AddWeight(fmt::format("{}.{}.{}", slot.name, layer, suffix), std::move(entry)));
        }
      }
    }
    return PresentOptimizer();
  }

  // REQUIRES: Present() was called, once.
  void Finish(Shard& shard, DistributedOrigin& origin) {
    shard.weights = std::move(weights_);
    if (!Pairs(training_.node)->empty()) shard.training = std::move(training_);
    for (const auto& [prefix, stack] : stacks_) origin.layer_stacks.push_back(prefix);
    origin.has_flat_optimizer = flattened_;
    origin.has_chained_optimizer = IsChained();
  }

 private:
  struct Stack {
    std::vector<std::vector<std::pair<std::string_view, Entry>>> layers;  // by suffixes_
  };
  struct Slot {
    std::string name;  // of the weight, or the stack's prefix
    std::optional<Entry> entry;
    std::shared_ptr<Stack> stack;
  };

  Status Sort(DistItem& entry) {
    if (auto* tensor = std::get_if<DistTensor>(&entry.content)) {
      if (auto key = ReadOptimizerKey(entry.key); megatron_ && key) {
        flattened_ = flattened_ || tensor->original_shape != nullptr;
        optimizer_.emplace_back(*std::move(key), std::move(*tensor));
        return {};
      }
      if (!megatron_ && IsTrainingPath(entry.path)) {
        ANEMONE_ASSIGN(Tensor whole, AssembleWhole(*tensor));
        return Nest(entry.path, NewTensor(*training_.graph, std::move(whole)));
      }
      return SortWeight(entry.key, *tensor);
    }
    return SortObject(entry, std::get<DistObject>(entry.content).value);
  }

  Status SortWeight(std::string& key, const DistTensor& tensor) {
    const LayerKey parts = megatron_ ? SplitStackedKey(key) : LayerKey{};
    if (parts.prefix.empty() || !IsStackOfLayers(tensor)) {
      ANEMONE_ASSIGN(Tensor whole, AssembleWhole(tensor));
      slots_.push_back({std::move(key), std::move(whole), nullptr});
      return {};
    }
    const std::string_view suffix = *suffixes_.emplace(parts.suffix).first;
    Stack& stack = StackOf(parts.prefix);
    if (stack.layers.size() < tensor.shape->front()) stack.layers.resize(tensor.shape->front());
    for (uint64_t layer = 0; layer < tensor.shape->front(); ++layer) {
      ANEMONE_ASSIGN(Tensor thin, AssembleLayer(tensor, layer));
      stack.layers[layer].emplace_back(suffix, std::move(thin));
    }
    return {};
  }

  Status SortObject(const DistItem& entry, const Value& value) {
    if (!megatron_) return Nest(entry.path, CopyValue(value.node, *training_.graph), entry.key);
    const auto shard = SplitObjectKey(entry.key);
    const std::string_view name = shard ? shard->key : std::string_view(entry.key);
    if (!name.ends_with("_extra_state")) {
      // Other objects are kept as they are: states of random number generators, optimizers in buckets.
      SetKey(*training_.graph, Child(*training_.graph, training_.node, "sharded_objects"), entry.key,
             CopyValue(Unlisted(value.node), *training_.graph));
      return {};
    }
    Opaque opaque = ToOpaque(value, Unlisted(value.node));
    const LayerKey parts = SplitStackedKey(name);
    if (parts.prefix.empty()) {
      slots_.push_back({IsOnly(shard) ? std::string(name) : entry.key, std::move(opaque), nullptr});
      return {};
    }
    if (!shard) return Corrupt("[TD-11] expected an object key that ends in /shard_<offsets>_<sizes>");
    const uint64_t layer = shard->offsets[0];
    if (layer >= kMaxLayers || (!shard->shape.empty() && layer >= shard->shape[0])) {
      return Corrupt(fmt::format("[TD-11] expected a layer below {}, found {}",
                                 shard->shape.empty() ? kMaxLayers : shard->shape[0], layer));
    }
    // Experts are a second axis; its index stays in the name.
    std::string suffix(parts.suffix);
    if (shard->offsets.size() > 1 && shard->shape.size() > 1 && shard->shape[1] > 1) {
      suffix += fmt::format("/shard_{}_{}", shard->offsets[1], shard->shape[1]);
    }
    Stack& stack = StackOf(parts.prefix);
    if (stack.layers.size() <= layer) stack.layers.resize(layer + 1);
    stack.layers[layer].emplace_back(*suffixes_.insert(std::move(suffix)).first, std::move(opaque));
    return {};
  }

  Stack& StackOf(std::string_view prefix) {
    const auto it = stacks_.find(prefix);
    if (it != stacks_.end()) return *it->second;
    const auto stack = std::make_shared<Stack>();
    stacks_.emplace(prefix, stack);
    slots_.push_back({std::string(prefix), std::nullopt, stack});
    return *stack;
  }

  // `use` of a tensor, or of each of the experts that it holds.
  template <typename Use>
  Status ForEachExpert(const std::string& key, const Tensor& tensor, Use use) {
    if (!megatron_ || !IsExpertsKey(key) || tensor.shape().size() < 2) return use(key, tensor);
    for (uint64_t expert = 0; expert < tensor.shape()[0]; ++expert) {
      ANEMONE_ASSIGN(const Tensor one, tensor.Narrow(0, expert, 1));
      ANEMONE_ASSIGN(Tensor matrix, one.Reshape(Shape(one.shape().begin() + 1, one.shape().end())));
      ANEMONE_TRY(use(ExpertNameOf(key, expert), std::move(matrix)));
    }
    return {};
  }

  Status AddWeight(std::string name, Entry entry) {
    if (!megatron_ || !IsExpertsKey(name)) return weights_.Add(std::move(name), std::move(entry));
    if (const Tensor* tensor = entry.tensor()) {
      return ForEachExpert(name, *tensor,
                           [&](const std::string& own, Tensor part) { return weights_.Add(own, std::move(part)); });
    }
    // An expert's extra state is one of several shards.
    const auto shard = SplitObjectKey(name);
    const bool is_one = shard && !shard->offsets.empty();
    return weights_.Add(is_one ? ExpertNameOf(shard->key, shard->offsets.back()) : ExpertNameOf(name, 0),
                        std::move(entry));
  }

  bool IsChained() const {
    return std::ranges::any_of(optimizer_, [](const auto& entry) { return entry.first.is_chained(); });
  }

  // The dicts of the optimizers that the keys number. They are made where the common values have none.
  Result<std::vector<ValueRef>> Optimizers() {
    ValueGraph& graph = *training_.graph;
    size_t needed = 0;
    for (const auto& [key, tensor] : optimizer_) needed = std::max(needed, key.member + 1);
    std::vector<ValueRef> optimizers = FindOptimizers(training_.node);
    if (optimizers.empty()) {
      const ValueRef list = graph.New(Kind::kList), chain = graph.New(Kind::kDict);
      for (size_t member = 0; member < needed; ++member) optimizers.push_back(graph.New(Kind::kDict));
      for (size_t member = 0; member < needed; ++member)
        chain->items.insert(chain->items.end(), {NewInt(graph, static_cast<int64_t>(member)), optimizers[member]});
      list->items.push_back(IsChained() ? chain : optimizers[0]);
      SetKey(graph, training_.node, "optimizer_states", list);
    }
    if (optimizers.size() < needed) {
      return Corrupt(fmt::format("[TD-12] expected {} chained optimizers, found {} in the common values", needed,
                                 optimizers.size()));
    }
    return optimizers;
  }

  // optimizer.state.exp_avg.<parameter> → state[parameter]["exp_avg"].
  Status PresentOptimizer() {
    if (optimizer_.empty()) return {};
    ValueGraph& graph = *training_.graph;
    ANEMONE_ASSIGN(const std::vector<ValueRef> optimizers, Optimizers());
    std::vector<internal::TextMap<ValueRef>> parameters(optimizers.size());
    // Newer versions of Megatron-core name no member.
    const bool has_experts_apart = optimizers.size() == 2 && !IsChained();
    const auto put = [&](size_t member, std::string_view parameter, std::string_view kind, Tensor tensor) {
      if (has_experts_apart && IsOfExperts(parameter)) member = 1;
      ValueRef& dict = parameters[member][std::string(parameter)];
      if (dict == nullptr) {
        dict = graph.New(Kind::kDict);
        SetKey(graph, Child(graph, optimizers[member], "state"), parameter, dict);
      }
      SetKey(graph, dict, kind, NewTensor(graph, std::move(tensor)));
    };
    const auto put_experts = [&](size_t member, const std::string& parameter, std::string_view kind,
                                 const Tensor& tensor) {
      return ForEachExpert(parameter, tensor, [&](const std::string& name, Tensor part) {
        put(member, name, kind, std::move(part));
        return Status();
      });
    };
    for (const auto& [key, tensor] : optimizer_) {
      const std::string_view rest = key.rest();
      const size_t dot =
          rest.starts_with(kOptimizerState) ? rest.find('.', kOptimizerState.size()) : std::string_view::npos;
      if (dot == std::string_view::npos) {
        ANEMONE_ASSIGN(Tensor whole, AssembleWhole(tensor));
        put(key.member, rest, "tensor", std::move(whole));
        continue;
      }
      const std::string_view kind = rest.substr(kOptimizerState.size(), dot - kOptimizerState.size());
      const std::string_view parameter = rest.substr(dot + 1);
      const LayerKey parts = SplitStackedKey(parameter);
      if (parts.prefix.empty() || !IsStackOfLayers(tensor)) {
        auto whole = AssembleWhole(tensor);
        if (!whole.ok()) return whole.status().In(key.whole);
        ANEMONE_TRY(put_experts(key.member, std::string(parameter), kind, *whole));
        continue;
      }
      for (uint64_t layer = 0; layer < tensor.shape->front(); ++layer) {
        auto thin = AssembleLayer(tensor, layer);
        if (!thin.ok()) return thin.status().In(key.whole);
        ANEMONE_TRY(put_experts(key.member, fmt::format("{}.{}.{}", parts.prefix, layer, parts.suffix), kind, *thin));
      }
    }
    return {};
  }

  // Below these steps a trainer keeps its own tensors, at the top or in one object that holds all (PyTorch's "app",
  // Composer's "state").
  static bool IsTrainingPath(const std::vector<DistStep>& path) {
    static constexpr std::string_view kSteps[] = {"optimizer",        "optim",     "optimizers", "optimizer_state",
                                                  "optimizer_states", "scheduler", "schedulers", "lr_scheduler",
                                                  "train_state",      "rng"};
    const auto is_training = [](const DistStep& step) {
      const auto* name = std::get_if<std::string>(&step);
      return name != nullptr && std::ranges::find(kSteps, *name) != std::end(kSteps);
    };
    return (path.size() > 1 && is_training(path[0])) || (path.size() > 2 && is_training(path[1]));
  }

  static bool IsOnly(const std::optional<ObjectShard>& shard) {
    if (!shard) return true;
    return std::ranges::all_of(shard->offsets, [](uint64_t v) { return v == 0; }) &&
           std::ranges::all_of(shard->shape, [](uint64_t v) { return v == 1; });
  }

  ValueRef Unlisted(ValueRef node) const {
    return listed_ && node->kind == Kind::kList && node->items.size() == 1 ? node->items[0] : node;
  }

  // Puts a value at a path of the training dictionary. Lists come out as dicts with integer keys.
  Status Nest(const std::vector<DistStep>& path, ValueRef value, std::string_view key = {}) {
    ValueGraph& graph = *training_.graph;
    ValueRef at = training_.node;
    if (path.empty()) return Nest({std::string(key)}, value);
    for (size_t i = 0; i < path.size(); ++i) {
      const bool last = i + 1 == path.size();
      // Keyed by the path so far, so that a thousand entries of one dict cost no thousand searches.
      std::string so_far;
      for (size_t j = 0; j <= i; ++j) {
        if (const auto* word = std::get_if<std::string>(&path[j])) {
          so_far += 's' + *word;
        } else {
          so_far += 'i' + std::to_string(std::get<int64_t>(path[j]));
        }
        so_far += '\0';
      }
      const auto [it, added] = nested_.emplace(so_far, nullptr);
      if (!added && (last || Pairs(it->second) == nullptr))
        return Corrupt("[TD-9] expected distinct paths, found two values at one");
      if (added) {
        it->second = last ? value : graph.New(Kind::kDict);
        ValueRef name = nullptr;
        if (const auto* word = std::get_if<std::string>(&path[i])) {
          name = NewString(graph, *word);
        } else {
          name = NewInt(graph, std::get<int64_t>(path[i]));
        }
        Pairs(at)->push_back(name);
        Pairs(at)->push_back(it->second);
      }
      at = it->second;
    }
    return {};
  }

  static constexpr uint64_t kMaxLayers = 100'000;
  bool megatron_, listed_, flattened_ = false;
  Value training_;
  StateDict weights_;
  std::set<std::string> suffixes_;
  std::deque<Slot> slots_;
  std::map<std::string, std::shared_ptr<Stack>, std::less<>> stacks_;  // by prefix
  std::vector<std::pair<OptimizerKey, DistTensor>> optimizer_;
  internal::TextMap<ValueRef> nested_;
};

}  // namespace

Status PresentDist(DistMetadata stored, Value common, const PresentOptions& options, Shard& shard,
                   DistributedOrigin& origin) {
  Presenter presenter(options, std::move(common));
  ANEMONE_TRY(presenter.Present(std::move(stored)));
  presenter.Finish(shard, origin);
  return {};
}

}  // namespace anemone
