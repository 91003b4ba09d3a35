// Tokenizer: CLIP's byte-level BPE, token for token what Hugging Face's fast CLIPTokenizer gives.
//
// Text becomes NFC, every whitespace run one space, every character its lower case; special tokens written in the text
// are their ids; the rest is split into contractions, letter runs, single digits and symbol runs, each of which is
// spelt in bytes and merged pair by pair, the pair of the lowest rank first. Facts: docs/inference.md, "Text".
//
// Threads:  immutable after construction; everything const may run concurrently.
#ifndef ANEMONE_CLIP_TOKENIZER_H_
#define ANEMONE_CLIP_TOKENIZER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "base/text_hash.h"
#include "clip/merge_table.h"
#include "clip/tokenizer_files.h"

namespace anemone {

class Tokenizer {
 public:
  // The files need not outlive the call. Errors: those of ReadBpeModel, and Corrupt (no special tokens, an id out of
  // range, a merge whose parts or result are not in the vocabulary).
  static Result<Tokenizer> FromFiles(const TokenizerFiles& files);
  static Result<Tokenizer> FromVocabAndMerges(std::string_view vocab_json, std::string_view merges_txt,
                                              std::optional<std::string_view> tokenizer_config_json = {});
  static Result<Tokenizer> FromTokenizerJson(std::string_view tokenizer_json);

  // The ids of `text` without start and end. Errors: InvalidArgument (not UTF-8), LimitExceeded (over 1 MiB).
  Result<std::vector<int32_t>> Tokenize(std::string_view text) const;
  // start, ids, end; at most `context` of them, the last being the end. Not padded. REQUIRES: context >= 2.
  Result<std::vector<int32_t>> Encode(std::string_view text, size_t context) const;

  int32_t start_id() const { return start_id_; }
  int32_t end_id() const { return end_id_; }
  size_t vocab_size() const { return vocab_size_; }  // the largest id and one more

 private:
  // A token that is cut out of the text whole.
  struct Special {
    std::vector<uint32_t> text;
    int32_t id;
  };
  // By first character; the longest first.
  using Specials = internal::NumberMap<std::vector<Special>>;

  Status Load(const BpeModel& bpe);
  void TokenizePiece(std::string_view piece, std::vector<int32_t>* ids) const;
  template <typename Plain>
  static void Cut(const std::vector<uint32_t>& text, const Specials& specials, const Plain& plain,
                  std::vector<int32_t>* ids);
  void TokenizePlain(const uint32_t* begin, const uint32_t* end, std::vector<int32_t>* ids) const;

  std::array<int32_t, 256> byte_ids_{};       // a byte inside a word
  std::array<int32_t, 256> last_byte_ids_{};  // a byte that ends a word
  internal::MergeTable merges_;
  Specials written_;     // found in the text as it is written
  Specials normalized_;  // found in the normalised text
  int32_t start_id_ = 0;
  int32_t end_id_ = 0;
  size_t vocab_size_ = 0;
};

}  // namespace anemone

#endif  // ANEMONE_CLIP_TOKENIZER_H_
