#include "source/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/cancel.h"
#include "base/listing.h"
#include "base/nearest.h"
#include "base/progress.h"
#include "base/read_at_most.h"
#include "base/shell_word.h"
#include "base/tree.h"
#include "format/format.h"
#include "format/huggingface/huggingface.h"
#include "net/hub.h"
#include "net/remote_files.h"
#include "net/url.h"
#include "source/openclip_run.h"
#include "source/run_folder.h"
#include "source/wrappers.h"

namespace anemone {

namespace {

// What an address names on the hub.
struct OnHub {
  RepoId repo;
  std::string inside;  // a file or folder of the repository; empty: the model
};

// "refs%2Fpr%2F1" is how a browser shows "refs/pr/1".
std::string Decoded(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const bool is_escape = text[i] == '%' && i + 2 < text.size() &&
                           std::from_chars(&text[i + 1], &text[i + 3], value, 16).ptr == &text[i + 3];
    decoded += is_escape ? static_cast<char>(value) : text[i];
    i += is_escape ? 2 : 0;
  }
  return decoded;
}

std::vector<std::string> PartsOf(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    if (slash > 0) parts.emplace_back(path.substr(0, slash));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}

// "https://huggingface.co/org/name/tree/main/sub", "hf://org/name@main/sub".
std::optional<OnHub> HubAddress(std::string_view url) {
  constexpr std::string_view kHosts[] = {
      "https://huggingface.co/", "http://huggingface.co/", "https://hf.co/", "huggingface.co/", "hf.co/", "hf://"};
  constexpr std::string_view kPages[] = {"tree", "blob", "resolve", "raw", "commit"};
  const auto* const host = std::ranges::find_if(kHosts, [&](std::string_view known) { return url.starts_with(known); });
  if (host == std::end(kHosts)) return std::nullopt;
  std::vector<std::string> parts = PartsOf(url.substr(host->size(), url.find_first_of("?#") - host->size()));
  if (parts.size() > 2 && parts[0] == "models") parts.erase(parts.begin());
  if (parts.size() < 2) return std::nullopt;
  OnHub found{.repo = SplitRepoId(parts[0] + "/" + parts[1]), .inside = {}};
  size_t next = 2;
  if (parts.size() >= 4 && std::ranges::find(kPages, parts[2]) != std::end(kPages)) {
    found.repo.revision = Decoded(parts[3]);
    next = 4;
  }
  // A revision of two slashes [huggingface_hub hf_file_system.py, SPECIAL_REFS_REVISION_REGEX].
  if (found.repo.revision == "refs" && parts.size() >= next + 2 && (parts[next] == "pr" || parts[next] == "convert")) {
    found.repo.revision += "/" + parts[next] + "/" + parts[next + 1];
    next += 2;
  }
  for (; next < parts.size(); ++next) found.inside += (found.inside.empty() ? "" : "/") + Decoded(parts[next]);
  return found;
}

// What an address or an id names on the hub.
std::optional<OnHub> NamedOnHub(const std::string& source) {
  std::optional<OnHub> hub = HubAddress(source);
  // "models/demo-clipp" beside a folder models/ is a path with a typing error: nothing is asked of the hub.
  const Result<PathKind> above = KindOf(source.substr(0, source.find('/')));
  const bool is_below_a_folder = !above.ok() || *above == PathKind::kFolder;
  if (!hub && LooksLikeRepoId(source) && !is_below_a_folder) hub = OnHub{SplitRepoId(source), {}};
  return hub;
}

// "no such file": what it may have been instead.
Status Explain(const Status& missing, const std::string& path) {
  if (path == "-") return missing.Hint("standard input is not read: give the path of a file");
  if (path.find("://") != std::string::npos)
    return missing.Hint("addresses begin with https://, http://, hf://, s3:// or gs://");
  if (LooksLikeRepoId(path)) {
    const std::string folder = path.substr(0, path.find('/'));
    return missing.Hint(folder + "/ is a folder here; a model of the hub is then named hf://" + path);
  }
  return missing;
}

// How much of a model on a server was read to open it.
std::string ReadSoFar(const Location& place) {
  const auto* files = dynamic_cast<const RemoteFiles*>(place.files().get());
  return files == nullptr ? std::string()
                          : fmt::format("read in place: {} bytes in {} requests so far",
                                        files->pool().bytes_read.load(), files->pool().requests.load());
}

}  // namespace

