#include "cli/manual.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <algorithm>

#include "cli/describe.h"
#include "cli/text.h"

namespace anemone::cli {
namespace {

std::string Roff(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\') {
      escaped += "\\\\";
    } else if (c == '-') {
      escaped += "\\-";
    } else if ((c == '.' || c == '\'') && (escaped.empty() || escaped.back() == '\n')) {
      escaped += std::string("\\&") + c;
    } else {
      escaped += c;
    }
  }
  return escaped;
}

constexpr std::string_view kManExits =
    ".SH EXIT STATUS\n0 success, 1 a difference, problem or finding was reported, 64 usage, 65 bad data, 66 no input, "
    "69 service unavailable, 70 internal error, 71 out of memory, 73 cannot create output, 74 input or output error, "
    "130 interrupted, 143 terminated.\n";
constexpr std::string_view kManEnvironment =
    ".SH ENVIRONMENT\nHF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_TOKEN as huggingface_hub reads them; COLUMNS, the "
    "width of help; NO_COLOR, which turns colors off.\n";
constexpr std::string_view kManFiles =
    ".SH FILES\n.TP\n~/.cache/huggingface/hub\nModels of the hub, which are read here and downloaded to here.\n.TP\n"
    "\\&.NAME.anemone\\-tmp\nAn output that is being written, beside its destination NAME. A run that is killed "
    "leaves it; the next one to NAME and anemone\\-clean(1) remove it.\n.TP\n\\&.NAME.anemone\\-resume\nAn "
    "interrupted output that \\-\\-resume continues.\n.PP\nThere is no configuration file.\n";

std::string ManPage(const CommandInfo& command, const CommandInfo& program) {
  std::string page = fmt::format(".TH \"ANEMONE\\-{}\" 1\n.SH NAME\nanemone\\-{} \\- {}\n.SH SYNOPSIS\nanemone {}\n",
                                 Roff(command.name), Roff(command.name), Roff(command.summary), Roff(Usage(command)));
  if (!command.details.empty()) {
    page += ".SH DESCRIPTION\n";
    bool in_code = false;
    for (const Line& line : LinesOf(command.details)) {
      if (line.is_code != in_code) page += line.is_code ? ".nf\n" : ".fi\n";
      in_code = line.is_code;
      page += line.text.empty() ? ".PP\n" : Roff(line.text) + "\n";
    }
    if (in_code) page += ".fi\n";
  }
  const auto list = [&page](const std::vector<OptionInfo>& options, const std::string& topic) {
    for (const OptionInfo& option : options) {
      if (topic.empty() || option.topic == topic)
        page += fmt::format(".TP\n{}\n{}\n", Roff(Joined(option)), Roff(option.help));
    }
  };
  if (!command.positionals.empty()) page += ".SH ARGUMENTS\n";
  list(command.positionals, "");
  if (!command.options.empty()) page += ".SH OPTIONS\n";
  const std::vector<std::string> topics = Topics(command.options);
  for (const std::string& topic : topics) {
    if (topics.size() > 1) page += fmt::format(".SS {}\n", Roff(topic));
    list(command.options, topic);
  }
  if (!command.below.empty()) page += ".SH COMMANDS\n";
  for (const CommandInfo& below : command.below)
    page += fmt::format(".TP\nanemone {}\n{}\n", Roff(below.name), Roff(below.summary));
  page += ".SH OPTIONS OF EVERY COMMAND\n";
  list(program.options, "");
  std::string examples;
  for (const Line& line : LinesOf(command.examples)) examples.append("  ").append(Roff(line.text)).append("\n");
  page += fmt::format(".SH EXAMPLES\n.nf\n{}.fi\n", examples);
  return page.append(kManExits).append(kManEnvironment).append(kManFiles).append(".SH SEE ALSO\n.BR anemone (1)\n");
}

// anemone(1): the commands, each with a page of its own.
std::string ManOverview(const CommandInfo& program) {
  std::string page =
      fmt::format(".TH ANEMONE 1\n.SH NAME\nanemone \\- {}\n.SH SYNOPSIS\nanemone COMMAND \\&...\n.SH COMMANDS\n",
                  Roff(program.summary));
  for (const CommandInfo& command : program.below) {
    page += fmt::format(".TP\n.BR anemone\\-{} (1)\n{}\n", Roff(command.name), Roff(command.summary));
  }
  return page.append(kManExits).append(kManEnvironment).append(kManFiles);
}

// In a table's cell, where a bare bar would begin the next cell, in a code span too.
std::string TableCode(std::string text) {
  if (text.find('|') == std::string::npos) return "`" + text + "`";
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos;) text.replace(at, 1, "&#124;");
  return "<code>" + text + "</code>";
}

