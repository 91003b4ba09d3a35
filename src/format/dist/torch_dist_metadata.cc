#include "format/dist/torch_dist_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <unordered_map>

#include "anemone/value.h"
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

// A torch.Size or a tuple of sizes.
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

// Of a stored item: its key, and the offsets of the chunk that it holds.
std::string ItemId(std::string_view key, const Shape* offsets) {
  std::string id(key);
  if (offsets == nullptr) return id;
  id += '\0';
  for (const uint64_t offset : *offsets) id.append(reinterpret_cast<const char*>(&offset), sizeof offset);
  return id;
}

Result<std::string> ReadItemId(const ValueNode& index) {
  ANEMONE_ASSIGN(const ValueRef fqn, Attribute(index, "fqn"));
  ANEMONE_ASSIGN(const std::string_view key, ReadKey(fqn));
  ANEMONE_ASSIGN(const ValueRef offset, Attribute(index, "offset"));
  if (IsNone(offset)) return ItemId(key, nullptr);
  ANEMONE_ASSIGN(const Shape offsets, ReadShape(offset, "offsets"));
  return ItemId(key, &offsets);
}

// storage_data: item → location.
class Storage {
 public:
  // In any order.
  Status Add(std::string id, const ValueNode& info) {
    auto location = ReadLocation(info);
    if (!location.ok()) return location.status().In(id.substr(0, id.find('\0')));
    items_.push_back({std::move(id), *location});
    return {};
  }
  // REQUIRES of Find: nothing is added any more.
  Status Sort() {
    std::ranges::sort(items_, {}, &Item::id);
    const auto twice = std::ranges::adjacent_find(items_, {}, &Item::id);
    if (twice == items_.end()) return {};
    return Corrupt("[TD-5] expected one place per chunk, found two").In(twice->id.substr(0, twice->id.find('\0')));
  }
  size_t size() const { return items_.size(); }
  const DistLocation* Find(std::string_view key, const Shape* offsets) const {
    const std::string id = ItemId(key, offsets);
    const auto it = std::ranges::lower_bound(items_, id, {}, &Item::id);
    return it == items_.end() || it->id != id ? nullptr : &it->location;
  }
  std::vector<std::string> TakeFiles() { return std::move(files_); }

 private:
  struct Item {
    std::string id;
    DistLocation location;
  };

