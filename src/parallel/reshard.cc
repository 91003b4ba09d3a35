#include "parallel/reshard.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <unordered_map>

#include <fmt/format.h>

#include "anemone/reshard.h"
#include "format/format.h"
#include "format/torch/megatron_file.h"
#include "parallel/layout.h"
#include "parallel/optimizer.h"
#include "parallel/slices.h"
#include "parallel/vocabulary.h"
#include "tensor/same.h"

namespace anemone {
namespace {

// ---- one tensor ----

Result<Tensor> WithVocabRows(const Tensor& table, uint64_t rows) {
  if (table.shape().empty() || table.shape()[0] == rows) return table;
  if (table.shape()[0] > rows) return table.Narrow(0, 0, rows);
  return table.Pad(0, 0, rows - table.shape()[0]);
}

// An extra state survives as it is unless it holds data of one rank (FP8 scaling), which means nothing in another
// layout.
Opaque ForNewLayout(const Opaque& opaque, uint64_t* dropped) {
  if (!opaque.holds_data) return opaque;
  ++*dropped;
  return {};
}

void NoteDroppedStates(uint64_t dropped, std::vector<std::string>* notes) {
  if (dropped > 0)
    notes->push_back(
        fmt::format("left out the FP8 scaling state of {} modules: it belongs to the old layout", dropped));
}

// Whether ranks divide any tensor of a tower in this model: an image tower of transformers lies whole on each.
Result<bool> IsSplit(const ResolvedModel& model, const std::string& tower) {
  const std::vector<StoredRow>& rows = model.dialect->rows;
  for (size_t r = 0; r < rows.size(); ++r) {
    if (rows[r].tower != tower || rows[r].split == Split::kReplicated || !model.names.is_active(r)) continue;
    ANEMONE_ASSIGN(const bool is_written, model.symbols.HoldsAnywhere(rows[r].when));
    if (is_written) return true;
  }
  return false;
}

Status CheckDivides(const ResolvedModel& model, int tp) {
  for (const std::string& tower : TowersOf(*model.dialect)) {
    ANEMONE_ASSIGN(const bool is_split, IsSplit(model, tower));
    if (!is_split) continue;
    for (const std::string_view key : {"heads", "groups", "ffn", "expert_ffn", "shared_ffn"}) {
      ANEMONE_ASSIGN(const std::optional<uint64_t> size, model.symbols.Find(tower, key));
      if (!size || *size % static_cast<uint64_t>(tp) == 0) continue;
      const std::string_view what = key.ends_with("ffn") ? "feed-forward size"
                                    : key == "heads"     ? "number of heads"
                                                         : "number of query groups";
      return InvalidArgument(fmt::format("expected a {} that tensor parallel {} divides{}, found {}", what, tp,
                                         tower.empty() ? "" : fmt::format(" in the {} tower", tower), *size));
    }
  }
  return {};
}

size_t NumRanks(const Layout& layout) {
  return static_cast<size_t>(layout.tp) * static_cast<size_t>(layout.ep) * static_cast<size_t>(layout.pp);
}
size_t ShardIndex(const Layout& layout, PipelinePlace place, int tp_rank) {
  return (static_cast<size_t>(place.stage) * static_cast<size_t>(layout.ep) + static_cast<size_t>(place.expert)) *
             static_cast<size_t>(layout.tp) +
         static_cast<size_t>(tp_rank);
}

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

// ---- merging ----

class Merger {
 public:
  // Copies that differ are errors, or the first is taken.
  enum class Copies : uint8_t { kCompare, kTakeFirst };
  Merger(const Checkpoint& source, const ResolvedModel& model, Copies copies)
      : source_(source), naming_(model.names), dims_(model.symbols), layout_(source.layout), copies_(copies) {
    for (const CanonicalRow& row : model.family->canonical) canonical_.emplace(row.name, &row);
  }

  Result<StateDict> Run(std::vector<std::string>* notes) {
    ANEMONE_TRY(CheckRanks());
    const size_t pieces = static_cast<size_t>(layout_.pp) * static_cast<size_t>(layout_.vp);
    for (size_t piece = 0; piece < pieces; ++piece) ANEMONE_TRY(TakePiece(piece));
    ANEMONE_TRY(CheckTiedCopies());
    NoteDroppedStates(dropped_states_, notes);
    return InOrder();
  }

