#include "anemone/checkpoint.h"

#include <algorithm>
#include <utility>

#include "base/text_hash.h"

namespace anemone {

// A hash table of the items' places: a name is kept once, and its place takes at most sixteen bytes.
struct StateDict::Table {
  struct Slot {
    uint32_t place = 0;  // of an item, + 1; 0: free
    uint32_t hash = 0;   // of its name, which tells most other names without a look at them
  };
  std::vector<Item> items;
  std::vector<Slot> slots;  // at most three quarters in use

  static uint32_t HashOf(std::string_view name) { return static_cast<uint32_t>(internal::HashOf(name)); }
  // Where a search for names of this hash begins.
  size_t FirstSlot(uint32_t hash) const { return static_cast<size_t>((uint64_t{hash} * slots.size()) >> 32); }
  size_t NextSlot(size_t slot) const { return slot + 1 == slots.size() ? 0 : slot + 1; }
  size_t SlotOf(std::string_view name, uint32_t hash) const {
    const auto is_other = [&](const Slot& slot) { return slot.hash != hash || items[slot.place - 1].name != name; };
    size_t slot = FirstSlot(hash);
    while (slots[slot].place != 0 && is_other(slots[slot])) slot = NextSlot(slot);
    return slot;
  }
  void Grow() {
    const std::vector<Slot> old = std::exchange(slots, std::vector<Slot>(std::max<size_t>(16, slots.size() * 3 / 2)));
    for (const Slot& taken : old) {
      if (taken.place == 0) continue;
      size_t slot = FirstSlot(taken.hash);
      while (slots[slot].place != 0) slot = NextSlot(slot);
      slots[slot] = taken;
    }
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
  if (4 * (table_->items.size() + 1) > 3 * table_->slots.size()) table_->Grow();
  const uint32_t hash = Table::HashOf(name);
  Table::Slot& slot = table_->slots[table_->SlotOf(name, hash)];
  if (slot.place != 0) return Corrupt("expected distinct names, found it twice").In(name);
  name.shrink_to_fit();  // one that was put together has room for more
  table_->items.push_back({std::move(name), std::move(entry)});
  slot = {static_cast<uint32_t>(table_->items.size()), hash};
  return {};
}

const StateDict::Item* StateDict::Find(std::string_view name) const {
  if (table_ == nullptr) return nullptr;
  const uint32_t place = table_->slots[table_->SlotOf(name, Table::HashOf(name))].place;
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
