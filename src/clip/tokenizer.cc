#include "clip/tokenizer.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <span>

#include "anemone/config.h"
#include "base/utf8.h"
#include "clip/token_ids.h"
#include "clip/unicode.h"
#include "config/nodes.h"
#include "family/clip/clip_fields.h"

namespace anemone {
namespace {

using internal::CharClass;
using internal::TokenIds;

constexpr size_t kMaxFileBytes = size_t{64} << 20;
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

// Both lie in the files' texts, or in what these were read into.
using Vocab = std::vector<std::pair<std::string_view, int64_t>>;
using Merges = std::vector<std::pair<std::string_view, std::string_view>>;

Result<ConfigNode> ReadJson(std::string_view text, std::string_view file) {
  if (text.size() > kMaxFileBytes) return LimitExceeded(fmt::format("{} is over 64 MiB", file));
  ANEMONE_ASSIGN(Config config, ParseJsonList(text, file));
  if (!config.root().is_map()) return Corrupt("expected a JSON object").In(file);
  return std::move(config.root());
}

Result<Vocab> ReadVocab(const ConfigNode& object, std::string_view file) {
  if (!object.is_map()) return Corrupt(fmt::format("{}: expected a map of tokens to ids", file));
  Vocab vocab;
  vocab.reserve(object.map.size());
  for (const auto& [token, value] : object.map) {
    const std::optional<int64_t> id = value.AsInt();
    if (!id) return Corrupt(fmt::format("{}: {}: expected a number, found {}", file, token, value.ScalarText()));
    vocab.emplace_back(token, *id);
  }
  return vocab;
}

// A vocabulary's file as all of them are, without a tree of its 50,000 entries; its tokens are in `parser`. nullopt: it
// is another, and ReadJson tells.
std::optional<Vocab> ReadPlainVocab(const simdjson::padded_string& text, simdjson::ondemand::parser& parser) {
  simdjson::ondemand::document document;
  simdjson::ondemand::object root;
  if (parser.iterate(text).get(document) != 0 || document.get_object().get(root) != 0) return std::nullopt;
  Vocab vocab;
  vocab.reserve(text.size() / 16);
  for (auto item : root) {
    simdjson::ondemand::field field;
    std::string_view token;
    int64_t id = 0;
    const bool is_plain = std::move(item).get(field) == 0 && field.unescaped_key().get(token) == 0 &&
                          field.value().get_int64().get(id) == 0;
    if (!is_plain) return std::nullopt;
    vocab.emplace_back(token, id);
  }
  const bool is_all = document.current_location().error() == simdjson::OUT_OF_BOUNDS;
  return is_all ? std::optional(std::move(vocab)) : std::nullopt;
}

Result<std::pair<std::string_view, std::string_view>> SplitMerge(std::string_view line, size_t number) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
      line.find(' ', space + 1) != std::string_view::npos) {
    return Corrupt(fmt::format("merges: line {}: expected two parts and one space, found \"{}\"", number, line));
  }
  return std::pair(line.substr(0, space), line.substr(space + 1));
}

Result<Merges> ReadMergesText(std::string_view text) {
  if (text.size() > kMaxFileBytes) return LimitExceeded("merges.txt is over 64 MiB");
  Merges merges;
  merges.reserve(static_cast<size_t>(std::ranges::count(text, '\n')) + 1);
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    begin = end + 1;
    ++number;
    if (line.empty() || line.starts_with("#version")) continue;
    ANEMONE_ASSIGN(auto merge, SplitMerge(line, number));
    merges.push_back(std::move(merge));
  }
  return merges;
}

// "a b" before tokenizers 0.20, ["a", "b"] since.
Result<Merges> ReadMergesList(const ConfigNode* list) {
  if (list == nullptr || !list->is_list()) return Corrupt("tokenizer.json: model.merges: expected a list");
  Merges merges;
  for (const ConfigNode& entry : list->list) {
    if (entry.kind == ConfigNode::Kind::kString) {
      ANEMONE_ASSIGN(auto merge, SplitMerge(entry.text, merges.size() + 1));
      merges.push_back(std::move(merge));
      continue;
    }
    const bool pair = entry.is_list() && entry.list.size() == 2 && entry.list[0].AsString() && entry.list[1].AsString();
    if (!pair)
      return Corrupt(fmt::format("tokenizer.json: model.merges: entry {}: expected two strings", merges.size()));
    merges.emplace_back(entry.list[0].text, entry.list[1].text);
  }
  return merges;
}

// A token that is cut out of the text before anything else.
struct AddedToken {
  std::optional<int64_t> id;  // none: the vocabulary's
  bool normalized = true;
};
using AddedTokens = std::map<std::string, AddedToken>;

