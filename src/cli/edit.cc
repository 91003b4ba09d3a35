// edit X.nemo: changes config or artifacts where the archive lies; the weights stay where they are.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/describe.h"
#include "cli/plan_flags.h"
#include "cli/text.h"
#include "edit/archive.h"
#include "edit/destination.h"
#include "edit/in_place.h"
#include "edit/replace.h"

namespace anemone::cli {

namespace {

struct Options {
  std::string archive;
  std::vector<std::string> set;
  std::vector<std::string> artifacts;
  ConfigEdit edit;
  bool strict = true;
  PlanFlags plan;
};

Status Parse(Options& options) {
  ANEMONE_TRY(SplitEdits(options.set, options.edit.set, options.edit.unset));
  ANEMONE_TRY(SplitPairs(options.artifacts, options.edit.artifacts, "--artifact: ", "KEY=FILE"));
  return options.edit.empty() ? InvalidArgument("nothing to change", "see: anemone edit --help") : Status();
}

// One process writes where the archive lies; the ranks of a cluster hear how it went.
int WriteInPlace(const Options& options, const PreparedEdit& prepared) {
  const auto start = std::chrono::steady_clock::now();
  const Plan nothing;
  Status status;
  if (IsSpeaker()) {
    status = MayReplace(nothing, /*in_place=*/true)(options.archive);
    if (status.ok()) status = EditInPlace(options.archive, prepared.written, *prepared.place);
  }
  if (status = globals().cluster->Follow(status); !status.ok()) return Report(status);
  uint64_t bytes = 0;
  for (const auto& [name, content] : prepared.written) bytes += content.size();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (globals().verbosity >= 0)
    Print(fmt::format("wrote {} (in place, {} in {:.1f} s)\n", OneLine(options.archive), HumanBytes(bytes), seconds));
  return kDone;
}

int Run(Options& options) {
  if (const Status status = Parse(options); !status.ok()) return Report(status);
  const Result<PreparedEdit> prepared = PrepareEdit(options.archive, options.edit, options.strict);
  // All ranks look before the first of them writes.
  const bool is_candidate = prepared.ok() && options.plan.destination.empty() && !prepared->removes && prepared->place;
  const Result<bool> in_place =
      is_candidate ? CanEditInPlace(options.archive, prepared->written, *prepared->place) : Result<bool>(false);
  const Status& found = prepared.ok() ? in_place.status() : prepared.status();
  if (const Status all = globals().cluster->Agree(found); !all.ok()) return Report(all);
  Notes(prepared->notes);
  if (!options.plan.destination.empty()) {
    const Status name = CheckIsNoOtherFormats(options.plan.destination);
    if (!name.ok()) return Report(name);
  } else {
    if (*in_place && !options.plan.plan_only && !options.plan.json) return WriteInPlace(options, *prepared);
    options.plan.destination = options.archive;
    options.plan.force = true;
  }
  options.plan.in_place = true;
  return options.plan.Run(PlanEdit(options.archive, options.edit));
}

}  // namespace

std::function<int()> DeclareEdit(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("X", options->archive, "A .nemo, packed or not")->required();
  Topic(app, "Changes");
  app.add_option("--set", options->set, "Set a config value; may be repeated")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_option("--unset", options->edit.unset, "Remove a config key; may be repeated")
      ->type_name("KEY")
      ->allow_extra_args(false);
  app.add_option("--artifact", options->artifacts, "Store FILE and let the config's KEY refer to it; may be repeated")
      ->type_name("KEY=FILE")
      ->allow_extra_args(false);
  app.add_flag("--strict,!--no-strict", options->strict, "A config that the weights do not fit is an error (default)");
  Topic(app, "Output");
  options->plan.DeclareOutput(app, "The edited copy (default: the archive itself is changed)");
  return [options] { return Run(*options); };
}

}  // namespace anemone::cli
