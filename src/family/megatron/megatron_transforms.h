// Transforms that only Megatron's models need.
#ifndef ANEMONE_FAMILY_MEGATRON_MEGATRON_TRANSFORMS_H_
#define ANEMONE_FAMILY_MEGATRON_MEGATRON_TRANSFORMS_H_

#include "schema/transform.h"

namespace anemone {

extern const Transform
    kMegatronQkv;  // kInterleave, or kSame where the tower is "qkv_stacked" (`megatron_legacy: true`)
// Canonical rows, expert after expert ↔ each expert's matrix transposed, as grouped matrix products take them; stored
// in the row's `shape`.
extern const Transform kGroupedGemm;

}  // namespace anemone

#endif  // ANEMONE_FAMILY_MEGATRON_MEGATRON_TRANSFORMS_H_
