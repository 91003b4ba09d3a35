#include "config/hydra.h"

#include <re2/re2.h>

namespace anemone {
namespace {

void Merge(ConfigNode& into, ConfigNode value) {
  if (!into.is_map() || !value.is_map()) {
    value.key_kind = into.key_kind;
    into = std::move(value);
    return;
  }
  for (auto& [key, child] : value.map) {
    if (ConfigNode* existing = into.Get(key)) {
      Merge(*existing, std::move(child));
    } else {
      into.map.emplace_back(key, std::move(child));
    }
  }
}

}  // namespace

Result<Override> ParseOverride(std::string_view text) {
  const std::string whole(text);
  Override result;
  if (text.starts_with("++")) {
    result.kind = Override::Kind::kForce;
    text.remove_prefix(2);
  } else if (text.starts_with("+")) {
    result.kind = Override::Kind::kAdd;
    text.remove_prefix(1);
  } else if (text.starts_with("~")) {
    result.kind = Override::Kind::kDelete;
    text.remove_prefix(1);
  }
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos && result.kind != Override::Kind::kDelete) {
    return InvalidArgument("expected key=value, found '" + whole + "'");
  }
  std::string_view key = text.substr(0, equals);
  while (key.ends_with(' ')) key.remove_suffix(1);
  if (key.find_first_of("@/") != std::string_view::npos) {
    return Unsupported("expected the key of a value, found a config group in '" + whole + "'");
  }
  static const RE2 kKey(R"((?:[A-Za-z_$][-\w$]*|\d+)(?:\.(?:[A-Za-z_$][-\w$]*|\d+)|\[[-\w$]+\])*)");
  if (!RE2::FullMatch(re2::StringPiece(key.data(), key.size()), kKey)) {
    return InvalidArgument("expected a dotted key, found '" + std::string(key) + "' in '" + whole + "'");
  }
  result.key = key;
  if (equals != std::string_view::npos) {
    Result<ConfigNode> value = ParseOverrideValue(text.substr(equals + 1));
    if (!value.ok()) return value.status().In(result.key);
    result.value = *std::move(value);
  }
  return result;
}

Status ApplyOverride(const Override& override_, Config* config) {
  const ConfigNode* existing = config->Find(override_.key);
  using Kind = Override::Kind;
  if (override_.kind == Kind::kDelete) {
    if (existing == nullptr) return NotFound("expected a key to delete, found none").In(override_.key);
    if (override_.value && !SameConfig(*existing, *override_.value)) {
      return NotFound("expected the value '" + override_.value->ScalarText() + "' to delete, found another one")
          .In(override_.key);
    }
    return config->Unset(override_.key);
  }
  if (override_.kind == Kind::kSet && existing == nullptr) {
    return NotFound("expected a key to set, found none", "add it with +" + override_.key + "=…").In(override_.key);
  }
  if (override_.kind == Kind::kAdd && existing != nullptr && !(existing->is_map() && override_.value->is_map())) {
    return Status(ErrorKind::kAlreadyExists, "expected a new key, found it in the config",
                  "set it with ++" + override_.key + "=…")
        .In(override_.key);
  }
  ConfigNode value = existing == nullptr ? ConfigNode::Null() : *existing;
  Merge(value, *override_.value);
  return config->Set(override_.key, std::move(value));
}

}  // namespace anemone
