#include "cli/manual.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>

namespace anemone::cli {
namespace {

// What the pages say of an option.
struct OptionInfo {
  std::vector<std::string> names;  // "-v", "--verbose"; empty for a positional
  std::string argument;            // "FILE"; empty for a flag
  std::string help;
  bool required = false;
};

struct CommandInfo {
  std::string name;
  std::string summary;
  std::string examples;
  std::vector<OptionInfo> positionals;
  std::vector<OptionInfo> options;
};

OptionInfo Describe(const CLI::Option& option) {
  OptionInfo info;
  for (const std::string& name : option.get_snames()) info.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) info.names.push_back("--" + name);
  if (option.get_positional()) {
    info.argument = option.get_name();
  } else if (option.get_type_size_max() > 0) {
    info.argument = option.get_type_name();
  }
  info.help = option.get_description();
  info.required = option.get_required();
  return info;
}

CommandInfo Describe(const CLI::App& app) {
  CommandInfo info{app.get_name(), app.get_description(), app.get_footer(), {}, {}};
  for (const CLI::Option* option : app.get_options()) {
    (option->get_positional() ? info.positionals : info.options).push_back(Describe(*option));
  }
  return info;
}

std::vector<CommandInfo> Commands(const CLI::App& app) {
  std::vector<CommandInfo> commands;
  for (const CLI::App* sub : app.get_subcommands(nullptr)) commands.push_back(Describe(*sub));
  return commands;
}

std::string Usage(const CommandInfo& command) {
  std::string usage = "anemone " + command.name;
  for (const OptionInfo& positional : command.positionals) usage += " " + positional.argument;
  return usage + " [OPTIONS]";
}

std::string Joined(const OptionInfo& option) {
  std::string text = fmt::format("{}", fmt::join(option.names, ", "));
  if (!option.argument.empty()) text += (text.empty() ? "" : " ") + option.argument;
  return text;
}

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

std::string ManPage(const CommandInfo& command, const std::vector<OptionInfo>& shared) {
  std::string page = fmt::format(".TH \"ANEMONE\\-{}\" 1\n.SH NAME\nanemone\\-{} \\- {}\n.SH SYNOPSIS\n{}\n",
                                 Roff(command.name), Roff(command.name), Roff(command.summary), Roff(Usage(command)));
  const auto section = [&page](const char* title, const std::vector<OptionInfo>& options) {
    if (!options.empty()) page += fmt::format(".SH {}\n", title);
    for (const OptionInfo& option : options)
      page += fmt::format(".TP\n{}\n{}\n", Roff(Joined(option)), Roff(option.help));
  };
  section("ARGUMENTS", command.positionals);
  section("OPTIONS", command.options);
  section("OPTIONS OF EVERY COMMAND", shared);
  return page + fmt::format(".SH EXAMPLES\n.nf\n{}\n.fi\n", Roff(command.examples));
}

// anemone(1): the commands, each with a page of its own.
std::string ManOverview(const CLI::App& app, const std::vector<CommandInfo>& commands) {
  std::string page =
      fmt::format(".TH ANEMONE 1\n.SH NAME\nanemone \\- {}\n.SH SYNOPSIS\nanemone COMMAND \\&...\n.SH COMMANDS\n",
                  Roff(app.get_description()));
  for (const CommandInfo& command : commands) {
    page += fmt::format(".TP\n.BR anemone\\-{} (1)\n{}\n", Roff(command.name), Roff(command.summary));
  }
  return page +
         ".SH EXIT STATUS\n0 done, 1 an answer of no, 64 usage, 65 bad data, 66 no input, 69 service unavailable, "
         "70 internal error, 73 cannot create output, 74 input or output error, 130 interrupted.\n";
}

// In a table's cell, where a bare bar would begin the next cell, in a code span too.
std::string TableCode(std::string text) {
  if (text.find('|') == std::string::npos) return "`" + text + "`";
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos;) text.replace(at, 1, "&#124;");
  return "<code>" + text + "</code>";
}

std::string MarkdownPage(const CommandInfo& command) {
  std::string page = fmt::format("# anemone {}\n\n{}.\n\n    {}\n", command.name, command.summary, Usage(command));
  const auto table = [&page](const char* title, const std::vector<OptionInfo>& options) {
    if (options.empty()) return;
    page += fmt::format("\n| {} | |\n| --- | --- |\n", title);
    for (const OptionInfo& option : options)
      page += fmt::format("| {} | {} |\n", TableCode(Joined(option)), option.help);
  };
  table("argument", command.positionals);
  table("option", command.options);
  std::string examples = command.examples;  // "Examples:", and each in a line of its own, indented
  for (size_t at = 0; (at = examples.find("\n  ", at)) != std::string::npos; ++at) examples.erase(at + 1, 2);
  examples.insert(examples.find('\n'), "\n\n```sh");
  return page + fmt::format(
                    "\n{}\n```\n\nSee also: [options of every command](../command-line.md), "
                    "[exit codes](../exit-codes.md).\n",
                    examples);
}

