// Lightning checkpoints: one .ckpt, or a folder of rank folders that hold one each. Rules (PTL-n):
// docs/formats/lightning.md.
#include "format/lightning/lightning.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/listing.h"
#include "format/format.h"
#include "format/megatron/megatron.h"
#include "format/ranks.h"
#include "format/recognise.h"
#include "format/torch/rank_file.h"
#include "format/torch/torch_file.h"

namespace anemone {
namespace {

using Kind = ValueNode::Kind;

constexpr uint64_t kMaxYamlBytes = uint64_t{16} << 20;
constexpr std::string_view kExtension = ".ckpt";

// Names in a folder, sorted; none where it may not be listed.
Result<std::vector<std::string>> Entries(const Location& folder) {
  Result<std::vector<std::string>> names = folder.List();
  if (!names.ok() && names.status().kind() == ErrorKind::kNotFound) return std::vector<std::string>();
  return names;
}

// hparams.yaml in `folder`, or in its newest version_N.
Result<std::optional<Location>> HparamsIn(const Location& folder) {
  ANEMONE_ASSIGN(const bool is_beside, (folder / "hparams.yaml").IsFile());
  if (is_beside) return std::optional(folder / "hparams.yaml");
  long newest = -1;
  ANEMONE_ASSIGN(const std::vector<std::string> names, Entries(folder));
  for (const std::string& name : names) {
    if (name.rfind("version_", 0) != 0 || name.size() > 16 || name.size() == 8) continue;
    if (!std::all_of(name.begin() + 8, name.end(), [](char c) { return c >= '0' && c <= '9'; })) continue;
    const long version = std::stol(name.substr(8));
    ANEMONE_ASSIGN(const bool is_there, (folder / name / "hparams.yaml").IsFile());
    if (is_there) newest = std::max(newest, version);
  }
  if (newest < 0) return std::optional<Location>();
  return std::optional(folder / fmt::format("version_{}", newest) / "hparams.yaml");
}

// Lightning writes <run>/checkpoints/x.ckpt and <run>/[version_N/]hparams.yaml; NeMo puts rank folders between.
Result<std::optional<Location>> FindHparams(const Location& given) {
  Location folder = given.Absolute();
  if (ParseRankFolder(folder.filename())) folder = folder.parent();
  ANEMONE_ASSIGN(std::optional<Location> found, HparamsIn(folder));
  if (!found && folder.filename() == "checkpoints") return HparamsIn(folder.parent());
  return found;
}

// hparams.yaml beside the checkpoint, else what the checkpoint itself carries [PTL-5].
Status SetConfig(const Location& folder, std::optional<ConfigNode> carried, Checkpoint& checkpoint) {
  ANEMONE_ASSIGN(const std::optional<Location> path, FindHparams(folder));
  if (path) {
    ANEMONE_ASSIGN(ByteSourcePtr source, path->Open());
    ANEMONE_ASSIGN(const std::string text, Whole(std::move(source)).ReadAll(kMaxYamlBytes));
    Result<Config> config = Config::ParseYaml(text, path->string());
    if (config.ok()) {
      const ConfigNode* cfg = config->root().Get("cfg");
      checkpoint.config = cfg != nullptr && cfg->is_map() ? Config(*cfg) : *std::move(config);
      checkpoint.config_name = path->filename();
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

Result<RankFile> ReadRank(const Location& place, const OpenOptions& options) {
  const std::string& path = place.string();
  ANEMONE_ASSIGN(const Probe probe, ProbePath(place));
  if (!LooksLikeTorchFile(probe.head)) return internal::NotACheckpoint(probe).In(path);
  ANEMONE_ASSIGN(ByteSourcePtr source, place.Open());
  auto file = ReadRankFile(Whole(std::move(source)), {.key = options.key});
  if (!file.ok()) return file.status().In(path);
  return file;
}

Result<std::vector<std::string>> RankFoldersIn(const Location& folder) {
  ANEMONE_ASSIGN(std::vector<std::string> ranks, Entries(folder));
  std::erase_if(ranks, [](const std::string& entry) { return !ParseRankFolder(entry); });
  return ranks;
}

// Of these rank folders, those that hold a checkpoint of this name.
Result<std::vector<std::string>> RanksWith(const Location& folder, const std::vector<std::string>& ranks,
                                           const std::string& name) {
  std::vector<std::string> holding;
  for (const std::string& rank : ranks) {
    ANEMONE_ASSIGN(const bool is_there, (folder / rank / name).IsFile());
    if (is_there) holding.push_back(rank);
  }
  return holding;
}

// NeMo marks a save in progress beside its target: NAME-unfinished, without the extension, above the rank folders.
Status CheckFinished(const Location& folder, const std::string& name) {
  const std::string stem = name.ends_with(kExtension) ? name.substr(0, name.size() - kExtension.size()) : name;
  for (const std::string& marker : {stem + "-unfinished", name + "-unfinished"}) {
    ANEMONE_ASSIGN(const bool is_there, (folder / marker).Exists());
    if (is_there) {
      return Corrupt(fmt::format("[PTL-4] {} says this save never finished", marker),
                     "take an earlier checkpoint; delete the marker if you know that the files are whole")
          .In((folder / name).string());
    }
  }
  return {};
}

Status AddCheckpointsIn(const Location& folder, std::set<std::string>& found) {
  ANEMONE_ASSIGN(const std::vector<std::string> names, Entries(folder));
  for (const std::string& name : names) {
    if (!name.ends_with(kExtension)) continue;
    ANEMONE_ASSIGN(const bool is_file, (folder / name).IsFile());
    if (is_file) found.insert(name);
  }
  return {};
}

Result<Checkpoint> OpenLightningProbe(const Probe& probe) {
  return OpenLightningFolder(probe.place(), "", probe.options);
}

}  // namespace

Result<Checkpoint> OpenTorchCheckpoint(const Location& place, const OpenOptions& options) {
  const std::string& path = place.string();
  const Location folder = place.parent();
  const std::string name = place.filename();
  const bool in_rank = ParseRankFolder(folder.filename()).has_value();
  ANEMONE_TRY(CheckFinished(in_rank ? folder.parent() : folder, name));
  ANEMONE_ASSIGN(RankFile file, ReadRank(place, options));
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
  if (path.ends_with(".nemo")) {
    checkpoint.notes.push_back("a bare torch file named .nemo: no config, no artifacts");
  }
  if (!in_rank) return checkpoint;
  ANEMONE_ASSIGN(const std::vector<std::string> ranks, RankFoldersIn(folder.parent()));
  ANEMONE_ASSIGN(const std::vector<std::string> holding, RanksWith(folder.parent(), ranks, name));
  if (holding.size() > 1) {
    checkpoint.notes.push_back("one rank of several: open the folder above it to read all");
    checkpoint.origin.part_of = folder.parent().string();
  }
  return checkpoint;
}

bool HasRankFolders(const Probe& probe) {
  return std::any_of(probe.entries.begin(), probe.entries.end(),
                     [](const auto& name) { return ParseRankFolder(name).has_value(); });
}

namespace {

// The name of the checkpoint that is meant: the only one, where `name` is empty.
Result<std::string> ChooseCheckpoint(const Location& folder, const std::vector<std::string>& ranks,
                                     const std::string& name) {
  std::set<std::string> choices;
  if (ranks.empty()) {
    ANEMONE_TRY(AddCheckpointsIn(folder, choices));
  } else {
    for (const std::string& rank : ranks) ANEMONE_TRY(AddCheckpointsIn(folder / rank, choices));
  }
  if (!name.empty()) {
    if (choices.contains(name)) return name;
    return NotFound(fmt::format("[PTL-2] no {} in it; there are: {}", name, Listing(choices)));
  }
  if (choices.empty()) return NotFound("[PTL-2] no .ckpt in it");
  if (choices.size() == 1) return *choices.begin();
  return InvalidArgument(fmt::format("[PTL-2] expected one checkpoint, found {}: {}", choices.size(), Listing(choices)),
                         fmt::format("choose one: {}", (folder / *choices.begin()).string()));
}

}  // namespace

Result<Checkpoint> OpenLightningFolder(const Location& folder, const std::string& name, const OpenOptions& options) {
  const std::string& path = folder.string();
  ANEMONE_ASSIGN(const std::vector<std::string> ranks, RankFoldersIn(folder));
  const Result<std::string> choice = ChooseCheckpoint(folder, ranks, name);
  if (!choice.ok()) return choice.status().In(path);
  const std::string& chosen = *choice;
  if (ranks.empty()) return OpenTorchCheckpoint(folder / chosen, options);

  ANEMONE_TRY(CheckFinished(folder, chosen));
  ANEMONE_ASSIGN(const std::vector<std::string> holding, RanksWith(folder, ranks, chosen));
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
    const Location file_path = folder / set->folders[i] / chosen;
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
          .In(file_path.string());
    }
    if (i == 0) checkpoint.notes = std::move(file.notes);
    checkpoint.shards.push_back(std::move(file.shard));
  }
  ANEMONE_TRY(SetConfig(folder, std::move(hparams), checkpoint));
  CompareLayout(checkpoint);
  return checkpoint;
}

namespace {

Result<bool> IsLightningFolder(const Probe& probe) {
  if (!probe.is_directory || probe.HasEntry("model_config.yaml") || probe.HasEntry("metadata.json") ||
      probe.HasEntry(".metadata")) {
    return false;
  }
  if (probe.HasEntry("config.json") || probe.HasEntry("open_clip_config.json")) return false;
  ANEMONE_ASSIGN(const bool is_megatron, IsMegatronFolder(probe));
  if (is_megatron) return false;
  return HasRankFolders(probe) || std::any_of(probe.entries.begin(), probe.entries.end(),
                                              [](const auto& name) { return name.ends_with(kExtension); });
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
               .has_key = true,
               .own_files = {"hparams.yaml"}},
};

}  // namespace anemone
