#include "clip/tokenizer_files.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <span>

#include "anemone/config.h"
#include "config/nodes.h"
#include "family/clip/clip_fields.h"

namespace anemone {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;
constexpr std::string_view kStart = "<|startoftext|>";
constexpr std::string_view kEnd = "<|endoftext|>";
constexpr std::string_view kEndOfWord = "</w>";

using Vocab = std::vector<BpeModel::Token>;
using Merges = std::vector<BpeModel::Merge>;

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

Result<BpeModel::Merge> SplitMerge(std::string_view line, size_t number) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
      line.find(' ', space + 1) != std::string_view::npos) {
    return Corrupt(fmt::format("merges: line {}: expected two parts and one space, found \"{}\"", number, line));
  }
  return BpeModel::Merge(line.substr(0, space), line.substr(space + 1));
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

// Erases keys that say nothing about tokens: offsets in the text, and the default of use_regex.
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

// The texts that a model's tokens and merges lie in.
struct ReadFiles {
  ConfigNode json;  // tokenizer.json, or vocab.json
  simdjson::ondemand::parser parser;
  AddedTokens added;
};

Status ReadTokenizerJson(std::string_view text, ReadFiles* read, BpeModel* bpe) {
  constexpr std::string_view kFile = "tokenizer.json";
  constexpr ClipSection kTop[] = {ClipSection::kTokenizer}, kModel[] = {ClipSection::kTokenizerModel};
  ANEMONE_ASSIGN(read->json, ReadJson(text, kFile));
  ANEMONE_TRY(CheckClipFields(read->json, kTop, "", true, nullptr).In(kFile));
  const ConfigNode* model = read->json.Get("model");
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
  ANEMONE_ASSIGN(bpe->vocab, ReadVocab(*tokens, kFile));
  ANEMONE_ASSIGN(bpe->merges, ReadMergesList(model->Get("merges")));
  return {};
}

Status ReadVocabAndMerges(const TokenizerFiles& files, ReadFiles* read, BpeModel* bpe) {
  if (std::optional<Vocab> plain = ReadPlainVocab(simdjson::padded_string(files.vocab_json), read->parser)) {
    bpe->vocab = *std::move(plain);
  } else {
    ANEMONE_ASSIGN(read->json, ReadJson(files.vocab_json, "vocab.json"));
    ANEMONE_ASSIGN(bpe->vocab, ReadVocab(read->json, "vocab.json"));
  }
  ANEMONE_ASSIGN(bpe->merges, ReadMergesText(files.merges_txt));
  return {};
}

// The last one counts.
std::optional<int64_t> IdOf(const Vocab& vocab, std::string_view token) {
  const auto found =
      std::find_if(vocab.rbegin(), vocab.rend(), [token](const auto& entry) { return entry.first == token; });
  return found == vocab.rend() ? std::nullopt : std::optional(found->second);
}

}  // namespace

Result<BpeModel> ReadBpeModel(const TokenizerFiles& files) {
  ANEMONE_ASSIGN(const SmallFiles small, ReadSmallFiles(files));
  const auto read = std::make_shared<ReadFiles>();
  BpeModel bpe;
  bpe.texts = read;
  if (files.tokenizer_json) {
    ANEMONE_TRY(ReadTokenizerJson(*files.tokenizer_json, read.get(), &bpe));
  } else {
    ANEMONE_TRY(ReadVocabAndMerges(files, read.get(), &bpe));
  }
  const ConfigNode* whole = files.tokenizer_json ? &read->json : nullptr;
  AddedTokens& added = read->added;
  ANEMONE_ASSIGN(added, ReadAddedTokens(files, whole, small.config, false));
  for (const auto& [text, token] : added) {
    if (token.id) bpe.vocab.emplace_back(text, *token.id);
  }
  for (const std::string_view text : {kStart, kEnd}) added.try_emplace(std::string(text));
  ANEMONE_TRY(AddTokensOfRoles(small, &added));
  for (const auto& [text, token] : added) bpe.added.push_back({text, token.normalized});
  ANEMONE_TRY(CheckSmallFiles(small, kClipTokens, [&added](const std::string& text) { return added.contains(text); }));
  const std::optional<int64_t> start = IdOf(bpe.vocab, kStart), end = IdOf(bpe.vocab, kEnd);
  if (whole != nullptr && start && end) ANEMONE_TRY(CheckSteps(*whole, *start, *end));
  return bpe;
}

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

}  // namespace anemone
