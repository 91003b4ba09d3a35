#include "ops/source.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "format/format.h"
#include "format/hub.h"
#include "ops/openclip_run.h"
#include "ops/wrappers.h"

namespace anemone {

namespace {

// "https://huggingface.co/org/name/tree/main", "hf://org/name": org/name@main, org/name. Empty for anything else.
std::string RepoOfUrl(std::string_view url) {
  constexpr std::string_view kHosts[] = {"https://huggingface.co/", "http://huggingface.co/", "https://hf.co/",
                                         "huggingface.co/", "hf://"};
  for (const std::string_view host : kHosts) {
    if (!url.starts_with(host)) continue;
    std::vector<std::string> parts;
    for (std::string_view rest = url.substr(host.size(), url.find_first_of("?#") - host.size()); !rest.empty();) {
      const size_t slash = std::min(rest.find('/'), rest.size());
      if (slash > 0) parts.emplace_back(rest.substr(0, slash));
      rest.remove_prefix(std::min(slash + 1, rest.size()));
    }
    if (parts.size() < 2) return {};
    const bool has_revision = parts.size() >= 4 && (parts[2] == "tree" || parts[2] == "blob" || parts[2] == "resolve");
    return parts[0] + "/" + parts[1] + (has_revision ? "@" + parts[3] : std::string());
  }
  return {};
}

}  // namespace

Result<Checkpoint> OpenSource(const std::string& source, const ProgressFn& progress, const OpenOptions& options) {
  if (source.empty()) return InvalidArgument("expected the path of a checkpoint, found nothing");
  const std::string url_repo = RepoOfUrl(source);
  if (!url_repo.empty() || LooksLikeRepoId(source)) {
    const RepoId repo = SplitRepoId(url_repo.empty() ? source : url_repo);
    const Result<std::string> snapshot = FetchModel(repo.name, repo.revision, HubOptions::FromEnvironment(), progress);
    if (!snapshot.ok()) {
      const Status& status = snapshot.status();
      const bool named = !status.error().where.empty() && status.error().where.front().starts_with(repo.name);
      return named ? status : status.In(source);
    }
    Result<Checkpoint> checkpoint = OpenCheckpoint(*snapshot, options);
    if (!checkpoint.ok()) return checkpoint;
    checkpoint->path = source;
    ANEMONE_TRY(TakeOffWrappers(&*checkpoint));
    return checkpoint;
  }
  ANEMONE_ASSIGN(Checkpoint checkpoint, OpenCheckpoint(source, options));
  ANEMONE_TRY(TakeOffWrappers(&checkpoint));
  ANEMONE_TRY(AddConfigOfOpenClipRun(&checkpoint));
  return checkpoint;
}

}  // namespace anemone
