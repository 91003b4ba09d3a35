#include "format/nemo/nemo.h"
#include "base/listing.h"
#include "format/artifacts.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <variant>

#include "container/gzip.h"
#include "container/tar.h"
#include "container/tar_layout.h"
#include "engine/share.h"
#include "format/dist/dist.h"
#include "format/format.h"
#include "format/ranks.h"
#include "format/recognise.h"
#include "format/torch/rank_file.h"
#include "format/torch/state_dict.h"
#include "format/torch/torch_write.h"

namespace anemone {
namespace {

constexpr std::string_view kConfigName = "model_config.yaml";
constexpr std::string_view kWeightsName = "model_weights.ckpt";
constexpr std::string_view kDistFolder = "model_weights";
constexpr std::string_view kReference = "nemo:";
constexpr uint64_t kMaxYamlBytes = uint64_t{16} << 20;

using Members = std::vector<Artifact>;

// Where the archive's top is: "" normally, "folder/" when it was packed with the folder round it. NeMo takes the one
// member whose name ends in model_config.yaml [NeMo nemo/utils/model_utils.py, load_config].
Result<std::string> FindTop(const Members& members) {
  std::vector<std::string_view> found;
  for (const Artifact& member : members) {
    if (member.name == kConfigName) return std::string();
    if (member.name.ends_with("/" + std::string(kConfigName))) found.push_back(member.name);
  }
  if (found.size() == 1) return std::string(found[0].substr(0, found[0].size() - kConfigName.size()));
  if (found.size() > 1) {
    return Corrupt(fmt::format("[NEMO-3] expected one model_config.yaml, found {} and {}", found[0], found[1]));
  }
  std::vector<std::string_view> names;
  names.reserve(members.size());
  for (const Artifact& member : members) names.push_back(member.name);
  const std::string listing = Listing(names);
  const auto has = [&](std::string_view name) {
    return std::any_of(members.begin(), members.end(), [&](const Artifact& m) { return m.name == name; });
  };
  if (has("pickle") && has("storages") && has("tensors")) {
    return Unsupported("a tar that torch before 0.1.10 saved", "load it with an old torch and save it again");
  }
  return Corrupt(
      fmt::format("[NEMO-3] expected a member model_config.yaml, found {}", listing.empty() ? "no members" : listing),
      "a tar or folder, but no .nemo: unpack the tar of another checkpoint and give what it holds");
}

Result<Shard> ReadShard(const Artifact& member, Checkpoint& checkpoint) {
  auto file = ReadRankFile(
      member.content,
      {.within = member.name,
       .if_empty =
           "NeMo saves an empty state dict for models with an interleaved pipeline: convert the .ckpt instead"});
  if (!file.ok()) return file.status().In(member.name);
  file->shard.training.reset();  // a .nemo carries weights only
  if (checkpoint.shards.empty()) {
    for (std::string& note : file->notes) checkpoint.notes.push_back(member.name + ": " + note);
  }
  std::vector<std::string> notes;
  if (const Status status = RenamePrefix(file->shard.weights, "model.module.", "model.", notes); !status.ok()) {
    return status.In(member.name);
  }
  if (checkpoint.shards.empty()) {
    for (std::string& note : notes) checkpoint.notes.push_back(member.name + ": " + note);
  }
  return std::move(file->shard);
}

// LitGPT's folders have a model_config.yaml, too.
Status NoWeights(const Members& members) {
  if (std::ranges::any_of(members, [](const Artifact& member) { return member.name == "lit_model.pth"; })) {
    return Unsupported("expected a checkpoint of NeMo's, found LitGPT's (lit_model.pth)",
                       "litgpt convert_from_litgpt FOLDER OUT writes the weights with Hugging Face's names");
  }
  return Corrupt("[NEMO-5] expected model_weights.ckpt, rank folders or model_weights/, found no weights",
                 "the archive was cut, or holds another kind of model");
}

// The weights, in whichever of the four forms; marks the members that hold them.
Status ReadWeights(const Members& members, std::set<std::string>& used, Checkpoint& checkpoint) {
  const Artifact* single = nullptr;
  std::map<std::string, const Artifact*> ranks;
  bool has_folder = false;
  for (const Artifact& member : members) {
    const std::string& name = member.name;
    const size_t slash = name.find('/');
    if (name == kWeightsName) single = &member;
    if (slash == std::string::npos) continue;
    if (name.compare(0, slash, kDistFolder) == 0) has_folder = true;
    if (name.compare(slash + 1, std::string::npos, kWeightsName) == 0 && ParseRankFolder(name.substr(0, slash))) {
      ranks.emplace(name.substr(0, slash), &member);
    }
  }
  if (single != nullptr && !ranks.empty()) {
    return Corrupt(fmt::format("[NEMO-6] expected one form of weights, found {} and {}", kWeightsName,
                               ranks.begin()->second->name));
  }
  if (single != nullptr) {
    if (has_folder) checkpoint.notes.push_back("model_weights.ckpt and model_weights/: the file is read, as NeMo does");
    ANEMONE_ASSIGN(Shard shard, ReadShard(*single, checkpoint));
    checkpoint.shards.push_back(std::move(shard));
    used.insert(single->name);
    return {};
  }
  if (!ranks.empty()) {
    std::vector<std::string> names;
    names.reserve(ranks.size());
    for (const auto& [name, member] : ranks) names.push_back(name);
    ANEMONE_ASSIGN(const RankSet set, ArrangeRanks(names));
    checkpoint.layout = set.layout;
    for (const std::string& name : set.folders) {
      ANEMONE_ASSIGN(Shard shard, ReadShard(*ranks[name], checkpoint));
      const int index = static_cast<int>(checkpoint.shards.size());
      shard.pp_rank = index / set.layout.tp;
      shard.tp_rank = index % set.layout.tp;
      checkpoint.shards.push_back(std::move(shard));
      used.insert(ranks[name]->name);
    }
    return {};
  }
  Members below = MembersBelow(members, kDistFolder);
  if (!LooksDistributed(below)) return NoWeights(members);
  ANEMONE_ASSIGN(Checkpoint distributed, OpenDistributed(std::move(below), kDistFolder));
  checkpoint.layout = distributed.layout;
  checkpoint.shards = std::move(distributed.shards);
  checkpoint.origin = std::move(distributed.origin);
  for (std::string& note : distributed.notes) checkpoint.notes.push_back(std::move(note));
  for (const Artifact& member : members) {
    if (member.name.compare(0, kDistFolder.size() + 1, std::string(kDistFolder) + "/") == 0) used.insert(member.name);
  }
  for (Artifact& artifact : distributed.artifacts) {
    artifact.name = std::string(kDistFolder) + "/" + artifact.name;
    checkpoint.artifacts.push_back(std::move(artifact));
  }
  return {};
}

// tar on macOS packs what a file's extended attributes are beside it, as "._NAME" in AppleDouble format.
Status LeaveOutAppleDouble(Members& members, std::vector<std::string>& notes) {
  constexpr std::string_view kMagic("\0\x05\x16\x07", 4);
  Members kept;
  for (Artifact& member : members) {
    const std::string_view name = std::string_view(member.name).substr(member.name.rfind('/') + 1);
    if (name.starts_with("._") && member.content.size >= kMagic.size()) {
      ANEMONE_ASSIGN(const ByteRange head, member.content.Sub(0, kMagic.size()));
      ANEMONE_ASSIGN(const std::string begin, head.ReadAll(kMagic.size()));
      if (begin == kMagic) continue;
    }
    kept.push_back(std::move(member));
  }
  if (kept.size() < members.size())
    notes.push_back(fmt::format("left out {} files of macOS (._NAME)", members.size() - kept.size()));
  members = std::move(kept);
  return {};
}

Result<Checkpoint> OpenMembers(Members members, std::string_view flavour, const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.flavour = flavour;
  checkpoint.path = path;
  ANEMONE_TRY(LeaveOutAppleDouble(members, checkpoint.notes));
  ANEMONE_ASSIGN(const std::string top, FindTop(members));
  if (!top.empty()) {
    checkpoint.notes.push_back(fmt::format("everything lies below \"{}\"", top));
    for (Artifact& member : members) {
      if (member.name.compare(0, top.size(), top) == 0) member.name.erase(0, top.size());
    }
  }
  std::set<std::string> used = {std::string(kConfigName)};
  for (const Artifact& member : members) {
    if (member.name != kConfigName) continue;
    auto text = member.content.ReadAll(kMaxYamlBytes);
    if (!text.ok()) return text.status().In(kConfigName);
    ANEMONE_ASSIGN(Config config, Config::ParseYaml(*text, kConfigName));
    checkpoint.config = std::move(config);
    checkpoint.config_name = kConfigName;
  }
  ANEMONE_TRY(ReadWeights(members, used, checkpoint));
  for (Artifact& member : members) {
    if (!used.contains(member.name)) checkpoint.artifacts.push_back(std::move(member));
  }
  std::sort(checkpoint.artifacts.begin(), checkpoint.artifacts.end(),
            [](const Artifact& a, const Artifact& b) { return a.name < b.name; });
  // A distributed checkpoint is divided when it is loaded, as the config says.
  if (!checkpoint.origin.distributed) CompareLayout(checkpoint);
  // Told, not refused: such an archive can still be inspected and mended. Writing it refuses.
  if (const Status status = CheckArtifactReferences(checkpoint); !status.ok())
    checkpoint.notes.push_back(status.message());
  return checkpoint;
}

Result<Members> TarMembers(const ByteRange& archive, std::vector<std::string>& notes) {
  ANEMONE_ASSIGN(std::vector<TarMember> tar, ReadTar(archive));
  Members members;
  std::set<std::string> repeated;
  for (TarMember& member : tar) {
    if (member.is_replaced) {
      if (repeated.insert(member.name).second)
        notes.push_back(fmt::format("{} is there more than once: the last one counts", member.name));
      continue;
    }
    if (!member.is_directory) members.push_back({std::move(member.name), std::move(member.content)});
  }
  return members;
}

Result<Checkpoint> OpenArchive(const Probe& probe) {
  const auto open = [&]() -> Result<Checkpoint> {
    ANEMONE_ASSIGN(ByteSourcePtr source, probe.place().Open());
    if (LooksLikeGzip(probe.head)) {
      ANEMONE_ASSIGN(source, OpenGzip(std::move(source)));
      ANEMONE_ASSIGN(const ByteRange first, Whole(source).Sub(0, std::min<uint64_t>(source->size_bytes(), 512)));
      ANEMONE_ASSIGN(const std::string head, first.ReadAll(512));
      if (!LooksLikeTar(head)) {
        return Unsupported("[NEMO-1] a gzip stream that holds no tar", "unpack it first: gunzip");
      }
    }
    std::vector<std::string> notes;
    ANEMONE_ASSIGN(Members members, TarMembers(Whole(std::move(source)), notes));
    ANEMONE_ASSIGN(Checkpoint checkpoint, OpenMembers(std::move(members), "nemo", probe.path));
    checkpoint.notes.insert(checkpoint.notes.begin(), notes.begin(), notes.end());
    return checkpoint;
  };
  auto checkpoint = open();
  return checkpoint.ok() ? checkpoint : checkpoint.status().In(probe.path);
}

Result<Checkpoint> OpenFolder(const Probe& probe) {
  ANEMONE_ASSIGN(Members members, ListFiles(probe.place()));
  auto checkpoint = OpenMembers(std::move(members), "nemo-dir", probe.path);
  return checkpoint.ok() ? checkpoint : checkpoint.status().In(probe.path);
}

// --- Writing ---

void CollectReferences(const ConfigNode& node, const std::string& path, std::vector<ArtifactReference>& out) {
  if (node.kind == ConfigNode::Kind::kString && node.text.starts_with(kReference)) {
    out.push_back({path, node.text.substr(kReference.size())});
  }
  for (const auto& [key, child] : node.map) {
    CollectReferences(child, path.empty() ? key : fmt::format("{}.{}", path, key), out);
  }
  for (size_t i = 0; i < node.list.size(); ++i) CollectReferences(node.list[i], fmt::format("{}.{}", path, i), out);
}

// The members of an archive in the order they are written: config, weights, the rest.
Result<std::vector<PlanFile>> LayOutMembers(const Checkpoint& checkpoint, const LayOutOptions& options) {
  if (!checkpoint.config) return InvalidArgument("a .nemo needs a model config").Use("hparams", "FILE", "give one");
  ANEMONE_TRY(CheckArtifactReferences(checkpoint));
  // What NeMo saves through torch_dist it only loads from there.
  const bool distributed = checkpoint.origin.distributed && checkpoint.shards.size() == 1;
  Config config = *checkpoint.config;
  if (distributed) NameTorchDist(config);
  std::vector<PlanFile> files;
  files.emplace_back().path = kConfigName;
  files.back().Append(config.ToYaml());

  if (distributed) {
    Plan plan;
    TorchDistOptions dist;
    dist.folder = std::string(kDistFolder) + "/";
    dist.lay_out = options;
    ANEMONE_TRY(LayOutTorchDist(checkpoint, dist, plan));
    for (PlanFile& file : plan.files) files.push_back(std::move(file));
  } else {
    std::vector<std::pair<std::string, const Shard*>> shards;
    for (const Shard& shard : checkpoint.shards) {
      if (!shard.chunks.empty()) {
        return InvalidArgument("a .nemo cannot hold an interleaved pipeline").Use("vp", "1", "merge the chunks");
      }
      const std::string folder = RankFolderName(checkpoint.layout, shard.tp_rank, shard.pp_rank);
      shards.emplace_back(folder.empty() ? std::string(kWeightsName) : folder + "/" + std::string(kWeightsName),
                          &shard);
    }
    std::sort(shards.begin(), shards.end());
    for (const auto& [name, shard] : shards) {
      PlanFile& file = files.emplace_back();
      file.path = name;
      Result<TorchPickle> pickle = PickleState(WrittenState(shard->weights, options));
      if (!pickle.ok()) return pickle.status().In(name);
      ANEMONE_TRY(LayOutTorchFile(*std::move(pickle), "model_weights", file, ZipOptionsOf(options)).In(name));
    }
  }
  // A distributed source's folder does not outlive its weights.
  const auto place = [&](const std::string& name) {
    return !distributed && name.starts_with(std::string(kDistFolder) + "/") ? std::string() : name;
  };
  ANEMONE_TRY(AddArtifacts(checkpoint, "NeMo archive", files, place));
  return files;
}

Result<Plan> LayOutFolder(const Checkpoint& checkpoint, const LayOutOptions& options) {
  Plan plan;
  plan.is_directory = true;
  ANEMONE_ASSIGN(plan.files, LayOutMembers(checkpoint, options));
  return plan;
}

// Where in a block a member begins, for its blocks to be shared: an artifact where it did in its archive; weights,
// whose records choose their own places, at the beginning.
std::optional<uint64_t> PlaceOf(const PlanFile& member, const LayOutOptions& options) {
  if (!options.keeps_blocks || member.size < kMinMoveBytes) return std::nullopt;
  const ByteRange* const whole = member.segments.front().range();
  const uint64_t place = whole == nullptr ? 0 : whole->offset % kBlockBytes;
  return place % 512 == 0 ? place : 0;  // as tar's headers leave it
}

Result<Plan> LayOutArchive(const Checkpoint& checkpoint, const LayOutOptions& options) {
  ANEMONE_ASSIGN(std::vector<PlanFile> members, LayOutMembers(checkpoint, options));
  Plan plan;
  PlanFile& tar = plan.files.emplace_back();
  ANEMONE_TRY(AppendTarDirectory(tar, ""));
  std::set<std::string> folders;
  for (PlanFile& member : members) {
    const std::string name = member.path;
    for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
      if (folders.insert(name.substr(0, slash)).second) ANEMONE_TRY(AppendTarDirectory(tar, name.substr(0, slash)));
    }
    ANEMONE_TRY(AppendTarHeader(tar, name, member.size, PlaceOf(member, options)));
    AppendFile(tar, std::move(member));
    PadTarMember(tar);
  }
  EndTar(tar);
  return plan;
}

}  // namespace

