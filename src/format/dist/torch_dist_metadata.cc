#include "format/dist/torch_dist_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>

#include "anemone/value.h"
#include "base/text_hash.h"
#include "container/pickle.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

// TD-2. What a `.metadata` may name, besides the dtypes of torch. The first group is what is understood; the rest
// occurs in attributes that are not.
constexpr std::string_view kMetadata = "torch.distributed.checkpoint.metadata Metadata";
constexpr std::string_view kMcoreMetadata = "megatron.core.dist_checkpointing.strategies.torch MCoreMetadata";
constexpr std::string_view kTensorStorage = "torch.distributed.checkpoint.metadata TensorStorageMetadata";
constexpr std::string_view kBytesStorage = "torch.distributed.checkpoint.metadata BytesStorageMetadata";
constexpr std::string_view kChunk = "torch.distributed.checkpoint.metadata ChunkStorageMetadata";
constexpr std::string_view kIndex = "torch.distributed.checkpoint.metadata MetadataIndex";
constexpr std::string_view kStorageInfo = "torch.distributed.checkpoint.filesystem _StorageInfo";
constexpr std::string_view kProperties = "torch.distributed.checkpoint.metadata TensorProperties";
constexpr std::string_view kProperties22 =
    "torch.distributed._shard.sharded_tensor.metadata TensorProperties";  // torch ≤ 2.2
constexpr std::string_view kSize = "torch Size";
constexpr std::string_view kAllowed[] = {
    kMetadata,
    kMcoreMetadata,
    kTensorStorage,
    kBytesStorage,
    kChunk,
    kIndex,
    kStorageInfo,
    kProperties,
    kProperties22,
    kSize,
    "torch.distributed.checkpoint.metadata _MEM_FORMAT_ENCODING",
    "torch.distributed._shard.sharded_tensor.metadata MEM_FORMAT_ENCODING",
    "torch.distributed.checkpoint.metadata StorageMeta",
    "torch.distributed.checkpoint.filesystem _StoragePrefix",
    "megatron.core.dist_checkpointing.strategies.torch MCoreSavePlan",
    "torch.distributed.checkpoint.planner SavePlan",  // which ranks planned to save
    "torch.distributed.checkpoint.planner WriteItem",
    "torch.distributed.checkpoint.planner WriteItemType",
    "torch.distributed.checkpoint.planner TensorWriteData",
    "torch.distributed.checkpoint.planner BytesIOWriteData",
    "torch.serialization _get_layout",
    "collections OrderedDict",
    "pathlib Path",
    "pathlib PosixPath",
    "pathlib PurePosixPath",
    "pathlib WindowsPath",
    "pathlib PureWindowsPath",
    "pathlib._local Path",
    "pathlib._local PosixPath",
    "pathlib._local PurePosixPath",
    "pathlib._local WindowsPath",
    "pathlib._local PureWindowsPath"};

// Far above what torch writes; they keep shared nodes of a hostile pickle from being copied out many times.
constexpr size_t kMaxKeyBytes = 4096;
constexpr size_t kMaxRank = 64;
constexpr size_t kMaxAttributes = 64;

std::optional<std::string_view> DTypeWord(std::string_view global) {
  constexpr std::string_view prefix = "torch ";
  if (!global.starts_with(prefix)) return std::nullopt;
  return global.substr(prefix.size());
}

Status CheckGlobals(const ValueGraph& graph) {
  for (const PickleGlobal& global : ListGlobals(graph)) {
    if (std::ranges::find(kAllowed, global.name) != std::end(kAllowed)) continue;
    const auto word = DTypeWord(global.name);
    if (word && FindDType(&DTypeInfo::torch, *word) && !global.called) continue;
    if (global.name.starts_with("torch.distributed.checkpoint.hf_storage ")) {
      return Unsupported(fmt::format("[TD-2] expected items saved by torch.save, found \"{}\"", global.name));
    }
    return Corrupt(
        fmt::format("[TD-2] expected only the classes of torch.distributed.checkpoint, found \"{}\"", global.name),
        "such a file would run that code when torch loads it; `anemone scan` lists all of it");
  }
  return {};
}

Status Expected(std::string_view what, const ValueNode* found) {
  return Corrupt(fmt::format("[TD-3] expected {}, found {}", what, Describe(found)));
}

