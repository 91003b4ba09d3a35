// anemone_checkpoint, anemone_tensor: the library's values as C's handles.
#ifndef ANEMONE_C_API_C_CHECKPOINT_H_
#define ANEMONE_C_API_C_CHECKPOINT_H_

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "anemone/c.h"
#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "anemone/tensor.h"

struct anemone_checkpoint {
  explicit anemone_checkpoint(anemone::Checkpoint opened) : stored(std::move(opened)) {
    if (stored.config) stored_config = stored.config->root();
  }

  anemone::Checkpoint stored;
  std::optional<anemone::ConfigNode> stored_config;  // as its file has it; `stored` has it as it was changed

  // The weights of all parts, merged at the first call. Errors: as MergeShards; InvalidArgument where none were read.
  anemone::Status Whole(const anemone::StateDict** weights) const;
  // Those of its entries that are tensors, in stored order.
  anemone::Status Tensors(const std::vector<const anemone::StateDict::Item*>** tensors) const;
  // After a tensor was added.
  void Forget();

 private:
  anemone::Status WholeLocked(const anemone::StateDict** weights) const;

  mutable std::mutex mutex_;  // of what follows
  mutable std::optional<anemone::Checkpoint> merged_;
  mutable std::optional<std::vector<const anemone::StateDict::Item*>> tensors_;
};

namespace anemone::c_api {

// Of a checkpoint whose config alone was read.
inline Status NoTensors(const Checkpoint& checkpoint) {
  return InvalidArgument("expected tensors, found that only the config was read").In(checkpoint.path);
}

}  // namespace anemone::c_api

struct anemone_tensor {
  anemone_tensor(std::string called, anemone::Tensor value) : name(std::move(called)), tensor(std::move(value)) {}

  std::string name;
  anemone::Tensor tensor;
};

#endif  // ANEMONE_C_API_C_CHECKPOINT_H_
