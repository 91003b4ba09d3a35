// NormalizeConfig: a config of NeMo 2's or Megatron's in the words of NeMo 1, which the families' tables and all other
// formats speak.
//
// Before:  the config is in the source's words.
// After:   it is not in Megatron's; a checkpoint of Megatron's has the names of NeMo's modules, where NeMo is to load
//          it. It is not in NeMo 2's, unless NeMo 2 is written, or NeMo 1 has no words for the model and no format to
//          write needs them.
//          One of Megatron's that no table has words for stays as it is where the same framework's is written.
// Notes:   arguments of Megatron's that are not known, or why the config stays.
#include <utility>

#include "convert/pass.h"
#include "family/nemo2_checkpoint.h"
#include "family/words/megatron_config.h"
#include "family/words/nemo2_config.h"
#include "format/format.h"
#include "format/optimizer_state.h"

namespace anemone {

namespace {

// A target without a config needs none: tensors of a model that NeMo 1 has no words for keep their names.
Status NormalizeMegatron(Work& work) {
  const FormatTraits& traits = work.traits();
  MegatronTarget target{.language = traits.language};
  target.names = traits.is_megatron() && traits.model_class != ModelClassIn::kNowhere;
  const StateNames states(work.result());
  Status taken = TakeMegatronCheckpoint(target, &work.result(), &work.conversion.notes);
  states.Follow(&work.result());
  if (taken.ok() || !work.HasOneWhole()) return taken;
  if (traits.language == ConfigLanguage::kNone) return {};
  // The same framework reads what it wrote, whatever the words mean.
  const bool is_same = traits.language == TraitsOf(work.conversion.source).language && !work.options.dtype;
  if (!is_same || taken.kind() != ErrorKind::kUnsupported) return taken;
  work.conversion.notes.push_back("the config is carried as it is: " + taken.message());
  return {};
}

}  // namespace

Status NormalizeConfig(Work& work) {
  Checkpoint& result = work.result();
  if (result.config && IsMegatronConfig(result.config->root())) return NormalizeMegatron(work);
  if (work.traits().language == ConfigLanguage::kNemo2 || !result.config || !IsNemo2Config(result.config->root()))
    return {};
  Result<ConfigNode> config = Nemo1ConfigOf(result);
  if (Status carried = CheckNemo2Carried(result.config->root()); config.ok() && !carried.ok())
    config = std::move(carried);
  if (!config.ok()) {
    const ConfigLanguage language = work.traits().language;
    const bool needs_words = work.traits().is_nemo1_archive() || IsOfMegatron(language) ||
                             language == ConfigLanguage::kHuggingFace || language == ConfigLanguage::kOpenClip;
    return needs_words ? config.status().In(result.config_name) : Status();
  }
  return TakeNemo1Config(*std::move(config), &result);
}

}  // namespace anemone
