#include "family/words/kept_config.h"

#include "family/words/json_artifact.h"

namespace anemone {

Result<std::optional<Config>> KeptHfConfig(const Checkpoint& source, bool (*is_one)(const ConfigNode& root)) {
  for (const char* name : {"config.json", "context/config.json"}) {
    ANEMONE_ASSIGN(std::optional<Config> config, ReadJsonArtifact(source, name));
    if (config && is_one(config->root())) return config;
  }
  return std::optional<Config>();
}

}  // namespace anemone
