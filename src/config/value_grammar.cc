#include "config/value_grammar.h"

#include <re2/re2.h>

#include "config/scalar.h"

namespace anemone {
namespace internal {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// A lone word as the lexer types it: INT, FLOAT, BOOL, NULL, else a string.
ConfigNode TypeWord(std::string_view word) {
  static const RE2 integer(R"([-+]?(?:0|[1-9](?:_?[0-9])*))");
  static const RE2 real(
      R"([-+]?(?:(?:(?:[0-9](?:_?[0-9])*)?\.[0-9](?:_?[0-9])*|[0-9](?:_?[0-9])*\.?)(?:[eE][-+]?[0-9](?:_?[0-9])*)?|(?i:inf|nan)))");
  const re2::StringPiece piece(word.data(), word.size());
  std::string lower(word);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  if (lower == "null") return ConfigNode::Null();
  if (lower == "true" || lower == "false") {
    ConfigNode node = ConfigNode::Bool(lower == "true");
    node.text = word;
    return node;
  }
  if (RE2::FullMatch(piece, integer)) return MakeInteger(word, word);
  if (lower.find_first_of(".en") != std::string::npos && RE2::FullMatch(piece, real)) {
    ConfigNode node = ConfigNode::Float(ParseDecimal(lower));
    node.text = word;
    return node;
  }
  return ConfigNode::String(std::string(word));
}

class Parser {
 public:
  Parser(std::string_view text, const Interpolate& interpolate) : text_(text), interpolate_(interpolate) {}

  Result<ConfigNode> Single() {
    ANEMONE_ASSIGN(ConfigNode value, Element(0, ""));
    if (at_ == text_.size()) return value;
    if (text_[at_] == ',')
      return Unsupported("expected one value, found a sweep '" + std::string(text_) + "'",
                         "quote the value, or write a list: [a,b]");
    return Unexpected("the end of the value");
  }

  Result<std::vector<ConfigNode>> Arguments() {
    std::vector<ConfigNode> values;
    SkipSpace();
    if (at_ == text_.size()) return values;
    while (true) {
      ANEMONE_ASSIGN(ConfigNode value, Element(0, ","));
      values.push_back(std::move(value));
      if (at_ == text_.size()) return values;
      if (text_[at_] != ',') return Unexpected("',' between arguments");
      ++at_;
    }
  }

 private:
  std::string_view text_;
  const Interpolate& interpolate_;
  size_t at_ = 0;

  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void SkipSpace() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
  }
  Status Unexpected(std::string_view wanted) const {
    const std::string found = at_ < text_.size() ? "'" + std::string(text_.substr(at_, 20)) + "'" : "the end";
    return InvalidArgument("expected " + std::string(wanted) + ", found " + found + " at offset " +
                               std::to_string(at_) + " of '" + std::string(text_.substr(0, 200)) + "'",
                           "quote the value: key='…'");
  }

  // Leaves `at_` on the first character after the value and the spaces behind it.
  Result<ConfigNode> Element(int depth, std::string_view stops) {
    if (depth > kMaxDepth) return LimitExceeded("expected at most 200 levels in a value, found more");
    SkipSpace();
    const char c = Peek();
    Result<ConfigNode> value = c == '['                ? List(depth)
                               : c == '{'              ? Dict(depth)
                               : c == '\'' || c == '"' ? Quoted()
                                                       : Word(stops);
    SkipSpace();
    return value;
  }

  Result<ConfigNode> List(int depth) {
    ++at_;
    std::vector<ConfigNode> values;
    SkipSpace();
    if (Peek() == ']') {
      ++at_;
      return ConfigNode::List();
    }
    while (true) {
      ANEMONE_ASSIGN(ConfigNode value, Element(depth + 1, ",]"));
      values.push_back(std::move(value));
      const char c = Peek();
      if (c != ',' && c != ']') return Unexpected("',' or ']'");
      ++at_;
      if (c == ']') return ConfigNode::List(std::move(values));
    }
  }

  Result<ConfigNode> Dict(int depth) {
    ++at_;
    ConfigNode dict = ConfigNode::Map();
    SkipSpace();
    if (Peek() == '}') {
      ++at_;
      return dict;
    }
    while (true) {
      SkipSpace();
      ANEMONE_ASSIGN(ConfigNode key, Peek() == '\'' || Peek() == '"' ? Quoted() : Word(":"));
      SkipSpace();
      if (key.is_null() || !key.is_scalar()) return Unexpected("a scalar as key");
      if (Peek() != ':') return Unexpected("':'");
      ++at_;
      ANEMONE_ASSIGN(ConfigNode value, Element(depth + 1, ",}"));
      value.key_kind = key.kind;
      dict[key.ScalarText()] = std::move(value);
      const char c = Peek();
      if (c != ',' && c != '}') return Unexpected("',' or '}'");
      ++at_;
      if (c == '}') return dict;
    }
  }

