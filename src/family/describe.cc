#include "family/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "family/words/hf_architectures.h"

namespace anemone {
namespace {

// "model.layers.{layers + i}.eh_proj.weight" where a tower's layers are counted behind others.
std::string NameOf(const StoredRow& row) {
  constexpr std::string_view kLayer = "{i}";
  std::string name = row.name;
  if (const size_t at = name.find(kLayer); at != std::string::npos && !row.first_layer.empty())
    name.replace(at, kLayer.size(), fmt::format("{{{} + i}}", row.first_layer));
  return name;
}

std::string Cell(const Dialect& dialect, const CanonicalRow& canonical) {
  std::string cell;
  for (const StoredRow& row : dialect.rows) {
    if (row.canonical != canonical.name || row.stage == Stage::kTiedCopy) continue;
    if (!cell.empty()) cell += "<br>";
    cell += fmt::format("`{}`", NameOf(row));
    if (row.role == Role::kCopy) cell += " (a copy)";
    if (row.transform != &kSame) cell += fmt::format(" ({})", row.transform->name);
    if (row.when == kReadOnly) {
      cell += " (read only)";
    } else if (!row.when.empty() || !row.only.empty()) {
      cell += fmt::format(" (if `{}`)", row.only.empty() ? row.when : row.only);
    }
  }
  return cell;
}

// Lines that differ in numbers alone, of which there are many: the first of them, and how many are like it.
std::string WithoutRepeats(const std::vector<std::string>& lines) {
  constexpr size_t kFew = 6;
  const auto form = [](std::string line) {
    std::erase_if(line, [](char c) { return c >= '0' && c <= '9'; });
    return line;
  };
  std::map<std::string, size_t> counts;
  for (const std::string& line : lines) ++counts[form(line)];
  std::string text;
  for (std::string line : lines) {
    size_t& count = counts[form(line)];
    if (count == 0) continue;
    if (count > kFew) {
      line.insert(line.find("` |") + 1, fmt::format(" and {} alike", count - 1));
      count = 0;
    }
    text += line;
  }
  return text;
}

// More columns than this are not read beside each other.
constexpr size_t kMostColumns = 5;

// A table of its own for a dialect of which there are many.
std::string DescribeDialect(const Family& family, const Dialect& dialect) {
  std::string text =
      fmt::format("\n### {}: {}\n\n| canonical | {} |\n| --- | --- |\n", dialect.name, dialect.title, dialect.name);
  for (const CanonicalRow& row : family.canonical) {
    const std::string cell = Cell(dialect, row);
    if (!cell.empty()) text += fmt::format("| `{}` | {} |\n", row.name, cell);
  }
  return text;
}

}  // namespace

std::string DescribeFamily(const Family& family) {
  std::vector<const Dialect*> columns, apart;
  for (const Dialect& dialect : family.dialects) {
    const bool is_column = family.dialects.size() <= kMostColumns || dialect.is_megatron;
    (is_column ? columns : apart).push_back(&dialect);
  }
  std::string text = "| canonical | shape |", rule = "| --- | --- |";
  for (const Dialect* dialect : columns) {
    text += fmt::format(" {} |", dialect->name);
    rule += " --- |";
  }
  text += "\n" + rule + "\n";
  std::vector<std::string> lines;
  for (const CanonicalRow& row : family.canonical) {
    std::string& line = lines.emplace_back(fmt::format("| `{}` | `[{}]` |", row.name, row.shape));
    for (const Dialect* dialect : columns) line += fmt::format(" {} |", Cell(*dialect, row));
    line += "\n";
  }
  text += WithoutRepeats(lines);
  for (const Dialect* dialect : apart) text += DescribeDialect(family, *dialect);
  for (const Dialect& dialect : family.dialects) {
    if (!dialect.is_megatron || IsReplicated(dialect)) continue;
    text += fmt::format("\n### Ranks and stages: {}\n\n| name | split | stage |\n| --- | --- | --- |\n", dialect.name);
    lines.clear();
    for (const StoredRow& row : dialect.rows) {
      if (row.canonical.empty() || row.when == kReadOnly) continue;
      lines.push_back(
          fmt::format("| `{}{}` | {} | {} |\n", dialect.prefixes.front(), row.name, Name(row.split), Name(row.stage)));
    }
    text += WithoutRepeats(lines);
  }
  return text;
}

std::string DescribeHfArchitectures() {
  std::string text =
      "| class | `model_type` | dialect | computes, whatever its keys say |\n| --- | --- | --- | --- |\n";
  for (const HfArchitecture& architecture : HfArchitectures()) {
    text += fmt::format("| `{}` | `{}` | `{}` | `{}` |\n", architecture.name, architecture.model_type,
                        architecture.dialect, architecture.implied);
  }
  text += "\n| NeMo 1's word | key of config.json |\n| --- | --- |\n";
  std::vector<std::string_view> words;
  for (const HfArchitecture& architecture : HfArchitectures()) {
    for (const HfKey& key : HfKeysOf(architecture)) {
      if (std::find(words.begin(), words.end(), key.word) == words.end()) words.push_back(key.word);
    }
  }
  for (const std::string_view word : words) {
    std::vector<std::string> spellings;
    for (const HfArchitecture& architecture : HfArchitectures()) {
      const std::string_view key = HfKeyOf(architecture, word);
      const std::string spelled = key.empty() ? "" : fmt::format("`{}`", key);
      if (!key.empty() && std::find(spellings.begin(), spellings.end(), spelled) == spellings.end())
        spellings.push_back(spelled);
    }
    text += fmt::format("| `{}` | {} |\n", word, fmt::join(spellings, ", "));
  }
  return text;
}

}  // namespace anemone
