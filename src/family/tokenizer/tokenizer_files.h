// A language model's tokenizer on its way from NeMo to Hugging Face and back: which files, under which names, and what
// the config says of them.
//
//   Hugging Face   tokenizer.json, tokenizer.model, vocab.json … in the model's folder
//   NeMo 1         `tokenizer:` in the config names a library, and a file as "nemo:<32 hex>_tokenizer.model"; other
//                  files of a Hugging Face folder are kept in `tokenizer/`, which NeMo does not look at
//   NeMo 2         the files of the Hugging Face folder in `context/nemo_tokenizer/`
//
// Facts: [NeMo v2.0.0 nlp/modules/common/tokenizer_utils.py, common/tokenizers/sentencepiece_tokenizer.py,
// scripts/checkpoint_converters]; [transformers v4.44.2 tokenization_utils_base.py, save_pretrained].
#ifndef ANEMONE_FAMILY_TOKENIZER_TOKENIZER_FILES_H_
#define ANEMONE_FAMILY_TOKENIZER_TOKENIZER_FILES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// The file's name in a Hugging Face folder, for a tokenizer's file at the top, in `tokenizer/`, `context/` or
// `context/nemo_tokenizer/`; "" for what is none.
std::string_view TokenizerFileName(std::string_view artifact);
// The first artifact of that name, by TokenizerFileName; null: there is none.
const Artifact* FindTokenizerFile(const std::vector<Artifact>& artifacts, std::string_view name);

// The file that a value of NeMo 1's `tokenizer:` names: an artifact as "nemo:NAME", or one of NeMo 2's in `context/`.
const Artifact* FindNemoFile(const ConfigNode* value, const std::vector<Artifact>& artifacts);

// `special_tokens` of NeMo 1's `tokenizer:`, a list or a map of roles, without repeats.
std::vector<std::string> SpecialTokensOf(const ConfigNode& tokenizer);

// The tokenizer's files in a folder, or one file alone, by their own names. Errors: NotFound when there is none; as
// reading.
Result<std::vector<Artifact>> OpenTokenizer(const std::string& path);

// Puts `given`, files of a Hugging Face folder, in place of the tokenizer among `artifacts`; one file alone replaces
// only its like. `config` is the model's, whose `tokenizer` names a SentencePiece model that comes alone; null: none.
// Errors: Unsupported for a file that NeMo's config has no word for.
Status ReplaceTokenizer(const std::vector<Artifact>& given, ConfigNode* config, std::vector<Artifact>* artifacts);

struct HfTokenizerRequest {
  std::string architecture;  // config.json's: decides which class reads a SentencePiece model
};
// Makes `artifacts` those of a Hugging Face folder. `tokenizer` is NeMo 1's config of it; null: none. What is missing
// for transformers to load the tokenizer is a note that says what to give. Errors: Corrupt (a damaged file); as
// reading.
Status TokenizerToHuggingFace(const ConfigNode* tokenizer, const HfTokenizerRequest& request,
                              std::vector<Artifact>* artifacts, std::vector<std::string>* notes);

// The ids that a Hugging Face folder's tokenizer begins and ends a text with. Errors: as reading.
struct SpecialIds {
  std::optional<int64_t> begin, end, pad;
};
Result<SpecialIds> SpecialIdsOf(const std::vector<Artifact>& artifacts);

// The id of a token among the tokenizer's files, of either side; nullopt: none of them has it. Errors: as
// reading.
Result<std::optional<int64_t>> TokenIdIn(const std::vector<Artifact>& artifacts, std::string_view token);

struct NemoTokenizerRequest {
  std::string architecture;  // config.json's
  std::string name;          // what NeMo is to load where it loads a tokenizer by name: a hub id or a folder
};
// NeMo 1's `tokenizer:` for the Hugging Face files among `artifacts`, which are renamed for it. A note where they have
// no vocabulary. Errors: as reading.
Result<ConfigNode> TokenizerToNemo1(const NemoTokenizerRequest& request, std::vector<Artifact>* artifacts,
                                    std::vector<std::string>* notes);

// NeMo 2's `tokenizer:` for the Hugging Face files among `artifacts`, which are put where NeMo 2 has them; nullopt
// when there are too few for transformers to load them. A note where they have no vocabulary.
std::optional<ConfigNode> TokenizerToNemo2(std::vector<Artifact>* artifacts, std::vector<std::string>* notes);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_TOKENIZER_TOKENIZER_FILES_H_
