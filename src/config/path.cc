#include "config/path.h"

#include <charconv>
#include <utility>

namespace anemone {
namespace internal {
namespace {

bool IsEscapable(char c) { return c == '.' || c == '[' || c == ']' || c == '='; }

// Reads a key up to one of `stops`, unescaping it; `at` ends on the stop or at the end.
std::string ReadKey(std::string_view path, size_t& at, std::string_view stops) {
  std::string key;
  while (at < path.size() && stops.find(path[at]) == std::string_view::npos) {
    if (path[at] == '\\' && at + 1 < path.size() && IsEscapable(path[at + 1])) ++at;
    key += path[at++];
  }
  return key;
}

// A negative index counts from the end, as in Python.
bool ParseIndex(std::string_view key, size_t size, size_t* index) {
  const bool negative = key.starts_with('-');
  if (negative) key.remove_prefix(1);
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), *index);
  if (key.empty() || error != std::errc() || end != key.data() + key.size()) return false;
  if (negative) *index = size - *index;  // wraps, and so fails the next test, when there are fewer
  return *index < size;
}

}  // namespace

std::vector<std::string> SplitPath(std::string_view path) {
  std::vector<std::string> keys;
  size_t at = 0;
  if (path.empty()) return keys;
  if (path[0] != '[') keys.push_back(ReadKey(path, at, ".["));
  while (at < path.size()) {
    const bool bracket = path[at++] == '[';
    keys.push_back(ReadKey(path, at, bracket ? "]" : ".["));
    if (bracket && at < path.size()) ++at;
  }
  return keys;
}

std::string JoinPath(std::string_view parent, std::string_view key) {
  std::string path(parent);
  if (!path.empty()) path += '.';
  for (const char c : key) {
    if (IsEscapable(c)) path += '\\';
    path += c;
  }
  return path;
}

std::string JoinPath(std::string_view parent, size_t index) {
  return std::string(parent) + "[" + std::to_string(index) + "]";
}

const ConfigNode* Child(const ConfigNode& node, std::string_view key) {
  if (node.is_map()) return node.Get(key);
  size_t index = 0;
  return node.is_list() && ParseIndex(key, node.list.size(), &index) ? &node.list[index] : nullptr;
}

}  // namespace internal

const ConfigNode* Config::Find(std::string_view path) const {
  const ConfigNode* node = &root_;
  for (const std::string& key : internal::SplitPath(path)) {
    node = internal::Child(*node, key);
    if (node == nullptr) return nullptr;
  }
  return node;
}

Status Config::Set(std::string_view path, ConfigNode value) {
  const std::vector<std::string> keys = internal::SplitPath(path);
  ConfigNode* node = &root_;
  for (const std::string& key : keys) {
    if (node->is_null()) {
      const ConfigNode::Kind key_kind = node->key_kind;
      *node = ConfigNode::Map();
      node->key_kind = key_kind;
    }
    if (node->is_map()) {
      node = &(*node)[key];
    } else if (node->is_list()) {
      node = const_cast<ConfigNode*>(internal::Child(*node, key));
      if (node == nullptr) return InvalidArgument("expected an index inside the list, found '" + key + "'").In(path);
    } else {
      return InvalidArgument("expected a map or a list to hold '" + key + "', found '" + node->ScalarText() + "'")
          .In(path);
    }
  }
  value.key_kind = node->key_kind;
  *node = std::move(value);
  return {};
}

Status Config::Unset(std::string_view path) {
  std::vector<std::string> keys = internal::SplitPath(path);
  if (keys.empty()) return InvalidArgument("expected the path of a value, found the whole config");
  const std::string last = std::move(keys.back());
  keys.pop_back();
  ConfigNode* node = &root_;
  for (const std::string& key : keys) {
    node = const_cast<ConfigNode*>(internal::Child(*node, key));
    if (node == nullptr) return NotFound("expected a value, found none").In(path);
  }
  const ConfigNode* child = internal::Child(*node, last);
  if (child == nullptr) return NotFound("expected a value, found none").In(path);
  if (node->is_list()) {
    node->list.erase(node->list.begin() + (child - node->list.data()));
  } else {
    node->Erase(last);
  }
  return {};
}

}  // namespace anemone
