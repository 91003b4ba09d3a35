#include "family/clip/clip_processor.h"

#include <string>
#include <utility>

#include "family/clip/clip_config.h"
#include "family/clip/clip_preprocess.h"
#include "family/clip/clip_vocabulary.h"
#include "family/words/nemo2_config.h"

namespace anemone {
namespace {

// [transformers models/clip/tokenization_clip.py; tokenizer_config.json of openai/clip-vit-large-patch14]
ConfigNode TokenizerConfig(const ClipArchitecture& spec) {
  ConfigNode root = ConfigNode::Map();
  root["tokenizer_class"] = ConfigNode::String("CLIPTokenizer");
  root["bos_token"] = ConfigNode::String("<|startoftext|>");
  for (const char* key : {"eos_token", "pad_token", "unk_token"}) root[key] = ConfigNode::String("<|endoftext|>");
  root["do_lower_case"] = ConfigNode::Bool(true);
  root["model_max_length"] = ConfigNode::Int(static_cast<int64_t>(spec.context));
  return root;
}

void AddFile(std::string name, std::string bytes, Checkpoint* checkpoint) {
  if (checkpoint->FindArtifact(name) != nullptr) return;
  ByteSourcePtr source = MemorySource(std::move(bytes), name);
  checkpoint->artifacts.push_back({std::move(name), Whole(std::move(source))});
}

}  // namespace

Status AddProcessor(const Checkpoint& source, ConfigLanguage language, const TranslateOptions& options,
                    Checkpoint* result) {
  if (language != ConfigLanguage::kHuggingFace) return {};
  if (source.config && IsNemo2Config(source.config->root())) {
    Checkpoint own = source;
    ANEMONE_ASSIGN(ConfigNode nemo1, ToNemo1Config(source.config->root()));
    own.config = Config(std::move(nemo1));
    return AddProcessor(own, language, options, result);
  }
  std::string name;
  ANEMONE_ASSIGN(const ClipArchitecture spec, ClipArchitectureOf(source, options, &name));
  if (spec.has_vision) {
    const bool open = source.config && KindOfClipConfig(*source.config) == ClipConfigKind::kOpenClip;
    const PixelRules rules = open ? PixelRules::kOpenClip : PixelRules::kNemo;
    ANEMONE_ASSIGN(const ClipPreprocess pixels, ClipPreprocessOf(source, spec, rules, options.strict));
    ANEMONE_ASSIGN(ConfigNode preprocessor, HuggingFacePreprocess(pixels, spec.siglip));
    AddFile("preprocessor_config.json", Config(std::move(preprocessor)).ToJson() + "\n", result);
  }
  const Result<ClipArchitecture> written = ReadClipArchitecture(*result->config);
  const bool has_tokenizer =
      result->FindArtifact("vocab.json") != nullptr || result->FindArtifact("tokenizer.json") != nullptr;
  if (!spec.has_text || spec.siglip || has_tokenizer || !written.ok() || written->vocab != kClipVocab ||
      (source.config && !OtherTokenizer(*source.config).empty())) {
    return {};
  }
  AddFile("vocab.json", ClipVocabJson(), result);
  AddFile("merges.txt", std::string(ClipMerges()), result);
  AddFile("tokenizer_config.json", Config(TokenizerConfig(spec)).ToJson() + "\n", result);
  return {};
}

}  // namespace anemone