// One AddedToken of tokenizer.json or tokenizer_config.json; what is read last counts.
Status ReadAddedToken(const ConfigNode& node, std::optional<int64_t> id, bool may_strip, std::string_view file,
                      AddedTokens* tokens) {
  const ConfigNode* content = node.Get("content");
  const std::optional<std::string> text = content == nullptr ? std::nullopt : content->AsString();
  if (!text || text->empty()) return Corrupt(fmt::format("{}: an added token: expected its content, found none", file));
  const auto flag = [&node](std::string_view key, bool otherwise) {
    const ConfigNode* value = node.Get(key);
    return value != nullptr ? value->AsBool().value_or(otherwise) : otherwise;
  };
  for (const char* name : {"lstrip", "rstrip", "single_word"}) {
    if (!may_strip && flag(name, false))
      return Unsupported(fmt::format("{}: the special token {} has {}: true", file, *text, name));
  }
  AddedToken& token = (*tokens)[*text];
  if (id) token.id = id;
  token.normalized = flag("normalized", true);
  return {};
}

// The ids of what tokenizer.json and tokenizer_config.json add to the vocabulary; where neither says anything, what
// added_tokens.json adds [transformers tokenization_utils_base.py, _from_pretrained].
Result<AddedTokens> ReadAddedTokens(const TokenizerFiles& files, const ConfigNode* whole, const ConfigNode& config,
                                    bool may_strip) {
  AddedTokens tokens;
  if (files.added_tokens_json && whole == nullptr && config.Get("added_tokens_decoder") == nullptr) {
    constexpr std::string_view kFile = "added_tokens.json";
    ANEMONE_ASSIGN(const ConfigNode root, ReadJson(*files.added_tokens_json, kFile));
    ANEMONE_ASSIGN(const Vocab added, ReadVocab(root, kFile));
    for (const auto& [text, id] : added) tokens[std::string(text)].id = id;
  }
  if (const ConfigNode* list = whole == nullptr ? nullptr : whole->Get("added_tokens")) {
    for (const ConfigNode& node : list->list) {
      const ConfigNode* id = node.Get("id");
      ANEMONE_TRY(
          ReadAddedToken(node, id == nullptr ? std::nullopt : id->AsInt(), may_strip, "tokenizer.json", &tokens));
    }
  }
  if (const ConfigNode* map = config.Get("added_tokens_decoder")) {
    for (const auto& [key, node] : map->map) {
      int64_t id = -1;
      const auto parsed = std::from_chars(key.data(), key.data() + key.size(), id);
      if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size() || id < 0) {
        return Corrupt(fmt::format("tokenizer_config.json: added_tokens_decoder: expected an id, found {}", key));
      }
      ANEMONE_TRY(ReadAddedToken(node, id, may_strip, "tokenizer_config.json", &tokens));
    }
  }
  return tokens;
}

// A special token's text, written as itself or as an AddedToken.
std::optional<std::string> TokenText(const ConfigNode* node) {
  if (node == nullptr || node->is_null()) return std::nullopt;
  const ConfigNode* content = node->is_map() ? node->Get("content") : node;
  return content == nullptr ? std::nullopt : content->AsString();
}

struct SmallFiles {
  ConfigNode config = ConfigNode::Map();
  ConfigNode specials = ConfigNode::Map();
};

// A token of a role is cut out of a text whole, even where the vocabulary has it as an ordinary one: SDXL pads by "!".
// special_tokens_map.json counts, and then more, where tokenizer_config.json lists no added tokens [transformers
// tokenization_utils_base.py, _from_pretrained].
Status AddTokensOfRoles(const SmallFiles& small, AddedTokens* added) {
  const bool has_decoder = small.config.Get("added_tokens_decoder") != nullptr;
  for (const char* role : {"pad_token", "sep_token", "cls_token", "mask_token"}) {
    const bool is_in_map = !has_decoder && TokenText(small.specials.Get(role)).has_value();
    const ConfigNode* node = (is_in_map ? small.specials : small.config).Get(role);
    const std::optional<std::string> text = TokenText(node);
    if (!text || text->empty() || added->contains(*text)) continue;
    if (node->is_map()) {
      ANEMONE_TRY(ReadAddedToken(*node, std::nullopt, false, role, added));
    } else {
      (*added)[*text].normalized = false;
    }
  }
  return {};
}

struct SpecialToken {
  std::string_view key, text;
};

