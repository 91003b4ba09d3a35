// convert SRC DST and reshard SRC DST: any checkpoint to any other.
#include "anemone/convert.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/convert_flags.h"
#include "cli/describe.h"
#include "cli/explain.h"
#include "cli/forward.h"
#include "cli/plan_flags.h"
#include "edit/destination.h"
#include "inspect/summary.h"

namespace anemone::cli {
namespace {

struct Options {
  ConvertFlags flags;
  PlanFlags plan;
  bool check = false;
};

// What -v tells: what was found in the source, and what is made of it.
void NoteDecisions(const Conversion& conversion, const Format& format) {
  const auto tell = [](const char* which, const Checkpoint& checkpoint, const Format& stored_as) {
    const Summary summary = Summarize(checkpoint);
    const std::string model = summary.family().empty()
                                  ? std::string("unknown family")
                                  : fmt::format("{}, names of {}", summary.family(), summary.dialect());
    Note(fmt::format("{}: {}, {}", which, model, InBrief(checkpoint, stored_as)), 1);
  };
  if (conversion.source.format != nullptr) tell("source", conversion.source, *conversion.source.format);
  tell("result", conversion.result, format);
}

int Run(Options& options) {
  ConvertOptions& convert = options.flags.convert;
  if (const Status status = options.flags.Parse(); !status.ok()) return Report(status);
  convert.verify_source = options.plan.verify_source.value_or(false);
  convert.progress = MakeProgress();
  convert.keep_source = options.check || globals().verbosity > 0;
  const Result<Conversion> conversion = PlanConversion(options.flags.source, options.plan.destination, convert);
  if (const Status all = globals().cluster->Agree(conversion.status()); !all.ok()) return Report(all);
  if (convert.explain) {
    PrintPasses(*conversion, options.plan.json);
    return kDone;
  }
  Notes(conversion->notes);
  if (options.check) {
    const Status status = IsSpeaker() ? CanCheck(*conversion, convert).In("--check") : Status();
    if (const Status all = globals().cluster->Follow(status); !all.ok()) return Report(all);
  }
  const Format& format = *FindFormat(conversion->format);
  if (globals().verbosity > 0) NoteDecisions(*conversion, format);
  const int exit = options.plan.Run(*conversion->plan, InBrief(conversion->result, format));
  if (!options.check || options.plan.plan_only || exit != kDone || !IsSpeaker()) return exit;
  ForwardOptions forward;
  forward.threads = static_cast<int>(globals().threads);
  forward.progress = convert.progress;
  return PrintCheck(CheckConversion(*conversion, convert, forward));
}

void DeclareConversion(CLI::App& app, Options& options) {
  options.flags.DeclareSource(app);
  Topic(app, "Output");
  app.add_option("DST", options.plan.destination, "What to write: see the table above")->required();
  options.flags.DeclareFormat(app, "by the name of DST");
  options.plan.DeclareShared(app);
  options.plan.DeclareResume(app);
  options.flags.DeclareReflink(app);
  options.flags.DeclareCommon(app);
}

}  // namespace

std::function<int()> DeclareConvert(CLI::App& app) {
  auto options = std::make_shared<Options>();
  DeclareConversion(app, *options);
  app.add_flag("--check", options->check,
               "After converting, run both CLIPs on one image and texts; exit 1 where outputs differ");
  options->flags.DeclareForeign(app);
  app.add_flag("--explain", options->flags.convert.explain,
               "Print the passes of the conversion and what each changes, and stop")
      ->excludes("--plan");
  return [options] { return Run(*options); };
}

std::function<int()> DeclareReshard(CLI::App& app) {
  auto options = std::make_shared<Options>();
  DeclareConversion(app, *options);
  return [options] {
    const ConvertOptions& asked = options->flags.convert;
    if (!asked.tp && !asked.pp && !asked.vp && !asked.ep) {
      return Report(InvalidArgument("expected --tp, --pp, --vp or --ep", "see: anemone reshard --help"));
    }
    return Run(*options);
  };
}

}  // namespace anemone::cli
