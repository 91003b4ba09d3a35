#include "format/torch/omegaconf.h"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/scalar.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr int kMaxDepth = 200;
constexpr size_t kMaxNodes = 1'000'000;  // what sharing may expand to

struct Converter {
  std::vector<std::string>* left_out;  // null: what is no plain value is an error
  size_t nodes = 0;
  std::string where = {};

  // A value of a map or list; nullopt where it is left out.
  Result<std::optional<ConfigNode>> Child(const ValueNode* node, const std::string& name, int depth) {
    const size_t above = where.size();
    where += (where.empty() ? "" : ".") + name;
    Result<ConfigNode> value = Convert(node, depth + 1);
    const bool is_left_out = !value.ok() && left_out != nullptr && value.status().kind() == ErrorKind::kUnsupported;
    if (is_left_out) left_out->push_back(fmt::format("{} ({})", where, Describe(node)));
    where.resize(above);
    if (is_left_out) return std::optional<ConfigNode>();
    if (!value.ok()) return value.status().In(name);
    return std::optional(*std::move(value));
  }

  Result<ConfigNode> Convert(const ValueNode* node, int depth) {
    if (depth > kMaxDepth)
      return LimitExceeded(fmt::format("a config nested more than {} deep (or in itself)", kMaxDepth));
    if (++nodes > kMaxNodes) return LimitExceeded(fmt::format("a config of more than {} values", kMaxNodes));
    if (node == nullptr) return ConfigNode::Null();
    switch (node->kind) {
      case Kind::kNone:
        return ConfigNode::Null();
      case Kind::kBool:
        return ConfigNode::Bool(node->integer != 0);
      case Kind::kInt:
        return ConfigNode::Int(node->integer);
      case Kind::kFloat:
        return ConfigNode::Float(node->real);
      case Kind::kBigInt:
        return internal::MakeInteger(node->text, node->text);
      case Kind::kString:
      case Kind::kBytes:
        return ConfigNode::String(node->text);
      case Kind::kList:
      case Kind::kTuple:
      case Kind::kSet:
        return List(node->items, depth);
      case Kind::kDict:
        return Map(node->items, depth);
      case Kind::kGlobal:
        return Global(*node);
      case Kind::kObject:
        return Object(*node, depth);
      case Kind::kPersistent:
        return Unsupported("a storage in a config");
      case Kind::kTensor:
        return Unsupported("a tensor in a config");
    }
    return Internal("unknown kind of value");
  }

  // `torch.bfloat16` and other names stay names.
  Result<ConfigNode> Global(const ValueNode& node) {
    std::string name = node.text;
    if (const size_t space = name.find(' '); space != std::string::npos) name[space] = '.';
    return ConfigNode::String(std::move(name));
  }

  Result<ConfigNode> List(const ValueList& items, int depth) {
    ConfigNode list = ConfigNode::List();
    for (size_t i = 0; i < items.size(); ++i) {
      ANEMONE_ASSIGN(std::optional<ConfigNode> item, Child(items[i], std::to_string(i), depth));
      list.list.push_back(item ? *std::move(item) : ConfigNode::Null());  // the others keep their places
    }
    return list;
  }

  Result<ConfigNode> Map(const ValueList& entries, int depth) {
    ConfigNode map = ConfigNode::Map();
    for (size_t i = 0; i + 1 < entries.size(); i += 2) {
      ANEMONE_ASSIGN(const ConfigNode key, Convert(entries[i], depth + 1));
      if (!key.is_scalar()) return Corrupt("expected a string as config key");
      const std::string name = key.kind == ConfigNode::Kind::kString ? key.text : key.ScalarText();
      ANEMONE_ASSIGN(std::optional<ConfigNode> value, Child(entries[i + 1], name, depth));
      if (!value) continue;
      value->key_kind = key.kind;
      map[name] = *std::move(value);
    }
    return map;
  }

  // True for a pickled member of an enum: a call of the class with the member's value. A date is a call with its packed
  // bytes; the arguments of `operator` functions are no values either.
  static bool IsMember(const ValueNode& node, std::string_view name) {
    const bool is_call = !node.is_new && node.state == nullptr && node.items.size() == 1 && node.entries.empty() &&
                         node.appended.empty();
    if (!is_call || name.starts_with("datetime ") || name.starts_with("operator ")) return false;
    return node.items[0]->kind != Kind::kObject;
  }

  Result<ConfigNode> Object(const ValueNode& node, int depth) {
    const std::string name = node.callable != nullptr ? node.callable->text : std::string();
    if (name.rfind("omegaconf.", 0) == 0) {
      if (node.state == nullptr || DictEntries(*node.state) == nullptr)
        return Corrupt(fmt::format("{} without its state", name));
      // A container's _content is a dict or list of nodes, or the text of an interpolation, or None; a leaf has _val.
      const ValueNode* content = Lookup(*node.state, "_content");
      if (content == nullptr) content = Lookup(*node.state, "_val");
      return Convert(content, depth + 1);
    }
    if (const auto* entries = DictEntries(node)) return Map(*entries, depth);
    if (name == "torch Size" || name == "builtins set" || name == "builtins frozenset" || name == "builtins list" ||
        name == "builtins tuple") {
      return node.items.size() == 1 ? Convert(node.items[0], depth + 1) : Result<ConfigNode>(ConfigNode::List());
    }
    if (name == "torch device" && !node.items.empty()) {
      std::string device = node.items[0]->text;
      if (node.items.size() > 1) device += fmt::format(":{}", node.items[1]->integer);
      return ConfigNode::String(std::move(device));
    }
    if (name.rfind("pathlib", 0) == 0) {
      const char slash = name.find("Windows") == std::string::npos ? '/' : '\\';
      std::string path;
      for (const ValueNode* part : node.items) {
        if (!path.empty() && path.back() != slash) path += slash;
        path += part->text;
      }
      return ConfigNode::String(path.empty() ? "." : std::move(path));
    }
    if (name == "argparse Namespace" && node.state != nullptr) return Convert(node.state, depth + 1);
    if (IsMember(node, name)) return Convert(node.items[0], depth + 1);
    return Unsupported(fmt::format("an object of {} in a config", name.empty() ? "unknown class" : name));
  }
};

