// Writing torch_dist folders: a `.distcp` for each rank with an item for each tensor or layer, and `.metadata`, which
// indexes them.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "engine/share.h"
#include "format/dist/dist.h"
#include "format/dist/entries.h"
#include "format/dist/torch_dist_index.h"
#include "format/dist/torch_dist_keys.h"
#include "format/torch/torch_write.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr size_t kMaxRanks = 4096;

Shape Prepended(uint64_t first, const Shape& rest) {
  Shape shape = {first};
  shape.insert(shape.end(), rest.begin(), rest.end());
  return shape;
}

// The fragments of a layer's flat tensor and the size of one: [a, b] → [1, 1, a·b], of a gated MLP [2, 1, a·b/2], of
// experts with theirs before. Megatron-core loads one fragment for each part that it divides a parameter into, and one
// twice is an error [core_v0.9.0 dist_checkpointing/strategies/torch.py, sharded_tensor_to_torch_sharded_tensor]. One
// axis stays as it is, as Megatron leaves it when unstacked.
Shape FlatShape(const DistOutput& output) {
  const Shape& shape = output.layers.front().shape();
  if (!output.flattened || shape.empty() || (shape.size() == 1 && !output.stacked)) return shape;
  Shape flat(shape.size(), 1);
  if (output.has_experts) flat[0] = shape[0];
  flat[output.has_experts ? 1 : 0] *= output.halves;
  uint64_t fragments = 1;
  for (const uint64_t count : flat) fragments *= count;
  flat.push_back(*NumElements(shape) / fragments);
  return flat;
}

// Where the pieces of a layer's tensor of the shape `part` begin: all of it, or a flat one's fragments.
std::vector<Shape> FragmentsOf(const Shape& part, bool is_flat) {
  std::vector<Shape> begins = {Shape(part.size(), 0)};
  if (!is_flat) return begins;
  for (size_t axis = 0; axis + 1 < part.size(); ++axis) {
    const std::vector<Shape> before = std::move(begins);
    begins.clear();
    for (const Shape& shape : before) {
      for (uint64_t i = 0; i < part[axis]; ++i) {
        begins.push_back(shape);
        begins.back()[axis] = i;
      }
    }
  }
  return begins;
}

// Appends the items of a folder: each a torch.save of one tensor, which its dtype and shape lay out but for the
// elements.
class ItemWriter {
 public:
  // `items`: how many each rank's file will have.
  ItemWriter(std::vector<PlanFile>& files, const std::vector<size_t>& items, const LayOutOptions& options)
      : files_(files), kinds_(files.size()), zip_{.has_crc32 = options.has_crc32}, keeps_blocks_(options.keeps_blocks) {
    for (size_t rank = 0; rank < files.size(); ++rank) {
      files[rank].segments.reserve(3 * items[rank]);
      files[rank].crcs.reserve(items[rank]);
    }
    places_.reserve(std::accumulate(items.begin(), items.end(), size_t{0}));
  }

  // The elements of `tensor`, in another shape.
  Status Append(size_t rank, const Tensor& tensor, const Shape& shape) {
    PlanFile& file = files_[rank];
    const auto [kind, is_new] = kinds_[rank].try_emplace({tensor.dtype(), shape});
    if (is_new) {
      ANEMONE_ASSIGN(Tensor shaped, tensor.Reshape(shape));
      Value value{std::make_shared<ValueGraph>(), nullptr};
      value.node = NewTensor(*value.graph, std::move(shaped));
      PlanFile item;
      ANEMONE_TRY(LayOutTorchFile(std::move(value), "archive", item, zip_));
      kind->second = TakeSurroundings(item, file);
    }
    std::optional<uint32_t> crc32;
    if (const std::optional<uint64_t> place = keeps_blocks_ ? BestPlace(tensor) : std::nullopt) {
      // Zeros before the item let the elements lie in their blocks as in their source's.
      file.AppendZeros((*place - file.size - kind->second.before.size()) % kBlockBytes);
      crc32 = RecordedCrcOf(tensor);
    }
    const uint64_t start = file.size;
    AppendWithin(kind->second, tensor, file, crc32);
    places_.push_back({start, file.size - start});
    return {};
  }
  // In a list of one, as Megatron saves objects.
  Status Append(ValueRef object) {
    PlanFile& file = files_.front();
    Value listed{std::make_shared<ValueGraph>(), nullptr};
    listed.node = listed.graph->New(Kind::kList);
    listed.node->items.push_back(object != nullptr ? CopyValue(object, *listed.graph) : listed.graph->New(Kind::kNone));
    const uint64_t start = file.size;
    ANEMONE_ASSIGN(TorchPickle pickle, PickleTorch(listed));
    if (pickle.storages.empty()) {
      const auto [alike, is_new] = objects_.try_emplace(pickle.bytes);
      if (is_new) {
        PlanFile item;
        ANEMONE_TRY(LayOutTorchFile(std::move(pickle), "archive", item));
        alike->second = TakeSurroundings(item, file);
      }
      file.AppendKept(alike->second.before);
    } else {
      ANEMONE_TRY(LayOutTorchFile(std::move(pickle), "archive", file));
    }
    places_.push_back({start, file.size - start});
    return {};
  }
  const std::vector<ItemPlace>& places() const { return places_; }

