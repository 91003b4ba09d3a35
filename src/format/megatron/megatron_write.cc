// Writing folders that Megatron-LM and Megatron-Bridge load: one iteration of a distributed checkpoint (torch_dist.md)
// with `common.pt`, which all versions of Megatron-core read. Rules MEG-11 …: docs/formats/megatron.md.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "anemone/dtype.h"
#include "format/artifacts.h"
#include "format/dist/dist.h"
#include "format/megatron/megatron.h"
#include "format/torch/megatron_file.h"
#include "format/torch/torch_file.h"
#include "format/torch/torch_write.h"
#include "format/values.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr std::string_view kTrainState = "train_state.pt";
constexpr int64_t kMostIterations = 1'000'000'000;

// ---- values ----

// "torch.bfloat16" is that dtype to Megatron-LM, as ReadMegatronArgs names it.
ValueRef TextValue(const std::string& text, ValueGraph& graph) {
  constexpr std::string_view kTorch = "torch.";
  const std::string_view name = text.starts_with(kTorch) ? std::string_view(text).substr(kTorch.size()) : "";
  if (std::ranges::any_of(DTypes(), [&](const DTypeInfo& info) { return info.torch == name && !name.empty(); }))
    return NewGlobal(graph, fmt::format("torch {}", name));
  return NewString(graph, text);
}

ValueRef ValueOf(const ConfigNode& config, ValueGraph& graph) {
  using ConfigKind = ConfigNode::Kind;
  switch (config.kind) {
    case ConfigKind::kNull:
      return graph.New(Kind::kNone);
    case ConfigKind::kBool:
      return NewBool(graph, config.boolean);
    case ConfigKind::kInt:
      return NewInt(graph, config.integer);
    case ConfigKind::kFloat:
      return NewFloat(graph, config.real);
    case ConfigKind::kString:
      return TextValue(config.text, graph);
    case ConfigKind::kList: {
      const ValueRef list = graph.New(Kind::kList);
      for (const ConfigNode& item : config.list) list->items.push_back(ValueOf(item, graph));
      return list;
    }
    case ConfigKind::kMap: {
      const ValueRef dict = graph.New(Kind::kDict);
      for (const auto& [key, value] : config.map) SetKey(graph, dict, key, ValueOf(value, graph));
      return dict;
    }
  }
  return graph.New(Kind::kNone);
}

// argparse's Namespace. Objects of Megatron's classes, which no config holds, stay as they were in `old`.
ValueRef Namespace(const ConfigNode& args, ValueRef old, ValueGraph& graph) {
  const ValueRef node = NewObject(graph, "argparse Namespace", graph.New(Kind::kDict));
  for (const auto& [key, value] : args.map) {
    const ValueRef own = ValueOf(value, graph);
    if (key == "window_size" && own->kind == Kind::kList) own->kind = Kind::kTuple;
    SetKey(graph, node->state, key, own);
  }
  const ValueList* pairs = Pairs(old);
  for (size_t i = 0; pairs != nullptr && i + 1 < pairs->size(); i += 2) {
    if (args.Get((*pairs)[i]->text) == nullptr) SetKey(graph, node->state, (*pairs)[i]->text, (*pairs)[i + 1]);
  }
  return node;
}

// ---- how far a training came ----

// A counter under the name that both have for it.
struct Counter {
  std::string_view key;
  int64_t value = 0;
};

struct Progress {
  std::array<Counter, 3> samples = {
      {{"consumed_train_samples"}, {"skipped_train_samples"}, {"consumed_valid_samples"}}};
  double operations = 0;
};

std::optional<double> NumberOf(const ValueNode* node) {
  if (node == nullptr) return std::nullopt;
  if (node->kind == Kind::kInt) return static_cast<double>(node->integer);
  if (node->kind == Kind::kFloat) return node->real;
  if (node->kind != Kind::kTensor || node->tensor->num_elements() != 1) return std::nullopt;
  const auto wide = node->tensor->Cast(DType::kF64);
  const auto bytes = wide.ok() ? wide->Read() : Result<std::string>(wide.status());
  double number = 0;
  if (!bytes.ok() || bytes->size() != sizeof number) return std::nullopt;
  std::memcpy(&number, bytes->data(), sizeof number);
  return number;
}

void ReadSamples(const ValueNode& dict, Progress* progress) {
  for (Counter& counter : progress->samples) {
    if (const auto number = NumberOf(Lookup(dict, counter.key))) counter.value = static_cast<int64_t>(*number);
  }
}

