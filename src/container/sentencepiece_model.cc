#include "container/sentencepiece_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstddef>

#include "container/protobuf.h"
#include "container/text.h"

namespace anemone {
namespace {

constexpr size_t kMaxModelBytes = size_t{64} << 20;

Result<SentencePieceModel::Piece> ReadPiece(std::string_view bytes) {
  SentencePieceModel::Piece piece;
  for (ProtoReader reader(bytes); !reader.done();) {
    ANEMONE_ASSIGN(const ProtoReader::Field field, reader.Next());
    if (field.number == 1) piece.text = field.bytes;
    if (field.number == 2) piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    if (field.number == 3) {
      if (field.value < 1 || field.value > 6)
        return Corrupt(fmt::format("piece {}: no such type", internal::Quoted(piece.text)));
      piece.type = static_cast<SentencePieceModel::Type>(field.value);
    }
  }
  return piece;
}

Status ReadTrainer(std::string_view bytes, SentencePieceModel& model) {
  for (ProtoReader reader(bytes); !reader.done();) {
    ANEMONE_ASSIGN(const ProtoReader::Field field, reader.Next());
    switch (field.number) {
      case 3:
        model.algorithm = field.value;
        break;
      case 24:
        model.treat_whitespace_as_suffix = field.value != 0;
        break;
      case 35:
        model.byte_fallback = field.value != 0;
        break;
      case 45:
        model.unknown_piece = field.bytes;
        break;
      case 46:
        model.begin_piece = field.bytes;
        break;
      case 47:
        model.end_piece = field.bytes;
        break;
      case 48:
        model.pad_piece = field.bytes;
        break;
      default:
        break;
    }
  }
  return {};
}

Status ReadNormalizer(std::string_view bytes, SentencePieceModel& model) {
  for (ProtoReader reader(bytes); !reader.done();) {
    ANEMONE_ASSIGN(const ProtoReader::Field field, reader.Next());
    if (field.number == 2) model.charsmap = field.bytes;
    if (field.number == 3) model.add_dummy_prefix = field.value != 0;
    if (field.number == 4) model.remove_extra_whitespaces = field.value != 0;
    if (field.number == 5) model.escape_whitespaces = field.value != 0;
  }
  return {};
}

}  // namespace

std::optional<int64_t> SentencePieceModel::Find(std::string_view text) const {
  const auto found = std::find_if(pieces.begin(), pieces.end(), [&](const Piece& piece) { return piece.text == text; });
  return found == pieces.end() ? std::nullopt : std::optional<int64_t>(found - pieces.begin());
}

std::optional<int64_t> SentencePieceModel::Find(std::string_view text, Type type) const {
  const std::optional<int64_t> id = Find(text);
  return id && pieces[static_cast<size_t>(*id)].type == type ? id : std::nullopt;
}

Result<SentencePieceModel> ReadSentencePieceModel(std::string_view bytes) {
  if (bytes.size() > kMaxModelBytes) return LimitExceeded("a SentencePiece model of over 64 MiB");
  SentencePieceModel model;
  for (ProtoReader reader(bytes); !reader.done();) {
    ANEMONE_ASSIGN(const ProtoReader::Field field, reader.Next());
    if (field.number == 1) {
      ANEMONE_ASSIGN(SentencePieceModel::Piece piece, ReadPiece(field.bytes));
      model.pieces.push_back(std::move(piece));
    } else if (field.number == 2) {
      ANEMONE_TRY(ReadTrainer(field.bytes, model));
    } else if (field.number == 3) {
      ANEMONE_TRY(ReadNormalizer(field.bytes, model));
    }
  }
  return model;
}

}  // namespace anemone
