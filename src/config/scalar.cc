#include "config/scalar.h"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace anemone::internal {
namespace {

using Kind = ConfigNode::Kind;

re2::StringPiece Piece(std::string_view text) { return {text.data(), text.size()}; }

// yaml/resolver.py, one pattern a tag, in the order they are tried.
const RE2& BoolPattern() {
  static const RE2 pattern("yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF");
  return pattern;
}
const RE2& FloatPattern() {
  static const RE2 pattern(R"([-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?)"
                           R"(|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?)"
                           R"(|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*)"
                           R"(|[-+]?\.(?:inf|Inf|INF))"
                           R"(|\.(?:nan|NaN|NAN))");
  return pattern;
}
const RE2& IntPattern() {
  static const RE2 pattern(R"([-+]?0b[0-1_]+)"
                           R"(|[-+]?0[0-7_]+)"
                           R"(|[-+]?(?:0|[1-9][0-9_]*))"
                           R"(|[-+]?0x[0-9a-fA-F_]+)"
                           R"(|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)");
  return pattern;
}
const RE2& TimestampPattern() {
  static const RE2 pattern(
      R"([0-9]{4}-[0-9]{2}-[0-9]{2})"
      R"(|[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?(?:[Tt]|[ \t]+)[0-9][0-9]?:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?)"
      R"((?:[ \t]*(?:Z|[-+][0-9][0-9]?(?::[0-9]{2})?))?)");
  return pattern;
}
// OmegaConf's additional float, tried after PyYAML's integer [omegaconf/_yaml.py].
const RE2& OmegaConfFloatPattern() {
  static const RE2 pattern(R"([-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?)"
                           R"(|[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+))"
                           R"(|\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?)"
                           R"(|[-+]?[0-9]+(?:_[0-9]+)*(?::[0-5]?[0-9])+\.[0-9_]*)"
                           R"(|[-+]?\.(?:inf|Inf|INF))"
                           R"(|\.(?:nan|NaN|NAN))");
  return pattern;
}
// What Python's int() or float() accepts.
const RE2& PythonNumberPattern() {
  static const RE2 pattern(
      R"(\s*[-+]?(?:(?:[0-9]+(?:_[0-9]+)*(?:\.(?:[0-9]+(?:_[0-9]+)*)?)?|\.[0-9]+(?:_[0-9]+)*)(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?)"
      R"(|(?i:inf|infinity|nan))\s*)");
  return pattern;
}

bool Matches(std::string_view text, const RE2& pattern) { return RE2::FullMatch(Piece(text), pattern); }

bool IsNull(std::string_view text) {
  return text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL";
}

std::string WithoutUnderscores(std::string_view text) {
  std::string out(text);
  std::erase(out, '_');
  return out;
}

// Unsigned digits in a base, as an integer where it fits, else as the nearest double.
struct Magnitude {
  uint64_t integer = 0;
  double real = 0;
  bool fits = true;
  void Append(uint64_t base, uint64_t digit) {
    real = real * static_cast<double>(base) + static_cast<double>(digit);
    fits =
        fits && !__builtin_mul_overflow(integer, base, &integer) && !__builtin_add_overflow(integer, digit, &integer);
  }
};

ConfigNode FromMagnitude(const Magnitude& magnitude, bool negative, std::string_view text) {
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  ConfigNode node;
  if (magnitude.fits && magnitude.integer <= kMax + (negative ? 1 : 0)) {
    node = ConfigNode::Int(static_cast<int64_t>(negative ? 0 - magnitude.integer : magnitude.integer));
  } else {
    node = ConfigNode::Float(negative ? -magnitude.real : magnitude.real);
  }
  node.text = text;
  return node;
}

// Splits "1:30:05.5" and sums in base 60; the last part may be a decimal.
double Sexagesimal(std::string_view digits) {
  double value = 0;
  while (true) {
    const size_t colon = digits.find(':');
    value = value * 60 + ParseDecimal(digits.substr(0, colon));
    if (colon == std::string_view::npos) return value;
    digits.remove_prefix(colon + 1);
  }
}

// Of an integer without underscores: its sign, and its digits without the prefix that says their base.
struct Integer {
  explicit Integer(std::string_view text) : digits(text) {
    negative = digits.starts_with('-');
    if (negative || digits.starts_with('+')) digits.remove_prefix(1);
    if (digits.starts_with("0b") || digits.starts_with("0x")) {
      base = digits[1] == 'b' ? 2 : 16;
      digits.remove_prefix(2);
    } else if (digits.size() > 1 && digits[0] == '0') {
      base = 8;
    }
  }
  static uint64_t ValueOf(char digit) {
    return static_cast<uint64_t>(digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
  }

  bool negative = false;
  uint64_t base = 10;
  std::string_view digits;
};

Result<ConfigNode> TypeInteger(std::string_view text) {
  const std::string clean = WithoutUnderscores(text);
  auto [negative, base, digits] = Integer(clean);
  Magnitude magnitude;
  if (digits.find(':') != std::string_view::npos) {
    while (true) {
      const size_t colon = digits.find(':');
      uint64_t part = 0;
      const std::string_view word = digits.substr(0, colon);
      if (std::from_chars(word.data(), word.data() + word.size(), part).ec != std::errc()) magnitude.fits = false;
      magnitude.Append(60, part);
      if (colon == std::string_view::npos) break;
      digits.remove_prefix(colon + 1);
    }
    if (!magnitude.fits)
      magnitude.real = Sexagesimal(std::string_view(clean).substr(negative || clean[0] == '+' ? 1 : 0));
    return FromMagnitude(magnitude, negative, text);
  }
  if (digits.empty()) return Corrupt("expected the digits of an integer, found '" + std::string(text) + "'");
  if (base == 10) return MakeInteger(clean, text);
  for (const char c : digits) magnitude.Append(base, Integer::ValueOf(c));
  return FromMagnitude(magnitude, negative, text);
}

ConfigNode TypeFloat(std::string_view text) {
  const std::string clean = WithoutUnderscores(text);
  std::string_view digits = clean;
  double sign = 1;
  if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) {
    sign = digits[0] == '-' ? -1 : 1;
    digits.remove_prefix(1);
  }
  double value = 0;
  if (digits.size() == 4 && digits[0] == '.' && (digits[1] | 0x20) == 'i') {
    value = std::numeric_limits<double>::infinity();
  } else if (digits.size() == 4 && digits[0] == '.' && (digits[1] | 0x20) == 'n') {
    value = std::numeric_limits<double>::quiet_NaN();
  } else if (digits.find(':') != std::string_view::npos) {
    value = Sexagesimal(digits);
  } else {
    value = ParseDecimal(digits);
  }
  ConfigNode node = ConfigNode::Float(sign * value);
  node.text = text;
  return node;
}

bool SameScalar(const ConfigNode& a, const ConfigNode& b) {
  if (a.kind != b.kind) return false;
  if (a.kind == Kind::kBool) return a.boolean == b.boolean;
  if (a.kind == Kind::kInt) return a.integer == b.integer;
  return (a.real == b.real && std::signbit(a.real) == std::signbit(b.real)) ||
         (std::isnan(a.real) && std::isnan(b.real));
}

}  // namespace

