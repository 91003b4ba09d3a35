#include "family/mount.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace anemone {
namespace {

// `text` with the tower `from` called `to` in every name: "vision.width, channels" → "vision2.width, channels".
std::string WithTower(const std::string& text, std::string_view from, std::string_view to) {
  std::string result;
  size_t copied = 0;
  for (const std::string_view name : SymbolsIn(text)) {
    const bool is_of_tower = name == from || (name.starts_with(from) && name.substr(from.size()).starts_with('.'));
    if (!is_of_tower) continue;
    const auto start = static_cast<size_t>(name.data() - text.data());
    result += text.substr(copied, start - copied);
    result += to;
    copied = start + from.size();
  }
  return result + text.substr(copied);
}

void Collect(std::string_view text, std::set<std::string, std::less<>>* names) {
  for (const std::string_view name : SymbolsIn(text)) names->emplace(name);
}

template <typename Row>
std::vector<Row> Merge(const std::vector<Row>& first, const std::vector<Row>& second) {
  std::vector<Row> rows = first;
  size_t next = 0;
  for (const Row& row : second) {
    const auto known = std::find_if(rows.begin(), rows.end(), [&](const Row& other) { return other.name == row.name; });
    if (known != rows.end()) {
      next = static_cast<size_t>(known - rows.begin()) + 1;
    } else {
      rows.insert(rows.begin() + static_cast<ptrdiff_t>(next++), row);
    }
  }
  return rows;
}

template <typename Row>
bool Has(const std::vector<Row>& rows, const std::string& name) {
  return std::any_of(rows.begin(), rows.end(), [&](const Row& row) { return row.name == name; });
}

}  // namespace

Mounted Mount(const Family& family, std::string_view dialect, const MountPoint& at) {
  Mounted mounted;
  std::set<std::string, std::less<>> spelled, symbols;
  const std::string tower = at.tower.value_or("");
  const auto here = [&](const std::string& text) { return at.as.empty() ? text : WithTower(text, tower, at.as); };
  for (StoredRow row : family.FindDialect(dialect)->rows) {
    if ((at.tower && row.tower != *at.tower) || !row.name.starts_with(at.below)) continue;
    spelled.insert(row.canonical);
    for (const std::string* text : {&row.when, &row.only, &row.shape, &row.parts}) Collect(*text, &symbols);
    for (const std::string_view key : row.transform->symbols) {
      if (!key.empty()) symbols.insert(InTower(row.tower, key));
    }
    row.name = at.names + row.name;
    if (at.stage) row.stage = *at.stage;
    if (!at.as.empty()) row.tower = at.as;
    for (std::string* text : {&row.canonical, &row.when, &row.only, &row.shape, &row.parts}) *text = here(*text);
    mounted.rows.push_back(std::move(row));
  }
  for (CanonicalRow row : family.canonical) {
    if (!spelled.contains(row.name)) continue;
    for (const std::string* text : {&row.when, &row.shape, &row.tied}) Collect(*text, &symbols);
    if (row.name.find("{i}") != std::string::npos) symbols.insert(InTower(row.tower, "layers"));
    if (!at.as.empty()) row.tower = at.as;
    for (std::string* text : {&row.name, &row.when, &row.shape, &row.copy_of, &row.tied}) *text = here(*text);
    mounted.canonical.push_back(std::move(row));
  }
  for (Symbol symbol : family.symbols) {
    if (!symbols.contains(symbol.name)) continue;
    symbol.name = here(symbol.name);
    mounted.symbols.push_back(std::move(symbol));
  }
  return mounted;
}

Mounted EitherOf(const Mounted& first, const Mounted& second, std::string_view flag) {
  Mounted both{Merge(first.symbols, second.symbols), Merge(first.canonical, second.canonical),
               Merge(first.rows, second.rows)};
  for (CanonicalRow& row : both.canonical) {
    if (!Has(second.canonical, row.name)) row.when = Both(row.when, fmt::format("!{}", flag));
    if (!Has(first.canonical, row.name)) row.when = Both(row.when, flag);
  }
  return both;
}

}  // namespace anemone
