// A vocabulary that NeMo stored, made into a tokenizer that transformers loads: tokenizer_config.json,
// special_tokens_map.json and added_tokens.json beside it, as save_pretrained writes them; and generation_config.json.
//
// Facts: [transformers v4.44.2 tokenization_utils_base.py, save_pretrained]; [NeMo v2.0.0
// common/tokenizers/sentencepiece_tokenizer.py].
#ifndef ANEMONE_FAMILY_TOKENIZER_TOKENIZER_CONFIG_H_
#define ANEMONE_FAMILY_TOKENIZER_TOKENIZER_CONFIG_H_

#include <string>
#include <string_view>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

inline constexpr std::string_view kPieces = "tokenizer.model";
inline constexpr std::string_view kGenerationConfig = "generation_config.json";

const Artifact* FindFile(const std::vector<Artifact>& artifacts, std::string_view name);
// In place of a file of that name.
void PutArtifact(std::string_view name, const ByteRange& content, std::vector<Artifact>* artifacts);

// Each adds the vocabulary and its config to `artifacts`. `tokenizer` is NeMo 1's config, whose special tokens are
// added where the vocabulary lacks them. Errors: Corrupt (a damaged vocabulary); as reading.
// A SentencePiece model, for the class that `architecture` reads it with.
Status AddPieces(const ConfigNode& tokenizer, const ByteRange& content, std::string_view architecture,
                 std::vector<Artifact>* artifacts);
// Notes where NeMo 1, which reads the SentencePiece model alone, begins a text otherwise than transformers does by
// tokenizer_config.json. Errors: as reading.
Status NotePrefixSpace(const std::vector<Artifact>& artifacts, std::vector<std::string>* notes);
// A GPT-2's vocabulary and merges.
Status AddByteBpe(const ConfigNode& tokenizer, const Artifact& vocabulary, const ByteRange& merges,
                  std::vector<Artifact>* artifacts);
// A BERT's words.
Status AddWordPieces(const ConfigNode& tokenizer, const ByteRange& words, std::vector<Artifact>* artifacts);

// Where there is none: with the ids of the tokenizer among `artifacts`. Errors: as reading.
Status AddGenerationConfig(std::vector<Artifact>* artifacts);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_TOKENIZER_TOKENIZER_CONFIG_H_
