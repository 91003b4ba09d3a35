#include "cli/help.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "cli/text.h"

namespace anemone::cli {
namespace {

// Left column, right column: wrapped, the left one at most a third of the width.
std::string Rows(const std::vector<std::pair<std::string, std::string>>& rows, size_t width) {
  constexpr size_t kMostLeft = 26;
  size_t left = 0;
  for (const auto& [name, text] : rows) {
    if (Width(name) <= std::min(kMostLeft, width / 3)) left = std::max(left, Width(name));
  }
  std::string out;
  for (const auto& [name, text] : rows) {
    out += "  " + name;
    const std::string indent(left + 4, ' ');
    out += Width(name) > left ? "\n" + indent : std::string(left + 2 - Width(name), ' ');
    out += Wrap(text, width - std::min(width, indent.size()), indent) + "\n";
  }
  return out;
}

std::string OptionRows(const std::vector<OptionInfo>& options, const std::string& topic, size_t width) {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const OptionInfo& option : options) {
    if (!topic.empty() && option.topic != topic) continue;
    const std::vector<std::string> values = ValuesOf(option.argument);
    if (values.empty() || Width(Joined(option)) + 2 <= width / 2) {
      rows.emplace_back(Joined(option), option.help);
      continue;
    }
    OptionInfo brief = option;
    brief.argument = "VALUE";
    rows.emplace_back(Joined(brief), fmt::format("{}: {}", option.help, fmt::join(values, ", ")));
  }
  return Rows(rows, width);
}

// Paragraphs wrapped; lines that begin with two blanks stay.
std::string Paragraphs(std::string_view text, size_t width) {
  std::string out, paragraph;
  const auto end_paragraph = [&] {
    if (!paragraph.empty()) out += Wrap(paragraph, width, "") + "\n";
    paragraph.clear();
  };
  for (const auto& [line, is_code] : LinesOf(text)) {
    if (line.empty() || is_code) {
      end_paragraph();
      out.append(line).append("\n");
    } else {
      paragraph.append(paragraph.empty() ? "" : " ").append(line);
    }
  }
  end_paragraph();
  return out;
}

}  // namespace

std::string HelpText(const CommandInfo& command, const CommandInfo& program, size_t width) {
  const bool is_program = command.name == program.name;
  std::string text = Wrap(command.summary + ".", width, "") + "\n\nUsage: " + (is_program ? "" : "anemone ") +
                     Wrap(Usage(command), width - 7, "       ") + "\n";
  if (is_program) text += "       anemone help COMMAND\n";
  if (!command.details.empty()) text += "\n" + Paragraphs(command.details, width);
  if (!command.below.empty()) {
    std::vector<std::pair<std::string, std::string>> rows;
    for (const CommandInfo& below : command.below) {
      rows.emplace_back(below.name.substr(below.name.rfind(' ') + 1), below.summary);
    }
    text += "\nCommands:\n" + Rows(rows, width);
  }
  if (!command.positionals.empty()) text += "\nArguments:\n" + OptionRows(command.positionals, "", width);
  for (const std::string& topic : Topics(command.options))
    text += "\n" + topic + ":\n" + OptionRows(command.options, topic, width);
  if (!is_program) {
    for (const std::string& topic : Topics(program.options))
      text += "\n" + topic + ":\n" + OptionRows(program.options, topic, width);
  }
  if (!command.examples.empty()) {
    text += "\nExamples:\n";
    for (const Line& line : LinesOf(command.examples)) text.append("  ").append(line.text).append("\n");
  }
  return text;
}

size_t TextWidth() {
  constexpr size_t kLeast = 40, kUsual = 80, kMost = 120;
  size_t width = 0;
  if (const char* columns = std::getenv("COLUMNS")) width = std::strtoul(columns, nullptr, 10);
  winsize size{};
  if (width == 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) width = size.ws_col;
  return std::clamp(width == 0 ? kUsual : width, kLeast, kMost);
}

}  // namespace anemone::cli
