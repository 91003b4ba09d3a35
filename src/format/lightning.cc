// Lightning checkpoints: one .ckpt, or a folder of rank folders that hold one each. Rules (PTL-n):
// docs/formats/lightning.md.
#include "format/lightning.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/tree.h"
#include "format/format.h"
#include "format/megatron.h"
#include "format/rank_file.h"
#include "format/ranks.h"
#include "format/recognise.h"
#include "format/torch_file.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;
using Kind = ValueNode::Kind;

constexpr uint64_t kMaxYamlBytes = uint64_t{16} << 20;
constexpr std::string_view kExtension = ".ckpt";

bool EndsWith(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}

bool IsFile(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

// Names in a folder, sorted; none when it cannot be read.
std::vector<std::string> Entries(const fs::path& folder) {
  Result<std::vector<std::string>> names = ListDirectory(folder.string());
  return names.ok() ? *std::move(names) : std::vector<std::string>();
}

// hparams.yaml in `folder`, or in its newest version_N.
std::optional<fs::path> HparamsIn(const fs::path& folder) {
  if (IsFile(folder / "hparams.yaml")) return folder / "hparams.yaml";
  long newest = -1;
  for (const std::string& name : Entries(folder)) {
    if (name.rfind("version_", 0) != 0 || name.size() > 16 || name.size() == 8) continue;
    if (!std::all_of(name.begin() + 8, name.end(), [](char c) { return c >= '0' && c <= '9'; })) continue;
    const long version = std::stol(name.substr(8));
    if (IsFile(folder / name / "hparams.yaml")) newest = std::max(newest, version);
  }
  if (newest < 0) return std::nullopt;
  return folder / fmt::format("version_{}", newest) / "hparams.yaml";
}

// Lightning writes <run>/checkpoints/x.ckpt and <run>/[version_N/]hparams.yaml; NeMo puts rank folders between.
std::optional<fs::path> FindHparams(fs::path folder) {
  std::error_code error;
  folder = fs::absolute(folder, error).lexically_normal();
  if (ParseRankFolder(folder.filename().string())) folder = folder.parent_path();
  if (auto found = HparamsIn(folder)) return found;
  return folder.filename() == "checkpoints" ? HparamsIn(folder.parent_path()) : std::nullopt;
}

// hparams.yaml beside the checkpoint, else what the checkpoint itself carries [PTL-5].
Status SetConfig(const fs::path& folder, std::optional<ConfigNode> carried, Checkpoint& checkpoint) {
  if (const auto path = FindHparams(folder)) {
    ANEMONE_ASSIGN(ByteSourcePtr source, OpenFile(path->string()));
    ANEMONE_ASSIGN(const std::string text, Whole(std::move(source)).ReadAll(kMaxYamlBytes));
    Result<Config> config = Config::ParseYaml(text, path->string());
    if (config.ok()) {
      const ConfigNode* cfg = config->root().Get("cfg");
      checkpoint.config = cfg != nullptr && cfg->is_map() ? Config(*cfg) : *std::move(config);
      checkpoint.config_name = path->filename().string();
      checkpoint.notes.push_back("config from " + path->string());
      return {};
    }
    checkpoint.notes.push_back("not used: " + config.status().message());
  }
  if (!carried) return {};
  checkpoint.config = Config(*std::move(carried));
  checkpoint.config_name = "hyper_parameters";
  return {};
}

Result<RankFile> ReadRank(const std::string& path, const OpenOptions& options) {
  ANEMONE_ASSIGN(const Probe probe, ProbePath(path));
  if (!LooksLikeTorchFile(probe.head)) return internal::NotACheckpoint(probe).In(path);
  ANEMONE_ASSIGN(ByteSourcePtr source, OpenFile(path));
  auto file = ReadRankFile(Whole(std::move(source)), {.key = options.key});
  if (!file.ok()) return file.status().In(path);
  return file;
}

// Rank folders that hold a checkpoint of this name.
size_t RanksWith(const fs::path& folder, const std::string& name) {
  size_t count = 0;
  for (const std::string& entry : Entries(folder))
    count += ParseRankFolder(entry) && IsFile(folder / entry / name) ? 1 : 0;
  return count;
}

// NeMo marks a save in progress beside its target: NAME-unfinished, without the extension, above the rank folders.
Status CheckFinished(const fs::path& folder, const std::string& name) {
  const std::string stem = EndsWith(name, kExtension) ? name.substr(0, name.size() - kExtension.size()) : name;
  for (const std::string& marker : {stem + "-unfinished", name + "-unfinished"}) {
    std::error_code error;
    if (fs::exists(folder / marker, error)) {
      return Corrupt(fmt::format("[PTL-4] {} says this save never finished", marker),
                     "take an earlier checkpoint; delete the marker if you know that the files are whole")
          .In((folder / name).string());
    }
  }
  return {};
}

std::string Joined(const std::set<std::string>& names) {
  std::string text;
  size_t shown = 0;
  for (const std::string& name : names) {
    if (shown == 8) return text + fmt::format(" and {} more", names.size() - shown);
    text += (shown++ == 0 ? "" : ", ") + name;
  }
  return text;
}

std::vector<std::string> CheckpointsIn(const fs::path& folder) {
  std::vector<std::string> names;
  for (const std::string& name : Entries(folder)) {
    if (EndsWith(name, kExtension) && IsFile(folder / name)) names.push_back(name);
  }
  return names;
}

Result<Checkpoint> OpenLightningProbe(const Probe& probe) { return OpenLightningFolder(probe.path, "", probe.options); }

Result<Plan> LayOutLightning(const Checkpoint& checkpoint, const LayOutOptions& options);

}  // namespace

