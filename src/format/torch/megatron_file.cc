// Facts: Megatron-LM v1.0 … core_v0.20.0 megatron/training/checkpointing.py (generate_state_dict,
// fix_query_key_value_ordering), megatron/legacy/model/language_model.py, megatron/core/transformer/moe/experts.py.
#include "format/torch/megatron_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "base/listing.h"
#include "format/torch/omegaconf.h"
#include "format/torch/state_dict.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr int64_t kMaxRanks = 4096;      // of one kind
constexpr int64_t kMaxAllRanks = 65536;  // a shard for each is made before its file is looked for

// A dtype as Python writes it; other globals and objects are no plain values.
ValueRef PlainArgument(ValueRef value, ValueGraph& graph) {
  constexpr std::string_view kTorch = "torch ";
  if (value->kind != Kind::kGlobal || !value->text.starts_with(kTorch)) return value;
  const ValueRef text = graph.New(Kind::kString);
  text->text = "torch." + value->text.substr(kTorch.size());
  return text;
}

// ---- names and rows of older versions ----

// Before 2022 the decoder was called `transformer` and its attention `attention` [Megatron-LM v2.5
// megatron/model/language_model.py, load_state_dict].
std::string CurrentName(std::string name) {
  constexpr std::string_view kModel = "language_model.", kOld = "transformer.";
  if (name.starts_with(kModel) && std::string_view(name).substr(kModel.size()).starts_with(kOld))
    name.replace(kModel.size(), kOld.size(), "encoder.");
  constexpr std::string_view kAttention = ".attention.";
  if (const size_t at = name.find(kAttention); at != std::string::npos && name.starts_with(kModel))
    name.replace(at, kAttention.size(), ".self_attention.");
  return name;
}

// The rows of queries, keys and values of a rank: [3, heads, size] up to version 1, [heads, size, 3] in version 1,
// [heads, 3, size] since [checkpointing.py, fix_query_key_value_ordering]. `parts` is 2 for keys and values alone.
Result<Tensor> InCurrentOrder(const Tensor& rows, double version, uint64_t heads, uint64_t parts) {
  Shape shape = rows.shape();
  if (shape.empty() || heads == 0 || shape[0] % (heads * parts) != 0) {
    return Corrupt(fmt::format("[MEG-5] expected rows for {} heads, found the shape {}", heads, ToString(shape)));
  }
  const uint64_t size = shape[0] / heads / parts;
  const uint64_t rest = shape.size() > 1 ? rows.num_elements() / shape[0] : 1;
  const bool is_first = version < 1;
  ANEMONE_ASSIGN(const Tensor apart,
                 rows.Reshape(is_first ? Shape{parts, heads, size, rest} : Shape{heads, size, parts, rest}));
  ANEMONE_ASSIGN(const Tensor together,
                 apart.Permute(is_first ? std::vector<size_t>{1, 0, 2, 3} : std::vector<size_t>{0, 2, 1, 3}));
  return together.Reshape(std::move(shape));
}

// Of the order of rows; 0 where the file does not say.
Result<double> VersionOf(const Value& root) {
  constexpr double kNewest = 3;
  const ValueRef node = Lookup(*root.node, "checkpoint_version");
  if (node == nullptr || node->kind == Kind::kNone) return 0.0;
  const bool is_number = node->kind == Kind::kFloat || node->kind == Kind::kInt;
  const double version = node->kind == Kind::kFloat ? node->real : static_cast<double>(node->integer);
  if (is_number && version >= 0 && version <= kNewest) return version;
  const std::string found = is_number ? fmt::format("{}", version) : "another value";
  return Unsupported(fmt::format("[MEG-5] checkpoint_version: expected 0 to 3, found {}", found));
}

// 0 where the arguments do not say.
uint64_t SizeIn(const ConfigNode& args, std::string_view key) {
  const ConfigNode* node = args.Get(key);
  const auto value = node == nullptr ? std::nullopt : node->AsInt();
  return value && *value > 0 ? static_cast<uint64_t>(*value) : 0;
}

