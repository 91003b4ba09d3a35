// YAML text to ConfigNode. libyaml, which PyYAML binds and resembles, gives events; the types, merges, tags and limits
// are ours.
#include <yaml.h>

#include <algorithm>
#include <memory>
#include <string>

#include "anemone/config.h"
#include "base/text_hash.h"
#include "config/scalar.h"

namespace anemone {
namespace {

using internal::kMaxDepth;
using internal::kMaxNodes;
using internal::kMaxTextBytes;

constexpr uint64_t kMaxYamlBytes = uint64_t{16} << 20;
constexpr std::string_view kYamlTag = "tag:yaml.org,2002:";

// A node as written, before aliases are expanded: children are indexes, so an alias costs nothing.
struct Written {
  enum class Kind : uint8_t { kScalar, kSequence, kMapping };
  Kind kind = Kind::kScalar;
  bool plain = false;  // an unquoted scalar without a tag, or one tagged `!`: its text says its type
  bool open = true;    // a collection that has not ended: an alias to it would be a cycle
  int line = 0;
  int column = 0;
  std::string tag;  // empty when none is written
  std::string value;
  std::vector<size_t> children;  // of a mapping: key, value, key, value …
  // Once measured: nodes and bytes with aliases expanded.
  uint64_t nodes = 0;
  uint64_t bytes = 0;
};

Status At(const Status& status, int line, int column) {
  return status.In("line " + std::to_string(line) + ", column " + std::to_string(column));
}
Status At(const Status& status, const Written& node) { return At(status, node.line, node.column); }

std::string Text(const yaml_char_t* text) { return text == nullptr ? "" : reinterpret_cast<const char*>(text); }

// libyaml's events as nodes.
class Collector {
 public:
  std::vector<Written> nodes;
  bool has_root = false;  // then it is nodes[0]

  Status Collect(std::string_view text) {
    yaml_parser_t parser;
    if (yaml_parser_initialize(&parser) == 0) return OutOfMemory();
    const std::unique_ptr<yaml_parser_t, void (*)(yaml_parser_t*)> guard(&parser, yaml_parser_delete);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, reinterpret_cast<const unsigned char*>(text.data()), text.size());
    int documents = 0;
    for (bool over = false; !over;) {
      yaml_event_t event;
      if (yaml_parser_parse(&parser, &event) == 0) return NotYaml(parser, text);
      const std::unique_ptr<yaml_event_t, void (*)(yaml_event_t*)> event_guard(&event, yaml_event_delete);
      over = event.type == YAML_STREAM_END_EVENT;
      if (event.type == YAML_DOCUMENT_START_EVENT && ++documents > 1) {
        return Corrupt("expected one document, found two");
      }
      ANEMONE_TRY(Take(event));
    }
    return {};
  }

 private:
  std::vector<size_t> stack_;
  internal::TextMap<size_t> anchors_;

  static Status NotYaml(const yaml_parser_t& parser, std::string_view text) {
    if (parser.error == YAML_MEMORY_ERROR) return OutOfMemory();
    if (parser.error == YAML_READER_ERROR) {
      const auto end = text.begin() + static_cast<ptrdiff_t>(std::min(parser.problem_offset, text.size()));
      return Corrupt("expected text, found a control character of value " + std::to_string(parser.problem_value))
          .In("line " + std::to_string(1 + std::count(text.begin(), end, '\n')));
    }
    std::string what = "expected YAML, found another text";
    if (parser.problem != nullptr) what += std::string(": ") + parser.problem;
    if (parser.context != nullptr) {
      what += std::string(" ") + parser.context + " of line " + std::to_string(parser.context_mark.line + 1) +
              ", column " + std::to_string(parser.context_mark.column + 1);
    }
    return At(Corrupt(what), parser.problem_mark);
  }

  static Status At(const Status& status, const yaml_mark_t& mark) {
    return anemone::At(status, static_cast<int>(mark.line + 1), static_cast<int>(mark.column + 1));
  }

