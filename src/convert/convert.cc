#include "anemone/convert.h"

#include <set>
#include <string_view>
#include <utility>

#include "anemone/save.h"
#include "convert/explain.h"
#include "convert/pass.h"
#include "edit/replace.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "source/nemo_yaml.h"

namespace anemone {
namespace {

constexpr Pass kPasses[] = {
    {"open", "reads headers, chooses the format", Open, ErrorPlace::kAsTheyAre},
    {"check-options", "refuses options that the result has no place for", CheckOptions},
    {"drop-training", "drops training state that the result cannot have", DropTraining},
    {"take-tokenizer", "puts another tokenizer in the source's place", TakeTokenizer},
    {"normalize-config", "puts a NeMo 2 config into NeMo 1's words", NormalizeConfig},
    {"dequantize", "multiplies weights by the scales of their blocks", Dequantize},
    {"resolve", "says which model it is", Resolve},
    {"convert-adapter", "puts an adapter alone in the names of the format", ConvertAdapter},
    {"take-parts", "adds the parts that the checkpoint leaves out", TakeParts},
    {"merge-adapters", "adds adapters of low rank to the weights", MergeAdapters},
    {"translate", "gives tensors the names and shapes of the dialect", TranslateNames},
    {"number-training", "keys optimizer state by number", NumberTraining},
    {"ranks", "merges and splits over ranks", LayOutOverRanks},
    {"name-training", "keys optimizer state by name", NameTraining},
    {"cast", "casts tensors, checks extra states", CastTensors},
    {"name-class", "names the class that restores the model", NameClass},
    {"edit", "sets config keys, adds files", EditConfig},
    {"check-files", "checks the files that travel with the model", CheckFiles},
    {"select", "keeps, drops and renames tensors as asked", SelectTensors},
    {"write-config", "puts the config into NeMo 2's words", WriteConfig},
    {"lay-out", "lays the files out", LayOutFiles, ErrorPlace::kDestination},
};

Status RunPass(const Pass& pass, Work& work) {
  Status status = pass.run(work);
  // The value of an option is the user's: its error is not the source's.
  if (!status.ok() && !status.error().option.empty()) return status;
  if (pass.place == ErrorPlace::kSource) return status.In(work.source_path);
  return pass.place == ErrorPlace::kDestination ? status.In(work.conversion.destination) : status;
}

Status RunAndExplain(const Pass& pass, Work& work) {
  const Checkpoint before = work.conversion.result;
  const std::vector<std::string> notes = AllNotes(work.conversion);
  const std::set<std::string_view> told(notes.begin(), notes.end());
  ANEMONE_TRY(RunPass(pass, work));
  PassReport report = Compare(before, work.conversion.result);
  report.name = pass.name;
  report.purpose = pass.purpose;
  if (work.conversion.plan != nullptr) report.files = work.conversion.plan->files.size();
  for (std::string& note : AllNotes(work.conversion)) {
    if (!told.contains(note)) report.notes.push_back(std::move(note));
  }
  work.conversion.passes.push_back(std::move(report));
  return {};
}

// Frees the parts of the source that no later pass reads: the result holds them, too.
void LeaveSource(const Pass& done, Checkpoint& source) {
  if (done.run != DropTraining && done.run != TranslateNames) return;
  for (Shard& shard : source.shards) {
    shard.training.reset();
    if (done.run != TranslateNames) continue;
    shard.weights = {};
    shard.chunks.clear();
  }
}

Result<Conversion> PlanPasses(const std::string& source, const Checkpoint* given, const std::string& destination,
                              const ConvertOptions& options) {
  Conversion conversion;
  conversion.destination = destination;
  ConvertOptions own = options;
  if (std::string note = LeaveOutNemosYaml(&own); !note.empty()) conversion.notes.push_back(std::move(note));
  Work work(own, conversion, source);
  work.memory = given;
  work.asked_preset = options.preset;
  for (const Pass& pass : kPasses) {
    ANEMONE_TRY(options.explain ? RunAndExplain(pass, work) : RunPass(pass, work));
    if (!options.keep_source) LeaveSource(pass, conversion.source);
  }
  conversion.notes = AllNotes(conversion);
  return conversion;
}

}  // namespace

std::span<const Pass> Passes() { return kPasses; }

bool PassReport::changed() const {
  return names_added + names_removed + recast + reshaped > 0 || !config_keys.empty() || !artifacts_added.empty() ||
         !artifacts_removed.empty() || layout || drops_training || files > 0 || !notes.empty();
}

Result<Conversion> PlanConversion(const std::string& source, const std::string& destination,
                                  const ConvertOptions& options) {
  return PlanPasses(source, nullptr, destination, options);
}

Result<Conversion> PlanSave(const Checkpoint& checkpoint, const std::string& destination,
                            const ConvertOptions& options) {
  return PlanPasses(checkpoint.path, &checkpoint, destination, options);
}

Status RunConversion(const Conversion& conversion, const RunOptions& options) {
  ExecuteOptions execute;
  execute.threads = options.threads;
  execute.replace = options.force;
  execute.may_replace = MayReplace(*conversion.plan);
  execute.resume = options.resume;
  execute.on_damaged_source = options.on_damaged_source;
  execute.progress = options.progress;
  return Execute(*conversion.plan, conversion.destination, execute);
}

}  // namespace anemone
