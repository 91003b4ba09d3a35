// Reading and changing a checkpoint's config.
#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "anemone/config.h"
#include "c_api/c_checkpoint.h"
#include "c_api/call.h"

using anemone::Config;
using anemone::ConfigNode;
using anemone::Status;
using namespace anemone::c_api;  // NOLINT(google-build-using-namespace)

namespace {

// `now`, but what did not change keeps the text it was read from.
ConfigNode Edited(const ConfigNode& old, ConfigNode now) {
  now.key_kind = old.key_kind;
  if (old.kind != now.kind) return now;
  if (now.is_scalar()) return SameConfig(old, now) ? old : now;
  for (auto& [key, child] : now.map) {
    if (const ConfigNode* before = old.Get(key)) child = Edited(*before, std::move(child));
  }
  for (size_t i = 0; i < std::min(old.list.size(), now.list.size()); ++i) {
    now.list[i] = Edited(old.list[i], std::move(now.list[i]));
  }
  return now;
}

Status SetConfig(anemone::Checkpoint& checkpoint, std::string_view path, const char* json) {
  if (json == nullptr && path.empty()) {
    checkpoint.config.reset();
    return {};
  }
  if (json == nullptr) return checkpoint.config ? checkpoint.config->Unset(path) : Status();
  ANEMONE_ASSIGN(Config value, Config::ParseJson(json, path.empty() ? "config" : path));
  Config config = checkpoint.config.value_or(Config());
  const ConfigNode* old = config.Find(path);
  ConfigNode edited = old == nullptr ? std::move(value.root()) : Edited(*old, std::move(value.root()));
  if (path.empty()) {
    if (!edited.is_map()) return anemone::InvalidArgument("config: expected a JSON object").In(checkpoint.path);
    config = Config(std::move(edited));
  } else {
    ANEMONE_TRY(config.Set(path, std::move(edited)));
  }
  checkpoint.config = std::move(config);
  return {};
}

}  // namespace

anemone_status* anemone_config_get(const anemone_checkpoint* checkpoint, const char* path, char** json) {
  return Guarded([&]() -> Status {
    const auto& config = checkpoint->stored.config;
    const ConfigNode* node = config ? config->Find(path) : nullptr;
    if (node == nullptr) {
      return anemone::NotFound(*path == 0 ? "expected a config, found none"
                                          : fmt::format("expected the config key '{}', found none", path))
          .In(checkpoint->stored.path);
    }
    return GiveJson(*node, json);
  });
}

anemone_status* anemone_config_set(anemone_checkpoint* checkpoint, const char* path, const char* json) {
  return Guarded([&] { return SetConfig(checkpoint->stored, path, json); });
}
