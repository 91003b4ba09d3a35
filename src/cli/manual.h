// Man pages, shell completion and Markdown pages, all read off the same options that are parsed.
#ifndef ANEMONE_CLI_MANUAL_H_
#define ANEMONE_CLI_MANUAL_H_

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace anemone::cli {

// A file to write: "anemone-convert.1", "_anemone".
struct ManualFile {
  std::string name;
  std::string content;
};

// `kind`: "man", "markdown", "bash", "zsh" or "fish"; empty for another word.
std::vector<ManualFile> MakeManual(const CLI::App& app, std::string_view kind);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_MANUAL_H_
