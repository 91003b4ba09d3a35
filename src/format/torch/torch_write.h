// A value as a torch file, in the zip layout, as torch 1.13 … 2.15 load it with weights_only=True.
#ifndef ANEMONE_FORMAT_TORCH_TORCH_WRITE_H_
#define ANEMONE_FORMAT_TORCH_TORCH_WRITE_H_

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/status.h"
#include "anemone/tensor.h"
#include "anemone/value.h"
#include "container/zip_layout.h"
#include "engine/plan.h"
#include "format/format.h"

namespace anemone {

inline ZipOptions ZipOptionsOf(const LayOutOptions& options) {
  return {.keeps_blocks = options.keeps_blocks, .has_crc32 = options.has_crc32};
}

// The state dict as it is written: itself, or without its extra states.
StateDict WrittenState(const StateDict& state, const LayOutOptions& options);

// A value's pickle and, in its order, the storages. Of a million tensors the value need not be kept for the layout.
struct TorchPickle {
  std::string bytes;
  std::vector<Tensor> storages;
};
// State dicts that are written as the entries of a node, an empty OrderedDict.
using StatesOf = std::unordered_map<const ValueNode*, StateDict>;
ValueRef NewState(ValueGraph& graph, StateDict state, StatesOf& states);
Result<TorchPickle> PickleTorch(const Value& value, const StatesOf& states = {});
Result<TorchPickle> PickleState(StateDict state);  // alone

// Lays `pickle` out at the end of `file`, archive root `root` ("model_weights", "archive").
Status LayOutTorchFile(TorchPickle pickle, std::string_view root, PlanFile& file, const ZipOptions& options = {});
inline Status LayOutTorchFile(Value value, std::string_view root, PlanFile& file, const ZipOptions& options = {}) {
  Result<TorchPickle> pickle = PickleTorch(value);
  value = {};
  return pickle.ok() ? LayOutTorchFile(*std::move(pickle), root, file, options) : pickle.status();
}

}  // namespace anemone

#endif  // ANEMONE_FORMAT_TORCH_TORCH_WRITE_H_
