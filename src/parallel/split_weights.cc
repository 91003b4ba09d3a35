#include "parallel/split_weights.h"

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "parallel/rank_states.h"
#include "parallel/slices.h"

namespace anemone {
namespace {

// One rank's slice of a whole tensor.
Result<Tensor> SliceOf(const Tensor& whole, const StoredRow& row, const ModelSymbols& dims, const Layout& layout,
                       PipelinePlace place, int tp_rank) {
  ANEMONE_ASSIGN(const size_t sections, Sections(row, dims));
  const size_t axis = AxisOf(row.split);
  if (!HoldsExperts(row.split)) return sections == 0 ? whole : Cut(whole, axis, sections, layout.tp, tp_rank);
  const bool by_rows = row.split == Split::kExpertRows;
  ANEMONE_ASSIGN(const uint64_t experts, NumExperts(dims));
  const uint64_t local = experts / static_cast<uint64_t>(layout.ep);
  ANEMONE_ASSIGN(const Tensor cube, CubeOf(whole, experts, by_rows));
  ANEMONE_ASSIGN(const Tensor own, cube.Narrow(0, static_cast<uint64_t>(place.expert) * local, local));
  ANEMONE_ASSIGN(const Tensor slice, Cut(own, axis, sections, layout.tp, tp_rank));
  return MatrixOf(slice, by_rows);
}

class Cutter {
 public:
  // `keeps`: the slices, which otherwise are only tried.
  Cutter(const StateDict& whole, const ResolvedModel& model, PipelineRanges& ranges, const Layout& layout, bool keeps)
      : whole_(whole),
        dialect_(*model.dialect),
        naming_(model.names),
        dims_(model.symbols),
        ranges_(ranges),
        layout_(layout),
        keeps_(keeps),
        pieces_(static_cast<size_t>(layout.pp) * static_cast<size_t>(layout.vp)),
        stored_prefix_(model.names.BestPrefix(whole).prefix),
        prefix_(layout.vp > 1 ? std::string() : model.dialect->prefixes.front()),
        places_(whole.size()) {}

  Result<std::vector<Shard>> Run(std::vector<std::string>* notes) {
    MakeShards();
    ANEMONE_ASSIGN(experts_, NumExperts(dims_));
    for (size_t piece = 0; piece < pieces_; ++piece) {
      const auto layers_of = [&](const std::string& tower) { return ranges_[tower][piece].size(); };
      ANEMONE_TRY(
          ForEachStored(dialect_, layers_of, [&](size_t row, uint64_t layer) { return CutRow(piece, row, layer); }));
    }
    ANEMONE_TRY(CheckPlaces());
    NoteDroppedStates(dropped_states_, notes);
    return std::move(shards_);
  }

 private:
  // On how many pieces of the pipeline a tensor lies: on one, or on every one; copies are not counted.
  struct Places {
    uint32_t own = 0, shared = 0;
    bool is_used = false;
  };

  void MakeShards() {
    for (int stage = 0; stage < layout_.pp; ++stage) {
      for (int rank = 0; rank < layout_.tp * layout_.ep; ++rank) {
        Shard& shard = shards_.emplace_back();
        shard.tp_rank = rank % layout_.tp;
        shard.ep_rank = rank / layout_.tp;
        shard.pp_rank = stage;
        if (layout_.vp > 1) shard.chunks.resize(static_cast<size_t>(layout_.vp));
      }
    }
  }

  static bool IsEverywhere(const StoredRow& row) { return row.stage == Stage::kEvery || row.stage == Stage::kLayer; }

  // Whether a row without a layer is on this piece. Others are where their layers are.
  Result<bool> IsOn(size_t piece, const StoredRow& row) {
    if (IsEverywhere(row)) return true;
    const Span span = SpanOf(ranges_, row.tower, pieces_);
    bool copied = row.stage == Stage::kTiedCopy && span.first != span.last;
    if (copied) {
      ANEMONE_ASSIGN(copied, dims_.Holds(row.when));
    }
    return (row.stage == Stage::kFirst && piece == span.first) ||
           ((row.stage == Stage::kLast || copied) && piece == span.last);
  }

  Status CutRow(size_t piece, size_t r, uint64_t layer) {
    const Pattern& pattern = naming_.pattern(r);
    const StoredRow& row = dialect_.rows[r];
    if (!naming_.is_active(r)) return {};
    if (!pattern.has_layer()) {
      ANEMONE_ASSIGN(const bool is_here, IsOn(piece, row));
      if (!is_here) return {};
    }
    const uint64_t global = pattern.has_layer() ? ranges_[row.tower][piece].begin + layer : 0;
    for (size_t part = 0; part < naming_.num_parts(r); ++part) {
      const StateDict::Item* item = whole_.Find(stored_prefix_ + pattern.Fill(global, part));
      if (item == nullptr && row.stage == Stage::kTiedCopy) item = OriginalOf(row, part);
      if (item == nullptr) continue;
      Places& places = places_[static_cast<size_t>(item - whole_.items().data())];
      places.is_used = true;
      if (row.stage != Stage::kTiedCopy) ++(IsEverywhere(row) && !pattern.has_layer() ? places.shared : places.own);
      ANEMONE_TRY(CheckLaw(*item, row));
      ANEMONE_TRY(CutItem(PlaceOf(piece, layout_), *item, r, layer, part));
    }
    return {};
  }

