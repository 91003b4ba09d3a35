// How many tokens a tokenizer has, and which rows of a vocabulary table are therefore padding.
#ifndef ANEMONE_FAMILY_TOKENIZER_TOKENIZER_SIZE_H_
#define ANEMONE_FAMILY_TOKENIZER_TOKENIZER_SIZE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "anemone/config.h"
#include "anemone/status.h"

namespace anemone {

// A number of rows that a vocabulary table must have, and who says so.
struct VocabularyEvidence {
  uint64_t rows = 0;
  std::string source;  // for messages: "tokenizer.model"
};

// One more than the highest id in a tokenizer's file: a SentencePiece model, tokenizer.json, vocab.json, vocab.txt,
// added_tokens.json, or the added tokens in tokenizer_config.json. The end of `name` tells which; another name, a map
// of ids or a SentencePiece model. nullopt for what is none of these. Errors: as reading.
Result<std::optional<uint64_t>> CountTokensIn(const ByteRange& content, std::string_view name);

// The tokens of the whole tokenizer, added ones included. `artifacts` have a Hugging Face folder's files, by their own
// names or below `context/nemo_tokenizer/` or `tokenizer/`; or `tokenizer`, NeMo 1's config of it, refers to a
// SentencePiece model or a vocabulary among them. nullopt where neither tells all tokens: a tokenizer that is known by
// its name only, a vocabulary without its added tokens. Errors: as reading.
Result<std::optional<VocabularyEvidence>> CountTokenizer(const ConfigNode* tokenizer,
                                                         const std::vector<Artifact>& artifacts);

// What is known of a vocabulary table.
struct VocabularyFacts {
  uint64_t stored = 0;                           // its rows
  std::optional<VocabularyEvidence> asked = {};  // by the user
  // The config's own number, in a model that may have been padded beyond it.
  std::optional<VocabularyEvidence> config = {};
  std::optional<VocabularyEvidence> tokenizer = {};
  // What NeMo rounds up to: make_vocab_size_divisible_by × tensor-parallel size; 0 where its rows are not rounded
  // (override_vocab_size).
  uint64_t multiple = 0;
};
struct VocabularyChoice {
  uint64_t rows = 0;
  std::string note;  // what was dropped or kept and why; empty when nobody would ask
};
// The rows to keep. Rows are dropped only where the user, the config or the tokenizer says that they are padding, and
// never so many that the config's or the tokenizer's own have no place. Errors: InvalidArgument when the user asks for
// fewer or for more than there are.
Result<VocabularyChoice> ChooseVocabulary(const VocabularyFacts& facts);

}  // namespace anemone

#endif  // ANEMONE_FAMILY_TOKENIZER_TOKENIZER_SIZE_H_
