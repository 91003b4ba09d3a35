#include "convert/pass.h"

#include <fmt/format.h>

#include "parallel/reshard.h"

namespace anemone {

TranslateOptions Work::KnownModel() const {
  if (!identity.ok()) return {.family = table.get()};
  return {.family = identity->family, .dialect = identity->dialect};
}

bool Work::HasOneWhole() const { return result().shards.size() == 1 && result().shards.front().chunks.empty(); }

Status Work::Merge() const {
  if (HasOneWhole()) return {};
  ANEMONE_ASSIGN(result(), MergeShards(result(), KnownModel()));
  return {};
}

void Work::LeaveTraining(std::string_view why) const {
  bool had_any = false;
  for (Shard& shard : result().shards) {
    had_any |= shard.training.has_value();
    shard.training.reset();
  }
  if (had_any && !why.empty()) Note(fmt::format("left out the training state (optimizer, schedulers, loops): {}", why));
}

}  // namespace anemone
