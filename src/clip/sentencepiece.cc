#include "clip/sentencepiece.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "anemone/config.h"
#include "base/utf8.h"
#include "clip/unicode.h"
#include "config/nodes.h"

namespace anemone {
namespace {

constexpr size_t kMaxModelBytes = size_t{64} << 20;
constexpr size_t kMaxTextBytes = size_t{64} << 10;
constexpr size_t kMaxPieceBytes = 512;               // matching looks at every prefix up to the longest piece
constexpr std::string_view kSpace = "\xE2\x96\x81";  // ▁ stands for a space inside pieces
constexpr std::string_view kUnknown = "<unk>";
constexpr std::string_view kEnd = "</s>";
constexpr float kUnknownPenalty = 10;

// ---- Python's text ----

bool IsPythonSpace(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsAsciiPunctuation(uint32_t c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

// Unicode's derived properties Cased and Case_Ignorable, as far as a Σ asks for them: what is both counts as ignorable.
bool IsCased(uint32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
      return true;
    default:  // letters by their looks: ª º, Roman numerals, circled and squared ones
      return c == 0xAA || c == 0xBA || (c >= 0x2160 && c <= 0x217F) || (c >= 0x24B6 && c <= 0x24E9) ||
             (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
  }
}

bool IsCaseIgnorable(uint32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default: {  // what Word_Break calls MidLetter, MidNumLet and Single_Quote
      constexpr uint32_t kInWords[] = {0x27,   0x2E,   0x3A,   0xB7,   0x387,  0x55F,  0x5F4,  0x2018, 0x2019,
                                       0x2024, 0x2027, 0xFE13, 0xFE52, 0xFE55, 0xFF07, 0xFF0E, 0xFF1A};
      return std::find(std::begin(kInWords), std::end(kInWords), c) != std::end(kInWords);
    }
  }
}

// Whether the Σ at `at` ends a word and becomes ς, as in Python's str.lower [cpython unicodeobject.c].
bool IsFinalSigma(const std::vector<uint32_t>& text, size_t at) {
  size_t before = at;
  while (before > 0 && IsCaseIgnorable(text[before - 1])) --before;
  if (before == 0 || !IsCased(text[before - 1])) return false;
  size_t after = at + 1;
  while (after < text.size() && IsCaseIgnorable(text[after])) ++after;
  return after == text.size() || !IsCased(text[after]);
}

// Lower case, no ASCII punctuation, one space for each run of white space, none at the ends.
std::string Canonicalize(const std::vector<uint32_t>& text) {
  std::vector<uint32_t> lower;
  lower.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == 0x3A3) {
      lower.push_back(IsFinalSigma(text, i) ? 0x3C2 : 0x3C3);
    } else {
      internal::AppendLower(text[i], &lower);
    }
  }
  std::string result;
  bool space = false;
  for (const uint32_t c : lower) {
    if (IsAsciiPunctuation(c)) continue;
    if (IsPythonSpace(c)) {
      space = !result.empty();
      continue;
    }
    if (space) result += ' ';
    space = false;
    AppendUtf8(c, result);
  }
  return result;
}

size_t CharacterLength(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  const size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  return std::min(length, text.size());
}

std::string_view Trim(std::string_view text, bool begin, bool end) {
  const auto decoded = internal::DecodeUtf8(text);
  if (!decoded.ok()) return text;
  size_t first = 0;
  size_t last = decoded->size();
  while (begin && first < last && IsPythonSpace((*decoded)[first])) ++first;
  while (end && last > first && IsPythonSpace((*decoded)[last - 1])) --last;
  std::string before;
  std::string inside;
  for (size_t i = 0; i < last; ++i) AppendUtf8((*decoded)[i], i < first ? before : inside);
  return text.substr(before.size(), inside.size());
}

Result<std::string> DecodeBase64(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    int value = -1;
    if (c >= 'A' && c <= 'Z') value = c - 'A';
    if (c >= 'a' && c <= 'z') value = c - 'a' + 26;
    if (c >= '0' && c <= '9') value = c - '0' + 52;
    if (c == '+') value = 62;
    if (c == '/') value = 63;
    if (c == '=') break;
    if (value < 0) return Corrupt("precompiled_charsmap: expected base64");
    bits = bits << 6 | static_cast<uint32_t>(value);
    if (++count == 4) {
      out += {static_cast<char>(bits >> 16), static_cast<char>(bits >> 8), static_cast<char>(bits)};
      bits = 0;
      count = 0;
    }
  }
  if (count >= 2) out += static_cast<char>(bits >> (count == 2 ? 4 : 10));
  if (count == 3) out += static_cast<char>(bits >> 2);
  return out;
}

}  // namespace