Result<ConfigNode> TypePlainScalar(std::string_view text) {
  if (IsNull(text)) return ConfigNode::Null();
  // Only a few first characters can start anything but a string.
  if (std::string_view("-+0123456789.yYnNtTfFoO").find(text[0]) != std::string_view::npos) {
    if (Matches(text, BoolPattern())) {
      ConfigNode node = ConfigNode::Bool((text[0] | 0x20) == 'y' || (text[0] | 0x20) == 't' || text.size() == 2);
      if ((text[0] | 0x20) == 'n') node.boolean = false;
      node.text = text;
      return node;
    }
    if (Matches(text, FloatPattern())) return TypeFloat(text);
    if (Matches(text, IntPattern())) return TypeInteger(text);
    if (Matches(text, OmegaConfFloatPattern())) return TypeFloat(text);
  }
  return ConfigNode::String(std::string(text));
}

bool StringMayBePlain(std::string_view text) {
  if (IsNull(text) || text == "<<" || text == "=") return false;
  if (text == "y" || text == "Y" || text == "n" || text == "N" || Matches(text, BoolPattern())) return false;
  if (text == "!" || text == "&" || text == "*") return false;
  return !Matches(text, FloatPattern()) && !Matches(text, IntPattern()) && !Matches(text, TimestampPattern()) &&
         !Matches(text, PythonNumberPattern()) && !Matches(text, OmegaConfFloatPattern());
}

ConfigNode MakeInteger(std::string_view digits, std::string_view text) {
  const std::string clean = WithoutUnderscores(digits);
  std::string_view rest = clean;
  bool negative = false;
  if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) {
    negative = rest[0] == '-';
    rest.remove_prefix(1);
  }
  Magnitude magnitude;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), magnitude.integer);
  magnitude.fits = error == std::errc();
  if (!magnitude.fits) magnitude.real = ParseDecimal(rest);
  if (magnitude.fits) magnitude.real = static_cast<double>(magnitude.integer);
  return FromMagnitude(magnitude, negative, text);
}

std::string BigIntegerDigits(const ConfigNode& scalar) {
  constexpr size_t kMost = 2048;  // digits: they are added up in time of their square
  if (scalar.kind != Kind::kFloat || scalar.text.empty() || scalar.text.size() > kMost) return {};
  if (!Matches(scalar.text, IntPattern()) || scalar.text.find(':') != std::string::npos) return {};
  const std::string clean = WithoutUnderscores(scalar.text);
  const Integer integer(clean);
  std::string decimal;  // the lowest digit first
  for (const char c : integer.digits) {
    uint64_t carry = Integer::ValueOf(c);
    for (char& digit : decimal) {
      carry += static_cast<uint64_t>(digit - '0') * integer.base;
      digit = static_cast<char>('0' + carry % 10);
      carry /= 10;
    }
    for (; carry > 0; carry /= 10) decimal += static_cast<char>('0' + carry % 10);
  }
  if (integer.negative) decimal += '-';
  std::ranges::reverse(decimal);
  return decimal;
}