Result<Checkpoint> OpenPlace(const Location& place, const OpenOptions& options) {
  const std::string& path = place.string();
  Result<Checkpoint> opened = OpenCheckpoint(place, options);
  if (opened.ok()) return opened;
  const Status status = opened.status();
  if (status.kind() == ErrorKind::kNotFound && place.files() == nullptr)
    return Explain(WithNearestPath(status, path), path);
  const bool is_of_no_format = status.kind() == ErrorKind::kUnsupported || status.kind() == ErrorKind::kCorrupt;
  if (!is_of_no_format) return status;
  ANEMONE_ASSIGN(const bool is_folder, place.IsFolder());
  if (!is_folder) return status;
  const Result<std::vector<std::string>> found = FindCheckpoints(place);
  if (!found.ok()) return IsReadFailure(found.status()) ? found.status() : status;
  ANEMONE_ASSIGN(const Probe folder, ProbePath(place));
  if (found->empty()) return status;
  if (found->size() == 1) {
    opened = OpenCheckpoint({found->front(), place.files()}, options);
    if (!opened.ok()) return opened;
    opened->notes.push_back("the only checkpoint in " + path + " is " + found->front());
    const bool had_config = opened->config.has_value();
    ANEMONE_TRY(AddModelFolder(folder, *opened));
    if (!had_config && opened->config) opened->path = path;  // the folder is the model, not the weights alone
    return opened;
  }
  const auto last = std::ranges::find_if(*found, [](const std::string& name) {
    return name.find("-last") != std::string::npos || name.find("_latest") != std::string::npos;
  });
  return Unsupported(
             "expected one checkpoint, found a folder of " + std::to_string(found->size()) + ": " + Listing(*found),
             "name one of them: " + (last == found->end() ? found->front() : *last))
      .In(path);
}

bool IsAddress(const std::string& source) { return IsUrl(source) || NamedOnHub(source).has_value(); }

Result<Location> FindSource(const std::string& source, const ProgressFn& progress, bool all_files) {
  if (source.empty()) return InvalidArgument("expected the path of a checkpoint, found nothing");
  const std::optional<OnHub> hub = NamedOnHub(source);
  const HubOptions options = HubOptions::FromEnvironment();
  if (!hub && !IsUrl(source)) return Location(source);
  if (!hub) {
    const CancelScope scope(CancelledBy(progress, "waiting"));
    return OpenUrl(source, options.Http());
  }
  for (const std::string_view kind : {"dataset", "space"}) {
    if (hub->repo.name.starts_with(std::string(kind) + "s/"))
      return InvalidArgument(fmt::format("expected a model of the hub, found a {}", kind)).In(source);
  }
  std::string shown = hub->repo.name + (hub->repo.revision == "main" ? "" : "@" + hub->repo.revision);
  Result<Location> place = FindModel(hub->repo, hub->inside, shown, options, progress, all_files);
  if (place.ok()) return place;
  const Status& status = place.status();
  const bool named = !status.error().where.empty() && status.error().where.front().starts_with(hub->repo.name);
  return named ? status : status.In(source);
}

Result<Checkpoint> OpenSource(const std::string& source, const ProgressFn& progress, const OpenOptions& options) {
  ANEMONE_ASSIGN(const Location place, FindSource(source, progress));
  const CancelScope scope(CancelledBy(progress, "waiting"));
  ANEMONE_ASSIGN(Checkpoint checkpoint, OpenPlace(place, options));
  const bool is_given_path = place.string() == source;
  ANEMONE_TRY(TakeOffWrappers(&checkpoint));
  if (place.files() != nullptr) checkpoint.notes.push_back(ReadSoFar(place));
  if (is_given_path && place.files() == nullptr) ANEMONE_TRY(AddConfigOfOpenClipRun(&checkpoint));
  if (!is_given_path && place.files() == nullptr) checkpoint.path = source;
  return checkpoint;
}

}  // namespace anemone