bool IsNone(const ValueNode* node) { return node == nullptr || node->kind == Kind::kNone; }

// An attribute of a dataclass instance; null when it was not written (TD-3: then it has the class's default).
Result<ValueRef> Attribute(const ValueNode& object, std::string_view name) {
  if (object.state == nullptr) return ValueRef{nullptr};
  const auto* entries = DictEntries(*object.state);
  if (entries == nullptr) return Expected(fmt::format("a dict of attributes of {}", Describe(&object)), object.state);
  if (entries->size() / 2 > kMaxAttributes) {
    return Corrupt(fmt::format("[TD-3] expected at most {} attributes, found {}", kMaxAttributes, entries->size() / 2));
  }
  return Lookup(*object.state, name);
}

Result<uint64_t> Count(const ValueNode* node, std::string_view what) {
  if (node == nullptr || node->kind != Kind::kInt || node->integer < 0) return Expected(what, node);
  return static_cast<uint64_t>(node->integer);
}

// A torch.Size that was not taken, or a tuple of sizes.
Result<Shape> ReadShape(const ValueNode* node, std::string_view what) {
  if (node != nullptr && IsCall(*node, kSize)) {
    if (node->items.empty()) return Shape{};
    node = node->items.front();
  }
  if (node == nullptr || (node->kind != Kind::kTuple && node->kind != Kind::kList)) return Expected(what, node);
  if (node->items.size() > kMaxRank) {
    return Corrupt(fmt::format("[TD-3] expected at most {} axes, found {}", kMaxRank, node->items.size()));
  }
  Shape shape;
  shape.reserve(node->items.size());
  for (const ValueNode* item : node->items) {
    ANEMONE_ASSIGN(const uint64_t size, Count(item, what));
    shape.push_back(size);
  }
  return shape;
}

Result<std::string_view> ReadKey(const ValueNode* node) {
  if (node == nullptr || node->kind != Kind::kString) return Expected("a key", node);
  if (node->text.size() > kMaxKeyBytes) {
    return LimitExceeded(fmt::format("expected keys of at most {} bytes, found {}", kMaxKeyBytes, node->text.size()));
  }
  return std::string_view(node->text);
}

Result<DType> ReadDType(const ValueNode* properties) {
  if (properties == nullptr || !(IsCall(*properties, kProperties) || IsCall(*properties, kProperties22))) {
    return Expected("TensorProperties", properties);
  }
  // A state of (dtype, layout, requires_grad, memory format, pin_memory) up to torch 2.11, and strides later; or the
  // call TensorProperties(dtype), with which anemone writes what every torch can read.
  const ValueNode* state = properties->state;
  const bool is_called = state == nullptr && properties->items.size() == 1;
  if (!is_called &&
      (state == nullptr || state->kind != Kind::kTuple || state->items.size() < 5 || state->items.size() > 6)) {
    return Expected("a tuple of 5 or 6 tensor properties", state);
  }
  const ValueNode& dtype = is_called ? *properties->items[0] : *state->items[0];
  const auto word = dtype.kind == Kind::kGlobal ? DTypeWord(dtype.text) : std::nullopt;
  const auto found = word ? FindDType(&DTypeInfo::torch, *word) : std::nullopt;
  if (!found) return Expected("a dtype of torch", &dtype);
  if (is_called) return *found;
  const ValueNode& layout = *state->items[1];
  if (layout.kind == Kind::kObject && !layout.items.empty() && layout.items[0]->text != "torch.strided") {
    return Unsupported(fmt::format("[TD-3] expected torch.strided tensors, found {}", layout.items[0]->text));
  }
  return *found;
}

Status CheckInside(const Shape& shape, const DistChunk& chunk) {
  const Shape &offsets = *chunk.offsets, &sizes = *chunk.sizes;
  if (offsets.size() != shape.size() || sizes.size() != shape.size()) {
    return Corrupt(
        fmt::format("[TD-4] expected chunks of {} axes, found {} and {}", shape.size(), offsets.size(), sizes.size()));
  }
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (offsets[axis] > shape[axis] || sizes[axis] > shape[axis] - offsets[axis]) {
      return Corrupt(fmt::format("[TD-4] expected chunks inside {}, found {} at {}", ToString(shape), ToString(sizes),
                                 ToString(offsets)));
    }
  }
  return {};
}

