#include "family/words/json_artifact.h"

#include <utility>

namespace anemone {

Result<std::optional<Config>> ReadJsonArtifact(const Checkpoint& source, const std::string& file) {
  constexpr uint64_t kMaxBytes = uint64_t{16} << 20;
  const Artifact* artifact = source.FindArtifact(file);
  if (artifact == nullptr) return std::optional<Config>();
  const Result<std::string> text = artifact->content.ReadAll(kMaxBytes);
  if (!text.ok()) return text.status().In(file);
  ANEMONE_ASSIGN(Config config, Config::ParseJson(*text, file));
  if (!config.root().is_map()) return Corrupt("expected a JSON object").In(file);
  return std::optional<Config>(std::move(config));
}

}  // namespace anemone
