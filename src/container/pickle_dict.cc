#include "container/pickle_dict.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string_view>
#include <unordered_map>

namespace anemone::internal {
namespace {

using Kind = ValueNode::Kind;

// A dict key as Python compares it: atoms by value (True == 1 == 1.0), everything else by identity.
struct Key {
  char type;
  uint64_t number;
  std::string_view text;
  bool operator==(const Key&) const = default;
};
struct KeyHash {
  size_t operator()(const Key& key) const {
    return std::hash<std::string_view>()(key.text) ^ (key.number * 0x9e3779b97f4a7c15u) ^ static_cast<size_t>(key.type);
  }
};
Key KeyOf(const ValueNode& node) {
  switch (node.kind) {
    case Kind::kBool:
    case Kind::kInt:
      return {'i', static_cast<uint64_t>(node.integer), {}};
    case Kind::kFloat:
      if (std::abs(node.real) < 0x1p62 && node.real == std::floor(node.real)) {
        return {'i', static_cast<uint64_t>(static_cast<int64_t>(node.real)), {}};
      }
      if (std::isnan(node.real)) break;
      return {'f', std::bit_cast<uint64_t>(node.real), {}};
    case Kind::kBigInt:
      return {'I', 0, node.text};
    case Kind::kString:
      return {'s', 0, node.text};
    case Kind::kBytes:
      return {'b', 0, node.text};
    default:
      break;
  }
  return {'p', std::bit_cast<uintptr_t>(&node), {}};
}

}  // namespace

void DropDuplicateKeys(ValueList& pairs) {
  std::unordered_map<Key, size_t, KeyHash> places;
  const bool many = pairs.size() > 16;
  if (many) places.reserve(pairs.size() / 2);
  size_t kept = 0;
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    const Key key = KeyOf(*pairs[i]);
    size_t place = kept;
    if (many) {
      place = places.emplace(key, kept).first->second;
    } else {
      for (size_t j = 0; j < kept && place == kept; j += 2) {
        if (KeyOf(*pairs[j]) == key) place = j;
      }
    }
    if (place == kept) {
      pairs[kept] = pairs[i];
      kept += 2;
    }
    pairs[place + 1] = pairs[i + 1];
  }
  pairs.resize(kept);
}

}  // namespace anemone::internal
