#include "family/words/kept_config.h"

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

Result<std::optional<Config>> KeptHfConfig(const Checkpoint& source, bool (*is_one)(const ConfigNode& root)) {
  for (const char* name : {"config.json", "context/config.json"}) {
    ANEMONE_ASSIGN(std::optional<Config> config, ReadJsonArtifact(source, name));
    if (config && is_one(config->root())) return config;
  }
  return std::optional<Config>();
}

}  // namespace anemone
