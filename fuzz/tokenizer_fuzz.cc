// A tokenizer.json up to the first byte 0xff, and a text after it; without that byte all is text, for a small built-in
// vocabulary. Whatever is accepted must give ids of the vocabulary, cut at the context, the end token last.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "clip/tokenizer.h"

namespace {

void Check(const anemone::Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.Encode(text, 77);
  if (!ids.ok()) return;
  if (ids->size() < 2 || ids->size() > 77 || ids->front() != tokenizer.start_id() ||
      ids->back() != tokenizer.end_id()) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const anemone::Tokenizer small = *anemone::Tokenizer::FromVocabAndMerges(
      R"({"<|startoftext|>": 0, "<|endoftext|>": 1, "l": 2, "o": 3, "w</w>": 4, "lo": 5, "low</w>": 6, "l</w>": 7, "ol</w>": 8})",
      "l o\nlo w</w>\no l</w>\n");
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t split = input.find('\xff');
  if (split == std::string_view::npos) {
    Check(small, input);
    return 0;
  }
  const auto tokenizer = anemone::Tokenizer::FromTokenizerJson(input.substr(0, split));
  if (tokenizer.ok()) Check(*tokenizer, input.substr(split + 1));
  return 0;
}
