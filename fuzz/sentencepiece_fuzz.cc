// A spiece.model up to the first byte sequence 0xff 0xff, and a text after it. Whatever is accepted must give ids of
// the vocabulary, cut at the context, the end token last.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "clip/sentencepiece.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t split = input.find("\xff\xff");
  if (split == std::string_view::npos) {
    (void)anemone::SentencePiece::FromTokenizerJson(input);
    return 0;
  }
  const auto tokenizer = anemone::SentencePiece::FromModel(input.substr(0, split));
  if (!tokenizer.ok()) return 0;
  const auto ids = tokenizer->Encode(input.substr(split + 2), 16);
  if (!ids.ok()) return 0;
  if (ids->empty() || ids->size() > 16 || ids->back() != tokenizer->end_id()) std::abort();
  for (const int32_t id : *ids) {
    if (id < 0 || static_cast<size_t>(id) >= tokenizer->vocab_size()) std::abort();
  }
  return 0;
}
