// JSON in and out, as Python's json module reads and writes it. Written by hand because a config needs what fast
// parsers drop or refuse: the spelling of numbers, integers beyond 64 bits (`model_max_length`), NaN and Infinity, a
// key that is there twice (the last one counts), half a surrogate pair.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/config.h"
#include "base/stand_in.h"
#include "base/text_hash.h"
#include "base/utf8.h"
#include "config/json_string.h"
#include "config/scalar.h"

namespace anemone {
namespace {

using Kind = ConfigNode::Kind;

constexpr uint64_t kMaxJsonBytes = uint64_t{64} << 20;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Where each key of a map that grows is, so that one that is there twice is found. A vocabulary has 50,000.
class KeyIndex {
 public:
  using Items = std::vector<std::pair<std::string, ConfigNode>>;

  // The place of `key` among `items`; the end, where it is to be put, if it is not among them.
  size_t Find(const Items& items, std::string_view key) {
    if (2 * items.size() >= slots_.size()) Grow(items);
    return Slot(items, key);
  }

 private:
  static constexpr uint32_t kFree = UINT32_MAX;
  std::vector<uint32_t> slots_ = std::vector<uint32_t>(16, kFree);  // places by their key's hash; a power of two

  uint32_t& Slot(const Items& items, std::string_view key) {
    size_t at = internal::HashOf(key) & (slots_.size() - 1);
    while (slots_[at] != kFree && items[slots_[at]].first != key) at = (at + 1) & (slots_.size() - 1);
    if (slots_[at] == kFree) slots_[at] = static_cast<uint32_t>(items.size());
    return slots_[at];
  }
  void Grow(const Items& items) {
    slots_.assign(4 * slots_.size(), kFree);
    for (uint32_t place = 0; place < items.size(); ++place) {
      size_t at = internal::HashOf(items[place].first) & (slots_.size() - 1);
      while (slots_[at] != kFree) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = place;
    }
  }
};

class Reader {
 public:
  Reader(std::string_view text, uint64_t max_values) : text_(text), max_values_(max_values) {}

  Result<ConfigNode> Document() {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
    ANEMONE_ASSIGN(ConfigNode root, Value(0));
    SkipSpace();
    if (at_ != text_.size()) return Expected("the end of the file");
    return root;
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
  const uint64_t max_values_;
  uint64_t values_ = 0;

  void SkipSpace() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }
  bool Take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  Status Here(const Status& status) const {
    const std::string_view before = text_.substr(0, at_);
    const size_t line = static_cast<size_t>(std::count(before.begin(), before.end(), '\n')) + 1;
    const size_t start = before.rfind('\n');
    const size_t column = at_ - (start == std::string_view::npos ? 0 : start + 1) + 1;
    return status.In("line " + std::to_string(line) + ", column " + std::to_string(column));
  }
  Status Expected(const std::string& what) const {
    std::string found = "the end";
    if (at_ < text_.size()) {
      const char c = text_[at_];
      found =
          c >= 0x20 && c < 0x7F ? std::string("'") + c + "'" : "byte " + std::to_string(static_cast<unsigned char>(c));
    }
    return Here(Corrupt("expected " + what + ", found " + found));
  }

  Result<ConfigNode> Value(int depth) {
    if (depth > internal::kMaxDepth) return Here(LimitExceeded("expected at most 200 levels, found more"));
    if (++values_ > max_values_)
      return Here(LimitExceeded("expected at most " + std::to_string(max_values_) + " values, found more"));
    SkipSpace();
    if (at_ == text_.size()) return Expected("a value");
    switch (text_[at_]) {
      case '{':
        return Map(depth);
      case '[':
        return List(depth);
      case '"': {
        ANEMONE_ASSIGN(std::string value, String());
        return ConfigNode::String(std::move(value));
      }
      default:
        break;
    }
    const size_t start = at_;
    const auto spelled = [&](ConfigNode node) {
      node.text = text_.substr(start, at_ - start);
      return node;
    };
    if (Take("null")) return ConfigNode::Null();
    if (Take("true")) return spelled(ConfigNode::Bool(true));
    if (Take("false")) return spelled(ConfigNode::Bool(false));
    if (Take("NaN")) return spelled(ConfigNode::Float(std::numeric_limits<double>::quiet_NaN()));
    if (Take("Infinity")) return spelled(ConfigNode::Float(std::numeric_limits<double>::infinity()));
    if (Take("-Infinity")) return spelled(ConfigNode::Float(-std::numeric_limits<double>::infinity()));
    return Number();
  }

  Result<ConfigNode> Number() {
    const size_t start = at_;
    const auto digits = [&] {
      const size_t first = at_;
      while (at_ < text_.size() && IsDigit(text_[at_])) ++at_;
      return at_ > first;
    };
    Take("-");
    if (!Take("0") && !digits()) return Expected("a value");
    bool real = false;
    if (Take(".")) {
      real = true;
      if (!digits()) return Expected("a digit");
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      real = true;
      ++at_;
      if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
      if (!digits()) return Expected("a digit");
    }
    const std::string_view word = text_.substr(start, at_ - start);
    if (!real && word.size() < 19) {  // fits
      ConfigNode node = ConfigNode::Int(0);
      std::from_chars(word.data(), word.data() + word.size(), node.integer);
      node.text = word;
      return node;
    }
    if (!real) return internal::MakeInteger(word, word);
    ConfigNode node = ConfigNode::Float(internal::ParseDecimal(word));
    node.text = word;
    return node;
  }

  Result<uint32_t> Hex4() {
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      const bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'f';
      if (!IsDigit(c) && !letter) return Expected("a hexadecimal digit");
      value = value << 4 | static_cast<uint32_t>(letter ? (c | 0x20) - 'a' + 10 : c - '0');
    }
    return value;
  }

