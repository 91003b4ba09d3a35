#include "schema/translate.h"

#include <algorithm>
#include <map>
#include <span>

#include <fmt/format.h>

#include "base/text_hash.h"
#include "tensor/same.h"

namespace anemone {
namespace {

Status Finish(std::vector<std::string> missing, std::vector<std::string> unexpected, const Dialect& dialect,
              bool strict, std::vector<std::string>* notes) {
  const std::string what = DescribeNames(std::move(missing), std::move(unexpected));
  if (what.empty()) return {};
  if (strict)
    return Corrupt(fmt::format("{}: {}", dialect.title, what))
        .Use("strict", "false", "convert what is there and leave the rest out");
  if (notes != nullptr) notes->push_back(what);
  return {};
}

// Lines of what was done to how many tensors, and why.
class Tally {
 public:
  explicit Tally(std::string_view what) : what_(what) {}
  void Add(const std::string& why) { ++counts_[why]; }
  void Note(std::vector<std::string>* notes) const {
    if (notes == nullptr) return;
    for (const auto& [why, count] : counts_)
      notes->push_back(fmt::format("{} {} tensor{}: {}", what_, count, count == 1 ? "" : "s", why));
  }

 private:
  std::string_view what_;
  std::map<std::string, uint64_t> counts_;
};

// Of each of the dialect's rows, the place of the canonical row that it is named after; none: `canonical.size()`.
std::vector<size_t> CanonicalRowsOf(const Dialect& dialect, const std::vector<CanonicalRow>& canonical) {
  internal::TextViewMap<size_t> by_name;
  for (size_t row = 0; row < canonical.size(); ++row) by_name.emplace(canonical[row].name, row);
  std::vector<size_t> rows;
  for (const StoredRow& row : dialect.rows) {
    const auto found = by_name.find(row.canonical);
    rows.push_back(found == by_name.end() ? canonical.size() : found->second);
  }
  return rows;
}

std::vector<Pattern> PatternsOf(const std::vector<CanonicalRow>& rows) {
  std::vector<Pattern> patterns;
  patterns.reserve(rows.size());
  for (const CanonicalRow& row : rows) patterns.emplace_back(row.name);
  return patterns;
}

class Canonicalizer {
 public:
  Canonicalizer(const NameMatcher& names, const std::string& prefix, const std::vector<CanonicalRow>& canonical,
                const ModelSymbols& symbols)
      : names_(names),
        prefix_(prefix),
        canonical_(canonical),
        patterns_(PatternsOf(canonical)),
        symbols_(symbols),
        canonical_rows_(CanonicalRowsOf(names.dialect(), canonical)) {}

  Result<StateDict> Run(const StateDict& stored, bool strict, std::vector<std::string>* notes) {
    found_.reserve(stored.size());
    for (const StateDict::Item& item : stored.items()) ANEMONE_TRY(Gather(item));
    std::ranges::stable_sort(found_, {}, &Found::target);
    for (size_t i = 1; i < found_.size(); ++i) ANEMONE_TRY(CheckSpelling(found_[i - 1], found_[i]));
    ANEMONE_TRY(ForEachCanonical(
        canonical_, [this](const std::string& tower) { return symbols_.Of(tower, "layers"); },
        [this](size_t row, uint64_t layer) { return Build(row, layer); }));
    for (const Found& found : found_) {
      if (!found.is_taken) unexpected_.push_back(found.item->name);
    }
    ANEMONE_TRY(CheckCopies());
    ANEMONE_TRY(Finish(std::move(missing_), std::move(unexpected_), names_.dialect(), strict, notes));
    dropped_.Note(notes);
    made_.Note(notes);
    widened_.Note(notes);
    return std::move(result_);
  }

