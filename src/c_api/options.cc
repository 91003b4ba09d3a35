#include "c_api/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <type_traits>

namespace anemone::c_api {
namespace {

template <typename T>
Status SetInteger(std::string_view key, const ConfigNode& value, T* field) {
  const std::optional<int64_t> number = value.kind == ConfigNode::Kind::kInt ? value.AsInt() : std::nullopt;
  const bool fits = number && (std::is_signed_v<T> || *number >= 0) &&
                    (sizeof(T) == sizeof(int64_t) || (*number >= static_cast<int64_t>(std::numeric_limits<T>::min()) &&
                                                      *number <= static_cast<int64_t>(std::numeric_limits<T>::max())));
  if (!fits) return WrongType(key, std::is_signed_v<T> ? "an integer" : "a non-negative integer", value);
  *field = static_cast<T>(*number);
  return {};
}

struct Setter {
  std::string_view key;
  const ConfigNode& value;

  Status operator()(std::string* field) const {
    const std::optional<std::string> text = value.AsString();
    if (!text) return WrongType(key, "a string", value);
    *field = *text;
    return {};
  }
  Status operator()(bool* field) const {
    const std::optional<bool> flag = value.AsBool();
    if (!flag) return WrongType(key, "true or false", value);
    *field = *flag;
    return {};
  }
  Status operator()(std::optional<int>* field) const { return SetInteger(key, value, &field->emplace()); }
  template <typename T>
  Status operator()(T* field) const {
    return SetInteger(key, value, field);
  }
  Status operator()(const std::function<Status(const ConfigNode&)>& set) const { return set(value); }
};

}  // namespace

Status WrongType(std::string_view key, std::string_view expected, const ConfigNode& found) {
  return WrongOption(key, fmt::format("expected {}, found {}", expected, Config(found).ToJson(-1)));
}

Status ReadOptions(const char* json, std::span<const Option> options) {
  if (json == nullptr) return {};
  Result<Config> parsed = Config::ParseJson(json, "options");
  if (!parsed.ok()) return InvalidArgument(parsed.status().message());
  if (!parsed->root().is_map()) return WrongType("options", "a JSON object", parsed->root());
  for (const auto& [key, value] : parsed->root().map) {
    const auto option = std::ranges::find(options, key, &Option::name);
    if (option == options.end()) return InvalidArgument(fmt::format("no such option: '{}'", key));
    if (!value.is_null()) ANEMONE_TRY(std::visit(Setter{key, value}, option->field));
  }
  return {};
}

}  // namespace anemone::c_api
