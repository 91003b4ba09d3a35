#include "ops/clip_processor.h"

#include <algorithm>
#include <string>
#include <utility>

#include "clip/clip_vocabulary.h"
#include "family/clip_config.h"
#include "ops/json_nodes.h"

namespace anemone {
namespace {

// [transformers models/clip/image_processing_clip.py, models/siglip/image_processing_siglip.py]: CLIP's crops, SigLIP's
// squashes.
ConfigNode Preprocessor(const ClipArchitecture& spec) {
  ConfigNode whole = ConfigNode::Map();
  whole["height"] = CountNode(spec.image_height);
  whole["width"] = CountNode(spec.image_width);
  ConfigNode root = ConfigNode::Map();
  for (const char* step : {"do_convert_rgb", "do_normalize", "do_rescale", "do_resize"}) {
    root[step] = ConfigNode::Bool(true);
  }
  if (spec.siglip) {
    root["size"] = whole;
  } else {
    root["do_center_crop"] = ConfigNode::Bool(true);
    root["crop_size"] = whole;
    root["size"] = ConfigNode::Map();
    root["size"]["shortest_edge"] = CountNode(std::min(spec.image_height, spec.image_width));
  }
  constexpr Rgb kHalf = {0.5, 0.5, 0.5};
  root["image_mean"] = RgbNode(spec.siglip ? kHalf : spec.mean.value_or(kClipMean));
  root["image_std"] = RgbNode(spec.siglip ? kHalf : spec.deviation.value_or(kClipDeviation));
  root["image_processor_type"] = ConfigNode::String(spec.siglip ? "SiglipImageProcessor" : "CLIPImageProcessor");
  root["resample"] = CountNode(3);  // bicubic
  root["rescale_factor"] = ConfigNode::Float(1.0 / 255);
  return root;
}

// [transformers models/clip/tokenization_clip.py; tokenizer_config.json of openai/clip-vit-large-patch14]
ConfigNode TokenizerConfig(const ClipArchitecture& spec) {
  ConfigNode root = ConfigNode::Map();
  root["tokenizer_class"] = ConfigNode::String("CLIPTokenizer");
  root["bos_token"] = ConfigNode::String("<|startoftext|>");
  for (const char* key : {"eos_token", "pad_token", "unk_token"}) root[key] = ConfigNode::String("<|endoftext|>");
  root["do_lower_case"] = ConfigNode::Bool(true);
  root["model_max_length"] = CountNode(spec.context);
  return root;
}

// OpenAI's and OpenCLIP's models have one tokenizer between them; NeMo names it by a model's id, OpenCLIP names others.
bool NamesAnotherTokenizer(const Checkpoint& source) {
  if (!source.config) return false;
  if (source.config->Find("model_cfg.text_cfg.hf_tokenizer_name") != nullptr) return true;
  if (KindOfClipConfig(*source.config) != ClipConfigKind::kNemo) return false;
  const Result<ConfigNode> model = NemoModelNode(*source.config);
  return !model.ok() || !NamesClipTokenizer(*model);
}

void AddFile(std::string name, std::string bytes, Checkpoint* checkpoint) {
  if (checkpoint->FindArtifact(name) != nullptr) return;
  ByteSourcePtr source = MemorySource(std::move(bytes), name);
  checkpoint->artifacts.push_back({std::move(name), Whole(std::move(source))});
}

}  // namespace

Status AddProcessor(const Checkpoint& source, const TranslateOptions& options, Checkpoint* result) {
  std::string name;
  ANEMONE_ASSIGN(const ClipArchitecture spec, ClipArchitectureOf(source, options, &name));
  if (spec.has_vision) AddFile("preprocessor_config.json", Config(Preprocessor(spec)).ToJson() + "\n", result);
  const Result<ClipArchitecture> written = ReadClipArchitecture(*result->config);
  const bool has_tokenizer =
      result->FindArtifact("vocab.json") != nullptr || result->FindArtifact("tokenizer.json") != nullptr;
  if (!spec.has_text || spec.siglip || has_tokenizer || !written.ok() || written->vocab != kClipVocab ||
      NamesAnotherTokenizer(source)) {
    return {};
  }
  AddFile("vocab.json", ClipVocabJson(), result);
  AddFile("merges.txt", std::string(ClipMerges()), result);
  AddFile("tokenizer_config.json", Config(TokenizerConfig(spec)).ToJson() + "\n", result);
  return {};
}

}  // namespace anemone
