#include "adapter/adapter_merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "adapter/adapter.h"
#include "source/source.h"
#include "tensor/product.h"
#include "tensor/same.h"

namespace anemone {
namespace {

class Merger {
 public:
  Merger(const ModelIdentity& model, const ModelSymbols& symbols, Checkpoint* base)
      : model_(model), symbols_(symbols), base_(base) {}

  // Adds the deltas of one spelling's modules.
  Status Add(const Adapter::Modules& modules, const Dialect& spelling) {
    ANEMONE_ASSIGN(const NameMatcher from, NameMatcher(spelling).For(symbols_));
    ANEMONE_ASSIGN(const std::vector<AdaptedRow> rows, RowsOf(modules, from, *model_.family, symbols_));
    for (const AdaptedRow& row : rows) ANEMONE_TRY(AddRow(from.row(row.row), row));
    count_ += modules.size();
    return {};
  }

  // The base must hold the same bytes as the copies of its weights that the adapter brings along.
  Status CheckBases(const Adapter::Bases& bases, const Dialect& spelling) {
    ANEMONE_ASSIGN(const NameMatcher from, NameMatcher(spelling).For(symbols_));
    for (const auto& [name, stored] : bases) {
      const auto hit = from.Match(name);
      const StateDict::Item* own = nullptr;
      if (hit) {
        ANEMONE_ASSIGN(const std::optional<size_t> row, RowInBase(from.row(hit->row).canonical, 0));
        if (row) own = base_->weights().Find(prefix_ + into_->StoredName(*row, 0, 0));
      }
      bool is_same = own != nullptr && own->tensor() != nullptr;
      if (is_same) {
        ANEMONE_ASSIGN(const Tensor cast, own->tensor()->Cast(stored.dtype()));
        ANEMONE_ASSIGN(is_same, SameBytes(cast, stored));
      }
      if (!is_same) {
        return Unsupported(fmt::format("{}: expected the base's, which the adapter has as well, found another", name),
                           "the adapter was trained with other embeddings, of more tokens perhaps: "
                           "peft's merge_and_unload() makes a whole model of both");
      }
    }
    return {};
  }

  // Puts the sums in their places.
  Status Finish() {
    StateDict weights;
    for (const StateDict::Item& item : base_->weights().items()) {
      const auto found = merged_.find(item.name);
      ANEMONE_TRY(weights.Add(item.name, found == merged_.end() ? item.entry : Entry(found->second)));
    }
    base_->weights() = std::move(weights);
    return {};
  }

  uint64_t count() const { return count_; }

 private:
  // A canonical tensor's delta, of the parts that are adapted; the others change nothing.
  Status AddRow(const StoredRow& row, const AdaptedRow& adapted) {
    Parts whole;
    for (size_t part = 0; part < adapted.parts.size(); ++part) {
      const LowRank* low = adapted.parts[part];
      if (low == nullptr) {
        ANEMONE_ASSIGN(Tensor none, Tensor::Fill(DType::kF64, adapted.shapes[part], 0));
        whole.push_back(std::move(none));
        continue;
      }
      ANEMONE_ASSIGN(Tensor delta, Product(low->out, low->in, low->scale));
      if (IsTransposed(row)) {
        ANEMONE_ASSIGN(delta, delta.Permute({1, 0}));
      }
      whole.push_back(std::move(delta));
    }
    ANEMONE_ASSIGN(const Tensor delta, row.transform->forward(whole, adapted.shape, TransformContext{symbols_, row}));
    return AddToBase(*adapted.canonical, adapted.layer, delta);
  }

  Status AddToBase(const CanonicalRow& canonical, uint64_t layer, const Tensor& delta) {
    ANEMONE_ASSIGN(const std::optional<size_t> found, RowInBase(canonical.name, layer));
    if (!found)
      return Corrupt(fmt::format("expected the base to have layer {} of {}, found none", layer, canonical.name));
    const StoredRow& row = into_->row(*found);
    const TransformContext context{symbols_, row};
    ANEMONE_ASSIGN(const std::vector<Shape> shapes,
                   row.transform->stored_shapes(delta.shape(), into_->num_parts(*found), context));
    ANEMONE_ASSIGN(const Parts parts, row.transform->inverse(delta, shapes, context));
    for (size_t part = 0; part < parts.size(); ++part)
      ANEMONE_TRY(AddTo(prefix_ + into_->StoredName(*found, layer, part), parts[part]));
    return {};
  }

