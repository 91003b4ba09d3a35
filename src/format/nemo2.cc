// NeMo 2 folders: `context/` says how to build the model (read as data, nothing
// is built), `weights/` is a distributed checkpoint whose keys begin with
// `module.` where NeMo 1 says `model.`. Rules N2-n: docs/formats/nemo2.md.
#include <algorithm>

#include "anemone/config.h"
#include "format/dist.h"
#include "format/format.h"
#include "format/rank_file.h"

namespace anemone {
namespace {

constexpr std::string_view kTheirs = "module.", kOurs = "model.";
constexpr std::string_view kModelYaml = "context/model.yaml";
constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

bool Matches(const Probe& probe) {
  return probe.is_directory && probe.HasEntry("weights") && !probe.HasEntry("model_config.yaml") &&
         (probe.HasEntry("context") || probe.entries.size() == 1);
}

// N2-3.
Status Rename(Checkpoint& checkpoint) {
  ANEMONE_TRY(RenamePrefix(checkpoint.weights(), kTheirs, kOurs, checkpoint.notes));
  const auto stacks = checkpoint.metadata.find("layer_stacks");
  if (stacks == checkpoint.metadata.end()) return {};
  std::string renamed;
  for (std::string_view rest = stacks->second; !rest.empty();) {
    std::string_view prefix = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(prefix.size() + 1, rest.size()));
    if (!renamed.empty()) renamed += ',';
    if (prefix.starts_with(kTheirs)) {
      renamed += kOurs;
      prefix.remove_prefix(kTheirs.size());
    }
    renamed += prefix;
  }
  stacks->second = std::move(renamed);
  return {};
}

Result<Checkpoint> Open(const Probe& probe) {
  ANEMONE_ASSIGN(std::vector<Artifact> members, ListFiles(probe.path));
  auto opened = OpenDistributed(MembersBelow(members, "weights"), "weights");
  if (!opened.ok()) return opened.status().In(probe.path);
  Checkpoint checkpoint = *std::move(opened);
  checkpoint.flavour = "nemo2";
  checkpoint.path = probe.path;
  ANEMONE_TRY(Rename(checkpoint).In("weights").In(probe.path));
  for (Artifact& artifact : checkpoint.artifacts) artifact.name = "weights/" + artifact.name;
  for (Artifact& member : members) {
    if (member.name.starts_with("weights/")) continue;
    if (member.name != kModelYaml) {
      checkpoint.artifacts.push_back(std::move(member));
      continue;
    }
    auto text = member.content.ReadAll(kMaxConfigBytes);
    if (!text.ok()) return text.status().In(probe.path);
    auto config = Config::ParseYaml(*text, kModelYaml);
    if (!config.ok()) return config.status().In(probe.path);
    checkpoint.config = *std::move(config);
    checkpoint.config_name = kModelYaml;
  }
  return checkpoint;
}

Result<Plan> LayOut(const Checkpoint& checkpoint, const LayOutOptions& options) {
  Plan plan;
  for (const Artifact& artifact : checkpoint.artifacts) {
    const bool placed = artifact.name.starts_with("context/") || artifact.name.starts_with("weights/");
    PlanFile& file = plan.files.emplace_back();
    file.path = placed ? artifact.name : "context/" + artifact.name;
    file.Append(artifact.content);
  }
  if (checkpoint.config) {
    // NeMo 2's config names the class to build; another's is kept under its own
    // name, for people to read.
    const bool own = checkpoint.config->root().Get("_target_") != nullptr;
    PlanFile& file = plan.files.emplace_back();
    file.path = own ? kModelYaml : "context/model_config.yaml";
    file.Append(checkpoint.config->ToYaml());
  }
  TorchDistOptions dist;
  dist.folder = "weights/";
  dist.key_from = kOurs;
  dist.key_to = kTheirs;
  dist.drop_extra_state = options.extra_state == LayOutOptions::ExtraState::kDrop;
  dist.ranks = options.shard_grid;
  ANEMONE_TRY(LayOutTorchDist(checkpoint, dist, plan));
  return plan;
}

}  // namespace

extern const Format kNemo2;
const Format kNemo2 = {
    .name = "nemo2",
    .title = "NeMo 2 folder (context/ and weights/)",
    .extension = "",
    .is_directory = true,
    .matches = Matches,
    .open = Open,
    .lay_out = LayOut,
};

}  // namespace anemone