// What a rank's dictionary of weights says in today's words.
class Modernizer {
 public:
  Modernizer(const ConfigNode& args, const Layout& layout, double version)
      : version_(version),
        heads_(SizeIn(args, "num_attention_heads") / static_cast<uint64_t>(layout.tp)),
        experts_(SizeIn(args, "num_experts") / static_cast<uint64_t>(layout.ep)) {}

  Result<StateDict> Run(const StateDict& stored) {
    StateDict result;
    for (const StateDict::Item& item : stored.items()) {
      const std::string name = CurrentName(item.name);
      const Status added = item.tensor() == nullptr ? result.Add(name, item.entry) : Add(name, *item.tensor(), result);
      if (!added.ok()) return added.In(item.name);
    }
    return result;
  }

  bool has_reordered() const { return has_reordered_; }

 private:
  Status Add(const std::string& name, const Tensor& tensor, StateDict& result) {
    for (const std::string_view part : {"weight1", "weight2"}) {
      const std::string end = fmt::format(".experts.{}", part);
      if (name.ends_with(end)) return AddExperts(name.substr(0, name.size() - end.size()), part, tensor, result);
    }
    const bool qkv = name.find(".query_key_value.") != std::string::npos;
    if (version_ >= 2 || (!qkv && name.find(".key_value.") == std::string::npos)) return result.Add(name, tensor);
    ANEMONE_ASSIGN(Tensor rows, InCurrentOrder(tensor, version_, heads_, qkv ? 3 : 2));
    has_reordered_ = true;
    return result.Add(name, std::move(rows));
  }

  // CUTLASS' grouped products keep all of a rank's experts in one matrix, each transposed: weight1 is (experts, width,
  // rows), weight2 (experts, columns, width) [core_v0.9.0 moe/experts.py, GroupedMLP].
  Status AddExperts(const std::string& layer, std::string_view part, const Tensor& matrix, StateDict& result) const {
    const Shape& shape = matrix.shape();
    const size_t axis = part == "weight1" ? 1 : 0;
    if (shape.size() != 2 || experts_ == 0 || shape[axis] % experts_ != 0) {
      return Corrupt(fmt::format("[MEG-6] expected a matrix of {} experts, found {}", experts_, ToString(shape)));
    }
    const Shape one = axis == 1 ? Shape{shape[0], shape[1] / experts_} : Shape{shape[0] / experts_, shape[1]};
    ANEMONE_ASSIGN(const Tensor cube, matrix.Reshape({experts_, one[0], one[1]}));
    for (uint64_t expert = 0; expert < experts_; ++expert) {
      ANEMONE_ASSIGN(const Tensor slice, cube.Narrow(0, expert, 1));
      ANEMONE_ASSIGN(const Tensor flat, slice.Reshape(one));
      ANEMONE_ASSIGN(Tensor weight, flat.Permute({1, 0}));
      ANEMONE_TRY(result.Add(fmt::format("{}.experts.local_experts.{}.linear_fc{}.weight", layer, expert, part.back()),
                             std::move(weight)));
    }
    return {};
  }

  double version_;
  uint64_t heads_, experts_;
  bool has_reordered_ = false;
};

}  // namespace

ValueRef MegatronArgsOf(const Value& root) {
  if (root.node == nullptr || DictEntries(*root.node) == nullptr) return nullptr;
  ValueRef args = Lookup(*root.node, "args");
  if (args != nullptr && IsCall(*args, "argparse Namespace")) args = args->state;
  if (args == nullptr || DictEntries(*args) == nullptr) return nullptr;
  // Other trainings save their `args`, too. Files before `checkpoint_version` have `model_parallel_size` in them.
  const bool has_sizes =
      Lookup(*args, "num_attention_heads") != nullptr &&
      (Lookup(*args, "tensor_model_parallel_size") != nullptr || Lookup(*args, "model_parallel_size") != nullptr);
  return has_sizes || Lookup(*root.node, "checkpoint_version") != nullptr ? args : nullptr;
}

