#include "net/hub.h"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>

#include "base/cancel.h"
#include "base/safe_path.h"
#include "base/tree.h"
#include "net/http.h"
#include "net/hub_cache.h"
#include "net/hub_files.h"
#include "net/remote_files.h"

namespace anemone {
namespace {

using internal::HubCache;
using internal::HubChoice;

// A file as a HEAD request describes it.
struct HubFile {
  std::string name;
  std::string url;
  std::string etag;
  uint64_t size = UINT64_MAX;  // UINT64_MAX: not said
};

// What the server's refusal means.
Status Refusal(const HttpResponse& response) {
  const std::string_view code = response.Header("x-error-code");
  const std::string_view words = response.Header("x-error-message");
  const std::string status = " (HTTP " + std::to_string(response.status) +
                             (words.empty() ? "" : ": " + std::string(words.substr(0, 200))) + ")";
  if (code == "GatedRepo") {
    return Unavailable("expected access, the repository is gated" + status,
                       "accept its conditions on its page, then set HF_TOKEN");
  }
  if (code == "DisabledRepo") return Unavailable("expected access, the repository is disabled" + status);
  if (code == "RevisionNotFound") return NotFound("expected the revision, the hub has none of that name" + status);
  if (code == "EntryNotFound") return NotFound("expected the file, the revision has none of that name" + status);
  if (code == "RepoNotFound" || response.status == 404) {
    return NotFound("expected a model repository, the hub shows none of that name" + status,
                    "if it is private, set HF_TOKEN");
  }
  if (response.status == 401)
    return Unavailable("expected access, the hub refuses the token" + status, "check HF_TOKEN, or log in again");
  if (response.status == 403)
    return Unavailable("expected access, the hub forbids it" + status, "check what the token may read");
  if (response.status == 429) {
    const std::optional<double> wait = RetryAfter(response);
    return Unavailable("rate-limited" + status,
                       wait ? "try again in " + std::to_string(static_cast<int64_t>(*wait)) + " s"
                            : "try again later, or set HF_TOKEN");
  }
  if (response.status >= 500) return Unavailable("the hub is in trouble" + status, "try again later");
  return Unavailable("expected the file, the hub answers otherwise" + status);
}

std::string Unquoted(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  return std::string(etag);
}

// UINT64_MAX where the answer states none.
Result<uint64_t> SizeIn(const HttpResponse& head, std::string_view name) {
  const std::string_view text = head.Header(name);
  if (text.empty()) return UINT64_MAX;
  uint64_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  if (error == std::errc() && end == text.data() + text.size() && size < INT64_MAX) return size;
  return Unavailable("expected a size in bytes, found " + std::string(name) + ": " + std::string(text.substr(0, 100)));
}

Result<std::vector<std::string>> Shards(const std::string& path) {
  ANEMONE_ASSIGN(ByteSourcePtr index, OpenFile(path));
  return internal::ReadShards(std::move(index));
}

// Address of a file of a commit.
std::string ResolveUrl(const HubOptions& options, const std::string& repo, const std::string& commit,
                       const std::string& name) {
  return options.endpoint + "/" + repo + "/resolve/" + commit + "/" + UrlEncode(name, "/");
}

class Fetch {
 public:
  Fetch(const RepoId& repo, const HubOptions& options, const ProgressFn& progress)
      : repo_(repo),
        options_(options),
        progress_(progress),
        cache_(options.cache_dir, repo.name, options.symlinks),
        client_(options.Http()),
        scope_([this] { return !Report("waiting"); }) {}

  Result<std::string> Run() {
    if (const std::optional<std::string> path = Known()) return *path;
    if (options_.offline) return NotKnown();
    Result<std::string> path = Download();
    return path.ok() ? path : InsteadOf(path.status());
  }

