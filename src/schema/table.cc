#include "schema/table.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "schema/pattern.h"

namespace anemone {
namespace {

std::string Replace(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::array<std::string*, 6> TextsOf(CanonicalRow& row) {
  return {&row.name, &row.shape, &row.when, &row.copy_of, &row.tied, &row.why};
}
std::array<std::string*, 8> TextsOf(StoredRow& row) {
  return {&row.name, &row.canonical, &row.when, &row.why, &row.shape, &row.only, &row.parts, &row.first_layer};
}

template <typename Row>
void PutWords(const Words& words, Row* row) {
  for (std::string* text : TextsOf(*row)) {
    for (const auto& [from, to] : words) *text = Replace(*text, from, to);
  }
}

template <typename Row>
std::vector<Row> RowsForTower(std::string_view tower, std::vector<Row> rows, const Words& words) {
  for (Row& row : rows) {
    PutWords(words, &row);
    for (std::string* text : TextsOf(row)) *text = TowerText(tower, std::move(*text));
    row.tower = tower;
  }
  return rows;
}

template <typename Row>
std::vector<Row> RowsForPlaces(const std::vector<Words>& places, const std::vector<Row>& rows) {
  std::vector<Row> all;
  for (const Words& words : places) {
    for (Row row : rows) {
      PutWords(words, &row);
      all.push_back(std::move(row));
    }
  }
  return all;
}

bool Repeats(std::string_view name) { return name.find("{i}") != std::string_view::npos; }

// Calls `visit(begin, end)` for each run of rows that repeat together.
template <typename Row, typename Visit>
Status ForEachRun(const std::vector<Row>& rows, Visit visit) {
  for (size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    end = begin + 1;
    while (Repeats(rows[begin].name) && end < rows.size() && rows[end].tower == rows[begin].tower &&
           Repeats(rows[end].name)) {
      ++end;
    }
    ANEMONE_TRY(visit(begin, end));
  }
  return {};
}

}  // namespace

std::string TowerText(std::string_view tower, std::string text) {
  if (tower.empty()) text = Replace(std::move(text), "{T}.", "");
  return Replace(std::move(text), "{T}", tower);
}

std::vector<Symbol> ForTower(std::string_view tower, std::vector<Symbol> symbols) {
  for (Symbol& symbol : symbols) symbol.name = TowerText(tower, std::move(symbol.name));
  return symbols;
}
std::vector<CanonicalRow> ForTower(std::string_view tower, std::vector<CanonicalRow> rows, const Words& words) {
  return RowsForTower(tower, std::move(rows), words);
}
std::vector<StoredRow> ForTower(std::string_view tower, std::vector<StoredRow> rows, const Words& words) {
  return RowsForTower(tower, std::move(rows), words);
}

StoredRow CopyOf(std::string name, std::string_view canonical, std::string_view only) {
  return {.name = std::move(name),
          .canonical = std::string(canonical),
          .role = Role::kDropCopy,
          .why = "it is stored under another name",
          .only = std::string(only)};
}

std::vector<CanonicalRow> ForPlaces(const std::vector<Words>& places, const std::vector<CanonicalRow>& rows) {
  return RowsForPlaces(places, rows);
}
std::vector<StoredRow> ForPlaces(const std::vector<Words>& places, const std::vector<StoredRow>& rows) {
  return RowsForPlaces(places, rows);
}

Status ForEachStored(const Dialect& dialect, const std::function<uint64_t(const std::string& tower)>& layers,
                     const std::function<Status(size_t row, uint64_t layer)>& visit) {
  return ForEachRun(dialect.rows, [&](size_t begin, size_t end) -> Status {
    const StoredRow& first = dialect.rows[begin];
    const uint64_t count = Repeats(first.name) ? layers(first.tower) : 1;
    for (uint64_t layer = 0; layer < count; ++layer) {
      for (size_t r = begin; r < end; ++r) ANEMONE_TRY(visit(r, layer));
    }
    return {};
  });
}

Status ForEachCanonical(const std::vector<CanonicalRow>& rows,
                        const std::function<Result<uint64_t>(const std::string& tower)>& layers,
                        const std::function<Status(size_t row, uint64_t layer)>& visit) {
  return ForEachRun(rows, [&](size_t begin, size_t end) -> Status {
    uint64_t count = 1;
    if (Repeats(rows[begin].name)) {
      ANEMONE_ASSIGN(count, layers(rows[begin].tower));
    }
    for (uint64_t layer = 0; layer < count; ++layer) {
      for (size_t r = begin; r < end; ++r) ANEMONE_TRY(visit(r, layer));
    }
    return {};
  });
}

Status ForEachTensor(const std::vector<CanonicalRow>& rows, const ModelSymbols& symbols,
                     const std::function<Status(std::string name, const Shape& shape)>& visit) {
  std::vector<Pattern> patterns;
  patterns.reserve(rows.size());
  for (const CanonicalRow& row : rows) patterns.emplace_back(row.name);
  return ForEachCanonical(
      rows, [&](const std::string& tower) { return symbols.Of(tower, "layers"); },
      [&](size_t index, uint64_t layer) -> Status {
        const CanonicalRow& row = rows[index];
        const Pattern& pattern = patterns[index];
        ANEMONE_ASSIGN(const bool has,
                       symbols.Holds(row.when, pattern.has_layer() ? std::optional(layer) : std::nullopt));
        if (!has) return {};
        ANEMONE_ASSIGN(const Shape shape, symbols.Evaluate(row.shape));
        return visit(pattern.Fill(layer, 0), shape);
      });
}

bool IsReplicated(const Dialect& dialect) {
  return std::ranges::all_of(
      dialect.rows, [](const StoredRow& row) { return row.split == Split::kReplicated && row.stage == Stage::kEvery; });
}

ConfigLanguage LanguageOf(const Dialect& dialect) {
  const bool is_nemo1 = dialect.is_megatron && dialect.language == ConfigLanguage::kNone;
  return is_nemo1 ? ConfigLanguage::kNemo1 : dialect.language;
}

std::string Both(std::string_view a, std::string_view b) {
  if (a.empty() || b.empty()) return std::string(a.empty() ? b : a);
  return fmt::format("{} & {}", a, b);
}

std::string_view Name(Split split) {
  constexpr std::array<std::string_view, 9> kNames = {"replicated",
                                                      "columns",
                                                      "rows",
                                                      "vocabulary",
                                                      "heads",
                                                      "heads (k, v)",
                                                      "gate and up",
                                                      "each expert's columns",
                                                      "each expert's rows"};
  return kNames[static_cast<size_t>(split)];
}

std::string_view Name(Stage stage) {
  constexpr std::array<std::string_view, 5> kNames = {"its layer's", "first", "last", "every", "last, a copy"};
  return kNames[static_cast<size_t>(stage)];
}

}  // namespace anemone