// TD-4: N-D flattened optimizer tensors divide the original shape into fragments of equal shape.
Status CheckFlattened(const DistTensor& tensor) {
  const Shape &original = *tensor.original_shape, &shape = *tensor.shape;
  const auto refuse = [&] {
    return Corrupt(fmt::format("[TD-8] expected fragments of {} and their flat size, found {}", ToString(original),
                               ToString(shape)));
  };
  if (shape.size() != original.size() + 1) return refuse();
  uint64_t elements = 1;
  for (size_t axis = 0; axis < original.size(); ++axis) {
    const uint64_t fragments = shape[axis];
    if (fragments == 0 || original[axis] % fragments != 0) return refuse();
    if (__builtin_mul_overflow(elements, original[axis] / fragments, &elements)) return refuse();
  }
  return elements == shape.back() ? Status() : refuse();
}

Result<std::vector<DistStep>> ReadPath(const ValueNode& node) {
  std::vector<DistStep> path;
  if (node.kind != Kind::kTuple && node.kind != Kind::kList) return Expected("a tuple as path", &node);
  if (node.items.size() > kMaxRank) return Corrupt(fmt::format("[TD-9] a path of {} steps", node.items.size()));
  for (const ValueNode* step : node.items) {
    if (step->kind == Kind::kInt) {
      path.emplace_back(step->integer);
    } else {
      ANEMONE_ASSIGN(const std::string_view word, ReadKey(step));
      path.emplace_back(std::string(word));
    }
  }
  return path;
}

using ItemIndex = internal::TextViewMap<size_t>;  // by key

// Where in the dictionary that was saved each item was.
Status ReadPaths(const ValueNode& planner_data, const ItemIndex& index, std::deque<DistItem>* items) {
  const auto* paths = DictEntries(planner_data);
  for (size_t i = 0; paths != nullptr && i + 1 < paths->size(); i += 2) {
    const auto it = index.find((*paths)[i]->text);
    if (it == index.end()) continue;
    auto path = ReadPath(*(*paths)[i + 1]);
    if (!path.ok()) return path.status().In(it->first);
    (*items)[it->second].path = *std::move(path);
  }
  return {};
}

const Shape& OffsetsOf(const DistChunk& chunk) { return *chunk.offsets; }

// A `.metadata`, understood while it is read: of each tensor the pickle has twenty values, and of a chunk another ten.
class MetadataReader {
 public:
  explicit MetadataReader(size_t pickle_bytes) : chunks_left_(pickle_bytes / kLeastChunkBytes) {}

  // A torch.Size becomes a number of `sizes_`. What is none is refused where it is used.
  bool TakeSize(ValueNode& node) {
    if (!IsCall(node, kSize)) return false;
    if (node.integer == 0) {
      Result<Shape> shape = ReadShape(&node, "");
      if (!shape.ok()) return false;
      node.integer = static_cast<int64_t>(Keep(*std::move(shape)));
    }
    return true;
  }

  Result<bool> TakePair(const ValueNode& dict, const ValueNode& key, const ValueNode& value) {
    if (IsCall(key, kIndex)) {
      ANEMONE_TRY(CheckIsOne(dict, &storage_data_, "storage_data"));
      return TakePlace(key, value);
    }
    if (IsPathOfOne(key, value)) return true;
    const bool is_tensor = IsCall(value, kTensorStorage);
    if (!is_tensor && !IsCall(value, kBytesStorage)) return &dict != state_dict_ && IsNothingOf(key, value);
    ANEMONE_TRY(CheckIsOne(dict, &state_dict_, "state_dict_metadata"));
    ANEMONE_ASSIGN(const std::string_view name, ReadKey(&key));
    DistItem& item = metadata_.items.emplace_back();
    item.key = name;
    item.content = DistObject();
    if (!index_.emplace(item.key, index_.size()).second)
      return Corrupt("[TD-3] expected one entry, found two").In(name);
    if (!is_tensor) return true;
    auto tensor = ReadTensor(value);
    if (!tensor.ok()) return tensor.status().In(name);
    item.content = *std::move(tensor);
    return true;
  }

