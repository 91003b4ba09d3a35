// NormalizeConfig: a NeMo 2 config in the words of NeMo 1, which the families' tables and all other formats speak.
//
// Before:  the config is in the source's words.
// After:   it is not in NeMo 2's, unless NeMo 2 is written, or NeMo 1 has no words for the model and no format to write
//          needs them.
// Notes:   none.
#include <utility>

#include "convert/pass.h"
#include "family/nemo2_checkpoint.h"

namespace anemone {

Status NormalizeConfig(Work& work) {
  Checkpoint& result = work.result();
  if (work.traits().language == ConfigLanguage::kNemo2 || !result.config || !IsNemo2Config(result.config->root()))
    return {};
  Result<ConfigNode> config = ToNemo1Config(result.config->root());
  if (!config.ok()) return work.traits().is_nemo1_archive() ? config.status().In(result.config_name) : Status();
  return TakeNemo1Config(*std::move(config), &result);
}

}  // namespace anemone
