// Transforms that only CLIP and SigLIP need.
#ifndef ANEMONE_FAMILY_CLIP_CLIP_TRANSFORMS_H_
#define ANEMONE_FAMILY_CLIP_CLIP_TRANSFORMS_H_

#include "schema/transform.h"

namespace anemone {

// A patch projection as a linear layer, columns (row, column, channel) ↔ a convolution.
extern const Transform kPatchLinear;
// Two parts: q as it is, and k, v interleaved per head; canonical [q; k; v].
extern const Transform kQueryKeyValue;

}  // namespace anemone

#endif  // ANEMONE_FAMILY_CLIP_CLIP_TRANSFORMS_H_
