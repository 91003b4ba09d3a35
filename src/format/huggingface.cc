// Folders as transformers and OpenCLIP save them. Rules (HF-n): docs/formats/huggingface.md.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "format/format.h"
#include "format/safetensors.h"
#include "format/shards.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxJsonBytes = uint64_t{16} << 20;

// In order of precedence [HF-1: transformers modeling_utils.py, _get_resolved_checkpoint_files].
constexpr std::string_view kHfWeights[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                           "pytorch_model.bin.index.json"};
constexpr std::string_view kOpenClipWeights[] = {"open_clip_model.safetensors", "open_clip_pytorch_model.safetensors",
                                                 "open_clip_pytorch_model.bin"};

// Files beside the weights that belong to the model: tokenizers and preprocessors [HF-7].
constexpr std::string_view kCompanions[] = {"added_tokens.json",
                                            "chat_template.jinja",
                                            "chat_template.json",
                                            "generation_config.json",
                                            "merges.txt",
                                            "preprocessor_config.json",
                                            "processor_config.json",
                                            "sentencepiece.bpe.model",
                                            "special_tokens_map.json",
                                            "spiece.model",
                                            "tokenizer.json",
                                            "tokenizer.model",
                                            "tokenizer_config.json",
                                            "vocab.json",
                                            "vocab.txt"};

template <size_t N>
std::string_view FirstOf(const Probe& probe, const std::string_view (&names)[N]) {
  const auto* found = std::find_if(std::begin(names), std::end(names), [&](auto name) { return probe.HasEntry(name); });
  return found == std::end(names) ? std::string_view() : *found;
}

Result<Checkpoint> OpenFolder(const Probe& probe, std::string_view flavour, std::string_view config_name,
                              std::string_view weights) {
  const fs::path folder(probe.path);
  Checkpoint checkpoint;
  checkpoint.flavour = flavour;
  checkpoint.path = probe.path;
  checkpoint.shards.resize(1);
  if (probe.HasEntry(config_name)) {
    const std::string path = (folder / config_name).string();
    ANEMONE_ASSIGN(ByteSourcePtr source, OpenFile(path));
    auto text = Whole(std::move(source)).ReadAll(kMaxJsonBytes);
    if (!text.ok()) return text.status().In(path);
    ANEMONE_ASSIGN(Config config, Config::ParseJson(*text, path));
    if (!config.root().is_map()) return Corrupt("[HF-2] expected a JSON object").In(path);
    checkpoint.config = std::move(config);
    checkpoint.config_name = config_name;
  } else {
    checkpoint.notes.push_back(fmt::format("no {} beside the weights", config_name));
  }
  const std::string path = (folder / weights).string();
  if (weights.ends_with(".json")) {
    ANEMONE_ASSIGN(checkpoint.shards[0].weights, ReadIndexedWeights(path, checkpoint));
  } else {
    ANEMONE_ASSIGN(checkpoint.shards[0].weights, ReadWeightsFile(path, checkpoint));
  }
  for (const std::string_view name : kCompanions) {
    if (!probe.HasEntry(name)) continue;
    ANEMONE_ASSIGN(ByteSourcePtr source, OpenFile((folder / name).string()));
    checkpoint.artifacts.push_back({std::string(name), Whole(std::move(source))});
  }
  return checkpoint;
}

Result<Plan> LayOutFolder(const Checkpoint& checkpoint, const LayOutOptions& options, std::string_view config_name,
                          std::string_view stem) {
  Plan plan;
  plan.is_directory = true;
  if (checkpoint.config) {
    PlanFile& file = plan.files.emplace_back();
    file.path = config_name;
    file.Append(checkpoint.config->ToJson() + "\n");
  }
  ANEMONE_TRY(AddSafetensorsFiles(checkpoint, options, stem, plan));
  for (const Artifact& artifact : checkpoint.artifacts) {
    const auto same = [&](const PlanFile& file) { return file.path == artifact.name; };
    if (std::any_of(plan.files.begin(), plan.files.end(), same)) continue;
    PlanFile& file = plan.files.emplace_back();
    file.path = artifact.name;
    file.Append(artifact.content);
  }
  return plan;
}

bool IsNemo(const Probe& probe) { return probe.HasEntry("model_config.yaml"); }

bool IsHuggingFace(const Probe& probe) {
  return probe.is_directory && !IsNemo(probe) && !FirstOf(probe, kHfWeights).empty();
}

bool IsOpenClip(const Probe& probe) {
  return probe.is_directory && !IsNemo(probe) && !IsHuggingFace(probe) && !FirstOf(probe, kOpenClipWeights).empty();
}

}  // namespace

extern const Format kHuggingFace;
const Format kHuggingFace = {
    .name = "hf",
    .title = "Hugging Face folder (config.json, model.safetensors)",
    .extension = "",
    .is_directory = true,
    .matches = IsHuggingFace,
    .open =
        [](const Probe& probe) { return OpenFolder(probe, "huggingface", "config.json", FirstOf(probe, kHfWeights)); },
    .lay_out = [](const Checkpoint& checkpoint,
                  const LayOutOptions& options) { return LayOutFolder(checkpoint, options, "config.json", "model"); },
};

extern const Format kOpenClip;
const Format kOpenClip = {
    .name = "openclip",
    .title = "OpenCLIP folder (open_clip_config.json, open_clip_model.safetensors)",
    .extension = "",
    .is_directory = true,
    .matches = IsOpenClip,
    .open =
        [](const Probe& probe) {
          return OpenFolder(probe, "openclip", "open_clip_config.json", FirstOf(probe, kOpenClipWeights));
        },
    .lay_out =
        [](const Checkpoint& checkpoint, const LayOutOptions& options) {
          return LayOutFolder(checkpoint, options, "open_clip_config.json", "open_clip_model");
        },
};

}  // namespace anemone
