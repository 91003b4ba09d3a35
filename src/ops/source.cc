#include "ops/source.h"

#include "format/format.h"
#include "format/hub.h"

namespace anemone {

Result<Checkpoint> OpenSource(const std::string& source, const ProgressFn& progress) {
  if (LooksLikeRepoId(source)) {
    const RepoId repo = SplitRepoId(source);
    const Result<std::string> snapshot = FetchModel(repo.name, repo.revision, HubOptions::FromEnvironment(), progress);
    if (!snapshot.ok()) return snapshot.status();
    Result<Checkpoint> checkpoint = OpenCheckpoint(*snapshot);
    if (checkpoint.ok()) checkpoint->path = source;
    return checkpoint;
  }
  return OpenCheckpoint(source);
}

}  // namespace anemone
