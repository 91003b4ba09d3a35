// A pipeline of diffusers: model_index.json names its components, each of which has a folder of its own.
// Rules (DF-n): docs/formats/diffusers.md.
//
// A tensor's name begins with its component's ("unet.conv_in.weight"). The config is a map: `model_index`, and each
// component's own config under the component's name.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/listing.h"
#include "base/safe_path.h"
#include "config/companions.h"
#include "format/artifacts.h"
#include "format/format.h"
#include "format/huggingface/huggingface.h"
#include "format/huggingface/safetensors.h"
#include "format/huggingface/shards.h"

namespace anemone {
namespace {

constexpr std::string_view kIndex = "model_index.json", kIndexKey = "model_index", kTokenizer = "tokenizer";

// In order of precedence: diffusers' own models, then those of transformers.
constexpr std::string_view kWeights[] = {"diffusion_pytorch_model.safetensors",
                                         "diffusion_pytorch_model.safetensors.index.json",
                                         "model.safetensors",
                                         "model.safetensors.index.json",
                                         "diffusion_pytorch_model.bin",
                                         "diffusion_pytorch_model.bin.index.json",
                                         "pytorch_model.bin",
                                         "pytorch_model.bin.index.json"};
constexpr std::string_view kModelConfig = "config.json", kSchedulerConfig = "scheduler_config.json";

Result<ConfigNode> ReadMap(const Location& place) {
  ANEMONE_ASSIGN(Config config, ReadJsonObject(place, "DF-1"));
  return std::move(config.root());
}

// ["diffusers", "UNet2DConditionModel"]; [null, null] and other values are no component.
bool IsComponent(const ConfigNode& value) {
  return value.is_list() && value.list.size() == 2 && std::ranges::none_of(value.list, &ConfigNode::is_null);
}

ConfigNode NoComponent() { return ConfigNode::List({ConfigNode::Null(), ConfigNode::Null()}); }

// The file that holds a component's weights; "": none does. Errors: InvalidArgument where several variants do.
Result<std::string> WeightsIn(const Probe& folder) {
  for (const std::string_view name : kWeights) {
    if (folder.HasEntry(name)) return std::string(name);
  }
  for (const std::string_view ending : {".safetensors", ".bin"}) {
    std::vector<std::string> variants;
    std::ranges::copy_if(folder.entries, std::back_inserter(variants), [&](const std::string& name) {
      return std::ranges::any_of(kWeights, [&](std::string_view weights) {
        return weights.find(ending) != weights.npos && IsVariantOf(name, weights);
      });
    });
    if (variants.size() > 1) {
      return InvalidArgument(fmt::format("[DF-4] expected one variant of the weights, found {}", Listing(variants)),
                             "keep one of them in the folder");
    }
    if (!variants.empty()) return variants.front();
  }
  return std::string();
}

Status ReadComponent(const std::string& name, const Probe& folder, Checkpoint* checkpoint) {
  const Location place = folder.place();
  bool has_config = false;
  for (const std::string_view file : {kModelConfig, kSchedulerConfig}) {
    if (!folder.HasEntry(file)) continue;
    ANEMONE_ASSIGN(checkpoint->config->root()[name], ReadMap(place / file));
    has_config |= file == kModelConfig;
  }
  const size_t artifacts = checkpoint->artifacts.size();
  ANEMONE_TRY(AddCompanions(folder, name + "/", *checkpoint));
  const bool has_companion = checkpoint->artifacts.size() > artifacts;
  const Result<std::string> weights = WeightsIn(folder);
  if (!weights.ok()) return weights.status().In(place.string());
  if (weights->empty()) {
    if (!has_config || has_companion) return {};
    return Corrupt(fmt::format("[DF-3] expected weights ({}, {} …), found none", kWeights[0], kWeights[2]))
        .In(place.string());
  }
  if (std::ranges::find(kWeights, *weights) == std::end(kWeights))
    checkpoint->notes.push_back(fmt::format("{}: weights are those of the variant {}", name, *weights));
  Checkpoint part;
  ANEMONE_ASSIGN(const StateDict state, weights->ends_with(".json") ? ReadIndexedWeights(place / *weights, part)
                                                                    : ReadWeightsFile(place / *weights, part));
  std::ranges::move(part.notes, std::back_inserter(checkpoint->notes));
  for (const StateDict::Item& item : state.items())
    ANEMONE_TRY(checkpoint->weights().Add(fmt::format("{}.{}", name, item.name), item.entry));
  return {};
}

Result<Checkpoint> Open(const Probe& probe) {
  Checkpoint checkpoint;
  checkpoint.flavour = "diffusers";
  checkpoint.path = probe.path;
  checkpoint.shards.resize(1);
  checkpoint.config.emplace();
  checkpoint.config_name = kIndex;
  ConfigNode& root = checkpoint.config->root();
  ANEMONE_ASSIGN(root[kIndexKey], ReadMap(probe.place() / kIndex));
  const ConfigNode named = *root.Get(kIndexKey);
  for (const auto& [name, value] : named.map) {
    if (!IsComponent(value)) continue;
    if (!IsPlainName(name) || name == kIndexKey || name.find('.') != name.npos)
      return Corrupt(fmt::format("[DF-2] expected the name of a component, found \"{}\"", name)).In(probe.path);
    const Location folder = probe.place() / name;
    ANEMONE_ASSIGN(const bool is_there, folder.IsFolder());
    if (!is_there) {
      checkpoint.notes.push_back(fmt::format("{}: {} names it, and no such folder is there", name, kIndex));
      root[kIndexKey][name] = NoComponent();
      continue;
    }
    ANEMONE_ASSIGN(const Probe component, ProbePath(folder));
    ANEMONE_TRY(ReadComponent(name, component, &checkpoint));
  }
  if (checkpoint.weights().empty())
    return Corrupt("[DF-3] expected a component with weights, found none").In(probe.path);
  return checkpoint;
}

// ---- writing ----

std::string_view StemOf(const ConfigNode& component) {
  const bool is_diffusers = IsComponent(component) && component.list.front().text == "diffusers";
  return is_diffusers ? "diffusion_pytorch_model" : "model";
}

void AddConfig(const std::string& component, const ConfigNode& config, Plan* plan) {
  PlanFile& file = plan->files.emplace_back();
  file.path = fmt::format("{}/{}", component, component.ends_with("scheduler") ? kSchedulerConfig : kModelConfig);
  file.Append(Config(config).ToJson() + "\n");
}

// The tensors of each component, without its name.
Result<std::map<std::string, Checkpoint, std::less<>>> Components(const StateDict& weights) {
  std::map<std::string, Checkpoint, std::less<>> components;
  for (const StateDict::Item& item : weights.items()) {
    const std::string name = item.name.substr(0, item.name.find('.'));
    if (!IsPlainName(name) || name == kIndexKey || name.size() + 1 >= item.name.size())
      return Unsupported(fmt::format("{}: expected a name that begins with a component's, \"unet.\"", item.name));
    Checkpoint& component = components[name];
    component.shards.resize(1);
    ANEMONE_TRY(component.weights().Add(item.name.substr(name.size() + 1), item.entry));
  }
  return components;
}

Result<Plan> LayOut(const Checkpoint& checkpoint, const LayOutOptions& options) {
  ANEMONE_TRY(CheckUnsharded(checkpoint));
  ANEMONE_ASSIGN(const auto components, Components(checkpoint.weights()));
  const ConfigNode none = ConfigNode::Map();
  const ConfigNode& configs = checkpoint.config ? checkpoint.config->root() : none;
  const ConfigNode* const said = configs.Get(kIndexKey);
  ConfigNode index = said != nullptr && said->is_map() ? *said : ConfigNode::Map();
  // One that a map of names alone makes: the class is in the component's config.
  for (const auto& [name, component] : components) {
    if (const ConfigNode* named = index.Get(name); named == nullptr || !IsComponent(*named))
      index[name] = ConfigNode::List({ConfigNode::String("diffusers"), ConfigNode::String("AutoModel")});
  }
  Plan plan;
  plan.is_directory = true;
  PlanFile& file = plan.files.emplace_back();
  file.path = kIndex;
  file.Append(Config(index).ToJson() + "\n");
  for (const auto& [name, config] : configs.map) {
    if (name != kIndexKey && IsPlainName(name) && config.is_map()) AddConfig(name, config, &plan);
  }
  for (const auto& [name, component] : components) {
    Plan part;
    ANEMONE_TRY(AddSafetensorsFiles(component, options, StemOf(index[name]), kFormatMetadata, part).In(name));
    for (PlanFile& weights : part.files) {
      weights.path = fmt::format("{}/{}", name, weights.path);
      plan.files.push_back(std::move(weights));
    }
  }
  const auto place = [](const std::string& name) {
    const Companion* companion = FindCompanion(name);
    const bool is_tokenizers = companion != nullptr && companion->is_of_tokenizer;
    return is_tokenizers ? fmt::format("{}/{}", kTokenizer, name) : name;
  };
  ANEMONE_TRY(AddArtifacts(checkpoint, "pipeline of diffusers", plan.files, place));
  return plan;
}

}  // namespace

extern const Format kDiffusers;
const Format kDiffusers = {
    .name = "diffusers",
    .title = "diffusers folder (model_index.json, a folder for each component)",
    .extension = "",
    .is_directory = true,
    .matches = [](const Probe& probe) -> Result<bool> { return probe.is_directory && probe.HasEntry(kIndex); },
    .open = Open,
    .lay_out = LayOut,
    .traits = {.keeps_extra_state = false,
               .has_shards = true,
               .reads_fixed_names = true,
               .own_files = {kIndex, "*config.json", "*.index.json"}},
};

}  // namespace anemone