Result<Checkpoint> OpenTorchCheckpoint(const std::string& path, const OpenOptions& options) {
  const fs::path folder = fs::path(path).parent_path();
  const std::string name = fs::path(path).filename().string();
  const bool in_rank = ParseRankFolder(folder.filename().string()).has_value();
  ANEMONE_TRY(CheckFinished(in_rank ? folder.parent_path() : folder, name));
  ANEMONE_ASSIGN(RankFile file, ReadRank(path, options));
  Checkpoint checkpoint;
  checkpoint.flavour = file.lightning ? "lightning" : file.torchscript ? "torchscript" : "pytorch";
  checkpoint.path = path;
  checkpoint.notes = std::move(file.notes);
  checkpoint.layout.vp = std::max<int>(1, static_cast<int>(file.shard.chunks.size()));
  checkpoint.shards.push_back(std::move(file.shard));
  if (file.megatron) {
    ANEMONE_TRY(TakeMegatronFile(folder.string(), *std::move(file.hparams), checkpoint).In(path));
    return checkpoint;
  }
  if (file.lightning) ANEMONE_TRY(SetConfig(folder, std::move(file.hparams), checkpoint));
  if (file.lightning) checkpoint.origin.training_file = name;
  checkpoint.origin.is_torch_script = !file.lightning && file.torchscript;
  if (EndsWith(path, ".nemo")) {
    checkpoint.notes.push_back("a bare torch file named .nemo: no config, no artifacts");
  }
  if (in_rank && RanksWith(folder.parent_path(), name) > 1) {
    checkpoint.notes.push_back("one rank of several: open the folder above it to read all");
    checkpoint.origin.part_of = folder.parent_path().string();
  }
  return checkpoint;
}

bool HasRankFolders(const Probe& probe) {
  return std::any_of(probe.entries.begin(), probe.entries.end(),
                     [](const auto& name) { return ParseRankFolder(name).has_value(); });
}

