// ConfigNode to YAML as OmegaConf.save writes it: PyYAML's block style by libyaml's emitter, 80 columns, unicode as it
// is.
#include <functional>

#include "anemone/config.h"
#include "config/scalar.h"

namespace anemone {
namespace {

using Kind = ConfigNode::Kind;

constexpr int kWidth = 80;          // libyaml's best_width: a space beyond this column may become a line break
constexpr size_t kSimpleKey = 128;  // longer keys are written as "? key"

bool IsBlankOrBreak(uint32_t c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == 0; }

// As libyaml counts them: CR, LF, NEL, LS, PS.
bool HasLineBreak(std::string_view text) {
  for (const std::string_view line_break : {"\n", "\r", "\xC2\x85", "\xE2\x80\xA8", "\xE2\x80\xA9"}) {
    if (text.find(line_break) != std::string_view::npos) return true;
  }
  return false;
}

enum class Style : uint8_t { kPlain, kSingle, kDouble };

// Which quotes a string needs [libyaml emitter.c, analyze_scalar and select_scalar_style].
Style ChooseStyle(std::string_view text, bool is_key) {
  if (text.empty()) return Style::kSingle;
  bool indicator = text.starts_with("---") || text.starts_with("...");
  bool multiline = false;
  bool special = false;
  bool break_space = false;
  bool space_break = false;
  char previous = '\n';
  const char first = text[0];
  if (std::string_view("#,[]{}&*!|>'\"%@`").find(first) != std::string_view::npos) indicator = true;
  const bool lone = text.size() == 1 || IsBlankOrBreak(static_cast<unsigned char>(text[1]));
  if ((first == '?' || first == ':' || first == '-') && lone) indicator = true;
  bool previous_break = false;
  bool previous_space = false;
  for (size_t i = 0; i < text.size();) {
    size_t length = 0;
    const uint32_t c = internal::DecodeUtf8(text, i, &length);
    const bool last = i + length == text.size();
    if (i > 0 && c == ':' && (last || IsBlankOrBreak(static_cast<unsigned char>(text[i + 1])))) indicator = true;
    if (c == '#' && IsBlankOrBreak(static_cast<unsigned char>(previous))) indicator = true;
    const bool printable = c == '\n' || (c >= 0x20 && c <= 0x7E) || (c >= 0xA0 && c <= 0xD7FF) ||
                           (c >= 0xE000 && c <= 0xFFFD && c != 0xFEFF);
    // U+2028 and U+2029 break lines in YAML 1.1 and not in 1.2: only escaped are they safe from every reader.
    if (!printable || c == 0x2028 || c == 0x2029) special = true;
    if (c == '\n') multiline = true;
    if (c == ' ') {
      if (previous_break) break_space = true;
    } else if (c == '\n') {
      if (previous_space) space_break = true;
    }
    previous_space = c == ' ';
    previous_break = c == '\n';
    previous = length == 1 ? static_cast<char>(c) : 'x';
    i += length;
  }
  if (special || break_space || space_break || (is_key && multiline)) return Style::kDouble;
  const bool edge = first == ' ' || first == '\n' || text.back() == ' ' || text.back() == '\n';
  if (indicator || multiline || edge || !internal::StringMayBePlain(text)) return Style::kSingle;
  return Style::kPlain;
}

class Writer {
 public:
  std::string out;

  // `indent`: where the lines of this node's entries start. `inline_first`: the first entry continues a "- " line.
  void Map(const ConfigNode& node, int indent, bool inline_first) {
    bool first = true;
    for (const auto& [key, value] : node.map) {
      if (!(first && inline_first)) Indent(indent);
      first = false;
      if (Key(key, value.key_kind, indent)) {
        Put(":");
        Value(value, indent, /*after_dash=*/false);
      } else {
        Indent(indent);
        Put(":");
        Value(value, indent, /*after_dash=*/true);
      }
    }
  }

  void List(const ConfigNode& node, int indent, bool inline_first) {
    bool first = true;
    for (const ConfigNode& value : node.list) {
      if (!(first && inline_first)) Indent(indent);
      first = false;
      Put("-");
      Value(value, indent, /*after_dash=*/true);
    }
  }

  void Root(const ConfigNode& node) {
    if (node.is_map() && !node.map.empty()) {
      Map(node, 0, true);
    } else if (node.is_list() && !node.list.empty()) {
      List(node, 0, true);
    } else {
      Scalar(node, 0);
    }
    out += '\n';
  }

 private:
  int column_ = 0;

  void Put(std::string_view ascii) {
    out += ascii;
    column_ += static_cast<int>(ascii.size());
  }
  void Indent(int indent) {
    out += '\n';
    out.append(static_cast<size_t>(indent), ' ');
    column_ = indent;
  }

