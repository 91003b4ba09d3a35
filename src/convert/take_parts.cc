// TakeParts: the parts of a model that its checkpoint leaves out, from a checkpoint that has them.
//
// Before:  `identity` is known, or says why not.
// After:   a model on its way to Hugging Face has them where the user or its config says where they are; any other has
//          them where the user says so. The same of what only a donor's config says of parts that are stored.
// Notes:   what was taken.
#include <fmt/format.h>

#include <string>

#include "base/tree.h"
#include "convert/pass.h"
#include "family/nemo2_checkpoint.h"
#include "family/words/nemo2_config.h"
#include "parallel/reshard.h"
#include "source/source.h"

namespace anemone {

Status TakeParts(Work& work) {
  const std::string& asked = work.options.tower;
  const Family* family = work.identity.ok() ? work.identity->family : nullptr;
  if (family == nullptr || family->take_parts == nullptr) {
    if (asked.empty()) return {};
    return WrongOption("tower", fmt::format("expected a model whose tower is elsewhere, found {}",
                                            family == nullptr ? "an unknown model" : family->title));
  }
  std::string place = asked;
  if (asked.empty()) {
    // A name of the hub may be of gigabytes: the user is to ask for it.
    if (work.IsToHuggingFace()) place = family->parts_elsewhere(work.result());
    ANEMONE_ASSIGN(const PathKind kind, KindOf(place));
    if (kind == PathKind::kNothing) return {};
  }
  ANEMONE_ASSIGN(Checkpoint donor, OpenSource(place, work.options.progress));
  if (donor.shards.size() > 1) {
    ANEMONE_ASSIGN(donor, MergeShards(donor));
  }
  if (donor.config && IsNemo2Config(donor.config->root())) {
    ANEMONE_TRY(CheckNemo2Carried(donor.config->root()).In(place));
    Result<ConfigNode> config = Nemo1ConfigOf(donor);
    if (!config.ok()) return config.status().In(place);
    ANEMONE_TRY(TakeNemo1Config(*std::move(config), &donor));
  }
  if (family->tell_parts != nullptr) {
    const Result<bool> told = family->tell_parts(donor, &work.result());
    if (!told.ok()) return told.status().In(place);
    if (*told) return {};
  }
  ANEMONE_TRY(work.Merge());
  return family->take_parts(donor, &work.result()).In(place);
}

}  // namespace anemone
