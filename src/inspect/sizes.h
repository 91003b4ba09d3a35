// How big a model is: layers, width, heads, image, vocabulary; bytes on disk.
#ifndef ANEMONE_INSPECT_SIZES_H_
#define ANEMONE_INSPECT_SIZES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "family/family.h"

namespace anemone {

// The sizes of one tower ("vision", "text"), or of a model without towers (""). A size that is not known is 0.
struct TowerSizes {
  std::string tower;
  uint64_t layers = 0, width = 0, heads = 0, groups = 0, patch = 0, image = 0, vocabulary = 0, positions = 0;
};
// By the tables of `model`, as Summary has it. Empty where the model or its config is not known.
std::vector<TowerSizes> ModelSizes(const Checkpoint& checkpoint, const ModelIdentity& model);

// The name that a model of such sizes is published by ("Stable Diffusion 1.x"); "": none.
std::string PublishedAs(const Checkpoint& checkpoint, const ModelIdentity& model);

// Bytes of the file, or of all files in the folder, that `path` names; nullopt where it cannot be read.
Result<std::optional<uint64_t>> SizeOnDisk(const std::string& path);

}  // namespace anemone

#endif  // ANEMONE_INSPECT_SIZES_H_