Result<SentencePiece> SentencePiece::FromModel(std::string_view model_proto) {
  ANEMONE_ASSIGN(SentencePieceModel model, ReadSentencePieceModel(model_proto));
  if (model.algorithm != SentencePieceModel::kUnigram)
    return Unsupported(fmt::format("expected a unigram model, found type {}", model.algorithm));
  if (model.treat_whitespace_as_suffix) return Unsupported("treat_whitespace_as_suffix is set");
  SentencePiece tokenizer;
  tokenizer.byte_fallback_ = model.byte_fallback;
  tokenizer.begins_with_space_ = model.add_dummy_prefix;
  tokenizer.remove_extra_spaces_ = model.remove_extra_whitespaces;
  tokenizer.escape_spaces_ = model.escape_whitespaces;
  ANEMONE_TRY(tokenizer.Load(std::move(model.pieces), model.charsmap));
  return tokenizer;
}

Result<SentencePiece> SentencePiece::FromTokenizerJson(std::string_view tokenizer_json) {
  if (tokenizer_json.size() > kMaxModelBytes) return LimitExceeded("tokenizer.json is over 64 MiB");
  ANEMONE_ASSIGN(const Config config, ParseJsonList(tokenizer_json, "tokenizer.json"));
  const auto get = [](const ConfigNode* node, std::string_view key) {
    return node == nullptr ? nullptr : node->Get(key);
  };
  const auto text_of = [](const ConfigNode* node) { return node == nullptr ? std::nullopt : node->AsString(); };
  const ConfigNode* root = &config.root();
  const ConfigNode* model = get(root, "model");
  if (text_of(get(model, "type")) != "Unigram") return Unsupported("tokenizer.json: expected a Unigram model");
  SentencePiece tokenizer;
  const ConfigNode* fallback = get(model, "byte_fallback");
  tokenizer.byte_fallback_ = fallback != nullptr && fallback->AsBool().value_or(false);
  const ConfigNode* unk_id = get(model, "unk_id");
  const std::optional<int64_t> unknown = unk_id == nullptr ? std::nullopt : unk_id->AsInt();
  if (!unknown || *unknown < 0) return Corrupt("tokenizer.json: model.unk_id: expected a number");
  const ConfigNode* vocab = get(model, "vocab");
  if (vocab == nullptr || !vocab->is_list()) return Corrupt("tokenizer.json: model.vocab: expected a list");
  std::vector<Piece> pieces;
  for (const ConfigNode& entry : vocab->list) {
    const bool pair = entry.is_list() && entry.list.size() == 2 && entry.list[0].AsString() && entry.list[1].AsDouble();
    if (!pair) {
      return Corrupt(fmt::format("tokenizer.json: model.vocab: entry {}: expected [piece, score]", pieces.size()));
    }
    pieces.push_back({entry.list[0].text, static_cast<float>(*entry.list[1].AsDouble()), Type::kNormal});
  }
  if (static_cast<uint64_t>(*unknown) >= pieces.size())
    return Corrupt("tokenizer.json: model.unk_id is outside the vocabulary");
  if (const ConfigNode* added = get(root, "added_tokens")) {
    for (const ConfigNode& token : added->list) {
      const ConfigNode* node = token.Get("id");
      const std::optional<int64_t> id = node == nullptr ? std::nullopt : node->AsInt();
      if (!id || *id < 0) continue;
      if (static_cast<uint64_t>(*id) >= pieces.size()) {
        return Unsupported(fmt::format("tokenizer.json: added_tokens: expected pieces of the model, found {}",
                                       text_of(token.Get("content")).value_or("another")));
      }
      pieces[static_cast<size_t>(*id)].type = Type::kControl;
    }
  }
  pieces[static_cast<size_t>(*unknown)].type = Type::kUnknown;
  if (tokenizer.byte_fallback_) {
    for (Piece& piece : pieces) {
      if (piece.text.size() == 6 && piece.text.starts_with("<0x") && piece.text.back() == '>') piece.type = Type::kByte;
    }
  }
  // The table lies in a Precompiled normalizer, alone or in a sequence.
  const ConfigNode* normalizer = get(root, "normalizer");
  std::string table = text_of(get(normalizer, "precompiled_charsmap")).value_or("");
  if (const ConfigNode* steps = get(normalizer, "normalizers")) {
    for (const ConfigNode& step : steps->list) {
      table = text_of(step.Get("precompiled_charsmap")).value_or(table);
    }
  }
  ANEMONE_ASSIGN(const std::string charsmap, DecodeBase64(table));
  ANEMONE_TRY(tokenizer.Load(std::move(pieces), charsmap));
  return tokenizer;
}

