// edit X.nemo: changes config or artifacts; the weights are moved by the kernel, not rewritten.
#include <CLI/App.hpp>
#include <memory>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/plan_flags.h"
#include "ops/archive.h"

namespace anemone::cli {

std::function<int()> DeclareEdit(CLI::App& app) {
  struct Options {
    std::string archive;
    std::vector<std::string> set;
    std::vector<std::string> artifacts;
    ConfigEdit edit;
    PlanFlags plan;
  };
  auto options = std::make_shared<Options>();
  app.add_option("X", options->archive, "A .nemo, packed or not")->required();
  app.add_option("--set", options->set, "Set a config value; may be repeated")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_option("--unset", options->edit.unset, "Remove a config key; may be repeated")
      ->type_name("KEY")
      ->allow_extra_args(false);
  app.add_option("--artifact", options->artifacts, "Store FILE and let the config's KEY refer to it; may be repeated")
      ->type_name("KEY=FILE")
      ->allow_extra_args(false);
  options->plan.DeclareOutput(app, "The edited copy (default: in place)");
  return [options] {
    Status status = SplitEdits(options->set, options->edit.set, options->edit.unset);
    if (status.ok()) status = SplitPairs(options->artifacts, options->edit.artifacts);
    if (!status.ok()) return Report(status);
    if (options->edit.empty()) return Report(InvalidArgument("nothing to change", "see: anemone edit --help"));
    if (options->plan.destination.empty()) {
      options->plan.destination = options->archive;
      options->plan.force = true;
    }
    options->plan.in_place = true;
    return options->plan.Run(PlanEdit(options->archive, options->edit));
  };
}

}  // namespace anemone::cli