 private:
  std::vector<PlanFile>& files_;                                        // by rank
  std::vector<std::map<std::pair<DType, Shape>, Surroundings>> kinds_;  // by rank
  std::map<std::string, Surroundings> objects_;                         // by their pickles: most are empty states
  const ZipOptions zip_;
  const bool keeps_blocks_;
  std::vector<ItemPlace> places_;
};

// The axis along which Megatron's tensor ranks divide a parameter; any grid of chunks is legal, this one lets each rank
// read one file. nullopt: kept whole.
std::optional<size_t> SplitAxis(std::string_view key) {
  constexpr std::string_view rows[] = {"linear_qkv.weight",   "linear_qkv.bias",  "linear_fc1.weight",
                                       "linear_fc1.bias",     "linear_q.weight",  "linear_q.bias",
                                       "linear_kv.weight",    "linear_kv.bias",   "word_embeddings.weight",
                                       "output_layer.weight", "output_layer.bias"};
  constexpr std::string_view columns[] = {"linear_proj.weight", "linear_fc2.weight"};
  const auto ends = [&](std::string_view name) { return key.ends_with(name); };
  if (std::ranges::any_of(rows, ends)) return 0;
  if (std::ranges::any_of(columns, ends)) return 1;
  return std::nullopt;
}

// How one layer of an output is cut into chunks.
struct Grid {
  Shape part;                // the layer, as it is stored
  bool is_reformed = false;  // in another shape than it has
  bool is_split = false;     // over the ranks, one chunk in each one's file
  std::vector<Shape> begins;
  Shape sizes;
};

Grid GridOf(const DistOutput& output, size_t ranks) {
  Grid grid;
  grid.part = FlatShape(output);
  grid.is_reformed = grid.part != output.layers.front().shape();
  const size_t rank = grid.part.size();
  const size_t axis = grid.is_reformed ? rank : SplitAxis(output.name).value_or(rank);
  grid.is_split = axis < rank && grid.part[axis] % ranks == 0;
  grid.begins = FragmentsOf(grid.part, grid.is_reformed);
  grid.sizes = grid.part;
  if (grid.is_reformed) std::fill(grid.sizes.begin(), grid.sizes.end() - 1, 1);
  if (grid.is_split) {
    grid.sizes[axis] /= ranks;
    grid.begins.resize(ranks, grid.begins.front());
    for (size_t i = 0; i < ranks; ++i) grid.begins[i][axis] = i * grid.sizes[axis];
  }
  return grid;
}

// Items in each rank's file.
std::vector<size_t> CountItems(const std::vector<DistOutput>& outputs, size_t ranks) {
  std::vector<size_t> items(ranks);
  for (const DistOutput& output : outputs) {
    if (output.layers.empty()) {
      ++items.front();
      continue;
    }
    const Grid grid = GridOf(output, ranks);
    for (size_t i = 0; i < grid.begins.size(); ++i) items[grid.is_split ? i : 0] += output.layers.size();
  }
  return items;
}