  // Where the model, or `inside` of its repository, is: in the cache, or read in place.
  Result<Location> Find(const std::string& inside, const std::string& shown, bool all_files) {
    if (const std::optional<std::string> path = Known(inside); path && (options_.offline || !all_files))
      return Location(*path);
    if (options_.offline) return NotKnown();
    Result<Location> place = ReadInPlace(inside, shown, all_files);
    if (place.ok() || all_files) return place;
    const Result<std::string> path = InsteadOf(place.status(), inside);
    return path.ok() ? Location(*path) : place;
  }

 private:
  const RepoId repo_;
  const HubOptions& options_;
  const ProgressFn& progress_;
  const HubCache cache_;
  HttpClient client_;
  const CancelScope scope_;
  bool has_begun_ = false;  // the answer of the transfer under way
  bool refused_ = false;    // the hub answered and said no: what the cache has is not served instead
  std::string stage_;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
  std::chrono::steady_clock::time_point reported_{};
  bool cancelled_ = false;

  std::string Name() const { return repo_.name + (repo_.revision == "main" ? "" : "@" + repo_.revision); }

  bool Report(std::string_view stage) {
    if (cancelled_) return false;
    const auto now = std::chrono::steady_clock::now();
    if (!progress_ || now - reported_ < std::chrono::milliseconds(50)) return true;
    reported_ = now;
    cancelled_ = !progress_(stage_.empty() ? stage : std::string_view(stage_), done_, total_);
    return !cancelled_;
  }

  // Where the cache has what a commit is, or `inside` of it; nullopt where it has not all.
  std::optional<std::string> InCache(const std::string& commit, const std::string& inside) const {
    if (commit.empty()) return std::nullopt;
    if (!inside.empty())
      return cache_.HasFile(commit, inside) ? std::optional(cache_.Snapshot(commit) + "/" + inside) : std::nullopt;
    std::string weights;
    return IsComplete(commit, &weights) ? std::optional(PathOf(commit, weights)) : std::nullopt;
  }
  // What needs no hub: a commit never changes.
  std::optional<std::string> Known(const std::string& inside = "") const {
    const bool may_serve = options_.offline || internal::IsCommit(repo_.revision);
    return may_serve ? InCache(cache_.CommitOf(repo_.revision), inside) : std::nullopt;
  }
  Status NotKnown() const {
    return NotFound("expected the model in the cache while offline, found " +
                        std::string(cache_.CommitOf(repo_.revision).empty() ? "none" : "a part of it"),
                    "unset HF_HUB_OFFLINE to read it from the hub, or to download it into " + options_.cache_dir)
        .In(Name());
  }
  // What the cache has, where the hub cannot be reached.
  Result<std::string> InsteadOf(const Status& failure, const std::string& inside = "") const {
    if (failure.kind() != ErrorKind::kUnavailable || refused_) return failure;
    const std::optional<std::string> path = InCache(cache_.CommitOf(repo_.revision), inside);
    return path ? Result<std::string>(*path) : failure;
  }

  std::string PathOf(const std::string& commit, const std::string& weights) const {
    const std::string snapshot = cache_.Snapshot(commit);
    return weights.ends_with(".nemo") ? snapshot + "/" + weights : snapshot;
  }

  // Whether a snapshot holds weights, all shards of them, and the config that says what they are.
  bool IsComplete(const std::string& commit, std::string* weights) const {
    const std::vector<std::string> files = cache_.Files(commit);
    const HubChoice choice = internal::ChooseFiles(files);
    *weights = choice.weights;
    if (choice.weights.empty()) return false;
    if (choice.weights.ends_with(".nemo")) return true;
    const auto has = [&](std::string_view name) { return std::find(files.begin(), files.end(), name) != files.end(); };
    if (!has("config.json") && !has("open_clip_config.json")) return false;
    if (!choice.weights.ends_with(".index.json")) return true;
    const Result<std::vector<std::string>> shards = Shards(cache_.Snapshot(commit) + "/" + choice.weights);
    return shards.ok() && std::all_of(shards->begin(), shards->end(), has);
  }

