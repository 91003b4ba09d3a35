#include "parallel/merge_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/text_hash.h"
#include "format/format.h"
#include "parallel/layout.h"
#include "parallel/rank_states.h"
#include "parallel/slices.h"
#include "tensor/same.h"

namespace anemone {
namespace {

class Merger {
 public:
  Merger(const Checkpoint& source, const ResolvedModel& model, Copies copies)
      : source_(source), naming_(model.names), dims_(model.symbols), layout_(source.layout), copies_(copies) {
    for (const CanonicalRow& row : model.family->canonical) canonical_.emplace(row.name, &row);
  }

  Result<MergedWeights> Run(std::vector<std::string>* notes) {
    ANEMONE_TRY(CheckRanks());
    const size_t pieces = static_cast<size_t>(layout_.pp) * static_cast<size_t>(layout_.vp);
    for (size_t piece = 0; piece < pieces; ++piece) ANEMONE_TRY(TakePiece(piece));
    ANEMONE_TRY(CheckTiedCopies());
    NoteDroppedStates(dropped_states_, notes);
    ANEMONE_ASSIGN(StateDict weights, InOrder());
    return MergedWeights{std::move(weights), std::move(layers_)};
  }

 private:
  using Key = std::pair<size_t, std::pair<uint64_t, size_t>>;  // row, global layer, part

  const Shard& ShardAt(PipelinePlace place, int tp_rank) const {
    return source_.shards[ShardIndex(layout_, place, tp_rank)];
  }
  const StateDict& DictAt(PipelinePlace place, int tp_rank) const {
    const Shard& shard = ShardAt(place, tp_rank);
    return shard.chunks.empty() ? shard.weights : shard.chunks[static_cast<size_t>(place.chunk)];
  }
  std::string RankName(PipelinePlace place, int tp_rank) const {
    std::string name = fmt::format("tensor rank {}", tp_rank);
    if (layout_.ep > 1) name += fmt::format(", expert rank {}", place.expert);
    if (layout_.pp > 1) name += fmt::format(", stage {}", place.stage);
    if (layout_.vp > 1) name += fmt::format(", chunk {}", place.chunk);
    return name;
  }

  Status CheckRanks() const {
    const size_t expected = NumRanks(layout_);
    if (source_.shards.size() != expected) {
      const std::string experts = layout_.ep > 1 ? fmt::format(", expert parallel {}", layout_.ep) : "";
      return Corrupt(fmt::format("expected {} shards for tensor parallel {}{} and {} stages, found {}", expected,
                                 layout_.tp, experts, layout_.pp, source_.shards.size()));
    }
    ANEMONE_ASSIGN(const uint64_t experts, NumExperts(dims_));
    if (layout_.ep > 1 && (experts == 0 || experts % static_cast<uint64_t>(layout_.ep) != 0))
      return Corrupt(fmt::format("expected experts that {} ranks share, found {} by the config", layout_.ep, experts));
    for (const Shard& shard : source_.shards) {
      if (layout_.vp > 1 && shard.chunks.size() != static_cast<size_t>(layout_.vp)) {
        return Corrupt(fmt::format("expected {} chunks on every rank, found {}", layout_.vp, shard.chunks.size()));
      }
    }
    return {};
  }

  // That the other tensor and expert ranks of a pipeline piece hold the names of the first.
  Status CheckNames(PipelinePlace place) const {
    const StateDict& first = DictAt(place, 0);
    for (int index = 1; index < layout_.tp * layout_.ep; ++index) {
      place.expert = index / layout_.tp;
      const int rank = index % layout_.tp;
      const StateDict& other = DictAt(place, rank);
      std::vector<std::string> missing, unexpected;
      for (const auto& item : first.items()) {
        if (other.Find(item.name) == nullptr) missing.push_back(item.name);
      }
      for (const auto& item : other.items()) {
        if (first.Find(item.name) == nullptr) unexpected.push_back(item.name);
      }
      if (const std::string what = DescribeNames(std::move(missing), std::move(unexpected)); !what.empty()) {
        return Corrupt(fmt::format("{}: expected the names of tensor rank 0, found {}", RankName(place, rank), what));
      }
    }
    return {};
  }

  // All ranks of one pipeline piece.
  Status TakePiece(size_t piece) {
    const PipelinePlace place = PlaceOf(piece, layout_);
    ANEMONE_TRY(CheckNames(place));
    const StateDict& first = DictAt(place, 0);
    const std::string prefix = naming_.BestPrefix(first).prefix;
    if (piece == 0) stored_prefix_ = prefix;
    internal::TextMap<uint64_t> counted;
    std::vector<std::string> unknown;
    for (const auto& item : first.items()) {
      const auto hit = naming_.Match(item.name, prefix);
      if (!hit) {
        unknown.push_back(item.name);
        continue;
      }
      const StoredRow& row = naming_.row(hit->row);
      uint64_t layer = 0;
      if (hit->captures.layer) {
        uint64_t& count = counted[row.tower];
        count = std::max(count, *hit->captures.layer + 1);
        layer = layers_[row.tower] + *hit->captures.layer;
      }
      const Status status = TakeItem(place, item, hit->row, {hit->row, {layer, hit->captures.part}});
      if (!status.ok()) return status.In(item.name);
    }
    if (const std::string what = DescribeNames({}, std::move(unknown)); !what.empty()) {
      return Corrupt(fmt::format("{}: {}: {}", RankName(place, 0), naming_.dialect().title, what));
    }
    for (const auto& [tower, count] : counted) layers_[tower] += count;
    return {};
  }

