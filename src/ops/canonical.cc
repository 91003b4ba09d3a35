#include "ops/canonical.h"

#include "parallel/reshard.h"

namespace anemone {

Result<Checkpoint> Canonical(const Checkpoint& checkpoint, const TranslateOptions& options) {
  ANEMONE_ASSIGN(const Checkpoint whole, MergeShards(checkpoint));
  return ToCanonical(whole, options);
}

}  // namespace anemone
