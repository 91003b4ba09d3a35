// How many rows a vocabulary table has: tokens, padded so that the tensor ranks share them evenly
// [NeMo v2.0.0 megatron_base_model.py, _vocab_size_with_padding; megatron_gpt_model.py, override_vocab_size].
#ifndef ANEMONE_PARALLEL_VOCABULARY_H_
#define ANEMONE_PARALLEL_VOCABULARY_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "anemone/checkpoint.h"
#include "anemone/status.h"

namespace anemone {

// The next multiple of divisor * tp.
uint64_t PaddedVocab(uint64_t vocab, uint64_t divisor, int tp);

// `make_vocab_size_divisible_by`, 128 without one.
uint64_t VocabDivisor(const Checkpoint& checkpoint);

// The rows of a tower's tables on `tp` ranks together, given its tokens: padded, or as `override_vocab_size` has them.
// Errors: InvalidArgument for a size of its own that the ranks do not divide.
Result<uint64_t> VocabRows(const Checkpoint& checkpoint, std::string_view tower, uint64_t tokens, int tp);

// The ranks that the config says the model runs on, which are those a distributed checkpoint's tables are padded for.
int StatedTensorParallel(const Checkpoint& checkpoint);
// The ranks that divide a mixture's experts, by the config.
int StatedExpertParallel(const Checkpoint& checkpoint);

// The tokens of the tokenizer whose file the config names: a SentencePiece model's pieces, or the entries of a
// vocabulary in JSON. Tokens that NeMo adds when it loads them are not counted. nullopt without such a file. Errors: as
// reading.
Result<std::optional<uint64_t>> CountTokens(const Checkpoint& checkpoint);

}  // namespace anemone

#endif  // ANEMONE_PARALLEL_VOCABULARY_H_
