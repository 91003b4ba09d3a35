#include "format/megatron/megatron.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/listing.h"
#include "base/read_at_most.h"
#include "format/artifacts.h"
#include "format/dist/dist.h"
#include "format/megatron/megatron_fsdp.h"
#include "format/megatron/megatron_optimizer.h"
#include "format/torch/megatron_file.h"
#include "format/torch/rank_file.h"
#include "format/values.h"

namespace anemone {

extern const Format kTorchDist, kZarr;

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTracker = "latest_checkpointed_iteration.txt";
constexpr std::string_view kTrainTracker = "latest_train_state.pt";
constexpr std::string_view kRunConfig = "run_config.yaml";
constexpr std::string_view kRelease = "release";
constexpr std::string_view kRank = "mp_rank_";
// The second is of the months in which Megatron-LM kept an optimizer's file apart [v3.0 megatron/checkpointing.py].
constexpr std::string_view kRankFiles[] = {"model_optim_rng.pt", "model_rng.pt"};
constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
constexpr uint64_t kMaxTrackerBytes = 1024;

bool IsNumber(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

bool IsIteration(std::string_view name) {
  constexpr std::string_view kIteration = "iter_";
  return name == kRelease || (name.starts_with(kIteration) && IsNumber(name.substr(kIteration.size())));
}

// mp_rank_00, mp_rank_00_001, mp_rank_00_001_002.
bool IsRankFolder(std::string_view name) {
  if (!name.starts_with(kRank)) return false;
  name.remove_prefix(kRank.size());
  size_t numbers = 0;
  for (bool more = true; more; ++numbers) {
    const size_t end = std::min(name.find('_'), name.size());
    if (!IsNumber(name.substr(0, end))) return false;
    more = end < name.size();
    name.remove_prefix(more ? end + 1 : end);
  }
  return numbers <= 3;
}

// The file of a rank's folder; "" when it has none.
Result<std::string_view> RankFileIn(const Location& folder) {
  for (const std::string_view file : kRankFiles) {
    ANEMONE_ASSIGN(const bool is_there, (folder / file).IsFile());
    if (is_there) return file;
  }
  return std::string_view();
}

// The rank folder that says what all of them are: the first that holds Megatron-LM's file.
Result<std::optional<std::string>> FirstRank(const Probe& probe) {
  for (const std::string& entry : probe.entries) {
    if (!IsRankFolder(entry)) continue;
    ANEMONE_ASSIGN(const std::string_view file, RankFileIn(probe.place() / entry));
    if (!file.empty()) return std::optional(entry);
  }
  return std::optional<std::string>();
}

Result<bool> IsSaveFolder(const Probe& probe) {
  if (probe.HasEntry("model_config.yaml") || probe.HasEntry(".metadata")) return false;
  if (probe.HasEntry(kTracker) || probe.HasEntry(kTrainTracker)) return true;
  for (const std::string& entry : probe.entries) {
    if (!IsIteration(entry) || entry == kRelease) continue;
    ANEMONE_ASSIGN(const bool is_folder, (probe.place() / entry).IsFolder());
    if (is_folder) return true;
  }
  return false;
}

// ---- which iteration ----

Result<std::string> ReadText(const Location& path, uint64_t most) {
  ANEMONE_ASSIGN(ByteSourcePtr source, path.Open());
  auto text = Whole(std::move(source)).ReadAll(most);
  if (!text.ok()) return text.status().In(path.string());
  return text;
}

// What the tracker says; "" without one.
Result<std::string> Tracked(const Probe& probe) {
  const Location folder = probe.place();
  if (!probe.HasEntry(kTracker)) return std::string();
  ANEMONE_ASSIGN(std::string text, ReadText(folder / kTracker, kMaxTrackerBytes));
  while (!text.empty() && std::string_view(" \t\r\n").find(text.back()) != std::string_view::npos) text.pop_back();
  if (text == kRelease) return text;
  uint64_t iteration = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), iteration);
  if (error != std::errc() || end != text.data() + text.size()) {
    constexpr size_t kShown = 40;
    return Corrupt(fmt::format("[MEG-1] expected the number of an iteration or \"release\", found {}",
                               text.empty() ? "nothing" : fmt::format("\"{}\"", text.substr(0, kShown))),
                   "name the iteration's folder instead of the one above it")
        .In((folder / kTracker).string());
  }
  return MegatronIterationFolder(static_cast<int64_t>(iteration));
}

