#include "source/nemo_yaml.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <string_view>
#include <system_error>

namespace anemone {
namespace {

// [NeMo v2.0.0 examples/multimodal/vision_language_foundation/clip/conf, examples/nlp/language_modeling/conf]; the
// preset that has the sizes of a CLIP's.
struct NemoYaml {
  std::string_view name, preset;
};
constexpr NemoYaml kNemoYamls[] = {
    {"megatron_baichuan2_config.yaml", ""},      {"megatron_bert_config.yaml", ""},
    {"megatron_chatglm_config.yaml", ""},        {"megatron_clip_VIT-H-14.yaml", "ViT-H-14"},
    {"megatron_clip_VIT-L-14.yaml", "ViT-L-14"}, {"megatron_clip_config.yaml", "ViT-B-16"},
    {"megatron_falcon_config.yaml", ""},         {"megatron_gemma2_config.yaml", ""},
    {"megatron_gemma_config.yaml", ""},          {"megatron_gpt_config.yaml", ""},
    {"megatron_llama_config.yaml", ""},          {"megatron_mpt_config.yaml", ""},
    {"megatron_qwen2_config.yaml", ""},          {"megatron_siglip_config.yaml", ""},
    {"megatron_siglip_so400m_14_384.yaml", ""},  {"megatron_starcoder2_config.yaml", ""},
    {"megatron_starcoder_config.yaml", ""},      {"megatron_t5_config.yaml", ""},
};

}  // namespace

std::string LeaveOutNemosYaml(ConvertOptions* options) {
  const std::filesystem::path path(options->hparams);
  std::error_code error;
  const auto* known = std::ranges::find(kNemoYamls, path.filename().string(), &NemoYaml::name);
  if (known == std::end(kNemoYamls) || std::filesystem::exists(path, error)) return {};
  options->hparams.clear();
  if (known->preset.empty() || !options->preset.empty())
    return fmt::format("NeMo's {} does not exist here and is not needed: the config is derived from the source",
                       known->name);
  options->preset = known->preset;
  return fmt::format(
      "NeMo's {} does not exist here and is not needed: the config is derived from the source, and the sizes are those "
      "of {} where the source has none",
      known->name, known->preset);
}

}  // namespace anemone
