#include "clip/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>

#include "base/utf8.h"
#include "clip/token_ids.h"
#include "clip/unicode.h"

namespace anemone {
namespace {

using internal::CharClass;
using internal::TokenIds;

constexpr size_t kMaxTextBytes = size_t{1} << 20;
constexpr std::string_view kStart = "<|startoftext|>";
constexpr std::string_view kEnd = "<|endoftext|>";
constexpr std::string_view kEndOfWord = "</w>";
constexpr int32_t kNone = TokenIds::kNone;

// The printable character that stands for each byte: itself where it is printable Latin-1, else the next from U+0100
// [openai/gpt-2, bytes_to_unicode].
std::array<uint32_t, 256> ByteCharacters() {
  std::array<uint32_t, 256> characters{};
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    characters[byte] = printable ? byte : next++;
  }
  return characters;
}

bool StartsWith(const uint32_t* begin, const uint32_t* end, std::string_view ascii) {
  if (static_cast<size_t>(end - begin) < ascii.size()) return false;
  return std::equal(ascii.begin(), ascii.end(), begin,
                    [](char a, uint32_t b) { return static_cast<unsigned char>(a) == b; });
}

// Length of the contraction at `begin` ('s 't 're 've 'm 'll 'd), or 0.
size_t ContractionLength(const uint32_t* begin, const uint32_t* end) {
  if (*begin != '\'') return 0;
  for (const std::string_view word : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (StartsWith(begin, end, word)) return word.size();
  }
  return 0;
}

// NFC, one space for each run of white space, lower case.
std::vector<uint32_t> Normalized(const std::vector<uint32_t>& text) {
  std::vector<uint32_t> normal;
  normal.reserve(text.size());
  bool in_space = false;
  for (const uint32_t c : internal::ToNfc(text)) {
    if (internal::Classify(c) == CharClass::kSpace) {
      if (!in_space) normal.push_back(' ');
      in_space = true;
    } else {
      in_space = false;
      internal::AppendLower(c, &normal);
    }
  }
  return normal;
}

}  // namespace

Result<Tokenizer> Tokenizer::FromVocabAndMerges(std::string_view vocab_json, std::string_view merges_txt,
                                                std::optional<std::string_view> tokenizer_config_json) {
  return FromFiles(
      {.vocab_json = vocab_json, .merges_txt = merges_txt, .tokenizer_config_json = tokenizer_config_json});
}

Result<Tokenizer> Tokenizer::FromTokenizerJson(std::string_view tokenizer_json) {
  return FromFiles({.tokenizer_json = tokenizer_json});
}

Result<Tokenizer> Tokenizer::FromFiles(const TokenizerFiles& files) {
  ANEMONE_ASSIGN(const BpeModel bpe, ReadBpeModel(files));
  Tokenizer tokenizer;
  ANEMONE_TRY(tokenizer.Load(bpe));
  return tokenizer;
}

Status Tokenizer::Load(const BpeModel& bpe) {
  TokenIds ids(bpe.vocab.size());
  for (const auto& [token, id] : bpe.vocab) {
    if (id < 0 || id > INT32_MAX)
      return Corrupt(fmt::format("vocabulary: token \"{}\": the id {} is out of range", token, id));
    ids.Set(token, static_cast<int32_t>(id));
    vocab_size_ = std::max(vocab_size_, static_cast<size_t>(id) + 1);
  }
  const auto find = [&](std::string_view token) { return ids.Get(token); };

  start_id_ = find(kStart);
  end_id_ = find(kEnd);
  if (start_id_ == kNone || end_id_ == kNone) {
    return Corrupt("vocabulary: expected <|startoftext|> and <|endoftext|>, found a vocabulary without them",
                   "only CLIP's byte-level BPE is a tokenizer for CLIP");
  }
  for (const auto& [text, normalized] : bpe.added) {
    if (find(text) == kNone) continue;
    ANEMONE_ASSIGN(std::vector<uint32_t> characters, internal::DecodeUtf8(text));
    if (normalized) characters = Normalized(characters);
    if (characters.empty()) continue;
    (normalized ? normalized_ : written_)[characters.front()].push_back({characters, find(text)});
  }
  for (Specials* set : {&written_, &normalized_}) {
    for (auto& [first, list] : *set) {
      std::sort(list.begin(), list.end(),
                [](const Special& a, const Special& b) { return a.text.size() > b.text.size(); });
    }
  }

  const std::array<uint32_t, 256> characters = ByteCharacters();
  for (size_t byte = 0; byte < 256; ++byte) {
    std::string symbol;
    AppendUtf8(characters[byte], symbol);
    const int32_t inside = find(symbol);
    symbol += kEndOfWord;
    const int32_t last = find(symbol);
    // What the vocabulary lacks is the unknown token, which for CLIP is <|endoftext|>.
    byte_ids_[byte] = inside == kNone ? end_id_ : inside;
    last_byte_ids_[byte] = last == kNone ? end_id_ : last;
  }

  merges_ = internal::MergeTable(bpe.merges.size());
  std::string merged;
  for (size_t rank = 0; rank < bpe.merges.size(); ++rank) {
    const auto& [left, right] = bpe.merges[rank];
    const int32_t left_id = find(left);
    const int32_t right_id = find(right);
    merged.assign(left).append(right);
    const int32_t id = find(merged);
    if (left_id == kNone || right_id == kNone || id == kNone) {
      return Corrupt(fmt::format("merges: \"{} {}\": expected parts and result in the vocabulary", left, right));
    }
    merges_.Set(left_id, right_id, {static_cast<uint32_t>(rank), id});
  }
  return {};
}