std::string Words(const std::vector<OptionInfo>& options) {
  std::vector<std::string> words;
  for (const OptionInfo& option : options) words.insert(words.end(), option.names.begin(), option.names.end());
  return fmt::format("{}", fmt::join(words, " "));
}

std::string Bash(const std::vector<CommandInfo>& commands, const std::vector<OptionInfo>& shared) {
  std::vector<std::string> names;
  std::string cases;
  for (const CommandInfo& command : commands) {
    names.push_back(command.name);
    cases += fmt::format("    {}) options=\"{}\" ;;\n", command.name, Words(command.options));
  }
  return fmt::format(
      "_anemone() {{\n  local word=${{COMP_WORDS[COMP_CWORD]}} options=\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W \"{}\" -- \"$word\"))\n    return\n  fi\n"
      "  case ${{COMP_WORDS[1]}} in\n{}  esac\n"
      "  if [[ $word == -* ]]; then COMPREPLY=($(compgen -W \"$options {}\" -- \"$word\"))\n"
      "  else COMPREPLY=($(compgen -f -- \"$word\")); fi\n}}\ncomplete -o filenames -F _anemone anemone\n",
      fmt::join(names, " "), cases, Words(shared));
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

std::string Zsh(const std::vector<CommandInfo>& commands, const std::vector<OptionInfo>& shared) {
  std::string list;
  std::string cases;
  for (const CommandInfo& command : commands) {
    list += fmt::format("    {}\n", Quoted(command.name + ":" + command.summary, ""));
    std::string arguments;
    for (const auto* options : {&command.options, &shared}) {
      for (const OptionInfo& option : *options) {
        for (const std::string& name : option.names) {
          arguments += fmt::format(
              " {}",
              Quoted(fmt::format("{}[{}]{}", name, option.help, option.argument.empty() ? "" : ":value:_files"), ""));
        }
      }
    }
    cases += fmt::format("    {}) _arguments{} '*:file:_files' ;;\n", command.name, arguments);
  }
  return fmt::format(
      "#compdef anemone\n_anemone() {{\n  local -a commands=(\n{}  )\n  if (( CURRENT == 2 )); then _describe command "
      "commands; return; fi\n"
      "  local command=$words[2]\n  shift words; (( CURRENT-- ))\n  case $command in\n{}  esac\n}}\n_anemone \"$@\"\n",
      list, cases);
}

std::string Fish(const std::vector<CommandInfo>& commands, const std::vector<OptionInfo>& shared) {
  std::string text;
  const auto add = [&text](const std::string& condition, const std::vector<OptionInfo>& options) {
    for (const OptionInfo& option : options) {
      std::string names;
      for (const std::string& name : option.names)
        names += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      if (!names.empty()) {
        text += fmt::format("complete -c anemone{}{}{} -d {}\n", condition, names, option.argument.empty() ? "" : " -r",
                            Quoted(option.help, "\\"));
      }
    }
  };
  for (const CommandInfo& command : commands) {
    text += fmt::format("complete -c anemone -n __fish_use_subcommand -a {} -d {}\n", command.name,
                        Quoted(command.summary, "\\"));
    add(fmt::format(" -n '__fish_seen_subcommand_from {}'", command.name), command.options);
  }
  add("", shared);
  return text;
}

}  // namespace

std::vector<ManualFile> MakeManual(const CLI::App& app, std::string_view kind) {
  const std::vector<CommandInfo> commands = Commands(app);
  const std::vector<OptionInfo> shared = Describe(app).options;
  if (kind == "bash") return {{"anemone", Bash(commands, shared)}};
  if (kind == "zsh") return {{"_anemone", Zsh(commands, shared)}};
  if (kind == "fish") return {{"anemone.fish", Fish(commands, shared)}};
  std::vector<ManualFile> files;
  if (kind == "man") files.push_back({"anemone.1", ManOverview(app, commands)});
  for (const CommandInfo& command : commands) {
    if (kind == "man") files.push_back({"anemone-" + command.name + ".1", ManPage(command, shared)});
    if (kind == "markdown") files.push_back({command.name + ".md", MarkdownPage(command)});
  }
  return files;
}

}  // namespace anemone::cli