Status SentencePiece::Load(std::vector<Piece> pieces, std::string_view charsmap) {
  pieces_ = std::move(pieces);
  if (pieces_.size() > INT32_MAX) return LimitExceeded("the vocabulary has over 2^31 pieces");
  min_score_ = std::numeric_limits<float>::max();
  max_score_ = std::numeric_limits<float>::lowest();
  byte_ids_.fill(-1);
  for (size_t i = 0; i < pieces_.size(); ++i) {
    const Piece& piece = pieces_[i];
    const auto id = static_cast<int32_t>(i);
    if (piece.text.empty()) return Corrupt(fmt::format("piece {}: expected a text, found nothing", i));
    if (piece.text.size() > kMaxPieceBytes) return Unsupported(fmt::format("piece {} is over 512 bytes", i));
    if (!ids_.emplace(piece.text, id).second) return Corrupt(fmt::format("piece {} is there twice", piece.text));
    switch (piece.type) {
      case Type::kUnknown:
        if (unknown_id_ >= 0) return Corrupt("expected one unknown piece, found two");
        unknown_id_ = id;
        break;
      case Type::kNormal:
        min_score_ = std::min(min_score_, piece.score);
        max_score_ = std::max(max_score_, piece.score);
        [[fallthrough]];
      case Type::kUserDefined:
      case Type::kUnused:
        longest_piece_ = std::max(longest_piece_, piece.text.size());
        has_user_defined_ = has_user_defined_ || piece.type == Type::kUserDefined;
        break;
      case Type::kByte: {
        unsigned byte = 0;
        for (const char c : piece.text.substr(std::min<size_t>(3, piece.text.size()), 2)) {
          byte = byte * 16 + static_cast<unsigned>(c <= '9' ? c - '0' : c - 'A' + 10);
        }
        byte_ids_[byte & 0xFF] = id;
        break;
      }
      case Type::kControl:
        break;
    }
  }
  if (unknown_id_ < 0) return Corrupt("expected an unknown piece, found none");
  if (byte_fallback_ && std::find(byte_ids_.begin(), byte_ids_.end(), -1) != byte_ids_.end()) {
    return Corrupt("expected 256 byte pieces, found fewer");
  }
  const auto end = ids_.find(std::string(kEnd));
  if (end == ids_.end()) return Corrupt("expected the piece </s>, found none");
  end_id_ = end->second;
  return LoadCharsmap(charsmap);
}

