// Canonical: a checkpoint under its family's own names, whatever its dialect and layout: what `diff --canonical`,
// `verify` and `infer` look at.
#ifndef ANEMONE_OPS_CANONICAL_H_
#define ANEMONE_OPS_CANONICAL_H_

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"

namespace anemone {

// Merged over ranks (replicated copies checked equal) and translated strictly: every name known, every shape as the
// config says. Errors: NotFound when no family's table knows the checkpoint; Corrupt naming what is missing, unexpected
// or unequal.
Result<Checkpoint> Canonical(const Checkpoint& checkpoint, const TranslateOptions& options = {});

}  // namespace anemone

#endif  // ANEMONE_OPS_CANONICAL_H_
