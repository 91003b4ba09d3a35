#include "format/inside.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>

#include "engine/sources.h"
#include "format/format.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;

bool Contains(const fs::path& directory, const fs::path& path) {
  return std::mismatch(directory.begin(), directory.end(), path.begin(), path.end()).first == directory.end();
}

// The `blobs` beside the `snapshots` that a folder lies in; empty elsewhere.
fs::path BlobsOf(const fs::path& folder) {
  for (fs::path at = folder; at.has_relative_path(); at = at.parent_path()) {
    if (at.filename() == "snapshots") return at.parent_path() / "blobs";
  }
  return {};
}

}  // namespace

std::vector<const ByteSource*> WeightFiles(const Checkpoint& checkpoint) {
  Sources sources;
  const auto add = [&](const StateDict& state) {
    for (const StateDict::Item& item : state.items()) {
      if (item.tensor() != nullptr) sources.Add(*item.tensor());
    }
  };
  for (const Shard& shard : checkpoint.shards) {
    add(shard.weights);
    for (const StateDict& chunk : shard.chunks) add(chunk);
  }
  return sources.all();
}

Status CheckInside(const Checkpoint& checkpoint, const std::string& folder) {
  const std::string config = (fs::path(folder) / checkpoint.config_name).string();
  std::vector<std::string_view> names = {config};  // paths would take 400 bytes each, and a folder may have a million
  for (const ByteSource* source : WeightFiles(checkpoint)) names.emplace_back(source->name());
  for (const Artifact& artifact : checkpoint.artifacts) names.emplace_back(artifact.content.source->name());
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::error_code error;
  const fs::path whole = fs::canonical(folder, error), blobs = BlobsOf(whole);
  const bool reads_fixed_names = TraitsOf(checkpoint).reads_fixed_names;
  std::optional<fs::path> parent;  // of the file before; it is inside
  for (const fs::path name : names) {
    if (parent != name.parent_path()) {
      if (!Contains(whole, fs::canonical(name.parent_path(), error))) {
        if (error || !Contains(fs::path(folder).lexically_normal(), name.lexically_normal()))
          continue;  // not of the folder
        return Unsupported("expected a folder of the checkpoint, found a link that leads out of it to " +
                               fs::canonical(name.parent_path(), error).string(),
                           "copy it there if it belongs to the model")
            .In(name.parent_path().string());
      }
      parent = name.parent_path();
    }
    if (!fs::is_symlink(name, error)) continue;
    const fs::path target = fs::canonical(name, error);
    if (error || Contains(whole, target) || (!blobs.empty() && Contains(blobs, target))) continue;
    if (reads_fixed_names && target.filename() == name.filename()) continue;
    return Unsupported("expected a file of the checkpoint, found a link that leads out of it to " + target.string(),
                       "copy the file there if it belongs to the model")
        .In(name.string());
  }
  return {};
}

}  // namespace anemone
