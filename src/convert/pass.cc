#include "convert/pass.h"

#include <fmt/format.h>

#include <algorithm>

#include "parallel/reshard.h"

namespace anemone {

TranslateOptions Work::KnownModel() const {
  TranslateOptions known{.architecture = options.architecture, .family = table.get()};
  if (options.vocab_size) known.vocab_rows = static_cast<uint64_t>(std::max(*options.vocab_size, 0));
  if (identity.ok()) {
    known.family = identity->family;
    known.dialect = identity->dialect;
  }
  return known;
}

bool Work::IsFromHuggingFace() const { return TraitsOf(conversion.source).language == ConfigLanguage::kHuggingFace; }

bool Work::IsToHuggingFace() const {
  const Dialect* asked = identity.ok() ? identity->family->FindDialect(options.dialect) : nullptr;
  if (asked != nullptr) return LanguageOf(*asked) == ConfigLanguage::kHuggingFace;
  const Format* as_in = FindFormat(options.dialect);
  return (as_in != nullptr ? as_in->traits : traits()).language == ConfigLanguage::kHuggingFace;
}

bool Work::HasOneWhole() const { return result().shards.size() == 1 && result().shards.front().chunks.empty(); }

Status Work::Merge(int tp) const {
  if (HasOneWhole()) return {};
  ANEMONE_ASSIGN(result(), MergeShards(result(), KnownModel(), tp));
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