  Status Take(const yaml_event_t& event) {
    switch (event.type) {
      case YAML_ALIAS_EVENT:
        return Alias(event);
      case YAML_SCALAR_EVENT: {
        const auto& scalar = event.data.scalar;
        ANEMONE_TRY(Add(Written::Kind::kScalar, event.start_mark, Text(scalar.tag), Text(scalar.anchor)));
        nodes.back().value.assign(reinterpret_cast<const char*>(scalar.value), scalar.length);
        nodes.back().plain = scalar.plain_implicit != 0;
        return {};
      }
      case YAML_SEQUENCE_START_EVENT:
        return Add(Written::Kind::kSequence, event.start_mark, Text(event.data.sequence_start.tag),
                   Text(event.data.sequence_start.anchor));
      case YAML_MAPPING_START_EVENT:
        return Add(Written::Kind::kMapping, event.start_mark, Text(event.data.mapping_start.tag),
                   Text(event.data.mapping_start.anchor));
      case YAML_SEQUENCE_END_EVENT:
      case YAML_MAPPING_END_EVENT:
        return Close();
      default:
        return {};
    }
  }

  Status Alias(const yaml_event_t& event) {
    const std::string name = Text(event.data.alias.anchor);
    const auto target = anchors_.find(name);
    if (target == anchors_.end()) {
      return At(Corrupt("expected an anchor '" + name + "' before its alias, found none"), event.start_mark);
    }
    if (nodes[target->second].open) {
      return At(Corrupt("expected an alias to a complete value, found one inside its own value"), event.start_mark);
    }
    nodes[stack_.back()].children.push_back(target->second);
    return {};
  }

  Status Add(Written::Kind kind, const yaml_mark_t& mark, std::string tag, std::string anchor) {
    if (nodes.size() >= kMaxNodes)
      return At(LimitExceeded("expected at most " + std::to_string(kMaxNodes) + " values, found more"), mark);
    const size_t index = nodes.size();
    Written& node = nodes.emplace_back();
    node.kind = kind;
    node.line = static_cast<int>(mark.line + 1);
    node.column = static_cast<int>(mark.column + 1);
    if (tag != "!") node.tag = std::move(tag);
    if (!stack_.empty()) nodes[stack_.back()].children.push_back(index);
    has_root = true;
    if (!anchor.empty()) anchors_[std::move(anchor)] = index;
    if (kind == Written::Kind::kScalar) {
      node.open = false;
      return {};
    }
    stack_.push_back(index);
    if (stack_.size() <= static_cast<size_t>(kMaxDepth)) return {};
    return At(LimitExceeded("expected at most 200 levels, found more"), mark);
  }

  // A collection is measured when it ends: whatever it holds has ended before.
  Status Close() {
    Written& node = nodes[stack_.back()];
    stack_.pop_back();
    node.open = false;
    node.nodes = 1;
    for (const size_t child : node.children) {
      const Written& below = nodes[child];
      node.nodes += below.kind == Written::Kind::kScalar ? 1 : below.nodes;
      node.bytes += below.kind == Written::Kind::kScalar ? below.value.size() : below.bytes;
      if (node.nodes > kMaxNodes || node.bytes > kMaxTextBytes) {
        return anemone::At(LimitExceeded("expected aliases that expand to at most " + std::to_string(kMaxNodes) +
                                         " values and 64 MiB, found more"),
                           node);
      }
    }
    return {};
  }
};

// Collected events to values.
class Builder {
 public:
  explicit Builder(const std::vector<Written>& nodes) : nodes_(nodes) {}

