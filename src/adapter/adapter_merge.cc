#include "adapter/adapter_merge.h"

#include <fmt/format.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "adapter/adapter.h"
#include "source/source.h"
#include "tensor/product.h"

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
    if (!into_) {
      ANEMONE_ASSIGN(into_, NameMatcher(*model_.dialect).For(symbols_));
      prefix_ = into_->BestPrefix(base_->weights()).prefix;
    }
    for (size_t r = 0; r < model_.dialect->rows.size(); ++r) {
      const StoredRow& row = into_->row(r);
      if (row.canonical != canonical.name || row.role != Role::kTensor || !into_->is_active(r)) continue;
      const TransformContext context{symbols_, row};
      const size_t num_parts = into_->num_parts(r);
      if (base_->weights().Find(prefix_ + into_->StoredName(r, layer, 0)) == nullptr) continue;
      ANEMONE_ASSIGN(const std::vector<Shape> shapes, row.transform->stored_shapes(delta.shape(), num_parts, context));
      ANEMONE_ASSIGN(const Parts parts, row.transform->inverse(delta, shapes, context));
      for (size_t part = 0; part < parts.size(); ++part) {
        const std::string name = prefix_ + into_->StoredName(r, layer, part);
        ANEMONE_TRY(AddTo(name, parts[part]));
      }
      return {};
    }
    return Corrupt(fmt::format("expected the base to have layer {} of {}, found none", layer, canonical.name));
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

// The spelling of an adapter's names: the base's own, or the one that such a model has in that language.
Result<const Dialect*> SpellingOf(const Adapter& adapter, bool is_hf, const ModelIdentity& model,
                                  const Checkpoint& base) {
  const Dialect* own = model.dialect;
  if (is_hf && !own->is_megatron) return own;
  if (is_hf) {
    ANEMONE_ASSIGN(const Dialect* dialect, DialectFor(base, model, ConfigLanguage::kHuggingFace, {}));
    if (dialect != nullptr) return dialect;
    return Unsupported(fmt::format("expected names of a {} in NeMo, found Hugging Face's", model.family->title));
  }
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
    for (const bool is_hf : {false, true}) {
      const Adapter::Modules& modules = is_hf ? adapter.hf : adapter.megatron;
      if (modules.empty()) continue;
      ANEMONE_ASSIGN(const Dialect* spelling, SpellingOf(adapter, is_hf, model, *base));
      ANEMONE_TRY(merger.Add(modules, *spelling));
    }
    ANEMONE_TRY(merger.Finish());
    base->notes.push_back(fmt::format("merged a LoRA into {} modules: {}", merger.count(), path));
    return {};
  };
  return merge().In(path);
}

}  // namespace anemone
