// Sizes of CLIPs by name.
#include <algorithm>
#include <cctype>

#include "family/clip/clip_config.h"

namespace anemone {
namespace {

struct Preset {
  std::string_view name;
  uint64_t projection, image, patch;
  uint64_t vision_layers, vision_width, vision_heads, vision_ffn;
  uint64_t text_layers, text_width, text_heads;
};
// [open_clip src/open_clip/model_configs/*.json]; e/14 as in NeMo's list of sizes.
constexpr Preset kPresets[] = {
    {"ViT-B-32", 512, 224, 32, 12, 768, 12, 3072, 12, 512, 8},
    {"ViT-B-32-256", 512, 256, 32, 12, 768, 12, 3072, 12, 512, 8},
    {"ViT-B-16", 512, 224, 16, 12, 768, 12, 3072, 12, 512, 8},
    {"ViT-L-14", 768, 224, 14, 24, 1024, 16, 4096, 12, 768, 12},
    {"ViT-L-14-336", 768, 336, 14, 24, 1024, 16, 4096, 12, 768, 12},
    {"ViT-H-14", 1024, 224, 14, 32, 1280, 16, 5120, 24, 1024, 16},
    {"ViT-g-14", 1024, 224, 14, 40, 1408, 16, 6144, 24, 1024, 16},
    {"ViT-bigG-14", 1280, 224, 14, 48, 1664, 16, 8192, 32, 1280, 20},
    {"ViT-e-14", 1280, 224, 14, 56, 1792, 16, 15360, 36, 1280, 20},
};

std::string NormalPresetName(std::string_view name) {
  std::string result;
  for (const char c : name) {
    if (c == '/' || c == '@' || c == '_') {
      result += '-';
    } else {
      result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  if (result.ends_with("-336px")) result.resize(result.size() - 2);
  return result;
}

}  // namespace

std::vector<std::string_view> ClipPresetNames() {
  std::vector<std::string_view> names;
  for (const Preset& preset : kPresets) names.push_back(preset.name);
  return names;
}

std::optional<ClipArchitecture> ClipPreset(std::string_view name) {
  std::string wanted = NormalPresetName(name);
  constexpr std::string_view kQuick = "-quickgelu";
  const bool quick = wanted.ends_with(kQuick);
  if (quick) wanted.resize(wanted.size() - kQuick.size());
  for (const Preset& p : kPresets) {
    if (NormalPresetName(p.name) != wanted) continue;
    ClipArchitecture spec;
    spec.projection = p.projection;
    spec.image_height = spec.image_width = p.image;
    spec.patch = p.patch;
    const std::string activation = quick ? "quick_gelu" : "gelu";
    spec.vision = {p.vision_layers, p.vision_width, p.vision_heads, p.vision_ffn, activation, 1e-5};
    spec.text = {p.text_layers, p.text_width, p.text_heads, 4 * p.text_width, activation, 1e-5};
    spec.vocab = 49408;
    return spec;
  }
  return std::nullopt;
}

}  // namespace anemone