 private:
  // A canonical tensor: its row's place, and its layer.
  using Target = std::pair<size_t, uint64_t>;
  // A part of one: the row that spells it here, and the stored tensor.
  struct Found {
    Target target;
    uint32_t row = 0;
    bool is_taken = false;
    size_t part = 0;
    const StateDict::Item* item = nullptr;
  };
  struct Copy {
    const StateDict::Item* item;
    std::string original;
  };

  static Status CheckDropped(Role role, const std::string& why, const StateDict::Item& item) {
    if (role == Role::kDrop || item.tensor() == nullptr) return {};
    const bool is_count = role == Role::kDropCount;
    ANEMONE_ASSIGN(const bool has_nothing, is_count ? CountsUp(*item.tensor()) : IsZero(*item.tensor()));
    if (has_nothing) return {};
    if (!is_count) return Unsupported(fmt::format("{}: {}", item.name, why));
    return Unsupported(fmt::format("{}: expected 0, 1, 2, …, found other values: {}", item.name, why),
                       "set them to torch.arange, or leave the tensor out");
  }

  // A stored name → its place among the parts of a canonical tensor, or among what is dropped.
  Status Gather(const StateDict::Item& item) {
    const auto hit = names_.Match(item.name, prefix_);
    if (!hit) {
      unexpected_.push_back(item.name);
      return {};
    }
    const StoredRow& row = names_.row(hit->row);
    if (row.role == Role::kExtraState) return {};
    if (row.role == Role::kDrop || row.role == Role::kDropZeros || row.role == Role::kDropCount) {
      ANEMONE_TRY(CheckDropped(row.role, row.why, item));
      dropped_.Add(row.why);
      return {};
    }
    if (item.tensor() == nullptr)
      return Corrupt(fmt::format("{}: expected a tensor, found an opaque object", item.name));
    if (row.role == Role::kDropCopy || row.role == Role::kCopy || row.stage == Stage::kTiedCopy) {
      copies_.push_back({&item, names_.CanonicalName(hit->row, hit->captures.layer)});
      if (!row.why.empty()) dropped_.Add(row.why);
      return {};
    }
    const size_t target = canonical_rows_[hit->row];
    const bool has_layer = target < patterns_.size() && patterns_[target].has_layer();
    found_.push_back({{target, has_layer ? hit->captures.layer.value_or(0) : 0},
                      static_cast<uint32_t>(hit->row),
                      false,
                      hit->captures.part,
                      &item});
    return {};
  }

  std::span<Found> FoundOf(Target target) {
    const auto first = std::ranges::lower_bound(found_, target, {}, &Found::target);
    return {first, std::ranges::upper_bound(first, found_.end(), target, {}, &Found::target)};
  }

  // All parts of a canonical tensor are spelled by one row.
  Status CheckSpelling(const Found& first, const Found& next) const {
    if (first.target != next.target || first.row == next.row) return {};
    return Corrupt(fmt::format("{}: expected one spelling, found also {}", next.item->name,
                               names_.StoredName(first.row, first.target.second, 0)));
  }

  // The first row that this model's canonical row would be written as: what a missing tensor is called.
  Result<std::optional<size_t>> RowOf(const CanonicalRow& row, std::optional<uint64_t> layer) const {
    std::optional<size_t> any;
    const Dialect& dialect = names_.dialect();
    for (size_t r = 0; r < dialect.rows.size(); ++r) {
      const StoredRow& stored = dialect.rows[r];
      if (stored.canonical != row.name || stored.role != Role::kTensor || stored.stage == Stage::kTiedCopy ||
          !names_.is_active(r))
        continue;
      ANEMONE_ASSIGN(const bool is_written, symbols_.Holds(stored.when, layer));
      if (is_written) return std::optional(r);
      if (!any) any = r;
    }
    return any;
  }