  // The row of the base's own spelling that a canonical tensor is stored by; nullopt where the base does not have it.
  Result<std::optional<size_t>> RowInBase(const std::string& canonical, uint64_t layer) {
    if (!into_) {
      ANEMONE_ASSIGN(into_, NameMatcher(*model_.dialect).For(symbols_));
      prefix_ = into_->BestPrefix(base_->weights()).prefix;
    }
    for (size_t r = 0; r < model_.dialect->rows.size(); ++r) {
      const StoredRow& row = into_->row(r);
      if (row.canonical != canonical || row.role != Role::kTensor || !into_->is_active(r)) continue;
      if (base_->weights().Find(prefix_ + into_->StoredName(r, layer, 0)) != nullptr) return std::optional(r);
    }
    return std::optional<size_t>();
  }

  Status AddTo(const std::string& name, const Tensor& delta) {
    const StateDict::Item* item = base_->weights().Find(name);
    if (item == nullptr || item->tensor() == nullptr)
      return Corrupt(fmt::format("{}: expected the tensor that is adapted, found none", name));
    const auto before = merged_.find(name);
    ANEMONE_ASSIGN(Tensor sum, Sum(before == merged_.end() ? *item->tensor() : before->second, delta));
    merged_.insert_or_assign(name, std::move(sum));
    return {};
  }

  const ModelIdentity& model_;
  const ModelSymbols& symbols_;
  Checkpoint* base_;
  std::map<std::string, Tensor> merged_;
  std::optional<NameMatcher> into_;
  std::string prefix_;
  uint64_t count_ = 0;
};

bool HasAll(const NameMatcher& names, const Adapter::Modules& modules) {
  return std::ranges::all_of(modules, [&](const auto& module) { return names.Match(module.first).has_value(); });
}

// The spelling of an adapter's names in Hugging Face: the base's own, the one that such a model has, or another, as
// PEFT calls modules by their places in the class that it adapts, and versions of transformers differ in these.
Result<const Dialect*> HfSpellingOf(const Adapter::Modules& modules, const ModelIdentity& model,
                                    const ModelSymbols& symbols, const Checkpoint& base) {
  const Dialect* own = model.dialect;
  if (own->is_megatron) {
    ANEMONE_ASSIGN(own, DialectFor(base, model, ConfigLanguage::kHuggingFace, {}));
  }
  if (own == nullptr)
    return Unsupported(fmt::format("expected names of a {} in NeMo, found Hugging Face's", model.family->title));
  std::vector<const Dialect*> spellings = {own};
  for (const Dialect& other : model.family->dialects) {
    ANEMONE_ASSIGN(const bool can, CanSpell(other, symbols));
    if (can && !other.is_megatron) spellings.push_back(&other);
  }
  for (const Dialect* spelling : spellings) {
    ANEMONE_ASSIGN(const NameMatcher names, NameMatcher(*spelling).For(symbols));
    if (HasAll(names, modules)) return spelling;
  }
  return own;
}

Result<const Dialect*> NemoSpellingOf(const Adapter& adapter, const ModelIdentity& model) {
  const Dialect* dialect = MegatronSpelling(adapter, *model.family);
  if (dialect != nullptr) return dialect;
  return Unsupported(fmt::format("expected names of a {} in Hugging Face, found NeMo's", model.family->title));
}

}  // namespace

Status MergeAdapter(const std::string& path, const ModelIdentity& model, const ProgressFn& progress, Checkpoint* base) {
  const auto merge = [&]() -> Status {
    ANEMONE_ASSIGN(Checkpoint opened, OpenSource(path, progress));
    if (model.family->take_parts != nullptr) {
      ANEMONE_ASSIGN(const std::optional<Checkpoint> projector, TakeProjectorOff(&opened));
      if (projector) ANEMONE_TRY(model.family->take_parts(*projector, base));
    }
    ANEMONE_ASSIGN(const Adapter adapter, ReadAdapter(opened));
    ANEMONE_ASSIGN(const ModelSymbols symbols, model.family->SymbolsOf(*base, *model.dialect, {}));
    Merger merger(model, symbols, base);
    if (!adapter.megatron.empty()) {
      ANEMONE_ASSIGN(const Dialect* spelling, NemoSpellingOf(adapter, model));
      ANEMONE_TRY(merger.Add(adapter.megatron, *spelling));
    }
    if (!adapter.hf.empty()) {
      ANEMONE_ASSIGN(const Dialect* spelling, HfSpellingOf(adapter.hf, model, symbols, *base));
      ANEMONE_TRY(merger.CheckBases(adapter.bases, *spelling));
      ANEMONE_TRY(merger.Add(adapter.hf, *spelling));
    }
    ANEMONE_TRY(merger.Finish());
    base->notes.push_back(fmt::format("merged a LoRA into {} modules: {}", merger.count(), path));
    return {};
  };
  return merge().In(path);
}

}  // namespace anemone
