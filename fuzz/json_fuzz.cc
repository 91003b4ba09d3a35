// JSON: never crash; what is accepted is written as JSON and as YAML, and reads back to the same values.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "anemone/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using anemone::Config;
  const anemone::Result<Config> config = Config::ParseJson({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!config.ok()) return 0;
  for (const int indent : {-1, 2}) {
    const std::string text = config->ToJson(indent);
    const anemone::Result<Config> again = Config::ParseJson(text, "again");
    if (!again.ok() || !SameConfig(again->root(), config->root()) || again->ToJson(indent) != text) std::abort();
  }
  if (config->root().is_scalar()) return 0;  // no YAML config
  // Half a surrogate pair is written as PyYAML writes and reads it; libyaml takes it for no text.
  if (config->ToJson().find("\\ud") != std::string::npos) return 0;
  const anemone::Result<Config> yaml = Config::ParseYaml(config->ToYaml(), "yaml");
  // The YAML of a JSON file may be longer than YAML may be, and null is no key there.
  if (!yaml.ok() ? yaml.status().kind() != anemone::ErrorKind::kLimitExceeded
                 : !SameConfig(yaml->root(), config->root()))
    std::abort();
  return 0;
}