// A 32-bit size, that many bytes of a darts-clone trie, and the strings its values point into [normalizer.cc,
// DecodePrecompiledCharsMap].
Status SentencePiece::LoadCharsmap(std::string_view charsmap) {
  if (charsmap.empty()) return {};
  uint32_t size = 0;
  if (charsmap.size() < sizeof size) return Corrupt("precompiled_charsmap: expected a size, found its end");
  std::memcpy(&size, charsmap.data(), sizeof size);
  charsmap.remove_prefix(sizeof size);
  if (size == 0 || size > charsmap.size() || size % sizeof(uint32_t) != 0) {
    return Corrupt(
        fmt::format("precompiled_charsmap: expected a trie of {} bytes, found {} left", size, charsmap.size()));
  }
  trie_.resize(size / sizeof(uint32_t));
  std::memcpy(trie_.data(), charsmap.data(), size);
  normalized_ = charsmap.substr(size);
  if (normalized_.empty() || normalized_.back() != '\0') return Corrupt("precompiled_charsmap: expected a final NUL");
  return {};
}

std::pair<std::string_view, size_t> SentencePiece::NormalizePrefix(std::string_view text) const {
  if (has_user_defined_) {
    for (size_t length = std::min(longest_piece_, text.size()); length > 0; --length) {
      const auto it = ids_.find(std::string(text.substr(0, length)));
      if (it != ids_.end() && pieces_[static_cast<size_t>(it->second)].type == Type::kUserDefined) {
        return {text.substr(0, length), length};
      }
    }
  }
  // [darts-clone darts.h, DoubleArrayUnit and commonPrefixSearch]
  size_t longest = 0;
  uint32_t value = 0;
  if (!trie_.empty()) {
    const auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & (1U << 9)) >> 6); };
    uint32_t at = offset(trie_[0]);
    for (size_t i = 0; i < text.size(); ++i) {
      const auto c = static_cast<unsigned char>(text[i]);
      at ^= c;
      if (at >= trie_.size() || (trie_[at] & ((1U << 31) | 0xFF)) != c) break;
      const uint32_t unit = trie_[at];
      at ^= offset(unit);
      if ((unit >> 8 & 1) == 0) continue;
      if (at >= trie_.size()) break;
      const uint32_t leaf = trie_[at] & 0x7FFFFFFF;
      if (leaf >= normalized_.size()) break;
      longest = i + 1;
      value = leaf;
    }
  }
  if (longest > 0) return {std::string_view(normalized_.data() + value), longest};
  const size_t length = CharacterLength(text);
  return {text.substr(0, length), length};
}

std::string SentencePiece::Normalize(std::string_view text) const {
  const std::string_view space = escape_spaces_ ? kSpace : std::string_view(" ");
  while (remove_extra_spaces_ && !text.empty()) {
    const auto [what, length] = NormalizePrefix(text);
    if (what != " ") break;
    text.remove_prefix(length);
  }
  std::string result;
  if (begins_with_space_ && !text.empty()) result = space;
  bool after_space = remove_extra_spaces_;
  while (!text.empty()) {
    auto [what, length] = NormalizePrefix(text);
    text.remove_prefix(length);
    while (after_space && what.starts_with(' ')) what.remove_prefix(1);
    if (!what.empty()) {
      for (const char c : what) c == ' ' ? result += space : result += c;
      after_space = what.ends_with(' ');
    }
    if (!remove_extra_spaces_) after_space = false;
  }
  while (remove_extra_spaces_ && result.ends_with(space)) result.resize(result.size() - space.size());
  return result;
}

