#include "edit/archive.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "anemone/config.h"
#include "base/closed_file.h"
#include "base/location.h"
#include "base/nearest.h"
#include "base/read_at_most.h"
#include "base/sys.h"
#include "base/tree.h"
#include "container/gzip.h"
#include "container/tar.h"
#include "container/tar_layout.h"
#include "edit/config_keys.h"
#include "format/format.h"
#include "source/canonical.h"
#include "source/source.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kConfigName = "model_config.yaml";
constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

// What an archive or a folder holds, under one roof.
struct Member {
  std::string name;
  bool is_directory = false;
  ByteRange content;
};

Result<std::vector<Member>> ReadArchive(const std::string& path) {
  ANEMONE_ASSIGN(const Location place, FindSource(path, {}));
  ANEMONE_ASSIGN(const bool is_folder, place.IsFolder());
  if (place.files() != nullptr && is_folder)
    return Corrupt("expected a .nemo archive (tar), found a folder", "name a file in it").In(path);
  ANEMONE_ASSIGN(ByteSourcePtr file, place.files() != nullptr ? place.Open() : OpenGivenFile(place.string()));
  ANEMONE_ASSIGN(const ByteRange start, Whole(file).Sub(0, std::min<uint64_t>(file->size_bytes(), 512)));
  ANEMONE_ASSIGN(const std::string head, start.ReadAll(512));
  if (head.starts_with("\x1f\x8b")) {
    ANEMONE_ASSIGN(file, OpenGzip(file));
  } else if (!LooksLikeTar(head)) {
    return Corrupt("expected a .nemo archive (tar), found something else", "convert reads other kinds of checkpoint")
        .In(path);
  }
  const Result<std::vector<TarMember>> tar = ReadTar(Whole(std::move(file)));
  if (!tar.ok()) return tar.status().In(path);
  std::vector<Member> members;
  for (const TarMember& member : *tar) {
    if (!member.is_replaced) members.push_back({member.name, member.is_directory, member.content});
  }
  return members;
}

// Depth first, names sorted, a folder before its content: as Python's tarfile.add(folder).
Status ListFolder(const fs::path& folder, const std::string& prefix, std::vector<Member>& members) {
  ANEMONE_ASSIGN(const std::vector<std::string> entries, ListDirectory(folder.string()));
  for (const std::string& entry : entries) {
    const fs::path path = folder / entry;
    struct stat info;
    if (sys.lstat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "cannot look at").In(path.string());
    if (S_ISDIR(info.st_mode)) {
      members.push_back({prefix + entry, true, {}});
      ANEMONE_TRY(ListFolder(path, fmt::format("{}{}/", prefix, entry), members));
    } else if (S_ISREG(info.st_mode)) {
      members.push_back({prefix + entry, false, {}});
    } else {
      return Unsupported("expected files and folders, found a link or a device", "replace it by the file it points to")
          .In(path.string());
    }
  }
  return {};
}

Result<std::vector<Member>> ReadFolder(const std::string& folder) {
  std::vector<Member> members;
  ANEMONE_TRY(ListFolder(folder, "", members));
  const bool stays_open = members.size() <= kMaxOpenFiles;
  for (Member& member : members) {
    if (member.is_directory) continue;
    ANEMONE_ASSIGN(ByteSourcePtr file, (Location(folder) / member.name).Open(stays_open));
    member.content = Whole(std::move(file));
  }
  return members;
}

Result<Plan> LayOutTar(const std::vector<Member>& members) {
  PlanFile tar;
  if (members.empty() || !members.front().name.empty()) ANEMONE_TRY(AppendTarDirectory(tar, ""));
  for (const Member& member : members) {
    if (member.is_directory) {
      ANEMONE_TRY(AppendTarDirectory(tar, member.name));
      continue;
    }
    ANEMONE_TRY(AppendTarHeader(tar, member.name, member.content.size));
    tar.Append(member.content);
    PadTarMember(tar);
  }
  EndTar(tar);
  Plan plan;
  plan.files.push_back(std::move(tar));
  return plan;
}

bool IsUnder(const std::string& name, const std::string& wanted) {
  return name == wanted || name.starts_with(wanted + "/");
}

Result<std::vector<Member>> ReadMembers(const std::string& archive) {
  ANEMONE_ASSIGN(const bool is_folder, Location(archive).IsFolder());
  return is_folder ? ReadFolder(archive) : ReadArchive(archive);
}

// A file on a server cannot be changed, and one in the hub's cache must not be.
Status IsHere(const std::string& archive) {
  if (!IsAddress(archive)) return {};
  return Unsupported("expected a file or folder on this machine to edit, found an address or a hub id",
                     "convert it to a .nemo here, or extract or fetch it, and edit that")
      .In(archive);
}