Result<std::string> ChooseIteration(const Probe& probe) {
  ANEMONE_ASSIGN(std::string tracked, Tracked(probe));
  const Location folder = probe.place();
  std::vector<std::string> there;
  for (const std::string& entry : probe.entries) {
    if (!IsIteration(entry)) continue;
    ANEMONE_ASSIGN(const bool is_folder, (folder / entry).IsFolder());
    if (is_folder && entry == tracked) return tracked;
    if (is_folder) there.push_back(entry);
  }
  if (tracked.empty() && there.size() == 1) return there.front();
  const std::string names = there.empty() ? "none" : Listing(there);
  const std::string hint = there.empty() ? "" : fmt::format("choose one: {}", (folder / there.back()).string());
  if (!tracked.empty()) {
    return NotFound(fmt::format("[MEG-1] expected {} as {} says, found {}", tracked, kTracker, names), hint)
        .In(probe.path);
  }
  return InvalidArgument(fmt::format("[MEG-1] expected {}, found several iterations: {}", kTracker, names), hint)
      .In(probe.path);
}

// ---- a file for each rank ----

std::string RankFolderOf(const Layout& layout, const Shard& shard) {
  std::string name = fmt::format("{}{:02}", kRank, shard.tp_rank);
  if (layout.pp > 1) name += fmt::format("_{:03}", shard.pp_rank);
  if (layout.ep > 1) name += fmt::format("_{:03}", shard.ep_rank);
  return name;
}

// The ranks that the arguments speak of, by stage, expert rank, tensor rank.
std::vector<Shard> RanksOf(const Layout& layout) {
  std::vector<Shard> shards(static_cast<size_t>(layout.tp) * static_cast<size_t>(layout.ep) *
                            static_cast<size_t>(layout.pp));
  for (size_t i = 0; i < shards.size(); ++i) {
    const int rank = static_cast<int>(i);
    shards[i].tp_rank = rank % layout.tp;
    shards[i].ep_rank = rank / layout.tp % layout.ep;
    shards[i].pp_rank = rank / layout.tp / layout.ep;
  }
  return shards;
}

Status CheckFolders(const Probe& probe, const Layout& layout, const std::vector<Shard>& ranks) {
  std::vector<std::string> missing, expected;
  for (const Shard& rank : ranks) {
    const std::string name = RankFolderOf(layout, rank);
    const Location folder = probe.place() / name;
    const Result<std::string_view> file = RankFileIn(folder);
    if (!file.ok()) {
      ANEMONE_TRY(folder.List().status());  // it says so of the folder, where that is closed
      return file.status();
    }
    if (file->empty()) missing.push_back(name);
    expected.push_back(name);
  }
  std::vector<std::string> others;
  std::ranges::copy_if(probe.entries, std::back_inserter(others), [&](const std::string& entry) {
    return IsRankFolder(entry) && std::ranges::find(expected, entry) == expected.end();
  });
  if (missing.empty() && others.empty()) return {};
  const auto told = [](const std::vector<std::string>& names) { return names.empty() ? "none" : Listing(names); };
  return Corrupt(fmt::format("[MEG-3] expected a folder for each of {} ranks (tensor parallel {}, pipeline parallel "
                             "{}, expert parallel {}, as args say), found missing: {}; others: {}",
                             ranks.size(), layout.tp, layout.pp, layout.ep, told(missing), told(others)),
                 missing.empty() ? "other ranks' folders are of another save: move them away"
                                 : "every rank's folder is needed: copy the missing ones here");
}

// `first`: see TakeRankOptimizer.
Status TakeOptimizer(const Location& rank, const ConfigNode& args, const Shard* first, Shard& shard) {
  std::optional<ByteRange> buckets;
  const Location file = rank / "distrib_optim.pt";
  ANEMONE_ASSIGN(const bool has_buckets, file.IsFile());
  if (has_buckets) {
    ANEMONE_ASSIGN(ByteSourcePtr source, file.Open());
    buckets = Whole(std::move(source));
  }
  Status taken = TakeRankOptimizer(buckets, args, first, shard);
  if (!taken.ok() || Lookup(*shard.training->node, "optimizer") == nullptr) return taken;
  ANEMONE_ASSIGN(const bool is_apart, (rank / "optim.pt").IsFile());
  return is_apart ? Unsupported("expected it beside the model, found a file of its own") : Status();
}