// ---- writing ----

class Pickler {
 public:
  explicit Pickler(ValueGraph& graph) : graph_(graph) {}

  // `key` is the node's in its parent, a name or a number; both null for the root.
  ValueRef Node(const ConfigNode& config, ValueRef key, ValueRef parent) {  // Config limits its own depth
    using enum ConfigNode::Kind;
    const bool is_map = config.kind == kMap, is_list = config.kind == kList;
    const ValueRef node = Object(is_map    ? "omegaconf.dictconfig DictConfig"
                                 : is_list ? "omegaconf.listconfig ListConfig"
                                           : "omegaconf.nodes AnyNode");
    Set(node->state, "_metadata", Metadata(is_map, is_list, key));
    Set(node->state, "_parent", parent == nullptr ? None() : parent);
    Set(node->state, is_map || is_list ? "_content" : "_val", Content(config, node));
    return node;
  }

 private:
  ValueRef Content(const ConfigNode& config, ValueRef node) {
    ValueRef content = graph_.New(Kind::kNone);
    switch (config.kind) {
      case ConfigNode::Kind::kNull:
        break;
      case ConfigNode::Kind::kBool:
        content->kind = Kind::kBool;
        content->integer = config.boolean ? 1 : 0;
        break;
      case ConfigNode::Kind::kInt:
        content->kind = Kind::kInt;
        content->integer = config.integer;
        break;
      case ConfigNode::Kind::kFloat:
        content->kind = Kind::kFloat;
        content->real = config.real;
        if (const std::string digits = internal::BigIntegerDigits(config); !digits.empty()) {
          content->kind = Kind::kBigInt;
          content->text = digits;
        }
        break;
      case ConfigNode::Kind::kString:
        content->kind = Kind::kString;
        content->text = config.text;
        break;
      case ConfigNode::Kind::kList:
        content->kind = Kind::kList;
        for (const ConfigNode& item : config.list) {
          const ValueRef index = graph_.New(Kind::kInt);
          index->integer = static_cast<int64_t>(content->items.size());
          content->items.push_back(Node(item, index, node));
        }
        break;
      case ConfigNode::Kind::kMap:
        content->kind = Kind::kDict;
        for (const auto& [name, value] : config.map) {
          const ValueRef key = Key(name, value.key_kind);
          content->items.insert(content->items.end(), {key, Node(value, key, node)});
        }
        break;
    }
    return content;
  }

  // YAML's `0: a` has an integer as its key.
  ValueRef Key(const std::string& name, ConfigNode::Kind kind) {
    using enum ConfigNode::Kind;
    if (kind == kInt || kind == kFloat || kind == kBool) {
      const Result<ConfigNode> typed = internal::TypePlainScalar(name);
      if (typed.ok() && typed->kind == kind) return Content(*typed, nullptr);
    }
    return Text(name);
  }

  // OmegaConf 2.1 to 2.4 know all of these, and no others.
  ValueRef Metadata(bool is_map, bool is_list, ValueRef key) {
    const ValueRef metadata =
        Object(is_map || is_list ? "omegaconf.base ContainerMetadata" : "omegaconf.base Metadata");
    const ValueRef cache = NewCall(graph_, "collections defaultdict", {Global("builtins dict")});
    Set(metadata->state, "ref_type", Global("typing Any"));
    Set(metadata->state, "object_type", is_map ? Global("builtins dict") : is_list ? Global("builtins list") : None());
    Set(metadata->state, "optional", NewBool(graph_, true));
    Set(metadata->state, "key", key == nullptr ? None() : key);
    Set(metadata->state, "flags", graph_.New(Kind::kDict));
    Set(metadata->state, "flags_root", NewBool(graph_, false));
    Set(metadata->state, "resolver_cache", cache);
    if (is_map || is_list) {
      Set(metadata->state, "key_type", is_list ? Global("builtins int") : Global("typing Any"));
      Set(metadata->state, "element_type", Global("typing Any"));
    }
    return metadata;
  }

  ValueRef Object(std::string_view cls) { return NewObject(graph_, cls, graph_.New(Kind::kDict)); }
  void Set(ValueRef dict, std::string_view name, ValueRef value) {
    ValueRef& word = words_[name];
    if (word == nullptr) word = Text(name);
    dict->items.insert(dict->items.end(), {word, value});
  }
  ValueRef None() { return graph_.New(Kind::kNone); }
  ValueRef Text(std::string_view text) { return NewString(graph_, text); }
  ValueRef Global(std::string_view name) { return NewGlobal(graph_, name); }

  ValueGraph& graph_;
  std::map<std::string_view, ValueRef> words_;  // of attributes: literals
};

}  // namespace

ValueRef ToOmegaConf(const ConfigNode& config, ValueGraph& graph) {
  return Pickler(graph).Node(config, nullptr, nullptr);
}

Result<ConfigNode> ToConfigNode(const Value& value, std::vector<std::string>* left_out) {
  return Converter{left_out}.Convert(value.node, 0);
}

}  // namespace anemone
