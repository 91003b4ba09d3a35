// The files that travel with a model under names that its loaders look for: tokenizers, preprocessors, generation.
// One list for all who read a folder, fetch a model or replace a checkpoint.
#ifndef ANEMONE_CONFIG_COMPANIONS_H_
#define ANEMONE_CONFIG_COMPANIONS_H_

#include <algorithm>
#include <iterator>
#include <string_view>

namespace anemone {

// The folder of a NeMo 2 checkpoint that holds them.
inline constexpr std::string_view kNemo2Context = "context/";

struct Companion {
  std::string_view name;
  bool is_of_tokenizer;
};

// [transformers v5.0.0 utils/__init__.py, and each tokenizer's vocab_files_names; mistral-common's tekken.json].
inline constexpr Companion kCompanions[] = {
    {"added_tokens.json", true},
    {"chat_template.jinja", true},
    {"chat_template.json", true},
    {"generation_config.json", false},
    {"merges.txt", true},
    {"preprocessor_config.json", false},
    {"processor_config.json", false},
    {"sentencepiece.bpe.model", true},
    {"special_tokens_map.json", true},
    {"spiece.model", true},
    {"tekken.json", true},
    {"tokenizer.json", true},
    {"tokenizer.model", true},
    {"tokenizer_config.json", true},
    {"vocab.json", true},
    {"vocab.txt", true},
};

// Null for another file.
inline const Companion* FindCompanion(std::string_view name) {
  const auto* found = std::ranges::find(kCompanions, name, &Companion::name);
  return found == std::end(kCompanions) ? nullptr : found;
}

}  // namespace anemone

#endif  // ANEMONE_CONFIG_COMPANIONS_H_
