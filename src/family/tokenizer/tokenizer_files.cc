#include "family/tokenizer/tokenizer_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "base/tree.h"
#include "config/companions.h"
#include "config/nodes.h"
#include "family/tokenizer/nemo_artifact.h"
#include "family/tokenizer/tokenizer_config.h"
#include "family/tokenizer/tokenizer_size.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;

// The longer first.
constexpr std::string_view kFolders[] = {"context/nemo_tokenizer/", "context/", "tokenizer/", ""};
constexpr std::string_view kNemo1Folder = "tokenizer/";
constexpr std::string_view kNemo2Folder = "context/nemo_tokenizer/";

std::string TextAt(const ConfigNode* node, std::string_view key) {
  const ConfigNode* child = node == nullptr ? nullptr : node->Get(key);
  return child == nullptr ? std::string() : child->AsString().value_or("");
}

bool IsFile(std::string_view name) {
  const Companion* companion = FindCompanion(name);
  return companion != nullptr && companion->is_of_tokenizer;
}

// NeMo 1's `tokenizer:` as its converters write it. FILE is the reference to a vocabulary's file, NAME what to load
// by name; `fixed_name` is the name that NeMo's script has fixed.
constexpr std::string_view kByPieces =
    "library: sentencepiece\ntype: null\nmodel: FILE\nvocab_file: null\nmerge_file: null\ndelimiter: null\n";
constexpr std::string_view kByName = "library: huggingface\ntype: NAME\nuse_fast: true\n";

struct NemoTokenizer {
  std::string_view architecture;
  std::string_view file;  // without which it is known by name only
  std::string_view more;  // keys beside kByPieces, or instead of its own
  std::string_view fixed_name = {};
};
constexpr NemoTokenizer kNemoTokenizers[] = {
    {"MistralForCausalLM", kPieces, "sentencepiece_legacy: false\ntokenizer_model: FILE\n"},
    {"MixtralForCausalLM", kPieces, "sentencepiece_legacy: false\ntokenizer_model: FILE\n"},
    {"BaichuanForCausalLM", kPieces, "sentencepiece_legacy: false\ntrust_remote_code: true\n"},
    {"ChatGLMModel", kPieces,
     "library: huggingface\ntype: NAME\nsentencepiece_legacy: false\ntrust_remote_code: true\n", "THUDM/chatglm2-6b"},
    {"ChatGLMForConditionalGeneration", kPieces,
     "library: huggingface\ntype: NAME\nsentencepiece_legacy: false\ntrust_remote_code: true\n", "THUDM/chatglm2-6b"},
    {"Starcoder2ForCausalLM", kPieces, "library: huggingface\ntype: NAME\ntokenizer_model: FILE\n",
     "bigcode/starcoder2-tokenizer"},
    {"Qwen2ForCausalLM", "vocab.json", "library: huggingface\ntype: NAME\nsentencepiece_legacy: false\n"},
    {"FalconForCausalLM", "", "", "tiiuae/falcon-40b"},
    {"GPTBigCodeForCausalLM", "", "", "bigcode/starcoder"},
    {"T5ForConditionalGeneration", "spiece.model", "num_sentinel_tokens: 100\nsentencepiece_legacy: true\n"},
    {"BertModel", "", "model: null\nvocab_file: null\nmerge_file: null\n"},
    {"", kPieces, "sentencepiece_legacy: false\n"},  // any other
};

const NemoTokenizer& NemoTokenizerOf(std::string_view architecture) {
  const auto* found = std::find_if(std::begin(kNemoTokenizers), std::end(kNemoTokenizers),
                                   [&](const NemoTokenizer& row) { return row.architecture == architecture; });
  return found == std::end(kNemoTokenizers) ? *std::prev(found) : *found;
}

// ---- the files that NeMo's config names, as Hugging Face has them ----

std::string WhatToGive(const std::string& what) {
  return fmt::format("tokenizer: {}; the option tokenizer takes the files of one", what);
}

