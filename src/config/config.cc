#include <cmath>
#include <optional>
#include <utility>

#include "anemone/config.h"
#include "config/nodes.h"
#include "config/scalar.h"

namespace anemone {

ConfigNode ConfigNode::Bool(bool v) {
  ConfigNode node;
  node.kind = Kind::kBool;
  node.boolean = v;
  return node;
}

ConfigNode ConfigNode::Int(int64_t v) {
  ConfigNode node;
  node.kind = Kind::kInt;
  node.integer = v;
  return node;
}

ConfigNode ConfigNode::Float(double v) {
  ConfigNode node;
  node.kind = Kind::kFloat;
  node.real = v;
  return node;
}

ConfigNode ConfigNode::String(std::string v) {
  ConfigNode node;
  node.kind = Kind::kString;
  node.text = std::move(v);
  return node;
}

ConfigNode ConfigNode::List(std::vector<ConfigNode> v) {
  ConfigNode node;
  node.kind = Kind::kList;
  node.list = std::move(v);
  return node;
}

ConfigNode ConfigNode::Map() {
  ConfigNode node;
  node.kind = Kind::kMap;
  return node;
}

const ConfigNode* ConfigNode::Get(std::string_view key) const {
  if (kind != Kind::kMap) return nullptr;
  for (const auto& [name, child] : map) {
    if (name == key) return &child;
  }
  return nullptr;
}

ConfigNode* ConfigNode::Get(std::string_view key) { return const_cast<ConfigNode*>(std::as_const(*this).Get(key)); }

ConfigNode& ConfigNode::operator[](std::string_view key) {
  if (ConfigNode* child = Get(key)) return *child;
  return map.emplace_back(std::string(key), ConfigNode()).second;
}

bool ConfigNode::Erase(std::string_view key) {
  if (kind != Kind::kMap) return false;
  return std::erase_if(map, [&](const auto& item) { return item.first == key; }) > 0;
}

std::optional<bool> ConfigNode::AsBool() const { return kind == Kind::kBool ? std::optional(boolean) : std::nullopt; }

std::optional<int64_t> ConfigNode::AsInt() const { return kind == Kind::kInt ? std::optional(integer) : std::nullopt; }

std::optional<double> ConfigNode::AsDouble() const {
  if (kind == Kind::kFloat) return real;
  return kind == Kind::kInt ? std::optional(static_cast<double>(integer)) : std::nullopt;
}

std::optional<std::string> ConfigNode::AsString() const {
  return kind == Kind::kString ? std::optional(text) : std::nullopt;
}

std::string ConfigNode::ScalarText() const {
  if (kind == Kind::kString) return text;
  return is_scalar() ? internal::YamlScalar(*this) : std::string();
}

bool SameConfig(const ConfigNode& a, const ConfigNode& b) {
  using Kind = ConfigNode::Kind;
  if (a.kind != b.kind) {
    const bool numbers =
        (a.kind == Kind::kInt || a.kind == Kind::kFloat) && (b.kind == Kind::kInt || b.kind == Kind::kFloat);
    return numbers && *a.AsDouble() == *b.AsDouble();
  }
  switch (a.kind) {
    case Kind::kNull:
      return true;
    case Kind::kBool:
      return a.boolean == b.boolean;
    case Kind::kInt:
      return a.integer == b.integer;
    case Kind::kFloat:
      return a.real == b.real || (std::isnan(a.real) && std::isnan(b.real));
    case Kind::kString:
      return a.text == b.text;
    case Kind::kList:
      if (a.list.size() != b.list.size()) return false;
      for (size_t i = 0; i < a.list.size(); ++i) {
        if (!SameConfig(a.list[i], b.list[i])) return false;
      }
      return true;
    case Kind::kMap:
      if (a.map.size() != b.map.size()) return false;
      std::optional<MapIndex> index;  // nearly always in the same order; the search is for the rest
      for (size_t i = 0; i < a.map.size(); ++i) {
        const bool is_there = b.map[i].first == a.map[i].first;
        if (!is_there && !index) index.emplace(b);
        const ConfigNode* other = is_there ? &b.map[i].second : index->Get(a.map[i].first);
        if (other == nullptr || !SameConfig(a.map[i].second, *other)) return false;
      }
      return true;
  }
  return false;
}

}  // namespace anemone