  // One canonical tensor, of the parts that were found.
  Status Build(size_t index, uint64_t layer) {
    const CanonicalRow& row = canonical_[index];
    const auto in_layer = patterns_[index].has_layer() ? std::optional(layer) : std::nullopt;
    ANEMONE_ASSIGN(const bool has, symbols_.Holds(row.when, in_layer));
    if (!has) return {};
    std::string name = patterns_[index].Fill(layer, 0);
    const std::span<Found> found = FoundOf({index, in_layer.value_or(0)});
    if (found.empty() && row.made) return Make(row, name);
    std::optional<size_t> spelling;
    if (!found.empty()) {
      spelling = found.front().row;
    } else {
      ANEMONE_ASSIGN(spelling, RowOf(row, in_layer));
    }
    if (!spelling)
      return Internal(fmt::format("expected {} to spell {}, found no row", names_.dialect().title, row.name));
    std::vector<const StateDict::Item*> parts(names_.num_parts(*spelling));
    for (Found& part : found) {
      part.is_taken = part.part < parts.size();
      if (part.is_taken) parts[part.part] = part.item;
    }
    bool complete = true;
    for (size_t part = 0; part < parts.size(); ++part) {
      if (parts[part] != nullptr) continue;
      missing_.push_back(prefix_ + names_.StoredName(*spelling, layer, part));
      complete = false;
    }
    return complete ? Join(row, *spelling, std::move(name), parts) : Status();
  }

  Status Join(const CanonicalRow& row, size_t spelling, std::string name,
              const std::vector<const StateDict::Item*>& found) {
    const StoredRow& stored = names_.row(spelling);
    const Transform& transform = *stored.transform;
    const TransformContext context{symbols_, stored};
    ANEMONE_ASSIGN(const Shape shape, symbols_.Evaluate(row.shape));
    const auto shapes = transform.stored_shapes(shape, found.size(), context);
    if (!shapes.ok()) return shapes.status().In(found.front()->name);
    Parts parts;
    for (size_t part = 0; part < found.size(); ++part) {
      const Tensor& tensor = *found[part]->tensor();
      const Shape& expected = (*shapes)[part];
      const bool also = transform.also_reads != nullptr && transform.also_reads(tensor.shape(), expected, shape);
      if (tensor.shape() != expected && !also) {
        return Corrupt(fmt::format("{}: expected shape {} by the config, found {}", found[part]->name,
                                   ToString(expected), ToString(tensor.shape())));
      }
      parts.push_back(tensor);
    }
    ANEMONE_TRY(WidenUnlike(&parts).In(found.front()->name));
    auto tensor = transform.forward(parts, shape, context);
    if (!tensor.ok()) return tensor.status().In(found.front()->name);
    return result_.Add(std::move(name), *std::move(tensor));
  }

  // Parts of one tensor in the dtype that holds the values of all, as torch.cat has them.
  Status WidenUnlike(Parts* parts) {
    const auto is_unlike = [&](const Tensor& part) { return part.dtype() != parts->front().dtype(); };
    if (std::ranges::none_of(*parts, is_unlike)) return {};
    constexpr DType kNarrow[] = {DType::kF16, DType::kBF16, DType::kF32};
    for (const Tensor& part : *parts) {
      if (std::ranges::find(kNarrow, part.dtype()) == std::end(kNarrow)) return {};  // which is an error
    }
    for (Tensor& part : *parts) {
      if (part.dtype() == DType::kF32) continue;
      ANEMONE_ASSIGN(part, part.Cast(DType::kF32));
      widened_.Add("others that one tensor is made of have another dtype");
    }
    return {};
  }

  // In the dtype of the model's other tensors.
  Status Make(const CanonicalRow& row, const std::string& name) {
    DType dtype = DType::kF32;
    for (const auto& item : result_.items()) {
      if (item.tensor() != nullptr) dtype = item.tensor()->dtype();
    }
    ANEMONE_ASSIGN(const Shape shape, symbols_.Evaluate(row.shape));
    ANEMONE_ASSIGN(Tensor tensor, Tensor::Fill(dtype, shape, *row.made));
    made_.Add(row.why);
    return result_.Add(name, std::move(tensor));
  }

