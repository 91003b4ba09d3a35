// When the options of a command are declared.
//
// The program has about sixty commands, NeMo's scripts included, and a run names one. Declaring the options of all took
// as long as loading the program.
#ifndef ANEMONE_CLI_DECLARE_H_
#define ANEMONE_CLI_DECLARE_H_

#include <CLI/App.hpp>
#include <functional>
#include <string>
#include <vector>

namespace anemone::cli {

// Calls `declare` with `app` as soon as the words name it: before its help, and before the words that follow.
void DeclareOnceNamed(CLI::App& app, std::function<void(CLI::App&)> declare);

// Declares what no word has named: for manuals, and to tell which other command has an option.
void DeclareAll();

// Values as they were typed: `--tensors=3` is an error, not a flag that was given three times; `[a, b]` is one text or
// one file's name, not two of them.
void TakeValuesAsTheyAre(CLI::App& app);

// Marks the values that the parser would take apart, for TakeValuesAsTheyAre to find whole.
void MarkBrackets(std::vector<std::string>& words);
// The word without its mark.
std::string Unmarked(std::string word);

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_DECLARE_H_