// The config at the top, or in the folder the archive was packed with.
Result<Member*> FindConfig(std::vector<Member>& members) {
  const auto is_top = [](const Member& m) { return m.name == kConfigName; };
  const auto is_below = [](const Member& m) { return m.name.ends_with("/" + std::string(kConfigName)); };
  auto found = std::find_if(members.begin(), members.end(), is_top);
  if (found == members.end()) found = std::find_if(members.begin(), members.end(), is_below);
  if (found == members.end())
    return Corrupt(fmt::format("expected a member {}, found none", kConfigName),
                   "a .nemo is edited; of other checkpoints convert changes the config (OUT.nemo is one)");
  return &*found;
}

// Applies the edit to the members: the config's text and the artifacts beside it.
Status EditMembers(std::vector<Member>& members, const ConfigEdit& edit) {
  ANEMONE_ASSIGN(Member* const found, FindConfig(members));
  const std::string folder = found->name.substr(0, found->name.size() - kConfigName.size());
  ANEMONE_ASSIGN(const std::string text, found->content.ReadAll(kMaxConfigBytes));
  ANEMONE_ASSIGN(Config config, Config::ParseYaml(text, found->name));

  std::vector<Artifact> artifacts;  // every other file of the folder may be one
  for (const Member& member : members) {
    if (!member.is_directory && member.name.starts_with(folder))
      artifacts.push_back({member.name.substr(folder.size()), member.content});
  }
  ANEMONE_TRY(ApplyEdit(edit, config, artifacts));
  found->content = Whole(MemorySource(config.ToYaml(), std::string(kConfigName)));

  const auto name_in_folder = [&](const Member& member) -> std::optional<std::string_view> {
    if (member.is_directory || !member.name.starts_with(folder)) return std::nullopt;
    return std::string_view(member.name).substr(folder.size());
  };
  std::set<std::string_view> added;  // artifacts that are no members yet
  for (const Artifact& artifact : artifacts) added.insert(artifact.name);
  std::set<std::string_view> kept;
  for (const Member& member : members) {
    const auto node = added.extract(name_in_folder(member).value_or(""));
    if (!node.empty()) kept.insert(node.value());
  }
  std::erase_if(members, [&](const Member& member) {
    const std::optional<std::string_view> name = name_in_folder(member);
    return name && !kept.contains(*name);
  });
  for (const Artifact& artifact : artifacts) {
    if (added.contains(artifact.name)) members.push_back({folder + artifact.name, false, artifact.content});
  }
  return {};
}

// Members as the files of a directory.
Plan LayOutFolder(const std::vector<Member>& members) {
  Plan plan;
  plan.is_directory = true;
  std::vector<std::string_view> names;
  names.reserve(members.size());
  for (const Member& member : members) names.push_back(member.name);
  std::ranges::sort(names);
  for (const Member& member : members) {
    if (member.is_directory) {
      const std::string inside = member.name + "/";
      const auto next = std::ranges::lower_bound(names, inside);
      const bool is_empty = next == names.end() || !next->starts_with(inside);
      if (!member.name.empty() && is_empty) plan.empty_directories.push_back(member.name);
      continue;
    }
    PlanFile& file = plan.files.emplace_back();
    file.path = member.name;
    file.Append(member.content);
  }
  return plan;
}

}  // namespace

Result<Plan> PlanExtract(const std::string& archive, const std::vector<std::string>& wanted) {
  if (const Result<bool> is_folder = Location(archive).IsFolder(); is_folder.ok() && *is_folder)
    return InvalidArgument("expected a .nemo archive, found a folder", "a folder is unpacked already").In(archive);
  ANEMONE_ASSIGN(std::vector<Member> members, ReadArchive(archive));
  if (wanted.empty()) return LayOutFolder(members);
  for (const std::string& name : wanted) {
    if (std::none_of(members.begin(), members.end(), [&](const Member& m) { return IsUnder(m.name, name); })) {
      return NotFound(fmt::format("it has no member '{}'", name), "inspect lists what it holds").In(archive);
    }
  }
  std::erase_if(members, [&](const Member& member) {
    return std::none_of(wanted.begin(), wanted.end(), [&](const auto& name) { return IsUnder(member.name, name); });
  });
  return LayOutFolder(members);
}

Result<Plan> PlanPack(const std::string& directory) {
  ANEMONE_ASSIGN(const PathKind kind, KindOf(directory));
  if (kind == PathKind::kNothing) return NotFound("no such directory").In(directory);
  if (kind != PathKind::kFolder) return InvalidArgument("expected a directory, found a file").In(directory);
  ANEMONE_ASSIGN(const std::vector<Member> members, ReadFolder(directory));
  if (std::none_of(members.begin(), members.end(), [](const Member& m) { return m.name == kConfigName; })) {
    return InvalidArgument(fmt::format("expected {} in it, found none", kConfigName), "pack takes an unpacked .nemo")
        .In(directory);
  }
  return LayOutTar(members);
}

