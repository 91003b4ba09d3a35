#include "source/source.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/nearest.h"
#include "format/format.h"
#include "net/hub.h"
#include "source/openclip_run.h"
#include "source/run_folder.h"
#include "source/wrappers.h"

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

// "no such file": what it may have been instead.
Status Explain(const Status& missing, const std::string& path) {
  if (path == "-") return missing.Hint("standard input is not read: give the path of a file");
  if (path.find("://") != std::string::npos)
    return missing.Hint("a URL is not a path: download it first; a model of the hub is org/name");
  if (LooksLikeRepoId(path)) {
    const std::string folder = path.substr(0, path.find('/'));
    return missing.Hint(folder + "/ is a folder here; a model of the hub is then named hf://" + path);
  }
  return missing;
}

// The checkpoint at `path`, or the only one in a training's folder.
Result<Checkpoint> OpenPath(const std::string& path, const OpenOptions& options) {
  Result<Checkpoint> opened = OpenCheckpoint(path, options);
  if (opened.ok()) return opened;
  const Status status = opened.status();
  if (status.kind() == ErrorKind::kNotFound) return Explain(WithNearestPath(status, path), path);
  std::error_code error;
  if (status.kind() != ErrorKind::kUnsupported || !std::filesystem::is_directory(path, error)) return status;
  const Result<std::vector<std::string>> found = FindCheckpoints(path);
  if (!found.ok() || found->empty()) return status;
  if (found->size() == 1) {
    opened = OpenCheckpoint(found->front(), options);
    if (opened.ok()) opened->notes.push_back("the only checkpoint in " + path + " is " + found->front());
    return opened;
  }
  constexpr size_t kShown = 6;
  std::string listing;
  for (size_t i = 0; i < std::min(found->size(), kShown); ++i) listing += (i == 0 ? "" : ", ") + (*found)[i];
  if (found->size() > kShown) listing += " and " + std::to_string(found->size() - kShown) + " more";
  const auto last =
      std::ranges::find_if(*found, [](const std::string& name) { return name.find("-last") != std::string::npos; });
  return Unsupported("expected one checkpoint, found a folder of " + std::to_string(found->size()) + ": " + listing,
                     "name one of them: " + (last == found->end() ? found->front() : *last))
      .In(path);
}

}  // namespace

Result<Checkpoint> OpenSource(const std::string& source, const ProgressFn& progress, const OpenOptions& options) {
  if (source.empty()) return InvalidArgument("expected the path of a checkpoint, found nothing");
  const std::string url_repo = RepoOfUrl(source);
  // "models/demo-clipp" beside a folder models/ is a path with a typing error: nothing is asked of the hub.
  std::error_code error;
  const bool is_below_a_folder = std::filesystem::is_directory(source.substr(0, source.find('/')), error);
  if (!url_repo.empty() || (LooksLikeRepoId(source) && !is_below_a_folder)) {
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
  ANEMONE_ASSIGN(Checkpoint checkpoint, OpenPath(source, options));
  ANEMONE_TRY(TakeOffWrappers(&checkpoint));
  ANEMONE_TRY(AddConfigOfOpenClipRun(&checkpoint));
  return checkpoint;
}

}  // namespace anemone
