// What a CLIP's config says, whoever wrote it: Hugging Face's config.json, OpenCLIP's open_clip_config.json, NeMo's
// model_config.yaml; and each of them written from it.
//
// Facts: field defaults [transformers models/clip/configuration_clip.py, models/siglip/configuration_siglip.py];
// [open_clip src/open_clip/model.py, CLIPVisionCfg, CLIPTextCfg]; NeMo v2.0.0 [megatron_clip_models.py,
// scripts/checkpoint_converters/convert_clip_hf_to_nemo.py]. docs/families/clip.md has the table.
#ifndef ANEMONE_FAMILY_CLIP_CLIP_CONFIG_H_
#define ANEMONE_FAMILY_CLIP_CLIP_CONFIG_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/config.h"
#include "anemone/dtype.h"
#include "anemone/status.h"
#include "family/family.h"
#include "family/words/config_languages.h"

namespace anemone {

struct TowerArchitecture {
  uint64_t layers = 12, width = 768, heads = 12, ffn = 3072;
  std::string activation = "quick_gelu";  // "quick_gelu" (x·sigmoid(1.702x)), "gelu" (erf), "gelu_tanh"
  double epsilon = 1e-5;
};

using Rgb = std::array<double, 3>;
// What CLIP's pixels, from 0 to 1, are normalised with where nothing else is said
// [NeMo data/clip/augmentations/augmentations.py; open_clip constants.py].
inline constexpr Rgb kClipMean = {0.48145466, 0.4578275, 0.40821073};
inline constexpr Rgb kClipDeviation = {0.26862954, 0.26130258, 0.27577711};
// A number or a list of three, as NeMo's img_mean and OpenCLIP's mean are written; nullopt for anything else.
std::optional<Rgb> ReadRgb(const ConfigNode* node);
ConfigNode RgbNode(const Rgb& rgb);

struct ClipArchitecture {
  bool siglip = false;
  bool has_vision = true, has_text = true;  // a CLIPVisionModelWithProjection has one tower only
  bool projects = true;                     // a CLIPVisionModel's ends at its last norm
  TowerArchitecture vision, text;
  uint64_t image_height = 224, image_width = 224, patch = 32, channels = 3, class_tokens = 1;
  uint64_t context = 77;
  uint64_t projection = 512;
  std::optional<uint64_t> vocab;       // NeMo's config does not always say it
  std::optional<Rgb> mean, deviation;  // of pixels, where the model says it
  std::optional<int64_t> eos_token;    // a text is pooled where this id comes first; without: at its largest id
  std::string tokenizer;               // by name, where OpenCLIP's config names one

  uint64_t positions() const { return (image_height / patch) * (image_width / patch) + class_tokens; }
};

enum class ClipConfigKind : uint8_t { kNone, kHuggingFace, kOpenClip, kNemo };
// By content, wherever the model lies in it (NeMo: at the root, under `model:` or `cfg:`).
ClipConfigKind KindOfClipConfig(const Config& config);

// A field of no list (clip_fields.h) is an error with `strict`, else a note. Errors: Corrupt (a field is missing
// or has no meaning), Unsupported (another model, or a field that changes it in a way that is not supported, by name).
Result<ClipArchitecture> ReadClipArchitecture(const Config& config, bool strict = true,
                                              std::vector<std::string>* notes = nullptr);

// The same of a checkpoint: its own config, else `options.preset`, else `options.hparams`. `name` becomes what it was
// read from, for messages. Errors: NotFound when there is none of them; InvalidArgument (no such preset).
Result<ClipArchitecture> ClipArchitectureOf(const Checkpoint& checkpoint, const TranslateOptions& options,
                                            std::string* name, std::vector<std::string>* notes = nullptr);

// Sizes by name, as OpenCLIP and OpenAI call them: "ViT-B-32", "ViT-B/32-quickgelu", "ViT-L-14-336", "ViT-H-14" …
std::optional<ClipArchitecture> ClipPreset(std::string_view name);
std::vector<std::string_view> ClipPresetNames();

enum class NemoClipKind : uint8_t { kMcore, kLegacy };

// The config NeMo's converters write into a .nemo, given the YAML a user passes: its model part resolved, the keys the
// converter sets, then `target` and `nemo_version`. `spec` is what the weights' own config says.
// Errors: Corrupt naming every field in which the two disagree, both values and what to set. Fields that NeMo never
// reads (vision.encoder_seq_length, image_mean …) may say anything.
Result<Config> NemoConfigFromHparams(const Config& hparams, const std::string& hparams_name,
                                     const ClipArchitecture& spec, const std::string& spec_name, NemoClipKind kind,
                                     std::vector<std::string>* notes);
// A complete one, with every key of NeMo's published YAML, for a model of this spec.
Config NemoConfigFromArchitecture(const ClipArchitecture& spec, NemoClipKind kind);
// What transformers' CLIPModel / SiglipModel .from_pretrained wants. Errors: Unsupported (an image that is not square).
Result<Config> HuggingFaceConfig(const ClipArchitecture& spec, DType dtype);
// open_clip_config.json; without `preprocess`, pictures are prepared in OpenCLIP's usual way with the spec's mean and
// deviation. Errors: Unsupported where OpenCLIP has no word for it (SigLIP, quick GELU in one tower).
Result<Config> OpenClipConfig(const ClipArchitecture& spec, std::optional<ConfigNode> preprocess = std::nullopt);

// The tokenizer that OpenAI's and LAION's CLIPs share, and whether a NeMo model's node says by a model's id that it is
// that one.
inline constexpr uint64_t kClipVocab = 49408;
bool NamesClipTokenizer(const ConfigNode& nemo_model);
// The name of the tokenizer that a config asks for, where it is not CLIP's; else "".
std::string OtherTokenizer(const Config& config);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_CLIP_CLIP_CONFIG_H_
