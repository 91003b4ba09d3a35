// WriteConfig: the config in the words of the format, where they are none that the passes before it speak.
//
// Before:  the config is complete, in NeMo 1's words.
// After:   it is in NeMo 2's, where NeMo 2 is to be written; in Megatron's, with the names and the tokenizer's files,
//          where one of its formats is. Each edit of the user's changed it.
// Notes:   each value that is not as NeMo 1's config has it; each that NeMo 1 does not find outside a .nemo; flags that
//          Megatron-LM is to be given.
#include <fmt/format.h>

#include <filesystem>
#include <functional>

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
  std::error_code error;
  const std::filesystem::path destination = std::filesystem::absolute(work.conversion.destination, error);
  if (error) return ErrnoStatus(error.value(), "cannot say which folder this is").In(".");
  const std::filesystem::path folder = destination / MegatronIterationFolder(iteration);
  const StateNames states(*result);
  ANEMONE_TRY(GiveMegatronCheckpoint({.language = language, .folder = folder.lexically_normal().string()},
                                     work.conversion.source, result, notes));
  states.Follow(result);
  return {};
}

// A value that the user sets or removes is refused where the config that is written would be the same without it: the
// format has no word for it. `edited`: before it was put in the format's words; `written`: after.
Status CheckEditsCount(const Work& work, const Checkpoint& edited, const Config& written) {
  const auto check = [&](std::string_view option, const std::string& key, const ConfigEdit& others) -> Status {
    Checkpoint without = edited;
    without.config = work.unedited;
    ANEMONE_TRY(ApplyEdit(others, *without.config, without.artifacts));
    if (SameConfig(without.config->root(), edited.config->root())) return {};
    std::vector<std::string> notes;
    // An edit counts, too, where the conversion would fail without it.
    if (!PutInWords(work, &without, &notes).ok() || !SameConfig(without.config->root(), written.root())) return {};
    return WrongOption(option, fmt::format("{}: expected a value that the config of a {} has a word for, found none: "
                                           "nothing would change",
                                           key, work.format->title));
  };
  const auto check_each = [&](std::string_view option, auto ConfigEdit::*list, const auto& key_of) -> Status {
    const ConfigEdit all{work.options.set, work.options.unset, {}};
    for (size_t i = 0; i < (all.*list).size(); ++i) {
      ConfigEdit others = all;
      (others.*list).erase((others.*list).begin() + static_cast<ptrdiff_t>(i));
      ANEMONE_TRY(check(option, key_of((all.*list)[i]), others));
    }
    return {};
  };
  ANEMONE_TRY(check_each("set", &ConfigEdit::set, [](const auto& pair) { return pair.first; }));
  return check_each("unset", &ConfigEdit::unset, std::identity());
}

Status PutInWordsOfFormat(Work& work) {
  Checkpoint& result = work.result();
  const std::optional<Checkpoint> edited = work.unedited ? std::optional(result) : std::nullopt;
  ANEMONE_TRY(PutInWords(work, &result, &work.conversion.notes));
  return edited ? CheckEditsCount(work, *edited, *result.config) : Status();
}

// A Hugging Face or OpenCLIP folder is loaded by its config. A source of that kind without one is written without.
Status CheckHasConfig(const Work& work) {
  const ConfigLanguage language = work.traits().language;
  const bool needs_one = language == ConfigLanguage::kHuggingFace || language == ConfigLanguage::kOpenClip;
  if (!needs_one || !work.options.strict || TraitsOf(work.conversion.source).language == language) return {};
  const std::optional<Config>& config = work.result().config;
  const bool is_there = language == ConfigLanguage::kOpenClip
                            ? config && config->root().Get("model_cfg") != nullptr
                            : config && (config->root().Get("model_type") || config->root().Get("architectures"));
  if (is_there) return {};
  return NotFound(fmt::format("expected a config of the model, by which a {} is loaded, found {}", work.format->title,
                              config ? work.result().config_name : "none"),
                  "OUT.safetensors needs none")
      .Use("hparams", "FILE", "give its config")
      .Use("strict", "false", "write the weights alone");
}

}  // namespace

Status WriteConfig(Work& work) {
  Checkpoint& result = work.result();
  ANEMONE_TRY(CheckHasConfig(work));
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
