// The file that SentencePiece calls a model: pieces, and how it was trained [google/sentencepiece
// src/sentencepiece_model.proto].
#ifndef ANEMONE_CONTAINER_SENTENCEPIECE_MODEL_H_
#define ANEMONE_CONTAINER_SENTENCEPIECE_MODEL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anemone/status.h"

namespace anemone {

struct SentencePieceModel {
  // [ModelProto.SentencePiece.Type]
  enum class Type : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  // [TrainerSpec.ModelType]
  enum Algorithm : uint64_t { kUnigram = 1, kBpe = 2, kWord = 3, kCharacter = 4 };
  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::kNormal;
  };

  std::vector<Piece> pieces;  // the index is the id
  uint64_t algorithm = kUnigram;
  bool byte_fallback = false;
  bool treat_whitespace_as_suffix = false;
  std::string unknown_piece = "<unk>", begin_piece = "<s>", end_piece = "</s>", pad_piece = "<pad>";
  std::string charsmap;  // precompiled_charsmap
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;

  // The ids that SentencePiece's own unk_id, bos_id, eos_id and pad_id give: of a piece of that name and type
  // [src/sentencepiece_processor.cc]. nullopt where they give -1.
  std::optional<int64_t> unknown_id() const { return Find(unknown_piece, Type::kUnknown); }
  std::optional<int64_t> begin_id() const { return Find(begin_piece, Type::kControl); }
  std::optional<int64_t> end_id() const { return Find(end_piece, Type::kControl); }
  std::optional<int64_t> pad_id() const { return Find(pad_piece, Type::kControl); }
  // nullopt when no piece is that text.
  std::optional<int64_t> Find(std::string_view text) const;

 private:
  std::optional<int64_t> Find(std::string_view text, Type type) const;
};

// Errors: Corrupt (syntax, a type that does not exist), LimitExceeded (over 64 MiB).
Result<SentencePieceModel> ReadSentencePieceModel(std::string_view bytes);

}  // namespace anemone

#endif  // ANEMONE_CONTAINER_SENTENCEPIECE_MODEL_H_
