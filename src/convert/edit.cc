// EditConfig: the user's last word on the config and its files.
//
// Before:  config and artifacts are the result's, the config in NeMo 1's words where NeMo 2 is to be written.
// After:   keys are set and removed, files are added, as asked.
// Notes:   none.
#include "convert/pass.h"
#include "edit/artifact.h"

namespace anemone {

Status EditConfig(Work& work) {
  const ConfigEdit edit{work.options.set, work.options.unset, work.options.artifacts};
  if (edit.empty()) return {};
  Checkpoint& result = work.result();
  if (!result.config) result.config.emplace();
  return ApplyEdit(edit, *result.config, result.artifacts);
}

}  // namespace anemone
