#include "parallel/rank_states.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "parallel/layout.h"

namespace anemone {

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

}  // namespace anemone