// The best path through the text [unigram_model.cc, Model::EncodeOptimized], then what the processor does with unknown
// pieces: neighbours are one, or bytes.
std::vector<int32_t> SentencePiece::EncodeRaw(std::string_view text) const {
  const std::string normal = Normalize(text);
  struct Node {
    int32_t id = -1;
    float score = 0;
    size_t begin = SIZE_MAX;
  };
  std::vector<Node> best(normal.size() + 1);
  best[0].begin = 0;
  const float unknown_score = min_score_ - kUnknownPenalty;
  std::string piece;
  for (size_t at = 0; at < normal.size();) {
    const size_t character = CharacterLength(std::string_view(normal).substr(at));
    const float so_far = best[at].score;
    bool has_single = false;
    for (size_t length = 1; length <= std::min(longest_piece_, normal.size() - at); ++length) {
      piece.assign(normal, at, length);
      const auto it = ids_.find(piece);
      if (it == ids_.end()) continue;
      const Piece& found = pieces_[static_cast<size_t>(it->second)];
      if (found.type != Type::kNormal && found.type != Type::kUserDefined) continue;
      const float score =
          found.type == Type::kUserDefined ? static_cast<float>(length) * max_score_ - 0.1F : found.score;
      const float candidate = score + so_far;  // in fp32: among paths of equal score the first one stays
      Node& to = best[at + length];
      if (to.begin == SIZE_MAX || candidate > to.score) to = {it->second, candidate, at};
      has_single = has_single || length == character;
    }
    if (!has_single) {
      Node& to = best[at + character];
      const float candidate = unknown_score + so_far;
      if (to.begin == SIZE_MAX || candidate > to.score) to = {unknown_id_, candidate, at};
    }
    at += character;
  }
  std::vector<std::pair<int32_t, std::string_view>> path;
  for (size_t at = normal.size(); at > 0; at = best[at].begin) {
    path.emplace_back(best[at].id, std::string_view(normal).substr(best[at].begin, at - best[at].begin));
  }
  std::vector<int32_t> ids;
  bool after_unknown = false;
  for (auto it = path.rbegin(); it != path.rend(); ++it) {
    const bool unknown = it->first == unknown_id_;
    if (unknown && byte_fallback_) {
      for (const char c : it->second) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
    } else if (!unknown || !after_unknown) {
      ids.push_back(it->first);
    }
    after_unknown = unknown;
  }
  return ids;
}

// transformers encodes behind "<unk>", so that a first ▁ survives, and cuts off what "<unk>" alone gives. Before
// version 5 it took add_dummy_prefix out of the model; what stands before the text tells only which of paths of equal
// score is taken, and there version 5 is followed.
void SentencePiece::TokenizePart(std::string_view text, std::vector<int32_t>* ids) const {
  const auto decoded = internal::DecodeUtf8(text);
  if (!decoded.ok() || decoded->empty()) return;
  const std::vector<int32_t> all = EncodeRaw(std::string(kUnknown) + Canonicalize(*decoded));
  const size_t skip = EncodeRaw(kUnknown).size();
  ids->insert(ids->end(), all.begin() + static_cast<ptrdiff_t>(all.size() >= skip ? skip : 0), all.end());
}

Result<std::vector<int32_t>> SentencePiece::Tokenize(std::string_view text) const {
  if (text.size() > kMaxTextBytes) return LimitExceeded("the text is over 64 KiB");
  ANEMONE_TRY(internal::DecodeUtf8(text).status());
  std::string marked(kSpace);
  for (size_t at = 0; at < text.size();) {
    const bool mark = text.substr(at).starts_with(kSpace);
    if (mark) {
      marked += ' ';
      at += kSpace.size();
    } else {
      marked += text[at++];
    }
  }
  // Special tokens written in the text are their ids, and take the white space around them along.
  std::vector<int32_t> ids;
  std::string_view rest = marked;
  bool after_special = false;
  for (;;) {
    size_t at = std::string_view::npos;
    std::string_view special;
    for (const std::string_view candidate : {kEnd, kUnknown}) {
      const size_t found = rest.find(candidate);
      if (found < at) {
        at = found;
        special = candidate;
      }
    }
    const bool last = at == std::string_view::npos;
    TokenizePart(Trim(rest.substr(0, at), after_special, !last), &ids);
    if (last) break;
    if (ids.size() == 1 && pieces_[static_cast<size_t>(ids[0])].text == kSpace) ids.clear();
    ids.push_back(special == kEnd ? end_id_ : unknown_id_);
    rest.remove_prefix(at + special.size());
    after_special = true;
  }
  return ids;
}

Result<std::vector<int32_t>> SentencePiece::Encode(std::string_view text, size_t context) const {
  if (context < 1) return InvalidArgument("expected a context of at least 1 token, found 0");
  ANEMONE_ASSIGN(std::vector<int32_t> ids, Tokenize(text));
  if (!ids.empty() && ids.back() == end_id_ && ids.size() <= context) return ids;
  ids.resize(std::min(ids.size(), context - 1));
  ids.push_back(end_id_);
  return ids;
}

}  // namespace anemone