// By what NeMo 1's config says. Files that it names keep nothing of NeMo's names.
Status WriteNamedFiles(const ConfigNode& tokenizer, std::string_view architecture, std::vector<Artifact>* artifacts,
                       std::vector<std::string>* notes) {
  std::map<std::string, Artifact> files;  // by key
  for (const char* key : {"model", "tokenizer_model", "vocab_file", "merge_file"}) {
    if (const Artifact* file = FindNemoFile(tokenizer.Get(key), *artifacts)) files.emplace(key, *file);
  }
  for (const auto& [key, file] : files) {
    std::erase_if(*artifacts, [&, name = file.name](const Artifact& artifact) { return artifact.name == name; });
  }
  const std::string library = TextAt(&tokenizer, "library"), type = TextAt(&tokenizer, "type");
  const auto file = [&](const char* key) { return files.contains(key) ? &files.at(key) : nullptr; };
  const Artifact *model = file("model"), *vocabulary = file("vocab_file"), *merges = file("merge_file");
  if (model == nullptr) model = file("tokenizer_model");
  if (vocabulary != nullptr && merges != nullptr && vocabulary->name.ends_with(".json"))
    return AddByteBpe(tokenizer, *vocabulary, merges->content, artifacts);
  if (vocabulary != nullptr && vocabulary->name.ends_with(".txt"))
    return AddWordPieces(tokenizer, vocabulary->content, artifacts);
  // ChatGLM's yaml names its tokenizer and has its pieces, too.
  const bool is_chatglm = architecture.starts_with("ChatGLM");
  const bool is_pieces =
      model != nullptr && !model->name.ends_with(".json") && (library == "sentencepiece" || is_chatglm);
  if (is_pieces) {
    if (is_chatglm)
      notes->push_back(
          WhatToGive("ChatGLM's own class is code beside its files, here LlamaTokenizer reads its pieces"));
    return AddPieces(tokenizer, model->content, architecture, artifacts);
  }
  // What NeMo stored without using it stays under its own name.
  for (const auto& [key, stored] : files) PutArtifact(WithoutMemberPrefix(stored.name), stored.content, artifacts);
  const bool lacks_merges = model != nullptr && model->name.ends_with("vocab.json");
  std::string found = type.empty() ? fmt::format("NeMo's library is '{}', none that transformers has", library)
                                   : fmt::format("NeMo loads '{}' by name and stores no file of it", type);
  if (lacks_merges) found = fmt::format("NeMo stored vocab.json of '{}' without its merges", type);
  if (library == "tiktoken") found = "NeMo's is a tiktoken vocabulary, which transformers does not load";
  notes->push_back(WhatToGive(found));
  return {};
}

// ---- names in each home ----

// Tokenizer's files to the top of the folder, and with them what else a Hugging Face folder has there.
void LiftFiles(std::vector<Artifact>* artifacts) {
  for (Artifact& artifact : *artifacts) {
    std::string_view name = TokenizerFileName(artifact.name);
    if (artifact.name == std::string(kNemo2Context).append(kGenerationConfig)) name = kGenerationConfig;
    if (name.empty() || name == artifact.name || FindFile(*artifacts, name) != nullptr) continue;
    artifact.name = std::string(name);
  }
}

bool HasLoadable(const std::vector<Artifact>& artifacts) {
  return FindTokenizerFile(artifacts, "tokenizer.json") != nullptr ||
         FindTokenizerFile(artifacts, "tokenizer_config.json") != nullptr;
}

// tokenizer_config.json alone says how to read a vocabulary, and has none.
bool HasVocabulary(const std::vector<Artifact>& artifacts) {
  constexpr std::string_view kWhole[] = {"sentencepiece.bpe.model", "spiece.model",    "tekken.json",
                                         "tokenizer.json",          "tokenizer.model", "vocab.txt"};
  const auto has = [&](std::string_view name) { return FindTokenizerFile(artifacts, name) != nullptr; };
  return std::ranges::any_of(kWhole, has) || (has("vocab.json") && has("merges.txt"));
}

// The copy of a SentencePiece model that `tokenizer` names, beside a complete Hugging Face tokenizer.
void TakeNamedPieces(const ConfigNode& tokenizer, std::vector<Artifact>* artifacts) {
  for (const char* key : {"model", "tokenizer_model", "vocab_file", "merge_file"}) {
    const Artifact* file = FindNemoFile(tokenizer.Get(key), *artifacts);
    if (file == nullptr || IsFile(file->name)) continue;
    const std::string stored = file->name, name(WithoutMemberPrefix(stored));
    const ByteRange content = file->content;
    std::erase_if(*artifacts, [&](const Artifact& artifact) { return artifact.name == stored; });
    if (FindFile(*artifacts, name) == nullptr) artifacts->push_back({name, content});
  }
}

}  // namespace

std::string_view TokenizerFileName(std::string_view artifact) {
  for (const std::string_view folder : kFolders) {
    if (!artifact.starts_with(folder)) continue;
    const std::string_view name = artifact.substr(folder.size());
    return IsFile(name) ? name : std::string_view();
  }
  return {};
}

const Artifact* FindTokenizerFile(const std::vector<Artifact>& artifacts, std::string_view name) {
  const auto found = std::ranges::find(artifacts, name, [](const Artifact& a) { return TokenizerFileName(a.name); });
  return found == artifacts.end() ? nullptr : &*found;
}

