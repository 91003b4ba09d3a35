#include "source/wrappers.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "family/family.h"
#include "format/format.h"

namespace anemone {
namespace {

// Attributes in which a wrapper keeps the module it wraps; no module of a model is called so.
constexpr std::string_view kInner[] = {"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
                                       "_forward_module."};
constexpr std::string_view kDataParallel = "module.";
constexpr int kMaxDepth = 8;  // of the attribute that holds the model

std::vector<StateDict*> DictsOf(Checkpoint& checkpoint) {
  std::vector<StateDict*> dicts;
  for (Shard& shard : checkpoint.shards) {
    dicts.push_back(&shard.weights);
    for (StateDict& chunk : shard.chunks) dicts.push_back(&chunk);
  }
  return dicts;
}

template <typename Visit>
void ForEachName(Checkpoint& checkpoint, const Visit& visit) {
  for (const StateDict* dict : DictsOf(checkpoint)) {
    for (const StateDict::Item& item : dict->items()) visit(item.name);
  }
}

Status Rename(Checkpoint& checkpoint, const std::function<std::string(const std::string&)>& rename) {
  for (StateDict* dict : DictsOf(checkpoint)) {
    StateDict renamed;
    for (const StateDict::Item& item : dict->items()) ANEMONE_TRY(renamed.Add(rename(item.name), item.entry));
    *dict = std::move(renamed);
  }
  return {};
}

Status TakeOff(Checkpoint& checkpoint, const std::string& prefix) {
  return Rename(checkpoint,
                [&](const std::string& name) { return name.starts_with(prefix) ? name.substr(prefix.size()) : name; });
}

std::string WithoutInner(std::string name) {
  for (const std::string_view inner : kInner) {
    for (size_t at = name.find(inner); at != std::string::npos; at = name.find(inner, at)) {
      if (at == 0 || name[at - 1] == '.') {
        name.erase(at, inner.size());
      } else {
        at += inner.size();
      }
    }
  }
  return name;
}

// torch's AveragedModel counts beside its module what it has averaged.
Status TakeOutCounter(Checkpoint& checkpoint) {
  constexpr std::string_view kCounter = "n_averaged";
  bool is_averaged = true, is_counted = false;
  ForEachName(checkpoint, [&](const std::string& name) {
    is_counted |= name == kCounter;
    is_averaged &= name == kCounter || name.starts_with(kDataParallel);
  });
  if (!is_averaged || !is_counted) return {};
  for (StateDict* dict : DictsOf(checkpoint)) {
    StateDict module;
    for (const StateDict::Item& item : dict->items()) {
      if (item.name != kCounter) ANEMONE_TRY(module.Add(item.name, item.entry));
    }
    *dict = std::move(module);
  }
  checkpoint.notes.push_back("n_averaged is left out: the counter of torch's AveragedModel");
  return {};
}

// `prefix` and the next word of most names that begin with it, "a.b."; "" when there is none. Names that differ cancel
// each other in pairs: what more than half have is left [Boyer and Moore, MJRTY].
std::string NextPrefix(Checkpoint& checkpoint, const std::string& prefix) {
  const auto start_of = [&](const std::string& name) {
    const size_t dot = name.starts_with(prefix) ? name.find('.', prefix.size()) : std::string::npos;
    return dot == std::string::npos ? std::string_view() : std::string_view(name).substr(0, dot + 1);
  };
  std::string_view most;
  size_t left = 0, all = 0, with_most = 0;
  ForEachName(checkpoint, [&](const std::string& name) {
    const std::string_view start = start_of(name);
    if (left == 0) most = start;
    left += start == most ? 1 : -1;
    ++all;
  });
  ForEachName(checkpoint, [&](const std::string& name) { with_most += start_of(name) == most ? 1 : 0; });
  return 2 * with_most > all ? std::string(most) : std::string();
}

}  // namespace

Result<std::string> SeveralModels(const Checkpoint& checkpoint) {
  constexpr size_t kMost = 8;
  std::map<std::string, StateDict> modules;
  const bool takes_key = TraitsOf(checkpoint).has_key && !TraitsOf(checkpoint).reads_fixed_names;
  if (!takes_key || checkpoint.shards.size() != 1 || !checkpoint.shards[0].chunks.empty()) return std::string();
  for (const StateDict::Item& item : checkpoint.shards[0].weights.items()) {
    const size_t dot = item.name.find('.');
    if (dot == std::string::npos) continue;
    StateDict& module = modules[item.name.substr(0, dot)];
    ANEMONE_TRY(module.Add(item.name.substr(dot + 1), item.entry));
    if (modules.size() > kMost) return std::string();
  }
  std::string found;
  size_t models = 0;
  for (auto& [name, weights] : modules) {
    Checkpoint inside = checkpoint;
    const size_t tensors = weights.size();
    inside.shards[0].weights = std::move(weights);
    if (DetectFamily(inside) == nullptr) continue;
    found += fmt::format("{}\"{}.\" ({} tensors)", models++ == 0 ? "" : ", ", name, tensors);
  }
  if (models < 2) return std::string();
  return fmt::format("several models, by how names begin: {}: without the dot, each is a key that chooses it", found);
}

Status WithSeveralModels(const Status& unknown, const Checkpoint& checkpoint) {
  if (unknown.ok()) return unknown;
  ANEMONE_ASSIGN(const std::string several, SeveralModels(checkpoint));
  return several.empty() ? unknown : Status(unknown.kind(), unknown.error().what, several);
}

Status TakeOffWrappers(Checkpoint* checkpoint) {
  size_t names = 0, inner = 0;
  ForEachName(*checkpoint, [&](const std::string& name) {
    ++names;
    inner += WithoutInner(name) != name ? 1 : 0;
  });
  if (names == 0) return {};
  if (inner > 0) {
    ANEMONE_TRY(Rename(*checkpoint, WithoutInner));
    checkpoint->notes.push_back(
        fmt::format("{} names hold what torch.compile and other wrappers put into them: it is taken out", inner));
  }
  ANEMONE_TRY(TakeOutCounter(*checkpoint));
  const auto all_start_with = [&](std::string_view prefix) {
    bool all = true;
    ForEachName(*checkpoint, [&](const std::string& name) { all = all && name.starts_with(prefix); });
    return all;
  };
  while (all_start_with(kDataParallel)) {
    ANEMONE_TRY(TakeOff(*checkpoint, std::string(kDataParallel)));
    checkpoint->notes.push_back("every name begins with \"module.\": read without it");
  }
  // In a folder of several models, names begin with theirs.
  const FormatTraits& traits = TraitsOf(*checkpoint);
  if (traits.reads_fixed_names && !traits.has_key) return {};
  if (DetectFamily(*checkpoint) != nullptr) return {};
  ANEMONE_ASSIGN(std::string several, SeveralModels(*checkpoint));
  if (!several.empty()) {
    checkpoint->notes.push_back(std::move(several));
    return {};
  }
  std::string prefix;
  for (int depth = 0; depth < kMaxDepth; ++depth) {
    prefix = NextPrefix(*checkpoint, prefix);
    if (prefix.empty()) return {};
    Checkpoint inside = *checkpoint;
    ANEMONE_TRY(TakeOff(inside, prefix));
    if (DetectFamily(inside) == nullptr) continue;
    *checkpoint = std::move(inside);
    checkpoint->notes.push_back(fmt::format("the model's names begin with \"{}\": read without it", prefix));
    return {};
  }
  return {};
}

}  // namespace anemone
