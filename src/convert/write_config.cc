// WriteConfig: the config in the words of the format, where they are none that the passes before it speak.
//
// Before:  the config is complete, in NeMo 1's words.
// After:   it is in NeMo 2's, where NeMo 2 is to be written.
// Notes:   each value that is not as NeMo 1's config has it.
#include "convert/pass.h"
#include "family/model_words.h"
#include "family/nemo2_checkpoint.h"

namespace anemone {

Status WriteConfig(Work& work) {
  Checkpoint& result = work.result();
  if (!result.config || IsNemo2Config(result.config->root())) return {};
  if (work.traits().language != ConfigLanguage::kNemo2)
    return work.traits().is_megatron() ? CheckNemo1Factors(result.config->root()) : Status();
  return TakeNemo2Config({.id = work.options.nemo2_model, .version = work.options.nemo2_version}, work.KnownModel(),
                         &result, &work.conversion.notes);
}

}  // namespace anemone
