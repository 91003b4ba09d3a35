// The text of --help, as wide as the terminal.
#ifndef ANEMONE_CLI_HELP_H_
#define ANEMONE_CLI_HELP_H_

#include <cstddef>
#include <string>

#include "cli/describe.h"

namespace anemone::cli {

// `program`: the options that every command takes.
std::string HelpText(const CommandInfo& command, const CommandInfo& program, size_t width);
// Columns for text on stdout: $COLUMNS, the terminal's, else 80; within 40 and 120.
size_t TextWidth();

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_HELP_H_