Result<Checkpoint> OpenLightningFolder(const std::string& path, const std::string& name, const OpenOptions& options) {
  const fs::path folder(path);
  std::vector<std::string> ranks;
  for (const std::string& entry : Entries(folder)) {
    if (ParseRankFolder(entry)) ranks.push_back(entry);
  }
  std::set<std::string> choices;
  if (ranks.empty()) {
    for (std::string& file : CheckpointsIn(folder)) choices.insert(std::move(file));
  } else {
    for (const std::string& rank : ranks) {
      for (std::string& file : CheckpointsIn(folder / rank)) choices.insert(std::move(file));
    }
  }
  std::string chosen = name;
  if (chosen.empty()) {
    if (choices.empty()) return NotFound("[PTL-2] no .ckpt in it").In(path);
    if (choices.size() > 1) {
      return InvalidArgument(fmt::format("[PTL-2] {} checkpoints: {}", choices.size(), Joined(choices)),
                             fmt::format("choose one: {}", (folder / *choices.begin()).string()))
          .In(path);
    }
    chosen = *choices.begin();
  } else if (choices.count(chosen) == 0) {
    return NotFound(fmt::format("[PTL-2] no {} in it; there are: {}", chosen, Joined(choices))).In(path);
  }
  if (ranks.empty()) return OpenTorchCheckpoint((folder / chosen).string(), options);

  ANEMONE_TRY(CheckFinished(folder, chosen));
  std::vector<std::string> holding;
  for (const std::string& rank : ranks) {
    if (IsFile(folder / rank / chosen)) holding.push_back(rank);
  }
  auto set = ArrangeRanks(holding);
  if (!set.ok()) return set.status().In((folder / chosen).string());
  if (holding.size() != ranks.size()) {
    return Corrupt(fmt::format("[PTL-1] {} of {} rank folders hold {}", holding.size(), ranks.size(), chosen)).In(path);
  }
  Checkpoint checkpoint;
  checkpoint.flavour = "lightning";
  checkpoint.path = path;
  checkpoint.origin.training_file = chosen;
  checkpoint.layout = set->layout;
  std::optional<ConfigNode> hparams;
  for (size_t i = 0; i < set->folders.size(); ++i) {
    const std::string file_path = (folder / set->folders[i] / chosen).string();
    ANEMONE_ASSIGN(RankFile file, ReadRank(file_path, options));
    file.shard.pp_rank = static_cast<int>(i) / set->layout.tp;
    file.shard.tp_rank = static_cast<int>(i) % set->layout.tp;
    const int chunks = static_cast<int>(file.shard.chunks.size());
    if (i == 0) {
      checkpoint.layout.vp = std::max(1, chunks);
      hparams = std::move(file.hparams);
    } else if (std::max(1, chunks) != checkpoint.layout.vp) {
      return Corrupt(fmt::format("[PTL-6] expected {} virtual chunks as the first rank has, found {}",
                                 checkpoint.layout.vp, chunks))
          .In(file_path);
    }
    if (i == 0) checkpoint.notes = std::move(file.notes);
    checkpoint.shards.push_back(std::move(file.shard));
  }
  ANEMONE_TRY(SetConfig(folder, std::move(hparams), checkpoint));
  CompareLayout(checkpoint);
  return checkpoint;
}

namespace {

// --- Writing ---

struct Builder {
  ValueGraph& graph;
  ValueRef Text(std::string_view text) {
    ValueRef node = graph.New(Kind::kString);
    node->text = text;
    return node;
  }
  ValueRef Int(int64_t value) {
    ValueRef node = graph.New(Kind::kInt);
    node->integer = value;
    return node;
  }
};

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

StateDict Kept(const StateDict& state, const LayOutOptions& options) {
  if (options.extra_state != ExtraState::kDrop) return state;
  StateDict kept;
  for (const StateDict::Item& item : state.items()) {
    if (item.tensor() != nullptr) (void)kept.Add(item.name, item.entry);  // names are unique already
  }
  return kept;
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
  Builder build{graph};
  const ValueRef root = graph.New(Kind::kDict);
  const std::vector<ValueRef>& pairs = *DictEntries(*flat.node);
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    std::string_view rest = pairs[i]->text;
    ValueRef dict = root;
    for (size_t dot = rest.find('.'); dot != std::string_view::npos; dot = rest.find('.')) {
      const std::string_view module = rest.substr(0, dot);
      ValueRef child = Lookup(*dict, module);
      if (child == nullptr) {
        child = graph.New(Kind::kDict);
        dict->items.insert(dict->items.end(), {build.Text(module), child});
      }
      dict = child;
      rest.remove_prefix(dot + 1);
      if (module == "encoder") break;
    }
    dict->items.insert(dict->items.end(), {build.Text(rest), pairs[i + 1]});
  }
  flat.node = graph.root = root;
  return flat;
}

