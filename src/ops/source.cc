#include "ops/source.h"

#include "format/format.h"
#include "format/hub.h"
#include "ops/openclip_run.h"

namespace anemone {

Result<Checkpoint> OpenSource(const std::string& source, const ProgressFn& progress) {
  if (source.empty()) return InvalidArgument("expected the path of a checkpoint, found nothing");
  if (LooksLikeRepoId(source)) {
    const RepoId repo = SplitRepoId(source);
    const Result<std::string> snapshot = FetchModel(repo.name, repo.revision, HubOptions::FromEnvironment(), progress);
    if (!snapshot.ok()) {
      const Status& status = snapshot.status();
      const bool named = !status.error().where.empty() && status.error().where.front().starts_with(repo.name);
      return named ? status : status.In(source);
    }
    Result<Checkpoint> checkpoint = OpenCheckpoint(*snapshot);
    if (checkpoint.ok()) checkpoint->path = source;
    return checkpoint;
  }
  ANEMONE_ASSIGN(Checkpoint checkpoint, OpenCheckpoint(source));
  ANEMONE_TRY(AddConfigOfOpenClipRun(&checkpoint));
  return checkpoint;
}

}  // namespace anemone