  Result<HttpResponse> Ask(HttpRequest request) {
    request.bearer_token = options_.token;
    Result<HttpResponse> response = client_.Send(request);
    if (!response.ok() && response.status().kind() == ErrorKind::kUnavailable) {
      return response.status().Hint(
          "the hub cannot be reached; set HF_ENDPOINT for a mirror, HF_HUB_OFFLINE=1 to use the cache alone");
    }
    return response;
  }

  // What the revision is now.
  Result<internal::HubModel> Look() {
    HttpRequest request;
    request.url = options_.endpoint + "/api/models/" + repo_.name + "/revision/" + UrlEncode(repo_.revision);
    ANEMONE_ASSIGN(const HttpResponse response, Ask(request));
    if (response.status != 200) {
      refused_ = response.status < 500 && response.status != 429;
      return Refusal(response).In(Name());
    }
    return internal::ParseHubModel(response.body, Name());
  }

  Result<Location> ReadInPlace(const std::string& inside, const std::string& shown, bool all_files) {
    ANEMONE_ASSIGN(const internal::HubModel model, Look());
    const std::optional<std::string> path = all_files ? std::nullopt : InCache(model.commit, inside);
    if (path) return Location(*path);
    RemoteFile file{.name = {}, .request = {.bearer_token = options_.token}, .refusal = Refusal};
    auto files = std::make_shared<RemoteFiles>(shown, std::move(file), options_.Http());
    const auto add = [&](const std::vector<std::string>& names) {
      for (const std::string& name : names) files->Add(name, ResolveUrl(options_, repo_.name, model.commit, name));
    };
    const HubChoice choice = inside.empty() && !all_files ? internal::ChooseFiles(model.files) : HubChoice();
    if (choice.weights.empty()) {  // a part of it, or a format that is not Hugging Face's
      add(model.files);
      return inside.empty() ? Location(shown, files) : Location(shown, files) / inside;
    }
    add(choice.configs);
    add({choice.weights});
    const Location weights = Location(shown, files) / choice.weights;
    if (choice.weights.ends_with(".nemo")) return weights;
    if (choice.weights.ends_with(".index.json")) {
      ANEMONE_ASSIGN(ByteSourcePtr index, weights.Open());
      ANEMONE_ASSIGN(const std::vector<std::string> shards, internal::ReadShards(std::move(index)));
      add(shards);
    }
    return Location(shown, files);
  }

  Result<std::string> Download() {
    ANEMONE_ASSIGN(const internal::HubModel model, Look());
    const std::string& commit = model.commit;
    const std::vector<std::string>& names = model.files;
    HubChoice choice = internal::ChooseFiles(names);
    if (choice.weights.empty()) {
      refused_ = true;
      return NotFound(
                 "expected weights (model.safetensors, pytorch_model.bin, open_clip_model.safetensors, …), found none "
                 "among " +
                 std::to_string(names.size()) + " files")
          .In(Name());
    }
    ANEMONE_TRY(cache_.Create());
    // Weights of another kind that are here already serve as well.
    if (std::string weights; IsComplete(commit, &weights)) choice.weights = weights;

    std::vector<std::string> wanted = choice.configs;
    wanted.push_back(choice.weights);
    ANEMONE_TRY(Get(commit, wanted));
    if (choice.weights.ends_with(".index.json")) {
      ANEMONE_ASSIGN(const std::vector<std::string> shards, Shards(cache_.Snapshot(commit) + "/" + choice.weights));
      ANEMONE_TRY(Get(commit, shards));
    }
    for (const std::string& name : internal::FilesBeside()) {
      if (std::find(names.begin(), names.end(), name) == names.end()) ANEMONE_TRY(cache_.NoteAbsent(commit, name));
    }
    // Last, so that the name leads to a complete snapshot.
    ANEMONE_TRY(cache_.WriteRef(repo_.revision, commit));
    return PathOf(commit, choice.weights);
  }

