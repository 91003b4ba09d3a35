// Writing Lightning checkpoints (lightning.h).
#include "format/lightning/lightning.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "format/format.h"
#include "format/ranks.h"
#include "format/torch/omegaconf.h"
#include "format/torch/rank_file.h"
#include "format/torch/state_dict.h"
#include "format/torch/torch_write.h"
#include "format/values.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;
using Kind = ValueNode::Kind;

constexpr std::string_view kExtension = ".ckpt";
constexpr std::string_view kVersion = "pytorch-lightning_version", kWeights = "state_dict",
                           kHparams = "hyper_parameters";

bool IsOmegaConf(const ValueNode* node) {
  return node != nullptr && node->kind == Kind::kObject && node->callable != nullptr &&
         node->callable->text.starts_with("omegaconf.");
}

// The carried hyper_parameters if they still say what the config says, in words that NeMo loads.
ValueRef SameHparams(const Value& training, const ConfigNode& config) {
  std::vector<std::string> left_out;
  const auto carried = ReadHparams(training, &left_out);
  if (!carried.ok() || !*carried || !SameConfig(**carried, config)) return nullptr;
  const ValueRef node = Lookup(*training.node, "hyper_parameters");
  return IsOmegaConf(node) || IsOmegaConf(Lookup(*node, "cfg")) ? node : nullptr;
}

// Megatron's modules from before Megatron-core save and load dicts in dicts, down to the encoder's own flat state dict
// [nemo language_model.py, state_dict_for_save_checkpoint].
bool IsLegacy(const StateDict& chunk) {
  return std::any_of(chunk.items().begin(), chunk.items().end(),
                     [](const StateDict::Item& item) { return item.name.starts_with("language_model."); });
}

Value Nested(const StateDict& chunk) {
  Value flat = FromStateDict(chunk);
  ValueGraph& graph = *flat.graph;
  const ValueRef root = graph.New(Kind::kDict);
  const ValueList& pairs = *DictEntries(*flat.node);
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    std::string_view rest = pairs[i]->text;
    ValueRef dict = root;
    for (size_t dot = rest.find('.'); dot != std::string_view::npos; dot = rest.find('.')) {
      const std::string_view module = rest.substr(0, dot);
      dict = Child(graph, dict, module);
      rest.remove_prefix(dot + 1);
      if (module == "encoder") break;
    }
    SetKey(graph, dict, rest, pairs[i + 1]);
  }
  flat.node = graph.root = root;
  return flat;
}

// What `config` is as hyper_parameters: as NeMo's trainer saves it, load_from_checkpoint opens `cfg` as a DictConfig
// [nlp_model.py].
ValueRef Hparams(const ConfigNode& config, ValueGraph& graph) {
  ConfigNode root = ConfigNode::Map();
  root["cfg"] = config;
  return ToOmegaConf(root, graph);
}

}  // namespace

Value ToTrainingDict(const Checkpoint& checkpoint, const Shard& shard, const Value* weights) {
  Value value{std::make_shared<ValueGraph>(), nullptr};
  ValueGraph& graph = *value.graph;
  const ValueRef root = value.node = graph.root = graph.New(Kind::kDict);
  const auto put_missing = [&](std::string_view key, ValueRef node) {
    if (Lookup(*root, key) == nullptr) SetKey(graph, root, key, node);
  };
  const ValueList* entries = shard.training ? DictEntries(*shard.training->node) : nullptr;
  const bool is_lightnings = entries != nullptr && Lookup(*shard.training->node, kVersion) != nullptr;
  if (entries != nullptr && (is_lightnings || weights == nullptr)) root->items = *entries;
  if (!is_lightnings) {
    put_missing("epoch", NewInt(graph, 0));
    put_missing("global_step", NewInt(graph, 0));
    put_missing(kVersion, NewString(graph, "2.4.0"));
    put_missing(kWeights, graph.New(Kind::kDict));
    put_missing("callbacks", graph.New(Kind::kDict));
    for (const char* key : {"optimizer_states", "lr_schedulers"}) put_missing(key, graph.New(Kind::kList));
  }
  PutKey(graph, root, kWeights, weights != nullptr ? weights->node : graph.New(Kind::kDict));
  if (!checkpoint.config) return value;
  const ConfigNode& config = checkpoint.config->root();
  ValueRef hparams = shard.training ? SameHparams(*shard.training, config) : nullptr;
  if (hparams == nullptr) hparams = Hparams(config, graph);
  const bool has_hparams = Lookup(*root, kHparams) != nullptr;
  if (!has_hparams) SetKey(graph, root, "hparams_name", NewString(graph, "kwargs"));
  PutKey(graph, root, kHparams, hparams);
  if (!has_hparams) SetKey(graph, root, "hparams_type", NewGlobal(graph, "omegaconf.dictconfig DictConfig"));
  return value;
}

namespace {

Result<TorchPickle> PickleRank(const Checkpoint& checkpoint, const Shard& shard, const LayOutOptions& options) {
  StatesOf states;
  const auto state_of = [&](const StateDict& weights) -> Value {
    const auto graph = std::make_shared<ValueGraph>();
    return {graph, NewState(*graph, WrittenState(weights, options), states)};
  };
  const Value weights = state_of(shard.weights);
  std::vector<Value> chunks;
  for (const StateDict& chunk : shard.chunks) {
    chunks.push_back(IsLegacy(chunk) ? Nested(WrittenState(chunk, options)) : state_of(chunk));
  }
  const Value value = ToTrainingDict(checkpoint, shard, &weights);
  for (size_t chunk = 0; chunk < chunks.size(); ++chunk)
    PutKey(*value.graph, value.node, fmt::format("model{}", chunk), chunks[chunk].node);
  return PickleTorch(value, states);
}

// That of the training's checkpoint, from which NeMo reads how far it came ("…-consumed_samples=12.0.ckpt"); a
// distributed one is a folder of that name, or lies in one.
std::string RankFileName(const Checkpoint& checkpoint) {
  std::string name = checkpoint.origin.training_file;
  for (const fs::path& part : fs::path(checkpoint.path).lexically_normal()) {
    if (name.empty() && part.string().find("consumed_samples=") != std::string::npos) name = part.string();
  }
  if (name.empty()) return "model.ckpt";
  return name.ends_with(kExtension) ? name : name + std::string(kExtension);
}

}  // namespace

Result<Plan> LayOutLightning(const Checkpoint& checkpoint, const LayOutOptions& options) {
  Plan plan;
  plan.is_directory = checkpoint.shards.size() > 1;
  const std::string name = RankFileName(checkpoint);
  for (const Shard& shard : checkpoint.shards) {
    PlanFile& file = plan.files.emplace_back();
    if (plan.is_directory) {
      file.path = fmt::format("{}/{}", RankFolderName(checkpoint.layout, shard.tp_rank, shard.pp_rank), name);
    }
    ANEMONE_ASSIGN(TorchPickle pickle, PickleRank(checkpoint, shard, options));
    ANEMONE_TRY(LayOutTorchFile(std::move(pickle), "archive", file, ZipOptionsOf(options)));
  }
  if (plan.is_directory && checkpoint.config) {
    ConfigNode root = ConfigNode::Map();
    root["cfg"] = checkpoint.config->root();
    PlanFile& file = plan.files.emplace_back();
    file.path = "hparams.yaml";
    file.Append(Config(std::move(root)).ToYaml());
  }
  return plan;
}

}  // namespace anemone