const Artifact* FindNemoFile(const ConfigNode* value, const std::vector<Artifact>& artifacts) {
  if (const Artifact* file = FollowReference(value, artifacts)) return file;
  const std::string name = value == nullptr ? std::string() : value->AsString().value_or("");
  if (name.empty()) return nullptr;
  const Artifact* file = FindFile(artifacts, "context/" + name);
  return file != nullptr || !IsFile(name) ? file : FindFile(artifacts, name);  // where LiftFiles put it
}

std::vector<std::string> SpecialTokensOf(const ConfigNode& tokenizer) {
  std::vector<std::string> tokens;
  const auto add = [&](const ConfigNode& node) {
    const std::optional<std::string> token = node.AsString();
    if (token && std::find(tokens.begin(), tokens.end(), *token) == tokens.end()) tokens.push_back(*token);
  };
  for (const char* key : {"special_tokens", "additional_special_tokens"}) {
    const ConfigNode* node = tokenizer.Get(key);
    if (node == nullptr) continue;
    for (const ConfigNode& token : node->list) add(token);
    for (const auto& [role, token] : node->map) {
      add(token);
      for (const ConfigNode& one : token.list) add(one);  // additional_special_tokens
    }
  }
  return tokens;
}

Result<std::vector<Artifact>> OpenTokenizer(const std::string& path) {
  std::vector<Artifact> files;
  const auto open = [&](const std::string& file, std::string_view name) -> Status {
    ANEMONE_ASSIGN(ByteSourcePtr source, OpenFile(file));
    files.push_back({std::string(name), Whole(std::move(source))});
    return {};
  };
  ANEMONE_ASSIGN(const PathKind kind, KindOf(path));
  if (kind != PathKind::kFolder) {
    const std::string name = fs::path(path).filename().string();
    // A SentencePiece model may be called anything.
    ANEMONE_TRY(open(path, IsFile(name) ? std::string_view(name) : kPieces));
    if (IsFile(name)) return files;
    const auto pieces = CountTokensIn(files.back().content, kPieces);
    if (!pieces.ok()) return pieces.status().In(path);
    if (!*pieces) return Corrupt("expected a SentencePiece model, found another file").In(path);
    return files;
  }
  std::vector<std::string_view> known;
  for (const auto& [name, is_of_tokenizer] : kCompanions) {
    if (!is_of_tokenizer) continue;
    known.push_back(name);
    const std::string file = (fs::path(path) / name).string();
    ANEMONE_ASSIGN(const PathKind there, KindOf(file));
    if (there != PathKind::kNothing) ANEMONE_TRY(open(file, name));
  }
  if (files.empty())
    return NotFound(fmt::format("expected a tokenizer's files, found none of {}", fmt::join(known, ", "))).In(path);
  return files;
}

Status ReplaceTokenizer(const std::vector<Artifact>& given, ConfigNode* config, std::vector<Artifact>* artifacts) {
  ConfigNode* tokenizer = config == nullptr ? nullptr : config->Get("tokenizer");
  const bool is_nemos = tokenizer != nullptr && tokenizer->is_map();
  const bool is_alone = given.size() == 1 && !HasLoadable(given);
  if (is_alone && is_nemos) {
    if (given.front().name != kPieces)
      return Unsupported(
          fmt::format("expected a tokenizer's folder or a SentencePiece model, found {} alone", given.front().name));
    const bool is_nemo2 = tokenizer->Get("_target_") != nullptr;
    ConfigNode node = ConfigNode::Map();
    if (is_nemo2) {
      node["_target_"] =
          ConfigNode::String("nemo.collections.common.tokenizers.sentencepiece_tokenizer.SentencePieceTokenizer");
      node["model_path"] = TextNode(kPieces);
    } else {
      node["library"] = ConfigNode::String("sentencepiece");
      node["type"] = ConfigNode::Null();
      node["model"] = ConfigNode::String(std::string(kNemoReference).append(kPieces));
    }
    *tokenizer = std::move(node);
  }
  std::erase_if(*artifacts, [&](const Artifact& artifact) {
    const std::string_view name = TokenizerFileName(artifact.name);
    const std::string_view stored = name.empty() ? TokenizerFileName(WithoutMemberPrefix(artifact.name)) : name;
    return !stored.empty() && (!is_alone || is_nemos || stored == given.front().name);
  });
  const bool is_in_context = is_alone && is_nemos && tokenizer->Get("_target_") != nullptr;
  for (const Artifact& file : given)
    PutArtifact((is_in_context ? "context/" : "") + file.name, file.content, artifacts);
  return {};
}

