#include "schema/symbols.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/checked.h"

namespace anemone {
namespace {

constexpr std::string_view kWriterFlags[] = {"extra_state", "virtual"};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsOfName(char c) { return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.'; }

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// sum = product {"+" product}; product = factor {"*" factor}; factor = number | name | "(" sum ")".
class Expression {
 public:
  Expression(std::string_view text, const ModelSymbols& symbols) : text_(text), rest_(text), symbols_(symbols) {}

  Result<uint64_t> Run() {
    ANEMONE_ASSIGN(const uint64_t value, Sum());
    return rest_.empty() ? Result<uint64_t>(value) : Malformed();
  }

 private:
  Result<uint64_t> Sum() {
    ANEMONE_ASSIGN(uint64_t sum, Product());
    while (Take('+')) {
      ANEMONE_ASSIGN(const uint64_t next, Product());
      ANEMONE_ASSIGN(sum, Within64(CheckedAdd(sum, next)));
    }
    return sum;
  }
  Result<uint64_t> Product() {
    ANEMONE_ASSIGN(uint64_t product, Factor());
    while (Take('*')) {
      ANEMONE_ASSIGN(const uint64_t next, Factor());
      ANEMONE_ASSIGN(product, Within64(CheckedMul(product, next)));
    }
    return product;
  }
  Result<uint64_t> Factor() {
    if (Take('(')) {
      ANEMONE_ASSIGN(const uint64_t value, Sum());
      return Take(')') ? Result<uint64_t>(value) : Malformed();
    }
    const auto end = std::find_if_not(rest_.begin(), rest_.end(), IsOfName);
    const std::string_view word = rest_.substr(0, static_cast<size_t>(end - rest_.begin()));
    rest_ = Trim(rest_.substr(word.size()));
    if (word.empty()) return Malformed();
    if (!IsDigit(word.front())) return symbols_.Get(word);
    uint64_t value = 0;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || stop != word.data() + word.size()) return Malformed();
    return value;
  }

  bool Take(char c) {
    rest_ = Trim(rest_);
    if (rest_.empty() || rest_.front() != c) return false;
    rest_ = Trim(rest_.substr(1));
    return true;
  }
  Result<uint64_t> Within64(std::optional<uint64_t> value) const {
    return value ? Result<uint64_t>(*value) : Corrupt(fmt::format("expected a size below 2^64, found {}", text_));
  }
  Status Malformed() const {
    return Internal(fmt::format("expected numbers and symbols with +, * and parentheses, found '{}'", text_));
  }

  const std::string_view text_;
  std::string_view rest_;
  const ModelSymbols& symbols_;
};

}  // namespace

Symbol Symbol::Size(std::string_view name, std::string_view meaning) {
  return {std::string(name), std::string(meaning), Kind::kSize};
}
Symbol Symbol::Flag(std::string_view name, std::string_view meaning) {
  return {std::string(name), std::string(meaning), Kind::kFlag};
}
Symbol Symbol::LayerFlag(std::string_view name, std::string_view meaning) {
  return {std::string(name), std::string(meaning), Kind::kLayerFlag};
}

ModelSymbols::ModelSymbols(const std::vector<Symbol>& declared) {
  for (const std::string_view flag : kWriterFlags) values_[std::string(flag)] = {Symbol::Kind::kFlag, false, 0};
  for (const Symbol& symbol : declared) values_[symbol.name] = {symbol.kind, symbol.may_be_unknown};
}

void ModelSymbols::Set(std::string_view name, uint64_t value) {
  const auto it = values_.find(name);
  if (it == values_.end()) {
    misuse_ = Internal(fmt::format("expected a symbol that the family declares, found '{}' set", name));
  } else if (it->second.kind == Symbol::Kind::kLayerFlag) {
    misuse_ = Internal(fmt::format("{}: expected a flag for each layer, found one for all", name));
  } else if (it->second.kind == Symbol::Kind::kFlag && value > 1) {
    misuse_ = Internal(fmt::format("{}: expected a flag, 0 or 1, found {}", name, value));
  } else {
    it->second.value = value;
  }
}

void ModelSymbols::SetLayers(std::string_view name, std::vector<bool> layers) {
  const auto it = values_.find(name);
  if (it == values_.end() || it->second.kind != Symbol::Kind::kLayerFlag) {
    misuse_ = Internal(fmt::format("expected a flag that the family declares for each layer, found '{}' set", name));
    return;
  }
  it->second.value = layers.size();
  it->second.layers = std::move(layers);
}

Result<const ModelSymbols::Value*> ModelSymbols::At(std::string_view name) const {
  ANEMONE_TRY(misuse_);
  const auto it = values_.find(name);
  if (it == values_.end()) return Internal(fmt::format("expected a symbol that the family declares, found '{}'", name));
  if (!it->second.value) return Internal(fmt::format("expected the family to set '{}', found nothing", name));
  return &it->second;
}

Result<uint64_t> ModelSymbols::Get(std::string_view name) const {
  ANEMONE_ASSIGN(const Value* value, At(name));
  if (value->kind == Symbol::Kind::kLayerFlag)
    return Internal(fmt::format("{}: expected one value, found one for each layer", name));
  return *value->value;
}

Result<uint64_t> ModelSymbols::Of(std::string_view tower, std::string_view key) const {
  return Get(InTower(tower, key));
}

Result<std::optional<uint64_t>> ModelSymbols::Find(std::string_view tower, std::string_view key) const {
  ANEMONE_TRY(misuse_);
  const auto it = values_.find(InTower(tower, key));
  if (it == values_.end() || (it->second.may_be_unknown && !it->second.value)) return std::optional<uint64_t>();
  ANEMONE_ASSIGN(const uint64_t value, Get(it->first));
  return std::optional(value);
}

Result<bool> ModelSymbols::Holds(std::string_view condition, std::optional<uint64_t> layer) const {
  if (condition == kReadOnly) return false;
  if (condition.empty()) return true;
  bool holds = true;
  // Every name is read, also behind one that decides: a mistake is one in every model.
  for (std::string_view term : SplitAt(condition, '&')) {
    const bool negated = term.starts_with('!');
    if (negated) term.remove_prefix(1);
    ANEMONE_ASSIGN(const Value* value, At(term));
    if (value->kind == Symbol::Kind::kLayerFlag) {
      if (!layer || *layer >= value->layers.size()) {
        return Internal(fmt::format("{}: expected one of {} layers, found {}", term, value->layers.size(),
                                    layer ? std::to_string(*layer) : "none"));
      }
      holds &= value->layers[*layer] != negated;
    } else {
      holds &= (*value->value != 0) != negated;
    }
  }
  return holds;
}

Result<bool> ModelSymbols::HoldsAnywhere(std::string_view condition) const {
  std::optional<uint64_t> layers;
  for (const std::string_view name : SymbolsIn(condition)) {
    const auto it = values_.find(name);
    if (it != values_.end() && it->second.kind == Symbol::Kind::kLayerFlag) layers = it->second.layers.size();
  }
  if (!layers) return Holds(condition);
  for (uint64_t layer = 0; layer < *layers; ++layer) {
    ANEMONE_ASSIGN(const bool holds, Holds(condition, layer));
    if (holds) return true;
  }
  return false;
}

Result<uint64_t> ModelSymbols::Compute(std::string_view expression) const {
  return Expression(expression, *this).Run();
}

Result<Shape> ModelSymbols::Evaluate(std::string_view text) const {
  Shape shape;
  if (Trim(text).empty()) return shape;
  for (const std::string_view axis : SplitAt(text, ',')) {
    ANEMONE_ASSIGN(const uint64_t size, Compute(axis));
    shape.push_back(size);
  }
  return shape;
}

Status ModelSymbols::CheckSet() const {
  ANEMONE_TRY(misuse_);
  std::vector<std::string_view> unset;
  for (const auto& [name, value] : values_) {
    if (!value.value && !value.may_be_unknown) unset.push_back(name);
  }
  if (unset.empty()) return {};
  return Internal(
      fmt::format("expected the family to set every symbol it declares, found {} unset", fmt::join(unset, ", ")));
}

std::string InTower(std::string_view tower, std::string_view key) {
  return tower.empty() ? std::string(key) : fmt::format("{}.{}", tower, key);
}

std::vector<std::string_view> SymbolsIn(std::string_view text) {
  std::vector<std::string_view> names;
  if (text == kReadOnly) return names;
  while (!text.empty()) {
    const auto end = std::find_if_not(text.begin(), text.end(), IsOfName);
    const auto size = static_cast<size_t>(end - text.begin());
    if (size > 0 && !IsDigit(text.front())) names.push_back(text.substr(0, size));
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  return names;
}

std::vector<std::string_view> SplitAt(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t at = text.find(separator);
    parts.push_back(Trim(text.substr(0, at)));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

}  // namespace anemone
