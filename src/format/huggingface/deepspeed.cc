// Folders that DeepSpeed saves, read only: `latest` names a folder with a file for each model-parallel rank
// [deepspeed/runtime/engine.py, _get_ckpt_name, save_checkpoint]. Rules (DS-n): docs/formats/pytorch.md.
#include <fmt/format.h>

#include <algorithm>

#include "base/safe_path.h"
#include "format/format.h"
#include "format/huggingface/huggingface.h"
#include "format/lightning/lightning.h"
#include "format/torch/rank_file.h"

namespace anemone {
namespace {

constexpr std::string_view kStates = "_model_states.pt";
constexpr std::string_view kStageStates = "-model_states.pt";  // layer_00-model_00-model_states.pt
constexpr std::string_view kOptimizer = "_optim_states.pt", kZeroRank = "zero_pp_rank_";
constexpr std::string_view kUniversal = "zero";  // [deepspeed/checkpoint/ds_to_universal.py]
constexpr std::string_view kLatest = "latest";
constexpr std::string_view kLatestUniversal = "latest_universal";
constexpr std::string_view kScript = "zero_to_fp32.py";
constexpr std::string_view kStep = "global_step";  // how the folder is called that `latest` names
constexpr uint64_t kMaxTagBytes = 4096;

std::vector<std::string> StatesIn(const Probe& probe) {
  std::vector<std::string> names;
  std::copy_if(probe.entries.begin(), probe.entries.end(), std::back_inserter(names),
               [](const std::string& name) { return name.ends_with(kStates); });
  return names;
}

// Beside what transformers' Trainer saves under DeepSpeed, the folder is training state: the weights are the Trainer's.
Result<bool> Matches(const Probe& probe) {
  if (!probe.is_directory || HoldsHuggingFaceWeights(probe)) return false;
  if (!StatesIn(probe).empty()) return true;
  if (!probe.HasEntry(kLatest) && !probe.HasEntry(kLatestUniversal)) return false;
  return probe.HasEntry(kScript) ||
         std::ranges::any_of(probe.entries, [](const std::string& name) { return name.starts_with(kStep); });
}

Result<std::string> ReadTag(const Location& place) {
  ANEMONE_ASSIGN(ByteSourcePtr source, place.Open());
  ANEMONE_ASSIGN(std::string tag, Whole(std::move(source)).ReadAll(kMaxTagBytes));
  tag.erase(tag.find_last_not_of(" \r\n") + 1);
  if (!IsPlainName(tag)) return Corrupt("[DS-1] expected the name of a folder beside it").In(place.string());
  return tag;
}

// ZeRO's optimizer keeps weights of its own, of fp32, in a file for each rank.
bool HasMasters(const Probe& probe) {
  return std::ranges::any_of(probe.entries, [](const std::string& name) {
    return name.ends_with(kOptimizer) && name.find(kZeroRank) != std::string::npos;
  });
}

bool Is16Bit(const Checkpoint& checkpoint) {
  return std::ranges::any_of(checkpoint.weights().items(), [](const StateDict::Item& item) {
    const Tensor* tensor = item.tensor();
    return tensor != nullptr && (tensor->dtype() == DType::kBF16 || tensor->dtype() == DType::kF16);
  });
}

// The folder that holds the states.
Result<Checkpoint> OpenStates(const Probe& probe) {
  if (probe.HasEntry(kUniversal)) {
    return Unsupported("[DS-5] a universal checkpoint of DeepSpeed's: its weights are divided over folders in zero/",
                       "give the checkpoint that it was made of")
        .In(probe.path);
  }
  const std::vector<std::string> names = StatesIn(probe);
  if (names.empty()) return Corrupt(fmt::format("[DS-2] expected *{}, found none", kStates)).In(probe.path);
  if (std::ranges::any_of(probe.entries, [](const std::string& name) { return name.ends_with(kStageStates); })) {
    return Unsupported("[DS-4] a checkpoint of DeepSpeed's, divided over pipeline stages", std::string(kOneRank))
        .In(probe.path);
  }
  if (names.front().starts_with(kZeroRank)) {
    return Unsupported("[DS-3] a checkpoint of DeepSpeed's ZeRO stage 3: its weights are divided over its ranks",
                       fmt::format("{} in the folder above joins them: python {} FOLDER OUT", kScript, kScript))
        .In(probe.path);
  }
  if (names.size() > 1 || !names.front().starts_with("mp_rank_")) {
    return Unsupported(fmt::format("[DS-4] a checkpoint of DeepSpeed's, divided over {} files: {} …", names.size(),
                                   names.front()),
                       std::string(kOneRank))
        .In(probe.path);
  }
  const Location file = probe.place() / names.front();
  ANEMONE_ASSIGN(Checkpoint checkpoint, OpenTorchCheckpoint(file, probe.options));
  checkpoint.path = probe.path;
  checkpoint.notes.push_back(fmt::format("a folder of DeepSpeed's: weights from {}", file.string()));
  if (HasMasters(probe) && Is16Bit(checkpoint))
    checkpoint.notes.push_back(
        fmt::format("the fp32 weights that were trained are in its {} files: {} in the folder above writes them: "
                    "python {} FOLDER OUT",
                    kOptimizer, kScript, kScript));
  return checkpoint;
}

// That folder, or the one above it, whose `latest` names it.
Result<Checkpoint> Open(const Probe& probe) {
  if (!StatesIn(probe).empty() || probe.HasEntry(kUniversal)) return OpenStates(probe);
  const std::string_view latest = probe.HasEntry(kLatest) ? kLatest : kLatestUniversal;
  ANEMONE_ASSIGN(const std::string tag, ReadTag(probe.place() / latest));
  ANEMONE_ASSIGN(Probe below, ProbePath(probe.place() / tag));
  below.options = probe.options;
  ANEMONE_ASSIGN(Checkpoint checkpoint, OpenStates(below));
  checkpoint.path = probe.path;
  ANEMONE_TRY(AddModelFolder(probe, checkpoint));
  return checkpoint;
}

}  // namespace

extern const Format kDeepSpeed;
const Format kDeepSpeed = {
    .name = "deepspeed",
    .title = "DeepSpeed folder (ZeRO stages 0 to 2)",
    .extension = "",
    .is_directory = true,
    .matches = Matches,
    .open = Open,
    .lay_out = nullptr,
    .traits = {.has_key = true},
};

}  // namespace anemone