  // Only the quote, and backslashes before it, are escaped; everything else is itself. To Hydra, which does not
  // interpolate, `${` is text like any other, so that the quotes inside it are escaped, too; OmegaConf reads an
  // interpolation as one [hydra OverrideLexer.g4, QUOTED_VALUE; omegaconf OmegaConfGrammarLexer.g4].
  Result<ConfigNode> Quoted() {
    const size_t start = at_;
    const char quote = text_[at_++];
    std::string out;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == quote) {
        ++at_;
        if (interpolate_) return ExpandText(out, interpolate_);
        return ConfigNode::String(std::move(out));
      }
      if (c == '\\') {
        size_t end = at_;
        while (end < text_.size() && text_[end] == '\\') ++end;
        const size_t count = end - at_;
        if (end < text_.size() && text_[end] == quote) {
          out.append(count / 2, '\\');
          at_ = end;
          if (count % 2 == 1) {
            out += quote;
            ++at_;
          }
        } else {
          out.append(count, '\\');
          at_ = end;
          // `\${` stays escaped for ExpandText; a quote inside a live interpolation must not end the string.
          if (interpolate_ && count % 2 == 1 && text_.substr(at_).starts_with("${")) {
            out += "${";
            at_ += 2;
          }
        }
        continue;
      }
      if (interpolate_ && text_.substr(at_).starts_with("${")) {
        ANEMONE_ASSIGN(const size_t end, InterpolationEnd(text_, at_));
        out += text_.substr(at_, end - at_);
        at_ = end;
        continue;
      }
      out += c;
      ++at_;
    }
    at_ = start;
    return Unexpected("a closing quote");
  }

  // A bare word: up to a stop, spaces trimmed, `\,` and the like unescaped, interpolations in place.
  Result<ConfigNode> Word(std::string_view stops) {
    std::string word;
    size_t kept = 0;  // length without trailing spaces that are not escaped
    bool literal = true;
    const size_t start = at_;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (stops.find(c) != std::string_view::npos || (stops.empty() && c == ',')) break;
      if (c == '\\' && at_ + 1 < text_.size() &&
          std::string_view("()[]{}:=, \t\\").find(text_[at_ + 1]) != std::string_view::npos) {
        word += text_[at_ + 1];
        kept = word.size();
        at_ += 2;
        literal = false;
        continue;
      }
      if (text_.substr(at_).starts_with("${")) {
        ANEMONE_ASSIGN(const size_t end, InterpolationEnd(text_, at_));
        const std::string_view interpolation = text_.substr(at_, end - at_);
        at_ = end;
        if (interpolate_) {
          ANEMONE_ASSIGN(ConfigNode value, interpolate_(interpolation));
          if (word.empty() && literal) {
            size_t after = at_;
            while (after < text_.size() && IsSpace(text_[after])) ++after;
            if (after == text_.size() || stops.find(text_[after]) != std::string_view::npos) return value;
          }
          if (!value.is_scalar())
            return InvalidArgument("expected a scalar inside text, found a collection from '" +
                                   std::string(interpolation) + "'");
          word += PythonStr(value);
        } else {
          word += interpolation;
        }
        kept = word.size();
        literal = false;
        continue;
      }
      if (c == '(') {
        return Unsupported(
            "expected a plain value, found a function '" + std::string(text_.substr(start, at_ - start)) + "(…)'",
            "sweeps and functions of Hydra are not supported; quote the value if it is text");
      }
      if (std::string_view("()[]{}'\"").find(c) != std::string_view::npos) return Unexpected("a bare word");
      word += c;
      ++at_;
      if (!IsSpace(c)) kept = word.size();
    }
    word.resize(kept);
    if (word.empty() && literal && !stops.empty()) return Unexpected("a value (quote an empty one)");
    return literal ? TypeWord(word) : ConfigNode::String(std::move(word));
  }
};

}  // namespace

Result<size_t> InterpolationEnd(std::string_view text, size_t at) {
  int depth = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\') {
      ++i;
    } else if (c == '{') {
      if (++depth > kMaxDepth) return LimitExceeded("expected at most 200 levels in an interpolation, found more");
    } else if (c == '}') {
      if (--depth == 0) return i + 1;
    } else if (c == '\'' || c == '"') {
      size_t end = i + 1;
      while (end < text.size() && text[end] != c) end += text[end] == '\\' ? 2 : 1;
      i = end;
    }
  }
  return InvalidArgument("expected '}' to close the interpolation, found the end of '" +
                         std::string(text.substr(at, 200)) + "'");
}

Result<ConfigNode> ExpandText(std::string_view text, const Interpolate& interpolate) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t run = i;
    while (run < text.size() && text[run] == '\\') ++run;
    if (!text.substr(run).starts_with("${")) {
      if (run == i) ++run;
      out += text.substr(i, run - i);
      i = run;
      continue;
    }
    out.append((run - i) / 2, '\\');
    if ((run - i) % 2 == 1) {
      out += "${";
      i = run + 2;
      continue;
    }
    ANEMONE_ASSIGN(const size_t end, InterpolationEnd(text, run));
    ANEMONE_ASSIGN(ConfigNode value, interpolate(text.substr(run, end - run)));
    if (i == 0 && run == 0 && end == text.size()) return value;
    if (!value.is_scalar()) {
      return InvalidArgument("expected a scalar inside text, found a collection from '" +
                             std::string(text.substr(run, end - run)) + "'");
    }
    out += PythonStr(value);
    if (out.size() > kMaxTextBytes) return LimitExceeded("expected at most 64 MiB of text, found more");
    i = end;
  }
  return ConfigNode::String(std::move(out));
}

Result<ConfigNode> ParseElement(std::string_view text, const Interpolate& interpolate) {
  return Parser(text, interpolate).Single();
}

Result<std::vector<ConfigNode>> ParseArguments(std::string_view text, const Interpolate& interpolate) {
  return Parser(text, interpolate).Arguments();
}

}  // namespace internal

Result<ConfigNode> ParseOverrideValue(std::string_view text) {
  if (!internal::ValidUtf8(text)) return InvalidArgument("expected UTF-8, found other bytes");
  return internal::ParseElement(text, nullptr);
}

}  // namespace anemone