  // A copy has its original's bytes under its own name.
  const StateDict::Item* OriginalOf(const StoredRow& row, size_t part) const {
    const StateDict::Item* item = nullptr;
    for (size_t other = 0; other < dialect_.rows.size() && item == nullptr; ++other) {
      const StoredRow& candidate = dialect_.rows[other];
      if (naming_.is_active(other) && candidate.canonical == row.canonical && candidate.stage != Stage::kTiedCopy)
        item = whole_.Find(stored_prefix_ + naming_.pattern(other).Fill(0, part));
    }
    return item;
  }

  // That slices of this size, joined, are the tensor again.
  Status CheckLaw(const StateDict::Item& item, const StoredRow& row) {
    ANEMONE_ASSIGN(const size_t sections, Sections(row, dims_));
    if (sections == 0 || item.tensor() == nullptr) return {};
    Shape shape = item.tensor()->shape();
    if (HoldsExperts(row.split)) {
      ANEMONE_ASSIGN(const Tensor cube, CubeOf(*item.tensor(), experts_, row.split == Split::kExpertRows));
      shape = cube.shape();
    }
    const size_t axis = AxisOf(row.split);
    return shape.size() > axis ? law_.Check(shape[axis], sections, layout_.tp).In(item.name) : Status();
  }

  // An expert lies on one of the expert ranks, numbered anew; everything else on all.
  Status CutItem(PipelinePlace place, const StateDict::Item& item, size_t r, uint64_t layer, size_t part) {
    const Pattern& pattern = naming_.pattern(r);
    const size_t local_experts = naming_.num_parts(r) / static_cast<size_t>(layout_.ep);
    const std::string name = prefix_ + pattern.Fill(layer, pattern.has_experts() ? part % local_experts : part);
    for (int index = 0; index < layout_.tp * layout_.ep; ++index) {
      const int rank = index % layout_.tp;
      place.expert = index / layout_.tp;
      if (pattern.has_experts() && static_cast<size_t>(place.expert) != part / local_experts) continue;
      Shard& shard = shards_[ShardIndex(layout_, place, rank)];
      StateDict& dict = layout_.vp > 1 ? shard.chunks[static_cast<size_t>(place.chunk)] : shard.weights;
      if (const Opaque* opaque = item.opaque()) {
        Opaque state = ForNewLayout(*opaque, &dropped_states_);
        if (keeps_) ANEMONE_TRY(dict.Add(name, std::move(state)));
        continue;
      }
      auto slice = SliceOf(*item.tensor(), dialect_.rows[r], dims_, layout_, place, rank);
      if (!slice.ok()) return slice.status().In(item.name);
      if (keeps_) ANEMONE_TRY(dict.Add(name, *std::move(slice)));
    }
    return {};
  }

  // That nothing is left, and nothing lies in places of its own where it should be shared.
  Status CheckPlaces() const {
    std::vector<std::string> left;
    for (size_t place = 0; place < whole_.size(); ++place) {
      const StateDict::Item& item = whole_.items()[place];
      const Places& places = places_[place];
      if (!places.is_used) {
        left.push_back(item.name);
        continue;
      }
      const bool lawful = places.shared == 0 ? places.own == 1 : places.own == 0 && places.shared == pieces_;
      if (!lawful) {
        return Corrupt(
            fmt::format("{}: expected a table that puts it on one stage, or on every one, found it on {} of {}",
                        item.name, places.own + places.shared, pieces_));
      }
    }
    const std::string what = DescribeNames({}, std::move(left));
    return what.empty() ? Status() : Corrupt(fmt::format("{}: {}", dialect_.title, what));
  }

  const StateDict& whole_;
  const Dialect& dialect_;
  const NameMatcher& naming_;
  const ModelSymbols& dims_;
  PipelineRanges& ranges_;
  const Layout& layout_;
  const bool keeps_;
  const size_t pieces_;
  const std::string stored_prefix_, prefix_;
  std::vector<Places> places_;  // of the whole's items
  uint64_t experts_ = 0, dropped_states_ = 0;
  std::vector<Shard> shards_;
  SliceLaw law_;
};

}  // namespace

Result<std::vector<Shard>> SplitWeights(const StateDict& whole, const ResolvedModel& model, PipelineRanges& ranges,
                                        const Layout& layout, std::vector<std::string>* notes) {
  return Cutter(whole, model, ranges, layout, true).Run(notes);
}

Status CheckSplitWeights(const StateDict& whole, const ResolvedModel& model, PipelineRanges& ranges,
                         const Layout& layout) {
  std::vector<std::string> notes;
  return Cutter(whole, model, ranges, layout, false).Run(&notes).status();
}

}  // namespace anemone
