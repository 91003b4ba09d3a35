#include "source/openclip_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "anemone/config.h"
#include "base/lower_case.h"
#include "base/tree.h"
#include "family/clip/clip_config.h"
#include "format/format.h"
#include "source/text_file.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kParams = "params.txt";

// `name: value` a line, values as Python prints them [open_clip src/open_clip_train/main.py].
using Arguments = std::map<std::string, std::string>;

Result<Arguments> ReadArguments(const std::string& path) {
  ANEMONE_ASSIGN(const std::vector<std::string> lines, ReadLines(path));
  Arguments arguments;
  for (const std::string& line : lines) {
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) arguments[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return arguments;
}

// Python's number or list of them; null where the argument was not given.
Result<ConfigNode> NumbersOf(const Arguments& arguments, const std::string& name) {
  const auto found = arguments.find(name);
  if (found == arguments.end() || found->second == "None") return ConfigNode::Null();
  Result<Config> value = Config::ParseJson(found->second, name);
  if (!value.ok()) return Corrupt(fmt::format("{}: expected numbers, found {}", name, found->second));
  return value->root();
}

// Pretrained weights whose pictures are prepared otherwise than CLIP's, by their model and tag, for the sizes that have
// a name here [open_clip src/open_clip/pretrained.py].
constexpr struct {
  std::string_view model, tag, preprocess;
} kPretrained[] = {
    {"ViT-L-14", "laion2b_s32b_b82k", R"({"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]})"},
    {"ViT-H-14", "dfn5b", R"({"resize_mode": "squash"})"},
    {"ViT-H-14-quickgelu", "dfn5b", R"({"resize_mode": "squash"})"},
};

// Adds the preprocessing of the pretrained weights that a training began with.
Status AddPretrained(const Arguments& arguments, ConfigNode& preprocess) {
  const auto model = arguments.find("model"), pretrained = arguments.find("pretrained");
  if (model == arguments.end() || pretrained == arguments.end()) return {};
  std::string tag = LowerCase(pretrained->second);
  std::ranges::replace(tag, '-', '_');
  for (const auto& known : kPretrained) {
    if (known.model != model->second || known.tag != tag) continue;
    ANEMONE_ASSIGN(const Config fields, Config::ParseJson(known.preprocess, "pretrained"));
    for (const auto& [key, value] : fields.root().map) preprocess[key] = value;
  }
  return {};
}

// The arguments that change the named model [open_clip src/open_clip/factory.py, create_model].
Result<Config> ConfigOf(const Arguments& arguments, const ClipArchitecture& named) {
  ClipArchitecture spec = named;
  const auto flag = arguments.find("force_quick_gelu");
  if (flag != arguments.end() && flag->second == "True") spec.vision.activation = spec.text.activation = "quick_gelu";
  ANEMONE_ASSIGN(Config config, OpenClipConfig(spec));
  struct Override {
    const char* argument;
    const char* part;
    const char* key;
  };
  constexpr Override kOverrides[] = {{"force_image_size", "vision_cfg", "image_size"},
                                     {"force_context_length", "text_cfg", "context_length"}};
  for (const Override& o : kOverrides) {
    ANEMONE_ASSIGN(ConfigNode value, NumbersOf(arguments, o.argument));
    if (!value.is_null()) config.root()["model_cfg"][o.part][o.key] = std::move(value);
  }
  ConfigNode& preprocess = config.root()["preprocess_cfg"];
  ANEMONE_TRY(AddPretrained(arguments, preprocess));
  for (const std::string key : {"interpolation", "resize_mode"}) {
    const auto word = arguments.find("image_" + key);
    if (word != arguments.end() && word->second != "None") preprocess[key] = ConfigNode::String(word->second);
  }
  for (const char* key : {"mean", "std"}) {
    ANEMONE_ASSIGN(ConfigNode value, NumbersOf(arguments, fmt::format("image_{}", key)));
    if (!value.is_null()) preprocess[key] = std::move(value);
  }
  ANEMONE_TRY(ReadClipArchitecture(config).status());
  return config;
}

}  // namespace

Status AddConfigOfOpenClipRun(Checkpoint* checkpoint) {
  if (checkpoint->config || !TraitsOf(*checkpoint).is_pickle || checkpoint->origin.is_torch_script) return {};
  const fs::path folder = fs::path(checkpoint->path).parent_path();
  for (const fs::path& path : {folder / kParams, folder / ".." / kParams}) {
    const std::string name = path.lexically_normal().string();
    ANEMONE_ASSIGN(const PathKind kind, KindOf(path.string()));
    if (kind != PathKind::kFile) continue;
    ANEMONE_ASSIGN(const Arguments arguments, ReadArguments(name));
    const auto model = arguments.find("model");
    if (model == arguments.end() || !arguments.contains("force_quick_gelu")) continue;  // not OpenCLIP's
    const std::optional<ClipArchitecture> named = ClipPreset(model->second);
    if (!named) {
      checkpoint->notes.push_back(fmt::format("{}: the model {} is not known by name", name, model->second));
      return {};
    }
    Result<Config> config = ConfigOf(arguments, *named);
    if (!config.ok()) return config.status().In(name);
    checkpoint->config = *std::move(config);
    checkpoint->config_name = name;
    const auto pretrained = arguments.find("pretrained");
    const ConfigNode* quick = checkpoint->config->Find("model_cfg.quick_gelu");
    if (pretrained != arguments.end() && LowerCase(pretrained->second) == "openai" &&
        (quick == nullptr || !quick->AsBool().value_or(false))) {
      checkpoint->notes.push_back(fmt::format(
          "{}: OpenCLIP up to 2.28 trained OpenAI's weights with QuickGELU whatever the model's name, later "
          "ones as the name says, which is what is read: a config given for the weights may say quick_gelu",
          name));
    }
    return {};
  }
  return {};
}

}  // namespace anemone
