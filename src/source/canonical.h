// Canonical: a checkpoint under its family's own names, whatever its dialect and layout: what `diff --canonical`,
// `verify` and `infer` look at.
#ifndef ANEMONE_SOURCE_CANONICAL_H_
#define ANEMONE_SOURCE_CANONICAL_H_

#include <string_view>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"

namespace anemone {

// Merged over ranks (replicated copies checked equal) and translated strictly: every name known, every shape as the
// config says. Errors: NotFound when no family's table knows the checkpoint; Corrupt naming what is missing, unexpected
// or unequal.
Result<Checkpoint> Canonical(const Checkpoint& checkpoint, const TranslateOptions& options = {});

// The whole model that the ranks of a checkpoint are together, with zeros for weights: names, shapes and dtypes. Reads
// no weights. Errors: as MergeShards, Corrupt where the ranks do not fit together.
Result<Checkpoint> MergedSkeleton(const Checkpoint& checkpoint);

// Whether the weights can be spelled in another dialect of their family. Reads no weights. Errors: as Translate.
Status CanTranslate(const Checkpoint& checkpoint, std::string_view dialect, const TranslateOptions& options = {});
// Whether its family has a dialect and a config in `language` for such a model, by names and config: reads no weights,
// however many ranks there are. Errors: Unsupported where it has none; as DialectFor and Family::target.
Status CanBecome(const Checkpoint& checkpoint, ConfigLanguage language);

}  // namespace anemone

#endif  // ANEMONE_SOURCE_CANONICAL_H_
