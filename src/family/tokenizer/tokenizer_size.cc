#include "family/tokenizer/tokenizer_size.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <new>
#include <string_view>
#include <utility>

#include "base/read_at_most.h"
#include "base/rounding.h"
#include "config/nodes.h"
#include "container/sentencepiece_model.h"
#include "family/tokenizer/nemo_artifact.h"
#include "family/tokenizer/tokenizer_files.h"

namespace anemone {
namespace {

namespace json = simdjson::ondemand;

constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;

// Published tokenizer.json have a million entries: JSON is walked without a tree. False: not JSON of that shape.
template <typename OnField>
bool ForEachField(json::object object, OnField on_field) {
  for (auto item : object) {
    json::field field;
    std::string_view key;
    if (std::move(item).get(field) != 0 || field.unescaped_key().get(key) != 0 || !on_field(key, field.value()))
      return false;
  }
  return true;
}

// `text` must have room for the parser's padding behind it.
template <typename OnField>
bool ForEachRootField(std::string& text, OnField on_field) {
  text.reserve(text.size() + simdjson::SIMDJSON_PADDING);
  json::parser parser;
  json::document document;
  json::object root;
  const auto error =
      parser.iterate(simdjson::padded_string_view(text.data(), text.size(), text.capacity())).get(document);
  if (error == simdjson::MEMALLOC) throw std::bad_alloc();  // it says nothing of the text
  return error == simdjson::SUCCESS && document.get_object().get(root) == 0 && ForEachField(root, on_field);
}

bool Raise(json::value id, uint64_t* count) {
  uint64_t number = 0;
  if (id.get_uint64().get(number) != 0 || number >= UINT32_MAX) return false;
  *count = std::max(*count, number + 1);
  return true;
}

// {"token": id}
std::optional<uint64_t> CountMap(std::string& text) {
  uint64_t count = 0;
  const bool ok = ForEachRootField(text, [&](std::string_view, json::value id) { return Raise(id, &count); });
  return ok && count > 0 ? std::optional(count) : std::nullopt;
}

// The vocabulary of every model that the tokenizers library has is a map, but for Unigram's list.
bool CountModel(json::object model, uint64_t* count) {
  return ForEachField(model, [&](std::string_view key, json::value value) {
    if (key != "vocab") return true;
    json::object map;
    if (value.get_object().get(map) == 0)
      return ForEachField(map, [&](std::string_view, json::value id) { return Raise(id, count); });
    json::array list;
    size_t pieces = 0;
    if (value.get_array().get(list) != 0 || list.count_elements().get(pieces) != 0) return false;
    *count = std::max<uint64_t>(*count, pieces);
    return true;
  });
}

bool CountAdded(json::array tokens, uint64_t* count) {
  for (auto item : tokens) {
    json::object token;
    if (item.get_object().get(token) != 0) return false;
    const bool ok = ForEachField(
        token, [&](std::string_view key, json::value value) { return key != "id" || Raise(value, count); });
    if (!ok) return false;
  }
  return true;
}

std::optional<uint64_t> CountTokenizerJson(std::string& text) {
  uint64_t count = 0;
  const bool ok = ForEachRootField(text, [&](std::string_view key, json::value value) {
    json::object model;
    json::array added;
    if (key == "model") return value.get_object().get(model) == 0 && CountModel(model, &count);
    if (key == "added_tokens") return value.get_array().get(added) == 0 && CountAdded(added, &count);
    return true;
  });
  return ok && count > 0 ? std::optional(count) : std::nullopt;
}

// {"added_tokens_decoder": {"32000": {…}}}
std::optional<uint64_t> CountAddedDecoder(std::string& text) {
  uint64_t count = 0;
  const bool ok = ForEachRootField(text, [&](std::string_view key, json::value value) {
    json::object added;
    if (key != "added_tokens_decoder") return true;
    return value.get_object().get(added) == 0 && ForEachField(added, [&](std::string_view id, json::value) {
             uint32_t number = 0;
             const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
             if (error != std::errc() || end != id.data() + id.size()) return false;
             count = std::max(count, uint64_t{number} + 1);
             return true;
           });
  });
  return ok && count > 0 ? std::optional(count) : std::nullopt;
}

std::optional<uint64_t> CountPieces(std::string& text) {
  const auto model = ReadSentencePieceModel(text);
  if (!model.ok() || model->pieces.empty()) return std::nullopt;
  return model->pieces.size();
}

std::optional<uint64_t> CountLines(std::string& text) {
  auto lines = static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n'));
  if (!text.empty() && text.back() != '\n') ++lines;
  return lines > 0 ? std::optional(lines) : std::nullopt;
}

struct Counter {
  std::string_view name;  // or its end
  std::optional<uint64_t> (*count)(std::string& text);
  bool is_whole;  // has every token that the model was trained with
};
constexpr Counter kCounters[] = {
    {"added_tokens.json", CountMap, false},
    {"tokenizer_config.json", CountAddedDecoder, false},
    {"tokenizer.json", CountTokenizerJson, true},
    {".model", CountPieces, true},
    {"vocab.json", CountMap, true},
    {"vocab.txt", CountLines, true},
};

const Counter* CounterOf(std::string_view name) {
  const auto* found = std::find_if(std::begin(kCounters), std::end(kCounters),
                                   [&](const Counter& c) { return name.ends_with(c.name); });
  return found == std::end(kCounters) ? nullptr : found;
}

// Tokens that NeMo adds behind a model's own [NeMo common/tokenizers/sentencepiece_tokenizer.py, add_special_tokens].
Result<uint64_t> CountAddedByNemo(const ConfigNode& tokenizer, const ByteRange& content) {
  const std::vector<std::string> special = SpecialTokensOf(tokenizer);
  if (special.empty()) return uint64_t{0};
  ANEMONE_ASSIGN(const std::string text, content.ReadAll(kMaxFileBytes));
  const Result<SentencePieceModel> model = ReadSentencePieceModel(text);
  return static_cast<uint64_t>(std::count_if(
      special.begin(), special.end(), [&](const std::string& token) { return !model.ok() || !model->Find(token); }));
}

Result<std::optional<VocabularyEvidence>> CountNemo(const ConfigNode& tokenizer,
                                                    const std::vector<Artifact>& artifacts) {
  constexpr std::optional<VocabularyEvidence> kUnknown;
  const ConfigNode* library = tokenizer.Get("library");
  // By name, a tokenizer has tokens that its vocabulary file lacks.
  if (library != nullptr && library->AsString() == "huggingface") return kUnknown;
  for (const char* key : {"model", "vocab_file"}) {
    const Artifact* file = FindNemoFile(tokenizer.Get(key), artifacts);
    if (file == nullptr) continue;
    ANEMONE_ASSIGN(const std::optional<uint64_t> count, CountTokensIn(file->content, file->name));
    if (!count) continue;
    ANEMONE_ASSIGN(const uint64_t added, CountAddedByNemo(tokenizer, file->content));
    return std::optional(VocabularyEvidence{*count + added, std::string(WithoutMemberPrefix(file->name))});
  }
  return kUnknown;
}

}  // namespace

Result<std::optional<uint64_t>> CountTokensIn(const ByteRange& content, std::string_view name) {
  ANEMONE_ASSIGN(std::optional<std::string> text, ReadAtMost(content, kMaxFileBytes));
  if (!text) return std::optional<uint64_t>();
  if (text->empty()) return Corrupt("expected a tokenizer's file, found an empty one").In(name);
  const bool is_json = name.ends_with(".json") || text->starts_with('{');
  const Counter* counter = CounterOf(name);
  // NeMo takes a vocabulary under any name.
  const auto count = counter != nullptr ? counter->count(*text) : is_json ? CountMap(*text) : CountPieces(*text);
  // One that says nothing of tokens is not one that is damaged. Other libraries' models are called .model too.
  if (!count && is_json) ANEMONE_TRY(ParseJsonList(*text, name).status());
  if (!count && text->starts_with('\n')) ANEMONE_TRY(ReadSentencePieceModel(*text).status().In(name));
  return count;
}

Result<std::optional<VocabularyEvidence>> CountTokenizer(const ConfigNode* tokenizer,
                                                         const std::vector<Artifact>& artifacts) {
  VocabularyEvidence found;
  bool is_whole = false, names_added = false;
  for (const Artifact& artifact : artifacts) {
    const std::string_view name = TokenizerFileName(artifact.name);
    const Counter* counter = name.empty() ? nullptr : CounterOf(name);
    if (counter == nullptr) continue;
    names_added = names_added || name != "vocab.json";
    ANEMONE_ASSIGN(const std::optional<uint64_t> count, CountTokensIn(artifact.content, name));
    if (!count) continue;
    is_whole = is_whole || counter->is_whole;
    if (*count > found.rows) found = {*count, std::string(name)};
  }
  if (is_whole && names_added) return std::optional(std::move(found));
  if (tokenizer == nullptr || !tokenizer->is_map()) return std::optional<VocabularyEvidence>();
  return CountNemo(*tokenizer, artifacts);
}

Result<VocabularyChoice> ChooseVocabulary(const VocabularyFacts& facts) {
  VocabularyChoice choice{facts.stored, ""};
  const uint64_t stored = facts.stored;
  if (facts.asked) {
    const auto& [rows, source] = *facts.asked;
    if (rows > stored || rows == 0)
      return InvalidArgument(fmt::format("{} {}: expected 1 to the {} rows that are stored", source, rows, stored));
    for (const auto& floor : {facts.config, facts.tokenizer}) {
      if (!floor || rows >= std::min(floor->rows, stored)) continue;
      return InvalidArgument(
          fmt::format("{} {}: expected at least {} rows, as {} has", source, rows, floor->rows, floor->source));
    }
    choice.rows = rows;
    if (rows < stored) choice.note = fmt::format("vocabulary: {} of {} rows, as {} asks", rows, stored, source);
    return choice;
  }
  const uint64_t tokens = facts.tokenizer ? facts.tokenizer->rows : 0;
  if (tokens > stored) {
    choice.note = fmt::format("vocabulary: {} has {} tokens and the model {} rows: the last tokens have no row",
                              facts.tokenizer->source, tokens, stored);
    return choice;
  }
  const VocabularyEvidence* evidence = nullptr;
  if (facts.config && facts.config->rows >= tokens) {
    evidence = &*facts.config;
  } else if (facts.tokenizer && facts.multiple > 0 && RoundUp(tokens, facts.multiple) == stored) {
    evidence = &*facts.tokenizer;
  }
  if (evidence != nullptr && evidence->rows < stored) {
    choice.rows = evidence->rows;
    choice.note = fmt::format("vocabulary: {} of {} rows, as {} has; the others are padding", choice.rows, stored,
                              evidence->source);
  } else if (tokens > 0 && tokens < stored && evidence == nullptr) {
    choice.note = fmt::format(
        "vocabulary: all {} rows, though {} has {} tokens: nothing says that the others are "
        "padding",
        stored, facts.tokenizer->source, tokens);
  } else if (tokens == 0 && !facts.config && facts.multiple > 1 && stored % facts.multiple == 0) {
    choice.note = fmt::format(
        "vocabulary: all {} rows: NeMo pads to a multiple of {}, and nothing says how many tokens there are; the "
        "option vocab_size leaves the others out",
        stored, facts.multiple);
  }
  return choice;
}

}  // namespace anemone
