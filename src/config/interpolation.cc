// Resolving `${…}` as OmegaConf does [omegaconf/grammar_visitor.py, base.py, resolvers/oc]: absolute and relative
// paths, nesting, and the resolvers that compute on the config alone.
#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "anemone/config.h"
#include "config/nodes.h"
#include "config/path.h"
#include "config/scalar.h"
#include "config/value_grammar.h"

namespace anemone {
namespace {

using internal::Interpolate;
using internal::JoinPath;
using internal::kMaxDepth;
using Keys = std::vector<std::string>;

bool IsMissing(const ConfigNode& node) { return node.kind == ConfigNode::Kind::kString && node.text == "???"; }
bool HasInterpolation(const ConfigNode& node) {
  return node.kind == ConfigNode::Kind::kString && node.text.find("${") != std::string::npos;
}

std::string Dotted(const Keys& keys) {
  std::string path;
  for (const std::string& key : keys) path = JoinPath(path, std::string_view(key));
  return path;
}

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

class Resolver {
 public:
  explicit Resolver(const ConfigNode& root) : root_(root) {}

  // `keys`: where the node stands. Everything inside it resolved.
  Result<ConfigNode> Node(const ConfigNode& node, const Keys& keys) {
    if (++nodes_ > internal::kMaxNodes)
      return LimitExceeded("expected interpolations that expand to at most " + std::to_string(internal::kMaxNodes) +
                           " values, found more");
    if (bytes_ += node.text.size(); bytes_ > internal::kMaxTextBytes) {
      return LimitExceeded("expected interpolations that expand to at most 64 MiB, found more");
    }
    if (HasInterpolation(node)) {
      Keys parent = keys;
      if (!parent.empty()) parent.pop_back();
      const Interpolate at_parent = [this, &parent](std::string_view text) { return Interpolation(text, parent); };
      Result<ConfigNode> value = internal::ExpandText(node.text, at_parent);
      if (!value.ok()) return value.status().In(Dotted(keys));
      if (bytes_ += value->text.size(); bytes_ > internal::kMaxTextBytes) {
        return LimitExceeded("expected interpolations that expand to at most 64 MiB, found more");
      }
      value->key_kind = node.key_kind;
      return value;
    }
    if (node.is_scalar()) return node;
    ConfigNode out = node.is_map() ? ConfigNode::Map() : ConfigNode::List();
    out.key_kind = node.key_kind;
    Keys below = keys;
    below.emplace_back();
    for (const auto& [key, child] : node.map) {
      below.back() = key;
      ANEMONE_ASSIGN(ConfigNode value, Node(child, below));
      out.map.emplace_back(key, std::move(value));
    }
    for (size_t i = 0; i < node.list.size(); ++i) {
      below.back() = std::to_string(i);
      ANEMONE_ASSIGN(ConfigNode value, Node(node.list[i], below));
      out.list.push_back(std::move(value));
    }
    return out;
  }

  // The node at absolute `keys`, resolved; on the way an interpolation counts as what it stands for. nullopt: absent.
  Result<std::optional<ConfigNode>> Select(const Keys& keys) {
    const std::string path = Dotted(keys);
    if (!active_.insert(path).second)
      return Corrupt("expected interpolations without a cycle, found one through '" + path + "'");
    if (active_.size() > static_cast<size_t>(kMaxDepth)) {
      active_.erase(path);
      return LimitExceeded("expected interpolations at most 200 deep, found deeper ones");
    }
    Result<std::optional<ConfigNode>> value = SelectInner(keys);
    active_.erase(path);
    return value;
  }

 private:
  const ConfigNode& root_;
  std::set<std::string> active_;
  std::map<const ConfigNode*, MapIndex> indexes_;  // of large maps
  uint64_t nodes_ = 0;
  uint64_t bytes_ = 0;

  // REQUIRES: `node` is in the tree of `root_`, which stays.
  const ConfigNode* Child(const ConfigNode& node, std::string_view key) {
    constexpr size_t kSmall = 32;
    if (node.map.size() <= kSmall) return internal::Child(node, key);
    return indexes_.try_emplace(&node, node).first->second.Get(key);
  }

