#include "family/tokenizer/tokenizer_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <utility>

#include "base/read_at_most.h"
#include "config/nodes.h"
#include "container/sentencepiece_model.h"
#include "family/tokenizer/tokenizer_files.h"

namespace anemone {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;

std::string TextAt(const ConfigNode* node, std::string_view key) {
  const ConfigNode* child = node == nullptr ? nullptr : node->Get(key);
  return child == nullptr ? std::string() : child->AsString().value_or("");
}

void PutJson(std::string_view name, ConfigNode root, std::vector<Artifact>* artifacts) {
  // As transformers writes it: keys in order.
  std::sort(root.map.begin(), root.map.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  PutArtifact(name, Whole(MemorySource(Config(std::move(root)).ToJson() + "\n", std::string(name))), artifacts);
}

Result<Config> ReadJson(const Artifact& file) {
  const auto text = file.content.ReadAll(kMaxFileBytes);
  if (!text.ok()) return text.status().In(file.name);
  return ParseJsonList(*text, file.name);
}

// nullopt: it is too large to be looked into.
Result<std::optional<Config>> ReadIfJson(const Artifact& file) {
  Result<std::optional<std::string>> text = ReadAtMost(file.content, kMaxFileBytes);
  if (!text.ok()) return text.status().In(file.name);
  if (!*text) return std::optional<Config>();
  ANEMONE_ASSIGN(Config config, ParseJsonList(**text, file.name));
  return std::optional(std::move(config));
}

// ---- special tokens, in transformers' words ----

constexpr std::string_view kRoles[] = {"bos_token", "cls_token", "eos_token", "mask_token",
                                       "pad_token", "sep_token", "unk_token"};

ConfigNode AddedToken(const std::string& content, bool normalized, bool with_type) {
  ConfigNode token = ConfigNode::Map();
  token["content"] = ConfigNode::String(content);
  token["lstrip"] = ConfigNode::Bool(false);
  token["normalized"] = ConfigNode::Bool(normalized);
  token["rstrip"] = ConfigNode::Bool(false);
  token["single_word"] = ConfigNode::Bool(false);
  if (with_type) token["special"] = ConfigNode::Bool(true);
  return token;
}

struct SpecialTokens {
  std::map<std::string, std::string> roles;  // "bos_token" → "<s>"
  std::vector<std::string> additional;
  std::map<int64_t, std::string> ids;
  int64_t own_size = 0;  // of the vocabulary; the ids from here on are added ones
};

// tokenizer_config.json's, special_tokens_map.json and, where tokens were added, added_tokens.json.
void PutSpecialTokens(const SpecialTokens& special, bool normalized, ConfigNode config,
                      std::vector<Artifact>* artifacts) {
  ConfigNode map = ConfigNode::Map(), decoder = ConfigNode::Map();
  std::map<std::string, int64_t> added;
  for (const auto& [id, token] : special.ids) {
    decoder[std::to_string(id)] = AddedToken(token, normalized, /*with_type=*/true);
    if (id >= special.own_size) added[token] = id;
  }
  config["added_tokens_decoder"] = std::move(decoder);
  if (!special.additional.empty()) {
    ConfigNode list = ConfigNode::List();
    for (const std::string& token : special.additional) list.list.push_back(ConfigNode::String(token));
    map["additional_special_tokens"] = list;
    config["additional_special_tokens"] = std::move(list);
  }
  for (const auto& [role, token] : special.roles) {
    map[role] = AddedToken(token, normalized, /*with_type=*/false);
    config[role] = ConfigNode::String(token);
  }
  for (const char* role : {"bos_token", "eos_token", "pad_token", "unk_token"}) {
    if (config.Get(role) == nullptr) config[role] = ConfigNode::Null();
  }
  ConfigNode endless = ConfigNode::Float(1e30);  // int(1e30), which transformers writes for a length without a limit
  endless.text = "1000000000000000019884624838656";
  config["model_max_length"] = std::move(endless);
  PutJson("tokenizer_config.json", std::move(config), artifacts);
  PutJson("special_tokens_map.json", std::move(map), artifacts);
  if (added.empty()) return;
  ConfigNode node = ConfigNode::Map();
  for (const auto& [token, id] : added) node[token] = ConfigNode::Int(id);
  PutJson("added_tokens.json", std::move(node), artifacts);
}

// NeMo's own special tokens: those that the vocabulary has not get the ids behind it, in their order.
template <typename IdOf>
void AddNemoTokens(const ConfigNode& tokenizer, IdOf id_of, SpecialTokens* special) {
  const ConfigNode* node = tokenizer.Get("special_tokens");
  if (node != nullptr && node->is_map()) {
    for (const auto& [role, token] : node->map) {
      const bool is_role = std::find(std::begin(kRoles), std::end(kRoles), role) != std::end(kRoles);
      if (is_role && token.AsString()) special->roles[role] = *token.AsString();
    }
  }
  int64_t next = special->own_size;
  for (const std::string& token : SpecialTokensOf(tokenizer)) {
    const std::optional<int64_t> known = id_of(token);
    special->ids[known ? *known : next] = token;
    if (!known) ++next;
    const bool has_role = std::any_of(special->roles.begin(), special->roles.end(),
                                      [&](const auto& role) { return role.second == token; });
    if (!has_role) special->additional.push_back(token);
  }
}

// A class of transformers' that reads a SentencePiece model, and how its published models set it.
struct PieceReader {
  std::string_view architecture;
  std::string_view tokenizer_class;
  bool adds_begin;  // of texts
  bool legacy;      // LlamaTokenizer's: a space before a text that follows a special token
};
constexpr PieceReader kPieceReaders[] = {
    {"LlamaForCausalLM", "LlamaTokenizer", true, false},
    {"LlavaForConditionalGeneration", "LlamaTokenizer", true, false},
    {"MistralForCausalLM", "LlamaTokenizer", true, true},
    {"MixtralForCausalLM", "LlamaTokenizer", true, true},
    // Without begin: as NeMo's exporter writes it, with no post_processor [convert_nemotron_nemo_to_hf.py].
    {"NemotronForCausalLM", "LlamaTokenizer", false, false},
    {"BaichuanForCausalLM", "LlamaTokenizer", false, true},
    {"GemmaForCausalLM", "GemmaTokenizer", true, false},
    {"Gemma2ForCausalLM", "GemmaTokenizer", true, false},
    {"Gemma3ForCausalLM", "GemmaTokenizer", true, false},
    {"", "LlamaTokenizer", true, false},  // any other
};

const PieceReader& PieceReaderOf(std::string_view architecture) {
  const auto* found = std::find_if(std::begin(kPieceReaders), std::end(kPieceReaders),
                                   [&](const PieceReader& reader) { return reader.architecture == architecture; });
  return found == std::end(kPieceReaders) ? *std::prev(found) : *found;
}

}  // namespace

const Artifact* FindFile(const std::vector<Artifact>& artifacts, std::string_view name) {
  const auto found =
      std::find_if(artifacts.begin(), artifacts.end(), [&](const Artifact& artifact) { return artifact.name == name; });
  return found == artifacts.end() ? nullptr : &*found;
}

void PutArtifact(std::string_view name, const ByteRange& content, std::vector<Artifact>* artifacts) {
  std::erase_if(*artifacts, [&](const Artifact& artifact) { return artifact.name == name; });
  artifacts->push_back({std::string(name), content});
}

Status AddPieces(const ConfigNode& tokenizer, const ByteRange& content, std::string_view architecture,
                 std::vector<Artifact>* artifacts) {
  ANEMONE_ASSIGN(const std::string bytes, content.ReadAll(kMaxFileBytes));
  const auto read = ReadSentencePieceModel(bytes);
  if (!read.ok()) return read.status().In(kPieces);
  const SentencePieceModel& model = *read;
  if (model.pieces.empty()) return Corrupt("expected a SentencePiece model, found no pieces").In(kPieces);
  SpecialTokens special;
  special.own_size = static_cast<int64_t>(model.pieces.size());
  for (const auto& [role, id] : {std::pair{"bos_token", model.begin_id()},
                                 {"eos_token", model.end_id()},
                                 {"pad_token", model.pad_id()},
                                 {"unk_token", model.unknown_id()}}) {
    if (!id) continue;
    special.roles[role] = model.pieces[static_cast<size_t>(*id)].text;
    special.ids[*id] = special.roles[role];
  }
  AddNemoTokens(
      tokenizer, [&](const std::string& token) { return model.Find(token); }, &special);
  const PieceReader& reader = PieceReaderOf(architecture);
  ConfigNode config = ConfigNode::Map();
  config["add_bos_token"] = ConfigNode::Bool(reader.adds_begin && model.begin_id().has_value());
  config["add_eos_token"] = ConfigNode::Bool(false);
  if (reader.tokenizer_class == "LlamaTokenizer") {
    // transformers adds it whatever the model says.
    config["add_prefix_space"] = ConfigNode::Bool(model.add_dummy_prefix);
    config["legacy"] = ConfigNode::Bool(reader.legacy);
  }
  if (const std::string chat = TextAt(&tokenizer, "chat_template"); !chat.empty())
    config["chat_template"] = ConfigNode::String(chat);
  config["clean_up_tokenization_spaces"] = ConfigNode::Bool(false);
  config["sp_model_kwargs"] = ConfigNode::Map();
  config["spaces_between_special_tokens"] = ConfigNode::Bool(false);
  config["tokenizer_class"] = TextNode(reader.tokenizer_class);
  config["use_default_system_prompt"] = ConfigNode::Bool(false);
  PutArtifact(kPieces, content, artifacts);
  PutSpecialTokens(special, /*normalized=*/false, std::move(config), artifacts);
  return {};
}

Status NotePrefixSpace(const std::vector<Artifact>& artifacts, std::vector<std::string>* notes) {
  const Artifact *pieces = FindFile(artifacts, kPieces), *file = FindFile(artifacts, "tokenizer_config.json");
  if (pieces == nullptr || file == nullptr) return {};
  ANEMONE_ASSIGN(const std::optional<Config> config, ReadIfJson(*file));
  const ConfigNode* said = config ? config->root().Get("add_prefix_space") : nullptr;
  const std::optional<bool> adds = said == nullptr ? std::nullopt : said->AsBool();
  if (!adds) return {};
  ANEMONE_ASSIGN(const std::string bytes, pieces->content.ReadAll(kMaxFileBytes));
  const auto model = ReadSentencePieceModel(bytes);
  if (!model.ok() || model->add_dummy_prefix == *adds) return {};
  notes->push_back(fmt::format(
      "tokenizer: NeMo 1 begins a text {} a space, as {} says; tokenizer_config.json says add_prefix_space: {}",
      *adds ? "without" : "with", kPieces, *adds));
  return {};
}

// A GPT-2's vocabulary and merges [NeMo nlp/modules/common/megatron/megatron_utils.py: GPT2BPETokenizer is gpt2].
Status AddByteBpe(const ConfigNode& tokenizer, const Artifact& vocabulary, const ByteRange& merges,
                  std::vector<Artifact>* artifacts) {
  constexpr std::string_view kEndOfText = "<|endoftext|>";
  ANEMONE_ASSIGN(const Config vocab, ReadJson(vocabulary));
  const auto id_of = [&](const std::string& token) {
    const ConfigNode* id = vocab.root().Get(token);
    return id == nullptr ? std::nullopt : id->AsInt();
  };
  SpecialTokens special;
  for (const auto& [token, id] : vocab.root().map) {
    if (!id.AsInt()) return Corrupt(fmt::format("expected a number for {}", token)).In(vocabulary.name);
    special.own_size = std::max(special.own_size, *id.AsInt() + 1);
  }
  const std::string end(kEndOfText);
  special.ids[id_of(end).value_or(special.own_size)] = end;
  for (const char* role : {"bos_token", "eos_token", "unk_token"}) special.roles[role] = end;
  AddNemoTokens(tokenizer, id_of, &special);
  ConfigNode config = ConfigNode::Map();
  config["add_bos_token"] = ConfigNode::Bool(false);
  config["add_prefix_space"] = ConfigNode::Bool(false);
  config["clean_up_tokenization_spaces"] = ConfigNode::Bool(true);
  config["errors"] = TextNode("replace");
  config["tokenizer_class"] = TextNode("GPT2Tokenizer");
  PutArtifact("vocab.json", vocabulary.content, artifacts);
  PutArtifact("merges.txt", merges, artifacts);
  PutSpecialTokens(special, /*normalized=*/true, std::move(config), artifacts);
  return {};
}

// BERT's words [NeMo nlp/modules/common/megatron/megatron_utils.py: BertWordPieceLowerCase, BertWordPieceCase].
Status AddWordPieces(const ConfigNode& tokenizer, const ByteRange& words, std::vector<Artifact>* artifacts) {
  ANEMONE_ASSIGN(const std::string text, words.ReadAll(kMaxFileBytes));
  std::map<std::string, int64_t, std::less<>> ids;
  SpecialTokens special;
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    ids.emplace(line, special.own_size++);
  }
  for (const auto& [role, token] : {std::pair{"cls_token", "[CLS]"},
                                    {"mask_token", "[MASK]"},
                                    {"pad_token", "[PAD]"},
                                    {"sep_token", "[SEP]"},
                                    {"unk_token", "[UNK]"}}) {
    const auto id = ids.find(token);
    if (id == ids.end()) continue;
    special.roles[role] = token;
    special.ids[id->second] = token;
  }
  AddNemoTokens(
      tokenizer,
      [&](const std::string& token) {
        const auto id = ids.find(token);
        return id == ids.end() ? std::nullopt : std::optional(id->second);
      },
      &special);
  ConfigNode config = ConfigNode::Map();
  config["clean_up_tokenization_spaces"] = ConfigNode::Bool(true);
  config["do_lower_case"] = ConfigNode::Bool(TextAt(&tokenizer, "type") != "BertWordPieceCase");
  config["tokenizer_class"] = TextNode("BertTokenizer");
  PutArtifact("vocab.txt", words, artifacts);
  PutSpecialTokens(special, /*normalized=*/false, std::move(config), artifacts);
  return {};
}