  Result<DistLocation> ReadLocation(const ValueNode& info) {
    if (!IsCall(info, kStorageInfo)) return Expected("_StorageInfo", &info);
    ANEMONE_ASSIGN(const ValueRef transforms, Attribute(info, "transform_descriptors"));
    if (!IsNone(transforms) && !transforms->items.empty()) {
      const ValueNode& first = *transforms->items.front();
      return Unsupported(fmt::format("[TD-6] expected untransformed items, found \"{}\"", first.text));
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
    const auto [it, added] = file_index_.emplace(name, files_.size());
    if (added) files_.emplace_back(name);
    location.file = it->second;
    return location;
  }

  std::deque<Item> items_;
  std::vector<std::string> files_;
  std::unordered_map<std::string, size_t> file_index_;
};

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

Status CheckInside(const DistTensor& tensor, const DistChunk& chunk) {
  if (chunk.offsets.size() != tensor.shape.size() || chunk.sizes.size() != tensor.shape.size()) {
    return Corrupt(fmt::format("[TD-4] expected chunks of {} axes, found {} and {}", tensor.shape.size(),
                               chunk.offsets.size(), chunk.sizes.size()));
  }
  for (size_t axis = 0; axis < tensor.shape.size(); ++axis) {
    if (chunk.offsets[axis] > tensor.shape[axis] || chunk.sizes[axis] > tensor.shape[axis] - chunk.offsets[axis]) {
      return Corrupt(fmt::format("[TD-4] expected chunks inside {}, found {} at {}", ToString(tensor.shape),
                                 ToString(chunk.sizes), ToString(chunk.offsets)));
    }
  }
  return {};
}

// TD-4: N-D flattened optimizer tensors divide the original shape into fragments of equal shape.
Status CheckFlattened(const DistTensor& tensor) {
  const Shape& original = *tensor.original_shape;
  const auto refuse = [&] {
    return Corrupt(fmt::format("[TD-8] expected fragments of {} and their flat size, found {}", ToString(original),
                               ToString(tensor.shape)));
  };
  if (tensor.shape.size() != original.size() + 1) return refuse();
  uint64_t elements = 1;
  for (size_t axis = 0; axis < original.size(); ++axis) {
    const uint64_t fragments = tensor.shape[axis];
    if (fragments == 0 || original[axis] % fragments != 0) return refuse();
    if (__builtin_mul_overflow(elements, original[axis] / fragments, &elements)) return refuse();
  }
  return elements == tensor.shape.back() ? Status() : refuse();
}

Result<DistTensor> ReadTensor(const ValueNode& node, size_t& chunks_left) {
  DistTensor tensor;
  ANEMONE_ASSIGN(const ValueRef properties, Attribute(node, "properties"));
  ANEMONE_ASSIGN(tensor.dtype, ReadDType(properties));
  ANEMONE_ASSIGN(const ValueRef size, Attribute(node, "size"));
  ANEMONE_ASSIGN(tensor.shape, ReadShape(size, "a torch.Size"));
  const auto total = NumElements(tensor.shape);
  if (!total || *total > UINT64_MAX / 16)
    return Corrupt(fmt::format("[TD-4] a size that overflows: {}", ToString(tensor.shape)));
  ANEMONE_ASSIGN(const ValueRef chunks, Attribute(node, "chunks"));
  if (chunks == nullptr || chunks->kind != Kind::kList) return Expected("a list of chunks", chunks);
  // A list that many keys share is no bomb.
  if (chunks->items.size() > chunks_left)
    return Corrupt("[TD-5] expected a stored item for each chunk, found more chunks than the file has room for");
  chunks_left -= chunks->items.size();
  uint64_t volume = 0;
  for (const ValueNode* item : chunks->items) {
    if (!IsCall(*item, kChunk)) return Expected("ChunkStorageMetadata", item);
    DistChunk chunk;
    ANEMONE_ASSIGN(const ValueRef offsets, Attribute(*item, "offsets"));
    ANEMONE_ASSIGN(chunk.offsets, ReadShape(offsets, "offsets"));
    ANEMONE_ASSIGN(const ValueRef sizes, Attribute(*item, "sizes"));
    ANEMONE_ASSIGN(chunk.sizes, ReadShape(sizes, "sizes"));
    ANEMONE_TRY(CheckInside(tensor, chunk));
    volume += *NumElements(chunk.sizes);  // inside `shape`, at most `total` each; the sum is checked as it grows
    if (volume > *total) break;
    tensor.chunks.push_back(std::move(chunk));
  }
  if (volume != *total) {
    return Corrupt(fmt::format("[TD-4] expected chunks that cover {} elements once, found {}{}", *total,
                               volume > *total ? "more than " : "", std::min(volume, *total)));
  }
  return tensor;
}

// TD-5: every chunk has its own place in storage_data.
Status Locate(const Storage& storage, DistItem& item) {
  auto* const tensor = std::get_if<DistTensor>(&item.content);
  if (tensor == nullptr) {
    const DistLocation* location = storage.Find(item.key, nullptr);
    if (location == nullptr) return Corrupt("[TD-5] expected a stored item, found none");
    item.content = *location;
    return {};
  }
  for (DistChunk& chunk : tensor->chunks) {
    const DistLocation* location = storage.Find(item.key, &chunk.offsets);
    if (location == nullptr) {
      return Corrupt(
          fmt::format("[TD-5] expected a stored item for the chunk at {}, found none", ToString(chunk.offsets)));
    }
    chunk.location = *location;
  }
  return {};
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

using ItemIndex = std::unordered_map<std::string_view, size_t>;  // by key

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

// What Megatron-core adds: the shapes of tensors that are stored in another.
Status ReadOriginalShapes(const ValueNode& mcore_data, const ItemIndex& index, std::deque<DistItem>* items) {
  const auto* extras = DictEntries(mcore_data);
  for (size_t i = 0; extras != nullptr && i + 1 < extras->size(); i += 2) {
    const auto it = index.find((*extras)[i]->text);
    if (it == index.end()) continue;
    auto* tensor = std::get_if<DistTensor>(&(*items)[it->second].content);
    const ValueNode& extra = *(*extras)[i + 1];
    if (tensor == nullptr || DictEntries(extra) == nullptr || DictEntries(extra)->size() > 2 * kMaxAttributes) continue;
    const ValueRef shape = Lookup(extra, "nd_reformulated_orig_global_shape");
    if (IsNone(shape)) continue;
    auto original = ReadShape(shape, "a global shape");
    if (!original.ok()) return original.status().In(it->first);
    tensor->original_shape = *std::move(original);
    ANEMONE_TRY(CheckFlattened(*tensor).In(it->first));
  }
  return {};
}

// The two dictionaries of a `.metadata`, taken pair by pair while it is read: of each tensor the pickle has twenty
// values.
class PairReader {
 public:
  PairReader(size_t pickle_bytes, std::deque<DistItem>* items)
      : chunks_left_(pickle_bytes / kLeastChunkBytes), items_(items) {}

  Result<bool> Take(const ValueNode& dict, const ValueNode& key, const ValueNode& value) {
    if (IsCall(key, kIndex)) {
      ANEMONE_TRY(CheckIsOne(dict, &storage_data_, "storage_data"));
      ANEMONE_ASSIGN(std::string id, ReadItemId(key));
      ANEMONE_TRY(storage_.Add(std::move(id), value));
      return true;
    }
    if (IsPathOfOne(key, value)) return true;
    const bool is_tensor = IsCall(value, kTensorStorage);
    if (!is_tensor && !IsCall(value, kBytesStorage)) return false;
    ANEMONE_TRY(CheckIsOne(dict, &state_dict_, "state_dict_metadata"));
    ANEMONE_ASSIGN(const std::string_view name, ReadKey(&key));
    DistItem& item = items_->emplace_back();
    item.key = name;
    item.content = DistLocation();
    if (!is_tensor) return true;
    auto tensor = ReadTensor(value, chunks_left_);
    if (!tensor.ok()) return tensor.status().In(name);
    item.content = *std::move(tensor);
    return true;
  }

  // Checks that the pairs were those of `root`'s dictionaries, and all of them.
  Result<Storage> Finish(const ValueNode& root) {
    ANEMONE_TRY(CheckIsTaken(root, "storage_data", storage_data_, "MetadataIndex"));
    ANEMONE_TRY(
        CheckIsTaken(root, "state_dict_metadata", state_dict_, "TensorStorageMetadata or BytesStorageMetadata"));
    ANEMONE_TRY(storage_.Sort());
    return std::move(storage_);
  }

 private:
  // In planner_data, that a key was where it is.
  static bool IsPathOfOne(const ValueNode& key, const ValueNode& value) {
    return key.kind == Kind::kString && value.kind == Kind::kTuple && value.items.size() == 1 &&
           value.items[0]->kind == Kind::kString && value.items[0]->text == key.text;
  }
  static Status CheckIsOne(const ValueNode& dict, const ValueNode** known, std::string_view name) {
    if (*known == nullptr) *known = &dict;
    if (*known == &dict) return {};
    return Corrupt(fmt::format("[TD-3] expected one dict as {}, found two", name));
  }
  static Status CheckIsTaken(const ValueNode& root, std::string_view name, const ValueNode* taken,
                             std::string_view what) {
    ANEMONE_ASSIGN(const ValueRef dict, Attribute(root, name));
    const auto* left = dict == nullptr ? nullptr : DictEntries(*dict);
    if (left == nullptr || (taken != nullptr && dict != taken))
      return Expected(fmt::format("a dict as {}", name), dict);
    if (left->empty()) return {};
    const ValueNode& key = *(*left)[0];
    const bool is_named = key.kind == Kind::kString;
    return Expected(what, is_named ? (*left)[1] : &key).In(is_named ? key.text : name);
  }

  // Every chunk has a place of its own in storage_data: two objects that are called and built.
  static constexpr size_t kLeastChunkBytes = 16;
  size_t chunks_left_;
  std::deque<DistItem>* items_;
  Storage storage_;
  const ValueNode* storage_data_ = nullptr;
  const ValueNode* state_dict_ = nullptr;
};

}  // namespace

Result<DistMetadata> ParseDistMetadata(std::string pickle) {
  DistMetadata metadata;
  PairReader pairs(pickle.size(), &metadata.items);
  const auto take = [&](const ValueNode& dict, const ValueNode& key, const ValueNode& value) {
    return pairs.Take(dict, key, value);
  };
  const auto value = ReadPickle(pickle, {}, nullptr, {.object = {}, .pair = take});
  // What a class of another kind leads to is said by its name.
  const auto whole = value.ok() ? value : ReadPickle(pickle);
  if (whole.ok()) ANEMONE_TRY(CheckGlobals(*whole->graph));
  if (!value.ok()) return value.status();
  pickle = {};
  const ValueNode& root = *value->node;
  if (!IsCall(root, kMetadata) && !IsCall(root, kMcoreMetadata)) {
    return Expected("torch.distributed.checkpoint.metadata.Metadata", &root);
  }
  ANEMONE_ASSIGN(Storage storage, pairs.Finish(root));
  metadata.files = storage.TakeFiles();
  ItemIndex index;
  for (DistItem& item : metadata.items) {
    if (!index.emplace(item.key, index.size()).second)
      return Corrupt("[TD-3] expected one entry, found two").In(item.key);
    ANEMONE_TRY(Locate(storage, item).In(item.key));
  }

  ANEMONE_ASSIGN(const ValueRef planner_data, Attribute(root, "planner_data"));
  if (planner_data != nullptr) ANEMONE_TRY(ReadPaths(*planner_data, index, &metadata.items));
  ANEMONE_ASSIGN(const ValueRef mcore_data, Attribute(root, "mcore_data"));
  if (mcore_data != nullptr) ANEMONE_TRY(ReadOriginalShapes(*mcore_data, index, &metadata.items));
  return metadata;
}

}  // namespace anemone