// The dictionary Lightning loads: the training dictionary the shard came with, its weights and config replaced; or the
// least that `Trainer.fit(ckpt_path=…)` accepts as a starting point [lightning checkpoint_connector.py].
Status LayOutRank(const Checkpoint& checkpoint, const Shard& shard, const LayOutOptions& options, PlanFile& file) {
  Value value{std::make_shared<ValueGraph>(), nullptr};
  Builder build{*value.graph};
  const StateDict kept = Kept(shard.weights, options);
  const Value weights = FromStateDict(kept);
  std::vector<Value> chunks;
  for (const StateDict& chunk : shard.chunks) {
    chunks.push_back(IsLegacy(chunk) ? Nested(Kept(chunk, options)) : FromStateDict(Kept(chunk, options)));
  }

  ValueRef hparams = nullptr;
  if (checkpoint.config) {
    if (shard.training) hparams = SameHparams(*shard.training, checkpoint.config->root());
    if (hparams == nullptr) {
      // As NeMo's trainer saves it: load_from_checkpoint opens `cfg` as a DictConfig [nlp_model.py].
      ConfigNode root = ConfigNode::Map();
      root["cfg"] = checkpoint.config->root();
      hparams = ToOmegaConf(root, *value.graph);
    }
  }
  ValueRef root = value.node = value.graph->root = value.graph->New(Kind::kDict);
  const auto put = [&](std::string_view key, ValueRef node) {
    root->items.push_back(build.Text(key));
    root->items.push_back(node);
  };
  bool has_weights = false, has_hparams = false;
  if (shard.training && Lookup(*shard.training->node, "pytorch-lightning_version") != nullptr) {
    const auto& entries = *DictEntries(*shard.training->node);
    for (size_t i = 0; i + 1 < entries.size(); i += 2) {
      const std::string& key = entries[i]->text;
      ValueRef node = entries[i + 1];
      if (key == "state_dict") {
        node = weights.node;
        has_weights = true;
      } else if (key == "hyper_parameters" && hparams != nullptr) {
        node = hparams;
        has_hparams = true;
      } else {
        for (size_t chunk = 0; chunk < chunks.size(); ++chunk) {
          if (key == fmt::format("model{}", chunk)) node = chunks[chunk].node;
        }
      }
      root->items.push_back(entries[i]);
      root->items.push_back(node);
    }
  } else {
    put("epoch", build.Int(0));
    put("global_step", build.Int(0));
    put("pytorch-lightning_version", build.Text("2.4.0"));
    put("state_dict", weights.node);
    has_weights = true;
    put("callbacks", value.graph->New(Kind::kDict));
    put("optimizer_states", value.graph->New(Kind::kList));
    put("lr_schedulers", value.graph->New(Kind::kList));
    for (size_t i = 0; i < chunks.size(); ++i) put(fmt::format("model{}", i), chunks[i].node);
  }
  if (!has_weights) put("state_dict", weights.node);
  if (hparams != nullptr && !has_hparams) {
    put("hparams_name", build.Text("kwargs"));
    put("hyper_parameters", hparams);
    ValueRef type = value.graph->New(Kind::kGlobal);
    type->text = "omegaconf.dictconfig DictConfig";
    put("hparams_type", type);
  }
  return LayOutTorchFile(value, "archive", file);
}

// That of the training's checkpoint, from which NeMo reads how far it came ("…-consumed_samples=12.0.ckpt"); a
// distributed one is a folder of that name, or lies in one.
std::string RankFileName(const Checkpoint& checkpoint) {
  std::string name = checkpoint.origin.training_file;
  for (const fs::path& part : fs::path(checkpoint.path).lexically_normal()) {
    if (name.empty() && part.string().find("consumed_samples=") != std::string::npos) name = part.string();
  }
  if (name.empty()) return "model.ckpt";
  return EndsWith(name, kExtension) ? name : name + std::string(kExtension);
}

Result<Plan> LayOutLightning(const Checkpoint& checkpoint, const LayOutOptions& options) {
  Plan plan;
  plan.is_directory = checkpoint.shards.size() > 1;
  const std::string name = RankFileName(checkpoint);
  for (const Shard& shard : checkpoint.shards) {
    PlanFile& file = plan.files.emplace_back();
    if (plan.is_directory) {
      file.path = fmt::format("{}/{}", RankFolderName(checkpoint.layout, shard.tp_rank, shard.pp_rank), name);
    }
    ANEMONE_TRY(LayOutRank(checkpoint, shard, options, file));
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

bool IsLightningFolder(const Probe& probe) {
  if (!probe.is_directory || probe.HasEntry("model_config.yaml") || probe.HasEntry("metadata.json") ||
      probe.HasEntry(".metadata")) {
    return false;
  }
  if (probe.HasEntry("config.json") || probe.HasEntry("open_clip_config.json") || IsMegatronFolder(probe)) return false;
  return HasRankFolders(probe) || std::any_of(probe.entries.begin(), probe.entries.end(),
                                              [](const auto& name) { return EndsWith(name, kExtension); });
}

}  // namespace

extern const Format kLightning;
const Format kLightning = {
    .name = "ckpt",
    .title = "Lightning checkpoint (.ckpt, or a folder of ranks)",
    .extension = ".ckpt",
    .matches = IsLightningFolder,  // a single .ckpt is a torch file: format "pytorch" opens it and sees what it holds
    .open = OpenLightningProbe,
    .lay_out = LayOutLightning,
    .traits = {.language = ConfigLanguage::kNemo1,
               .dialect = "mcore",
               .takes_any_megatron = true,
               .has_rank_files = true,
               .training = ParameterKeys::kNumbers,
               .model_class = ModelClassIn::kScript,
               .own_files = {"hparams.yaml"}},
};

}  // namespace anemone
