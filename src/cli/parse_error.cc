#include "cli/parse_error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/nearest.h"
#include "cli/commands.h"
#include "cli/declare.h"

namespace anemone::cli {
namespace {

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands(nullptr)) names.push_back(sub->get_name());
  return names;
}

// Of a command and of those above it.
std::vector<std::string> FlagNames(const CLI::App* app) {
  std::vector<std::string> names;
  for (; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  return names;
}

// Of --name=value the name.
std::string_view FlagOf(std::string_view word) { return word.substr(0, word.find('=')); }

// "--tp: 1 required INT missing", "Could not convert: --tp = two" and their like, which speak of arguments and types.
std::string InOurWords(std::string_view text) {
  constexpr std::string_view kMissing = " missing",
                             kConvert = "Could not convert: ", kOverride = " was given a disallowed flag override",
                             kExcludes = " excludes ", kRequires = " requires ";
  const size_t required = text.find(" required ");
  if (text.ends_with(kMissing) && required != std::string_view::npos) {
    const std::string_view name = text.substr(0, text.find(':'));
    const std::string_view type = text.substr(required + 10, text.size() - required - 10 - kMissing.size());
    return fmt::format("{}: expected {}, found nothing", name, type.empty() ? "a value" : type);
  }
  if (const size_t equals = text.find(" = "); text.starts_with(kConvert) && equals != std::string_view::npos) {
    return fmt::format("{}: expected a number, found '{}'", text.substr(kConvert.size(), equals - kConvert.size()),
                       text.substr(equals + 3));
  }
  if (text.ends_with(kOverride)) {
    const std::string_view name = text.substr(0, text.size() - kOverride.size());  // without its dashes
    return fmt::format("{}{}: expected no value", name.size() == 1 ? "-" : "--", name);
  }
  for (const auto& [word, ours] :
       {std::pair{kExcludes, "{}: expected without {}"}, {kRequires, "{}: expected {} too"}}) {
    if (const size_t at = text.find(word); at != std::string_view::npos)
      return fmt::format(fmt::runtime(ours), text.substr(0, at), text.substr(at + word.size()));
  }
  return std::string(text);
}

}  // namespace

const CLI::App* NamedCommand(const CLI::App* app) {
  for (auto below = app->get_subcommands(); !below.empty(); below = app->get_subcommands()) app = below.front();
  return app;
}

Status ExplainParseError(const CLI::ParseError& error, const CLI::App& app) {
  const CLI::App* const named = NamedCommand(&app);
  std::string command;
  for (const CLI::App* sub = named; sub != &app; sub = sub->get_parent()) command.insert(0, sub->get_name() + " ");
  const std::string see = fmt::format("see: anemone {}--help", command);
  std::vector<std::string> words = app.remaining(true);
  std::ranges::transform(words, words.begin(), Unmarked);
  const auto hint = [&see](const std::string& meant) { return meant.empty() ? see : meant + " " + see; };

  const std::vector<std::string> commands = CommandNames(*named);
  if (!commands.empty()) {  // it wants one of its own
    const auto word = std::ranges::find_if(words, [](const std::string& w) { return !w.starts_with('-'); });
    const std::string_view kind = named == &app ? "a command" : "one of its commands";
    const std::string found = word == words.end() ? "nothing" : "'" + *word + "'";
    const bool is_flag = word == words.end() && !words.empty();
    if (const std::string_view why = word == words.end() ? "" : WhyNoNemoScript(*word);
        !why.empty() && named->get_name() == "nemo")
      return InvalidArgument(fmt::format("nemo {}: {}", *word, why), see);
    if (!is_flag) {
      std::string meant = word == words.end() ? "" : DidYouMean(*word, commands);
      if (meant.empty() && named != &app) meant = fmt::format("it has: {};", fmt::join(commands, ", "));
      return InvalidArgument(fmt::format("{}expected {}, found {}", command, kind, found), hint(meant));
    }
  }
  std::string meant;
  for (const std::string& word : words) {
    if (meant.empty() && word.starts_with('-') && word.size() > 2) meant = DidYouMean(FlagOf(word), FlagNames(named));
  }
  // An option that is missing may be the one that was mistyped.
  const bool is_required = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  const bool is_unknown = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr || (is_required && !meant.empty());
  if (is_unknown && !words.empty()) {
    const std::string name = command.empty() ? "anemone" : command.substr(0, command.size() - 1);
    return InvalidArgument(
        fmt::format("{}: unknown argument{} {}", name, words.size() == 1 ? "" : "s", fmt::join(words, " ")),
        hint(meant));
  }
  const auto takes_many = [](const CLI::Option* option) {
    return !option->get_positional() && option->count() > 1 && option->get_allow_extra_args();
  };
  if (is_required) {
    const auto options = named->get_options();
    const auto greedy = std::ranges::find_if(options, takes_many);
    if (greedy != options.end() && error.what()[0] != '-') {
      const std::string positional(error.what(), std::string_view(error.what()).find(' '));
      meant =
          fmt::format("put {} before {}, which takes all values that follow it;", positional, (*greedy)->get_name());
    }
  }
  return InvalidArgument(InOurWords(error.what()), hint(meant));
}

}  // namespace anemone::cli
