#include "inspect/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "anemone/value.h"
#include "base/read_at_most.h"
#include "edit/model_class.h"
#include "family/family.h"
#include "family/words/config_languages.h"
#include "family/words/model_words.h"
#include "source/canonical.h"

namespace anemone {
namespace {

// Into `sum.weights` and `sum.by_dtype`; answers the entries that are no tensors.
template <typename Sum>
uint64_t Count(const Checkpoint& checkpoint, Sum& sum) {
  uint64_t opaque = 0;
  checkpoint.ForEachDict([&](const StateDict& state) {
    for (const StateDict::Item& item : state.items()) {
      const Tensor* tensor = item.tensor();
      if (tensor == nullptr) {
        ++opaque;
        continue;
      }
      for (Summary::Amount* amount : {&sum.weights, &sum.by_dtype[tensor->dtype()]}) amount->Add(*tensor);
    }
  });
  return opaque;
}

// A starting point for trainers has the keys of a training and nothing under them, or counters at zero.
bool HoldsTrainingState(const Value& training) {
  constexpr std::string_view kKeys[] = {"optimizer_states", "optimizer", "optimizer_state_dict", "lr_schedulers",
                                        "sharded_objects"};
  for (const std::string_view key : kKeys) {
    const ValueNode* node = Lookup(*training.node, key);
    if (node != nullptr && (!node->items.empty() || !node->entries.empty() || !node->appended.empty())) return true;
  }
  const ValueNode* step = Lookup(*training.node, "global_step");
  return step != nullptr && step->kind == ValueNode::Kind::kInt && step->integer > 0;
}

// Where a config says that a part comes from.
std::string Origin(const Checkpoint& checkpoint, const std::string& key) {
  if (key.empty() || !checkpoint.config) return {};
  const Result<ConfigNode> model = NemoModelNode(*checkpoint.config);
  if (!model.ok() || !WordAt(*model, std::string_view(key).substr(0, key.find('.'))).is_map()) return {};
  const std::string value = WordAt(*model, key).AsString().value_or("");
  return fmt::format("{}: {}", key, value.empty() ? "null" : value);
}

std::vector<Summary::Part> CountParts(const Checkpoint& checkpoint, const Family& family, const Dialect& dialect) {
  std::vector<Summary::Part> parts;
  for (const ModelPart& part : family.parts) parts.push_back({part.name, {}, {}});
  if (parts.empty()) return parts;
  const NameMatcher names(dialect);
  checkpoint.ForEachDict([&](const StateDict& dict) {
    const std::string prefix = names.BestPrefix(dict).prefix;
    for (const StateDict::Item& item : dict.items()) {
      const auto match = names.Match(item.name, prefix);
      if (!match || item.tensor() == nullptr) continue;
      const std::string& canonical = names.row(match->row).canonical;
      const auto part = std::ranges::find_if(
          family.parts, [&](const ModelPart& candidate) { return canonical.starts_with(candidate.prefix); });
      if (part != family.parts.end())
        parts[static_cast<size_t>(part - family.parts.begin())].amount.Add(*item.tensor());
    }
  });
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].amount.tensors == 0) parts[i].from = Origin(checkpoint, family.parts[i].from);
  }
  return parts;
}

}  // namespace

std::string PartsAlone(const Summary& summary) {
  std::string stored;
  size_t missing = 0;
  for (const Summary::Part& part : summary.parts) {
    if (part.amount.tensors == 0) {
      ++missing;
    } else {
      stored += (stored.empty() ? "" : " and ") + part.name;
    }
  }
  return missing > 0 ? stored : std::string();
}

void Summary::Amount::Add(const Tensor& tensor) {
  ++tensors;
  elements += tensor.num_elements();
  bytes += tensor.size_bytes();
}

Summary Summarize(const Checkpoint& checkpoint) {
  Summary summary;
  summary.opaque = Count(checkpoint, summary);
  for (const Shard& shard : checkpoint.shards)
    summary.has_training_state |= shard.training && HoldsTrainingState(*shard.training);
  const Family* const family = summary.model.family = FamilyOf(checkpoint, &summary.foreign);
  if (family == nullptr) {
    summary.stored_as = StoredAs(checkpoint);
    return summary;
  }
  if (const Result<const Dialect*> dialect = DetectDialect(checkpoint, *family); dialect.ok()) {
    summary.model.dialect = *dialect;
    summary.parts = CountParts(checkpoint, *family, **dialect);
  }
  return summary;
}

std::string Summary::family() const { return model.family == nullptr ? std::string() : model.family->name; }

std::string Summary::dialect() const { return model.dialect == nullptr ? std::string() : model.dialect->name; }

Result<WholeModel> WholeModelOf(const Checkpoint& checkpoint) {
  WholeModel model;
  Result<Checkpoint> merged = MergedSkeleton(checkpoint);
  if (IsReadFailure(merged.status())) return merged.status();
  if (merged.ok()) {
    model.skeleton = *std::move(merged);
  } else if (merged.status().kind() == ErrorKind::kCorrupt && checkpoint.origin.part_of.empty()) {
    model.misfit = merged.status();
  }
  Count(model.skeleton ? *model.skeleton : checkpoint, model);
  return model;
}

}  // namespace anemone
