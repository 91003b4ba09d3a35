#include "edit/save.h"

#include "base/lower_case.h"
#include "edit/archive.h"
#include "edit/replace.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "format/format.h"
#include "format/nemo/nemo.h"

namespace anemone {
namespace {

Result<Plan> LayOut(const Checkpoint& checkpoint, const Untouched& source, const Format& format) {
  ANEMONE_TRY(CheckArtifactReferences(checkpoint));
  if (!source.is_untouched || !TraitsOf(checkpoint).is_nemo1_archive()) return format.lay_out(checkpoint, {});
  const bool same_config = source.stored_config != nullptr && checkpoint.config &&
                           checkpoint.config->ToYaml() == Config(*source.stored_config).ToYaml();
  return PlanCopy(checkpoint.path, same_config ? nullptr : &*checkpoint.config, format.is_directory);
}

}  // namespace

Result<Saved> SaveNemo(const Checkpoint& checkpoint, const Untouched& source, const std::string& path,
                       const RunOptions& options) {
  if (checkpoint.shards.empty()) return InvalidArgument("only the config was restored").In(checkpoint.path);
  const Format* format = FindFormat(EndsWith(path, ".nemo") ? "nemo" : "nemo-dir");
  const Result<Plan> plan = LayOut(checkpoint, source, *format);
  if (!plan.ok()) return plan.status().In(path);
  ANEMONE_TRY(Check(*plan).In(path));
  ExecuteOptions execute;
  execute.threads = options.threads;
  execute.replace = options.force;
  execute.may_replace = MayReplace(*plan, /*in_place=*/true);  // what was restored may be saved where it lay
  execute.progress = options.progress;
  ANEMONE_TRY(Execute(*plan, path, execute));
  return Saved{format->name, plan->bytes_written()};
}

}  // namespace anemone
