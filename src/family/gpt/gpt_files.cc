// A decoder's tokenizer on its way between NeMo and Hugging Face.
#include <algorithm>
#include <filesystem>
#include <system_error>

#include "family/gpt/gpt.h"
#include "family/gpt/hf_vocabulary.h"
#include "family/gpt/traps.h"
#include "family/tokenizer/tokenizer_files.h"
#include "family/words/hf_architectures.h"
#include "family/words/model_words.h"

namespace anemone {
namespace {

std::string ArchitectureOf(const Config& config_json) {
  const HfArchitecture* architecture = FindHfArchitecture(config_json.root());
  return architecture == nullptr ? std::string() : std::string(architecture->name);
}

// Where config.json does not say how a text begins and ends, by the tokenizer.
void SetSpecialIds(const SpecialIds& ids, ConfigNode* config_json) {
  const bool is_sorted = std::is_sorted(config_json->map.begin(), config_json->map.end(),
                                        [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [key, id] :
       {std::pair{"bos_token_id", ids.begin}, {"eos_token_id", ids.end}, {"pad_token_id", ids.pad}}) {
    if (id && config_json->Get(key) == nullptr) (*config_json)[key] = ConfigNode::Int(*id);
  }
  if (!is_sorted) return;
  std::sort(config_json->map.begin(), config_json->map.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
}

// The files of a config.json that came along are all that its model had.
bool CameAlong(const Checkpoint& source, const std::string& name) {
  return source.FindArtifact(name) != nullptr || source.FindArtifact("context/" + name) != nullptr;
}

// What NeMo is to load a tokenizer by: the hub's name of the model, or else its folder.
std::string NameOf(const Checkpoint& source) {
  const std::string name =
      source.config ? WordAt(source.config->root(), "_name_or_path").AsString().value_or("") : std::string();
  std::error_code error;  // a checkpoint that was made in memory has no path
  return name.empty() ? std::filesystem::absolute(source.path, error).lexically_normal().string() : name;
}

}  // namespace

Status CompleteGpt(const Checkpoint& source, ConfigLanguage language, const TranslateOptions& options,
                   Checkpoint* result) {
  const std::vector<std::string> traps = NotesOnTraps(source, language, CameAlong(source, "config.json"), *result);
  result->notes.insert(result->notes.end(), traps.begin(), traps.end());
  return CompleteLanguageModel(source, source.config ? ArchitectureOf(*source.config) : "", language, options, result);
}

Status CompleteLanguageModel(const Checkpoint& source, std::string_view hf_class, ConfigLanguage language,
                             const TranslateOptions& options, Checkpoint* result) {
  if (!result->config) return {};
  ConfigNode& root = result->config->root();
  const bool to_hf = language == ConfigLanguage::kHuggingFace;
  if (to_hf) {
    // NeMo 1's name for NeMo 2's file, made on the way.
    std::erase_if(result->artifacts, [&](const Artifact& artifact) {
      return artifact.name.ends_with("_tokenizer.model") && source.FindArtifact(artifact.name) == nullptr;
    });
    const ConfigNode tokenizer = NemoTokenizerOf(source);
    ANEMONE_TRY(TokenizerToHuggingFace(tokenizer.is_map() ? &tokenizer : nullptr,
                                       {.architecture = ArchitectureOf(*result->config)}, &result->artifacts,
                                       &result->notes));
    constexpr const char* kGeneration = "generation_config.json";
    if (!CameAlong(source, "config.json")) {
      ANEMONE_ASSIGN(const SpecialIds ids, SpecialIdsOf(result->artifacts));
      SetSpecialIds(ids, &root);
    } else if (!CameAlong(source, kGeneration)) {
      std::erase_if(result->artifacts, [](const Artifact& artifact) { return artifact.name == kGeneration; });
    }
    return {};
  }
  if (hf_class.empty() || options.hparams) return {};
  if (language == ConfigLanguage::kNemo2) {
    if (std::optional<ConfigNode> tokenizer = TokenizerToNemo2(&result->artifacts, &result->notes)) {
      root["tokenizer"] = *std::move(tokenizer);
      return {};
    }
  }
  ANEMONE_ASSIGN(root["tokenizer"], TokenizerToNemo1({.architecture = std::string(hf_class), .name = NameOf(source)},
                                                     &result->artifacts, &result->notes));
  return {};
}

}  // namespace anemone
