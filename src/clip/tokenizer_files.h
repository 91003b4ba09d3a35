// A tokenizer's files, read as transformers reads them [transformers tokenization_utils_base.py, _from_pretrained].
//
// Threads:  no state.
#ifndef ANEMONE_CLIP_TOKENIZER_FILES_H_
#define ANEMONE_CLIP_TOKENIZER_FILES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anemone/status.h"

namespace anemone {

// The contents of a tokenizer's files that are there.
struct TokenizerFiles {
  std::optional<std::string_view> tokenizer_json = {};
  std::string_view vocab_json = {};  // read without tokenizer_json
  std::string_view merges_txt = {};
  std::optional<std::string_view> tokenizer_config_json = {};
  std::optional<std::string_view> added_tokens_json = {};
  std::optional<std::string_view> special_tokens_map_json = {};
};

// The vocabulary of a byte-level BPE as its files have it. Ownership: the texts lie in the files' contents, which
// outlive it, and in `texts`.
struct BpeModel {
  using Token = std::pair<std::string_view, int64_t>;           // and its id; of one that stands twice the last counts
  using Merge = std::pair<std::string_view, std::string_view>;  // its parts
  // A token that is cut out of the text whole, before or after the text was normalized.
  struct Added {
    std::string_view text;
    bool normalized;
  };

  std::vector<Token> vocab;
  std::vector<Merge> merges;  // the lowest rank first
  std::vector<Added> added;
  std::shared_ptr<const void> texts;
};

// tokenizer.json where it is there, else vocab.json and merges.txt; added tokens from every file. Errors: Corrupt
// (syntax), Unsupported (a field that changes the tokens in a way that is not supported, by name; an
// added token that strips its surroundings), LimitExceeded (over 64 MiB).
Result<BpeModel> ReadBpeModel(const TokenizerFiles& files);

// Refuses what a SigLIP's tokenizer files say besides the pieces, of which there are `pieces`, and what changes them.
// Errors: Corrupt, Unsupported (a field that changes the tokens in a way that is not supported, a token added to the
// vocabulary), naming it.
Status CheckSiglipTokenizer(const TokenizerFiles& files, size_t pieces);

}  // namespace anemone

#endif  // ANEMONE_CLIP_TOKENIZER_FILES_H_