  // After "key:" (entries on lines of their own) or "-" (the first entry on this line).
  void Value(const ConfigNode& value, int indent, bool after_dash) {
    if (value.is_map() && !value.map.empty()) {
      if (after_dash) Put(" ");
      if (!after_dash) Indent(indent + 2);
      Map(value, indent + 2, true);
    } else if (value.is_list() && !value.list.empty()) {
      // Under a key a list stands at the key's own indent.
      if (after_dash) Put(" ");
      if (!after_dash) Indent(indent);
      List(value, after_dash ? indent + 2 : indent, true);
    } else {
      Put(" ");
      Scalar(value, indent + 2);
    }
  }

  // Returns whether it was a simple key; if not, "? key" is written and ":" goes on its own line.
  bool Key(const std::string& key, Kind kind, int indent) {
    if (kind != Kind::kString && kind != Kind::kNull) {
      const Result<ConfigNode> typed = internal::TypePlainScalar(key);
      if (typed.ok() && typed->kind == kind) {
        Put(key);
        return true;
      }
    }
    const bool simple = key.size() <= kSimpleKey && !HasLineBreak(key);
    if (!simple) Put("? ");
    String(key, simple ? ChooseStyle(key, true) : ChooseStyle(key, false), indent + 2, /*fold=*/!simple);
    return simple;
  }

  void Scalar(const ConfigNode& node, int indent) {
    switch (node.kind) {
      case Kind::kString:
        String(node.text, ChooseStyle(node.text, false), indent, /*fold=*/true);
        break;
      case Kind::kMap:
        Put("{}");
        break;
      case Kind::kList:
        Put("[]");
        break;
      default:
        Put(internal::YamlScalar(node));
    }
  }

  void String(std::string_view text, Style style, int indent, bool fold) {
    if (style == Style::kSingle) Put("'");
    if (style == Style::kDouble) Put("\"");
    bool spaces = false;
    bool breaks = false;
    for (size_t i = 0; i < text.size();) {
      size_t length = 0;
      const uint32_t c = internal::DecodeUtf8(text, i, &length);
      const bool inner = i > 0 && i + 1 < text.size();
      const bool next_is_space = i + 1 < text.size() && text[i + 1] == ' ';
      if (style == Style::kDouble && NeedsEscape(c)) {
        Escape(c);
        spaces = false;
      } else if (c == ' ') {
        const bool here = fold && !spaces && column_ > kWidth && (style == Style::kPlain || inner);
        if (here && style == Style::kDouble) {
          Indent(indent);
          if (next_is_space) Put("\\");
        } else if (here && !next_is_space) {
          Indent(indent);
        } else {
          Put(" ");
        }
        spaces = true;
      } else if (c == '\n') {
        if (!breaks) out += '\n';
        out += '\n';
        column_ = 0;
        breaks = true;
      } else {
        if (breaks) {
          out.append(static_cast<size_t>(indent), ' ');
          column_ = indent;
        }
        if (c == '\'' && style == Style::kSingle) Put("'");
        out += text.substr(i, length);
        ++column_;
        spaces = false;
        breaks = false;
      }
      i += length;
    }
    if (breaks) {
      out.append(static_cast<size_t>(indent), ' ');
      column_ = indent;
    }
    if (style == Style::kSingle) Put("'");
    if (style == Style::kDouble) Put("\"");
  }

  static bool NeedsEscape(uint32_t c) {
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029 || c == 0xFEFF || c > 0xFFFD || c == '"' ||
           c == '\\';
  }

  void Escape(uint32_t c) {
    struct Named {
      uint32_t code_point;
      char letter;
    };
    static constexpr Named kNamed[] = {{0, '0'},     {7, 'a'},    {8, 'b'},      {9, 't'},     {10, 'n'},
                                       {11, 'v'},    {12, 'f'},   {13, 'r'},     {0x1B, 'e'},  {'"', '"'},
                                       {'\\', '\\'}, {0x85, 'N'}, {0x2028, 'L'}, {0x2029, 'P'}};
    for (const Named& named : kNamed) {
      if (named.code_point == c) return Put(std::string{'\\', named.letter});
    }
    const int digits = c <= 0xFF ? 2 : c <= 0xFFFF ? 4 : 8;
    std::string text = digits == 2 ? "\\x" : digits == 4 ? "\\u" : "\\U";
    for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) text += "0123456789ABCDEF"[c >> shift & 0xF];
    Put(text);
  }
};

}  // namespace

std::string Config::ToYaml() const {
  Writer writer;
  writer.Root(root_);
  return std::move(writer.out);
}

}  // namespace anemone
