// Resolve: says which model it is.
//
// Before:  the config is in no words but those that the tables speak, as it may say which of two dialects it is.
// After:   it is a whole one, unless the user takes a part; a table of the user's is read; a Hugging Face source's
//          config names the class that the user names, a config of the weights that the user gives is the source's;
//          `identity` is the family and dialect that the names tell,
//          or the error that says why none is known.
// Notes:   none.
#include <fmt/format.h>

#include "convert/pass.h"
#include "family/user_table.h"
#include "family/words/config_languages.h"
#include "source/text_file.h"
#include "source/wrappers.h"

namespace anemone {
namespace {

Status ReadTable(Work& work) {
  const std::string& path = work.options.table;
  if (path.empty()) return {};
  ANEMONE_ASSIGN(const Config table, ReadYaml(path));
  auto family = ParseUserTable(table);
  if (!family.ok()) return family.status().In(path);
  work.table = *std::move(family);
  return {};
}

Status CheckWhole(const Work& work) {
  const std::string& whole = work.conversion.source.origin.part_of;
  if (whole.empty() || !work.options.strict) return {};
  const bool is_index = whole.ends_with(".index.json");
  return Corrupt("expected a whole checkpoint, found one part of several",
                 is_index ? fmt::format("give {}, with all parts beside it", whole)
                          : fmt::format("{} has all parts: give that", whole))
      .Use("strict", "false", "take this part alone");
}

// A config.json of the weights, given by the user, is the source's: it says which class they are of.
bool IsConfigOfWeights(const Work& work) {
  return work.hparams && work.table == nullptr && DetectLanguage(work.hparams->root()) == ConfigLanguage::kHuggingFace;
}

// A Hugging Face source is of the class that the user names, whatever its config says.
void TakeArchitecture(Work& work) {
  const std::string& name = work.options.architecture;
  if (name.empty() || !(work.IsFromHuggingFace() || IsConfigOfWeights(work))) return;
  for (Checkpoint* checkpoint : {&work.conversion.source, &work.conversion.result}) {
    if (!checkpoint->config) continue;
    checkpoint->config->root()["architectures"] = ConfigNode::List({ConfigNode::String(name)});
    checkpoint->config->root().Erase("model_type");  // which may be another's
  }
}

Status ReadHparams(Work& work) {
  const std::string& path = work.options.hparams;
  if (path.empty()) return {};
  Result<Config> hparams = ReadYaml(path);
  if (!hparams.ok()) {
    const Status& status = hparams.status();
    return Status(status.kind(), status.message(), status.error().hint).OfOption("hparams");
  }
  work.hparams = *std::move(hparams);
  return {};
}

void TakeConfigOfWeights(Work& work) {
  if (!IsConfigOfWeights(work)) return;
  for (Checkpoint* checkpoint : {&work.conversion.source, &work.conversion.result}) {
    checkpoint->config = work.hparams;
    checkpoint->config_name = work.options.hparams;
  }
}

// Options of conversions between NeMo and Hugging Face.
Status CheckDirection(const Work& work) {
  const bool from_hf = work.IsFromHuggingFace(), to_hf = work.IsToHuggingFace();
  if (work.options.vocab_size && (from_hf || !to_hf))
    return WrongOption("vocab_size", "expected a conversion from NeMo to Hugging Face");
  if (!work.options.architecture.empty() && (from_hf || IsConfigOfWeights(work)) == to_hf)
    return WrongOption("architecture", "expected a conversion from or to Hugging Face");
  if (!work.asked_preset.empty() && work.identity.ok() && work.identity->family->presets == nullptr) {
    return WrongOption(
        "preset", fmt::format("expected a model of which sizes have names, found a {}", work.identity->family->title));
  }
  return {};
}

}  // namespace

Status Resolve(Work& work) {
  ANEMONE_TRY(ReadTable(work));
  ANEMONE_TRY(CheckWhole(work));
  ANEMONE_TRY(ReadHparams(work));
  TakeConfigOfWeights(work);
  TakeArchitecture(work);
  work.identity = IdentifyModel(work.result(), work.table.get());
  if (!work.identity.ok()) work.identity = WithSeveralModels(work.identity.status(), work.conversion.source);
  return CheckDirection(work);
}

}  // namespace anemone