// Paragraphs at most 120 columns wide; lines that begin with two blanks as a code block.
std::string MarkdownParagraphs(std::string_view text) {
  constexpr size_t kWidth = 120;
  std::string out, paragraph;
  const auto end_paragraph = [&] {
    if (!paragraph.empty()) out += "\n" + Wrap(paragraph, kWidth, "") + "\n";
    paragraph.clear();
  };
  bool in_code = false;
  for (const Line& line : LinesOf(text)) {
    if (line.is_code) {
      end_paragraph();
      out += std::string(in_code ? "" : "\n") + "  " + std::string(line.text) + "\n";
    } else if (line.text.empty()) {
      end_paragraph();
    } else {
      paragraph.append(paragraph.empty() ? "" : " ").append(line.text);
    }
    in_code = line.is_code;
  }
  end_paragraph();
  return out;
}

std::string MarkdownPage(const CommandInfo& command) {
  std::string page =
      fmt::format("# anemone {}\n\n{}.\n\n    anemone {}\n", command.name, command.summary, Usage(command));
  page += MarkdownParagraphs(command.details);
  const auto table = [&page](const std::string& title, const std::vector<OptionInfo>& options,
                             const std::string& topic) {
    page += fmt::format("\n| {} | |\n| --- | --- |\n", title);
    for (const OptionInfo& option : options) {
      if (topic.empty() || option.topic == topic)
        page += fmt::format("| {} | {} |\n", TableCode(Joined(option)), option.help);
    }
  };
  if (!command.positionals.empty()) table("argument", command.positionals, "");
  const std::vector<std::string> topics = Topics(command.options);
  for (const std::string& topic : topics)
    table(topics.size() > 1 ? "option: " + topic : "option", command.options, topic);
  if (!command.below.empty()) {
    page += "\n| command | |\n| --- | --- |\n";
    for (const CommandInfo& below : command.below)
      page += fmt::format("| `anemone {}` | {} |\n", below.name, below.summary);
  }
  return page + fmt::format(
                    "\nExamples:\n\n```sh\n{}\n```\n\nSee also: [options of every command](../command-line.md), "
                    "[exit codes](../exit-codes.md).\n",
                    command.examples);
}

// ---- Completion ----

// Words that follow a command: its options, and the commands below it.
std::string Words(const std::vector<OptionInfo>& options) {
  std::vector<std::string> words;
  for (const OptionInfo& option : options) words.insert(words.end(), option.names.begin(), option.names.end());
  return fmt::format("{}", fmt::join(words, " "));
}

std::vector<std::string> NamesBelow(const CommandInfo& command) {
  std::vector<std::string> names;
  for (const CommandInfo& below : command.below) names.push_back(below.name.substr(below.name.rfind(' ') + 1));
  return names;
}

// "    convert:--to) values="nemo hf" ;;" for each option that has a list of values.
std::string BashValues(const CommandInfo& command, std::string_view pattern) {
  std::string cases;
  for (const OptionInfo& option : command.options) {
    const std::vector<std::string> values = ValuesOf(option.argument);
    if (values.empty()) continue;
    std::vector<std::string> patterns;
    for (const std::string& name : option.names) patterns.push_back(fmt::format("{}:{}", pattern, name));
    cases += fmt::format("    {}) values=\"{}\" ;;\n", fmt::join(patterns, "|"), fmt::join(values, " "));
  }
  return cases;
}

std::string Bash(const CommandInfo& program) {
  std::string cases, values, below;
  for (const CommandInfo& command : program.below) {
    cases += fmt::format("    {}) options=\"{}\" ;;\n", command.name, Words(command.options));
    values += BashValues(command, command.name);
    if (!command.below.empty())
      below += fmt::format("    {}) values=\"{}\" ;;\n", command.name, fmt::join(NamesBelow(command), " "));
  }
  values += BashValues(program, "*");
  const std::string commands = fmt::format("{}", fmt::join(NamesBelow(program), " "));
  return fmt::format(
      "_anemone() {{\n"
      "  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} options= values= IFS=$' \\t\\n'\n"
      "  if [ \"$before\" = \"=\" ]; then before=${{COMP_WORDS[COMP_CWORD-2]}}; fi\n"
      "  if [ \"$word\" = \"=\" ]; then word=; fi\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W \"{0} help\" -- \"$word\"))\n    return\n  "
      "fi\n"
      "  case ${{COMP_WORDS[1]}}:$before in\n{1}    help:*) values=\"{0}\" ;;\n  esac\n"
      "  if [ \"$COMP_CWORD\" -eq 2 ]; then case ${{COMP_WORDS[1]}} in\n{2}  esac; fi\n"
      "  if [ -n \"$values\" ]; then COMPREPLY=($(compgen -W \"$values\" -- \"$word\")); return; fi\n"
      "  case ${{COMP_WORDS[1]}} in\n{3}  esac\n"
      "  if [[ $word == -* ]]; then COMPREPLY=($(compgen -W \"$options {4}\" -- \"$word\"))\n"
      "  else IFS=$'\\n'; COMPREPLY=($(compgen -f -- \"$word\")); fi\n"
      "}}\ncomplete -o filenames -F _anemone anemone\n",
      commands, values, below, cases, Words(program.options));
}

