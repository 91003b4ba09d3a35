#include "convert/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "base/text_hash.h"

namespace anemone {
namespace {

// Scalars and empty nodes by path ("optim.sched.min_lr"); lists are values of their own.
void Collect(const ConfigNode& node, const std::string& path, std::map<std::string, const ConfigNode*>& values) {
  if (!node.is_map() || node.map.empty()) {
    values[path] = &node;
    return;
  }
  for (const auto& [key, child] : node.map)
    Collect(child, path.empty() ? key : fmt::format("{}.{}", path, key), values);
}

std::map<std::string, const ConfigNode*> ValuesOf(const Checkpoint& checkpoint) {
  std::map<std::string, const ConfigNode*> values;
  if (checkpoint.config) Collect(checkpoint.config->root(), "", values);
  return values;
}

std::vector<std::string> ChangedKeys(const Checkpoint& before, const Checkpoint& after) {
  const auto was = ValuesOf(before), is = ValuesOf(after);
  std::vector<std::string> keys;
  for (const auto& [path, node] : is) {
    const auto old = was.find(path);
    if (old == was.end() || Config(*old->second).ToJson() != Config(*node).ToJson()) keys.push_back(path);
  }
  for (const auto& [path, node] : was) {
    if (!is.contains(path)) keys.push_back(path);
  }
  std::ranges::sort(keys);
  return keys;
}

std::set<std::string> ArtifactsOf(const Checkpoint& checkpoint) {
  std::set<std::string> names;
  for (const Artifact& artifact : checkpoint.artifacts) names.insert(artifact.name);
  return names;
}

std::vector<std::string> Without(const std::set<std::string>& names, const std::set<std::string>& others) {
  std::vector<std::string> rest;
  std::ranges::set_difference(names, others, std::back_inserter(rest));
  return rest;
}

// What a name stores on all ranks together; null for what is no tensor.
using Entries = internal::TextViewMap<const Tensor*>;
Entries EntriesOf(const Checkpoint& checkpoint) {
  Entries entries;
  checkpoint.ForEachDict([&](const StateDict& state) {
    for (const StateDict::Item& item : state.items()) entries.emplace(item.name, item.tensor());
  });
  return entries;
}

bool HasTraining(const Checkpoint& checkpoint) {
  return std::ranges::any_of(checkpoint.shards, [](const Shard& shard) { return shard.training.has_value(); });
}

}  // namespace

PassReport Compare(const Checkpoint& before, const Checkpoint& after) {
  PassReport report;
  const Entries was = EntriesOf(before), is = EntriesOf(after);
  for (const auto& [name, tensor] : is) {
    const auto old = was.find(name);
    if (old == was.end()) {
      ++report.names_added;
    } else if (tensor != nullptr && old->second != nullptr) {
      report.recast += tensor->dtype() != old->second->dtype() ? 1 : 0;
      report.reshaped += tensor->shape() != old->second->shape() ? 1 : 0;
    }
  }
  report.names_removed =
      static_cast<uint64_t>(std::ranges::count_if(was, [&](const auto& entry) { return !is.contains(entry.first); }));
  report.names = is.size();
  report.config_keys = ChangedKeys(before, after);
  report.artifacts_added = Without(ArtifactsOf(after), ArtifactsOf(before));
  report.artifacts_removed = Without(ArtifactsOf(before), ArtifactsOf(after));
  if (before.layout != after.layout || before.shards.size() != after.shards.size()) report.layout = after.layout;
  report.drops_training = HasTraining(before) && !HasTraining(after);
  return report;
}

std::vector<std::string> AllNotes(const Conversion& conversion) {
  std::vector<std::string> notes = conversion.notes;
  std::set<std::string_view> told(conversion.notes.begin(), conversion.notes.end());
  for (const Checkpoint* checkpoint : {&conversion.source, &conversion.result}) {
    for (const std::string& note : checkpoint->notes) {
      if (told.insert(note).second) notes.push_back(note);
    }
  }
  return notes;
}

}  // namespace anemone
