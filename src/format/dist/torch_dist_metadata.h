// The `.metadata` of a torch_dist folder as plain data: a pickle of torch.distributed.checkpoint's dataclasses,
// evaluated symbolically. Every class it names must be on the list in torch_dist_metadata.cc; nothing is called. Source
// of facts: pytorch v2.2 … v2.15 torch/distributed/checkpoint/{metadata,filesystem}.py. Rules TD-n:
// docs/formats/torch_dist.md.
#ifndef ANEMONE_FORMAT_DIST_TORCH_DIST_METADATA_H_
#define ANEMONE_FORMAT_DIST_TORCH_DIST_METADATA_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "anemone/dtype.h"
#include "anemone/status.h"
#include "anemone/tensor.h"
#include "anemone/value.h"

namespace anemone {

// Where an item lies: a complete torch.save zip at [offset, offset + length) of files[file].
struct DistLocation {
  static constexpr size_t kNowhere = SIZE_MAX;
  size_t file = kNowhere;
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct DistChunk {
  const Shape* offsets;
  const Shape* sizes;
  DistLocation location;
  std::optional<Tensor> tensor;  // once the item is read
};

// Chunks lie inside `shape` and their volumes add up to its volume; that they do not overlap is Tensor::Assemble's to
// see.
struct DistTensor {
  DType dtype = DType::kF32;
  const Shape* shape = nullptr;
  std::vector<DistChunk> chunks;  // by offsets
  // The shape before Megatron's distributed optimizer flattened it: `shape` is [fragments…, elements of a fragment].
  // Null: it was not.
  const Shape* original_shape = nullptr;
};

// What torch.save saved.
struct DistObject {
  DistLocation location;
  Value value;  // once the item is read
};

// One step of the path a key had in the nested state dict: a dict key or a list index.
using DistStep = std::variant<std::string, int64_t>;

struct DistItem {
  std::string key;
  std::vector<DistStep> path;  // planner_data; empty where it is the key alone, or not told
  std::variant<DistTensor, DistObject> content;
};

struct DistMetadata {
  std::vector<std::string> files;  // relative_path of the items, plain names
  std::deque<DistItem> items;      // in the order of state_dict_metadata; keys are unique
  std::map<Shape, size_t> shapes;  // that the items refer to, numbered from 1 on: few differ
  const std::pair<const Shape, size_t>& Numbered(Shape shape) {
    return *shapes.emplace(std::move(shape), shapes.size() + 1).first;
  }
  const Shape* Keep(Shape shape) { return &Numbered(std::move(shape)).first; }
};

// Errors: Corrupt (the rules), Unsupported (transforms, other storage classes, dtypes by name), LimitExceeded.
// Cost: linear in the pickle, memory too.
Result<DistMetadata> ParseDistMetadata(std::string pickle);

}  // namespace anemone

#endif  // ANEMONE_FORMAT_DIST_TORCH_DIST_METADATA_H_