  Status CheckCopies() {
    for (const Copy& copy : copies_) {
      const StateDict::Item* original = result_.Find(copy.original);
      if (original == nullptr) {
        unexpected_.push_back(copy.item->name);
        continue;
      }
      ANEMONE_ASSIGN(const bool same, SameBytes(*copy.item->tensor(), *original->tensor()));
      if (!same)
        return Corrupt(
            fmt::format("{}: expected a copy of what {} is, found other values", copy.item->name, copy.original));
    }
    return {};
  }

  const NameMatcher& names_;
  const std::string& prefix_;
  const std::vector<CanonicalRow>& canonical_;
  const std::vector<Pattern> patterns_;
  const ModelSymbols& symbols_;
  const std::vector<size_t> canonical_rows_;
  std::vector<Found> found_;  // by target, once all are gathered
  std::vector<Copy> copies_;
  std::vector<std::string> missing_, unexpected_;
  Tally dropped_{"left out"}, made_{"made"}, widened_{"widened to fp32"};
  StateDict result_;
};

class DialectWriter {
 public:
  DialectWriter(const StateDict& canonical, const NameMatcher& names, const std::vector<CanonicalRow>& table,
                const ModelSymbols& symbols)
      : canonical_(canonical), names_(names), table_(table), symbols_(symbols), is_written_(canonical.size()) {
    for (const CanonicalRow& row : table) by_name_.emplace(row.name, &row);
  }

  Result<StateDict> Run(bool strict, std::vector<std::string>* notes) {
    std::map<std::string, uint64_t> layers;
    for (const StoredRow& row : names_.dialect().rows) {
      if (row.name.find("{i}") == std::string::npos || layers.contains(row.tower)) continue;
      ANEMONE_ASSIGN(layers[row.tower], symbols_.Of(row.tower, "layers"));
    }
    ANEMONE_TRY(ForEachStored(
        names_.dialect(), [&](const std::string& tower) { return layers[tower]; },
        [this](size_t row, uint64_t layer) { return Write(row, layer); }));
    std::vector<std::string> unexpected;
    Tally left{"left out"};
    for (const StateDict::Item& item : canonical_.items()) {
      if (is_written_[PlaceOf(item)]) continue;
      const CanonicalRow* made = MadeRow(item.name);
      ANEMONE_ASSIGN(const bool says_nothing, made == nullptr ? Result<bool>(false)
                                              : made->is_idle ? Result<bool>(true)
                                                              : IsAsMade(*made, item));
      if (says_nothing) {
        left.Add(made->why);
      } else {
        unexpected.push_back(item.name);
      }
    }
    ANEMONE_TRY(Finish(std::move(missing_), std::move(unexpected), names_.dialect(), strict, notes));
    left.Note(notes);
    return std::move(result_);
  }

 private:
  Status Write(size_t index, uint64_t layer) {
    const StoredRow& row = names_.row(index);
    const Pattern& pattern = names_.pattern(index);
    if (!names_.is_active(index) || row.stage == Stage::kTiedCopy) return {};
    if (row.role != Role::kTensor && row.role != Role::kExtraState && row.role != Role::kCopy) return {};
    const auto in_layer = pattern.has_layer() ? std::optional(layer) : std::nullopt;
    ANEMONE_ASSIGN(const bool is_written, symbols_.Holds(row.when, in_layer));
    if (!is_written) return {};
    const std::string& prefix = names_.dialect().prefixes.front();
    if (row.role == Role::kExtraState) {
      ANEMONE_ASSIGN(const bool wanted, symbols_.Holds("extra_state"));
      for (size_t part = 0; part < names_.num_parts(index) && wanted; ++part) {
        ANEMONE_TRY(result_.Add(prefix + names_.StoredName(index, layer, part), Opaque{}));
      }
      return {};
    }
    const auto owner = by_name_.find(row.canonical);
    if (owner == by_name_.end()) return Internal(fmt::format("expected a canonical row {}, found none", row.canonical));
    ANEMONE_ASSIGN(const bool has, symbols_.Holds(owner->second->when, in_layer));
    if (!has) return {};
    const std::string source = names_.CanonicalName(index, layer);
    const StateDict::Item* item = canonical_.Find(source);
    if (item == nullptr) {
      missing_.push_back(source);
      return {};
    }
    is_written_[PlaceOf(*item)] = true;
    const TransformContext context{symbols_, row};
    const auto shapes = row.transform->stored_shapes(item->tensor()->shape(), names_.num_parts(index), context);
    if (!shapes.ok()) return shapes.status().In(source);
    auto parts = row.transform->inverse(*item->tensor(), *shapes, context);
    if (!parts.ok()) return parts.status().In(source);
    for (size_t part = 0; part < parts->size(); ++part) {
      ANEMONE_TRY(result_.Add(prefix + names_.StoredName(index, layer, part), std::move((*parts)[part])));
    }
    return {};
  }