Status AppendItems(const DistOutput& output, size_t ranks, ItemWriter& items) {
  if (output.layers.empty()) return items.Append(output.object);
  const Grid grid = GridOf(output, ranks);
  for (const Tensor& layer : output.layers) {
    ANEMONE_ASSIGN(const Tensor whole, layer.Reshape(grid.part));
    for (size_t i = 0; i < grid.begins.size(); ++i) {
      Tensor piece = whole;
      for (size_t cut = 0; cut < grid.part.size(); ++cut) {
        ANEMONE_ASSIGN(piece, piece.Narrow(cut, grid.begins[i][cut], grid.sizes[cut]));
      }
      ANEMONE_TRY(items.Append(grid.is_split ? i : 0, piece, output.stacked ? Prepended(1, grid.sizes) : grid.sizes));
    }
  }
  return {};
}

// What the index says of an output.
IndexedKey KeyOf(const DistOutput& output, size_t ranks) {
  IndexedKey key;
  key.name = output.key();
  if (output.layers.empty()) return key;
  const Grid grid = GridOf(output, ranks);
  const Tensor& first = output.layers.front();
  const uint64_t layers = output.layers.size();
  key.dtype = first.dtype();
  key.shape = output.stacked ? Prepended(layers, grid.part) : grid.part;
  if (grid.is_reformed) key.original_shape = output.stacked ? Prepended(layers, first.shape()) : first.shape();
  key.chunk_shape = output.stacked ? Prepended(1, grid.sizes) : grid.sizes;
  for (uint64_t layer = 0; layer < layers; ++layer) {
    for (size_t i = 0; i < grid.begins.size(); ++i) {
      key.chunks.push_back({output.stacked ? Prepended(layer, grid.begins[i]) : grid.begins[i], grid.is_split ? i : 0});
    }
  }
  return key;
}

}  // namespace

void NameTorchDist(Config& config) {
  if (ConfigNode* format = config.root().Get("dist_ckpt_format")) *format = ConfigNode::String("torch_dist");
}

Status LayOutTorchDist(const Checkpoint& checkpoint, const TorchDistOptions& options, Plan& plan) {
  if (checkpoint.shards.size() != 1) {
    return InvalidArgument(fmt::format("expected one shard, found {}", checkpoint.shards.size()),
                           "a distributed checkpoint is stored whole: merge its ranks to TP 1 and PP 1");
  }
  const size_t ranks = options.lay_out.shard_grid;
  if (ranks < 1 || ranks > kMaxRanks) {
    return InvalidArgument(fmt::format("expected a shard grid of 1 to {} ranks, found {}", kMaxRanks, ranks));
  }
  ANEMONE_ASSIGN(const DistOutputs gathered, GatherTorchDist(checkpoint, options));
  const std::vector<DistOutput>& outputs = gathered.keys;

  std::vector<PlanFile> items(ranks);
  for (size_t rank = 0; rank < items.size(); ++rank) items[rank].path = options.folder + FileOfRank(rank);
  PlanFile index, rest, marker;
  index.path = options.folder + ".metadata";
  rest.path = options.folder + "common.pt";
  marker.path = options.folder + "metadata.json";
  ItemWriter writer(items, CountItems(outputs, ranks), options.lay_out);
  for (const DistOutput& output : outputs) ANEMONE_TRY(AppendItems(output, ranks, writer).In(output.key()));
  AppendTorchDistIndex(
      outputs.size(), [&](size_t i) { return KeyOf(outputs[i], ranks); }, writer.places(), index);
  ANEMONE_TRY(LayOutTorchFile(gathered.common, "common", rest));
  marker.Append(
      R"({"sharded_backend": "torch_dist", "sharded_backend_version": 1, "common_backend": "torch", "common_backend_version": 1})");
  // A rank that has nothing to store has no file.
  for (PlanFile& file : items) {
    if (file.size != 0 || &file == &items.front()) plan.files.push_back(std::move(file));
  }
  for (PlanFile* file : {&index, &rest, &marker}) plan.files.push_back(std::move(*file));
  plan.is_directory = true;
  return {};
}

}  // namespace anemone
