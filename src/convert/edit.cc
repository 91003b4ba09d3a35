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
  const ConfigEdit files{{}, {}, options.artifacts}, values{options.set, options.unset, {}};
  if (files.empty() && values.empty()) return {};
  Checkpoint& result = work.result();
  if (!result.config) result.config.emplace();
  ANEMONE_TRY(ApplyEdit(files, *result.config, result.artifacts));
  if (values.empty()) return {};
  work.unedited = *result.config;
  return ApplyEdit(values, *result.config, result.artifacts);
}

}  // namespace anemone