  Result<std::string> String() {
    ++at_;
    std::string out;
    while (true) {
      const size_t stop = text_.find_first_of("\"\\", at_);
      if (stop == std::string_view::npos) {
        at_ = text_.size();
        return Expected("'\"'");
      }
      for (size_t i = at_; i < stop; ++i) {
        if (static_cast<unsigned char>(text_[i]) < 0x20) {
          at_ = i;
          return Expected("an escaped control character");
        }
      }
      out += text_.substr(at_, stop - at_);
      at_ = stop + 1;
      if (text_[stop] == '"') return out;
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      static constexpr std::string_view kLetters = "\"\\/bfnrt";
      static constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";
      if (const size_t k = kLetters.find(c); k != std::string_view::npos && c != '\0') {
        out += kValues[k];
        ++at_;
      } else if (c == 'u') {
        ++at_;
        ANEMONE_ASSIGN(uint32_t code_point, Hex4());
        // Half a pair stays alone, as in Python, and is written as an escape again.
        if (code_point >= 0xD800 && code_point < 0xDC00) {
          const size_t after = at_;
          uint32_t low = 0;
          if (Take("\\u")) {
            ANEMONE_ASSIGN(low, Hex4());
          }
          if (low >= 0xDC00 && low < 0xE000) {
            code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
          } else {
            at_ = after;
          }
        }
        AppendUtf8(code_point, out);
      } else {
        return Expected("an escape");
      }
    }
  }

  Result<ConfigNode> List(int depth) {
    ++at_;
    std::vector<ConfigNode> list;
    SkipSpace();
    if (Take("]")) return ConfigNode::List();
    while (true) {
      ANEMONE_ASSIGN(ConfigNode value, Value(depth + 1));
      list.push_back(std::move(value));
      SkipSpace();
      if (Take("]")) return ConfigNode::List(std::move(list));
      if (!Take(",")) return Expected("',' or ']'");
    }
  }

  Result<ConfigNode> Map(int depth) {
    ++at_;
    ConfigNode map = ConfigNode::Map();
    SkipSpace();
    if (Take("}")) return map;
    KeyIndex index;
    while (true) {
      SkipSpace();
      if (at_ == text_.size() || text_[at_] != '"') return Expected("a key");
      ANEMONE_ASSIGN(std::string key, String());
      SkipSpace();
      if (!Take(":")) return Expected("':'");
      ANEMONE_ASSIGN(ConfigNode value, Value(depth + 1));
      if (const size_t place = index.Find(map.map, key); place < map.map.size()) {
        map.map[place].second = std::move(value);
      } else {
        map.map.emplace_back(std::move(key), std::move(value));
      }
      SkipSpace();
      if (Take("}")) return map;
      if (!Take(",")) return Expected("',' or '}'");
    }
  }
};

class Writer {
 public:
  explicit Writer(int indent) : indent_(indent) {}
  std::string out;

  void Value(const ConfigNode& node, int depth) {
    switch (node.kind) {
      case Kind::kNull:
        out += "null";
        break;
      case Kind::kBool:
        out += node.boolean ? "true" : "false";
        break;
      case Kind::kInt:
        out += std::to_string(node.integer);
        break;
      case Kind::kFloat:
        out += Float(node);
        break;
      case Kind::kString:
        String(node.text);
        break;
      case Kind::kList:
        Sequence('[', ']', node.list, depth, [&](const ConfigNode& value) { Value(value, depth + 1); });
        break;
      case Kind::kMap:
        Sequence('{', '}', node.map, depth, [&](const auto& item) {
          String(item.first);
          out += ": ";
          Value(item.second, depth + 1);
        });
        break;
    }
  }

 private:
  int indent_;

  template <typename Items, typename WriteItem>
  void Sequence(char open, char close, const Items& items, int depth, const WriteItem& write) {
    out += open;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out += indent_ < 0 ? ", " : ",";
      first = false;
      Line(depth + 1);
      write(item);
    }
    if (!first) Line(depth);
    out += close;
  }
  void Line(int depth) {
    if (indent_ < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(indent_) * static_cast<size_t>(depth), ' ');
  }

  // Its own spelling where that is JSON of the same value, else Python's.
  static std::string Float(const ConfigNode& node) {
    if (std::isnan(node.real)) return "NaN";
    if (!node.text.empty()) {
      Result<ConfigNode> again = Reader(node.text, 1).Document();
      if (again.ok() && again->kind == Kind::kFloat && again->real == node.real) return node.text;
    }
    if (std::isinf(node.real)) return node.real < 0 ? "-Infinity" : "Infinity";
    return internal::PythonFloat(node.real);
  }

  void String(std::string_view text) { out += internal::JsonString(text); }
};

}  // namespace

Result<Config> Config::ParseJson(std::string_view text, std::string_view name, uint64_t max_values) {
  if (text.size() > kMaxJsonBytes) {
    return LimitExceeded("expected at most 64 MiB of JSON, found " + std::to_string(text.size()) + " bytes").In(name);
  }
  if (!internal::ValidUtf8(text)) return Corrupt("expected UTF-8, found other bytes").In(name);
  Result<ConfigNode> root = Reader(text, max_values).Document();
  if (!root.ok()) {
    ANEMONE_TRY(CheckNoStandIn(text).In(name));
    return root.status().In(name);
  }
  return Config(*std::move(root));
}

std::string Config::ToJson(int indent) const {
  Writer writer(indent);
  writer.Value(root_, 0);
  return std::move(writer.out);
}

}  // namespace anemone