// By Megatron-Bridge's file, or else by Megatron-LM's arguments.
Result<Progress> ReadProgress(const Checkpoint& checkpoint) {
  Progress progress;
  const std::optional<Value>& training = checkpoint.shards.front().training;
  if (training) {
    progress.operations = NumberOf(Lookup(*training->node, "num_floating_point_operations_so_far")).value_or(0);
    ReadSamples(*training->node, &progress);
    if (const ValueRef args = MegatronArgsOf(*training)) ReadSamples(*args, &progress);
  }
  const Artifact* file = checkpoint.FindArtifact(std::string(kTrainState));
  if (file == nullptr) return progress;
  ANEMONE_ASSIGN(const TorchFile state, ReadTorchFile(file->content, file->name));
  if (Pairs(state.root.node) == nullptr) return Corrupt("[MEG-13] expected a dict, found another value").In(file->name);
  ReadSamples(*state.root.node, &progress);
  progress.operations = NumberOf(Lookup(*state.root.node, "floating_point_operations_so_far")).value_or(0);
  return progress;
}

// Megatron-Bridge's file of a training's progress.
Status LayOutTrainState(const Progress& progress, int64_t iteration, PlanFile& file) {
  const Value value{std::make_shared<ValueGraph>(), nullptr};
  ValueGraph& graph = *value.graph;
  const ValueRef dict = graph.New(Kind::kDict);
  const auto put = [&](std::string_view key, DType dtype, std::string bytes) -> Status {
    ANEMONE_ASSIGN(Tensor tensor, Tensor::FromBytes(dtype, {}, std::move(bytes)));
    SetKey(graph, dict, key, NewTensor(graph, std::move(tensor)));
    return {};
  };
  const auto bytes_of = [](auto number) { return std::string(reinterpret_cast<const char*>(&number), sizeof number); };
  ANEMONE_TRY(put("step", DType::kI64, bytes_of(iteration)));
  for (const Counter& counter : progress.samples) ANEMONE_TRY(put(counter.key, DType::kI64, bytes_of(counter.value)));
  ANEMONE_TRY(put("floating_point_operations_so_far", DType::kF64, bytes_of(progress.operations)));
  for (const char* key : {"do_train", "do_valid", "do_test"}) ANEMONE_TRY(put(key, DType::kBool, std::string(1, '\0')));
  return LayOutTorchFile({value.graph, dict}, "archive", file);
}

// ---- the folder ----

struct Writer {
  std::string_view title;
  bool is_bridge = false;
};

bool HasOptimizer(const Checkpoint& checkpoint) {
  const std::optional<Value>& training = checkpoint.shards.front().training;
  return training && !FindOptimizers(training->node).empty();
}

bool HasRandomState(const Checkpoint& checkpoint) {
  const std::optional<Value>& training = checkpoint.shards.front().training;
  const ValueRef objects = training ? Lookup(*training->node, "sharded_objects") : nullptr;
  const ValueList* pairs = Pairs(objects);
  for (size_t i = 0; pairs != nullptr && i + 1 < pairs->size(); i += 2) {
    if ((*pairs)[i]->text.starts_with("rng_state/")) return true;
  }
  return false;
}

// What common.pt holds: the training's, with the arguments as the config now says them.
Value Common(const Checkpoint& checkpoint, const Writer& writer, const Progress& progress, int64_t iteration) {
  const Value common{std::make_shared<ValueGraph>(), nullptr};
  ValueGraph& graph = *common.graph;
  const std::optional<Value>& training = checkpoint.shards.front().training;
  const ValueRef root = training ? CopyValue(training->node, graph) : graph.New(Kind::kDict);
  const auto put = [&](std::string_view key, ValueRef value) { PutKey(graph, root, key, value); };
  if (!training) {
    put("checkpoint_version", NewFloat(graph, 3));
    const ValueRef content = graph.New(Kind::kDict);
    SetKey(graph, content, "singleton_local_shards", NewBool(graph, false));
    SetKey(graph, content, "chained_optim_avoid_prefix", NewBool(graph, true));
    put("content_metadata", content);
  }
  put("iteration", NewInt(graph, iteration));
  if (writer.is_bridge) {
    DropKey(root, "args");
    return {common.graph, root};
  }
  ConfigNode args = checkpoint.config->root();
  for (const Counter& counter : progress.samples) args[counter.key] = ConfigNode::Int(counter.value);
  args["iteration"] = ConfigNode::Int(0);  // as argparse left it
  // What is not here is not asked for.
  if (!HasOptimizer(checkpoint)) args["no_save_optim"] = ConfigNode::Bool(true);
  if (!HasRandomState(checkpoint)) args["no_save_rng"] = ConfigNode::Bool(true);
  const ValueRef old = MegatronArgsOf({common.graph, root});
  put("args", Namespace(args, old, graph));
  put("num_floating_point_operations_so_far", NewFloat(graph, progress.operations));
  return {common.graph, root};
}

// Megatron-core stores a tied embedding once, by the first stage's name, however many stages had it
// [core_v0.16.1 megatron/core/models/common/language_module/language_module.py,
// tie_embeddings_and_output_weights_state_dict].
bool TiesOutput(const ConfigNode& config, bool is_bridge) {
  const ConfigNode* model = is_bridge ? config.Get("model") : &config;
  const ConfigNode* node = model == nullptr ? nullptr
                                            : model->Get(is_bridge ? "share_embeddings_and_output_weights"
                                                                   : "untie_embeddings_and_output_weights");
  return node != nullptr && node->AsBool() == is_bridge;
}

