// pack DIR DST.nemo: packs an unpacked .nemo.
#include <CLI/App.hpp>
#include <memory>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/plan_flags.h"
#include "edit/archive.h"
#include "edit/destination.h"

namespace anemone::cli {

std::function<int()> DeclarePack(CLI::App& app) {
  struct Options {
    std::string directory;
    PlanFlags plan;
  };
  auto options = std::make_shared<Options>();
  app.add_option("DIR", options->directory, "An unpacked .nemo")->required();
  options->plan.Declare(app, "DST", "The .nemo to write");
  return [options] {
    const Status name = CheckIsNoOtherFormats(options->plan.destination);
    return options->plan.Run(name.ok() ? PlanPack(options->directory) : name);
  };
}

}  // namespace anemone::cli
