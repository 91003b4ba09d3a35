#include "family/clip/field_codecs.h"

#include <fmt/format.h>

namespace anemone {
namespace {

constexpr uint64_t kMaxSize = uint64_t{1} << 32;

bool Has(const ClipField& field, const ClipArchitecture& spec) {
  return field.codec.owner == FieldOwner::kBoth || (field.codec.owner == FieldOwner::kSiglip) == spec.siglip;
}

std::string Written(const ConfigNode& node) {
  return node.is_map() || node.is_list() ? Config(node).ToJson(-1) : node.ScalarText();
}

}  // namespace

const ConfigNode* FieldReader::Get(std::string_view key) const {
  const ConfigNode* child = node_ == nullptr ? nullptr : node_->Get(key);
  return child == nullptr || child->is_null() ? nullptr : child;
}

uint64_t FieldReader::Size(std::string_view key, std::optional<uint64_t> fallback) {
  const ConfigNode* child = Get(key);
  if (child == nullptr) {
    if (!fallback) Fail(key, "a number", "nothing");
    return fallback.value_or(1);
  }
  const auto value = child->AsInt();
  if (!value || *value < 0 || static_cast<uint64_t>(*value) > kMaxSize) {
    Fail(key, "a size", Written(*child));
    return 1;
  }
  return static_cast<uint64_t>(*value);
}

double FieldReader::Real(std::string_view key, double fallback) {
  const ConfigNode* child = Get(key);
  if (child == nullptr) return fallback;
  const auto value = child->AsDouble();
  if (!value) Fail(key, "a number", Written(*child));
  return value.value_or(fallback);
}

bool FieldReader::Bool(std::string_view key, bool fallback) {
  const ConfigNode* child = Get(key);
  if (child == nullptr) return fallback;
  const auto value = child->AsBool();
  if (!value) Fail(key, "true or false", Written(*child));
  return value.value_or(fallback);
}

std::string FieldReader::Text(std::string_view key, std::string_view fallback) {
  const ConfigNode* child = Get(key);
  if (child == nullptr) return std::string(fallback);
  const auto value = child->AsString();
  if (!value) Fail(key, "a word", Written(*child));
  return value.value_or(std::string(fallback));
}

void FieldReader::Fail(std::string_view key, std::string_view expected, std::string_view found) {
  if (status_.ok()) status_ = Corrupt(fmt::format("{}{}: expected {}, found {}", where_, key, expected, found));
}

void FieldReader::Refuse(std::string_view key, std::string_view expected, std::string_view found) {
  if (status_.ok()) status_ = Unsupported(fmt::format("{}{}: expected {}, found {}", where_, key, expected, found));
}

void ReadFields(std::span<const ClipField> fields, FieldReader& in, ClipArchitecture& spec, TowerArchitecture* tower) {
  for (const ClipField& field : fields) {
    if (field.codec.read != nullptr && Has(field, spec)) field.codec.read({in, field, spec, tower});
  }
}

void WriteFields(std::span<const ClipField> fields, const ClipArchitecture& spec, const TowerArchitecture* tower,
                 ConfigNode& node) {
  for (const ClipField& field : fields) {
    if (field.codec.write == nullptr || !Has(field, spec)) continue;
    if (std::optional<ConfigNode> value = field.codec.write({field, spec, tower})) node[field.name] = *std::move(value);
  }
}

}  // namespace anemone