std::vector<ArtifactReference> ArtifactReferences(const ConfigNode& root) {
  std::vector<ArtifactReference> references;
  CollectReferences(root, "", references);
  return references;
}

std::vector<ArtifactReference> MissingReferences(const Checkpoint& checkpoint) {
  if (!checkpoint.config) return {};
  std::set<std::string_view> names;
  for (const Artifact& artifact : checkpoint.artifacts) names.insert(artifact.name);
  std::vector<ArtifactReference> missing = ArtifactReferences(checkpoint.config->root());
  std::erase_if(missing, [&names](const ArtifactReference& reference) { return names.contains(reference.name); });
  return missing;
}

Status CheckArtifactReferences(const Checkpoint& checkpoint) {
  std::string missing;
  for (const ArtifactReference& reference : MissingReferences(checkpoint)) {
    missing += fmt::format("{}{} = nemo:{}", missing.empty() ? "" : ", ", reference.config_path, reference.name);
  }
  if (missing.empty()) return {};
  return Corrupt(fmt::format("[NEMO-12] the config names members that are not there: {}", missing))
      .Use("artifacts", "KEY=FILE", "supply one")
      .Use("set", "KEY=null", "do without it");
}

extern const Format kNemo;
const Format kNemo = {
    .name = "nemo",
    .title = "NeMo archive (.nemo)",
    .extension = ".nemo",
    .matches = [](const Probe& probe) -> Result<bool> {
      return !probe.is_directory && (LooksLikeGzip(probe.head) || LooksLikeTar(probe.head));
    },
    .open = OpenArchive,
    .lay_out = LayOutArchive,
    .traits = {.language = ConfigLanguage::kNemo1,
               .dialect = "mcore",
               .takes_any_megatron = true,
               .has_rank_files = true,
               .model_class = ModelClassIn::kConfig},
};

extern const Format kNemoDir;
const Format kNemoDir = {
    .name = "nemo-dir",
    .title = "unpacked NeMo archive",
    .extension = "",
    .is_directory = true,
    .matches = [](const Probe& probe) -> Result<bool> {
      return probe.is_directory && probe.HasEntry("model_config.yaml");
    },
    .open = OpenFolder,
    .lay_out = LayOutFolder,
    .traits = {.language = ConfigLanguage::kNemo1,
               .dialect = "mcore",
               .takes_any_megatron = true,
               .has_rank_files = true,
               .model_class = ModelClassIn::kConfig,
               .takes_every_file = true,
               .own_files = {kConfigName},
               .distributed_in = "model_weights/"},
};

}  // namespace anemone