Result<RankFile> ReadRank(const Location& rank) {
  ANEMONE_ASSIGN(const std::string_view name, RankFileIn(rank));
  const Location place = rank / name;
  const std::string& path = place.string();
  ANEMONE_ASSIGN(ByteSourcePtr source, place.Open());
  auto file = ReadRankFile(Whole(std::move(source)));
  if (!file.ok()) return file.status().In(path);
  if (!file->megatron) return Corrupt("[MEG-4] expected the arguments of Megatron-LM (args), found none").In(path);
  return file;
}

Result<Checkpoint> OpenRanks(const Probe& probe, const std::string& first) {
  const Location folder = probe.place();
  ANEMONE_ASSIGN(RankFile file, ReadRank(folder / first));
  Checkpoint checkpoint;
  checkpoint.flavour = "megatron";
  checkpoint.path = probe.path;
  auto layout = LayoutOfMegatronArgs(*file.hparams);
  if (!layout.ok()) return layout.status().In((folder / first).string());
  checkpoint.layout = *layout;
  checkpoint.shards = RanksOf(checkpoint.layout);
  ANEMONE_TRY(CheckFolders(probe, checkpoint.layout, checkpoint.shards).In(probe.path));
  std::string not_read;  // why an optimizer is left out
  for (size_t i = 0; i < checkpoint.shards.size(); ++i) {
    Shard& shard = checkpoint.shards[i];
    const std::string name = RankFolderOf(checkpoint.layout, shard);
    RankFile own;
    if (name == first) {
      own = file;
    } else {
      ANEMONE_ASSIGN(own, ReadRank(folder / name));
    }
    const int chunks = std::max(1, static_cast<int>(own.shard.chunks.size()));
    if (i == 0) checkpoint.layout.vp = chunks;
    if (chunks != checkpoint.layout.vp) {
      return Corrupt(fmt::format("[MEG-4] expected {} virtual stages as the first rank has, found {}",
                                 checkpoint.layout.vp, chunks))
          .In((folder / name).string());
    }
    shard.weights = std::move(own.shard.weights);
    shard.chunks = std::move(own.shard.chunks);
    shard.training = std::move(own.shard.training);
    const size_t ranks_before = static_cast<size_t>(shard.ep_rank) * static_cast<size_t>(checkpoint.layout.tp);
    const Shard* first_expert = ranks_before == 0 ? nullptr : &checkpoint.shards[i - ranks_before];
    const Status taken = TakeOptimizer(folder / name, *file.hparams, first_expert, shard);
    if (IsReadFailure(taken)) return taken.In(name);
    if (!taken.ok() && not_read.empty()) not_read = taken.In(name).message();
  }
  checkpoint.config = Config(*std::move(file.hparams));
  checkpoint.config_name = kMegatronArgs;
  checkpoint.notes = std::move(file.notes);
  if (!not_read.empty()) {
    for (Shard& shard : checkpoint.shards) DropKey(shard.training->node, "optimizer");
    checkpoint.notes.push_back("the optimizer's state is not read: " + not_read);
  }
  for (const std::string& entry : probe.entries) {
    if (entry != "tokenizer") continue;
    ANEMONE_ASSIGN(const bool is_folder, (folder / entry).IsFolder());
    if (!is_folder) continue;
    ANEMONE_ASSIGN(std::vector<Artifact> files, ListFiles(folder / entry));
    for (Artifact& artifact : files) artifact.name = "tokenizer/" + artifact.name;
    checkpoint.artifacts = std::move(files);
  }
  return checkpoint;
}

Result<Checkpoint> Open(const Probe& probe) {
  ANEMONE_ASSIGN(const std::optional<std::string> own, FirstRank(probe));
  if (own) return OpenRanks(probe, *own);
  ANEMONE_ASSIGN(const std::string iteration, ChooseIteration(probe));
  ANEMONE_ASSIGN(Probe inner, ProbePath(probe.place() / iteration));
  inner.options = probe.options;
  ANEMONE_ASSIGN(const std::optional<std::string> first, FirstRank(inner));
  ANEMONE_ASSIGN(const bool is_zarr, kZarr.matches(inner));
  ANEMONE_ASSIGN(const bool is_torch_dist, kTorchDist.matches(inner));
  const Format& distributed = is_zarr ? kZarr : kTorchDist;
  if (!first && !is_zarr && !is_torch_dist) {
    return Corrupt("[MEG-1] expected a folder for each rank, or a distributed checkpoint (.metadata), found neither")
        .In(inner.path);
  }
  ANEMONE_ASSIGN(Checkpoint checkpoint, first ? OpenRanks(inner, *first) : distributed.open(inner));
  checkpoint.path = probe.path;
  checkpoint.notes.push_back(fmt::format("the iteration is {}", iteration));
  return checkpoint;
}

