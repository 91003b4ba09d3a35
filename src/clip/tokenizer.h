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
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "anemone/status.h"

namespace anemone {

class Tokenizer {
 public:
  // From the contents of vocab.json and merges.txt, and of tokenizer_config.json where there is one (it may say how the
  // special tokens match; empty means as CLIP's own). The arguments need not outlive the call.
  // Errors: Corrupt (syntax, a merge whose parts or result are not in the vocabulary, no special tokens), Unsupported
  // (a special token that strips its surroundings), LimitExceeded (over 64 MiB).
  static Result<Tokenizer> FromVocabAndMerges(std::string_view vocab_json, std::string_view merges_txt,
                                              std::string_view tokenizer_config_json = {});
  // From the contents of a tokenizer.json that holds a BPE model as CLIP's.
  static Result<Tokenizer> FromTokenizerJson(std::string_view tokenizer_json);

  // The ids of `text` without start and end. Errors: InvalidArgument (not UTF-8), LimitExceeded (over 1 MiB).
  Result<std::vector<int32_t>> Tokenize(std::string_view text) const;
  // start, ids, end; at most `context` of them, the last being the end. Not padded. REQUIRES: context >= 2.
  Result<std::vector<int32_t>> Encode(std::string_view text, size_t context) const;

  int32_t start_id() const { return start_id_; }
  int32_t end_id() const { return end_id_; }
  size_t vocab_size() const { return vocab_size_; }

 private:
  struct Special {
    std::string text;
    int32_t id;
    bool normalized;  // found in the normalised text; otherwise in the text as written
  };
  struct Merge {
    uint32_t rank;
    int32_t id;
  };

  Status Load(const std::vector<std::pair<std::string, int64_t>>& vocab,
              const std::vector<std::pair<std::string, std::string>>& merges, std::vector<Special> specials);
  void TokenizePiece(std::string_view piece, std::vector<int32_t>* ids) const;
  void TokenizeNormalized(const std::vector<uint32_t>& text, std::vector<int32_t>* ids) const;
  void TokenizePlain(const uint32_t* begin, const uint32_t* end, std::vector<int32_t>* ids) const;

  std::array<int32_t, 256> byte_ids_{};         // a byte inside a word
  std::array<int32_t, 256> last_byte_ids_{};    // a byte that ends a word
  std::unordered_map<uint64_t, Merge> merges_;  // (left id, right id) → what they become
  std::vector<Special> specials_;
  int32_t start_id_ = 0;
  int32_t end_id_ = 0;
  size_t vocab_size_ = 0;
};

}  // namespace anemone

#endif  // ANEMONE_CLIP_TOKENIZER_H_