  // Layers of a tower, counted.
  uint64_t layers(const std::string& tower) const {
    const auto it = layers_.find(tower);
    return it == layers_.end() ? 0 : it->second;
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
    std::unordered_map<std::string, uint64_t> counted;
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
        layer = layers(row.tower) + *hit->captures.layer;
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
    ANEMONE_ASSIGN(const bool same, SameBytes(std::get<Tensor>(it->second), whole));
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
      if (other.canonical == canonical && other.stage != Stage::kTiedCopy) return std::get_if<Tensor>(&entry);
    }
    return static_cast<const Tensor*>(nullptr);
  }

  // The last stage's copy of the embedding says the same as the embedding, or nothing: NeMo's CLIP leaves zeros there.
  Status CheckTiedCopies() {
    for (auto it = merged_.begin(); it != merged_.end();) {
      const StoredRow& row = naming_.row(it->first.first);
      ANEMONE_ASSIGN(const Tensor* original, OriginalOf(row));
      if (original != nullptr && copies_ == Copies::kCompare) {
        const Tensor& copy = std::get<Tensor>(it->second);
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
    const auto layers_of = [this](const std::string& tower) { return layers(tower); };
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
  std::unordered_map<std::string_view, const CanonicalRow*> canonical_;
  std::unordered_map<std::string, uint64_t> layers_;
  std::map<Key, Entry> merged_;
  std::string stored_prefix_;  // of the first piece's names
  uint64_t dropped_states_ = 0;
  SliceLaw law_;
};

// A table that was padded for `tp` ranks, and how many of its rows are tokens: as many as the tokenizer beside it has,
// if padding makes the table's rows of them. Otherwise, Megatron pads with zero rows at the end, so the last row that
// is not all zeros is a token. A table that ends with more zeros than padding makes was not padded by Megatron.
Result<uint64_t> TokensIn(const Tensor& table, std::optional<uint64_t> tokenizer, uint64_t divisor, int tp) {
  const uint64_t stored = table.shape()[0];
  if (tokenizer && PaddedVocab(*tokenizer, divisor, tp) == stored) return *tokenizer;
  const uint64_t multiple = divisor * static_cast<uint64_t>(tp);
  for (uint64_t rows = stored; rows > 1 && stored - rows < multiple; --rows) {
    ANEMONE_ASSIGN(const Tensor row, table.Narrow(0, rows - 1, 1));
    ANEMONE_ASSIGN(const bool zero, IsZero(row));
    if (!zero) return rows;
  }
  return stored;
}

Status GuessVocab(const NameMatcher& naming, const std::string& prefix, const Checkpoint& checkpoint, int tp,
                  ModelSymbols* dims) {
  std::map<std::string, uint64_t> tokens;
  const std::optional<uint64_t> tokenizer = CountTokens(checkpoint);
  for (const StateDict::Item& item : checkpoint.weights().items()) {
    const auto hit = naming.Match(item.name, prefix);
    if (!hit || item.tensor() == nullptr || naming.row(hit->row).split != Split::kVocab ||
        item.tensor()->shape().size() != 2)
      continue;
    const std::string& tower = naming.row(hit->row).tower;
    ANEMONE_ASSIGN(const std::optional<uint64_t> is_known, dims->Find(tower, "vocab_is_known"));
    if (is_known.value_or(0) != 0) continue;
    ANEMONE_ASSIGN(const uint64_t rows, TokensIn(*item.tensor(), tokenizer, VocabDivisor(checkpoint), tp));
    tokens[tower] = std::max(tokens[tower], rows);
  }
  for (const auto& [tower, rows] : tokens) dims->Set(InTower(tower, "vocab"), rows);
  return {};
}

// Tells that tables of `before` rows have `after` now. Two steps, merging before splitting, are one change.
void NoteRows(uint64_t before, uint64_t after, std::string_view why, Checkpoint* checkpoint) {
  std::vector<ResizedRows>& told = checkpoint->origin.resized_rows;
  const auto earlier = std::ranges::find(told, before, &ResizedRows::now);
  if (earlier != told.end()) {
    if (std::erase(checkpoint->notes, earlier->note) > 0) before = earlier->stored;
    told.erase(earlier);
  }
  if (before == after) return;
  std::string note = fmt::format("vocabulary: {} → {} rows, {}", before, after, why);
  checkpoint->notes.push_back(note);
  told.push_back({before, after, std::move(note)});
}

// Vocabulary tables padded for `tp` ranks. `was_tp` is how many they were padded for; 0 where `dims` tell the tokens.
Status PadForRanks(const ResolvedModel& model, ModelSymbols* dims, int tp, int was_tp, Checkpoint* checkpoint) {
  const NameMatcher& naming = model.names;
  const std::string prefix = naming.BestPrefix(checkpoint->weights()).prefix;
  if (was_tp > 0) {
    ANEMONE_TRY(GuessVocab(naming, prefix, *checkpoint, was_tp, dims));
  }
  StateDict padded;
  std::set<std::pair<uint64_t, uint64_t>> resized;  // rows before and after
  for (const StateDict::Item& item : checkpoint->weights().items()) {
    const auto hit = naming.Match(item.name, prefix);
    if (!hit || item.tensor() == nullptr || naming.row(hit->row).split != Split::kVocab) {
      ANEMONE_TRY(padded.Add(item.name, item.entry));
      continue;
    }
    const StoredRow& row = naming.row(hit->row);
    ANEMONE_ASSIGN(const uint64_t vocab, dims->Of(row.tower, "vocab"));
    ANEMONE_ASSIGN(const uint64_t rows, VocabRows(*checkpoint, row.tower, vocab, tp));
    const uint64_t before = item.tensor()->shape()[0];
    ANEMONE_ASSIGN(Tensor table, WithVocabRows(*item.tensor(), rows));
    ANEMONE_TRY(padded.Add(item.name, std::move(table)));
    dims->Set(InTower(row.tower, "padded_vocab"), rows);
    if (rows == before && vocab == before && was_tp > tp && !CountTokens(*checkpoint)) {
      checkpoint->notes.push_back(
          fmt::format("{}: keeps its {} rows, as nothing says how many of them are tokens", item.name, rows));
    }
    if (rows < vocab) {
      checkpoint->notes.push_back(
          fmt::format("{}: {} rows became {}, as the config has them", item.name, before, rows));
    } else if (rows != before) {
      resized.emplace(before, rows);
    }
  }
  const uint64_t divisor = VocabDivisor(*checkpoint);
  for (const auto& [before, rows] : resized) {
    const bool is_padded = rows % (divisor * static_cast<uint64_t>(tp)) == 0;
    NoteRows(before, rows,
             is_padded ? fmt::format("padded to a multiple of {} × TP {}", divisor, tp) : "as the config has them",
             checkpoint);
  }
  checkpoint->weights() = std::move(padded);
  return {};
}

}  // namespace

namespace {

// A checkpoint whose weights are one kind of moments: these are merged and split as their parameters are, by the same
// code.
Checkpoint Twin(const Checkpoint& checkpoint, const std::vector<const MomentTensors*>& moments) {
  Checkpoint twin;
  twin.format = checkpoint.format;
  twin.config = checkpoint.config;
  twin.layout = checkpoint.layout;
  for (size_t i = 0; i < checkpoint.shards.size(); ++i) {
    const Shard& shard = checkpoint.shards[i];
    Shard& copy = twin.shards.emplace_back();
    copy.tp_rank = shard.tp_rank;
    copy.pp_rank = shard.pp_rank;
    copy.ep_rank = shard.ep_rank;
    if (moments[i] == nullptr) continue;
    if (shard.chunks.empty()) {
      copy.weights = moments[i]->dicts.front();
    } else {
      copy.chunks = moments[i]->dicts;
    }
  }
  return twin;
}

MomentTensors OfShard(Shard shard) {
  MomentTensors moments;
  moments.dicts = std::move(shard.chunks);
  if (moments.dicts.empty()) moments.dicts.push_back(std::move(shard.weights));
  return moments;
}

bool IsCarried(const Value& training) {
  if (!IsMegatronTraining(training)) return Lookup(*training.node, "pytorch-lightning_version") != nullptr;
  return !HasOptimizer(training) || KeysOf(training) == ParameterKeys::kNames;
}

// Lightning's dictionaries are carried, and Megatron-LM's with states by name; what other trainers keep beside the
// weights is not.
bool CarriesTraining(const Checkpoint& checkpoint, std::vector<std::string>* notes) {
  size_t trained = 0, carried = 0;
  for (const Shard& shard : checkpoint.shards) {
    if (!shard.training) continue;
    ++trained;
    if (IsCarried(*shard.training)) ++carried;
  }
  if (trained == 0) return false;
  if (carried == checkpoint.shards.size()) return true;
  notes->push_back("left out the training state (optimizer, schedulers, loops): it belongs to the old layout");
  return false;
}

// Each expert rank steps an optimizer of its own for its experts; NeMo keeps no file of such ranks. States by name are
// read from Megatron-LM's.
Status CheckTrainedRanks(const Layout& layout) {
  if (layout.ep == 1) return {};
  return Unsupported(fmt::format("expected one expert rank for a training state, found {}", layout.ep))
      .Use("only", "weights", "leave it behind");
}

// The optimizers of all ranks, which agree.
Result<std::vector<OptimizerState>> ReadOptimizers(const Checkpoint& checkpoint, const ParameterRules& rules) {
  std::vector<OptimizerState> states;
  for (const Shard& shard : checkpoint.shards) {
    const std::string where = fmt::format("tensor rank {}, stage {}", shard.tp_rank, shard.pp_rank);
    if (!HasOptimizer(*shard.training)) {
      if (states.empty()) continue;
      return Corrupt(fmt::format("{}: expected an optimizer as on the ranks before, found none", where));
    }
    auto state = ReadOptimizer(shard, rules);
    if (!state.ok()) return state.status().In(where);
    if (!states.empty()) ANEMONE_TRY(CheckAgree(states.front(), *state).In(where));
    states.push_back(*std::move(state));
  }
  if (!states.empty() && states.size() != checkpoint.shards.size())
    return Corrupt("expected an optimizer on every rank, found none on the first");
  return states;
}

// `whole` are the symbols of the merged model, `model`'s those of the stored one.
Status MergeTraining(const Checkpoint& checkpoint, const ResolvedModel& model, const ModelSymbols& whole, int tp,
                     Checkpoint* result) {
  const Value& training = *checkpoint.shards.front().training;
  ANEMONE_ASSIGN(const ParameterRules rules, RulesOf(model));
  ANEMONE_ASSIGN(std::vector<OptimizerState> states, ReadOptimizers(checkpoint, rules));
  std::map<std::string, MomentTensors> merged;
  if (!states.empty()) {
    OptimizerState& first = states.front();
    for (const OptimizerState& state : states) {
      for (size_t g = 0; g < state.groups.size(); ++g) {
        if (first.groups[g] == nullptr) first.groups[g] = state.groups[g];
      }
    }
    for (const auto& [kind, moments] : first.moments) {
      std::vector<const MomentTensors*> ranks;
      ranks.reserve(states.size());
      for (OptimizerState& state : states) ranks.push_back(&state.moments[kind]);
      Checkpoint twin = Twin(checkpoint, ranks);
      Merger merger(twin, model, Merger::Copies::kTakeFirst);
      auto tensors = merger.Run(&twin.notes);
      if (!tensors.ok()) return tensors.status().In(kind.empty() ? "fp32 masters" : kind);
      twin.shards.assign(1, Shard{});
      twin.weights() = *std::move(tensors);
      ModelSymbols dims = whole;
      ANEMONE_TRY(PadForRanks(model, &dims, tp, 0, &twin));
      merged[kind] = OfShard(std::move(twin.shards.front()));
    }
  }
  ANEMONE_ASSIGN(result->shards.front().training,
                 WithOptimizer(training, result->shards.front(), states.empty() ? nullptr : states.data(), merged,
                               KeysOf(training).value_or(ParameterKeys::kNumbers)));
  return {};
}

// One state dict → the shards of a layout, weights only.
class Cutter {
 public:
  Cutter(const StateDict& whole, const ResolvedModel& model, PipelineRanges& ranges, const Layout& layout)
      : whole_(whole),
        dialect_(*model.dialect),
        naming_(model.names),
        dims_(model.symbols),
        ranges_(ranges),
        layout_(layout),
        pieces_(static_cast<size_t>(layout.pp) * static_cast<size_t>(layout.vp)),
        stored_prefix_(model.names.BestPrefix(whole).prefix),
        prefix_(layout.vp > 1 ? std::string() : model.dialect->prefixes.front()) {}

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
    size_t own = 0, shared = 0;
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
      Places& places = used_[item->name];
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
        ANEMONE_TRY(dict.Add(name, ForNewLayout(*opaque, &dropped_states_)));
        continue;
      }
      auto slice = SliceOf(*item.tensor(), dialect_.rows[r], dims_, layout_, place, rank);
      if (!slice.ok()) return slice.status().In(item.name);
      ANEMONE_TRY(dict.Add(name, *std::move(slice)));
    }
    return {};
  }