Status TakeRunConfig(Checkpoint* checkpoint) {
  const auto file = std::ranges::find(checkpoint->artifacts, kRunConfig, &Artifact::name);
  ANEMONE_ASSIGN(const std::string text, file->content.ReadAll(kMaxConfigBytes));
  ANEMONE_ASSIGN(checkpoint->config, Config::ParseYaml(text, kRunConfig));
  checkpoint->config_name = kRunConfig;
  checkpoint->artifacts.erase(file);
  checkpoint->flavour = "megatron-bridge";
  return {};
}

}  // namespace

Result<bool> IsMegatronFolder(const Probe& probe) {
  if (!probe.is_directory) return false;
  ANEMONE_ASSIGN(const bool is_save, IsSaveFolder(probe));
  if (is_save) return true;
  ANEMONE_ASSIGN(const std::optional<std::string> first, FirstRank(probe));
  return first.has_value();
}

Status TellMegatron(Checkpoint* checkpoint) {
  const std::optional<Value>& training = checkpoint->shards.front().training;
  if (checkpoint->FindArtifact(kRunConfig) != nullptr) return TakeRunConfig(checkpoint);
  if (checkpoint->config || !training || MegatronArgsOf(*training) == nullptr) return {};
  std::vector<std::string> objects;
  ANEMONE_ASSIGN(ConfigNode args, ReadMegatronArgs(*training, &objects));
  checkpoint->config = Config(std::move(args));
  checkpoint->config_name = kMegatronArgs;
  checkpoint->flavour = "megatron";
  const auto& distributed = checkpoint->origin.distributed;
  return distributed && distributed->backend == "torch" ? TakeModuleNames(checkpoint) : Status();
}

Status TakeMegatronFile(const std::string& folder, ConfigNode args, Checkpoint& checkpoint) {
  ANEMONE_ASSIGN(const Layout layout, LayoutOfMegatronArgs(args));
  checkpoint.flavour = "megatron";
  checkpoint.config = Config(std::move(args));
  checkpoint.config_name = kMegatronArgs;
  const int ranks = layout.tp * layout.pp * layout.ep;
  if (ranks == 1) return {};
  const fs::path own = fs::path(folder).lexically_normal();
  checkpoint.origin.part_of = IsRankFolder(own.filename().string()) ? own.parent_path().string() : folder;
  if (checkpoint.origin.part_of.empty()) checkpoint.origin.part_of = ".";
  checkpoint.notes.push_back(fmt::format("one rank of {}, as args say: open the folder above it to read all", ranks));
  return {};
}

namespace {

constexpr FormatTraits kTraits = {.language = ConfigLanguage::kMegatron,
                                  .dialect = "mcore",
                                  .has_bare_names = true,
                                  .is_chunked = true,
                                  .training = ParameterKeys::kNames,
                                  .takes_every_file = true,
                                  .distributed_in = ""};

constexpr FormatTraits BridgeTraits() {
  FormatTraits traits = kTraits;
  traits.language = ConfigLanguage::kBridge;
  traits.own_files = {kRunConfig};
  return traits;
}

}  // namespace

extern const Format kMegatron;
const Format kMegatron = {
    .name = "megatron",
    .title = "Megatron-LM checkpoint (iter_… folder)",
    .extension = "",
    .is_directory = true,
    .matches = IsMegatronFolder,
    .open = Open,
    .lay_out = LayOutMegatron,
    .traits = kTraits,
};

// Found by what a checkpoint of the above holds.
extern const Format kMegatronBridge;
const Format kMegatronBridge = {
    .name = "megatron-bridge",
    .title = "Megatron-Bridge checkpoint (iter_… folder)",
    .extension = "",
    .is_directory = true,
    .matches = [](const Probe&) -> Result<bool> { return false; },
    .open = Open,
    .lay_out = LayOutBridge,
    .traits = BridgeTraits(),
};

}  // namespace anemone
