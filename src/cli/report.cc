// report SRC [SRC2] -o FILE.html: one page to look at.
#include "inspect/report.h"

#include <fmt/format.h>
#include <spawn.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <filesystem>
#include <memory>
#include <utility>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/next_steps.h"
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
  bool open = false;
};

// "clip.html" of "models/clip.nemo", "clip-clip_tp2.html" of two; a hub id's last part.
std::string PageName(const Options& options) {
  std::string name;
  for (const std::string& path : {options.first, options.second}) {
    if (path.empty()) continue;
    std::filesystem::path own(path.substr(0, path.find_last_not_of('/') + 1));
    std::error_code ignored;
    if (!std::filesystem::is_directory(own, ignored)) own.replace_extension();
    name += (name.empty() ? "" : "-") + own.filename().string();
  }
  return (name.empty() ? "report" : name) + ".html";
}

// Asks the desktop to show a file. Nobody waits for it.
Status ShowPage(const std::string& path) {
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::absolute(path, error);
  std::string program = "xdg-open", page = error ? path : whole.string();
  char* words[] = {program.data(), page.data(), nullptr};
  pid_t child = 0;
  const int failed = posix_spawnp(&child, program.c_str(), nullptr, nullptr, words, environ);
  if (failed == 0) return {};
  return ErrnoStatus(failed, "--open: cannot run xdg-open")
      .As(ErrorKind::kUnavailable)
      .Hint("open " + path + " yourself");
}

Status Run(Options& options) {
  if (options.output.empty()) options.output = PageName(options);
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
  report.next = [](const Checkpoint& checkpoint) -> Result<std::vector<std::string>> {
    ANEMONE_ASSIGN(const WholeModel whole, WholeModelOf(checkpoint));
    ANEMONE_ASSIGN(const std::vector<Step> steps, NextSteps(checkpoint, Summarize(checkpoint), whole));
    std::vector<std::string> commands;
    commands.reserve(steps.size());
    for (const Step& step : steps) commands.push_back(step.command);
    return commands;
  };
  const auto data = [&](JsonStream& map) { return DescribeForReport(pointers, report, map); };
  ANEMONE_TRY(WritePage(kReportPage, data, options.output, options.force, report.progress));
  if (globals().verbosity >= 0) Print(fmt::format("wrote {}\n", OneLine(options.output)));
  return options.open ? ShowPage(options.output) : Status();
}

}  // namespace

std::function<int()> DeclareReport(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("SRC", options->first, "A checkpoint: file, directory or hub id")->required();
  app.add_option("SRC2", options->second, "Another: the page shows how the two differ, layer by layer");
  app.add_option("-o,--output", options->output, "The page to write (default: by the names of SRC, in this folder)")
      ->type_name("FILE.html");
  app.add_flag("--statistics", options->statistics, "Read all weights: each tensor's statistics and histogram");
  app.add_flag("--force", options->force, "Replace an existing page");
  app.add_flag("--open", options->open, "Show the page in the desktop's browser");
  return [options] {
    const Status status = Run(*options);
    return status.ok() ? static_cast<int>(kDone) : Report(status);
  };
}

}  // namespace anemone::cli