std::string Quoted(std::string_view text, std::string_view escape_too) {
  std::string quoted;
  for (const char c : text) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      if (escape_too.find(c) != std::string_view::npos) quoted += '\\';
      quoted += c;
    }
  }
  return "'" + quoted + "'";
}

std::string ZshArguments(const std::vector<OptionInfo>& options) {
  std::string arguments;
  for (const OptionInfo& option : options) {
    const std::vector<std::string> values = ValuesOf(option.argument);
    const std::string action = values.empty() ? "_files" : fmt::format("({})", fmt::join(values, " "));
    for (const std::string& name : option.names) {
      arguments +=
          " " +
          Quoted(fmt::format("{}[{}]{}", name, option.help, option.argument.empty() ? "" : ":value:" + action), "");
    }
  }
  return arguments;
}

std::string Zsh(const CommandInfo& program) {
  std::string list, cases;
  for (const CommandInfo& command : program.below) {
    list += fmt::format("    {}\n", Quoted(command.name + ":" + command.summary, ""));
    const std::string first =
        command.below.empty() ? "" : fmt::format(" '1:command:({})'", fmt::join(NamesBelow(command), " "));
    cases += fmt::format("    {}) _arguments{}{}{} '*:file:_files' ;;\n", command.name, first,
                         ZshArguments(command.options), ZshArguments(program.options));
  }
  return fmt::format(
      "#compdef anemone\n_anemone() {{\n  local -a commands=(\n{}    'help:Print help'\n  )\n"
      "  if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
      "  local command=$words[2]\n  shift words; (( CURRENT-- ))\n  case $command in\n{}"
      "    help) _describe command commands ;;\n  esac\n}}\n_anemone \"$@\"\n",
      list, cases);
}

std::string FishOptions(const std::vector<OptionInfo>& options, const std::string& condition) {
  std::string text;
  for (const OptionInfo& option : options) {
    std::string line = "complete -c anemone" + condition;
    for (const std::string& name : option.names)
      line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    const std::vector<std::string> values = ValuesOf(option.argument);
    if (!values.empty()) line += fmt::format(" -x -a {}", Quoted(fmt::format("{}", fmt::join(values, " ")), ""));
    if (values.empty() && !option.argument.empty()) line += " -r -F";
    text += fmt::format("{} -d {}\n", line, Quoted(option.help, "\\"));
  }
  return text;
}

std::string Fish(const CommandInfo& program) {
  std::string text = "complete -c anemone -n __fish_use_subcommand -f\n";
  for (const CommandInfo& command : program.below) {
    text += fmt::format("complete -c anemone -n __fish_use_subcommand -a {} -d {}\n", command.name,
                        Quoted(command.summary, "\\"));
    const std::string seen = fmt::format(" -n '__fish_seen_subcommand_from {}'", command.name);
    if (!command.below.empty())
      text += fmt::format("complete -c anemone{} -f -a '{}'\n", seen, fmt::join(NamesBelow(command), " "));
    text += FishOptions(command.options, seen);
  }
  return text + FishOptions(program.options, "");
}

}  // namespace

std::vector<ManualFile> MakeManual(const CLI::App& app, std::string_view kind) {
  const CommandInfo program = Describe(app);
  if (kind == "bash") return {{"anemone", Bash(program)}};
  if (kind == "zsh") return {{"_anemone", Zsh(program)}};
  if (kind == "fish") return {{"anemone.fish", Fish(program)}};
  std::vector<ManualFile> files;
  if (kind == "man") files.push_back({"anemone.1", ManOverview(program)});
  for (const CommandInfo& command : program.below) {
    if (kind == "man") files.push_back({"anemone-" + command.name + ".1", ManPage(command, program)});
    if (kind == "markdown") files.push_back({command.name + ".md", MarkdownPage(command)});
  }
  return files;
}

}  // namespace anemone::cli
