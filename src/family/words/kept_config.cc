#include "family/words/kept_config.h"

#include <utility>

namespace anemone {

std::optional<Config> ReadKeptConfig(const Checkpoint& source, const std::string& file) {
  constexpr uint64_t kMaxBytes = uint64_t{1} << 20;
  const Artifact* kept = source.FindArtifact(file);
  if (kept == nullptr) return std::nullopt;
  const Result<std::string> text = kept->content.ReadAll(kMaxBytes);
  Result<Config> config = text.ok() ? Config::ParseJson(*text, file) : Result<Config>(text.status());
  return config.ok() ? std::optional(*std::move(config)) : std::nullopt;
}

std::optional<Config> KeptHfConfig(const Checkpoint& source, bool (*is_one)(const ConfigNode& root)) {
  for (const char* name : {"config.json", "context/config.json"}) {
    std::optional<Config> config = ReadKeptConfig(source, name);
    if (config && is_one(config->root())) return config;
  }
  return std::nullopt;
}

}  // namespace anemone
