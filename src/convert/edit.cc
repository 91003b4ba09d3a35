// EditConfig: the user's last word on the config and its files.
//
// Before:  config and artifacts are the result's, the config in NeMo 1's words where NeMo 2 is to be written.
// After:   keys are set and removed, files are added, as asked.
// Notes:   none.
#include "convert/pass.h"
#include "edit/artifact.h"

namespace anemone {

Status EditConfig(Work& work) {
  const ConvertOptions& options = work.options;
  if (options.set.empty() && options.unset.empty() && options.artifacts.empty()) return {};
  Checkpoint& result = work.result();
  if (!result.config) result.config.emplace();
  ANEMONE_TRY(ApplyEdit({{}, {}, options.artifacts}, *result.config, result.artifacts));
  work.unedited = *result.config;
  return ApplyEdit({options.set, options.unset, {}}, *result.config, result.artifacts);
}

}  // namespace anemone
