// The parser's complaints in this program's words, with what may have been meant.
#ifndef ANEMONE_CLI_PARSE_ERROR_H_
#define ANEMONE_CLI_PARSE_ERROR_H_

#include <CLI/App.hpp>

#include "anemone/status.h"

namespace anemone::cli {

// The command that was named below `app`, if any: of `nemo SCRIPT`, the script.
const CLI::App* NamedCommand(const CLI::App* app);

Status ExplainParseError(const CLI::ParseError& error, const CLI::App& app);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_PARSE_ERROR_H_