  Result<std::optional<ConfigNode>> SelectInner(const Keys& keys) {
    const ConfigNode* node = &root_;
    Keys walked;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (HasInterpolation(*node)) {
        ANEMONE_ASSIGN(std::optional<ConfigNode> through, Select(walked));
        const ConfigNode* inner = &*through;
        for (; i < keys.size() && inner != nullptr; ++i) inner = internal::Child(*inner, keys[i]);
        if (inner == nullptr) return std::optional<ConfigNode>();
        return std::optional<ConfigNode>(ConfigNode(*inner));
      }
      node = Child(*node, keys[i]);
      if (node == nullptr) return std::optional<ConfigNode>();
      walked.push_back(keys[i]);
    }
    ANEMONE_ASSIGN(ConfigNode value, Node(*node, keys));
    return std::optional<ConfigNode>(std::move(value));
  }

  // `dots` leading dots climb from `parent`; none: from the root.
  Result<Keys> Absolute(size_t dots, const Keys& parent, const Keys& keys, std::string_view text) {
    Keys path;
    if (dots > 0) {
      if (dots - 1 > parent.size())
        return NotFound("expected an interpolation inside the config, found one above its root: '" + std::string(text) +
                        "'");
      path.assign(parent.begin(), parent.end() - static_cast<ptrdiff_t>(dots - 1));
    }
    path.insert(path.end(), keys.begin(), keys.end());
    return path;
  }

  // A key given as text, as oc.select takes it: absolute unless it starts with dots.
  Result<Keys> AbsoluteFromText(std::string_view key, const Keys& parent) {
    const size_t dots = std::min(key.find_first_not_of('.'), key.size());
    return Absolute(dots, parent, internal::SplitPath(key.substr(dots)), key);
  }

  // The keys that an interpolation inside another stands for; `dots` grows by those that its text begins with, where
  // that is the first key.
  static Result<Keys> KeysOf(const ConfigNode& value, bool is_first, bool bracket, size_t* dots,
                             std::string_view text) {
    if (value.kind == ConfigNode::Kind::kInt) return Keys{std::to_string(value.integer)};
    if (value.kind != ConfigNode::Kind::kString) {
      return Corrupt("expected a string or an integer as key, found '" + value.ScalarText() + "' from '" +
                     std::string(text) + "'");
    }
    std::string_view key = value.text;
    if (is_first && !bracket) {
      const size_t leading = std::min(key.find_first_not_of('.'), key.size());
      *dots += leading;
      key.remove_prefix(leading);
    }
    return bracket ? Keys{std::string(key)} : internal::SplitPath(key);
  }

  // The key that stands at `*at`, which moves behind it.
  static std::string PlainKey(std::string_view inner, size_t* at) {
    std::string key;
    while (*at < inner.size() && std::string_view("{}()[]:. \t\n'\"").find(inner[*at]) == std::string_view::npos) {
      if (inner[*at] == '\\' && *at + 1 < inner.size()) ++*at;
      key += inner[(*at)++];
    }
    return key;
  }

  Result<ConfigNode> ValueAt(const Keys& path) {
    ANEMONE_ASSIGN(std::optional<ConfigNode> value, Select(path));
    if (!value) return NotFound("expected the key '" + Dotted(path) + "' of an interpolation, found none");
    if (IsMissing(*value)) return NotFound("expected a value for '" + Dotted(path) + "', found ??? (missing)");
    return *std::move(value);
  }

  // text: "${…}"
  Result<ConfigNode> Interpolation(std::string_view text, const Keys& parent) {
    std::string_view inner = text.substr(2, text.size() - 3);
    size_t at = 0;
    const auto skip_space = [&] {
      while (at < inner.size() && (inner[at] == ' ' || inner[at] == '\t' || inner[at] == '\n')) ++at;
    };
    const Interpolate nested = [this, &parent](std::string_view t) { return Interpolation(t, parent); };
    const auto grammar = [&] { return Corrupt("expected a key or a resolver, found '" + std::string(text) + "'"); };
    skip_space();
    size_t dots = 0;
    Keys keys;
    std::string name;       // what stands before a ':' is a resolver's name
    bool separated = true;  // a key may follow
    while (at < inner.size()) {
      const char c = inner[at];
      if (c == ' ' || c == '\t' || c == '\n') {
        skip_space();
        if (at < inner.size() && inner[at] != ':') return grammar();
        continue;
      }
      if (c == ':') return Call(name, inner.substr(at + 1), parent, text);
      if (c == '.') {
        if (keys.empty()) {
          ++dots;
        } else if (separated) {
          return grammar();
        }
        separated = true;
        name += c;
        ++at;
        continue;
      }
      const bool bracket = c == '[';
      if (bracket) ++at;
      if (!bracket && !separated && !inner.substr(at).starts_with("${")) return grammar();
      Keys found;
      if (inner.substr(at).starts_with("${")) {
        ANEMONE_ASSIGN(const size_t end, internal::InterpolationEnd(inner, at));
        ANEMONE_ASSIGN(const ConfigNode value, nested(inner.substr(at, end - at)));
        at = end;
        ANEMONE_ASSIGN(found, KeysOf(value, keys.empty(), bracket, &dots, text));
        name += found.empty() ? "" : found.back();
      } else {
        std::string key = PlainKey(inner, &at);
        if (key.empty()) return grammar();
        name += key;
        found.push_back(std::move(key));
      }
      if (bracket) {
        if (at >= inner.size() || inner[at] != ']') return grammar();
        ++at;
      }
      keys.insert(keys.end(), found.begin(), found.end());
      separated = false;
    }
    if (keys.empty() && dots == 0) return grammar();
    ANEMONE_ASSIGN(const Keys path, Absolute(dots, parent, keys, text));
    return ValueAt(path);
  }