// Cuts the text into what lies between the special tokens and these: the leftmost first, the longest of those that
// begin at one place, as tokenizers' matching does.
template <typename Plain>
void Tokenizer::Cut(const std::vector<uint32_t>& text, const Specials& specials, const Plain& plain,
                    std::vector<int32_t>* ids) {
  size_t begin = 0;
  for (size_t at = 0; at < text.size() && !specials.empty();) {
    const auto list = specials.find(text[at]);
    const Special* found = nullptr;
    if (list != specials.end()) {
      for (const Special& special : list->second) {
        if (special.text.size() > text.size() - at ||
            !std::equal(special.text.begin(), special.text.end(), text.begin() + static_cast<ptrdiff_t>(at)))
          continue;
        found = &special;
        break;
      }
    }
    if (found == nullptr) {
      ++at;
      continue;
    }
    plain(begin, at);
    ids->push_back(found->id);
    at += found->text.size();
    begin = at;
  }
  plain(begin, text.size());
}

Result<std::vector<int32_t>> Tokenizer::Tokenize(std::string_view text) const {
  if (text.size() > kMaxTextBytes) return LimitExceeded("the text is over 1 MiB");
  ANEMONE_ASSIGN(const std::vector<uint32_t> raw, internal::DecodeUtf8(text));
  std::vector<int32_t> ids;
  const auto normalize = [&](size_t begin, size_t end) {
    const std::vector<uint32_t> normal =
        Normalized({raw.begin() + static_cast<ptrdiff_t>(begin), raw.begin() + static_cast<ptrdiff_t>(end)});
    const auto plain = [&](size_t from, size_t to) { TokenizePlain(normal.data() + from, normal.data() + to, &ids); };
    Cut(normal, normalized_, plain, &ids);
  };
  Cut(raw, written_, normalize, &ids);
  return ids;
}

Result<std::vector<int32_t>> Tokenizer::Encode(std::string_view text, size_t context) const {
  if (context < 2) return InvalidArgument(fmt::format("expected a context of at least 2 tokens, found {}", context));
  ANEMONE_ASSIGN(std::vector<int32_t> ids, Tokenize(text));
  ids.insert(ids.begin(), start_id_);
  ids.resize(std::min(ids.size(), context - 1));
  ids.push_back(end_id_);
  return ids;
}

// The split: <|startoftext|>|<|endoftext|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+, first alternative
// first.
void Tokenizer::TokenizePlain(const uint32_t* begin, const uint32_t* end, std::vector<int32_t>* ids) const {
  std::string piece;
  const auto emit = [&](const uint32_t* from, const uint32_t* to) {
    piece.clear();
    for (; from < to; ++from) AppendUtf8(*from, piece);
    TokenizePiece(piece, ids);
  };
  while (begin < end) {
    const std::string_view literal = StartsWith(begin, end, kStart) ? kStart : StartsWith(begin, end, kEnd) ? kEnd : "";
    if (!literal.empty()) {  // one piece to this split, three to the byte level's own
      emit(begin, begin + 2);
      emit(begin + 2, begin + literal.size() - 2);
      emit(begin + literal.size() - 2, begin + literal.size());
      begin += literal.size();
      continue;
    }
    const CharClass what = internal::Classify(*begin);
    const uint32_t* stop = begin + 1;
    if (const size_t length = ContractionLength(begin, end)) {
      stop = begin + length;
    } else if (what == CharClass::kLetter || what == CharClass::kOther) {
      while (stop < end && internal::Classify(*stop) == what) ++stop;
    }
    if (what != CharClass::kSpace) emit(begin, stop);
    begin = stop;
  }
}

// Merges of one word. A queue of candidate pairs, lowest rank first, leftmost among equals; stale ones are skipped.
void Tokenizer::TokenizePiece(std::string_view piece, std::vector<int32_t>* ids) const {
  struct Symbol {
    int32_t id;
    int32_t previous;
    int32_t next;
  };
  struct Candidate {
    uint32_t rank;
    int32_t position;
    int32_t id;
    bool operator<(const Candidate& other) const {  // std::priority_queue gives the greatest first
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  const auto count = static_cast<int32_t>(piece.size());
  std::vector<Symbol> symbols(piece.size());
  for (int32_t i = 0; i < count; ++i) {
    const auto byte = static_cast<unsigned char>(piece[static_cast<size_t>(i)]);
    symbols[static_cast<size_t>(i)] = {i + 1 < count ? byte_ids_[byte] : last_byte_ids_[byte], i - 1,
                                       i + 1 < count ? i + 1 : kNone};
  }
  std::priority_queue<Candidate> queue;
  const auto consider = [&](int32_t position) {
    if (position == kNone) return;
    const Symbol& symbol = symbols[static_cast<size_t>(position)];
    if (symbol.next == kNone) return;
    const internal::Merge* merge = merges_.Get(symbol.id, symbols[static_cast<size_t>(symbol.next)].id);
    if (merge != nullptr) queue.push({merge->rank, position, merge->id});
  };
  for (int32_t i = 0; i < count; ++i) consider(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(top.position)];
    if (left.id == kNone || left.next == kNone) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    const internal::Merge* merge = merges_.Get(left.id, right.id);
    if (merge == nullptr || merge->id != top.id) continue;
    left.id = top.id;
    left.next = right.next;
    right.id = kNone;
    if (left.next != kNone) symbols[static_cast<size_t>(left.next)].previous = top.position;
    consider(left.previous);
    consider(top.position);
  }
  for (int32_t i = 0; i < count; ++i) {
    if (symbols[static_cast<size_t>(i)].id != kNone) ids->push_back(symbols[static_cast<size_t>(i)].id);
  }
}

}  // namespace anemone
