// Config: a YAML (or JSON) tree as OmegaConf reads it. Data only: a `_target_` is a string, an environment variable is
// never read, an interpolation stays text until someone asks for it resolved.
//
// Facts: OmegaConf reads PyYAML's YAML 1.1 with its own float rule (`1e-5` is a float) and timestamps kept as strings
// [omegaconf/_yaml.py]; it writes block style, keys in insertion order, list items at the parent's indent.
//
// A config keeps its text, comments aside: numbers and booleans are written as they were read (`1e-5`, `yes`, `010`)
// unless their value changed; everything else (layout, quotes, folding, `null`) is OmegaConf.save's. So a file that
// OmegaConf wrote is reproduced byte for byte. docs/formats/config.md has the rules.
//
// Threads: const methods may run concurrently. Nothing here touches files, the environment or the network.
#ifndef ANEMONE_CONFIG_H_
#define ANEMONE_CONFIG_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/status.h"

namespace anemone {

// One node of the tree; a value type.
struct ConfigNode {
  enum class Kind : uint8_t { kNull, kBool, kInt, kFloat, kString, kList, kMap };
  Kind kind = Kind::kNull;
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;
  // kString: the string. Other scalars: the text as it was written, or empty when made here. An integer beyond 64 bits
  // is a kFloat that keeps its text.
  std::string text;
  // What the key this node hangs on was in YAML: `0: a` has an integer key. Only the writer looks at it.
  Kind key_kind = Kind::kString;
  std::vector<ConfigNode> list;
  std::vector<std::pair<std::string, ConfigNode>> map;  // insertion order; keys unique

  static ConfigNode Null() { return {}; }
  static ConfigNode Bool(bool v);
  static ConfigNode Int(int64_t v);
  static ConfigNode Float(double v);
  static ConfigNode String(std::string v);
  static ConfigNode List(std::vector<ConfigNode> v = {});
  static ConfigNode Map();

  bool is_null() const { return kind == Kind::kNull; }
  bool is_map() const { return kind == Kind::kMap; }
  bool is_list() const { return kind == Kind::kList; }
  bool is_scalar() const { return kind != Kind::kList && kind != Kind::kMap; }
  // Child of a map by key, nullptr when absent or not a map.
  const ConfigNode* Get(std::string_view key) const;
  ConfigNode* Get(std::string_view key);
  // Child of a map, created (null) at the end when absent. REQUIRES: is_map().
  ConfigNode& operator[](std::string_view key);
  bool Erase(std::string_view key);
  // Scalars as C++ values; nullopt when the kind does not fit (an int is a number, a float is not an int).
  std::optional<bool> AsBool() const;
  std::optional<int64_t> AsInt() const;
  std::optional<double> AsDouble() const;
  std::optional<std::string> AsString() const;  // kString only
  // The scalar as a person would write it ("1e-05", "null", "quick_gelu").
  std::string ScalarText() const;
};

// Same values: maps compared without order, an int equals a float of that value, texts ignored.
bool SameConfig(const ConfigNode& a, const ConfigNode& b);

class Config {
 public:
  Config() : root_(ConfigNode::Map()) {}
  explicit Config(ConfigNode root) : root_(std::move(root)) {}

  // `name` appears in errors with line and column. Errors: Corrupt (syntax, duplicate keys, unknown tag), LimitExceeded
  // (over 16 MiB of YAML or 64 MiB of JSON, over 200 levels, beyond `kMaxValues` or 64 MiB of text once aliases are
  // expanded). An empty YAML file is an empty map; a root that is a scalar is Corrupt.
  static constexpr uint64_t kMaxValues = 500'000;
  static Result<Config> ParseYaml(std::string_view text, std::string_view name);
  // Any root. NaN, Infinity and -Infinity are read as Python's json writes them.
  static Result<Config> ParseJson(std::string_view text, std::string_view name, uint64_t max_values = kMaxValues);
  // As OmegaConf.save writes it, numbers and booleans in the spelling they were read with (see above).
  std::string ToYaml() const;
  // As Python's json.dumps(indent=…, ensure_ascii=False); indent < 0: one line with ", " and ": ".
  std::string ToJson(int indent = 2) const;

  const ConfigNode& root() const { return root_; }
  ConfigNode& root() { return root_; }

  // The node at a dotted path ("model.tokenizer.type", "data.paths[0]", "betas.0"), as stored; nullptr when absent. The
  // empty path is the root; `\.` `\[` `\]` `\=` are those characters inside a key.
  const ConfigNode* Find(std::string_view path) const;
  // The same, with interpolations resolved (whole subtree). `???` stays as it is, but an interpolation to it fails.
  // Known resolvers: oc.select, oc.decode, oc.create, oc.deprecated, oc.dict.keys, oc.dict.values, multiply, sum (the
  // last two as NeMo registers them). Errors: NotFound (path, interpolation key, missing value), Unsupported (a
  // resolver that would read the machine or that is not known), Corrupt (cycles, grammar), LimitExceeded.
  Result<ConfigNode> Resolve(std::string_view path) const;
  // The node at `path` with every child resolved. One that cannot be stays as it is stored where `may_stay(key)`; all
  // of them together expand to no more than one value of Resolve may. Errors: as Resolve.
  Result<ConfigNode> ResolveChildren(std::string_view path,
                                     const std::function<bool(std::string_view key)>& may_stay) const;
  // Sets a value, creating maps on the way. Errors: InvalidArgument (path through a scalar, list index out of range).
  Status Set(std::string_view path, ConfigNode value);
  Status Unset(std::string_view path);

 private:
  ConfigNode root_;
};

// Parses one value as `--set key=value` and Hydra do: 1e-5 → float, null, [a, b], {k: v}, 'quoted', bare words.
// Interpolations stay text. Errors: InvalidArgument (grammar), Unsupported (sweeps `1,2` and functions `range(…)`).
Result<ConfigNode> ParseOverrideValue(std::string_view text);

// Every dotted path whose key is `_target_` or `target`, and every interpolation with a resolver: what `scan` lists.
struct ConfigFinding {
  std::string path;
  std::string text;
};
std::vector<ConfigFinding> FindTargets(const ConfigNode& root);
std::vector<ConfigFinding> FindResolvers(const ConfigNode& root);

}  // namespace anemone

#endif  // ANEMONE_CONFIG_H_