  // That nothing is left, and nothing lies in places of its own where it should be shared.
  Status CheckPlaces() const {
    std::vector<std::string> left;
    for (const StateDict::Item& item : whole_.items()) {
      const auto it = used_.find(item.name);
      if (it == used_.end()) {
        left.push_back(item.name);
        continue;
      }
      const Places& places = it->second;
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
  const size_t pieces_;
  const std::string stored_prefix_, prefix_;
  uint64_t experts_ = 0, dropped_states_ = 0;
  std::vector<Shard> shards_;
  std::unordered_map<std::string_view, Places> used_;
  SliceLaw law_;
};

Status SetLayoutOf(const Family& family, const Layout& layout, Config* config) {
  if (!family.tower_order.empty()) SetSplitRank(layout, config);
  return SetLayout(layout, config);
}

Status SplitTraining(const Checkpoint& checkpoint, const ResolvedModel& model, PipelineRanges& ranges,
                     const Layout& layout, std::vector<Shard>* shards) {
  ANEMONE_ASSIGN(const ParameterRules rules, RulesOf(model));
  ANEMONE_ASSIGN(std::vector<OptimizerState> states, ReadOptimizers(checkpoint, rules));
  std::vector<std::map<std::string, MomentTensors>> split(shards->size());
  const OptimizerState* optimizer = states.empty() ? nullptr : states.data();
  if (optimizer != nullptr) {
    for (const auto& [kind, moments] : optimizer->moments) {
      Checkpoint twin = Twin(checkpoint, {&moments});
      ModelSymbols padded = model.symbols;
      ANEMONE_TRY(PadForRanks(model, &padded, layout.tp, 0, &twin));
      auto ranks = Cutter(twin.weights(), model, ranges, layout).Run(&twin.notes);
      if (!ranks.ok()) return ranks.status().In(kind.empty() ? "fp32 masters" : kind);
      for (size_t i = 0; i < ranks->size(); ++i) split[i][kind] = OfShard(std::move((*ranks)[i]));
    }
  }
  for (size_t i = 0; i < shards->size(); ++i) {
    Shard& shard = (*shards)[i];
    ANEMONE_ASSIGN(shard.training, WithOptimizer(*checkpoint.shards.front().training, shard, optimizer, split[i]));
  }
  return {};
}

}  // namespace

Result<Checkpoint> MergeShards(const Checkpoint& checkpoint, const TranslateOptions& options) {
  if (checkpoint.layout == Layout{} && checkpoint.shards.size() == 1 && checkpoint.shards.front().chunks.empty())
    return checkpoint;
  ANEMONE_ASSIGN(const ModelIdentity identity, IdentifyModel(checkpoint, options));
  if (!identity.dialect->is_megatron) {
    return Unsupported(fmt::format("expected ranks of a Megatron model, found {} shards of {}",
                                   checkpoint.shards.size(), identity.dialect->title));
  }
  ANEMONE_ASSIGN(ModelSymbols symbols, identity.family->SymbolsOf(checkpoint, *identity.dialect, options));
  symbols.Set("virtual", checkpoint.layout.vp > 1);
  ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(checkpoint, identity, std::move(symbols)));
  return MergeShards(model, checkpoint);
}

Result<Checkpoint> MergeShards(const ResolvedModel& model, const Checkpoint& checkpoint) {
  Merger merger(checkpoint, model, Merger::Copies::kCompare);
  Checkpoint result = checkpoint;
  result.layout = {};
  ANEMONE_ASSIGN(StateDict weights, merger.Run(&result.notes));
  for (const std::string& tower : TowersOf(*model.dialect)) {
    ANEMONE_ASSIGN(const std::optional<uint64_t> layers, model.symbols.Find(tower, "layers"));
    if (layers && *layers != merger.layers(tower)) {
      return Corrupt(fmt::format("expected {} layers{} by the config, found {} on all stages together", *layers,
                                 tower.empty() ? "" : fmt::format(" in the {} tower", tower), merger.layers(tower)));
    }
  }
  result.shards.assign(1, Shard{});
  result.weights() = std::move(weights);
  ModelSymbols whole = model.symbols;
  ANEMONE_TRY(PadForRanks(model, &whole, 1, checkpoint.layout.tp, &result));
  if (CarriesTraining(checkpoint, &result.notes)) {
    if (KeysOf(*checkpoint.shards.front().training) == ParameterKeys::kNumbers)
      ANEMONE_TRY(CheckTrainedRanks(checkpoint.layout));
    ANEMONE_TRY(MergeTraining(checkpoint, model, whole, 1, &result));
  }
  if (result.config) ANEMONE_TRY(SetLayoutOf(*model.family, result.layout, &*result.config));
  return result;
}

Result<Checkpoint> PadVocab(const Checkpoint& checkpoint, int was_tp, int tp, const TranslateOptions& options) {
  const Result<ModelIdentity> identity = IdentifyModel(checkpoint, options);
  if (!identity.ok() || !identity->dialect->is_megatron) return checkpoint;
  ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(checkpoint, options));
  ANEMONE_TRY(CheckDivides(model, tp));
  Checkpoint result = checkpoint;
  ModelSymbols padded = model.symbols;
  ANEMONE_TRY(PadForRanks(model, &padded, tp, was_tp, &result));
  const bool as_before = std::equal(
      result.weights().items().begin(), result.weights().items().end(), checkpoint.weights().items().begin(),
      [](const auto& a, const auto& b) { return a.tensor() == nullptr || a.tensor()->shape() == b.tensor()->shape(); });
  if (as_before || !checkpoint.shards.front().training) return result;
  if (CarriesTraining(checkpoint, &result.notes)) {
    ANEMONE_TRY(MergeTraining(checkpoint, model, padded, tp, &result));
  } else {
    result.shards.front().training.reset();
  }
  return result;
}