  Result<ConfigNode> Call(std::string_view name, std::string_view arguments_text, const Keys& parent,
                          std::string_view text) {
    const Interpolate nested = [this, &parent](std::string_view t) { return Interpolation(t, parent); };
    if (name == "oc.env" || name == "env") {
      return Unsupported("expected a config that does not depend on the machine, found '" + std::string(text) + "'",
                         "anemone reads no environment variables for a config; set the value");
    }
    static constexpr std::string_view kKnown[] = {"oc.select",    "oc.decode",      "oc.create", "oc.deprecated",
                                                  "oc.dict.keys", "oc.dict.values", "multiply",  "sum"};
    if (std::find(std::begin(kKnown), std::end(kKnown), name) == std::end(kKnown)) {
      std::string known;
      for (const std::string_view k : kKnown) known += (known.empty() ? "" : ", ") + std::string(k);
      return Unsupported("expected a resolver of " + known + ", found '" + std::string(name) + "' in '" +
                         std::string(text) + "'");
    }
    ANEMONE_ASSIGN(const std::vector<ConfigNode> arguments, internal::ParseArguments(arguments_text, nested));
    const auto expect = [&](size_t least, size_t most) {
      return arguments.size() >= least && arguments.size() <= most
                 ? Status()
                 : Corrupt("expected " + std::to_string(least) + (most > least ? " to " + std::to_string(most) : "") +
                           " arguments of " + std::string(name) + ", found " + std::to_string(arguments.size()));
    };
    if (name == "multiply" || name == "sum") {
      ANEMONE_TRY(expect(2, 2));
      return Arithmetic(name, arguments[0], arguments[1]);
    }
    if (name == "oc.create") {
      ANEMONE_TRY(expect(1, 1));
      if (arguments[0].kind != ConfigNode::Kind::kString) return arguments[0];
      ANEMONE_ASSIGN(const Config created, Config::ParseYaml(arguments[0].text, name));
      Keys below = parent;
      below.emplace_back();
      return Node(created.root(), below);
    }
    if (name == "oc.decode") {
      ANEMONE_TRY(expect(1, 1));
      if (arguments[0].is_null()) return ConfigNode::Null();
      if (arguments[0].kind != ConfigNode::Kind::kString)
        return Corrupt("expected a string to decode, found another value in '" + std::string(text) + "'");
      if (++decodes_ > kMaxDepth) return LimitExceeded("expected at most 200 values to decode, found more");
      return internal::ParseElement(arguments[0].text, nested);
    }
    ANEMONE_TRY(expect(1, name == "oc.select" || name == "oc.deprecated" ? 2 : 1));
    if (arguments[0].kind != ConfigNode::Kind::kString && arguments[0].kind != ConfigNode::Kind::kInt) {
      return Corrupt("expected a key, found another value in '" + std::string(text) + "'");
    }
    ANEMONE_ASSIGN(const Keys path, AbsoluteFromText(internal::PythonStr(arguments[0]), parent));
    ANEMONE_ASSIGN(std::optional<ConfigNode> value, Select(path));
    if (name == "oc.select") {
      if (value && !IsMissing(*value)) return *std::move(value);
      return arguments.size() == 2 ? arguments[1] : ConfigNode::Null();
    }
    if (!value) return NotFound("expected the key '" + Dotted(path) + "' of " + std::string(name) + ", found none");
    if (name == "oc.deprecated") return *std::move(value);
    if (!value->is_map())
      return Corrupt("expected a map for " + std::string(name) + ", found another value at '" + Dotted(path) + "'");
    ConfigNode list = ConfigNode::List();
    for (auto& [key, child] : value->map) {
      list.list.push_back(name == "oc.dict.values" ? std::move(child) : ConfigNode::String(key));
      list.list.back().key_kind = ConfigNode::Kind::kString;
    }
    return list;
  }