  Status TakeItem(PipelinePlace place, const StateDict::Item& item, size_t row_index, const Key& key) {
    const StoredRow& row = naming_.row(row_index);
    // An expert's number on its rank → among all.
    const bool is_expert = naming_.pattern(row_index).has_experts();
    const size_t local_experts = naming_.num_parts(row_index) / static_cast<size_t>(layout_.ep);
    if (is_expert && key.second.second >= local_experts)
      return Corrupt(fmt::format("expected {} experts on a rank, found another", local_experts));
    std::optional<Tensor> whole;
    std::vector<Tensor> cubes;
    for (place.expert = 0; place.expert < layout_.ep; ++place.expert) {
      Key own = key;
      if (is_expert) own.second.second += static_cast<size_t>(place.expert) * local_experts;
      if (item.opaque() != nullptr) {
        const StateDict::Item* there = DictAt(place, 0).Find(item.name);
        const Opaque state = there->opaque() == nullptr ? Opaque{} : *there->opaque();
        merged_.try_emplace(own, layout_ == Layout{} ? state : ForNewLayout(state, &dropped_states_));
        continue;
      }
      ANEMONE_ASSIGN(Tensor joined, JoinRanks(place, row, own, item.name));
      if (is_expert) {
        ANEMONE_TRY(TakeWhole(place, own, std::move(joined)));
      } else if (HoldsExperts(row.split)) {
        cubes.push_back(std::move(joined));
      } else if (!whole) {
        whole = std::move(joined);
      } else if (copies_ == Copies::kCompare) {
        ANEMONE_ASSIGN(const bool same, SameBytes(*whole, joined));
        if (!same)
          return Corrupt(
              fmt::format("expected the same copy on every expert rank, found others on {}", RankName(place, 0)));
      }
    }
    place.expert = 0;
    if (!cubes.empty()) {
      ANEMONE_ASSIGN(const Tensor cube, Tensor::Concat(std::move(cubes), 0));
      ANEMONE_ASSIGN(whole, MatrixOf(cube, row.split == Split::kExpertRows));
    }
    return whole ? TakeWhole(place, key, *std::move(whole)) : Status();
  }

  Status TakeWhole(PipelinePlace place, const Key& key, Tensor whole) {
    const auto [it, is_new] = merged_.try_emplace(key, whole);
    if (is_new || copies_ == Copies::kTakeFirst) return {};
    ANEMONE_ASSIGN(const bool same, SameBytes(*it->second.tensor(), whole));
    if (!same)
      return Corrupt(
          fmt::format("expected stage {} to hold the same copy as the stages before, found other values", place.stage));
    return {};
  }

  // The slices of all tensor ranks of a place; where a row holds several experts, as the cube that they are.
  Result<Tensor> JoinRanks(PipelinePlace place, const StoredRow& row, const Key& key, const std::string& name) {
    std::vector<Tensor> ranks;
    for (int rank = 0; rank < layout_.tp; ++rank) {
      const StateDict::Item* there = DictAt(place, rank).Find(name);
      if (there == nullptr || there->tensor() == nullptr)
        return Corrupt(fmt::format("{}: expected a tensor, found none", RankName(place, rank)));
      ranks.push_back(*there->tensor());
    }
    ANEMONE_ASSIGN(const size_t sections, Sections(row, dims_));
    ANEMONE_TRY(CheckShapes(place, key.first, key.second.second, ranks, sections));
    if (sections > 0) {
      const size_t axis = AxisOf(row.split);
      for (Tensor& slice : ranks) {
        if (!HoldsExperts(row.split)) break;
        ANEMONE_ASSIGN(const uint64_t experts, NumExperts(dims_));
        ANEMONE_ASSIGN(slice,
                       CubeOf(slice, experts / static_cast<uint64_t>(layout_.ep), row.split == Split::kExpertRows));
      }
      if (ranks[0].shape().size() > axis) {
        ANEMONE_TRY(law_.Check(ranks[0].shape()[axis] * ranks.size(), sections, layout_.tp));
      }
      return Glue(ranks, axis, sections);
    }
    for (size_t rank = 1; rank < ranks.size() && copies_ == Copies::kCompare; ++rank) {
      ANEMONE_ASSIGN(const bool same, SameBytes(ranks[0], ranks[rank]));
      if (!same) {
        return Corrupt(fmt::format("expected the same copy on every rank, found {} and {} to differ",
                                   RankName(place, 0), RankName(place, static_cast<int>(rank))));
      }
    }
    return ranks.front();
  }