Result<ConfigNode> ReadMegatronArgs(const Value& root, std::vector<std::string>* left_out) {
  const Value plain{std::make_shared<ValueGraph>(), nullptr};
  const ValueRef dict = plain.graph->New(Kind::kDict);
  const ValueList& pairs = *DictEntries(*MegatronArgsOf(root));
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    const ValueRef value = PlainArgument(pairs[i + 1], *plain.graph);
    // An enumeration's member is an object of one number, which says nothing without the class.
    if (value->kind == Kind::kObject) {
      left_out->push_back(pairs[i]->text);
    } else {
      dict->items.insert(dict->items.end(), {pairs[i], value});
    }
  }
  auto config = ToConfigNode({plain.graph, dict}, left_out);
  if (!config.ok()) return config.status().In(kMegatronArgs);
  return config;
}

Result<Layout> LayoutOfMegatronArgs(const ConfigNode& args) {
  Layout layout;
  const std::pair<const char*, int*> sizes[] = {{"tensor_model_parallel_size", &layout.tp},
                                                {"pipeline_model_parallel_size", &layout.pp},
                                                {"expert_model_parallel_size", &layout.ep}};
  for (const auto& [key, size] : sizes) {
    const ConfigNode* node = args.Get(key);
    if (node == nullptr || node->is_null()) continue;
    const auto value = node->AsInt();
    if (!value || *value < 1 || *value > kMaxRanks) {
      return Corrupt(fmt::format("[MEG-3] {}: expected 1 to {}, found {}", key, kMaxRanks, node->ScalarText()))
          .In(kMegatronArgs);
    }
    *size = static_cast<int>(*value);
  }
  const auto ranks = int64_t{layout.tp} * layout.pp * layout.ep;
  if (ranks > kMaxAllRanks)
    return Corrupt(fmt::format("[MEG-3] expected at most {} ranks, found {}", kMaxAllRanks, ranks)).In(kMegatronArgs);
  return layout;
}

Result<StateDict> InTodaysWords(const StateDict& stored, const Value& root, const ConfigNode& args) {
  ANEMONE_ASSIGN(const Layout layout, LayoutOfMegatronArgs(args));
  ANEMONE_ASSIGN(const double version, VersionOf(root));
  return Modernizer(args, layout, version).Run(stored);
}

Result<Shard> ReadMegatronShard(const Value& root, const ConfigNode& args, std::vector<std::string>* notes) {
  ANEMONE_ASSIGN(const Layout layout, LayoutOfMegatronArgs(args));
  ANEMONE_ASSIGN(const double version, VersionOf(root));
  Modernizer modernizer(args, layout, version);
  Shard shard;
  shard.training = root;
  std::vector<std::string> left_out;
  const auto read = [&](const std::string& key, ValueRef node) -> Result<StateDict> {
    auto stored = ToStateDict({root.graph, node}, &left_out);
    auto state = stored.ok() ? modernizer.Run(*stored) : std::move(stored);
    if (!state.ok()) return state.status().In(key);
    return state;
  };
  if (const ValueRef model = Lookup(*root.node, "model"); model != nullptr) {
    ANEMONE_ASSIGN(shard.weights, read("model", model));
  }
  for (size_t i = 0; shard.weights.empty(); ++i) {
    const std::string key = fmt::format("model{}", i);
    const ValueRef chunk = Lookup(*root.node, key);
    if (chunk == nullptr) break;
    ANEMONE_ASSIGN(StateDict state, read(key, chunk));
    shard.chunks.push_back(std::move(state));
  }
  if (shard.weights.empty() && shard.chunks.empty())
    return Corrupt("[MEG-4] expected weights under \"model\" or \"model0\", found none");
  if (!left_out.empty()) {
    notes->push_back(fmt::format("values among the weights that are no tensors are left out: {}", Listing(left_out)));
  }
  if (modernizer.has_reordered())
    notes->push_back("queries, keys and values are read from the order that checkpoint_version says");
  return shard;
}

}  // namespace anemone
