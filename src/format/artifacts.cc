#include "format/artifacts.h"

#include <fmt/format.h>

#include <set>

namespace anemone {

Status AddArtifacts(const Checkpoint& checkpoint, std::string_view title, std::vector<PlanFile>& files,
                    const std::function<std::string(const std::string& name)>& place) {
  std::set<std::string> paths, folders;
  // Whether a file can lie at `path`.
  const auto take = [&](const std::string& path) {
    bool is_free = paths.insert(path).second && !folders.contains(path);
    for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
      folders.insert(path.substr(0, slash));
      is_free = is_free && !paths.contains(path.substr(0, slash));
    }
    return is_free;
  };
  for (const PlanFile& file : files) take(file.path);
  for (const Artifact& artifact : checkpoint.artifacts) {
    std::string path = place ? place(artifact.name) : artifact.name;
    if (path.empty()) continue;
    if (!take(path)) {
      return Unsupported(fmt::format("a file {} travels with the model, and a {} has one of its own", path, title),
                         "give it another name in the source");
    }
    PlanFile& file = files.emplace_back();
    file.path = std::move(path);
    file.Append(artifact.content);
  }
  return {};
}

Status CheckFetched(const Checkpoint& checkpoint) {
  constexpr uint64_t kMaxPointer = 1024;  // [git-lfs docs/spec.md]
  for (const Artifact& artifact : checkpoint.artifacts) {
    if (artifact.content.size > kMaxPointer) continue;
    ANEMONE_ASSIGN(const std::string text, artifact.content.ReadAll(kMaxPointer));
    if (text.starts_with("version https://git-lfs"))
      return Corrupt("a git-lfs pointer, not the file it stands for", "run `git lfs pull`").In(artifact.name);
  }
  return {};
}

}  // namespace anemone
