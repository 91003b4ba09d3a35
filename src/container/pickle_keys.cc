#include "container/pickle_keys.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/text_hash.h"

namespace anemone::internal {
namespace {

using Kind = ValueNode::Kind;

constexpr int kMaxDepth = 100;  // of tuples in a key

struct Key {
  char type = 'p';
  uint64_t number = 0;
  std::string_view text;
  bool operator==(const Key&) const = default;
};
struct KeyHash {
  size_t operator()(const Key& key) const {
    return HashOf(key.text) ^ HashOf(key.number) ^ static_cast<size_t>(key.type);
  }
};

bool IsWhole(double number) { return std::isfinite(number) && number == std::floor(number); }

std::string Digits(double whole) {
  std::array<char, 320> digits = {};
  return {digits.data(), static_cast<size_t>(std::snprintf(digits.data(), digits.size(), "%.0f", whole))};
}

// The same text for equal keys, and for no others; no key's text begins with another's.
void AppendText(const ValueNode& node, std::string& text);

// Texts that are made for a key are kept in `made`.
Key KeyOf(const ValueNode& node, std::deque<std::string>& made) {
  switch (node.kind) {
    case Kind::kBool:
    case Kind::kInt:
      return {'i', static_cast<uint64_t>(node.integer), {}};
    case Kind::kFloat:
      if (std::isnan(node.real)) break;
      if (!IsWhole(node.real)) return {'f', std::bit_cast<uint64_t>(node.real), {}};
      if (std::abs(node.real) < 0x1p63) return {'i', static_cast<uint64_t>(static_cast<int64_t>(node.real)), {}};
      return {'I', 0, made.emplace_back(Digits(node.real))};
    case Kind::kBigInt:
      return {'I', 0, node.text};
    case Kind::kString:
      return {'s', 0, node.text};
    case Kind::kBytes:
      return {'b', 0, node.text};
    case Kind::kTuple:
    case Kind::kSet:
      AppendText(node, made.emplace_back());
      return {'t', 0, made.back()};
    default:
      break;
  }
  return {'p', std::bit_cast<uintptr_t>(&node), {}};
}

void AppendCount(char type, size_t count, std::string& text) {
  text += type;
  text += std::to_string(count);
  text += ':';
}

void AppendText(const ValueNode& node, std::string& text) {
  if (node.kind == Kind::kTuple) {
    AppendCount('(', node.items.size(), text);
    for (const ValueRef item : node.items) AppendText(*item, text);
  } else if (node.kind == Kind::kSet) {
    std::vector<std::string> parts(node.items.size());
    for (size_t i = 0; i < parts.size(); ++i) AppendText(*node.items[i], parts[i]);
    std::ranges::sort(parts);
    parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
    AppendCount('{', parts.size(), text);
    for (const std::string& part : parts) text += part;
  } else {
    std::deque<std::string> made;
    const Key key = KeyOf(node, made);
    AppendCount(key.type, key.number, text);
    AppendCount(':', key.text.size(), text);
    text += key.text;
  }
}

// `sets`: of the frozensets around it, each of which copies its text once more.
Status CheckKey(const ValueNode& key, int depth, uint64_t sets, uint64_t& budget) {
  const bool is_mutable =
      (key.kind == Kind::kSet && key.integer == 0) || (key.kind == Kind::kBytes && key.integer == 1);
  if (key.kind == Kind::kList || key.kind == Kind::kDict || is_mutable) {
    return Corrupt("expected a key, found " + std::string(Describe(&key)) + " [PKL-12]");
  }
  // A key's text is as long as what it holds.
  const uint64_t work = depth == 0 ? 1 : (1 + key.text.size()) * (1 + sets);
  if (depth > kMaxDepth || work > budget) {
    return LimitExceeded("expected keys of a few values, found long or deep tuples again and again [PKL-14]");
  }
  budget -= work;
  if (key.kind != Kind::kTuple && key.kind != Kind::kSet) return {};
  const uint64_t within = sets + (key.kind == Kind::kSet ? 1 : 0);
  for (const ValueRef item : key.items) ANEMONE_TRY(CheckKey(*item, depth + 1, within, budget));
  return {};
}

}  // namespace

Status CheckHashable(const ValueList& items, size_t step, uint64_t& budget) {
  for (size_t i = 0; i < items.size(); i += step) ANEMONE_TRY(CheckKey(*items[i], 0, 0, budget));
  return {};
}

void DropDuplicates(ValueList& items, size_t step) {
  std::deque<std::string> made;
  std::unordered_map<Key, size_t, KeyHash> places;
  std::array<Key, 16> few;
  const bool many = items.size() > few.size();
  if (many) places.reserve(items.size() / step);
  size_t kept = 0;
  for (size_t i = 0; i + step <= items.size(); i += step) {
    const Key key = KeyOf(*items[i], made);
    size_t place = kept;
    if (many) {
      place = places.emplace(key, kept).first->second;
    } else {
      for (size_t j = 0; j < kept && place == kept; j += step) {
        if (few[j] == key) place = j;
      }
    }
    if (place == kept) {
      if (!many) few[kept] = key;
      items[kept] = items[i];
      kept += step;
    }
    if (step == 2) items[place + 1] = items[i + 1];
  }
  items.resize(kept);
}

}  // namespace anemone::internal
