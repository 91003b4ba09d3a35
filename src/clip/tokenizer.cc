#include "clip/tokenizer.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <optional>
#include <queue>

#include "clip/unicode.h"

namespace anemone {
namespace {

using internal::CharClass;

constexpr size_t kMaxFileBytes = size_t{64} << 20;
constexpr size_t kMaxTextBytes = size_t{1} << 20;
constexpr std::string_view kStart = "<|startoftext|>";
constexpr std::string_view kEnd = "<|endoftext|>";
constexpr std::string_view kEndOfWord = "</w>";
constexpr int32_t kNone = -1;

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

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
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

Status JsonError(std::string_view file, simdjson::error_code error) {
  return Corrupt(fmt::format("{}: {}", file, simdjson::error_message(error)));
}

using Vocab = std::vector<std::pair<std::string, int64_t>>;
using Merges = std::vector<std::pair<std::string, std::string>>;

Result<Vocab> ReadVocab(const simdjson::dom::object& object, std::string_view file) {
  Vocab vocab;
  vocab.reserve(object.size());
  for (const auto field : object) {
    int64_t id = 0;
    if (const auto error = field.value.get(id)) return JsonError(file, error).In(field.key);
    vocab.emplace_back(field.key, id);
  }
  return vocab;
}

Result<std::pair<std::string, std::string>> SplitMerge(std::string_view line, size_t number) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
      line.find(' ', space + 1) != std::string_view::npos) {
    return Corrupt(fmt::format("merges: line {}: expected two parts and one space, found \"{}\"", number, line));
  }
  return std::pair(std::string(line.substr(0, space)), std::string(line.substr(space + 1)));
}

struct AddedToken {
  std::string text;
  std::optional<int64_t> id;
  bool normalized = true;
};

// One AddedToken object of tokenizer.json or tokenizer_config.json.
Result<AddedToken> ReadAddedToken(const simdjson::dom::element& element, std::string_view file) {
  AddedToken token;
  std::string_view content;
  if (const auto error = element["content"].get(content)) return JsonError(file, error);
  token.text = content;
  int64_t id = 0;
  if (!element["id"].get(id)) token.id = id;
  bool flag = false;
  if (!element["normalized"].get(flag)) token.normalized = flag;
  for (const char* name : {"lstrip", "rstrip", "single_word"}) {
    if (!element[name].get(flag) && flag) {
      return Unsupported(fmt::format("{}: the special token {} has {}: true", file, token.text, name));
    }
  }
  return token;
}

}  // namespace