  // Reads what was left in `root`, and checks that the pairs were those of its dictionaries, and all of them.
  Result<DistMetadata> Finish(const ValueNode& root) {
    ANEMONE_ASSIGN(const ValueList* const places, LeftOf(root, "storage_data", storage_data_));
    for (size_t i = 0; i + 1 < places->size(); i += 2) {
      if (!IsCall(*(*places)[i], kIndex)) return Unexpected(*places, i, "storage_data", "MetadataIndex");
      ANEMONE_TRY(TakePlace(*(*places)[i], *(*places)[i + 1]).status());
    }
    ANEMONE_ASSIGN(const ValueList* const keys, LeftOf(root, "state_dict_metadata", state_dict_));
    if (!keys->empty())
      return Unexpected(*keys, 0, "state_dict_metadata", "TensorStorageMetadata or BytesStorageMetadata");
    for (const DistItem& item : metadata_.items) ANEMONE_TRY(CheckIsPlaced(item).In(item.key));
    ANEMONE_ASSIGN(const ValueRef planner_data, Attribute(root, "planner_data"));
    if (planner_data != nullptr) ANEMONE_TRY(ReadPaths(*planner_data, index_, &metadata_.items));
    ANEMONE_ASSIGN(const ValueRef mcore_data, Attribute(root, "mcore_data"));
    if (mcore_data != nullptr) ANEMONE_TRY(ReadOriginalShapes(*mcore_data));
    return std::move(metadata_);
  }

 private:
  // In planner_data, that a key was where it is.
  static bool IsPathOfOne(const ValueNode& key, const ValueNode& value) {
    return key.kind == Kind::kString && value.kind == Kind::kTuple && value.items.size() == 1 &&
           value.items[0]->kind == Kind::kString && value.items[0]->text == key.text;
  }
  // In mcore_data, that a tensor has the shape that it has.
  bool IsNothingOf(const ValueNode& key, const ValueNode& value) const {
    return key.kind == Kind::kString && value.kind == Kind::kDict && value.items.empty() && index_.contains(key.text);
  }
  static Status CheckIsOne(const ValueNode& dict, const ValueNode** known, std::string_view name) {
    if (*known == nullptr) *known = &dict;
    if (*known == &dict) return {};
    return Corrupt(fmt::format("[TD-3] expected one dict as {}, found two", name));
  }
  // The pairs that were not taken out of a dictionary of `root`.
  static Result<const ValueList*> LeftOf(const ValueNode& root, std::string_view name, const ValueNode* taken) {
    ANEMONE_ASSIGN(const ValueRef dict, Attribute(root, name));
    const auto* left = dict == nullptr ? nullptr : DictEntries(*dict);
    if (left == nullptr || (taken != nullptr && dict != taken))
      return Expected(fmt::format("a dict as {}", name), dict);
    return left;
  }
  static Status Unexpected(const ValueList& pairs, size_t i, std::string_view name, std::string_view what) {
    const bool is_named = pairs[i]->kind == Kind::kString;
    return Expected(what, pairs[is_named ? i + 1 : i]).In(is_named ? pairs[i]->text : name);
  }

  // The number of a shape in `sizes_`, from 1 on.
  size_t Keep(Shape shape) {
    const auto& [kept, number] = metadata_.Numbered(std::move(shape));
    if (number > sizes_.size()) sizes_.push_back(&kept);
    return number;
  }
  Result<const Shape*> SizesOf(const ValueNode* node, std::string_view what) {
    if (node != nullptr && IsCall(*node, kSize) && node->integer > 0)
      return sizes_.at(static_cast<size_t>(node->integer) - 1);
    ANEMONE_ASSIGN(Shape shape, ReadShape(node, what));
    return sizes_[Keep(std::move(shape)) - 1];
  }