  size_t PlaceOf(const StateDict::Item& item) const { return static_cast<size_t>(&item - canonical_.items().data()); }
  const CanonicalRow* MadeRow(const std::string& name) const {
    for (const CanonicalRow& row : table_) {
      if (row.made && Pattern(row.name).Match(name)) return &row;
    }
    return nullptr;
  }
  static Result<bool> IsAsMade(const CanonicalRow& row, const StateDict::Item& item) {
    ANEMONE_ASSIGN(const Tensor made, Tensor::Fill(item.tensor()->dtype(), item.tensor()->shape(), *row.made));
    return SameBytes(*item.tensor(), made);
  }

  const StateDict& canonical_;
  const NameMatcher& names_;
  const std::vector<CanonicalRow>& table_;
  const ModelSymbols& symbols_;
  internal::TextViewMap<const CanonicalRow*> by_name_;
  std::vector<bool> is_written_;  // by place
  std::vector<std::string> missing_;
  StateDict result_;
};

}  // namespace

Result<StateDict> Canonicalize(const StateDict& stored, const NameMatcher& names, const std::string& prefix,
                               const std::vector<CanonicalRow>& canonical, const ModelSymbols& symbols, bool strict,
                               std::vector<std::string>* notes) {
  return Canonicalizer(names, prefix, canonical, symbols).Run(stored, strict, notes);
}

Result<StateDict> Canonicalize(const StateDict& stored, const Dialect& dialect,
                               const std::vector<CanonicalRow>& canonical, const ModelSymbols& symbols, bool strict,
                               std::vector<std::string>* notes) {
  ANEMONE_ASSIGN(const NameMatcher names, NameMatcher(dialect).For(symbols));
  return Canonicalize(stored, names, names.BestPrefix(stored).prefix, canonical, symbols, strict, notes);
}

Result<StateDict> FromCanonical(const StateDict& canonical, const NameMatcher& names,
                                const std::vector<CanonicalRow>& table, const ModelSymbols& symbols, bool strict,
                                std::vector<std::string>* notes) {
  return DialectWriter(canonical, names, table, symbols).Run(strict, notes);
}

Result<StateDict> FromCanonical(const StateDict& canonical, const Dialect& dialect,
                                const std::vector<CanonicalRow>& table, const ModelSymbols& symbols, bool strict,
                                std::vector<std::string>* notes) {
  ANEMONE_ASSIGN(const NameMatcher names, NameMatcher(dialect).For(symbols));
  return FromCanonical(canonical, names, table, symbols, strict, notes);
}

Result<std::vector<Shape>> StoredShapes(const StoredRow& row, const CanonicalRow& canonical, size_t num_parts,
                                        const ModelSymbols& symbols) {
  ANEMONE_ASSIGN(const Shape shape, symbols.Evaluate(canonical.shape));
  return row.transform->stored_shapes(shape, num_parts, {symbols, row});
}

}  // namespace anemone
