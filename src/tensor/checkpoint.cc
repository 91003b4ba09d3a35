#include "anemone/checkpoint.h"

namespace anemone {

Status StateDict::Add(std::string name, Entry entry) {
  if (!index_.emplace(name, items_.size()).second) return Corrupt("expected distinct names, found it twice").In(name);
  items_.push_back({std::move(name), std::move(entry)});
  return {};
}

const StateDict::Item* StateDict::Find(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  return found == index_.end() ? nullptr : &items_[found->second];
}

const Artifact* Checkpoint::FindArtifact(std::string_view name) const {
  for (const Artifact& artifact : artifacts) {
    if (artifact.name == name) return &artifact;
  }
  return nullptr;
}

}  // namespace anemone
