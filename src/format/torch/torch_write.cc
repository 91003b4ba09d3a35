#include "format/torch/torch_write.h"

#include <fmt/format.h>

#include <limits>
#include <string>
#include <unordered_set>
#include <vector>

#include "container/pickle.h"
#include "format/torch/rebuild.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

// Turns tensors into `_rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict())`, each with a storage of its
// own.
struct Encoder {
  std::vector<Tensor> storages;

  Result<ValueRef> operator()(const Tensor& tensor, ValueGraph& graph) {
    const DTypeInfo& info = Info(tensor.dtype());
    // Types without a storage class of their own travel as bytes plus a dtype [pytorch torch/_utils.py,
    // _rebuild_tensor_v3]; torch reads that since 2.2.
    const bool untyped = info.storage.empty();
    if (untyped && info.torch.empty()) return Unsupported(fmt::format("torch has no word for {}", info.name));
    if (tensor.size_bytes() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return LimitExceeded("a tensor of 2^63 bytes");
    const std::string type = untyped ? "torch.storage UntypedStorage" : fmt::format("torch {}", info.storage);
    const std::string key = std::to_string(storages.size());
    storages.push_back(tensor);
    ValueRef storage = graph.New(Kind::kPersistent);
    storage->items = {NewTuple(
        graph, {NewString(graph, "storage"), NewGlobal(graph, type), NewString(graph, key), NewString(graph, "cpu"),
                NewInt(graph, static_cast<int64_t>(untyped ? tensor.size_bytes() : tensor.num_elements()))})};
    Shape shape = tensor.shape();
    if (IsPacked(tensor.dtype())) {
      if (shape.empty() || shape.back() % 2 != 0)
        return Unsupported(fmt::format("torch has no {} of shape {}", info.name, ToString(shape)));
      shape.back() /= 2;
    }
    const std::vector<uint64_t> steps = DenseStrides(shape);
    std::vector<ValueRef> sizes(shape.size()), strides(shape.size());
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      sizes[axis] = NewInt(graph, static_cast<int64_t>(shape[axis]));
      strides[axis] = NewInt(graph, static_cast<int64_t>(steps[axis]));
    }
    const ValueRef no_hooks = NewCall(graph, "collections OrderedDict");
    ValueList args = {
        storage, NewInt(graph, 0), NewTuple(graph, sizes), NewTuple(graph, strides), graph.New(Kind::kBool), no_hooks};
    if (untyped) args.push_back(NewGlobal(graph, fmt::format("torch {}", info.torch)));
    const std::string_view rebuild = untyped ? "torch._utils _rebuild_tensor_v3" : "torch._utils _rebuild_tensor_v2";
    return NewCall(graph, rebuild, std::move(args));
  }
};

// Where what `is_it` finds is in nested dictionaries: "state_dict.model"; "" if it is in none.
template <typename IsIt>
std::string PathOf(const ValueNode& node, const IsIt& is_it, std::unordered_set<const ValueNode*>& seen,
                   int depth = 0) {
  constexpr int kDeepest = 8;
  const bool goes_in = depth < kDeepest && seen.insert(&node).second;
  const ValueList* entries = goes_in ? DictEntries(node) : nullptr;
  for (size_t i = 0; entries != nullptr && i + 1 < entries->size(); i += 2) {
    const ValueNode& value = *(*entries)[i + 1];
    const std::string& key = (*entries)[i]->text;
    if (is_it(value)) return key;
    if (const std::string below = PathOf(value, is_it, seen, depth + 1); !below.empty())
      return fmt::format("{}.{}", key, below);
  }
  return {};
}
template <typename IsIt>
std::string PathOf(const ValueNode& root, const IsIt& is_it) {
  std::unordered_set<const ValueNode*> seen;
  return PathOf(root, is_it, seen);
}

std::string PathOf(const ValueNode& root, const StatesOf& states, const Tensor& tensor) {
  for (const auto& [node, state] : states) {
    for (const StateDict::Item& item : state.items()) {
      if (item.tensor() != &tensor) continue;
      const std::string path = PathOf(root, [node = node](const ValueNode& value) { return &value == node; });
      return path.empty() ? item.name : fmt::format("{}.{}", path, item.name);
    }
  }
  return PathOf(root, [&](const ValueNode& value) { return value.tensor.get() == &tensor; });
}

// Forty decimal digits that follow from the pickle alone, so that the same content gives the same file (FNV-1a, twice).
std::string SerializationId(std::string_view pickle) {
  uint64_t a = 0xcbf29ce484222325u, b = 0x84222325cbf29ce4u;
  for (const char c : pickle) {
    a = (a ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    b = (b ^ static_cast<unsigned char>(c)) * 0x100000001b3u + 1;
  }
  return fmt::format("{:020}{:020}", a, b);
}

}  // namespace

StateDict WrittenState(const StateDict& state, const LayOutOptions& options) {
  if (options.extra_state != ExtraState::kDrop) return state;
  StateDict kept;
  for (const StateDict::Item& item : state.items()) {
    if (item.tensor() != nullptr) (void)kept.Add(item.name, item.entry);  // names are unique already
  }
  return kept;
}

ValueRef NewState(ValueGraph& graph, StateDict state, StatesOf& states) {
  const ValueRef node = NewCall(graph, "collections OrderedDict");
  states.emplace(node, std::move(state));
  return node;
}

Result<TorchPickle> PickleTorch(const Value& value, const StatesOf& states) {
  Encoder encoder;
  ValueNode none;  // of what has no data
  LateEntriesOf late;
  for (const auto& [node, state] : states) {
    late[node] = {state.size(), [&none, &state = state](size_t i) -> LateEntry {
                    const StateDict::Item& item = state.items()[i];
                    const ValueRef data = item.opaque() != nullptr ? item.opaque()->value.node : nullptr;
                    return {item.name, item.tensor(), data != nullptr ? data : &none};
                  }};
  }
  const auto encode = [&](const Tensor& tensor, ValueGraph& graph) {
    Result<ValueRef> node = encoder(tensor, graph);
    return node.ok() ? node : node.status().In(PathOf(*value.node, states, tensor));
  };
  auto written = WritePickle(value, encode, late);
  if (!written.ok()) return written.status();
  return TorchPickle{*std::move(written), std::move(encoder.storages)};
}

Result<TorchPickle> PickleState(StateDict state) {
  Value value{std::make_shared<ValueGraph>(), nullptr};
  StatesOf states;
  value.node = NewState(*value.graph, std::move(state), states);
  return PickleTorch(value, states);
}

Status LayOutTorchFile(TorchPickle pickle, std::string_view root, PlanFile& file, const ZipOptions& options) {
  const std::string prefix = std::string(root) + "/";
  const std::string id = SerializationId(pickle.bytes);
  constexpr size_t kOthers = 4;
  ZipLayout zip(file, options, pickle.storages.size() + kOthers);
  ANEMONE_TRY(zip.Add(prefix + "data.pkl", std::move(pickle.bytes)));
  ANEMONE_TRY(zip.Add(prefix + "byteorder", "little"));
  for (size_t i = 0; i < pickle.storages.size(); ++i) {
    ANEMONE_TRY(zip.Add(prefix + "data/" + std::to_string(i), pickle.storages[i]));
  }
  ANEMONE_TRY(zip.Add(prefix + "version", "3\n"));
  ANEMONE_TRY(zip.Add(prefix + ".data/serialization_id", id));
  return zip.Finish();
}

}  // namespace anemone
