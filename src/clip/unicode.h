// The Unicode facts that CLIP's tokenizer stands on: classes, lower case, NFC.
#ifndef ANEMONE_CLIP_UNICODE_H_
#define ANEMONE_CLIP_UNICODE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"

namespace anemone::internal {

enum class CharClass : uint8_t { kSpace, kLetter, kNumber, kOther };

// \s, \p{L}, \p{N} or none of them.
CharClass Classify(uint32_t code_point);

// Code points of `text`. Errors: InvalidArgument naming the first byte that is not UTF-8.
Result<std::vector<uint32_t>> DecodeUtf8(std::string_view text);

// Canonical composition by Unicode 9, as Hugging Face's tokenizers: newer marks stay where they stand. Linear but for
// the sorting of combining marks, which is n log n.
std::vector<uint32_t> ToNfc(std::vector<uint32_t> text);

// Appends the lower case of one character by the full, context-free mappings (İ becomes two; Σ is always σ).
void AppendLower(uint32_t code_point, std::vector<uint32_t>* out);

}  // namespace anemone::internal

#endif  // ANEMONE_CLIP_UNICODE_H_
