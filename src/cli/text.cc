#include "cli/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/escape_controls.h"

namespace anemone::cli {
namespace {

std::string Scaled(uint64_t value, std::string_view unit, const std::array<std::string_view, 6>& prefixes) {
  if (value < 1000) return fmt::format("{}{}{}", value, unit.empty() ? "" : " ", unit);
  auto scaled = static_cast<double>(value);
  size_t prefix = 0;
  while (scaled >= 999.5 && prefix + 1 < prefixes.size()) {
    scaled /= 1000;
    ++prefix;
  }
  return fmt::format("{:.{}f} {}{}", scaled, scaled < 10 ? 2 : scaled < 100 ? 1 : 0, prefixes[prefix], unit);
}

bool BeginsCharacter(char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }  // of UTF-8

}  // namespace

std::string HumanBytes(uint64_t bytes) { return Scaled(bytes, "B", {"", "k", "M", "G", "T", "P"}); }
std::string Counted(uint64_t count, std::string_view thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

std::string HumanCount(uint64_t count) { return Scaled(count, "", {"", "k", "M", "G", "T", "P"}); }

std::string OneLine(std::string_view text) { return EscapeControls(text, " "); }

size_t Width(std::string_view text) { return static_cast<size_t>(std::ranges::count_if(text, BeginsCharacter)); }

std::string Leading(std::string_view text, size_t columns) {
  size_t end = 0;
  for (; end < text.size(); ++end) {
    if (BeginsCharacter(text[end]) && columns-- == 0) break;
  }
  return std::string(text.substr(0, end));
}

std::vector<Line> LinesOf(std::string_view text) {
  std::vector<Line> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back({text.substr(0, end), text.starts_with("  ")});
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string Wrap(std::string_view text, size_t width, const std::string& indent) {
  std::string out;
  size_t column = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    const bool breaks = column > 0 && column + 1 + Width(word) > width;
    if (column > 0) out += breaks ? "\n" + indent : " ";
    column = breaks || column == 0 ? Width(word) : column + 1 + Width(word);
    out += word;
  }
  return out;
}

std::string Columns(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      text += row[i];
      if (i + 1 < row.size()) text.append(widths[i] + 2 - Width(row[i]), ' ');
    }
    text.resize(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

}  // namespace anemone::cli
