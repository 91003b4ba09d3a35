#include "schema/check.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/text_hash.h"
#include "schema/matcher.h"

namespace anemone {
namespace {

constexpr uint64_t kSampleExperts = 2;

// "x & y" and "!x": what one says, the other denies.
bool AreOpposite(std::string_view a, std::string_view b) {
  const auto denies = [](std::string_view x, std::string_view y) { return y.starts_with('!') && y.substr(1) == x; };
  const std::vector<std::string_view> others = SplitAt(b, '&');
  return std::ranges::any_of(SplitAt(a, '&'), [&](std::string_view x) {
    return std::ranges::any_of(others, [&](std::string_view y) { return denies(x, y) || denies(y, x); });
  });
}

// Rows of two towers whose layers are counted on, and a table with its copy on another stage, share a name.
bool AreApart(const StoredRow& a, const StoredRow& b) {
  const bool is_copy =
      a.name == b.name && a.canonical == b.canonical && (a.stage == Stage::kTiedCopy) != (b.stage == Stage::kTiedCopy);
  return a.first_layer != b.first_layer || is_copy;
}

// The symbols that a tower's ranks are divided by.
std::vector<std::string_view> SymbolsOf(Split split) {
  switch (split) {
    case Split::kReplicated:
    case Split::kColumns:
    case Split::kRows:
      return {};
    case Split::kVocab:
      return {"vocab", "padded_vocab"};
    case Split::kQkv:
      return {"heads", "groups", "qkv_stacked"};
    case Split::kKeyValue:
      return {"heads", "qkv_stacked"};
    case Split::kGlu:
      return {"glu"};
    case Split::kExpertColumns:
      return {"glu", "experts"};
    case Split::kExpertRows:
      return {"experts"};
  }
  return {};
}

class Checker {
 public:
  Checker(const std::vector<Symbol>& symbols, const std::vector<CanonicalRow>& canonical, const Dialect& dialect)
      : canonical_(canonical), dialect_(dialect), matcher_(dialect) {
    for (const Symbol& symbol : symbols) kinds_.emplace(symbol.name, symbol.kind);
    for (const std::string_view flag : {"extra_state", "virtual"}) kinds_.emplace(flag, Symbol::Kind::kFlag);
    for (const CanonicalRow& row : canonical) by_name_.emplace(row.name, &row);
  }

  Status Run() {
    if (by_name_.size() != canonical_.size()) return Internal("expected canonical names to differ, found one twice");
    if (dialect_.prefixes.empty()) return Internal(fmt::format("{}: expected a prefix, found none", dialect_.name));
    for (const CanonicalRow& row : canonical_) ANEMONE_TRY(Check(row).In(row.name));
    for (size_t r = 0; r < dialect_.rows.size(); ++r) {
      ANEMONE_TRY(CheckSymbols(r).In(dialect_.rows[r].name).In(dialect_.name));
      ANEMONE_TRY(CheckForm(r).In(dialect_.rows[r].name).In(dialect_.name));
      ANEMONE_TRY(CheckAlone(r).In(dialect_.rows[r].name).In(dialect_.name));
    }
    for (const OmittedPrefix& omitted : dialect_.omitted)
      ANEMONE_TRY(Names(omitted.when, false).In(omitted.prefix).In(dialect_.name));
    ANEMONE_TRY(Names(dialect_.never, false).In("never").In(dialect_.name));
    return CheckAllWritten();
  }

 private:
  // Every name in a shape or a condition is declared, and no layer's flag where no layer is known.
  Status Names(std::string_view text, bool in_layer) const {
    for (const std::string_view name : SymbolsIn(text)) {
      const auto it = kinds_.find(name);
      if (it == kinds_.end())
        return Internal(fmt::format("'{}': expected a symbol that the family declares, found '{}'", text, name));
      if (!in_layer && it->second == Symbol::Kind::kLayerFlag)
        return Internal(
            fmt::format("'{}': expected symbols of the whole model, found the layers' flag '{}'", text, name));
    }
    return {};
  }
  Status Needs(std::string_view tower, std::string_view key) const {
    return key.empty() ? Status() : Names(InTower(tower, key), false);
  }

  Status Check(const CanonicalRow& row) const {
    const bool in_layer = Pattern(row.name).has_layer();
    if (row.name.find("{T}") != std::string::npos) return Internal("expected the tower's name, found {T}");
    ANEMONE_TRY(Names(row.when, in_layer));
    ANEMONE_TRY(Names(row.shape, false));
    ANEMONE_TRY(Names(row.tied, false));
    if (in_layer) ANEMONE_TRY(Needs(row.tower, "layers"));
    if (row.copy_of.empty() != row.tied.empty()) return Internal("expected copy_of and tied, or neither");
    if (!row.copy_of.empty() && !by_name_.contains(row.copy_of))
      return Internal(fmt::format("expected a canonical row {}, found none", row.copy_of));
    if (row.made.has_value() == row.why.empty()) return Internal("expected what is made to say why");
    return {};
  }

