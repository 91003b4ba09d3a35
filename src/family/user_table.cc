#include "family/user_table.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace anemone {
namespace {

std::vector<Symbol> Declared() {
  // Those of one shard are a part of the model's: only a whole checkpoint tells them.
  Symbol layers = Symbol::Size("layers", "layers"), vocab = Symbol::Size("vocab", "rows of the stored embedding"),
         padded = Symbol::Size("padded_vocab", "the same, padded for ranks");
  for (Symbol* symbol : {&layers, &vocab, &padded}) symbol->may_be_unknown = true;
  return {layers, vocab, padded, Symbol::Flag("glu", "rows of 'gate and up' have both")};
}

// Layers counted by name, vocabulary rows as they are stored.
Status ReadUserSymbols(const Checkpoint& checkpoint, const Dialect& dialect, const TranslateOptions&,
                       ModelSymbols* symbols) {
  symbols->Set("glu", 1);
  if (checkpoint.layout != Layout{} || checkpoint.shards.size() != 1) return {};
  const NameMatcher matcher(dialect);
  const StateDict& weights = checkpoint.weights();
  const std::string prefix = matcher.BestPrefix(weights).prefix;
  uint64_t layers = 0;
  for (const StateDict::Item& item : weights.items()) {
    const auto hit = matcher.Match(item.name, prefix);
    if (!hit) continue;
    if (hit->captures.layer) layers = std::max(layers, *hit->captures.layer + 1);
    const bool table =
        matcher.row(hit->row).split == Split::kVocab && item.tensor() != nullptr && !item.tensor()->shape().empty();
    if (table) symbols->Set("vocab", item.tensor()->shape()[0]);
  }
  symbols->Set("layers", layers);
  return {};
}

Result<Split> ParseSplit(const std::string& word) {
  for (const Split split : {Split::kReplicated, Split::kColumns, Split::kRows, Split::kVocab, Split::kGlu}) {
    if (Name(split) == word) return split;
  }
  return Corrupt(
      fmt::format("split: expected replicated, columns, rows, vocabulary or 'gate and up', found '{}'", word));
}

Result<Stage> ParseStage(const std::string& word) {
  for (const Stage stage : {Stage::kFirst, Stage::kLast, Stage::kEvery}) {
    if (Name(stage) == word) return stage;
  }
  return Corrupt(fmt::format("stage: expected first, last or every, found '{}'", word));
}

Result<StoredRow> ParseRow(const ConfigNode& node) {
  constexpr std::array<std::string_view, 4> kKeys = {"name", "split", "stage", "opaque"};
  if (!node.is_map()) return Corrupt("expected a map, found something else");
  for (const auto& [key, value] : node.map) {
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end())
      return Corrupt(fmt::format("expected name, split, stage or opaque, found '{}'", key));
  }
  const auto word = [&](std::string_view key) {
    const ConfigNode* child = node.Get(key);
    return child == nullptr ? std::string() : child->AsString().value_or(child->ScalarText());
  };
  StoredRow row;
  row.name = word("name");
  if (row.name.empty()) return Corrupt("name: expected a tensor's name, found nothing");
  const bool in_layer = row.name.find("{i}") != std::string::npos;
  if (const std::string split = word("split"); !split.empty()) {
    ANEMONE_ASSIGN(row.split, ParseSplit(split));
  }
  row.stage = in_layer ? Stage::kLayer : Stage::kEvery;
  if (const std::string stage = word("stage"); !stage.empty()) {
    if (in_layer) return Corrupt("stage: expected none for a name with {i}, which lies on its layer's");
    ANEMONE_ASSIGN(row.stage, ParseStage(stage));
  }
  const ConfigNode* opaque = node.Get("opaque");
  if (opaque != nullptr && opaque->AsBool().value_or(false)) row.role = Role::kExtraState;
  return row;
}

}  // namespace

Result<std::shared_ptr<const Family>> ParseUserTable(const Config& table) {
  auto family = std::make_shared<Family>();
  family->name = family->title = "user";
  family->has_virtual_stages = true;
  family->symbols = Declared();
  family->read_symbols = ReadUserSymbols;
  Dialect dialect{"user", "the table given", {}, {}, true};
  const ConfigNode* prefixes = table.Find("prefixes");
  if (prefixes != nullptr && prefixes->is_list()) {
    for (const ConfigNode& prefix : prefixes->list) dialect.prefixes.push_back(prefix.AsString().value_or(""));
  }
  if (dialect.prefixes.empty()) dialect.prefixes.emplace_back();
  const ConfigNode* rows = table.Find("rows");
  if (rows == nullptr || !rows->is_list() || rows->list.empty())
    return Corrupt("rows: expected a list of rows, found none");
  for (size_t i = 0; i < rows->list.size(); ++i) {
    auto row = ParseRow(rows->list[i]);
    if (!row.ok()) return row.status().In(fmt::format("rows[{}]", i));
    dialect.rows.push_back(*std::move(row));
  }
  // No name may belong to two rows.
  const NameMatcher matcher(dialect);
  for (size_t r = 0; r < dialect.rows.size(); ++r) {
    const auto hit = matcher.Match(matcher.pattern(r).Fill(0, 0));
    if (!hit || hit->row != r)
      return Corrupt(fmt::format("rows[{}]: expected a name of its own, found {} also in rows[{}]", r,
                                 dialect.rows[r].name, hit ? hit->row : r));
  }
  family->dialects.push_back(std::move(dialect));
  return std::shared_ptr<const Family>(std::move(family));
}

}  // namespace anemone