  // Downloads what a snapshot lacks of `names`.
  Status Get(const std::string& commit, const std::vector<std::string>& names) {
    std::vector<HubFile> missing;
    uint64_t bytes = 0;
    for (const std::string& name : names) {
      if (cache_.HasFile(commit, name)) continue;  // a commit never changes
      ANEMONE_ASSIGN(HubFile file, Describe(commit, name));
      if (cache_.HasBlob(file.etag, file.size)) {
        ANEMONE_TRY(cache_.Link(commit, name, file.etag));
        continue;
      }
      if (file.size != UINT64_MAX) bytes += file.size;
      missing.push_back(std::move(file));
    }
    total_ += bytes;
    ANEMONE_TRY(cache_.CheckSpace(bytes));
    for (const HubFile& file : missing) {
      ANEMONE_TRY(GetBlob(file).In(file.name).In(Name()));
      ANEMONE_TRY(cache_.Link(commit, file.name, file.etag));
    }
    return {};
  }

  Result<HubFile> Describe(const std::string& commit, const std::string& name) {
    HubFile file;
    file.name = name;
    file.url = ResolveUrl(options_, repo_.name, commit, name);
    ANEMONE_ASSIGN(
        const HttpResponse head,
        Ask({.url = file.url, .method = HttpRequest::Method::kHead, .redirects = HttpRequest::Redirects::kRelative}));
    const bool elsewhere = head.status >= 301 && head.status <= 308;
    if (head.status != 200 && !elsewhere) {
      refused_ = head.status < 500 && head.status != 429;
      return Refusal(head).In(name).In(Name());
    }
    const std::string_view linked = head.Header("x-linked-etag");
    file.etag = Unquoted(linked.empty() ? head.Header("etag") : linked);
    const bool is_linked = !head.Header("x-linked-size").empty();
    if (is_linked || !elsewhere) {
      const Result<uint64_t> size = SizeIn(head, is_linked ? "x-linked-size" : "content-length");
      ANEMONE_TRY(size.status().In(name).In(Name()));
      file.size = *size;
    }
    if (!IsPlainName(file.etag)) {
      return Unavailable("expected an etag, the hub gives none (is HF_ENDPOINT a hub?)").In(name).In(Name());
    }
    return file;
  }

  Status GetBlob(const HubFile& file) {
    stage_ = "download " + file.name;
    const auto wait = [this] { return client_.Wait(0.1); };
    ANEMONE_ASSIGN(const auto lock, cache_.Lock(file.etag, wait));
    if (cache_.HasBlob(file.etag, file.size)) return {};  // another process fetched it while we waited
    const uint64_t before = done_;
    ANEMONE_ASSIGN(auto blob, cache_.OpenPartial(file.etag, file.size));
    bool resumed = blob->size_bytes() > 0;  // then wrong content may be the fault of an earlier piece
    bool again = true;
    if (blob->size_bytes() > file.size) ANEMONE_TRY(blob->Restart());
    double pause = options_.first_wait_s;
    for (int failures = 0;;) {
      const uint64_t start = blob->size_bytes();
      Status status = start > 0 && start == file.size ? Status() : Transfer(file, *blob, before);
      if (status.ok()) {
        Status committed = blob->Commit();
        if (committed.ok() || committed.kind() != ErrorKind::kCorrupt || !resumed || !again) return committed;
        again = false;
        ANEMONE_ASSIGN(blob, cache_.OpenPartial(file.etag, file.size));
        continue;
      }
      if (status.kind() != ErrorKind::kUnavailable || refused_ || !client_.may_pass()) return status;
      constexpr uint64_t kProgress = uint64_t{1} << 20;  // less is what a server that drips would give for ever
      if (blob->size_bytes() >= start + kProgress) {
        failures = 0;  // it goes on, in pieces
        pause = options_.first_wait_s;
      }
      // The client has repeated a request whose answer never began.
      if (++failures >= 5 || !has_begun_)
        return status.Hint("run the same command again: the download goes on where it stopped");
      ANEMONE_TRY(client_.Wait(pause));
      pause = std::min(pause * 2, 60.0);
      resumed = true;
    }
  }

