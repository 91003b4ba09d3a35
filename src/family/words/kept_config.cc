#include "family/words/kept_config.h"

#include <utility>

#include "base/read_at_most.h"

namespace anemone {

Result<std::optional<Config>> ReadKeptConfig(const Checkpoint& source, const std::string& file) {
  constexpr uint64_t kMaxBytes = uint64_t{1} << 20;
  const Artifact* kept = source.FindArtifact(file);
  if (kept == nullptr) return std::optional<Config>();
  ANEMONE_ASSIGN(const std::optional<std::string> text, ReadAtMost(kept->content, kMaxBytes));
  if (!text) return std::optional<Config>();
  Result<Config> config = Config::ParseJson(*text, file);
  return config.ok() ? std::optional(*std::move(config)) : std::nullopt;
}

Result<std::optional<Config>> KeptHfConfig(const Checkpoint& source, bool (*is_one)(const ConfigNode& root)) {
  for (const char* name : {"config.json", "context/config.json"}) {
    ANEMONE_ASSIGN(std::optional<Config> config, ReadKeptConfig(source, name));
    if (config && is_one(config->root())) return config;
  }
  return std::optional<Config>();
}

}  // namespace anemone
