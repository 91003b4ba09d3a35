#include "family/describe.h"

#include <fmt/format.h>

namespace anemone {
namespace {

std::string Cell(const Dialect& dialect, const CanonicalRow& canonical) {
  std::string cell;
  for (const StoredRow& row : dialect.rows) {
    if (row.canonical != canonical.name || row.stage == Stage::kTiedCopy) continue;
    if (!cell.empty()) cell += "<br>";
    cell += fmt::format("`{}`", row.name);
    if (row.transform != &kSame) cell += fmt::format(" ({})", row.transform->name);
    if (row.when == kReadOnly) {
      cell += " (read only)";
    } else if (!row.when.empty() || !row.only.empty()) {
      cell += fmt::format(" (if `{}`)", row.only.empty() ? row.when : row.only);
    }
  }
  return cell;
}

}  // namespace

std::string DescribeFamily(const Family& family) {
  std::string text = "| canonical | shape |", rule = "| --- | --- |";
  for (const Dialect& dialect : family.dialects) {
    text += fmt::format(" {} |", dialect.name);
    rule += " --- |";
  }
  text += "\n" + rule + "\n";
  for (const CanonicalRow& row : family.canonical) {
    text += fmt::format("| `{}` | `[{}]` |", row.name, row.shape);
    for (const Dialect& dialect : family.dialects) text += fmt::format(" {} |", Cell(dialect, row));
    text += "\n";
  }
  for (const Dialect& dialect : family.dialects) {
    if (!dialect.is_megatron) continue;
    text += fmt::format("\n### Ranks and stages: {}\n\n| name | split | stage |\n| --- | --- | --- |\n", dialect.name);
    for (const StoredRow& row : dialect.rows) {
      if (row.canonical.empty() || row.when == kReadOnly) continue;
      text +=
          fmt::format("| `{}{}` | {} | {} |\n", dialect.prefixes.front(), row.name, Name(row.split), Name(row.stage));
    }
  }
  return text;
}

}  // namespace anemone
