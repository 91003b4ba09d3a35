// WriteConfig: the config in the words of the format, where they are none that the passes before it speak.
//
// Before:  the config is complete, in NeMo 1's words.
// After:   it is in NeMo 2's, where NeMo 2 is to be written; in Megatron's, with the names and the tokenizer's files,
//          where one of its formats is. Each edit of the user's changed it.
// Notes:   each value that is not as NeMo 1's config has it; each that NeMo 1 does not find outside a .nemo; flags that
//          Megatron-LM is to be given.
#include <fmt/format.h>

#include <filesystem>

#include "config/nodes.h"
#include "convert/pass.h"
#include "edit/artifact.h"
#include "family/nemo2_checkpoint.h"
#include "family/words/megatron_config.h"
#include "format/megatron/megatron.h"
#include "format/nemo/nemo.h"
#include "format/optimizer_state.h"

namespace anemone {
namespace {

// NeMo looks for `nemo:` values in a .nemo only, and takes them for none elsewhere [NeMo v2.0.0
// save_restore_connector.py, register_artifact]; its own .ckpt names a path.
void NoteLostReferences(const ConfigNode& config, std::vector<std::string>* notes) {
  for (const ArtifactReference& reference : ArtifactReferences(config)) {
    notes->push_back(
        fmt::format("{0} is nemo:{1}, which NeMo looks for in a .nemo only: before NeMo loads this output, set {0} to "
                    "a path of {1}",
                    reference.config_path, reference.name));
  }
}

Status PutInWords(const Work& work, Checkpoint* result, std::vector<std::string>* notes) {
  const ConfigLanguage language = work.traits().language;
  if (language == ConfigLanguage::kNemo2)
    return TakeNemo2Config({.id = work.options.nemo2_model, .version = work.options.nemo2_version}, work.KnownModel(),
                           result, notes);
  const int64_t iteration = MegatronIteration(*result, language == ConfigLanguage::kBridge);
  const std::filesystem::path folder =
      std::filesystem::absolute(work.conversion.destination) / MegatronIterationFolder(iteration);
  const StateNames states(*result);
  ANEMONE_TRY(GiveMegatronCheckpoint({.language = language, .folder = folder.lexically_normal().string()},
                                     work.conversion.source, result, notes));
  states.Follow(result);
  return {};
}

// A value that the user set, and that the format has no word for, would be lost in silence. `edited`: before it was put
// in the format's words; `written`: after.
Status CheckEditsCount(const Work& work, const Checkpoint& edited, const Config& written) {
  const ConvertOptions& options = work.options;
  const auto count = [&](std::string_view option, const std::string& key, const ConfigEdit& others) -> Status {
    Checkpoint without = edited;
    without.config = work.unedited;
    ANEMONE_TRY(ApplyEdit(others, *without.config, without.artifacts));
    if (SameConfig(without.config->root(), edited.config->root())) return {};
    std::vector<std::string> notes;
    // What fails without it is not what it is without it.
    if (!PutInWords(work, &without, &notes).ok() || !SameConfig(without.config->root(), written.root())) return {};
    return WrongOption(option, fmt::format("{}: expected a value that the config of a {} has a word for, found none: "
                                           "nothing would change",
                                           key, work.format->title));
  };
  const ConfigEdit all{options.set, options.unset, {}};
  for (size_t i = 0; i < all.set.size(); ++i) {
    ConfigEdit others = all;
    others.set.erase(others.set.begin() + static_cast<ptrdiff_t>(i));
    ANEMONE_TRY(count("set", all.set[i].first, others));
  }
  for (size_t i = 0; i < all.unset.size(); ++i) {
    ConfigEdit others = all;
    others.unset.erase(others.unset.begin() + static_cast<ptrdiff_t>(i));
    ANEMONE_TRY(count("unset", all.unset[i], others));
  }
  return {};
}

Status PutInWordsOfFormat(Work& work) {
  Checkpoint& result = work.result();
  const std::optional<Checkpoint> edited = work.unedited ? std::optional(result) : std::nullopt;
  ANEMONE_TRY(PutInWords(work, &result, &work.conversion.notes));
  return edited ? CheckEditsCount(work, *edited, *result.config) : Status();
}

}  // namespace

Status WriteConfig(Work& work) {
  Checkpoint& result = work.result();
  if (result.config && IsOfMegatron(work.traits().language))
    return IsMegatronConfig(result.config->root()) ? Status() : PutInWordsOfFormat(work);
  if (!result.config || IsNemo2Config(result.config->root())) return {};
  if (work.traits().language == ConfigLanguage::kNemo1 && !work.traits().is_nemo1_archive())
    NoteLostReferences(result.config->root(), &work.conversion.notes);
  if (work.traits().language != ConfigLanguage::kNemo2)
    return work.traits().is_megatron() ? CheckNemo1Words(*result.config) : Status();
  return PutInWordsOfFormat(work);
}

}  // namespace anemone