  static Result<ConfigNode> Arithmetic(std::string_view name, const ConfigNode& a, const ConfigNode& b) {
    if (!a.AsDouble() || !b.AsDouble())
      return Corrupt("expected two numbers for " + std::string(name) + ", found other values");
    if (a.AsInt() && b.AsInt()) {
      int64_t value = 0;
      const bool overflow = name == "sum" ? __builtin_add_overflow(*a.AsInt(), *b.AsInt(), &value)
                                          : __builtin_mul_overflow(*a.AsInt(), *b.AsInt(), &value);
      if (overflow) return LimitExceeded("expected a 64-bit result of " + std::string(name) + ", found a larger one");
      return ConfigNode::Int(value);
    }
    return ConfigNode::Float(name == "sum" ? *a.AsDouble() + *b.AsDouble() : *a.AsDouble() * *b.AsDouble());
  }

  int decodes_ = 0;
};

// Grammar errors inside a stored config mean that the config is wrong, not the caller.
Status AsStored(const Status& status) {
  if (status.kind() != ErrorKind::kInvalidArgument) return status;
  Status stored = Corrupt(status.error().what);
  const auto& where = status.error().where;
  for (auto at = where.rbegin(); at != where.rend(); ++at) stored = stored.In(*at);
  return stored;
}

template <typename Visit>
void Walk(const ConfigNode& node, const std::string& path, std::string_view key, const Visit& visit) {
  if (node.is_scalar()) return visit(path, key, node);
  for (const auto& [name, child] : node.map) Walk(child, JoinPath(path, std::string_view(name)), name, visit);
  for (size_t i = 0; i < node.list.size(); ++i) Walk(node.list[i], JoinPath(path, i), "", visit);
}

// Whether some `${name:` occurs, nested ones included.
bool CallsResolver(std::string_view text) {
  for (size_t at = text.find("${"); at != std::string_view::npos; at = text.find("${", at + 2)) {
    size_t i = at + 2;
    while (i < text.size() && (text[i] == ' ' || text[i] == '\t')) ++i;
    const size_t start = i;
    while (i < text.size() && IsNameCharacter(text[i])) ++i;
    // A name that is itself an interpolation, ${${x}:…}, calls something unknown: list it too.
    const bool computed = text.substr(i).starts_with("${");
    while (i < text.size() && (text[i] == ' ' || text[i] == '\t')) ++i;
    if (computed || (i > start && i < text.size() && text[i] == ':')) return true;
  }
  return false;
}

}  // namespace

Result<ConfigNode> Config::Resolve(std::string_view path) const {
  Result<std::optional<ConfigNode>> value = Resolver(root_).Select(internal::SplitPath(path));
  if (!value.ok()) return AsStored(value.status());
  if (!*value) return NotFound("expected the key '" + std::string(path) + "', found none");
  return **std::move(value);
}

Result<ConfigNode> Config::ResolveChildren(std::string_view path,
                                           const std::function<bool(std::string_view key)>& may_stay) const {
  const ConfigNode* map = Find(path);
  if (map == nullptr) return NotFound("expected the key '" + std::string(path) + "', found none");
  ConfigNode resolved = *map;
  Resolver resolver(root_);
  std::vector<std::string> keys = internal::SplitPath(path);
  keys.emplace_back();
  for (auto& [key, child] : resolved.map) {
    keys.back() = key;
    Result<std::optional<ConfigNode>> value = resolver.Select(keys);
    if (value.ok() && *value) {
      child = **std::move(value);
    } else if (!value.ok() && !may_stay(key)) {
      return AsStored(value.status());
    }
  }
  return resolved;
}

std::vector<ConfigFinding> FindTargets(const ConfigNode& root) {
  std::vector<ConfigFinding> found;
  Walk(root, "", "", [&](const std::string& path, std::string_view key, const ConfigNode& node) {
    if ((key == "_target_" || key == "target") && !node.is_null()) found.push_back({path, node.ScalarText()});
  });
  return found;
}

std::vector<ConfigFinding> FindResolvers(const ConfigNode& root) {
  std::vector<ConfigFinding> found;
  Walk(root, "", "", [&](const std::string& path, std::string_view, const ConfigNode& node) {
    if (HasInterpolation(node) && CallsResolver(node.text)) found.push_back({path, node.text});
  });
  return found;
}

}  // namespace anemone