// The special tokens must be those that the model was trained with, and others must be in the vocabulary.
Status CheckSpecialTokens(const ConfigNode& root, std::span<const SpecialToken> expected, std::string_view file,
                          const std::function<bool(const std::string&)>& is_known) {
  for (const auto& [key, text] : expected) {
    const ConfigNode* node = root.Get(key);
    if (node == nullptr || node->is_null() || TokenText(node) == text) continue;
    return Unsupported(
        fmt::format("{}: {}: expected {}, found {}", file, key, text, TokenText(node).value_or("another form")));
  }
  for (const std::string_view key : {"additional_special_tokens", "extra_special_tokens"}) {
    const ConfigNode* node = root.Get(key);
    if (node == nullptr) continue;
    std::vector<const ConfigNode*> tokens;
    for (const ConfigNode& token : node->list) tokens.push_back(&token);
    for (const auto& [name, token] : node->map) tokens.push_back(&token);
    for (const ConfigNode* token : tokens) {
      const std::string text = TokenText(token).value_or("");
      if (!is_known(text))
        return Unsupported(fmt::format("{}: {}: expected tokens of the vocabulary, found {}", file, key, text));
    }
  }
  return {};
}

constexpr SpecialToken kClipTokens[] = {{"bos_token", kStart}, {"eos_token", kEnd}, {"unk_token", kEnd}};
constexpr SpecialToken kSiglipTokens[] = {{"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "</s>"}};

Result<SmallFiles> ReadSmallFiles(const TokenizerFiles& files) {
  SmallFiles small;
  const auto read = [](std::optional<std::string_view> text, std::string_view file, ClipSection section,
                       ConfigNode* node) -> Status {
    if (!text) return {};
    ANEMONE_ASSIGN(*node, ReadJson(*text, file));
    return CheckClipFields(*node, {&section, 1}, "", true, nullptr).In(file);
  };
  ANEMONE_TRY(read(files.tokenizer_config_json, "tokenizer_config.json", ClipSection::kTokenizerConfig, &small.config));
  ANEMONE_TRY(
      read(files.special_tokens_map_json, "special_tokens_map.json", ClipSection::kSpecialTokens, &small.specials));
  return small;
}

Status CheckSmallFiles(const SmallFiles& small, std::span<const SpecialToken> expected,
                       const std::function<bool(const std::string&)>& is_known) {
  ANEMONE_TRY(CheckSpecialTokens(small.config, expected, "tokenizer_config.json", is_known));
  return CheckSpecialTokens(small.specials, expected, "special_tokens_map.json", is_known);
}

// What says nothing about tokens: offsets in the text, and the default of use_regex.
void LeaveOffsets(ConfigNode* node) {
  node->Erase("trim_offsets");
  const ConfigNode* regex = node->Get("use_regex");
  if (regex != nullptr && regex->AsBool() == true) node->Erase("use_regex");
  for (ConfigNode& child : node->list) LeaveOffsets(&child);
  for (auto& [key, child] : node->map) LeaveOffsets(&child);
}

// One of the forms in which CLIP's own files say it [transformers convert_slow_tokenizer.py, CLIPConverter;
// models/clip/tokenization_clip.py].
Status CheckStep(const ConfigNode& root, std::string_view key, std::initializer_list<std::string_view> forms) {
  ConfigNode found = root.Get(key) == nullptr ? ConfigNode::Null() : *root.Get(key);
  LeaveOffsets(&found);
  for (const std::string_view form : forms) {
    ANEMONE_ASSIGN(Config expected, Config::ParseJson(form, key));
    if (SameConfig(expected.root(), found)) return {};
  }
  return Unsupported(
      fmt::format("tokenizer.json: {}: expected CLIP's own, found {}", key, Config(found).ToJson(-1).substr(0, 200)));
}

Status CheckSteps(const ConfigNode& root, int64_t start, int64_t end) {
  ANEMONE_TRY(CheckStep(root, "normalizer",
                        {R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Replace", "pattern":
                             {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}]})"}));
  ANEMONE_TRY(CheckStep(root, "pre_tokenizer",
                        {R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex":
           "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"},
           "behavior": "Removed", "invert": true}, {"type": "ByteLevel", "add_prefix_space": false}]})",
                         R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex":
           "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"},
           "behavior": "Removed", "invert": true}, {"type": "ByteLevel", "add_prefix_space": false}]})"}));
  const std::string roberta = fmt::format(R"({{"type": "RobertaProcessing", "sep": ["<|endoftext|>", {}], "cls":
      ["<|startoftext|>", {}], "add_prefix_space": false}})",
                                          end, start);
  return CheckStep(root, "post_processor", {roberta, "null"});
}

}  // namespace

Status CheckSiglipTokenizer(const TokenizerFiles& files, size_t pieces) {
  ANEMONE_ASSIGN(const SmallFiles small, ReadSmallFiles(files));
  const ConfigNode* lower = small.config.Get("do_lower_case");
  if (lower != nullptr && lower->AsBool() == false) {
    return Unsupported("tokenizer_config.json: do_lower_case: expected true for SigLIP, found false");
  }
  // SigLIP's own special tokens strip their surroundings, as the pieces' reader does. It cuts out no other, be it a
  // piece of the model or not.
  ANEMONE_ASSIGN(const AddedTokens added, ReadAddedTokens(files, nullptr, small.config, true));
  for (const auto& [text, token] : added) {
    const bool is_own = text == "</s>" || text == "<unk>";
    if (!is_own || (token.id && static_cast<uint64_t>(*token.id) >= pieces))
      return Unsupported(fmt::format("added tokens: expected </s> and <unk> of SigLIP's model, found {}", text));
  }
  return CheckSmallFiles(small, kSiglipTokens, [&added](const std::string& text) { return added.contains(text); });
}

