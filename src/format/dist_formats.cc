// torch_dist and zarr folders as formats of their own: what Megatron-core, Lightning with NeMo, and torch itself save.
#include "anemone/config.h"
#include "format/artifacts.h"
#include "format/dist/dist.h"
#include "format/format.h"
#include "format/lightning/lightning.h"
#include "format/megatron/megatron.h"

namespace anemone {
namespace {

// Lightning keeps the model's config beside its checkpoints under this name.
constexpr std::string_view kHparams = "hparams.yaml";
constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

bool IsTorchDist(const Probe& probe) {
  if (!probe.is_directory || probe.HasEntry("model_config.yaml")) return false;
  if (probe.HasEntry(".metadata")) return true;
  // Shards without an index: a save that did not finish; opening says so.
  for (const std::string& entry : probe.entries) {
    if (entry.ends_with(".distcp")) return true;
  }
  return false;
}

bool IsZarr(const Probe& probe) {
  return probe.is_directory && !IsTorchDist(probe) && !probe.HasEntry("model_config.yaml") &&
         probe.HasEntry("metadata.json") && probe.HasEntry("common.pt");
}

Result<Checkpoint> Open(const Probe& probe) {
  ANEMONE_ASSIGN(std::vector<Artifact> members, ListFiles(probe.place()));
  ANEMONE_ASSIGN(Checkpoint checkpoint, OpenDistributed(std::move(members), probe.path));
  for (size_t i = 0; i < checkpoint.artifacts.size(); ++i) {
    if (checkpoint.artifacts[i].name != kHparams) continue;
    auto text = checkpoint.artifacts[i].content.ReadAll(kMaxConfigBytes);
    if (!text.ok()) return text.status().In(probe.path);
    auto config = Config::ParseYaml(*text, kHparams);
    if (!config.ok()) return config.status().In(probe.path);
    const ConfigNode* cfg = config->root().Get("cfg");
    checkpoint.config = cfg != nullptr && cfg->is_map() ? Config(*cfg) : *std::move(config);
    checkpoint.config_name = kHparams;
    checkpoint.artifacts.erase(checkpoint.artifacts.begin() + static_cast<ptrdiff_t>(i));
    break;
  }
  ANEMONE_TRY(TellMegatron(&checkpoint).In(probe.path));
  return checkpoint;
}

Result<Plan> LayOut(const Checkpoint& source, const LayOutOptions& options) {
  Plan plan;
  Checkpoint checkpoint = source;
  if (checkpoint.config) NameTorchDist(*checkpoint.config);
  // TD-13: Lightning and NeMo load this folder by what common.pt holds, the config among it [NeMo v2.0.0 nlp_model.py].
  if (checkpoint.config && checkpoint.shards.size() == 1)
    checkpoint.shards.front().training = ToTrainingDict(checkpoint, source.shards.front(), nullptr);
  TorchDistOptions dist;
  dist.lay_out = options;
  if (checkpoint.config) {
    PlanFile& file = plan.files.emplace_back();
    file.path = kHparams;
    file.Append(checkpoint.config->ToYaml());
  }
  ANEMONE_TRY(LayOutTorchDist(checkpoint, dist, plan));
  ANEMONE_TRY(AddArtifacts(checkpoint, "distributed checkpoint (torch_dist folder)", plan.files));
  return plan;
}

}  // namespace

extern const Format kTorchDist;
const Format kTorchDist = {
    .name = "torch_dist",
    .title = "distributed checkpoint (torch_dist folder)",
    .extension = "",
    .is_directory = true,
    .matches = [](const Probe& probe) -> Result<bool> { return IsTorchDist(probe); },
    .open = Open,
    .lay_out = LayOut,
    .traits = {.language = ConfigLanguage::kNemo1,
               .dialect = "mcore",
               .takes_any_megatron = true,
               .is_chunked = true,
               .training = ParameterKeys::kNames,
               .takes_every_file = true,
               .own_files = {kHparams},
               .distributed_in = ""},
};

extern const Format kZarr;
const Format kZarr = {
    .name = "zarr",
    .title = "distributed checkpoint (zarr folder)",
    .extension = "",
    .is_directory = true,
    .matches = [](const Probe& probe) -> Result<bool> { return IsZarr(probe); },
    .open = Open,
    .lay_out = nullptr,
    .traits = {.language = ConfigLanguage::kNemo1,
               .dialect = "mcore",
               .takes_any_megatron = true,
               .is_chunked = true,
               .training = ParameterKeys::kNames,
               .successor = "torch_dist",
               .takes_every_file = true,
               .own_files = {kHparams},
               .distributed_in = ""},
};

}  // namespace anemone