Status AddExtraStates(Checkpoint* checkpoint, const TranslateOptions& options) {
  StateDict& weights = checkpoint->weights();
  if (std::any_of(weights.items().begin(), weights.items().end(), [](const auto& i) { return i.opaque() != nullptr; }))
    return {};
  const Result<ModelIdentity> identity = IdentifyModel(*checkpoint, options);
  if (!identity.ok() || !identity->dialect->is_megatron) return {};
  ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(*checkpoint, options));
  std::map<std::string, uint64_t> layers;
  for (const std::string& tower : TowersOf(*model.dialect)) {
    ANEMONE_ASSIGN(const std::optional<uint64_t> count, model.symbols.Find(tower, "layers"));
    layers[tower] = count.value_or(0);
  }
  const auto layers_of = [&](const std::string& tower) { return layers[tower]; };
  return ForEachStored(*model.dialect, layers_of, [&](size_t r, uint64_t layer) -> Status {
    const StoredRow& row = model.names.row(r);
    if (row.role != Role::kExtraState || !model.names.is_active(r)) return {};
    ANEMONE_ASSIGN(const bool is_written, model.symbols.Holds(row.when, layer));
    for (size_t part = 0; is_written && part < model.names.num_parts(r); ++part) {
      ANEMONE_TRY(weights.Add(model.prefix + model.names.StoredName(r, layer, part), Opaque{}));
    }
    return {};
  });
}

