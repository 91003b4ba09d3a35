// report SRC [SRC2] -o FILE.html: one page to look at.
#include "inspect/report.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/page.h"
#include "cli/text.h"
#include "source/source.h"

namespace anemone::cli {
namespace {

struct Options {
  std::string first;
  std::string second;
  std::string output;
  bool statistics = false;
  bool force = false;
};

Status Run(const Options& options) {
  ANEMONE_TRY(CheckPagePath(options.output, options.force));
  ReportOptions report;
  report.statistics = options.statistics;
  report.threads = globals().threads;
  report.progress = MakeProgress();
  std::vector<Checkpoint> checkpoints;
  for (const std::string& path : {options.first, options.second}) {
    if (path.empty()) continue;
    ANEMONE_ASSIGN(Checkpoint checkpoint, OpenSource(path, report.progress));
    checkpoints.push_back(std::move(checkpoint));
  }
  std::vector<const Checkpoint*> pointers;
  pointers.reserve(checkpoints.size());
  for (const Checkpoint& checkpoint : checkpoints) pointers.push_back(&checkpoint);
  ANEMONE_ASSIGN(ConfigNode data, DescribeForReport(pointers, report));
  ANEMONE_TRY(WritePage(kReportPage, std::move(data), options.output, options.force));
  if (globals().verbosity >= 0) Print(fmt::format("wrote {}\n", OneLine(options.output)));
  return {};
}

}  // namespace

std::function<int()> DeclareReport(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("SRC", options->first, "A checkpoint: file, directory or hub id")->required();
  app.add_option("SRC2", options->second, "Another: the page shows how the two differ, layer by layer");
  app.add_option("-o,--output", options->output, "The page to write")->required()->type_name("FILE.html");
  app.add_flag("--statistics", options->statistics, "Read all weights: each tensor's statistics and histogram");
  app.add_flag("--force", options->force, "Replace an existing page");
  return [options] {
    const Status status = Run(*options);
    return status.ok() ? static_cast<int>(kDone) : Report(status);
  };
}

}  // namespace anemone::cli