Result<Tokenizer> Tokenizer::FromVocabAndMerges(std::string_view vocab_json, std::string_view merges_txt,
                                                std::string_view tokenizer_config_json) {
  if (std::max({vocab_json.size(), merges_txt.size(), tokenizer_config_json.size()}) > kMaxFileBytes) {
    return LimitExceeded("a tokenizer file is over 64 MiB");
  }
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (const auto error = parser.parse(vocab_json.data(), vocab_json.size()).get(object)) {
    return JsonError("vocab.json", error);
  }
  ANEMONE_ASSIGN(Vocab vocab, ReadVocab(object, "vocab.json"));

  Merges merges;
  size_t number = 0;
  for (size_t begin = 0; begin < merges_txt.size();) {
    const size_t end = std::min(merges_txt.find('\n', begin), merges_txt.size());
    std::string_view line = merges_txt.substr(begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    begin = end + 1;
    ++number;
    if (line.empty() || line.starts_with("#version")) continue;
    ANEMONE_ASSIGN(auto merge, SplitMerge(line, number));
    merges.push_back(std::move(merge));
  }

  std::vector<Special> specials = {{std::string(kStart), kNone, true}, {std::string(kEnd), kNone, true}};
  if (!tokenizer_config_json.empty()) {
    simdjson::dom::element config;
    if (const auto error = parser.parse(tokenizer_config_json.data(), tokenizer_config_json.size()).get(config)) {
      return JsonError("tokenizer_config.json", error);
    }
    simdjson::dom::object added;
    if (!config["added_tokens_decoder"].get(added)) {
      for (const auto field : added) {
        ANEMONE_ASSIGN(const AddedToken token, ReadAddedToken(field.value, "tokenizer_config.json"));
        for (Special& special : specials) {
          if (special.text == token.text) special.normalized = token.normalized;
        }
      }
    }
  }
  Tokenizer tokenizer;
  ANEMONE_TRY(tokenizer.Load(vocab, merges, std::move(specials)));
  return tokenizer;
}

Result<Tokenizer> Tokenizer::FromTokenizerJson(std::string_view tokenizer_json) {
  constexpr std::string_view kFile = "tokenizer.json";
  if (tokenizer_json.size() > kMaxFileBytes) return LimitExceeded("tokenizer.json is over 64 MiB");
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (const auto error = parser.parse(tokenizer_json.data(), tokenizer_json.size()).get(root)) {
    return JsonError(kFile, error);
  }
  std::string_view suffix;
  if (root["model"]["end_of_word_suffix"].get(suffix) || suffix != kEndOfWord) {
    return Unsupported("tokenizer.json: expected a BPE model whose words end in </w>, as CLIP's");
  }
  simdjson::dom::object object;
  if (const auto error = root["model"]["vocab"].get(object)) return JsonError("tokenizer.json: model.vocab", error);
  ANEMONE_ASSIGN(Vocab vocab, ReadVocab(object, kFile));

  simdjson::dom::array list;
  if (const auto error = root["model"]["merges"].get(list)) return JsonError("tokenizer.json: model.merges", error);
  Merges merges;
  for (const simdjson::dom::element entry : list) {  // "a b" before tokenizers 0.20, ["a", "b"] since
    std::string_view line;
    if (!entry.get(line)) {
      ANEMONE_ASSIGN(auto merge, SplitMerge(line, merges.size() + 1));
      merges.push_back(std::move(merge));
      continue;
    }
    std::string_view left;
    std::string_view right;
    if (entry.at(0).get(left) || entry.at(1).get(right)) {
      return Corrupt(fmt::format("tokenizer.json: model.merges: entry {}: expected two strings", merges.size()));
    }
    merges.emplace_back(left, right);
  }

  std::vector<Special> specials;
  simdjson::dom::array added;
  if (!root["added_tokens"].get(added)) {
    for (const simdjson::dom::element element : added) {
      ANEMONE_ASSIGN(AddedToken token, ReadAddedToken(element, kFile));
      if (token.id) vocab.emplace_back(token.text, *token.id);
      specials.push_back({std::move(token.text), kNone, token.normalized});
    }
  }
  Tokenizer tokenizer;
  ANEMONE_TRY(tokenizer.Load(vocab, merges, std::move(specials)));
  return tokenizer;
}

Status Tokenizer::Load(const Vocab& vocab, const Merges& merges, std::vector<Special> specials) {
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(vocab.size());
  for (const auto& [token, id] : vocab) {
    if (id < 0 || id > INT32_MAX)
      return Corrupt(fmt::format("vocabulary: token \"{}\": the id {} is out of range", token, id));
    ids[token] = static_cast<int32_t>(id);
  }
  vocab_size_ = ids.size();
  const auto find = [&](std::string_view token) {
    const auto it = ids.find(token);
    return it == ids.end() ? kNone : it->second;
  };

  start_id_ = find(kStart);
  end_id_ = find(kEnd);
  if (start_id_ == kNone || end_id_ == kNone) {
    return Corrupt("vocabulary: expected <|startoftext|> and <|endoftext|>, found a vocabulary without them",
                   "only CLIP's byte-level BPE is a tokenizer for CLIP");
  }
  for (Special& special : specials) special.id = find(special.text);
  specials_ = std::move(specials);

  const std::array<uint32_t, 256> characters = ByteCharacters();
  for (size_t byte = 0; byte < 256; ++byte) {
    std::string symbol;
    internal::AppendUtf8(characters[byte], &symbol);
    const int32_t inside = find(symbol);
    symbol += kEndOfWord;
    const int32_t last = find(symbol);
    // What the vocabulary lacks is the unknown token, which for CLIP is <|endoftext|>.
    byte_ids_[byte] = inside == kNone ? end_id_ : inside;
    last_byte_ids_[byte] = last == kNone ? end_id_ : last;
  }

  merges_.reserve(merges.size());
  std::string merged;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const int32_t left_id = find(left);
    const int32_t right_id = find(right);
    merged.assign(left).append(right);
    const int32_t id = find(merged);
    if (left_id == kNone || right_id == kNone || id == kNone) {
      return Corrupt(fmt::format("merges: \"{} {}\": expected parts and result in the vocabulary", left, right));
    }
    merges_[PairKey(left_id, right_id)] = {static_cast<uint32_t>(rank), id};
  }
  return {};
}

