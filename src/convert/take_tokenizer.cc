// TakeTokenizer: another tokenizer in place of the source's own.
//
// Before:  nothing has looked at the source's tokenizer.
// After:   where the user gives one, source and result have its files, and their configs name them.
// Notes:   none.
#include <vector>

#include "convert/pass.h"
#include "family/tokenizer/check_artifact.h"
#include "family/tokenizer/tokenizer_files.h"

namespace anemone {

Status TakeTokenizer(Work& work) {
  const std::string& path = work.options.tokenizer;
  if (path.empty()) return {};
  const ConfigLanguage from = TraitsOf(work.conversion.source).language;
  if (!IsOfMegatron(from) && work.IsFromHuggingFace() == work.IsToHuggingFace()) {
    return WrongOption("tokenizer", "expected a conversion from or to Hugging Face")
        .Use("artifacts", "tokenizer.model=FILE", "store a file for NeMo");
  }
  ANEMONE_ASSIGN(const std::vector<Artifact> given, OpenTokenizer(path));
  for (const Artifact& file : given) ANEMONE_TRY(CheckArtifact(file).In(path));
  for (Checkpoint* checkpoint : {&work.conversion.source, &work.conversion.result}) {
    ConfigNode* config = checkpoint->config && !IsOfMegatron(from) ? &checkpoint->config->root() : nullptr;
    ANEMONE_TRY(ReplaceTokenizer(given, config, &checkpoint->artifacts).In(path));
  }
  return {};
}

}  // namespace anemone
