// Nodes of values that C++ has as other types.
#ifndef ANEMONE_CONFIG_NODES_H_
#define ANEMONE_CONFIG_NODES_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "anemone/config.h"

namespace anemone {

inline ConfigNode TextNode(std::string_view text) { return ConfigNode::String(std::string(text)); }
// A size or a number of things.
inline ConfigNode SizeNode(uint64_t value) { return ConfigNode::Int(static_cast<int64_t>(value)); }

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
