// Hollow checkpoints: everything about a model but its weights, from its config alone: names, shapes, dtypes, and an
// optimizer's state if wanted, every tensor a virtual zero fill. They plan like real ones.
#ifndef ANEMONE_INSPECT_HOLLOW_H_
#define ANEMONE_INSPECT_HOLLOW_H_

#include <cstdint>
#include <string>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "family/family.h"

namespace anemone {

struct HollowOptions {
  std::string family = {};   // "clip", "siglip", "gpt", "t5"
  std::string config = {};   // NeMo's YAML: model_config.yaml, hparams.yaml, a training's
  std::string preset = {};   // or a CLIP's size by name
  std::string dialect = {};  // a Megatron one; empty: mcore where the family has it and the config does not deny it
  DType dtype = DType::kF32;
  uint64_t vocab = 0;      // tokens; 0: as the config says
  bool optimizer = false;  // Adam's: two fp32 moments a parameter, and fp32 masters beside 16-bit weights
};

struct Hollow {
  Checkpoint checkpoint;  // one shard
  ModelIdentity model;
  uint64_t parameters = 0;  // elements, before a split copies and pads any
};

// Errors: InvalidArgument (no such family, preset or dialect; no vocabulary), as ReadYaml and the family's `symbols`.
Result<Hollow> HollowCheckpoint(const HollowOptions& options);

// What one rank holds.
struct RankSizes {
  uint64_t parameters = 0;
  uint64_t weight_bytes = 0;
  uint64_t optimizer_bytes = 0;
};
RankSizes SizesOf(const Shard& shard);

}  // namespace anemone

#endif  // ANEMONE_INSPECT_HOLLOW_H_
