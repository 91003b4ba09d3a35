// average A B … DST: weights averaged over checkpoints.
#include "edit/average.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/describe.h"
#include "cli/plan_flags.h"
#include "edit/destination.h"
#include "source/source.h"

namespace anemone::cli {
namespace {

struct Options {
  std::vector<std::string> paths;  // sources, then the destination
  std::string to;
  PlanFlags plan;
};

Result<Plan> PlanAverage(const std::vector<std::string>& sources, const std::string& destination,
                         const std::string& to) {
  const ProgressFn progress = MakeProgress();
  std::vector<Checkpoint> checkpoints;
  for (const std::string& source : sources) {
    ANEMONE_ASSIGN(Checkpoint checkpoint, OpenSource(source, progress));
    checkpoints.push_back(std::move(checkpoint));
  }
  ANEMONE_ASSIGN(const Checkpoint mean, AverageCheckpoints(checkpoints));
  Notes(mean.notes);
  ANEMONE_ASSIGN(const Format* format, DestinationFormat(destination, to));
  return format->lay_out(mean, {});
}

}  // namespace

std::function<int()> DeclareAverage(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("PATHS", options->paths, "Two checkpoints or more, then DST")->required()->expected(1, 10000);
  options->plan.DeclareShared(app);
  Suggest(app.add_option("--to", options->to, "Format to write (default: by the destination's name)"),
          WritableFormats());
  return [options] {
    if (options->paths.size() < 3) {
      return Report(InvalidArgument(fmt::format("expected two checkpoints or more and a destination, found {} path{}",
                                                options->paths.size(), options->paths.size() == 1 ? "" : "s"),
                                    "see: anemone average --help"));
    }
    options->plan.destination = options->paths.back();
    const std::vector<std::string> sources(options->paths.begin(), options->paths.end() - 1);
    return options->plan.Run(PlanAverage(sources, options->plan.destination, options->to));
  };
}

}  // namespace anemone::cli