Status PutInOrder(Checkpoint* checkpoint, const TranslateOptions& options) {
  ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(*checkpoint, options));
  Merger merger(*checkpoint, model, Merger::Copies::kTakeFirst);
  ANEMONE_ASSIGN(StateDict weights, merger.Run(&checkpoint->notes));
  checkpoint->weights() = std::move(weights);
  return {};
}

namespace {

Status CheckLayout(const Checkpoint& checkpoint, const Layout& layout) {
  if (checkpoint.shards.size() != 1 || !checkpoint.shards.front().chunks.empty()) {
    return InvalidArgument(fmt::format("expected one shard, found {}", checkpoint.shards.size()),
                           "merge the shards first");
  }
  for (const int size : {layout.tp, layout.pp, layout.vp, layout.ep}) {
    if (size < 1 || size > 4096) {
      return InvalidArgument(
          fmt::format("expected tensor, pipeline, virtual and expert sizes of 1 to 4096, found {}", size));
    }
  }
  return {};
}

// Whether a model can be divided so, and NeMo could load it.
Status CheckSplits(const ResolvedModel& model, const Layout& layout) {
  ANEMONE_ASSIGN(const std::optional<uint64_t> one_stage, model.symbols.Find("", "one_stage"));
  if (layout.pp > 1 && one_stage.value_or(0) != 0) {
    return InvalidArgument(
        fmt::format("expected one pipeline stage for a {} with embeddings of its own at either end, "
                    "as NeMo asks, found {}",
                    model.family->title, layout.pp));
  }
  ANEMONE_TRY(CheckDivides(model, layout.tp));
  ANEMONE_ASSIGN(const uint64_t experts, NumExperts(model.symbols));
  if (layout.ep > 1 && experts == 0)
    return InvalidArgument(fmt::format("expected a mixture of experts for {} expert ranks, found none", layout.ep));
  if (layout.ep > 1 && experts % static_cast<uint64_t>(layout.ep) != 0)
    return InvalidArgument(
        fmt::format("expected a number of experts that expert parallel {} divides, found {}", layout.ep, experts));
  return {};
}

}  // namespace

