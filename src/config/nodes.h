// Nodes of values that C++ has as other types.
#ifndef ANEMONE_CONFIG_NODES_H_
#define ANEMONE_CONFIG_NODES_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "anemone/config.h"

namespace anemone {

inline ConfigNode TextNode(std::string_view text) { return ConfigNode::String(std::string(text)); }
// A size or a number of things.
inline ConfigNode SizeNode(uint64_t value) { return ConfigNode::Int(static_cast<int64_t>(value)); }

// JSON that lists a vocabulary, the tensors of a model or the files of a repository may hold more values than a config.
inline Result<Config> ParseJsonList(std::string_view text, std::string_view name) {
  return Config::ParseJson(text, name, 4'000'000);
}

// The children of a map by key, for whoever asks for many: ConfigNode::Get walks the map. REQUIRES: the map stays.
class MapIndex {
 public:
  explicit MapIndex(const ConfigNode& node) {
    for (const auto& [key, child] : node.map) children_.emplace(key, &child);
  }
  const ConfigNode* Get(std::string_view key) const {
    const auto found = children_.find(key);
    return found == children_.end() ? nullptr : found->second;
  }

 private:
  std::map<std::string_view, const ConfigNode*> children_;
};

// A value in a message: a scalar as it is written.
inline std::string Shown(const ConfigNode& value) {
  if (value.is_scalar()) return value.ScalarText();
  return value.is_list() ? "a list" : "a map";
}

// The same where a text may look like a number.
inline std::string ShownQuoted(const ConfigNode& value) {
  return value.kind == ConfigNode::Kind::kString ? "\"" + value.text + "\"" : Shown(value);
}

}  // namespace anemone

#endif  // ANEMONE_CONFIG_NODES_H_