  Result<ConfigNode> Build(size_t index, int depth) {
    const Written& node = nodes_[index];
    if (depth > kMaxDepth) return At(LimitExceeded("expected at most 200 levels, found more"), node);
    if (node.tag.starts_with("tag:yaml.org,2002:python/object/apply:pathlib.")) return Path(node);
    switch (node.kind) {
      case Written::Kind::kScalar:
        return Scalar(node);
      case Written::Kind::kSequence: {
        if (!node.tag.empty() && node.tag != std::string(kYamlTag) + "seq") return UnknownTag(node);
        std::vector<ConfigNode> list;
        list.reserve(node.children.size());
        for (const size_t child : node.children) {
          ANEMONE_ASSIGN(ConfigNode value, Build(child, depth + 1));
          list.push_back(std::move(value));
        }
        return ConfigNode::List(std::move(list));
      }
      case Written::Kind::kMapping: {
        if (!node.tag.empty() && node.tag != std::string(kYamlTag) + "map") return UnknownTag(node);
        Items items;
        ANEMONE_TRY(Flatten(node, depth, items));
        ConfigNode map = ConfigNode::Map();
        for (auto& item : items) {
          ANEMONE_ASSIGN(ConfigNode value, Build(item.value, depth + 1));
          value.key_kind = item.key.kind;
          map.map.emplace_back(std::move(item.key.text), std::move(value));
        }
        return map;
      }
    }
    return Internal("unknown YAML node");
  }

 private:
  struct Item {
    ConfigNode key;
    size_t value;
  };
  using Items = std::vector<Item>;
  const std::vector<Written>& nodes_;

  static Status UnknownTag(const Written& node) {
    return At(Corrupt("expected plain data, found the tag '" + node.tag + "'", "anemone builds no objects from YAML"),
              node);
  }

  static bool IsMergeKey(const Written& node) {
    return (node.plain && node.value == "<<") || node.tag == std::string(kYamlTag) + "merge";
  }