Result<std::vector<int32_t>> Tokenizer::Tokenize(std::string_view text) const {
  if (text.size() > kMaxTextBytes) return LimitExceeded("the text is over 1 MiB");
  ANEMONE_ASSIGN(const std::vector<uint32_t> raw, internal::DecodeUtf8(text));
  std::vector<int32_t> ids;
  size_t begin = 0;
  const auto flush = [&](size_t end) {
    std::vector<uint32_t> normal;
    normal.reserve(end - begin);
    bool in_space = false;
    for (const uint32_t c :
         internal::ToNfc({raw.begin() + static_cast<ptrdiff_t>(begin), raw.begin() + static_cast<ptrdiff_t>(end)})) {
      if (internal::Classify(c) == CharClass::kSpace) {
        if (!in_space) normal.push_back(' ');
        in_space = true;
      } else {
        in_space = false;
        internal::AppendLower(c, &normal);
      }
    }
    TokenizeNormalized(normal, &ids);
  };
  for (size_t i = 0; i < raw.size();) {
    const Special* found = nullptr;
    for (const Special& special : specials_) {
      if (!special.normalized && special.id != kNone &&
          StartsWith(raw.data() + i, raw.data() + raw.size(), special.text)) {
        found = &special;
      }
    }
    if (found == nullptr) {
      ++i;
      continue;
    }
    flush(i);
    ids.push_back(found->id);
    i += found->text.size();
    begin = i;
  }
  flush(raw.size());
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

void Tokenizer::TokenizeNormalized(const std::vector<uint32_t>& text, std::vector<int32_t>* ids) const {
  const uint32_t* begin = text.data();
  const uint32_t* const end = begin + text.size();
  for (const uint32_t* at = begin; at < end;) {
    const Special* found = nullptr;
    for (const Special& special : specials_) {
      if (special.normalized && special.id != kNone && StartsWith(at, end, special.text)) found = &special;
    }
    if (found == nullptr) {
      ++at;
      continue;
    }
    TokenizePlain(begin, at, ids);
    ids->push_back(found->id);
    at += found->text.size();
    begin = at;
  }
  TokenizePlain(begin, end, ids);
}

// The split: <|startoftext|>|<|endoftext|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+, first alternative
// first.
void Tokenizer::TokenizePlain(const uint32_t* begin, const uint32_t* end, std::vector<int32_t>* ids) const {
  std::string piece;
  const auto emit = [&](const uint32_t* from, const uint32_t* to) {
    piece.clear();
    for (; from < to; ++from) internal::AppendUtf8(*from, &piece);
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
    const auto it = merges_.find(PairKey(symbol.id, symbols[static_cast<size_t>(symbol.next)].id));
    if (it != merges_.end()) queue.push({it->second.rank, position, it->second.id});
  };
  for (int32_t i = 0; i < count; ++i) consider(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(top.position)];
    if (left.id == kNone || left.next == kNone) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    const auto it = merges_.find(PairKey(left.id, right.id));
    if (it == merges_.end() || it->second.id != top.id) continue;
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