namespace {

// The id of a token that tokenizer_config.json adds.
std::optional<int64_t> AddedId(const ConfigNode& tokenizer_config, std::string_view token) {
  const ConfigNode* decoder = tokenizer_config.Get("added_tokens_decoder");
  if (decoder == nullptr) return std::nullopt;
  std::optional<int64_t> id;
  for (const auto& [number, added] : decoder->map) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error == std::errc() && end == number.data() + number.size() && TextAt(&added, "content") == token) id = value;
  }
  return id;
}

}  // namespace

Result<SpecialIds> SpecialIdsOf(const std::vector<Artifact>& artifacts) {
  SpecialIds ids;
  const Artifact* config_file = FindTokenizerFile(artifacts, "tokenizer_config.json");
  if (config_file == nullptr) return ids;
  ANEMONE_ASSIGN(const std::optional<Config> config, ReadIfJson(*config_file));
  if (!config) return ids;
  for (const auto& [role, id] :
       {std::pair{"bos_token", &ids.begin}, {"eos_token", &ids.end}, {"pad_token", &ids.pad}}) {
    const ConfigNode* node = config->root().Get(role);
    const std::string token =
        node != nullptr && node->is_map() ? TextAt(node, "content") : TextAt(&config->root(), role);
    if (const auto added = token.empty() ? std::nullopt : AddedId(config->root(), token)) *id = added;
  }
  return ids;
}