Status TokenizerToHuggingFace(const ConfigNode* tokenizer, const HfTokenizerRequest& request,
                              std::vector<Artifact>* artifacts, std::vector<std::string>* notes) {
  static const ConfigNode kNone = ConfigNode::Map();
  const ConfigNode& own = tokenizer != nullptr && tokenizer->is_map() ? *tokenizer : kNone;
  LiftFiles(artifacts);
  if (HasLoadable(*artifacts)) {
    TakeNamedPieces(own, artifacts);
  } else if (tokenizer != nullptr) {
    ANEMONE_TRY(WriteNamedFiles(own, request.architecture, artifacts, notes));
  } else {
    notes->push_back(WhatToGive("the checkpoint names none"));
  }
  return AddGenerationConfig(artifacts);
}

Result<ConfigNode> TokenizerToNemo1(const NemoTokenizerRequest& request, std::vector<Artifact>* artifacts,
                                    std::vector<std::string>* notes) {
  const NemoTokenizer& row = NemoTokenizerOf(request.architecture);
  LiftFiles(artifacts);
  const bool has_vocabulary = HasVocabulary(*artifacts);
  // Llama 3's own tokenizer.model, and others, are no SentencePiece models.
  const Artifact* file = row.file.empty() ? nullptr : FindFile(*artifacts, row.file);
  std::optional<uint64_t> own;
  if (file != nullptr) {
    ANEMONE_ASSIGN(own, CountTokensIn(file->content, file->name));
  }
  if (!own) file = nullptr;
  ConfigNode node = Config::ParseYaml(file == nullptr ? kByName : kByPieces, "tokenizer")->root();
  const std::string_view more = file == nullptr && !row.file.empty() ? std::string_view() : row.more;
  if (!more.empty()) {
    ANEMONE_ASSIGN(const Config keys, Config::ParseYaml(more, "tokenizer"));
    for (const auto& [key, value] : keys.root().map) node[key] = value;
  }
  std::string reference;
  if (file != nullptr) {
    ANEMONE_ASSIGN(const std::string member, MemberName(file->content, file->name));
    reference = std::string(kNemoReference) + member;
    ANEMONE_ASSIGN(const std::optional<VocabularyEvidence> all, CountTokenizer(nullptr, *artifacts));
    if (row.file == kPieces && all && all->rows > *own) {
      notes->push_back(fmt::format("tokenizer: NeMo 1 sees the {} tokens of {}, not the {} of {}", *own, row.file,
                                   all->rows, all->source));
    }
    if (row.file == kPieces) ANEMONE_TRY(NotePrefixSpace(*artifacts, notes));
    Artifact* renamed = artifacts->data() + (file - artifacts->data());
    renamed->name = member;
  }
  // NeMo's script has some names fixed; a hub id is better, a path on this machine is not.
  const bool is_hub_id = std::count(request.name.begin(), request.name.end(), '/') == 1 &&
                         request.name.front() != '/' && request.name.front() != '.' && request.name.back() != '/';
  const std::string_view name = row.fixed_name.empty() || is_hub_id ? std::string_view(request.name) : row.fixed_name;
  if (!has_vocabulary)
    notes->push_back(WhatToGive(fmt::format("the source has no vocabulary, NeMo looks for one at '{}'", name)));
  for (auto& [key, value] : node.map) {
    if (value.AsString() == "FILE") value = ConfigNode::String(reference);
    if (value.AsString() == "NAME") value = name.empty() ? ConfigNode::Null() : TextNode(name);
  }
  for (Artifact& artifact : *artifacts) {
    if (IsFile(artifact.name)) artifact.name.insert(0, kNemo1Folder);
  }
  return node;
}

std::optional<ConfigNode> TokenizerToNemo2(std::vector<Artifact>* artifacts, std::vector<std::string>* notes) {
  if (!HasLoadable(*artifacts)) return std::nullopt;
  if (!HasVocabulary(*artifacts))
    notes->push_back(WhatToGive("the source has no vocabulary, without which NeMo loads none"));
  LiftFiles(artifacts);
  for (Artifact& artifact : *artifacts) {
    if (IsFile(artifact.name)) artifact.name.insert(0, kNemo2Folder);
  }
  // All arguments of the class, in the order that NeMo 2.0.0 writes them.
  return Config::ParseYaml(
             "_target_: nemo.collections.common.tokenizers.huggingface.auto_tokenizer.AutoTokenizer\nbos_token: null\n"
             "cls_token: null\neos_token: null\nmask_token: null\nmerges_file: null\npad_token: null\n"
             "pretrained_model_name: nemo_tokenizer\nsep_token: null\ntrust_remote_code: false\nunk_token: null\n"
             "use_fast: false\nvocab_file: null\n",
             "tokenizer")
      ->root();
}

}  // namespace anemone