  Status CheckSymbols(size_t index) const {
    const StoredRow& row = dialect_.rows[index];
    const Pattern& pattern = matcher_.pattern(index);
    ANEMONE_TRY(Names(row.when, pattern.has_layer()));
    for (const std::string* text : {&row.only, &row.shape, &row.parts, &row.first_layer})
      ANEMONE_TRY(Names(*text, false));
    if (pattern.has_layer()) ANEMONE_TRY(Needs(row.tower, "layers"));
    if (pattern.has_experts()) ANEMONE_TRY(Needs(row.tower, "experts"));
    for (const std::string_view key : row.transform->symbols) ANEMONE_TRY(Needs(row.tower, key));
    if (!dialect_.is_megatron) return {};
    for (const std::string_view key : SymbolsOf(row.split)) ANEMONE_TRY(Needs(row.tower, key));
    return {};
  }

  Status CheckForm(size_t index) {
    const StoredRow& row = dialect_.rows[index];
    const Pattern& pattern = matcher_.pattern(index);
    if (row.name.find("{T}") != std::string::npos || row.canonical.find("{T}") != std::string::npos)
      return Internal("expected the tower's name, found {T}");
    const bool carries = row.role == Role::kTensor;
    const bool is_copy = row.role == Role::kDropCopy || row.role == Role::kCopy;
    if ((carries || is_copy) != !row.canonical.empty())
      return Internal("expected a canonical name exactly where a tensor is carried");
    const bool drops = !carries && row.role != Role::kExtraState;
    if (drops && row.why.empty()) return Internal("expected a drop to say why");
    if (row.transform == &kReshape && row.shape.empty() && row.when != kReadOnly && !by_name_.contains(row.canonical))
      return Internal("expected a reshape to say the stored shape");
    if (!row.canonical.empty()) {
      const auto owner = by_name_.find(row.canonical);
      if (owner == by_name_.end())
        return Internal(fmt::format("expected a canonical row {}, found none", row.canonical));
      if (!is_copy && Pattern(row.canonical).has_layer() != pattern.has_layer())
        return Internal("expected the same captures as its canonical row");
      if (!is_copy && owner->second->tower != row.tower) return Internal("expected the tower of its canonical row");
    }
    if (carries && row.when != kReadOnly && row.stage != Stage::kTiedCopy) written_.insert(row.canonical);
    if (carries && pattern.has_parts() != row.transform->takes_parts)
      return Internal("expected parts exactly where the transform takes parts");
    if (!row.parts.empty() && (row.transform != &kStack || SplitAt(row.parts, '|').size() != pattern.num_words()))
      return Internal(fmt::format("parts: expected one of each of {} words of a stack, found '{}'", pattern.num_words(),
                                  row.parts));
    return {};
  }

  // No name may match two rows: every row's own spellings must lead back to it alone.
  Status CheckAlone(size_t index) const {
    const StoredRow& row = dialect_.rows[index];
    const Pattern& pattern = matcher_.pattern(index);
    for (size_t part = 0; part < pattern.num_parts(kSampleExperts); ++part) {
      for (const uint64_t layer : {uint64_t{0}, uint64_t{17}}) {
        const std::string sample = pattern.Fill(layer, part);
        for (size_t other = 0; other < dialect_.rows.size(); ++other) {
          if (AreOpposite(row.only, dialect_.rows[other].only) || AreApart(row, dialect_.rows[other])) continue;
          const auto hit = matcher_.pattern(other).Match(sample);
          if ((other == index) != hit.has_value())
            return Internal(fmt::format("expected {} to match it alone, found {}", sample, dialect_.rows[other].name));
          if (hit && (hit->part != part || (pattern.has_layer() && hit->layer != layer)))
            return Internal("expected to read back what was filled in");
        }
      }
    }
    return {};
  }

  Status CheckAllWritten() const {
    for (const CanonicalRow& row : canonical_) {
      const auto conditions = SplitAt(row.when, '&');
      const std::vector<std::string_view> foreign = SplitAt(dialect_.never, ',');
      const bool never =
          !dialect_.never.empty() && std::any_of(conditions.begin(), conditions.end(), [&](auto condition) {
            return std::find(foreign.begin(), foreign.end(), condition) != foreign.end();
          });
      if (!never && !row.made && !written_.contains(row.name))
        return Internal(fmt::format("{}: expected a row that writes {}, found none", dialect_.name, row.name));
    }
    return {};
  }

  const std::vector<CanonicalRow>& canonical_;
  const Dialect& dialect_;
  const NameMatcher matcher_;
  std::map<std::string, Symbol::Kind, std::less<>> kinds_;
  internal::TextViewMap<const CanonicalRow*> by_name_;
  internal::TextViewSet written_;
};

}  // namespace

Status CheckTable(const std::vector<Symbol>& symbols, const std::vector<CanonicalRow>& canonical,
                  const Dialect& dialect) {
  return Checker(symbols, canonical, dialect).Run();
}

}  // namespace anemone
