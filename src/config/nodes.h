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

}  // namespace anemone

#endif  // ANEMONE_CONFIG_NODES_H_
