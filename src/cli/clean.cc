// clean DIR: removes what runs that died have left beside their outputs.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/text.h"
#include "engine/work_folder.h"

namespace anemone::cli {
namespace {

Status Clean(const std::string& directory, bool all) {
  ANEMONE_ASSIGN(const std::vector<Leftover> leftovers, FindLeftovers(directory));
  for (const Leftover& leftover : leftovers) {
    const std::string name = OneLine(leftover.name);
    if (leftover.is_resumable && !all) {
      Print(fmt::format("kept {}: --resume goes on from it, --all removes it\n", name));
      continue;
    }
    ANEMONE_TRY(RemoveLeftover(directory, leftover));
    Print(leftover.restores.empty()
              ? fmt::format("removed {}\n", name)
              : fmt::format("{} is back: {} was its only copy\n", OneLine(leftover.restores), name));
  }
  if (leftovers.empty() && globals().verbosity >= 0) Print("nothing to clean\n");
  return {};
}

}  // namespace

std::function<int()> DeclareClean(CLI::App& app) {
  struct Options {
    std::string directory = ".";
    bool all = false;
  };
  auto options = std::make_shared<Options>();
  app.add_option("DIR", options->directory, "Where outputs were written (default: here)");
  app.add_flag("--all", options->all, "Also remove what --resume could continue from");
  return [options] {
    const Status status = Clean(options->directory, options->all);
    return status.ok() ? static_cast<int>(kDone) : Report(status);
  };
}

}  // namespace anemone::cli