Result<std::optional<int64_t>> TokenIdIn(const std::vector<Artifact>& artifacts, std::string_view token) {
  for (const Artifact& file : artifacts) {
    if (TokenizerFileName(file.name) != "tokenizer_config.json") continue;
    ANEMONE_ASSIGN(const std::optional<Config> config, ReadIfJson(file));
    if (const auto id = config ? AddedId(config->root(), token) : std::nullopt) return id;
  }
  for (const Artifact& file : artifacts) {
    if (!file.name.ends_with(".model")) continue;
    ANEMONE_ASSIGN(const std::optional<std::string> text, ReadAtMost(file.content, kMaxFileBytes));
    if (!text) continue;
    const Result<SentencePieceModel> model = ReadSentencePieceModel(*text);
    // A damaged model is refused where its tokens are counted (CountTokensIn).
    if (const auto id = model.ok() ? model->Find(token) : std::nullopt) return id;
  }
  return std::optional<int64_t>();
}

Status AddGenerationConfig(std::vector<Artifact>* artifacts) {
  if (FindFile(*artifacts, kGenerationConfig) != nullptr) return {};
  ANEMONE_ASSIGN(const SpecialIds ids, SpecialIdsOf(*artifacts));
  if (!ids.begin && !ids.end) return {};
  ConfigNode config = ConfigNode::Map();
  config["_from_model_config"] = ConfigNode::Bool(true);
  for (const auto& [key, id] :
       {std::pair{"bos_token_id", ids.begin}, {"eos_token_id", ids.end}, {"pad_token_id", ids.pad}}) {
    if (id) config[key] = ConfigNode::Int(*id);
  }
  config["transformers_version"] = TextNode("4.44.2");
  PutJson(kGenerationConfig, std::move(config), artifacts);
  return {};
}

}  // namespace anemone
