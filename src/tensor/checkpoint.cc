#include "anemone/checkpoint.h"

#include <algorithm>

#include "base/text_hash.h"

namespace anemone {

// A hash table of the items' places: a name is kept once, and its place takes at most sixteen bytes.
struct StateDict::Table {
  std::vector<Item> items;
  std::vector<uint32_t> slots;  // the place of an item + 1; 0: free. A power of two of them, at most half in use

  size_t SlotOf(std::string_view name) const {
    size_t slot = internal::HashOf(name) & (slots.size() - 1);
    while (slots[slot] != 0 && items[slots[slot] - 1].name != name) slot = (slot + 1) & (slots.size() - 1);
    return slot;
  }
  void Grow() {
    slots.assign(std::max<size_t>(16, 2 * slots.size()), 0);
    for (size_t i = 0; i < items.size(); ++i) slots[SlotOf(items[i].name)] = static_cast<uint32_t>(i + 1);
  }
};

namespace {

// Null for None.
std::shared_ptr<const Opaque> Held(Opaque opaque) {
  const bool is_none = opaque.form == Opaque::Form::kNone && opaque.value.node == nullptr && !opaque.holds_data;
  return is_none ? nullptr : std::make_shared<const Opaque>(std::move(opaque));
}

}  // namespace

Entry::Entry(Opaque opaque) : held_(Held(std::move(opaque))) {}

const Opaque* Entry::opaque() const {
  static const Opaque none;
  const auto* held = std::get_if<std::shared_ptr<const Opaque>>(&held_);
  if (held == nullptr) return nullptr;
  return *held == nullptr ? &none : held->get();
}

const std::vector<StateDict::Item>& StateDict::items() const {
  static const std::vector<Item> none;
  return table_ != nullptr ? table_->items : none;
}

Status StateDict::Add(std::string name, Entry entry) {
  if (table_ == nullptr) {
    table_ = std::make_shared<Table>();
  } else if (table_.use_count() > 1) {
    table_ = std::make_shared<Table>(*table_);
  }
  if (table_->items.size() == UINT32_MAX) return LimitExceeded("expected at most 2^32 - 1 names, found more");
  if (2 * (table_->items.size() + 1) > table_->slots.size()) table_->Grow();
  uint32_t& slot = table_->slots[table_->SlotOf(name)];
  if (slot != 0) return Corrupt("expected distinct names, found it twice").In(name);
  name.shrink_to_fit();  // one that was put together has room for more
  table_->items.push_back({std::move(name), std::move(entry)});
  slot = static_cast<uint32_t>(table_->items.size());
  return {};
}

const StateDict::Item* StateDict::Find(std::string_view name) const {
  if (table_ == nullptr) return nullptr;
  const uint32_t place = table_->slots[table_->SlotOf(name)];
  return place == 0 ? nullptr : &table_->items[place - 1];
}

std::map<std::string, std::string> Origin::ToMetadata() const {
  std::map<std::string, std::string> words;
  if (!part_of.empty()) words["part_of"] = part_of;
  if (!training_file.empty()) words["ckpt_name"] = training_file;
  if (!distributed) return words;
  words["sharded_backend"] = distributed->backend;
  if (distributed->has_flat_optimizer) words["optimizer_flattened"] = "true";
  if (distributed->has_chained_optimizer) words["optimizer_chained"] = "true";
  for (const std::string& prefix : distributed->layer_stacks) {
    std::string& stacks = words["layer_stacks"];
    stacks.append(stacks.empty() ? "" : ",").append(prefix);
  }
  return words;
}

const Artifact* Checkpoint::FindArtifact(std::string_view name) const {
  for (const Artifact& artifact : artifacts) {
    if (artifact.name == name) return &artifact;
  }
  return nullptr;
}

}  // namespace anemone