  Result<DistTensor> ReadTensor(const ValueNode& node) {
    DistTensor tensor;
    ANEMONE_ASSIGN(const ValueRef properties, Attribute(node, "properties"));
    ANEMONE_ASSIGN(tensor.dtype, ReadDType(properties));
    ANEMONE_ASSIGN(const ValueRef size, Attribute(node, "size"));
    ANEMONE_ASSIGN(tensor.shape, SizesOf(size, "a torch.Size"));
    const auto total = NumElements(*tensor.shape);
    if (!total || *total > UINT64_MAX / 16)
      return Corrupt(fmt::format("[TD-4] a size that overflows: {}", ToString(*tensor.shape)));
    ANEMONE_ASSIGN(const ValueRef chunks, Attribute(node, "chunks"));
    if (chunks == nullptr || chunks->kind != Kind::kList) return Expected("a list of chunks", chunks);
    // A list that many keys share is no bomb.
    if (chunks->items.size() > chunks_left_)
      return Corrupt("[TD-5] expected a stored item for each chunk, found more chunks than the file has room for");
    chunks_left_ -= chunks->items.size();
    tensor.chunks.reserve(chunks->items.size());
    uint64_t volume = 0;
    for (const ValueNode* item : chunks->items) {
      if (!IsCall(*item, kChunk)) return Expected("ChunkStorageMetadata", item);
      ANEMONE_ASSIGN(const ValueRef offset, Attribute(*item, "offsets"));
      ANEMONE_ASSIGN(const Shape* const offsets, SizesOf(offset, "offsets"));
      ANEMONE_ASSIGN(const ValueRef lengths, Attribute(*item, "sizes"));
      ANEMONE_ASSIGN(const Shape* const sizes, SizesOf(lengths, "sizes"));
      tensor.chunks.push_back({offsets, sizes, {}, {}});
      ANEMONE_TRY(CheckInside(*tensor.shape, tensor.chunks.back()));
      volume += *NumElements(*sizes);  // inside `shape`, at most `total` each; the sum is checked as it grows
      if (volume > *total) break;
    }
    if (volume != *total) {
      return Corrupt(fmt::format("[TD-4] expected chunks that cover {} elements once, found {}{}", *total,
                                 volume > *total ? "more than " : "", std::min(volume, *total)));
    }
    std::ranges::stable_sort(tensor.chunks, {}, OffsetsOf);
    return tensor;
  }

  // One of storage_data: an item and its place. False where the item is not known, or not yet.
  Result<bool> TakePlace(const ValueNode& place, const ValueNode& info) {
    ANEMONE_ASSIGN(const ValueRef fqn, Attribute(place, "fqn"));
    ANEMONE_ASSIGN(const std::string_view key, ReadKey(fqn));
    ANEMONE_ASSIGN(const ValueRef offset, Attribute(place, "offset"));
    auto location = ReadLocation(info);
    if (!location.ok()) return location.status().In(key);
    const auto it = index_.find(key);
    if (it == index_.end()) return false;
    DistItem& item = metadata_.items[it->second];
    const auto set = [&](DistLocation& known) -> Status {
      if (known.file != DistLocation::kNowhere)
        return Corrupt("[TD-5] expected one place per chunk, found two").In(key);
      known = *location;
      return {};
    };
    auto* const tensor = std::get_if<DistTensor>(&item.content);
    if (tensor == nullptr) {
      if (IsNone(offset)) ANEMONE_TRY(set(std::get<DistObject>(item.content).location));
      return true;
    }
    if (IsNone(offset)) return true;
    ANEMONE_ASSIGN(const Shape* const offsets, SizesOf(offset, "offsets"));
    // Two without elements may have the same.
    for (auto chunk = std::ranges::lower_bound(tensor->chunks, *offsets, {}, OffsetsOf);
         chunk != tensor->chunks.end() && *chunk->offsets == *offsets; ++chunk) {
      ANEMONE_TRY(set(chunk->location));
    }
    return true;
  }

