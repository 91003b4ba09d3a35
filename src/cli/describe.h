// What the pages say of a command: read off the options that are parsed. Help, man pages, Markdown and completion are
// all made from this.
#ifndef ANEMONE_CLI_DESCRIBE_H_
#define ANEMONE_CLI_DESCRIBE_H_

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace anemone::cli {

struct OptionInfo {
  std::vector<std::string> names;  // "-v", "--verbose"; empty for a positional
  std::string argument;            // "FILE", "keep|fp32"; empty for a flag
  std::string help;
  std::string topic;  // "Layout"
  bool takes_many = false;
};

// The values that an argument "keep|fp32" lists; none of "FILE".
std::vector<std::string> ValuesOf(const std::string& argument);

struct CommandInfo {
  std::string name;  // "convert", "nemo convert_clip_hf_to_nemo"
  std::string summary;
  std::string details;   // paragraphs; a line that begins with two blanks stays as it is
  std::string examples;  // one a line, without indent
  std::vector<OptionInfo> positionals;
  std::vector<OptionInfo> options;  // topic by topic
  std::vector<CommandInfo> below;   // `nemo` has some
};
CommandInfo Describe(const CLI::App& app);

// "convert SRC DST [OPTIONS]".
std::string Usage(const CommandInfo& command);
// "-o, --output PATH".
std::string Joined(const OptionInfo& option);
// The topics of `options` in order, each once.
std::vector<std::string> Topics(const std::vector<OptionInfo>& options);

// Options declared from here on are listed under `topic`.
void Topic(CLI::App& app, const std::string& topic);
// Help and completion list these values; whoever reads the option checks it. Answers `option`.
CLI::Option* Suggest(CLI::Option* option, const std::vector<std::string>& values);
// The same for the names of model sizes (--preset). They are collected when help is printed, as collecting them builds
// the families' tables.
CLI::Option* SuggestPresets(CLI::Option* option);
// Only these values are taken, in any case; an error names the nearest. Answers `option`.
CLI::Option* OneOf(CLI::Option* option, const std::vector<std::string>& values);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_DESCRIBE_H_
