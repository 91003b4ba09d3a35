#include "family/clip/clip_vocabulary.h"

#include <cstddef>
#include <vector>

#include "base/utf8.h"

// The assembler copies the file; no generated source, no run-time path.
asm(R"(
    .section .rodata
    .global anemone_clip_merges
    .global anemone_clip_merges_end
anemone_clip_merges:
    .incbin ")" ANEMONE_CLIP_MERGES R"("
anemone_clip_merges_end:
    .previous
)");

extern "C" {
extern const char anemone_clip_merges[];
extern const char anemone_clip_merges_end[];
}

namespace anemone {
namespace {

// GPT-2's order of byte symbols: printable bytes stand for themselves, then the others shifted to U+0100…
// [openai/CLIP clip/simple_tokenizer.py, bytes_to_unicode].
std::vector<std::string> ByteSymbols() {
  const auto printable = [](unsigned byte) {
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
  };
  std::vector<std::string> symbols;
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (printable(byte)) AppendUtf8(byte, symbols.emplace_back());
  }
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (!printable(byte)) AppendUtf8(next++, symbols.emplace_back());
  }
  return symbols;
}

class VocabJson {
 public:
  void Add(std::string_view entry) {
    text_ += text_.empty() ? "{\"" : ", \"";
    for (const char c : entry) {
      if (c == '"' || c == '\\') text_ += '\\';
      text_ += c;
    }
    text_ += "\": " + std::to_string(next_id_++);
  }
  std::string Finish() && { return std::move(text_) + "}"; }

 private:
  std::string text_;
  size_t next_id_ = 0;
};

}  // namespace

std::string_view ClipMerges() {
  return {anemone_clip_merges, static_cast<size_t>(anemone_clip_merges_end - anemone_clip_merges)};
}

std::string ClipVocabJson() {
  VocabJson vocab;
  const std::vector<std::string> symbols = ByteSymbols();
  for (const std::string& symbol : symbols) vocab.Add(symbol);
  for (const std::string& symbol : symbols) vocab.Add(symbol + "</w>");
  std::string_view rest = ClipMerges();
  for (bool first = true; !rest.empty(); first = false) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    const size_t space = line.find(' ');
    if ((first && line.starts_with("#version")) || space == std::string_view::npos) continue;
    vocab.Add(std::string(line.substr(0, space)) + std::string(line.substr(space + 1)));
  }
  vocab.Add("<|startoftext|>");
  vocab.Add("<|endoftext|>");
  return std::move(vocab).Finish();
}

}  // namespace anemone
