// A conversion is a list of passes over one checkpoint (convert.cc). Each has a file of its own, whose head says what
// holds before it, what holds after it, and what it notes. None names a model family or a format: families take part
// through their hooks (family/family.h), formats through their traits (format/format.h).
#ifndef ANEMONE_CONVERT_PASS_H_
#define ANEMONE_CONVERT_PASS_H_

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "anemone/convert.h"
#include "anemone/status.h"
#include "family/family.h"
#include "format/format.h"

namespace anemone {

// What the passes hand on.
struct Work {
  Work(const ConvertOptions& given, Conversion& to_fill, std::string source)
      : options(given), conversion(to_fill), source_path(std::move(source)) {}

  const ConvertOptions& options;
  Conversion& conversion;  // what was read, what it becomes, notes, the plan

  const std::string source_path;        // as the user gave it
  std::string asked_preset;             // as the user gave it; `options` has the one that a YAML of NeMo's stands for
  const Checkpoint* memory = nullptr;   // what is converted, where it is not a path
  const Format* format = nullptr;       // to be written; after Open
  std::shared_ptr<const Family> table;  // the user's own; after Resolve
  std::optional<Config> hparams;        // of the file that the option names; after Resolve
  // Family and dialect of the result, looked for once: every pass leaves them what they are, but Translate.
  Result<ModelIdentity> identity = NotFound("not resolved");
  std::optional<Config> unedited;  // without the values that the user sets and removes, if any; after EditConfig
  bool is_adapter = false;         // the result is an adapter in the names of the format; after ConvertAdapter
  LayOutOptions lay_out;

  Checkpoint& result() const { return conversion.result; }
  const FormatTraits& traits() const { return format->traits; }
  void Note(std::string note) const { conversion.notes.push_back(std::move(note)); }
  TranslateOptions KnownModel() const;
  // Whether the source's config is Hugging Face's; whether the result's is, by the dialect asked for or by the format.
  bool IsFromHuggingFace() const;
  bool IsToHuggingFace() const;
  // One shard without virtual chunks.
  bool HasOneWhole() const;
  // All ranks' shards become one.
  Status Merge(int tp = 1) const;
  // Drops the training state, and notes why, unless `why` is empty.
  void LeaveTraining(std::string_view why) const;
};

// Which coordinate a pass's errors get.
enum class ErrorPlace : uint8_t { kAsTheyAre, kSource, kDestination };

struct Pass {
  std::string_view name;     // "translate"
  std::string_view purpose;  // "names and shapes of the dialect to write"
  Status (*run)(Work& work);
  ErrorPlace place = ErrorPlace::kSource;
};

// In the order they run.
std::span<const Pass> Passes();

Status Open(Work& work);             // open.cc
Status CheckOptions(Work& work);     // check_options.cc
Status DropTraining(Work& work);     // training.cc
Status TakeTokenizer(Work& work);    // take_tokenizer.cc
Status NormalizeConfig(Work& work);  // normalize_config.cc
Status Dequantize(Work& work);       // dequantize.cc
Status Resolve(Work& work);          // resolve.cc
Status ConvertAdapter(Work& work);   // convert_adapter.cc
Status TakeParts(Work& work);        // take_parts.cc
Status MergeAdapters(Work& work);    // merge_adapters.cc
Status TranslateNames(Work& work);   // translate.cc
Status NumberTraining(Work& work);   // training.cc
Status LayOutOverRanks(Work& work);  // ranks.cc
Status NameTraining(Work& work);     // training.cc
Status CastTensors(Work& work);      // cast.cc
Status NameClass(Work& work);        // name_class.cc
Status EditConfig(Work& work);       // edit.cc
Status CheckFiles(Work& work);       // check_files.cc
Status SelectTensors(Work& work);    // select.cc
Status WriteConfig(Work& work);      // write_config.cc
Status LayOutFiles(Work& work);      // lay_out.cc

}  // namespace anemone

#endif  // ANEMONE_CONVERT_PASS_H_