Result<Tokenizer> Tokenizer::FromVocabAndMerges(std::string_view vocab_json, std::string_view merges_txt,
                                                std::optional<std::string_view> tokenizer_config_json) {
  return FromFiles(
      {.vocab_json = vocab_json, .merges_txt = merges_txt, .tokenizer_config_json = tokenizer_config_json});
}

Result<Tokenizer> Tokenizer::FromTokenizerJson(std::string_view tokenizer_json) {
  return FromFiles({.tokenizer_json = tokenizer_json});
}

Result<Tokenizer> Tokenizer::FromFiles(const TokenizerFiles& files) {
  ANEMONE_ASSIGN(const SmallFiles small, ReadSmallFiles(files));
  std::optional<ConfigNode> whole;
  ConfigNode vocab_json;
  simdjson::ondemand::parser parser;
  Vocab vocab;
  Merges merges;
  if (files.tokenizer_json) {
    constexpr std::string_view kFile = "tokenizer.json";
    constexpr ClipSection kTop[] = {ClipSection::kTokenizer}, kModel[] = {ClipSection::kTokenizerModel};
    ANEMONE_ASSIGN(whole, ReadJson(*files.tokenizer_json, kFile));
    ANEMONE_TRY(CheckClipFields(*whole, kTop, "", true, nullptr).In(kFile));
    const ConfigNode* model = whole->Get("model");
    const std::optional<std::string> suffix =
        model == nullptr ? std::nullopt : TokenText(model->Get("end_of_word_suffix"));
    const std::optional<std::string> type = model == nullptr ? std::nullopt : TokenText(model->Get("type"));
    if (suffix != kEndOfWord || type.value_or("BPE") != "BPE") {
      return Unsupported("tokenizer.json: expected a BPE model whose words end in </w>, as CLIP's");
    }
    ANEMONE_TRY(CheckClipFields(*model, kModel, "model.", true, nullptr).In(kFile));
    const ConfigNode* fallback = model->Get("byte_fallback");
    if (fallback != nullptr && fallback->AsBool() == true) {
      return Unsupported("tokenizer.json: model.byte_fallback: expected false, found true");
    }
    const ConfigNode* tokens = model->Get("vocab");
    if (tokens == nullptr) return Corrupt("tokenizer.json: model.vocab: expected a map of tokens to ids, found none");
    ANEMONE_ASSIGN(vocab, ReadVocab(*tokens, kFile));
    ANEMONE_ASSIGN(merges, ReadMergesList(model->Get("merges")));
  } else {
    if (std::optional<Vocab> plain = ReadPlainVocab(simdjson::padded_string(files.vocab_json), parser)) {
      vocab = *std::move(plain);
    } else {
      ANEMONE_ASSIGN(vocab_json, ReadJson(files.vocab_json, "vocab.json"));
      ANEMONE_ASSIGN(vocab, ReadVocab(vocab_json, "vocab.json"));
    }
    ANEMONE_ASSIGN(merges, ReadMergesText(files.merges_txt));
  }
  ANEMONE_ASSIGN(AddedTokens added, ReadAddedTokens(files, whole ? &*whole : nullptr, small.config, false));
  for (const auto& [text, token] : added) {
    if (token.id) vocab.emplace_back(text, *token.id);
  }
  for (const std::string_view text : {kStart, kEnd}) added.try_emplace(std::string(text));
  ANEMONE_TRY(AddTokensOfRoles(small, &added));
  std::vector<std::pair<std::string, bool>> specials;
  for (const auto& [text, token] : added) specials.emplace_back(text, token.normalized);
  Tokenizer tokenizer;
  ANEMONE_TRY(tokenizer.Load(vocab, merges, specials));
  ANEMONE_TRY(CheckSmallFiles(small, kClipTokens, [&added](const std::string& text) { return added.contains(text); }));
  if (whole) ANEMONE_TRY(CheckSteps(*whole, tokenizer.start_id_, tokenizer.end_id_));
  return tokenizer;
}

Status Tokenizer::Load(const Vocab& vocab, const Merges& merges,
                       const std::vector<std::pair<std::string, bool>>& specials) {
  TokenIds ids(vocab.size());
  for (const auto& [token, id] : vocab) {
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
  for (const auto& [text, normalized] : specials) {
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

  merges_ = internal::MergeTable(merges.size());
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