  // Every rank must hold its slice of the shape that the config gives.
  Status CheckShapes(PipelinePlace place, size_t row_index, size_t part, const std::vector<Tensor>& ranks,
                     size_t sections) const {
    const StoredRow& row = naming_.row(row_index);
    const auto owner = canonical_.find(row.canonical);
    if (owner == canonical_.end()) return {};
    ANEMONE_ASSIGN(const std::vector<Shape> shapes,
                   StoredShapes(row, *owner->second, naming_.num_parts(row_index), dims_));
    const Shape& whole = shapes[part];
    ANEMONE_ASSIGN(const Shape slice, SliceShape(row, dims_, layout_, whole));
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      const Shape& shape = ranks[rank].shape();
      if (shape == slice) continue;
      if (shape == whole && sections > 0 && layout_.tp > 1) {
        return Corrupt(fmt::format("expected {} on each of {} tensor ranks, found the whole {} on {}", ToString(slice),
                                   layout_.tp, ToString(whole), RankName(place, static_cast<int>(rank))),
                       "the file was left unsplit, as megatron_change_num_partitions.py leaves Megatron-core CLIP "
                       "models; no NeMo loads it: "
                       "split the original again");
      }
      return Corrupt(fmt::format("{}: expected {} by the config, found {}", RankName(place, static_cast<int>(rank)),
                                 ToString(slice), ToString(shape)));
    }
    return {};
  }

  // Whether the result is what the ranks stored and nobody asked for NeMo's names: copies of the embedding included.
  bool KeepsNames() const { return TraitsOf(source_).has_bare_names && stored_prefix_.empty(); }

  // What a copy must equal: the same canonical tensor's other row, or that of the canonical tensor it copies.
  Result<const Tensor*> OriginalOf(const StoredRow& row) const {
    const auto owner = canonical_.find(row.canonical);
    bool is_tied = owner != canonical_.end() && !owner->second->copy_of.empty();
    if (is_tied) {
      ANEMONE_ASSIGN(is_tied, dims_.Holds(owner->second->tied));
    }
    if (row.stage != Stage::kTiedCopy && !is_tied) return static_cast<const Tensor*>(nullptr);
    const std::string& canonical = is_tied ? owner->second->copy_of : row.canonical;
    for (const auto& [key, entry] : merged_) {
      const StoredRow& other = naming_.row(key.first);
      if (other.canonical == canonical && other.stage != Stage::kTiedCopy) return entry.tensor();
    }
    return static_cast<const Tensor*>(nullptr);
  }

  // The last stage's copy of the embedding says the same as the embedding, or nothing: NeMo's CLIP leaves zeros there.
  Status CheckTiedCopies() {
    for (auto it = merged_.begin(); it != merged_.end();) {
      const StoredRow& row = naming_.row(it->first.first);
      ANEMONE_ASSIGN(const Tensor* original, OriginalOf(row));
      if (original != nullptr && copies_ == Copies::kCompare) {
        const Tensor& copy = *it->second.tensor();
        ANEMONE_ASSIGN(const bool same, SameBytes(*original, copy));
        ANEMONE_ASSIGN(const bool nothing, same ? Result<bool>(false) : IsZero(copy));
        if (!same && !nothing)
          return Corrupt(fmt::format("{}: expected a copy of the embedding, found other values", row.name));
      }
      it = row.stage == Stage::kTiedCopy && !KeepsNames() ? merged_.erase(it) : std::next(it);
    }
    return {};
  }

  Result<StateDict> InOrder() {
    const std::string& prefix = KeepsNames() ? stored_prefix_ : naming_.dialect().prefixes.front();
    StateDict result;
    const auto layers_of = [this](const std::string& tower) { return layers_[tower]; };
    const Status walked = ForEachStored(naming_.dialect(), layers_of, [&](size_t row, uint64_t layer) -> Status {
      for (size_t part = 0; part < naming_.num_parts(row); ++part) {
        const auto it = merged_.find({row, {layer, part}});
        if (it != merged_.end()) ANEMONE_TRY(result.Add(prefix + naming_.StoredName(row, layer, part), it->second));
      }
      return {};
    });
    ANEMONE_TRY(walked);
    return result;
  }

  const Checkpoint& source_;
  const NameMatcher naming_;
  const ModelSymbols& dims_;
  const Layout layout_;
  const Copies copies_;
  internal::TextViewMap<const CanonicalRow*> canonical_;
  std::map<std::string, uint64_t> layers_;
  std::map<Key, Entry> merged_;
  std::string stored_prefix_;  // of the first piece's names
  uint64_t dropped_states_ = 0;
  SliceLaw law_;
};

}  // namespace

Result<MergedWeights> MergeWeights(const Checkpoint& source, const ResolvedModel& model, Copies copies,
                                   std::vector<std::string>* notes) {
  return Merger(source, model, copies).Run(notes);
}

}  // namespace anemone
