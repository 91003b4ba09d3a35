// The keys of a torch_dist folder: what a checkpoint's tensors and objects become.
#ifndef ANEMONE_FORMAT_DIST_TORCH_DIST_KEYS_H_
#define ANEMONE_FORMAT_DIST_TORCH_DIST_KEYS_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "anemone/tensor.h"
#include "format/dist/dist.h"

namespace anemone {

// The content of one key: a tensor, a stack of them, or an object.
struct DistOutput {
  const std::string* prefix = nullptr;  // what its key begins with, as those of many do; null: nothing
  std::string_view name;                // the rest of its key; of one of several objects, what theirs have in common
  std::span<const Tensor> layers;       // one for each layer when stacked, else one
  bool stacked = false;
  bool flattened = false;  // laid out as Megatron's distributed optimizer does
  bool has_experts = false;
  uint8_t halves = 1;         // of a flattened one: 2, a gate's rows and those that it weighs
  uint32_t object_count = 0;  // 0: its name is its key
  uint32_t object_index = 0;
  ValueRef object = nullptr;  // when `layers` is empty; null: None

  // There are as many keys as objects, and each is read a few times: no list holds them.
  std::string key() const;
};

struct DistOutputs {
  std::vector<DistOutput> keys;       // objects first, as torch has them
  Value common;                       // the training dictionary without what is a key of its own
  std::shared_ptr<const void> texts;  // names and layers of `keys` that are none of the checkpoint's
};

// Layers are stacked where every layer has the same, as Megatron stacks them. Ownership: `checkpoint` and `options`
// outlive the answer, which views them. Errors: Corrupt (experts that are not alike), Unsupported (an optimizer's state
// that is no tensor).
Result<DistOutputs> GatherTorchDist(const Checkpoint& checkpoint, const TorchDistOptions& options);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_DIST_TORCH_DIST_KEYS_H_
