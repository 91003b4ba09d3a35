#include "cli/describe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <algorithm>

#include "base/lower_case.h"
#include "base/nearest.h"
#include "cli/command.h"
#include "family/family.h"

namespace anemone::cli {
namespace {

OptionInfo DescribeOption(const CLI::Option& option) {
  OptionInfo info;
  for (const std::string& name : option.get_snames()) info.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) info.names.push_back("--" + name);
  if (option.get_positional()) {
    info.argument = option.get_required() ? option.get_name() : "[" + option.get_name() + "]";
  } else if (option.get_type_size_max() > 0) {
    info.argument = option.get_type_name();
  }
  info.help = option.get_description();
  info.topic = option.get_group();
  info.takes_many = option.get_items_expected_max() > 1 && (option.get_positional() || option.get_allow_extra_args());
  return info;
}

std::vector<std::string> PresetNames() {
  std::vector<std::string> names;
  for (const Family* family : Families()) {
    if (family->presets == nullptr) continue;
    for (const std::string_view name : family->presets()) names.emplace_back(name);
  }
  return names;
}

}  // namespace

std::vector<std::string> ValuesOf(const std::string& argument) {
  if (argument.find('|') == std::string::npos) return {};
  std::vector<std::string> values;
  for (size_t at = 0; at <= argument.size();) {
    const size_t end = std::min(argument.find('|', at), argument.size());
    values.push_back(argument.substr(at, end - at));
    at = end + 1;
  }
  return values;
}

std::vector<std::string> Topics(const std::vector<OptionInfo>& options) {
  std::vector<std::string> topics;
  for (const OptionInfo& option : options) {
    if (std::ranges::find(topics, option.topic) == topics.end()) topics.push_back(option.topic);
  }
  return topics;
}

CommandInfo Describe(const CLI::App& app) {
  CommandInfo info;
  info.name = app.get_name();
  info.summary = app.get_description();
  for (const CLI::App* above = app.get_parent(); above != nullptr && above->get_parent() != nullptr;
       above = above->get_parent()) {
    info.name.insert(0, above->get_name() + " ");
  }
  const auto commands = Commands();
  const auto command = std::ranges::find(commands, std::string_view(info.name), &Command::name);
  if (command != commands.end()) {
    info.details = command->details;
    info.examples = command->examples;
  }
  const bool is_root = app.get_parent() == nullptr;
  for (const CLI::Option* option : app.get_options()) {
    // Every command has --help: it is listed with what they all have. An empty group hides an option.
    if (option->get_group().empty() || (!is_root && option == app.get_help_ptr())) continue;
    (option->get_positional() ? info.positionals : info.options).push_back(DescribeOption(*option));
  }
  const std::vector<std::string> topics = Topics(info.options);
  std::ranges::stable_sort(info.options, {}, [&topics](const OptionInfo& option) {
    return std::ranges::find(topics, option.topic) - topics.begin();
  });
  for (const CLI::App* below : app.get_subcommands(nullptr)) info.below.push_back(Describe(*below));
  return info;
}

std::string Usage(const CommandInfo& command) {
  std::string usage = command.name;
  if (!command.below.empty()) usage += " COMMAND";
  for (const OptionInfo& positional : command.positionals) {
    usage += " " + positional.argument + (positional.takes_many ? " …" : "");
  }
  return usage + " [OPTIONS]";
}

std::string Joined(const OptionInfo& option) {
  std::string text = fmt::format("{}", fmt::join(option.names, ", "));
  if (!option.argument.empty()) text += (text.empty() ? "" : " ") + option.argument;
  return text + (option.takes_many ? " …" : "");
}

void Topic(CLI::App& app, const std::string& topic) { app.option_defaults()->group(topic); }

CLI::Option* SuggestPresets(CLI::Option* option) {
  return option->type_name_fn([] { return fmt::format("{}", fmt::join(PresetNames(), "|")); });
}

CLI::Option* Suggest(CLI::Option* option, const std::vector<std::string>& values) {
  return option->type_name(fmt::format("{}", fmt::join(values, "|")));
}

CLI::Option* OneOf(CLI::Option* option, const std::vector<std::string>& values) {
  const auto check = [values](std::string& value) -> std::string {
    const auto is_same = [&value](const std::string& known) { return LowerCase(known) == LowerCase(value); };
    if (const auto found = std::ranges::find_if(values, is_same); found != values.end()) {
      value = *found;
      return {};
    }
    const std::string meant = DidYouMean(value, values);
    return fmt::format("expected one of {}, found '{}'{}", fmt::join(values, ", "), value,
                       meant.empty() ? "" : ": " + meant);
  };
  return Suggest(option, values)->transform(CLI::Validator(check, ""));
}

}  // namespace anemone::cli
