// The `.metadata` of a torch_dist folder that is written, in the words of torch 2.3, with the attributes that all
// versions share. [pytorch v2.2 … v2.15 distributed/checkpoint/metadata.py: absent attributes have defaults]
#ifndef ANEMONE_FORMAT_DIST_TORCH_DIST_INDEX_H_
#define ANEMONE_FORMAT_DIST_TORCH_DIST_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "anemone/tensor.h"
#include "engine/plan.h"

namespace anemone {

// What the index says of one key: of a tensor, or with neither dtype nor chunks of an object.
struct IndexedKey {
  struct Chunk {
    Shape offsets;
    size_t rank = 0;
  };
  std::string name;
  std::optional<DType> dtype;
  Shape shape;
  std::optional<Shape> original_shape;  // before it was flattened
  Shape chunk_shape;                    // of each chunk
  std::vector<Chunk> chunks;
};

// A stored item: of an object or a chunk, in a rank's file.
struct ItemPlace {
  uint64_t offset = 0, length = 0;
};

std::string FileOfRank(size_t rank);

// Appends the pickle to `file`. `key_of` makes one of the `keys` and is asked for each several times, so that a million
// of them need not be held. `places` are those of the keys' items, in order.
void AppendTorchDistIndex(size_t keys, const std::function<IndexedKey(size_t)>& key_of,
                          const std::vector<ItemPlace>& places, PlanFile& file);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_DIST_TORCH_DIST_INDEX_H_
