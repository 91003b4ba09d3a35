// SelectTensors: the user's last word on which tensors are written, and under which names.
//
// Before:  tensors have the names that are written, a shard for each rank.
// After:   what no pattern selects, or one drops, is gone; names are as asked.
// Notes:   how many tensors are left, where some went.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "convert/pass.h"

namespace anemone {
namespace {

// What each `*` of `pattern` stands for in `name`, as many characters as can be; nullopt where it does not match.
std::optional<std::vector<std::string_view>> MatchGlob(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) {
    return pattern == name ? std::optional(std::vector<std::string_view>()) : std::nullopt;
  }
  if (!name.starts_with(pattern.substr(0, star))) return std::nullopt;
  for (size_t length = name.size() - star + 1; length-- > 0;) {
    auto rest = MatchGlob(pattern.substr(star + 1), name.substr(star + length));
    if (!rest) continue;
    rest->insert(rest->begin(), name.substr(star, length));
    return rest;
  }
  return std::nullopt;
}

bool MatchesAny(const std::vector<std::string>& patterns, std::string_view name) {
  return std::ranges::any_of(patterns,
                             [name](const std::string& pattern) { return MatchGlob(pattern, name).has_value(); });
}

// `pattern` with its stars filled in.
std::string Fill(std::string_view pattern, const std::vector<std::string_view>& stars) {
  std::string filled;
  auto star = stars.begin();
  for (const char c : pattern) {
    if (c == '*') {
      filled += *star++;
    } else {
      filled += c;
    }
  }
  return filled;
}

// Stars in a row try each way to divide a name: few are allowed.
Status CheckPattern(std::string_view option, const std::string& pattern) {
  constexpr auto kMostStars = 4;
  if (!pattern.empty() && std::ranges::count(pattern, '*') <= kMostStars) return {};
  return WrongOption(option, fmt::format("expected a name with at most {} * in it, found '{}'", kMostStars, pattern));
}

Status CheckOptions(const ConvertOptions& options) {
  for (const std::string& pattern : options.select) ANEMONE_TRY(CheckPattern("select", pattern));
  for (const std::string& pattern : options.drop) ANEMONE_TRY(CheckPattern("drop", pattern));
  for (const auto& [from, to] : options.rename) {
    ANEMONE_TRY(CheckPattern("rename", from));
    if (std::ranges::count(from, '*') != std::ranges::count(to, '*') || to.empty()) {
      return WrongOption("rename",
                         fmt::format("expected as many * in the new name as in the old, found '{}={}'", from, to));
    }
  }
  return {};
}

std::string Renamed(const ConvertOptions& options, const std::string& name) {
  for (const auto& [from, to] : options.rename) {
    if (const auto stars = MatchGlob(from, name)) return Fill(to, *stars);
  }
  return name;
}

uint64_t CountTensors(const StateDict& state) {
  return static_cast<uint64_t>(
      std::ranges::count_if(state.items(), [](const StateDict::Item& item) { return item.tensor() != nullptr; }));
}

Result<StateDict> Selected(const ConvertOptions& options, const StateDict& state) {
  StateDict selected;
  for (const StateDict::Item& item : state.items()) {
    if (!options.select.empty() && !MatchesAny(options.select, item.name)) continue;
    if (MatchesAny(options.drop, item.name)) continue;
    ANEMONE_TRY(selected.Add(Renamed(options, item.name), item.entry).OfOption("rename"));
  }
  return selected;
}

}  // namespace

Status SelectTensors(Work& work) {
  const ConvertOptions& options = work.options;
  if (options.select.empty() && options.drop.empty() && options.rename.empty()) return {};
  ANEMONE_TRY(CheckOptions(options));
  // Who reads a model by its config finds all of its tensors, under its names.
  if (options.strict && work.traits().language != ConfigLanguage::kNone && work.result().config) {
    return Unsupported(fmt::format("a {} is read by its config: expected all of its tensors", work.format->title),
                       "a safetensors file needs no config")
        .Use("strict", "false", "write it all the same");
  }
  work.LeaveTraining("the optimizer's states are those of all tensors");
  uint64_t before = 0, after = 0;
  for (Shard& shard : work.result().shards) {
    std::vector<StateDict*> states = {&shard.weights};
    for (StateDict& chunk : shard.chunks) states.push_back(&chunk);
    for (StateDict* state : states) {
      before += CountTensors(*state);
      ANEMONE_ASSIGN(*state, Selected(options, *state));
      after += CountTensors(*state);
    }
  }
  if (after == 0) return NotFound("no tensor is left", "* stands for any characters; inspect lists the names");
  if (after < before) work.Note(fmt::format("{} of {} tensors are written", after, before));
  return {};
}

}  // namespace anemone