  // One GET of what is still missing.
  Status Transfer(const HubFile& file, internal::PartialBlob& blob, uint64_t before) {
    const uint64_t start = blob.size_bytes();
    has_begun_ = false;
    const HttpSink sink{.begin = [&](const HttpResponse& head) -> Status {
                          has_begun_ = true;
                          const bool follows =
                              head.status == 206 &&
                              head.Header("content-range").starts_with("bytes " + std::to_string(start) + "-");
                          return start > 0 && !follows ? blob.Restart() : Status();
                        },
                        .bytes = [&](std::string_view bytes) -> Status {
                          ANEMONE_TRY(blob.Append(bytes));
                          done_ = before + blob.size_bytes();
                          return Report(stage_) ? Status() : Interrupted();
                        }};
    ANEMONE_ASSIGN(const HttpResponse response,
                   client_.Send({.url = file.url, .bearer_token = options_.token, .range_start = start}, &sink));
    if (response.status == 416) {
      has_begun_ = true;
      ANEMONE_TRY(blob.Restart());
      return Unavailable("expected the rest of the file, the server has no such range");
    }
    if (response.status != 200 && response.status != 206) {
      refused_ = response.status < 500 && response.status != 429;
      return Refusal(response).In(HttpOrigin(response.url));
    }
    if (file.size != UINT64_MAX && blob.size_bytes() < file.size) {
      return Unavailable("expected " + std::to_string(file.size) + " bytes, the transfer ended at " +
                         std::to_string(blob.size_bytes()));
    }
    return {};
  }
};

}  // namespace

bool LooksLikeRepoId(std::string_view text) {
  static const RE2 kPattern(R"([A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*(?:@[\w][\w./-]*)?)");
  if (!RE2::FullMatch(re2::StringPiece(text.data(), text.size()), kPattern)) return false;
  const std::string_view name = text.substr(0, text.find('@'));
  if (name.size() > 96 || name.find("..") != std::string_view::npos || name.find("--") != std::string_view::npos)
    return false;
  for (const std::string_view ending : {".nemo", ".ckpt", ".pt", ".pth", ".bin", ".safetensors", ".tar", ".gz", ".zip",
                                        ".json", ".yaml", ".git", "-", "."}) {
    if (name.ends_with(ending)) return false;
  }
  // What cannot be looked at is a path, too: another model's files would be taken for it.
  const Result<PathKind> there = KindOf(std::string(text));
  return there.ok() && *there == PathKind::kNothing;
}

RepoId SplitRepoId(std::string_view text) {
  const size_t at = text.find('@');
  return {std::string(text.substr(0, at)), at == std::string_view::npos ? "main" : std::string(text.substr(at + 1))};
}

namespace {

Result<RepoId> CheckRepo(std::string_view repo_id, std::string_view revision) {
  RepoId repo{std::string(repo_id), revision.empty() ? "main" : std::string(revision)};
  const bool one_slash = std::count(repo_id.begin(), repo_id.end(), '/') == 1;
  if (!UnsafePath(repo_id).empty() || !one_slash || !UnsafePath(repo.revision).empty())
    return InvalidArgument("expected org/name[@revision], found '" + repo.name + "@" + repo.revision + "'");
  return repo;
}

}  // namespace

Result<std::string> FetchModel(std::string_view repo_id, std::string_view revision, const HubOptions& options,
                               const ProgressFn& progress) {
  ANEMONE_ASSIGN(const RepoId repo, CheckRepo(repo_id, revision));
  return Fetch(repo, options, progress).Run();
}

Result<Location> FindModel(const RepoId& id, const std::string& inside, const std::string& shown,
                           const HubOptions& options, const ProgressFn& progress, bool all_files) {
  ANEMONE_ASSIGN(const RepoId repo, CheckRepo(id.name, id.revision));
  if (!inside.empty() && !UnsafePath(inside).empty())
    return InvalidArgument("expected a path in the repository, found '" + inside + "'").In(repo.name);
  return Fetch(repo, options, progress).Find(inside, shown, all_files);
}

}  // namespace anemone