  // The pairs of a mapping in the order Python's dict would hold them: merged ones first, explicit ones over them.
  Status Flatten(const Written& node, int depth, Items& out) {
    if (depth > kMaxDepth) return At(LimitExceeded("expected at most 200 levels of merges, found more"), node);
    internal::TextMap<size_t> position;
    const auto put = [&](ConfigNode key, size_t value) {
      const auto [at, fresh] = position.emplace(key.text, out.size());
      if (fresh) {
        out.push_back({std::move(key), value});
      } else {
        out[at->second].value = value;
      }
    };
    for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
      if (!IsMergeKey(nodes_[node.children[i]])) continue;
      const Written& source = nodes_[node.children[i + 1]];
      std::vector<const Written*> maps;
      if (source.kind == Written::Kind::kMapping) {
        maps.push_back(&source);
      } else if (source.kind == Written::Kind::kSequence) {
        for (const size_t child : source.children) maps.push_back(&nodes_[child]);
        std::ranges::reverse(maps);  // the first one wins
      }
      if (source.kind == Written::Kind::kScalar)
        return At(Corrupt("expected a map or a list of maps to merge, found a scalar"), source);
      for (const Written* map : maps) {
        if (map->kind != Written::Kind::kMapping)
          return At(Corrupt("expected a map to merge, found another value"), *map);
        Items merged;
        ANEMONE_TRY(Flatten(*map, depth + 1, merged));
        for (Item& item : merged) put(std::move(item.key), item.value);
        if (merged_ += merged.size(); merged_ > kMaxNodes) {
          return At(LimitExceeded("expected merges of at most " + std::to_string(kMaxNodes) + " values, found more"),
                    *map);
        }
      }
    }
    internal::TextMap<int> lines;
    for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
      const Written& key_node = nodes_[node.children[i]];
      if (IsMergeKey(key_node)) continue;
      ANEMONE_ASSIGN(ConfigNode key, Key(key_node));
      const auto [first, fresh] = lines.emplace(key.text, key_node.line);
      if (!fresh) {
        return At(Corrupt("expected each key once, found '" + key.text + "' again (first in line " +
                          std::to_string(first->second) + ")"),
                  key_node);
      }
      put(std::move(key), node.children[i + 1]);
    }
    return {};
  }

  // A key as a scalar whose `text` is the key.
  Result<ConfigNode> Key(const Written& node) {
    if (node.kind != Written::Kind::kScalar) return At(Corrupt("expected a scalar as key, found a collection"), node);
    ANEMONE_ASSIGN(ConfigNode key, Scalar(node));
    if (key.is_null()) return At(Corrupt("expected a key, found null"), node);
    return key;
  }

  static Result<ConfigNode> Scalar(const Written& node) {
    if (node.tag.empty() && !node.plain) return ConfigNode::String(node.value);
    if (node.tag.empty() || node.tag.starts_with(kYamlTag)) {
      Result<ConfigNode> typed = internal::TypePlainScalar(node.value);
      if (node.tag.empty()) return typed.ok() ? typed : At(typed.status(), node);
      using Kind = ConfigNode::Kind;
      const std::string_view name = std::string_view(node.tag).substr(kYamlTag.size());
      if (name == "str") return ConfigNode::String(node.value);
      if (typed.ok()) {
        if (name == "int" && typed->kind == Kind::kInt) return typed;
        if (name == "bool" && typed->kind == Kind::kBool) return typed;
        if (name == "null" && typed->kind == Kind::kNull) return typed;
        if (name == "float" && typed->AsDouble()) {
          ConfigNode real = ConfigNode::Float(*typed->AsDouble());
          real.text = node.value;
          return real;
        }
      }
      if (name == "int" || name == "bool" || name == "null" || name == "float") {
        return At(Corrupt("expected a value of the type !!" + std::string(name) + ", found '" + node.value + "'"),
                  node);
      }
    }
    return UnknownTag(node);
  }

  // !!python/object/apply:pathlib.PosixPath [parts]: OmegaConf's spelling of a path; the path string here.
  Result<ConfigNode> Path(const Written& node) {
    const std::string_view name = std::string_view(node.tag).substr(node.tag.rfind('.') + 1);
    if (node.kind != Written::Kind::kSequence || (name != "Path" && name != "PosixPath" && name != "WindowsPath")) {
      return UnknownTag(node);
    }
    std::string path;
    for (const size_t index : node.children) {
      const Written& part = nodes_[index];
      if (part.kind != Written::Kind::kScalar || !part.tag.empty())
        return At(Corrupt("expected a part of a path, found another value"), part);
      if (part.value.starts_with('/')) path.clear();  // as pathlib joins
      if (!path.empty() && !path.ends_with('/')) path += '/';
      path += part.value;
    }
    return ConfigNode::String(path.empty() ? "." : path);
  }

  uint64_t merged_ = 0;
};

Result<ConfigNode> Read(std::string_view text) {
  if (text.size() > kMaxYamlBytes)
    return LimitExceeded("expected at most 16 MiB of YAML, found " + std::to_string(text.size()) + " bytes");
  if (!internal::ValidUtf8(text)) return Corrupt("expected UTF-8, found other bytes");
  Collector collector;
  ANEMONE_TRY(collector.Collect(text));
  if (!collector.has_root) return ConfigNode::Map();
  const Written& root = collector.nodes[0];
  if (root.kind == Written::Kind::kScalar) {
    if (root.plain && internal::TypePlainScalar(root.value).ok() && internal::TypePlainScalar(root.value)->is_null()) {
      return ConfigNode::Map();
    }
    return At(Corrupt("expected a map or a list, found a scalar"), root);
  }
  return Builder(collector.nodes).Build(0, 0);
}

}  // namespace

Result<Config> Config::ParseYaml(std::string_view text, std::string_view name) {
  // libyaml counts a byte order mark as a column, so that the first key is indented by one.
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  if (text.starts_with(kMark)) text.remove_prefix(kMark.size());
  Result<ConfigNode> root = Read(text);
  if (!root.ok()) return root.status().In(name);
  return Config(*std::move(root));
}

}  // namespace anemone
