#include "edit/ema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/value.h"
#include "edit/rewrite.h"
#include "parallel/optimizer.h"
#include "source/source.h"

namespace anemone {
namespace {

constexpr std::string_view kExtension = ".ckpt";

const ValueList* Items(const ValueNode* node) {
  if (node == nullptr) return nullptr;
  return node->kind == ValueNode::Kind::kList || node->kind == ValueNode::Kind::kTuple ? &node->items : nullptr;
}

// The first optimizer's state where it carries the averages [NeMo nemo/collections/common/callbacks/ema.py
// EMAOptimizer.state_dict].
const ValueNode* EmaOptimizer(const Shard& shard) {
  const ValueNode* states = shard.training ? Lookup(*shard.training->node, "optimizer_states") : nullptr;
  const ValueList* list = Items(states);
  if (list == nullptr || list->empty()) return nullptr;
  return Items(Lookup(*list->front(), "ema")) != nullptr ? list->front() : nullptr;
}

// Lightning's WeightAveraging saves the averages as state_dict, and the weights of the training beside them
// [lightning 2.6 pytorch/callbacks/weight_averaging.py, on_save_checkpoint].
bool IsAveraged(const Shard& shard) {
  return shard.training && Lookup(*shard.training->node, "averaging_state") != nullptr;
}

// How many parameters each of the optimizer's groups has; empty when it does not say.
std::vector<size_t> GroupSizes(const ValueNode& optimizer) {
  const ValueNode* inner = Lookup(optimizer, "opt");
  if (const ValueNode* nested = inner == nullptr ? nullptr : Lookup(*inner, "optimizer")) inner = nested;
  const ValueList* groups = inner == nullptr ? nullptr : Items(Lookup(*inner, "param_groups"));
  std::vector<size_t> sizes;
  if (groups == nullptr) return sizes;
  for (const ValueNode* group : *groups) {
    const ValueList* parameters = Items(Lookup(*group, "params"));
    sizes.push_back(parameters == nullptr ? 0 : parameters->size());
  }
  return sizes;
}

using Places = std::vector<std::pair<size_t, size_t>>;  // of a rank's parameters: (state dict, item), in its order

// The averages' places, in their order, where `rule` makes groups of those sizes whose shapes are theirs.
std::optional<Places> Order(const std::vector<StateDict*>& dicts, const ValueList& averages,
                            const std::vector<size_t>& sizes, DecayRule rule) {
  std::array<Places, 2> groups;
  for (size_t d = 0; d < dicts.size(); ++d) {
    const auto& items = dicts[d]->items();
    for (size_t i = 0; i < items.size(); ++i) {
      const Tensor* tensor = items[i].tensor();
      if (tensor != nullptr && IsFloating(tensor->dtype()))
        groups[DecayGroupOf(items[i].name, rule)].emplace_back(d, i);
    }
  }
  std::vector<size_t> found;
  for (const Places& group : groups) {
    if (!group.empty()) found.push_back(group.size());
  }
  if (!sizes.empty() && found != sizes) return std::nullopt;
  Places order = std::move(groups[0]);
  order.insert(order.end(), groups[1].begin(), groups[1].end());
  if (order.size() != averages.size()) return std::nullopt;
  for (size_t i = 0; i < order.size(); ++i) {
    const Tensor* tensor = dicts[order[i].first]->items()[order[i].second].tensor();
    if (averages[i]->kind != ValueNode::Kind::kTensor || averages[i]->tensor->shape() != tensor->shape()) {
      return std::nullopt;
    }
  }
  return order;
}

// The rank's weights, each parameter replaced by its average.
Status TakeAverages(const ValueNode& optimizer, Shard& shard) {
  const ValueList& averages = *Items(Lookup(optimizer, "ema"));
  std::vector<StateDict*> dicts;
  if (!shard.weights.empty()) dicts.push_back(&shard.weights);
  for (StateDict& chunk : shard.chunks) dicts.push_back(&chunk);
  const std::vector<size_t> sizes = GroupSizes(optimizer);
  std::optional<Places> order;
  for (const DecayRule rule : {DecayRule::kAll, DecayRule::kAllButBiases, DecayRule::kNorBiasNorNorm}) {
    if (!order) order = Order(dicts, averages, sizes, rule);
  }
  if (!order) {
    return Unsupported(fmt::format("optimizer_states.0.ema: expected a tensor for each parameter, in the order of the "
                                   "optimizer's groups, found {} tensors of other shapes or number",
                                   averages.size()),
                       "NeMo's checkpoint callback saves them with names, as NAME-EMA.ckpt");
  }
  std::vector<std::vector<const Tensor*>> chosen(dicts.size());
  for (size_t d = 0; d < dicts.size(); ++d) chosen[d].resize(dicts[d]->size());
  for (size_t i = 0; i < order->size(); ++i) chosen[(*order)[i].first][(*order)[i].second] = &*averages[i]->tensor;
  for (size_t d = 0; d < dicts.size(); ++d) {
    StateDict averaged;
    for (size_t i = 0; i < dicts[d]->size(); ++i) {
      const StateDict::Item& item = dicts[d]->items()[i];
      ANEMONE_TRY(averaged.Add(item.name, chosen[d][i] != nullptr ? Entry(*chosen[d][i]) : item.entry));
    }
    *dicts[d] = std::move(averaged);
  }
  return {};
}

}  // namespace

Result<Checkpoint> OpenEma(const std::string& source, const ProgressFn& progress) {
  std::string stem = source;
  if (stem.ends_with(kExtension)) stem.resize(stem.size() - kExtension.size());
  if (stem.ends_with("-EMA")) return OpenSource(source, progress);
  const std::string path = stem + "-EMA" + std::string(kExtension);
  if (source.ends_with(kExtension)) {
    Result<Checkpoint> averaged = OpenSource(path, progress);
    if (averaged.ok()) averaged->notes.push_back("EMA weights from " + path);
    if (averaged.ok() || averaged.status().kind() != ErrorKind::kNotFound) return averaged;
  }
  ANEMONE_ASSIGN(Checkpoint checkpoint, OpenSource(source, progress));
  if (std::ranges::all_of(checkpoint.shards, IsAveraged)) {
    checkpoint.notes.push_back(
        "state_dict holds the EMA weights; the key current_model_state has those of the training");
    return checkpoint;
  }
  for (Shard& shard : checkpoint.shards) {
    const ValueNode* optimizer = EmaOptimizer(shard);
    if (optimizer == nullptr) {
      return NotFound("it holds no EMA weights", "expected them in " + path + " or in optimizer_states").In(source);
    }
    ANEMONE_TRY(TakeAverages(*optimizer, shard).In(source));
    shard.training.reset();  // it belongs to the weights of the training
  }
  checkpoint.notes.push_back("EMA weights from optimizer_states");
  return checkpoint;
}

}  // namespace anemone
