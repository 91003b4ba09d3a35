// What the folder of a distributed checkpoint holds, key by key as stored: the common ground of torch_dist and zarr.
#ifndef ANEMONE_FORMAT_DIST_ENTRIES_H_
#define ANEMONE_FORMAT_DIST_ENTRIES_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "anemone/tensor.h"
#include "anemone/value.h"
#include "format/dist/torch_dist_metadata.h"

namespace anemone {

// A member by name; null when absent.
const Artifact* FindMember(const std::vector<Artifact>& members, std::string_view name);

// The items, read, in stored order. `used` receives the names of the members they came from, which members keep.
// ReadZarr closes those that it has read whole.
Result<DistMetadata> ReadTorchDist(const std::vector<Artifact>& members, std::vector<std::string_view>& used);
Result<DistMetadata> ReadZarr(std::vector<Artifact>& members, std::vector<std::string_view>& used);

// The whole tensor, in the shape it had before it was flattened. Errors: Corrupt (overlaps, holes).
Result<Tensor> AssembleWhole(const DistTensor& tensor);
// Element `layer` of the first axis: only its own chunks, each one element thick. Errors: Corrupt.
Result<Tensor> AssembleLayer(const DistTensor& tensor, uint64_t layer);
// True when every chunk is one element thick along the first axis, as Megatron stacks layers.
bool IsStackOfLayers(const DistTensor& tensor);

// Where the layer index of a stacked key goes: "model.decoder.layers" and "mlp.linear_fc1.weight". Empty prefix: not
// one.
struct LayerKey {
  std::string_view prefix, suffix;
};
LayerKey SplitStackedKey(std::string_view key);  // "….layers.mlp.…": no index after `layers`
// "….layers.7.mlp.…" → prefix, 7, suffix; nullopt when the name has no such index.
struct LayerName {
  std::string_view prefix, suffix;
  uint64_t layer;
};
std::optional<LayerName> SplitLayerName(std::string_view name);

// Megatron keeps a layer's experts, MLPs in a rank's state dict, as one tensor more axis deep:
// "a.experts.local_experts.3.b" ↔ "a.experts.experts.b", 3 [core_v0.9.0 moe/experts.py, SequentialMLP].
struct ExpertName {
  std::string key;
  uint64_t expert = 0;
};
std::optional<ExpertName> SplitExpertName(std::string_view name);
std::string ExpertNameOf(std::string_view key, uint64_t expert);
bool IsExpertsKey(std::string_view key);

// `key/shard_0.3_24.8` → key, offsets {0, 3}, shape {24, 8}. Old writers leave out the last size. nullopt: no such
// name.
struct ObjectShard {
  std::string_view key;
  Shape offsets, shape;
};
std::optional<ObjectShard> SplitObjectKey(std::string_view key);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_DIST_ENTRIES_H_
