// The names by which a distributed checkpoint's tensors and objects are shown: those of NeMo's modules (dist.h).
#ifndef ANEMONE_FORMAT_DIST_PRESENT_H_
#define ANEMONE_FORMAT_DIST_PRESENT_H_

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "format/dist/entries.h"

namespace anemone {

struct PresentOptions {
  bool is_megatron = false;    // saved by Megatron-core: stacks of layers, experts, chained optimizers
  bool lists_objects = false;  // each object is in a list of one element, as Megatron saves it in torch_dist
};

// Fills `shard` with weights and training state, and `origin` with how they were stored but for the backend. `common`:
// the training dictionary; its node may be null. Errors: Corrupt (TD-9, TD-11, TD-12).
Status PresentDist(DistMetadata stored, Value common, const PresentOptions& options, Shard& shard,
                   DistributedOrigin& origin);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_DIST_PRESENT_H_
