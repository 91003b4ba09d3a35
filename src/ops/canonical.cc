#include "ops/canonical.h"

#include "family/family.h"
#include "parallel/reshard.h"

namespace anemone {

Result<Checkpoint> Canonical(const Checkpoint& checkpoint) {
  ANEMONE_ASSIGN(const Checkpoint whole, MergeShards(checkpoint));
  return ToCanonical(whole);
}

}  // namespace anemone