double ParseDecimal(std::string_view text) {
  const std::string clean = WithoutUnderscores(text);
  std::string_view rest = clean;
  double sign = 1;
  if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) {
    sign = rest[0] == '-' ? -1 : 1;
    rest.remove_prefix(1);
  }
  double value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (error == std::errc::result_out_of_range) {
    // from_chars does not say which way: compare the decimal exponent of the first digit that counts.
    const size_t e = rest.find_first_of("eE");
    const std::string_view mantissa = rest.substr(0, e);
    int64_t exponent = 0;
    if (e != std::string_view::npos) {
      std::string_view digits = rest.substr(e + 1);
      const bool negative = !digits.empty() && digits[0] == '-';
      if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) digits.remove_prefix(1);
      if (std::from_chars(digits.data(), digits.data() + digits.size(), exponent).ec != std::errc()) {
        exponent = std::numeric_limits<int64_t>::max() / 2;
      }
      exponent = std::min(exponent, std::numeric_limits<int64_t>::max() / 2);
      if (negative) exponent = -exponent;
    }
    const size_t point = std::min(mantissa.find('.'), mantissa.size());
    const size_t first = mantissa.find_first_of("123456789");
    if (first != std::string_view::npos) {
      exponent += first < point ? static_cast<int64_t>(point - first) : -static_cast<int64_t>(first - point);
      value = exponent > 0 ? std::numeric_limits<double>::infinity() : 0;
    }
  }
  return sign * value;
}

std::string PythonFloat(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view shortest(buffer, static_cast<size_t>(end - buffer));
  const size_t e = shortest.find('e');
  int exponent = 0;
  std::string_view exponent_text = shortest.substr(e + 1);
  if (exponent_text[0] == '+') exponent_text.remove_prefix(1);
  std::from_chars(exponent_text.data(), exponent_text.data() + exponent_text.size(), exponent);
  if (exponent < -4 || exponent >= 16) return std::string(shortest);  // two exponent digits at least, as Python
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr;
  std::string out(buffer, fixed);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::string PythonStr(const ConfigNode& scalar) {
  switch (scalar.kind) {
    case Kind::kNull:
      return "None";
    case Kind::kBool:
      return scalar.boolean ? "True" : "False";
    case Kind::kInt:
      return std::to_string(scalar.integer);
    case Kind::kFloat:
      return PythonFloat(scalar.real);
    default:
      return scalar.text;
  }
}

std::string YamlScalar(const ConfigNode& scalar) {
  if (scalar.kind == Kind::kNull) return "null";
  if (!scalar.text.empty()) {
    const Result<ConfigNode> again = TypePlainScalar(scalar.text);
    if (again.ok() && SameScalar(*again, scalar)) return scalar.text;
  }
  if (scalar.kind == Kind::kBool) return scalar.boolean ? "true" : "false";
  if (scalar.kind == Kind::kInt) return std::to_string(scalar.integer);
  if (std::isnan(scalar.real)) return ".nan";
  if (std::isinf(scalar.real)) return scalar.real < 0 ? "-.inf" : ".inf";
  std::string out = PythonFloat(scalar.real);
  // YAML 1.1 wants a point before the exponent [yaml/representer.py, represent_float].
  if (const size_t e = out.find('e'); e != std::string::npos && out.find('.') == std::string::npos) out.insert(e, ".0");
  return out;
}

bool ValidUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() - i < length) return false;
    uint32_t code_point = lead & (0x7FU >> length);
    for (size_t k = 1; k < length; ++k) {
      const auto c = static_cast<unsigned char>(text[i + k]);
      if ((c & 0xC0) != 0x80) return false;
      code_point = code_point << 6 | (c & 0x3FU);
    }
    constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code_point < kSmallest[length] || code_point > 0x10FFFF || (code_point >= 0xD800 && code_point < 0xE000))
      return false;
    i += length;
  }
  return true;
}

uint32_t DecodeUtf8(std::string_view text, size_t at, size_t* length) {
  const auto lead = static_cast<unsigned char>(text[at]);
  *length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || text.size() - at < *length) {
    *length = 1;
    return lead;
  }
  uint32_t code_point = lead & (0x7FU >> *length);
  for (size_t k = 1; k < *length; ++k)
    code_point = code_point << 6 | (static_cast<unsigned char>(text[at + k]) & 0x3FU);
  return code_point;
}

}  // namespace anemone::internal