  Result<DistLocation> ReadLocation(const ValueNode& info) {
    if (!IsCall(info, kStorageInfo)) return Expected("_StorageInfo", &info);
    ANEMONE_ASSIGN(const ValueRef transforms, Attribute(info, "transform_descriptors"));
    if (!IsNone(transforms) && !transforms->items.empty()) {
      const ValueNode& first = *transforms->items.front();
      const std::string_view what = first.text.starts_with("stream.zstd") ? "compressed by zstd" : "transformed";
      return Unsupported(
          fmt::format("[TD-6] expected items as torch.save wrote them, found them {} (\"{}\")", what, first.text),
          "torch.distributed.checkpoint.format_utils.dcp_to_torch_save makes a .pt of the folder");
    }
    ANEMONE_ASSIGN(const ValueRef path, Attribute(info, "relative_path"));
    ANEMONE_ASSIGN(const std::string_view name, ReadKey(path));
    if (name.empty() || name.front() == '.' ||
        name.find_first_of(std::string_view("/\\\0", 3)) != std::string_view::npos) {
      return Corrupt(fmt::format("[TD-7] expected the name of a file in this folder, found \"{}\"", name));
    }
    DistLocation location;
    ANEMONE_ASSIGN(const ValueRef offset, Attribute(info, "offset"));
    ANEMONE_ASSIGN(location.offset, Count(offset, "an offset"));
    ANEMONE_ASSIGN(const ValueRef length, Attribute(info, "length"));
    ANEMONE_ASSIGN(location.length, Count(length, "a length"));
    const auto [it, added] = files_.emplace(name, metadata_.files.size());
    if (added) metadata_.files.emplace_back(name);
    location.file = it->second;
    return location;
  }

  // TD-5: every chunk has its own place in storage_data.
  static Status CheckIsPlaced(const DistItem& item) {
    const auto* const tensor = std::get_if<DistTensor>(&item.content);
    if (tensor == nullptr) {
      if (std::get<DistObject>(item.content).location.file != DistLocation::kNowhere) return {};
      return Corrupt("[TD-5] expected a stored item, found none");
    }
    for (const DistChunk& chunk : tensor->chunks) {
      if (chunk.location.file != DistLocation::kNowhere) continue;
      return Corrupt(
          fmt::format("[TD-5] expected a stored item for the chunk at {}, found none", ToString(*chunk.offsets)));
    }
    return {};
  }

  // What Megatron-core adds: the shapes of tensors that are stored in another.
  Status ReadOriginalShapes(const ValueNode& mcore_data) {
    const auto* extras = DictEntries(mcore_data);
    for (size_t i = 0; extras != nullptr && i + 1 < extras->size(); i += 2) {
      const auto it = index_.find((*extras)[i]->text);
      if (it == index_.end()) continue;
      auto* tensor = std::get_if<DistTensor>(&metadata_.items[it->second].content);
      const ValueNode& extra = *(*extras)[i + 1];
      if (tensor == nullptr || DictEntries(extra) == nullptr || DictEntries(extra)->size() > 2 * kMaxAttributes)
        continue;
      const ValueRef shape = Lookup(extra, "nd_reformulated_orig_global_shape");
      if (IsNone(shape)) continue;
      auto original = SizesOf(shape, "a global shape");
      if (!original.ok()) return original.status().In(it->first);
      tensor->original_shape = *original;
      ANEMONE_TRY(CheckFlattened(*tensor).In(it->first));
    }
    return {};
  }

  // Every chunk has a place of its own in storage_data: two objects that are called and built.
  static constexpr size_t kLeastChunkBytes = 16;
  size_t chunks_left_;
  DistMetadata metadata_;
  ItemIndex index_;
  std::vector<const Shape*> sizes_;  // of the metadata's shapes
  internal::TextMap<size_t> files_;
  const ValueNode* storage_data_ = nullptr;
  const ValueNode* state_dict_ = nullptr;
};

}  // namespace

Result<DistMetadata> ParseDistMetadata(std::string pickle) {
  MetadataReader reader(pickle.size());
  const auto take_size = [&](ValueNode& node) -> Result<bool> { return reader.TakeSize(node); };
  const auto take_pair = [&](const ValueNode& dict, const ValueNode& key, const ValueNode& value) {
    return reader.TakePair(dict, key, value);
  };
  const auto value = ReadPickle(pickle, {}, nullptr, {.object = take_size, .pair = take_pair});
  // What a class of another kind leads to is said by its name.
  const auto whole = value.ok() ? value : ReadPickle(pickle);
  if (whole.ok()) ANEMONE_TRY(CheckGlobals(*whole->graph));
  if (!value.ok()) return value.status();
  pickle = {};
  const ValueNode& root = *value->node;
  if (!IsCall(root, kMetadata) && !IsCall(root, kMcoreMetadata)) {
    return Expected("torch.distributed.checkpoint.metadata.Metadata", &root);
  }
  return reader.Finish(root);
}

}  // namespace anemone