Result<Checkpoint> SplitShards(const Checkpoint& checkpoint, const Layout& layout, const TranslateOptions& options) {
  ANEMONE_TRY(CheckLayout(checkpoint, layout));
  if (layout == Layout{}) return checkpoint;
  ANEMONE_ASSIGN(const ModelIdentity identity, IdentifyModel(checkpoint, options));
  if (!identity.dialect->is_megatron) {
    return InvalidArgument(fmt::format("expected a Megatron dialect to split, found {}", identity.dialect->title),
                           "convert to a NeMo dialect first");
  }
  if (layout.vp > 1 && !identity.family->has_virtual_stages) {
    return InvalidArgument(fmt::format("expected no virtual stages for {}: NeMo cannot build it with them, found {}",
                                       identity.family->title, layout.vp));
  }
  ANEMONE_ASSIGN(ModelSymbols symbols, identity.family->SymbolsOf(checkpoint, *identity.dialect, options));
  symbols.Set("virtual", layout.vp > 1);
  ANEMONE_ASSIGN(const ResolvedModel model, ResolveModel(checkpoint, identity, std::move(symbols)));
  return SplitShards(model, checkpoint, layout);
}

Result<Checkpoint> SplitShards(const ResolvedModel& model, const Checkpoint& checkpoint, const Layout& layout) {
  ANEMONE_TRY(CheckLayout(checkpoint, layout));
  ANEMONE_TRY(CheckSplits(model, layout));
  Checkpoint result = checkpoint;
  ModelSymbols padded = model.symbols;
  ANEMONE_TRY(PadForRanks(model, &padded, layout.tp, 0, &result));
  ANEMONE_ASSIGN(PipelineRanges ranges,
                 DividePipeline(model, layout, checkpoint.config ? &*checkpoint.config : nullptr));
  ANEMONE_ASSIGN(std::vector<Shard> shards, Cutter(result.weights(), model, ranges, layout).Run(&result.notes));
  if (CarriesTraining(checkpoint, &result.notes)) {
    ANEMONE_TRY(CheckTrainedRanks(layout));
    ANEMONE_TRY(SplitTraining(checkpoint, model, ranges, layout, &shards));
  }
  if (layout.pp > 1 && !model.family->pipeline_warning.empty()) result.notes.push_back(model.family->pipeline_warning);
  result.shards = std::move(shards);
  result.layout = layout;
  if (result.config) ANEMONE_TRY(SetLayoutOf(*model.family, layout, &*result.config));
  return result;
}

Result<Checkpoint> MergeRanks(const Checkpoint& checkpoint) { return MergeShards(checkpoint); }

Result<Checkpoint> SplitRanks(const Checkpoint& checkpoint, const Layout& layout) {
  return SplitShards(checkpoint, layout);
}

}  // namespace anemone
