// WriteConfig: the config in the words of the format, where they are none that the passes before it speak.
//
// Before:  the config is complete, in NeMo 1's words.
// After:   it is in NeMo 2's, where NeMo 2 is to be written; in Megatron's, with the names and the tokenizer's files,
//          where one of its formats is.
// Notes:   each value that is not as NeMo 1's config has it; each that NeMo 1 does not find outside a .nemo; flags that
//          Megatron-LM is to be given.
#include <fmt/format.h>

#include <filesystem>

#include "convert/pass.h"
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

Status WriteMegatron(Work& work) {
  const ConfigLanguage language = work.traits().language;
  const int64_t iteration = MegatronIteration(work.result(), language == ConfigLanguage::kBridge);
  const std::filesystem::path folder =
      std::filesystem::absolute(work.conversion.destination) / MegatronIterationFolder(iteration);
  Checkpoint& result = work.result();
  const StateNames states(result);
  ANEMONE_TRY(GiveMegatronCheckpoint({.language = language, .folder = folder.lexically_normal().string()},
                                     work.conversion.source, &result, &work.conversion.notes));
  states.Follow(&result);
  return {};
}

}  // namespace

Status WriteConfig(Work& work) {
  Checkpoint& result = work.result();
  if (result.config && IsOfMegatron(work.traits().language))
    return IsMegatronConfig(result.config->root()) ? Status() : WriteMegatron(work);
  if (!result.config || IsNemo2Config(result.config->root())) return {};
  if (work.traits().language == ConfigLanguage::kNemo1 && !work.traits().is_nemo1_archive())
    NoteLostReferences(result.config->root(), &work.conversion.notes);
  if (work.traits().language != ConfigLanguage::kNemo2)
    return work.traits().is_megatron() ? CheckNemo1Words(*result.config) : Status();
  return TakeNemo2Config({.id = work.options.nemo2_model, .version = work.options.nemo2_version}, work.KnownModel(),
                         &result, &work.conversion.notes);
}

}  // namespace anemone
