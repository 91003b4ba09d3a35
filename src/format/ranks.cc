#include "format/ranks.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "tensor/layout_text.h"

namespace anemone {
namespace {

constexpr int kMaxRank = 1'000'000;

bool TakeWord(std::string_view& text, std::string_view word) {
  if (text.substr(0, word.size()) != word) return false;
  text.remove_prefix(word.size());
  return true;
}

bool TakeNumber(std::string_view& text, size_t min_digits, int& number) {
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  if (digits < min_digits) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, number);
  if (error != std::errc() || number > kMaxRank) return false;
  text.remove_prefix(digits);
  return true;
}

}  // namespace

std::optional<RankFolder> ParseRankFolder(std::string_view name) {
  RankFolder folder;
  if (TakeWord(name, "mp_rank_")) {
    if (!TakeNumber(name, 2, folder.tp)) return std::nullopt;
  } else if (!TakeWord(name, "tp_rank_") || !TakeNumber(name, 2, folder.tp) || !TakeWord(name, "_pp_rank_") ||
             !TakeNumber(name, 3, folder.pp)) {
    return std::nullopt;
  }
  if (TakeWord(name, "_fsdp_shard_")) {
    folder.fsdp = true;
    int shard = 0;
    if (!TakeNumber(name, 1, shard)) return std::nullopt;
  }
  return name.empty() ? std::optional(folder) : std::nullopt;
}

std::string RankFolderName(const Layout& layout, int tp_rank, int pp_rank) {
  if (layout.pp > 1) return fmt::format("tp_rank_{:02}_pp_rank_{:03}", tp_rank, pp_rank);
  if (layout.tp > 1) return fmt::format("mp_rank_{:02}", tp_rank);
  return "";
}

Result<RankSet> ArrangeRanks(const std::vector<std::string>& names) {
  RankSet set;
  std::map<std::pair<int, int>, std::string> by_rank;  // (pp, tp)
  bool has_pipeline = false;
  for (const std::string& name : names) {
    const auto folder = ParseRankFolder(name);
    if (!folder) return Internal(fmt::format("{} is no rank folder", name));
    if (folder->fsdp) return Unsupported(fmt::format("[NEMO-9] FSDP shards ({})", name));
    has_pipeline |= name[0] == 't';
    if (!by_rank.emplace(std::pair(folder->pp, folder->tp), name).second) {
      return Corrupt(
          fmt::format("[NEMO-8] two folders for one rank: {} and {}", by_rank[{folder->pp, folder->tp}], name));
    }
    set.layout.tp = std::max(set.layout.tp, folder->tp + 1);
    set.layout.pp = std::max(set.layout.pp, folder->pp + 1);
  }
  const uint64_t expected = static_cast<uint64_t>(set.layout.tp) * static_cast<uint64_t>(set.layout.pp);
  if (by_rank.size() != expected) {
    std::string missing;
    int shown = 0;
    for (int pp = 0; pp < set.layout.pp && shown < 8; ++pp) {
      for (int tp = 0; tp < set.layout.tp && shown < 8; ++tp) {
        if (by_rank.count({pp, tp}) != 0) continue;
        missing += shown++ == 0 ? " " : ", ";
        missing += has_pipeline ? fmt::format("tp_rank_{:02}_pp_rank_{:03}", tp, pp) : fmt::format("mp_rank_{:02}", tp);
      }
    }
    return Corrupt(
        fmt::format("[NEMO-8] expected {} ranks ({}), found {}; missing:{}{}", expected, LayoutText(set.layout),
                    by_rank.size(), missing, expected - by_rank.size() > 8 ? " …" : ""),
        "every rank's folder is needed: copy the missing ones here");
  }
  for (auto& [rank, name] : by_rank) set.folders.push_back(std::move(name));
  return set;
}

void CompareLayout(Checkpoint& checkpoint) {
  if (!checkpoint.config) return;
  const auto size = [&](std::string_view key) {
    const ConfigNode* node = checkpoint.config->Find(key);
    const auto value = node == nullptr ? std::nullopt : node->AsInt();
    return value.value_or(1);
  };
  const int64_t tp = size("tensor_model_parallel_size"), pp = size("pipeline_model_parallel_size");
  if (tp == checkpoint.layout.tp && pp == checkpoint.layout.pp) return;
  checkpoint.notes.push_back(fmt::format("{} says TP {} × PP {}, the files are {}: the files are believed",
                                         checkpoint.config_name, tp, pp, LayoutText(checkpoint.layout)));
}

}  // namespace anemone
