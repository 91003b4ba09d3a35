#include "edit/replace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/listing.h"
#include "base/lower_case.h"
#include "base/read_at_most.h"
#include "base/sys.h"
#include "base/tree.h"
#include "config/companions.h"
#include "edit/destination.h"
#include "engine/sources.h"
#include "format/format.h"
#include "format/inside.h"
#include "format/nemo/nemo.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRepositories[] = {".git", ".hg", ".svn", ".bzr", ".jj", "_darcs", "CVS"};

constexpr std::string_view kDistributedNames[] = {".metadata", "metadata.json", "common.pt"};
constexpr std::string_view kDistributedEndings[] = {".distcp", "/.zarray", "/.zattrs", "/.zgroup"};
constexpr std::string_view kConfigs[] = {"config.json", "open_clip_config.json"};

bool Contains(const fs::path& directory, const fs::path& path) {
  return std::mismatch(directory.begin(), directory.end(), path.begin(), path.end()).first == directory.end();
}

Status Refuse(std::string what, std::string hint = "choose another name") {
  return {ErrorKind::kAlreadyExists, std::move(what), std::move(hint)};
}

// True for an errno that says that nothing has the name. Others tell nothing of it.
bool IsAbsent(int error_number) {
  return error_number == ENOENT || error_number == ENOTDIR || error_number == ENAMETOOLONG;
}

Result<bool> IsMountPoint(const fs::path& path) {
  struct stat here, above;
  if (sys.lstat(path.c_str(), &here) != 0 || sys.lstat((path / "..").c_str(), &above) != 0)
    return ErrnoStatus(errno, "cannot look at").In(path.string());
  if (here.st_dev != above.st_dev || here.st_ino == above.st_ino) return true;
#ifdef STATX_ATTR_MOUNT_ROOT
  struct statx info;
  return ::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, 0, &info) == 0 &&
         (info.stx_attributes_mask & info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
#else
  return false;
#endif
}

// A place that is no output, whatever it holds.
Status CheckPlace(const fs::path& folder) {
  if (const char* const home = std::getenv("HOME"); home != nullptr && *home != 0) {
    std::error_code error;
    const fs::path whole = fs::weakly_canonical(home, error);
    if (error) return ErrnoStatus(error.value(), "cannot resolve").In(home);
    if (Contains(folder, whole)) return Refuse("expected a folder to replace, found the home folder or one above it");
  }
  ANEMONE_ASSIGN(const bool is_mount_point, IsMountPoint(folder));
  if (is_mount_point) return Refuse("expected a folder to replace, found a mount point");
  for (const std::string_view name : kRepositories) {
    struct stat info;
    if (sys.lstat((folder / name).c_str(), &info) == 0)
      return Refuse(fmt::format("expected a folder to replace, found a repository ({})", name));
    if (errno != ENOENT) return ErrnoStatus(errno, "cannot look at").In((folder / name).string());
  }
  return {};
}

// `path` is canonical.
Status CheckSources(const Plan& plan, const fs::path& path) {
  for (const ByteSource* source : SourcesOf(plan)) {
    std::error_code error;
    const fs::path target = fs::canonical(source->name(), error);
    if (IsAbsent(error.value())) continue;  // not a file: bytes in memory, or of a server
    const fs::path name(source->name());
    fs::path place;
    if (!error) place = fs::canonical(name.has_parent_path() ? name.parent_path() : ".", error) / name.filename();
    if (error) return ErrnoStatus(error.value(), "cannot resolve").In(source->name());
    if (target == path || place == path)
      return Refuse("expected another output than the source", "write to another name, then rename");
    if (Contains(path, target) || Contains(path, place))
      return Refuse(fmt::format("it holds the source {}", source->name()));
  }
  return {};
}

// A config, a tokenizer's file or a list that models are read with is no output, though its bytes go into none.
Status CheckIsNoText(const std::string& path) {
  if (FindCompanion(fs::path(path).filename().string()) != nullptr)
    return Refuse("expected a checkpoint to replace, found a file that belongs to a model");
  constexpr std::string_view kTexts[] = {".json", ".yaml", ".yml", ".txt"};
  if (std::ranges::none_of(kTexts, [&](std::string_view end) { return EndsWith(path, end); })) return {};
  const Result<Probe> probe = ProbePath(path);
  if (IsReadFailure(probe.status())) return probe.status();
  if (probe.ok() && (probe->head.empty() || probe->head.find('\0') != std::string::npos)) return {};
  return Refuse("expected a checkpoint to replace, found a text");
}

