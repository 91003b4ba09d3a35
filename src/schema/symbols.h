// ModelSymbols: the named sizes and flags of one model ("width", "text.heads", "tied"), as its family declares them.
//
// Tables speak of symbols by name, in shapes and in conditions. A name that nobody declared, or that a family declared
// and did not set, is an internal error wherever it is read: a flag that silently read as "no" would give right shapes
// and wrong weights.
#ifndef ANEMONE_SCHEMA_SYMBOLS_H_
#define ANEMONE_SCHEMA_SYMBOLS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "anemone/tensor.h"

namespace anemone {

struct Symbol {
  enum class Kind : uint8_t {
    kSize,
    kFlag,       // 0 or 1
    kLayerFlag,  // a flag of its own for each layer
  };
  std::string name;
  std::string meaning;
  Kind kind = Kind::kSize;
  bool may_be_unknown = false;  // not every checkpoint tells it, and whoever asks can do without (ModelSymbols::Find)

  static Symbol Size(std::string_view name, std::string_view meaning);
  static Symbol Flag(std::string_view name, std::string_view meaning);
  static Symbol LayerFlag(std::string_view name, std::string_view meaning);
};

// The condition of a row that is accepted and never written.
inline constexpr std::string_view kReadOnly = "(read only)";

class ModelSymbols {
 public:
  // Beside what the family declares, every model has two flags that say how it is to be written, both 0 at first:
  // "extra_state" (with Transformer Engine's extra states) and "virtual" (in an interleaved pipeline).
  explicit ModelSymbols(const std::vector<Symbol>& declared = {});

  // To set what is not declared, or a flag to more than 1, is a mistake that every read from then on answers with.
  void Set(std::string_view name, uint64_t value);
  void SetLayers(std::string_view name, std::vector<bool> layers);
  bool Declares(std::string_view name) const { return values_.contains(name); }

  // All below: Internal for a symbol that is not declared, or not set.
  Result<uint64_t> Get(std::string_view name) const;
  // `key` of a tower: "text.heads"; of a model without towers: "heads".
  Result<uint64_t> Of(std::string_view tower, std::string_view key) const;
  // The same; nullopt where the family declares no such symbol, or one that may be unknown and is.
  Result<std::optional<uint64_t>> Find(std::string_view tower, std::string_view key) const;
  // "" holds always, "x" when x is not 0, "!x" when it is, "x & y" when both hold, kReadOnly never. A layer's flag is
  // that of `layer`.
  Result<bool> Holds(std::string_view condition, std::optional<uint64_t> layer = std::nullopt) const;
  // The same; where the condition speaks of layers' flags, whether it holds in one of them.
  Result<bool> HoldsAnywhere(std::string_view condition) const;
  // "(heads+2*groups)*head_dim" → 128. Errors: Corrupt beyond 64 bits.
  Result<uint64_t> Compute(std::string_view expression) const;
  // "3*vision.width, vision.width" → {3072, 1024}. "" is a scalar. Errors: as Compute.
  Result<Shape> Evaluate(std::string_view shape) const;

  // Every declared symbol is set, and nothing else. Errors: Internal naming all that are not.
  Status CheckSet() const;

 private:
  struct Value {
    Symbol::Kind kind = Symbol::Kind::kSize;
    bool may_be_unknown = false;
    std::optional<uint64_t> value = {};
    std::vector<bool> layers = {};
  };
  Result<const Value*> At(std::string_view name) const;
  std::map<std::string, Value, std::less<>> values_;
  Status misuse_;
};

// "width" of the tower "text" is "text.width"; of a model without towers, "width".
std::string InTower(std::string_view tower, std::string_view key);

// The names in a shape or a condition, in order.
std::vector<std::string_view> SymbolsIn(std::string_view text);

// "a, b" → {"a", "b"}, without the blanks around them.
std::vector<std::string_view> SplitAt(std::string_view text, char separator);

}  // namespace anemone

#endif  // ANEMONE_SCHEMA_SYMBOLS_H_
