#include "format/huggingface/huggingface.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <span>

#include "base/listing.h"
#include "config/companions.h"
#include "format/artifacts.h"
#include "format/format.h"
#include "format/huggingface/safetensors.h"
#include "format/huggingface/shards.h"

namespace anemone {
namespace {

constexpr uint64_t kMaxJsonBytes = uint64_t{16} << 20;

// In order of precedence [HF-1: transformers modeling_utils.py, _get_resolved_checkpoint_files]; the last is LLaVA's,
// of a projector alone.
constexpr std::string_view kHfWeights[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                           "pytorch_model.bin.index.json", "mm_projector.bin"};
// [HF-9: peft utils/constants.py]
constexpr std::string_view kAdapterConfig = "adapter_config.json";
constexpr std::string_view kAdapterWeights[] = {"adapter_model.safetensors", "adapter_model.bin"};
constexpr std::string_view kOpenClipWeights[] = {"open_clip_model.safetensors", "open_clip_pytorch_model.safetensors",
                                                 "open_clip_pytorch_model.bin"};

template <size_t N>
std::string_view FirstOf(const Probe& probe, const std::string_view (&names)[N]) {
  const auto* found = std::find_if(std::begin(names), std::end(names), [&](auto name) { return probe.HasEntry(name); });
  return found == std::end(names) ? std::string_view() : *found;
}

std::vector<std::string> VariantsIn(const Probe& probe) {
  std::vector<std::string> found;
  for (const std::string& name : probe.entries) {
    if (std::any_of(std::begin(kHfWeights), std::end(kHfWeights),
                    [&](auto weights) { return IsVariantOf(name, weights); }))
      found.push_back(name);
  }
  return found;
}

Status AddConfig(const Location& folder, std::string_view config_name, Checkpoint& checkpoint) {
  ANEMONE_ASSIGN(checkpoint.config, ReadJsonObject(folder / config_name, "HF-2"));
  checkpoint.config_name = config_name;
  return {};
}

// Folders that libraries read with the model, and that no other format has: sentence-transformers' modules behind the
// model (1_Pooling, 2_Dense), and what transformers calls named chat templates.
void NoteFolders(const Probe& probe, Checkpoint& checkpoint) {
  if (probe.HasEntry("additional_chat_templates"))
    checkpoint.notes.push_back(
        "the chat templates in additional_chat_templates/ are left out: copy the folder by hand");
  if (!probe.HasEntry("modules.json")) return;
  std::vector<std::string_view> names;
  for (const std::string& name : probe.entries) {
    const size_t digits = name.find_first_not_of("0123456789");
    if (digits != 0 && digits != std::string::npos && name[digits] == '_') names.push_back(name);
  }
  if (!names.empty())
    checkpoint.notes.push_back("sentence-transformers' modules behind the model are left out: " + Listing(names));
}

Result<Checkpoint> OpenFolder(const Probe& probe, std::string_view flavour, std::string_view config_name,
                              std::string_view weights) {
  const Location folder = probe.place();
  Checkpoint checkpoint;
  checkpoint.flavour = flavour;
  checkpoint.path = probe.path;
  checkpoint.shards.resize(1);
  if (probe.HasEntry(config_name)) {
    ANEMONE_TRY(AddConfig(folder, config_name, checkpoint));
  } else {
    checkpoint.notes.push_back(fmt::format("no {} beside the weights", config_name));
  }
  const Location path = folder / weights;
  if (weights.ends_with(".json")) {
    ANEMONE_ASSIGN(checkpoint.shards[0].weights, ReadIndexedWeights(path, checkpoint, probe.options.key));
  } else {
    ANEMONE_ASSIGN(checkpoint.shards[0].weights, ReadWeightsFile(path, checkpoint, probe.options.key));
  }
  ANEMONE_TRY(AddCompanions(probe, "", checkpoint));
  if (config_name != kAdapterConfig && probe.HasEntry(kAdapterConfig)) {
    checkpoint.notes.push_back(
        fmt::format("an adapter lies beside the weights ({}): it is not merged into them", kAdapterConfig));
  }
  NoteFolders(probe, checkpoint);
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
  ANEMONE_TRY(AddSafetensorsFiles(checkpoint, options, stem, kFormatMetadata, plan));
  ANEMONE_TRY(AddArtifacts(checkpoint, "Hugging Face folder", plan.files));
  return plan;
}

bool IsNemo(const Probe& probe) { return probe.HasEntry("model_config.yaml"); }
// The weights beside the index of a pipeline of diffusers are not those of its components.
bool IsPipeline(const Probe& probe) { return probe.HasEntry("model_index.json"); }

bool IsHuggingFace(const Probe& probe) {
  if (!probe.is_directory || IsNemo(probe) || IsPipeline(probe)) return false;
  if (!FirstOf(probe, kHfWeights).empty()) return true;
  return FirstOf(probe, kOpenClipWeights).empty() && !VariantsIn(probe).empty();
}

Result<Checkpoint> OpenHuggingFace(const Probe& probe) {
  const std::string_view weights = FirstOf(probe, kHfWeights);
  if (!weights.empty()) return OpenFolder(probe, "huggingface", "config.json", weights);
  const std::vector<std::string> variants = VariantsIn(probe);
  if (variants.size() > 1) {
    return InvalidArgument(fmt::format("[HF-8] expected one variant of the weights, found {}", Listing(variants)),
                           fmt::format("give one of them: {}", (probe.place() / variants[0]).string()))
        .In(probe.path);
  }
  ANEMONE_ASSIGN(Checkpoint checkpoint, OpenFolder(probe, "huggingface", "config.json", variants[0]));
  checkpoint.notes.push_back(fmt::format("weights are those of the variant {}", variants[0]));
  return checkpoint;
}

// A folder that holds a whole model as well is a model's.
bool IsAdapter(const Probe& probe) {
  return probe.is_directory && !IsNemo(probe) && !IsHuggingFace(probe) && !FirstOf(probe, kAdapterWeights).empty();
}

bool IsOpenClip(const Probe& probe) {
  return probe.is_directory && !IsNemo(probe) && !IsHuggingFace(probe) && !IsAdapter(probe) &&
         !FirstOf(probe, kOpenClipWeights).empty();
}

// The file is one shard of several, if the index that names it is there or the name has transformers' five digits.
Status NoteShard(const Location& folder, const std::string& name, Checkpoint& checkpoint) {
  const std::string named = IndexOfShard(name);
  if (named.empty()) return {};
  const size_t begin = name.rfind("-of-") + 4;
  const std::string_view count = std::string_view(name).substr(begin, name.find('.', begin) - begin);
  const Location index = folder / named;
  ANEMONE_ASSIGN(const bool is_there, index.IsFile());
  if (!is_there && (count.size() != 5 || count <= "00001")) return {};
  checkpoint.notes.push_back(
      fmt::format("one shard of several: {} names all{}", index.string(), is_there ? "" : ", and is not there"));
  checkpoint.origin.part_of = index.string();
  return {};
}

// Meta's models are one file for each tensor-parallel rank: consolidated.00.pth, consolidated.01.pth.
Status CheckNotOneOfMetas(const Location& folder, const std::string& name) {
  if (!name.starts_with("consolidated.") || !name.ends_with(".pth")) return {};
  for (const char* other : {"consolidated.00.pth", "consolidated.01.pth"}) {
    if (name == other) continue;
    ANEMONE_ASSIGN(const bool is_there, (folder / other).IsFile());
    if (!is_there) continue;
    return Unsupported(fmt::format("expected a whole model, found one of several ranks: {} is beside it", other),
                       "transformers' convert_llama_weights_to_hf.py joins them to a Hugging Face folder")
        .In((folder / name).string());
  }
  return {};
}

bool IsAmong(std::span<const std::string_view> names, std::string_view name) {
  return std::any_of(names.begin(), names.end(), [&](auto n) { return n == name || IsVariantOf(name, n); });
}

}  // namespace

// [HF-8: transformers utils/hub.py, _add_variant].
bool IsVariantOf(std::string_view name, std::string_view weights) {
  const size_t dot = weights.rfind('.');
  const std::string_view stem = weights.substr(0, dot + 1), end = weights.substr(dot);
  if (name.size() <= stem.size() + end.size() || !name.starts_with(stem) || !name.ends_with(end)) return false;
  const std::string_view word = name.substr(stem.size(), name.size() - stem.size() - end.size());
  return word != "index" &&
         std::all_of(word.begin(), word.end(), [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

Result<Config> ReadJsonObject(const Location& place, std::string_view rule) {
  const std::string& path = place.string();
  ANEMONE_ASSIGN(ByteSourcePtr source, place.Open());
  const auto text = Whole(std::move(source)).ReadAll(kMaxJsonBytes);
  if (!text.ok()) return text.status().In(path);
  ANEMONE_ASSIGN(Config config, Config::ParseJson(*text, path));
  if (!config.root().is_map()) return Corrupt(fmt::format("[{}] expected a JSON object", rule)).In(path);
  return config;
}

Status AddCompanions(const Probe& folder, std::string_view prefix, Checkpoint& checkpoint) {
  for (const auto& [name, is_of_tokenizer] : kCompanions) {
    if (!folder.HasEntry(name)) continue;
    ANEMONE_ASSIGN(ByteSourcePtr source, (folder.place() / name).Open());
    checkpoint.artifacts.push_back({fmt::format("{}{}", prefix, name), Whole(std::move(source))});
  }
  return {};
}

bool HoldsHuggingFaceWeights(const Probe& folder) { return IsHuggingFace(folder); }

Status AddModelFolder(const Probe& folder, Checkpoint& checkpoint) {
  if (checkpoint.config || !folder.HasEntry("config.json") || IsNemo(folder)) return {};
  ANEMONE_TRY(AddConfig(folder.place(), "config.json", checkpoint));
  checkpoint.notes.push_back(fmt::format("config from {}", (folder.place() / "config.json").string()));
  return AddCompanions(folder, "", checkpoint);
}

Status AddFolderOf(const Location& weights, Checkpoint& checkpoint) {
  Location folder = weights.parent();
  if (folder.string().empty()) folder = Location(".");
  const std::string name = weights.filename();
  ANEMONE_TRY(CheckNotOneOfMetas(folder, name));
  ANEMONE_TRY(NoteShard(folder, name, checkpoint));
  const bool is_openclip = IsAmong(kOpenClipWeights, name);
  if (checkpoint.config || (!is_openclip && !IsAmong(kHfWeights, name))) return {};
  ANEMONE_ASSIGN(const Probe probe, ProbePath(folder));
  std::vector<std::string_view> configs = {"config.json", "open_clip_config.json"};
  if (is_openclip) configs = {"open_clip_config.json"};
  const auto config = std::find_if(configs.begin(), configs.end(), [&](auto entry) { return probe.HasEntry(entry); });
  if (config == configs.end() || IsNemo(probe)) return {};
  ANEMONE_TRY(AddConfig(folder, *config, checkpoint));
  checkpoint.notes.push_back(fmt::format("config from {}", (folder / *config).string()));
  return AddCompanions(probe, "", checkpoint);
}

extern const Format kHuggingFace;
const Format kHuggingFace = {
    .name = "hf",
    .title = "Hugging Face folder (config.json, model.safetensors)",
    .extension = "",
    .is_directory = true,
    .matches = [](const Probe& probe) -> Result<bool> { return IsHuggingFace(probe); },
    .open = OpenHuggingFace,
    .lay_out = [](const Checkpoint& checkpoint,
                  const LayOutOptions& options) { return LayOutFolder(checkpoint, options, "config.json", "model"); },
    .traits = {.language = ConfigLanguage::kHuggingFace,
               .keeps_extra_state = false,
               .has_shards = true,
               .has_key = true,
               .reads_fixed_names = true,
               .own_files = {"config.json", "model.safetensors.index.json", "pytorch_model.bin.index.json"}},
};

extern const Format kOpenClip;
const Format kOpenClip = {
    .name = "openclip",
    .title = "OpenCLIP folder (open_clip_config.json, open_clip_model.safetensors)",
    .extension = "",
    .is_directory = true,
    .matches = [](const Probe& probe) -> Result<bool> { return IsOpenClip(probe); },
    .open =
        [](const Probe& probe) {
          return OpenFolder(probe, "openclip", "open_clip_config.json", FirstOf(probe, kOpenClipWeights));
        },
    .lay_out =
        [](const Checkpoint& checkpoint, const LayOutOptions& options) {
          return LayOutFolder(checkpoint, options, "open_clip_config.json", "open_clip_model");
        },
    .traits = {.language = ConfigLanguage::kOpenClip,
               .keeps_extra_state = false,
               .has_key = true,
               .reads_fixed_names = true,
               .own_files = {"open_clip_config.json"}},
};

extern const Format kPeft;
const Format kPeft = {
    .name = "peft",
    .title = "PEFT folder (adapter_config.json, adapter_model.safetensors)",
    .extension = "",
    .is_directory = true,
    .matches = [](const Probe& probe) -> Result<bool> { return IsAdapter(probe); },
    .open =
        [](const Probe& probe) { return OpenFolder(probe, "peft", kAdapterConfig, FirstOf(probe, kAdapterWeights)); },
    .lay_out =
        [](const Checkpoint& checkpoint, const LayOutOptions& options) {
          // PEFT reads one file.
          LayOutOptions whole = options;
          whole.max_shard_bytes = 0;
          return LayOutFolder(checkpoint, whole, kAdapterConfig, "adapter_model");
        },
    .traits = {.keeps_extra_state = false,
               .has_key = true,
               .holds_adapter = true,
               .reads_fixed_names = true,
               .own_files = {kAdapterConfig}},
};

}  // namespace anemone