// Relative names of the files that the checkpoint was read from, and of those its format keeps beside them.
std::set<std::string> FilesOf(const Checkpoint& checkpoint, const fs::path& folder) {
  std::set<std::string> files;
  std::set<std::string> referenced;
  if (checkpoint.config) {
    for (const ArtifactReference& reference : ArtifactReferences(checkpoint.config->root()))
      referenced.insert(reference.name);
  }
  for (const ByteSource* source : WeightFiles(checkpoint)) {
    files.insert(fs::path(source->name()).lexically_normal().lexically_relative(folder.lexically_normal()).string());
  }
  // An unpacked .nemo and a NeMo 2 folder read whatever lies in them; only what is referred to is theirs.
  const bool takes_all = TraitsOf(checkpoint).takes_every_file;
  for (const Artifact& artifact : checkpoint.artifacts) {
    const std::string base = fs::path(artifact.name).filename().string();
    const bool is_companion = FindCompanion(base) != nullptr || std::ranges::find(kConfigs, base) != std::end(kConfigs);
    if (!takes_all || referenced.contains(artifact.name) || is_companion) files.insert(artifact.name);
  }
  return files;
}

// What formats keep beside weights and artifacts.
bool IsBookkeeping(const FormatTraits& traits, std::string_view name) {
  const auto is_named = [&](std::string_view own) {
    return own.starts_with('*') ? name.ends_with(own.substr(1)) : name == own;
  };
  if (std::ranges::any_of(traits.own_files, is_named)) return true;
  if (!traits.distributed_in || !name.starts_with(*traits.distributed_in)) return false;
  const std::string_view inner = name.substr(traits.distributed_in->size());
  return std::ranges::find(kDistributedNames, inner) != std::end(kDistributedNames) ||
         std::ranges::any_of(kDistributedEndings, [&](std::string_view end) { return inner.ends_with(end); });
}

Status CheckContent(const Plan& plan, const std::string& directory) {
  std::vector<std::string> foreign;
  const Result<Checkpoint> opened = OpenCheckpoint(directory);
  if (IsReadFailure(opened.status())) return opened.status();
  if (!opened.ok()) {
    std::error_code error;
    ANEMONE_ASSIGN(const std::vector<std::string> names, ListDirectory(directory));
    for (const std::string& name : names)
      foreign.push_back(name + (fs::is_directory(fs::path(directory) / name, error) ? "/" : ""));
    return Refuse(fmt::format("a folder that is no whole checkpoint, and holds {}", Listing(foreign)),
                  "only a checkpoint is replaced: remove the folder by hand, or choose another name");
  }
  std::set<std::string> known = FilesOf(*opened, directory);
  for (const PlanFile& file : plan.files) known.insert(file.path);
  struct stat top;
  if (sys.lstat(directory.c_str(), &top) != 0) return ErrnoStatus(errno, "cannot stat").In(directory);
  ANEMONE_ASSIGN(const std::vector<TreeEntry> entries, ListTree(directory));
  for (const auto& [name, info] : entries) {
    const bool is_directory = S_ISDIR(info.st_mode);
    // An empty folder is no loss, but what is mounted on it may be.
    const bool is_ours =
        is_directory ? info.st_dev == top.st_dev : known.contains(name) || IsBookkeeping(TraitsOf(*opened), name);
    if (!is_ours) foreign.push_back(name + (is_directory ? "/" : ""));
  }
  if (foreign.empty()) return {};
  std::ranges::sort(foreign);
  return Refuse(fmt::format("replacing it would lose what is not the checkpoint: {}", Listing(foreign)),
                "move that away, or choose another name");
}

Status Check(const Plan& plan, bool in_place, const std::string& path) {
  std::error_code error;
  const fs::path whole = fs::canonical(path, error);
  if (error) return ErrnoStatus(error.value(), "cannot resolve").In(path);
  if (!in_place) ANEMONE_TRY(CheckSources(plan, whole));
  ANEMONE_ASSIGN(const PathKind kind, KindOf(whole.string()));
  if (kind != PathKind::kFolder) {
    const fs::path above = whole.parent_path();
    ANEMONE_ASSIGN(const PathKind snapshots, KindOf((above.parent_path() / "snapshots").string()));
    if (above.filename() == "blobs" && snapshots == PathKind::kFolder)
      return Refuse("a blob of the Hugging Face cache, whose name is the checksum of its content");
    return CheckIsNoText(path);
  }
  ANEMONE_TRY(CheckPlace(whole));
  return fs::is_empty(whole, error) ? Status() : CheckContent(plan, path);
}

}  // namespace

Status CheckReplacesOwn(const std::string& path, bool replace, std::string_view kind,
                        bool (*is_own)(const std::string& path, std::string_view head)) {
  ANEMONE_TRY(CheckIsNoStream(path));
  struct stat info;
  if (sys.lstat(path.c_str(), &info) != 0) {
    const int error = errno;
    return IsAbsent(error) ? Status() : ErrnoStatus(error, "cannot look at").In(path);
  }
  const Result<Probe> probe = ProbePath(path);
  if (IsReadFailure(probe.status())) return probe.status();
  const bool is_ours = probe.ok() && !probe->is_directory && (probe->size_bytes == 0 || is_own(path, probe->head));
  if (!is_ours) return Refuse(fmt::format("already exists, and is not {}", kind)).In(path);
  return replace ? Status() : Refuse("already exists", "").Use("force", "true", "replace it").In(path);
}

std::function<Status(const std::string& path)> MayReplace(const Plan& plan, bool in_place) {
  return [&plan, in_place](const std::string& path) { return Check(plan, in_place, path); };
}

}  // namespace anemone