// Leaves out the copy of the last stage, and its states. REQUIRES: the training dictionary is this checkpoint's own.
Status DropTiedCopy(Checkpoint* checkpoint) {
  constexpr std::string_view kCopy = "output_layer.weight";
  StateDict weights;
  for (const StateDict::Item& item : checkpoint->weights().items()) {
    if (item.name != kCopy) ANEMONE_TRY(weights.Add(item.name, item.entry));
  }
  checkpoint->weights() = std::move(weights);
  for (const ValueRef optimizer : FindOptimizers(checkpoint->shards.front().training->node)) {
    if (const ValueRef state = Lookup(*optimizer, "state"); Pairs(state) != nullptr) DropKey(state, kCopy);
  }
  return {};
}

void AddText(std::string path, std::string text, Plan& plan) {
  PlanFile& file = plan.files.emplace_back();
  file.path = std::move(path);
  file.Append(std::move(text));
}

Result<Plan> LayOut(const Checkpoint& named, const LayOutOptions& options, const Writer& writer) {
  if (!named.config) {
    return Unsupported(fmt::format("a {} without a config", writer.title))
        .Use("hparams", "MODEL.yaml", "say what the model is")
        .Use("to", "torch_dist", "store the weights alone");
  }
  if (named.shards.size() != 1)
    return InvalidArgument(fmt::format("expected one shard, found {}", named.shards.size()), "merge its ranks");
  Checkpoint checkpoint = named;
  const int64_t iteration = MegatronIteration(checkpoint, writer.is_bridge);
  const std::string folder = MegatronIterationFolder(iteration);
  ANEMONE_ASSIGN(const Progress progress, ReadProgress(checkpoint));
  checkpoint.shards.front().training = Common(named, writer, progress, iteration);
  if (TiesOutput(checkpoint.config->root(), writer.is_bridge)) ANEMONE_TRY(DropTiedCopy(&checkpoint));
  std::vector<std::string> empty_states;
  if (!TraitsOf(checkpoint).has_bare_names && options.extra_state != ExtraState::kDrop)
    empty_states = ModuleStates(checkpoint.weights());
  Plan plan;
  AddText("latest_checkpointed_iteration.txt", fmt::format("{}", iteration), plan);
  if (writer.is_bridge) {
    Config config = *checkpoint.config;
    if (ConfigNode* saved = config.root().Get("checkpoint"); saved != nullptr && saved->is_map()) {
      (*saved)["save_optim"] = ConfigNode::Bool(HasOptimizer(named));
      (*saved)["save_rng"] = ConfigNode::Bool(HasRandomState(named));
    }
    AddText(folder + "/run_config.yaml", config.ToYaml(), plan);
    for (const std::string& path : {std::string("latest_train_state.pt"), folder + "/train_state.pt"}) {
      PlanFile& file = plan.files.emplace_back();
      file.path = path;
      ANEMONE_TRY(LayOutTrainState(progress, iteration, file));
    }
  }
  const TorchDistOptions dist = {.folder = folder + "/",
                                 .key_from = {},
                                 .key_to = {},
                                 .empty_states = std::move(empty_states),
                                 .lay_out = options};
  ANEMONE_TRY(LayOutTorchDist(checkpoint, dist, plan));
  ANEMONE_TRY(AddArtifacts(checkpoint, writer.title, plan.files, [&](const std::string& name) {
    return name == kTrainState ? std::string() : folder + "/" + name;
  }));
  plan.is_directory = true;
  return plan;
}

}  // namespace

int64_t MegatronIteration(const Checkpoint& checkpoint, bool is_bridge) {
  const std::optional<Value>& training = checkpoint.shards.front().training;
  const ValueRef node = training ? Lookup(*training->node, "iteration") : nullptr;
  const bool is_known = node != nullptr && node->kind == Kind::kInt && node->integer >= 0;
  // Megatron-Bridge imports as iteration 0; Megatron-LM's own tools write 1, as it once took 0 for no checkpoint.
  const int64_t first = is_bridge ? 0 : 1;
  return is_known ? std::clamp<int64_t>(node->integer, first, kMostIterations) : first;
}

std::string MegatronIterationFolder(int64_t iteration) { return fmt::format("iter_{:07}", iteration); }

Result<Plan> LayOutMegatron(const Checkpoint& checkpoint, const LayOutOptions& options) {
  return LayOut(checkpoint, options, {.title = "Megatron-LM checkpoint", .is_bridge = false});
}

Result<Plan> LayOutBridge(const Checkpoint& checkpoint, const LayOutOptions& options) {
  return LayOut(checkpoint, options, {.title = "Megatron-Bridge checkpoint", .is_bridge = true});
}

}  // namespace anemone
