// YAML text to ConfigNode. yaml-cpp gives events; the types, merges, tags and limits are ours.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <istream>
#include <optional>
#include <streambuf>
#include <unordered_map>

#include "anemone/config.h"
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
  Kind kind;
  bool plain = false;  // an unquoted scalar without a tag
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

// Thrown out of yaml-cpp's parser by the handler below and caught at the call.
struct Stop {
  Status status;
};

// What stands between the quotes at text[at], nullopt when they do not close.
std::optional<std::string_view> BetweenQuotes(std::string_view text, size_t at) {
  const char quote = text[at];
  for (size_t i = at + 1; i < text.size(); ++i) {
    if (text[i] == '\\' && quote == '"') {
      ++i;
    } else if (text[i] == quote) {
      if (quote == '"' || !text.substr(i + 1).starts_with(quote)) return text.substr(at + 1, i - at - 1);
      ++i;
    }
  }
  return std::nullopt;
}

class Collector : public YAML::EventHandler {
 public:
  explicit Collector(std::string_view text) : text_(text) {
    if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);
  }

  std::vector<Written> nodes;
  bool has_root = false;  // then it is nodes[0]

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(Written::Kind::kScalar, mark, "?", anchor).plain = true;
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto target = anchors_.find(anchor);
    if (target == anchors_.end()) Fail(Corrupt("expected an anchor, found an alias to none"), mark);
    if (nodes[target->second].open)
      Fail(Corrupt("expected an alias to a complete value, found one inside its own value"), mark);
    if (stack_.empty()) Fail(Corrupt("expected a value, found an alias"), mark);
    nodes[stack_.back()].children.push_back(target->second);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Written& node = Add(Written::Kind::kScalar, mark, tag, anchor);
    node.value = value;
    node.plain = tag == "?";
    if (tag == "!") Repair(node, mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Add(Written::Kind::kSequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Add(Written::Kind::kMapping, mark, tag, anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  std::string_view text_;
  std::vector<size_t> stack_;
  std::unordered_map<YAML::anchor_t, size_t> anchors_;

  [[noreturn]] static void Fail(const Status& status, const YAML::Mark& mark) {
    throw Stop{At(status, mark.line + 1, mark.column + 1)};
  }

  Written& Add(Written::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (nodes.size() >= kMaxNodes) Fail(LimitExceeded("expected at most 1000000 values, found more"), mark);
    const size_t index = nodes.size();
    Written node{
        .kind = kind, .line = mark.line + 1, .column = mark.column + 1, .tag = {}, .value = {}, .children = {}};
    if (tag != "?" && tag != "!") node.tag = tag;
    if (!stack_.empty()) nodes[stack_.back()].children.push_back(index);
    has_root = true;
    if (anchor != 0) anchors_[anchor] = index;
    if (kind == Written::Kind::kScalar) {
      node.open = false;
    } else {
      stack_.push_back(index);
      if (stack_.size() > static_cast<size_t>(kMaxDepth))
        Fail(LimitExceeded("expected at most 200 levels, found more"), mark);
    }
    return nodes.emplace_back(std::move(node));
  }

  // Three slips of yaml-cpp 0.7 in quoted scalars: an end of file closes them, a value of line breaks alone is lost,
  // and
  // `\N` and `\_` give one byte each instead of UTF-8.
  void Repair(Written& node, const YAML::Mark& mark) {
    size_t at = static_cast<size_t>(mark.pos);
    if (at < text_.size() && text_[at] == '&')
      at = text_.find_first_not_of(" \t\r\n", text_.find_first_of(" \t\r\n", at));
    if (at < text_.size() && (text_[at] == '"' || text_[at] == '\'')) {
      const std::optional<std::string_view> inside = BetweenQuotes(text_, at);
      if (!inside) Fail(Corrupt("expected a closing quote, found the end of the file"), mark);
      const auto breaks = std::count(inside->begin(), inside->end(), '\n');
      if (node.value.empty() && breaks > 0 && inside->find_first_not_of(" \t\r\n") == std::string_view::npos) {
        node.value = breaks == 1 ? " " : std::string(static_cast<size_t>(breaks - 1), '\n');
      }
    }
    if (internal::ValidUtf8(node.value)) return;
    std::string repaired;
    for (size_t i = 0; i < node.value.size();) {
      size_t length = 0;
      const uint32_t c = internal::DecodeUtf8(node.value, i, &length);
      internal::AppendUtf8(repaired, c);
      i += length;
    }
    node.value = std::move(repaired);
  }

  // A collection is measured when it ends: whatever it holds has ended before.
  void Close() {
    Written& node = nodes[stack_.back()];
    stack_.pop_back();
    node.open = false;
    node.nodes = 1;
    for (const size_t child : node.children) {
      const Written& below = nodes[child];
      node.nodes += below.kind == Written::Kind::kScalar ? 1 : below.nodes;
      node.bytes += below.kind == Written::Kind::kScalar ? below.value.size() : below.bytes;
      if (node.nodes > kMaxNodes || node.bytes > kMaxTextBytes) {
        throw Stop{
            At(LimitExceeded("expected aliases that expand to at most 1000000 values and 64 MiB, found more"), node)};
      }
    }
  }
};

// Bytes in place, without copying them into a stringstream.
class View : public std::streambuf {
 public:
  explicit View(std::string_view text) {
    char* begin = const_cast<char*>(text.data());
    setg(begin, begin, begin + text.size());
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
    std::unordered_map<std::string, size_t> position;
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
        for (const size_t child : source.children) maps.insert(maps.begin(), &nodes_[child]);  // the first one wins
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
          return At(LimitExceeded("expected merges of at most 1000000 values, found more"), *map);
        }
      }
    }
    std::unordered_map<std::string, int> lines;
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

// PyYAML refuses control characters wherever they stand [yaml/reader.py, NON_PRINTABLE].
Status CheckCharacters(std::string_view text) {
  if (!internal::ValidUtf8(text)) return Corrupt("expected UTF-8, found other bytes");
  int line = 1;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '\n') ++line;
    if (c == '\r' && !text.substr(i + 1).starts_with('\n')) {
      // A line break in YAML 1.1, text for yaml-cpp: nobody means it.
      return Corrupt("expected lines that end in LF or CR LF, found a lone CR").In("line " + std::to_string(line));
    }
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F) {
      return Corrupt("expected text, found a control character of value " + std::to_string(c))
          .In("line " + std::to_string(line));
    }
  }
  return {};
}

Result<ConfigNode> Read(std::string_view text) {
  if (text.size() > kMaxYamlBytes)
    return LimitExceeded("expected at most 16 MiB of YAML, found " + std::to_string(text.size()) + " bytes");
  ANEMONE_TRY(CheckCharacters(text));
  Collector collector(text);
  try {
    View view(text);
    std::istream stream(&view);
    YAML::Parser parser(stream);
    if (parser.HandleNextDocument(collector)) {
      Collector rest(text);
      if (parser.HandleNextDocument(rest) && rest.has_root) return Corrupt("expected one document, found two");
    }
  } catch (const Stop& stop) {
    return stop.status;
  } catch (const YAML::Exception& error) {
    return At(Corrupt("expected YAML, found: " + error.msg), error.mark.line + 1, error.mark.column + 1);
  } catch (const std::exception& error) {
    return Corrupt(std::string("expected YAML, found: ") + error.what());
  }
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
  Result<ConfigNode> root = Read(text);
  if (!root.ok()) return root.status().In(name);
  return Config(*std::move(root));
}

}  // namespace anemone
