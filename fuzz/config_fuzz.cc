// YAML, overrides and interpolations: never crash; what is accepted is written, and reads back to the same values.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "anemone/config.h"
#include "config/hydra.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using anemone::Config;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const anemone::Result<anemone::Override> parsed = anemone::ParseOverride(text); parsed.ok() && parsed->value) {
    // A value given on the command line survives being written.
    Config config;
    if (!config.Set("k", *parsed->value).ok()) std::abort();
    const anemone::Result<Config> again = Config::ParseYaml(config.ToYaml(), "again");
    if (!again.ok() ? again.status().kind() != anemone::ErrorKind::kLimitExceeded
                    : !SameConfig(again->root(), config.root()))
      std::abort();
  }
  const anemone::Result<Config> config = Config::ParseYaml(text, "fuzz");
  if (!config.ok()) return 0;
  const std::string yaml = config->ToYaml();
  const anemone::Result<Config> again = Config::ParseYaml(yaml, "again");
  // Anchors may expand to more text than a YAML file may have.
  if (!again.ok() && again.status().kind() == anemone::ErrorKind::kLimitExceeded) return 0;
  if (!again.ok() || !SameConfig(again->root(), config->root())) std::abort();
  if (again->ToYaml() != yaml) std::abort();
  const anemone::Result<Config> json = Config::ParseJson(config->ToJson(), "json");
  if (!json.ok() || !SameConfig(json->root(), config->root())) std::abort();
  (void)config->Resolve("");
  (void)FindTargets(config->root());
  (void)FindResolvers(config->root());
  return 0;
}
