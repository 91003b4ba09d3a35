#include "cli/plan_flags.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <span>

#include "anemone/config.h"
#include "cli/command.h"
#include "cli/text.h"
#include "config/nodes.h"
#include "edit/destination.h"
#include "edit/replace.h"
#include "engine/execute.h"
#include "engine/share.h"
#include "engine/work_folder.h"
#include "format/format.h"
#include "format/torch/torch_file.h"
#include "inspect/json_nodes.h"
#include "inspect/summary.h"
#include "tensor/layout_text.h"

namespace anemone::cli {
namespace {

std::string Table(const Plan& plan, const std::string& destination, uint64_t peak) {
  std::vector<std::vector<std::string>> rows = {{"reads", HumanBytes(plan.bytes_read())},
                                                {"writes", HumanBytes(plan.bytes_written())},
                                                {"shares", HumanBytes(plan.bytes_shared())},
                                                {"tensors", fmt::format("{}", plan.num_tensors())},
                                                {"peak memory", HumanBytes(peak)}};
  for (const PlanFile& file : std::span(plan.files).first(Shown(plan.files.size()))) {
    rows.push_back({&file == plan.files.data() ? "files" : "",
                    fmt::format("{} ({})", OneLine(file.path.empty() ? destination : destination + "/" + file.path),
                                HumanBytes(file.size))});
  }
  if (std::string more = AndMore(plan.files.size(), "files"); !more.empty()) rows.push_back({"", std::move(more)});
  return Columns(rows);
}

// Torch files that are moved as they are have checksums of their own.
Plan WithRecordedCrcs(Plan plan) {
  for (PlanFile& file : plan.files) {
    for (Segment& segment : file.segments) {
      if (const ByteRange* range = segment.range())
        segment.content = std::make_shared<const ByteRange>(anemone::WithRecordedCrcs(*range));
    }
  }
  return plan;
}

}  // namespace

void PlanFlags::DeclareShared(CLI::App& app) {
  app.add_flag("--force", force, "Replace an existing file, or a folder that holds a checkpoint and nothing else");
  app.add_flag("--plan", plan_only, "Print what would be read and written, and stop");
  app.add_flag("--json", json, "With --plan or --explain: print one JSON object");
  // A function, as CLI11 counts into an optional, which then is false and not empty where neither flag is given.
  app.add_flag_function(
      "--verify-source,!--no-verify-source", [this](int64_t count) { verify_source = count > 0; },
      "Source records that do not match their checksum are an error (default), or a warning; given, what is "
      "shared with the source is read for it, too");
}

void PlanFlags::DeclareResume(CLI::App& app) {
  app.add_flag("--resume", resume, "Keep partial output when interrupted, and continue from it");
}

void PlanFlags::Declare(CLI::App& app, const std::string& name, const std::string& help) {
  app.add_option(name, destination, help)->required();
  DeclareShared(app);
}

void PlanFlags::DeclareOutput(CLI::App& app, const std::string& help) {
  app.add_option("-o,--output", destination, help)->type_name("PATH");
  DeclareShared(app);
}

// What runs that died have left where this one writes.
void PlanFlags::NoteLeftovers() const {
  std::string folder =
      std::filesystem::path(destination.substr(0, destination.find_last_not_of('/') + 1)).parent_path();
  if (folder.empty()) folder = ".";
  const Result<std::vector<Leftover>> leftovers = FindLeftovers(folder);
  if (!leftovers.ok()) return;  // not what was asked for
  std::vector<std::string> notes;
  for (const Leftover& leftover : *leftovers) {
    if (!leftover.is_resumable)
      notes.push_back(
          fmt::format("a run that died has left {}/{}: anemone clean {} removes it", folder, leftover.name, folder));
  }
  Notes(notes);
}

std::string InBrief(const Checkpoint& checkpoint, const Format& format) {
  const Summary summary = Summarize(checkpoint);
  std::string text(format.title.substr(0, format.title.find(" (")));
  text += fmt::format(", {} tensors", summary.weights.tensors);
  for (const auto& [dtype, amount] : summary.by_dtype)
    text += fmt::format("{} {}", amount.tensors == summary.weights.tensors ? "," : ", some", Name(dtype));
  const Layout& layout = checkpoint.layout;
  if (checkpoint.shards.size() > 1 || layout.vp > 1 || layout.ep > 1) text += ", " + LayoutText(layout);
  return text;
}

int PlanFlags::Run(const Result<Plan>& plan, const std::string& what) const {
  return plan.ok() ? Run(*plan, what) : Run(Plan(), what, plan.status());
}

int PlanFlags::Run(const Plan& given, const std::string& what, const Status& planned) const {
  // A plan is as large as the model has tensors: it is not copied without need.
  std::optional<Plan> checked;
  if (verify_source.value_or(false)) checked = WithRecordedCrcs(given);
  const Plan& plan = checked ? *checked : given;
  ExecuteOptions options;
  options.cluster = globals().cluster;
  Status status = CheckIsNoStream(destination);
  if (status.ok() && json && !plan_only) status = InvalidArgument("--json: expected --plan beside it");
  if (status.ok()) status = planned;
  if (status.ok()) status = CheckIsFolder(destination, plan.is_directory);
  if (status = options.cluster->Agree(status); !status.ok()) return Report(status);
  options.threads = globals().threads;
  options.replace = force;
  options.may_replace = MayReplace(plan, in_place);
  options.resume = resume;
  if (plan_only) {
    if (status = Check(plan); !status.ok()) return Report(status.In(destination));
    Print(json ? PlanJson(plan, destination, globals().threads)
               : Table(plan, destination, PeakMemoryBytes(plan, options)));
    return kDone;
  }
  Note(fmt::format("reads {}, writes {} in {} file{}; at most {} of memory", HumanBytes(plan.bytes_read()),
                   HumanBytes(plan.bytes_written()), plan.files.size(), plan.files.size() == 1 ? "" : "s",
                   HumanBytes(PeakMemoryBytes(plan, options))),
       1);
  options.progress = MakeProgress();
  size_t damaged = 0;
  if (!verify_source.value_or(true)) {
    options.on_damaged_source = [&damaged](const Status& damage) {
      ++damaged;
      if (Shown(damaged) == damaged) Note("warning: " + damage.message());
    };
  }
  const auto start = std::chrono::steady_clock::now();
  status = Execute(plan, destination, options);
  if (const std::string more = AndMore(damaged, "damaged records"); !more.empty()) Note(more);
  if (!status.ok()) return Report(status);
  NoteLeftovers();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (globals().verbosity >= 0) {
    Print(fmt::format("wrote {} ({}{}{} in {:.1f} s)\n", OneLine(destination), what, what.empty() ? "" : ", ",
                      HumanBytes(plan.bytes_written()), seconds));
  }
  return kDone;
}

Status SplitEdits(const std::vector<std::string>& words, std::vector<std::pair<std::string, std::string>>& set,
                  std::vector<std::string>& unset) {
  std::vector<std::string> pairs;
  for (const std::string& word : words) {
    const bool is_deletion = word.starts_with('~') && word.size() > 1 && word.find('=') == std::string::npos;
    if (is_deletion) {
      unset.push_back(word.substr(1));
    } else {
      pairs.push_back(word);
    }
  }
  return SplitPairs(pairs, set, "--set: ");
}

Status SplitPairs(const std::vector<std::string>& words, std::vector<std::pair<std::string, std::string>>& pairs,
                  std::string_view place, std::string_view form) {
  pairs.clear();
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
      return InvalidArgument(fmt::format("{}expected {}, found '{}'", place, form, word));
    }
    const std::string key = word.substr(0, equals);
    if (key.front() == '.' || key.find("..") != key.npos || (key.ends_with('.') && !key.ends_with("\\.")))
      return InvalidArgument(fmt::format("{}expected names between the dots of a key, found '{}'", place, key));
    pairs.emplace_back(key, word.substr(equals + 1));
  }
  return {};
}

}  // namespace anemone::cli
