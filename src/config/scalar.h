// Scalars as YAML 1.1, PyYAML and OmegaConf type and spell them.
#ifndef ANEMONE_CONFIG_SCALAR_H_
#define ANEMONE_CONFIG_SCALAR_H_

#include <optional>
#include <string>
#include <string_view>

#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone::internal {

// Limits that every reader of configs shares.
inline constexpr int kMaxDepth = 200;
inline constexpr uint64_t kMaxNodes = Config::kMaxValues;
inline constexpr uint64_t kMaxTextBytes = uint64_t{64} << 20;

// The value of an untagged plain scalar as OmegaConf's loader resolves it [omegaconf/_yaml.py, yaml/resolver.py].
// Errors: Corrupt (`0x_`: PyYAML's pattern takes it for an integer and then fails).
Result<ConfigNode> TypePlainScalar(std::string_view text);

// Whether OmegaConf writes this string without quotes as far as its type goes: PyYAML's own resolver calls it a string
// and neither its bool list nor Python's int() and float() take it.
bool StringMayBePlain(std::string_view text);

// Decimal text with Python's underscores; an integer beyond 64 bits becomes a float. `text` is kept.
ConfigNode MakeInteger(std::string_view digits, std::string_view text);
// The decimal digits, after a '-' if it is negative, of a kFloat that is an integer beyond 64 bits (above); "" of any
// other scalar.
std::string BigIntegerDigits(const ConfigNode& scalar);
// float(text) for text already known to be a decimal float; overflow is inf, underflow 0, as in Python.
double ParseDecimal(std::string_view text);
// repr(value) in Python, nan and inf as "nan", "inf", "-inf".
std::string PythonFloat(double value);
// str(value) in Python for a scalar node.
std::string PythonStr(const ConfigNode& scalar);
// The scalar in YAML: its own text where that reads back to the same value, else PyYAML's spelling. Not for strings.
std::string YamlScalar(const ConfigNode& scalar);
// Whether the bytes are UTF-8: shortest forms, no surrogates, nothing beyond U+10FFFF.
bool ValidUtf8(std::string_view text);
// The code point that starts at `text[at]`, its length in *length; a stray byte counts as the code point of its value.
uint32_t DecodeUtf8(std::string_view text, size_t at, size_t* length);

}  // namespace anemone::internal

#endif  // ANEMONE_CONFIG_SCALAR_H_
