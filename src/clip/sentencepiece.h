// SentencePiece: SigLIP's tokenizer, a unigram model as data, id for id what transformers' SiglipTokenizer gives.
//
// Text is lower-cased, loses ASCII punctuation and runs of white space, is normalised by the model's own table (NFKC
// and more), and is cut into the pieces whose scores sum highest. Facts: docs/inference.md, "Text";
// [google/sentencepiece src/normalizer.cc, src/unigram_model.cc, src/sentencepiece_processor.cc,
// src/sentencepiece_model.proto]; [transformers models/siglip/tokenization_siglip.py].
//
// Threads:  immutable after construction; everything const may run concurrently.
#ifndef ANEMONE_CLIP_SENTENCEPIECE_H_
#define ANEMONE_CLIP_SENTENCEPIECE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"
#include "base/text_hash.h"
#include "container/sentencepiece_model.h"

namespace anemone {

class SentencePiece {
 public:
  // From the contents of a spiece.model (a protocol buffer), or of a tokenizer.json with a Unigram model: its pieces
  // and its normalisation table. The argument need not outlive the call. Errors: Corrupt (syntax, a table that points
  // outside itself, no unknown piece), Unsupported (a model that is not unigram), LimitExceeded.
  static Result<SentencePiece> FromModel(std::string_view model_proto);
  static Result<SentencePiece> FromTokenizerJson(std::string_view tokenizer_json);

  // The ids of `text`, not truncated, without the end. Errors: InvalidArgument (not UTF-8), LimitExceeded (over 64
  // KiB).
  Result<std::vector<int32_t>> Tokenize(std::string_view text) const;
  // ids, end; at most `context` of them, the last being the end. Not padded. REQUIRES: context >= 1.
  Result<std::vector<int32_t>> Encode(std::string_view text, size_t context) const;

  int32_t end_id() const { return end_id_; }  // which also pads
  size_t vocab_size() const { return pieces_.size(); }

 private:
  using Type = SentencePieceModel::Type;
  using Piece = SentencePieceModel::Piece;

  Status Load(std::vector<Piece> pieces, std::string_view charsmap);
  Status LoadCharsmap(std::string_view charsmap);
  // Longest user-defined piece or table entry at the start of `text`: what it becomes, and how many bytes it is.
  std::pair<std::string_view, size_t> NormalizePrefix(std::string_view text) const;
  std::string Normalize(std::string_view text) const;
  std::vector<int32_t> EncodeRaw(std::string_view text) const;
  void TokenizePart(std::string_view text, std::vector<int32_t>* ids) const;

  std::vector<Piece> pieces_;
  internal::TextMap<int32_t> ids_;       // of every piece
  std::array<int32_t, 256> byte_ids_{};  // where byte_fallback_
  std::vector<uint32_t> trie_;           // darts-clone's units
  std::string normalized_;               // NUL-terminated strings that the trie's values point into
  size_t longest_piece_ = 0;
  bool has_user_defined_ = false;
  bool byte_fallback_ = false;
  bool begins_with_space_ = false;  // add_dummy_prefix
  bool remove_extra_spaces_ = true;
  bool escape_spaces_ = true;
  float min_score_ = 0;
  float max_score_ = 0;
  int32_t unknown_id_ = -1;
  int32_t end_id_ = 1;
};

}  // namespace anemone

#endif  // ANEMONE_CLIP_SENTENCEPIECE_H_
