// The options that convert, reshard and mount have in common: words of the command line that become ConvertOptions.
#ifndef ANEMONE_CLI_CONVERT_FLAGS_H_
#define ANEMONE_CLI_CONVERT_FLAGS_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "anemone/convert.h"
#include "anemone/status.h"

namespace anemone::cli {

struct ConvertFlags {
  std::string source;
  ConvertOptions convert;

  void DeclareSource(CLI::App& app);                                // SRC
  void DeclareFormat(CLI::App& app, const std::string& otherwise);  // --to; `otherwise`: what it is without
  void DeclareReflink(CLI::App& app);                               // --reflink
  void DeclareCommon(CLI::App& app);                                // what any source can be told
  void DeclareForeign(CLI::App& app);                               // what only matters between formats
  // Turns words into options. Decisions that can be false for the data at hand are the library's.
  Status Parse();

 private:
  std::string dtype_ = "keep";
  std::string extra_state_ = "keep";
  std::string reflink_ = "auto";
  std::string only_ = "all";
  std::vector<std::string> set_;
  std::vector<std::string> artifacts_;
  std::vector<std::string> rename_;
};

}  // namespace anemone::cli

#endif  // ANEMONE_CLI_CONVERT_FLAGS_H_
