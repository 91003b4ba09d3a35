#include "edit/artifact.h"

#include <algorithm>

#include "base/nearest.h"
#include "config/hydra.h"
#include "family/tokenizer/nemo_artifact.h"

namespace anemone {

Status ApplyEdit(const ConfigEdit& edit, Config& config, std::vector<Artifact>& artifacts) {
  for (const auto& [path, value] : edit.set) {
    if (path.starts_with('+') || path.starts_with('~')) {  // Hydra's words for adding and deleting
      Result<Override> change = ParseOverride(std::string(path).append("=").append(value));
      if (!change.ok()) return change.status().In(path);
      ANEMONE_TRY(ApplyOverride(*change, &config));
      continue;
    }
    Result<ConfigNode> node = ParseOverrideValue(value);
    if (!node.ok()) return node.status().In(path);
    // A dict merges into the one that is there, as in Hydra.
    ANEMONE_TRY(ApplyOverride({Override::Kind::kForce, path, *std::move(node)}, &config));
  }
  for (const std::string& path : edit.unset) ANEMONE_TRY(config.Unset(path));
  for (const auto& [path, file] : edit.artifacts) {
    ANEMONE_ASSIGN(ByteSourcePtr source, OpenGivenFile(file));
    const ByteRange content = Whole(std::move(source));
    const Result<std::string> named = MemberName(content, file);
    if (!named.ok()) return named.status().In(file);
    const std::string& name = *named;
    if (const Artifact* old = FollowReference(config.Find(path), artifacts)) {
      artifacts.erase(artifacts.begin() + (old - artifacts.data()));
    }
    std::erase_if(artifacts, [&](const Artifact& artifact) { return artifact.name == name; });
    artifacts.push_back({name, content});
    ANEMONE_TRY(config.Set(path, ConfigNode::String(std::string(kNemoReference) + name)));
  }
  return {};
}

}  // namespace anemone