Result<Plan> PlanEdit(const std::string& archive, const ConfigEdit& edit) {
  ANEMONE_TRY(IsHere(archive));
  ANEMONE_ASSIGN(std::vector<Member> members, ReadMembers(archive));
  ANEMONE_TRY(EditMembers(members, edit).In(archive));
  ANEMONE_ASSIGN(const bool is_folder, Location(archive).IsFolder());
  return is_folder ? LayOutFolder(members) : LayOutTar(members);
}

namespace {

// An edit may mend a config that did not fit, but not spoil one that did.
Status CheckFits(const std::string& archive, const Config& edited) {
  Result<Checkpoint> checkpoint = OpenCheckpoint(archive);
  if (IsReadFailure(checkpoint.status())) return checkpoint.status();
  if (!checkpoint.ok()) return {};
  if (const Status before = Canonical(*checkpoint).status(); !before.ok())
    return IsReadFailure(before) ? before : Status();
  checkpoint->config = edited;
  Status status = Canonical(*checkpoint).status();
  if (status.ok() || IsReadFailure(status)) return status;
  return status.In("the weights do not fit the new config").Use("strict", "false", "write it all the same");
}

std::vector<std::string> NewKeys(const ConfigEdit& edit, const Config& before) {
  std::vector<std::string> notes;
  for (const auto& [path, value] : edit.set) {
    if (path.starts_with('+') || path.starts_with('~') || before.Find(path) != nullptr) continue;
    const std::string nearest = NearestPath(before, path);
    notes.push_back(path + " is a new key" + (nearest.empty() ? "" : ": did you mean " + nearest + "?"));
  }
  return notes;
}

}  // namespace

Result<PreparedEdit> PrepareEdit(const std::string& archive, const ConfigEdit& edit, bool strict) {
  constexpr uint64_t kMaxMemberBytes = uint64_t{64} << 20;
  ANEMONE_TRY(IsHere(archive));
  PreparedEdit prepared;
  ANEMONE_ASSIGN(prepared.place, PlaceOf(archive));  // before anything is read that another run may change
  ANEMONE_ASSIGN(std::vector<Member> members, ReadMembers(archive));
  const std::vector<Member> before = members;
  ANEMONE_TRY(EditMembers(members, edit).In(archive));
  std::set<std::string_view> left;
  for (const Member& member : members) left.insert(member.name);
  std::map<std::string_view, const Member*> old;
  for (const Member& member : before) {
    prepared.removes = prepared.removes || !left.contains(member.name);
    old.emplace(member.name, &member);
  }
  ANEMONE_ASSIGN(const Member* const config_member, FindConfig(members));
  const std::string config_name = config_member->name;
  for (const Member& member : members) {
    const auto found = old.find(member.name);
    const bool is_kept =
        found != old.end() && (member.is_directory || found->second->content.source == member.content.source);
    if (is_kept || member.name == config_name) continue;
    ANEMONE_ASSIGN(std::string content, member.content.ReadAll(kMaxMemberBytes));
    prepared.written.emplace_back(member.name, std::move(content));
  }
  ANEMONE_ASSIGN(std::string text, config_member->content.ReadAll(kMaxConfigBytes));
  ANEMONE_ASSIGN(const Config edited, Config::ParseYaml(text, config_name));
  prepared.written.emplace_back(config_name, std::move(text));

  ANEMONE_ASSIGN(const Config config, ReadStoredConfig(archive));
  prepared.notes = NewKeys(edit, config);
  if (strict) ANEMONE_TRY(CheckFits(archive, edited).In(archive));
  return prepared;
}

Result<Plan> PlanCopy(const std::string& archive, const Config* config, bool as_folder) {
  ANEMONE_ASSIGN(std::vector<Member> members, ReadMembers(archive));
  if (config != nullptr) {
    const Result<Member*> found = FindConfig(members);
    if (!found.ok()) return found.status().In(archive);
    (*found)->content = Whole(MemorySource(config->ToYaml(), std::string(kConfigName)));
  }
  if (as_folder) return LayOutFolder(members);
  return LayOutTar(members);
}

Result<Config> ReadStoredConfig(const std::string& archive) {
  ANEMONE_ASSIGN(std::vector<Member> members, ReadMembers(archive));
  const auto read = [&]() -> Result<Config> {
    ANEMONE_ASSIGN(const Member* const found, FindConfig(members));
    ANEMONE_ASSIGN(const std::string text, found->content.ReadAll(kMaxConfigBytes));
    return Config::ParseYaml(text, found->name);
  };
  Result<Config> config = read();
  return config.ok() ? config : config.status().In(archive);
}

}  // namespace anemone
