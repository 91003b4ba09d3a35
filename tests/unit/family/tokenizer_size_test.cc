#include "family/tokenizer/tokenizer_size.h"

#include <gmock/gmock.h>

#include <utility>

#include "family/tokenizer/tokenizer_files.h"
#include "family/words/json_artifact.h"
#include "family/words/kept_config.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::StatusIs;

using Files = std::vector<Artifact>;

Artifact File(const std::string& name, std::string content) {
  return {name, Whole(MemorySource(std::move(content), name))};
}

std::optional<uint64_t> Count(const std::string& name, std::string content) {
  return *CountTokensIn(File(name, std::move(content)).content, name);
}

// `count` pieces, of no other use.
std::string Pieces(int count) {
  std::string model;
  for (int i = 0; i < count; ++i) model += "\n\x03\n\x01" + std::string(1, static_cast<char>('a' + i));
  return model;
}

TEST(TokenizerSize, OneMoreThanTheHighestId) {
  EXPECT_EQ(Count("tokenizer.model", Pieces(7)), 7u);
  EXPECT_EQ(Count("0123_spm", Pieces(3)), 3u);
  EXPECT_EQ(Count("vocab.json", R"({"a": 0, "b": 9})"), 10u);
  EXPECT_EQ(Count("vocab.txt", "a\nb\nc"), 3u);
  EXPECT_EQ(Count("vocab.txt", "a\nb\n"), 2u);
  EXPECT_EQ(Count("added_tokens.json", R"({"<x>": 41})"), 42u);
  EXPECT_EQ(Count("tokenizer_config.json", R"({"legacy": true, "added_tokens_decoder": {"3": {}, "12": {}}})"), 13u);
  EXPECT_EQ(Count("tokenizer.json", R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}})"), 2u);
  EXPECT_EQ(Count("tokenizer.json",
                  R"({"added_tokens": [{"id": 4, "content": "<x>"}], "model": {"vocab": {"a": 0, "b": 1}}})"),
            5u);
  EXPECT_EQ(Count("tokenizer.json", R"({"model": {"type": "Unigram", "vocab": [["a", 0.5], ["b", -1]]}})"), 2u);
}

TEST(TokenizerSize, WhatIsNoTokenizerHasNone) {
  for (const char* name : {"tokenizer.model", "tokenizer.json", "vocab.json", "tokenizer_config.json", "other"}) {
    for (const char* content : {"{}", "[1]", "{\"a\": -1}", "{\"a\": \"b\"}", "{\"model\": {\"vocab\": 3}}",
                                "{\"a\": 99999999999}", "{\"added_tokens_decoder\": {\"x\": 1}}"}) {
      EXPECT_EQ(Count(name, content), std::nullopt) << name << ": " << content;
    }
  }
}

TEST(TokenizerSize, AddedTokensCount) {
  const Files files = {File("context/nemo_tokenizer/tokenizer.model", Pieces(5)),
                       File("context/nemo_tokenizer/added_tokens.json", R"({"<x>": 5, "<y>": 6})")};
  ANEMONE_ASSERT_ASSIGN(const auto found, CountTokenizer(nullptr, files));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->rows, 7u);
  EXPECT_EQ(found->source, "added_tokens.json");
}

TEST(TokenizerSize, SpecialTokensOfNemoCount) {
  const Files files = {File("0123_spm.model", Pieces(5))};
  const auto tokenizer = Config::ParseYaml(
      "library: sentencepiece\nmodel: nemo:0123_spm.model\nspecial_tokens: [a, <x>, <y>, <x>]\n", "test");
  ANEMONE_ASSERT_ASSIGN(const auto found, CountTokenizer(&tokenizer->root(), files));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->rows, 7u);
}

TEST(TokenizerSize, AVocabularyBesideANameIsNotAllOfIt) {
  const Files files = {File("0123_vocab.json", R"({"a": 0, "b": 1})")};
  const auto tokenizer = Config::ParseYaml("library: huggingface\ntype: x\nmodel: nemo:0123_vocab.json\n", "test");
  EXPECT_EQ(*CountTokenizer(&tokenizer->root(), files), std::nullopt);
  EXPECT_EQ(*CountTokenizer(nullptr, {File("vocab.json", R"({"a": 0})")}), std::nullopt);
  EXPECT_EQ(*CountTokenizer(nullptr, {File("tokenizer_config.json", R"({"added_tokens_decoder": {"0": {}}})")}),
            std::nullopt);
}

TEST(TokenizerSize, AFileThatCannotBeReadIsNotLeftAside) {
  Artifact cut = File("tokenizer.model", Pieces(5));
  cut.content.size += 1;
  EXPECT_THAT(CountTokensIn(cut.content, cut.name), StatusIs(ErrorKind::kCorrupt, "truncated"));
  EXPECT_THAT(CountTokenizer(nullptr, {cut}), StatusIs(ErrorKind::kCorrupt, "truncated"));
  EXPECT_THAT(TokenIdIn({cut}, "a"), StatusIs(ErrorKind::kCorrupt, "truncated"));
  cut.name = "tokenizer_config.json";
  EXPECT_THAT(SpecialIdsOf({cut}), StatusIs(ErrorKind::kCorrupt, "truncated"));
  cut.name = "config.json";
  Checkpoint kept;
  kept.artifacts = {cut};
  EXPECT_THAT(ReadJsonArtifact(kept, "config.json"), StatusIs(ErrorKind::kCorrupt, "truncated"));
}

TEST(TokenizerSize, ADamagedFileIsNotLeftAside) {
  const std::string pieces = Pieces(5);
  for (const auto& [name, bytes] :
       {std::pair<std::string, std::string>("tokenizer.json", R"({"model": {"vocab": {"a": 0)"),
        {"tokenizer_config.json", R"({"added_tokens_decoder": {)"},
        {"vocab.json", ""},
        {"tokenizer.model", ""},
        {"tokenizer.model", pieces.substr(0, pieces.size() - 1)}}) {
    const Artifact file = File(name, bytes);
    EXPECT_THAT(CountTokensIn(file.content, name), StatusIs(ErrorKind::kCorrupt, name)) << bytes;
    EXPECT_THAT(CountTokenizer(nullptr, {file}), StatusIs(ErrorKind::kCorrupt, name)) << bytes;
  }
  EXPECT_THAT(SpecialIdsOf({File("tokenizer_config.json", "{")}),
              StatusIs(ErrorKind::kCorrupt, "tokenizer_config.json"));
  EXPECT_THAT(TokenIdIn({File("tokenizer_config.json", "{")}, "a"), StatusIs(ErrorKind::kCorrupt, "tokenizer_config"));
  // Whole files that count no tokens, and one of another library.
  for (const auto& [name, bytes] : {std::pair<std::string, std::string>("tokenizer_config.json", "{}"),
                                    {"tokenizer.json", R"({"model": null})"},
                                    {"tokenizer.model", "IQ== 0\nIg== 1\n"}}) {
    EXPECT_EQ(*CountTokensIn(File(name, bytes).content, name), std::nullopt) << name;
  }
  Checkpoint kept;
  kept.artifacts = {File("config.json", "{")};
  EXPECT_THAT(ReadJsonArtifact(kept, "config.json"), StatusIs(ErrorKind::kCorrupt, "config.json: line 1"));
  EXPECT_THAT(KeptHfConfig(kept, [](const ConfigNode&) { return true; }), StatusIs(ErrorKind::kCorrupt, "config.json"));
}

struct Case {
  const char* what;
  VocabularyFacts facts;
  uint64_t rows;
  const char* note;
};

TEST(VocabularyRule, RowsAreDroppedOnEvidenceOnly) {
  const VocabularyEvidence file1001{1001, "tokenizer.model"}, file1024{1024, "tokenizer.model"};
  const Case cases[] = {
      {"nobody says anything",
       {.stored = 1024, .multiple = 128},
       1024,
       "all 1024 rows: NeMo pads to a multiple of 128"},
      {"nobody says anything, nor pads", {.stored = 1000, .multiple = 128}, 1000, ""},
      {"nobody says anything of a fixed number", {.stored = 1024}, 1024, ""},
      {"the tokenizer's, rounded up", {.stored = 1024, .tokenizer = file1001, .multiple = 128}, 1001, "padding"},
      {"rounded up for tensor ranks", {.stored = 1024, .tokenizer = file1001, .multiple = 512}, 1001, "padding"},
      {"not rounded", {.stored = 1024, .tokenizer = file1001}, 1024, "are padding"},
      {"rounded to something else", {.stored = 1088, .tokenizer = file1001, .multiple = 64}, 1088, "are padding"},
      {"as many", {.stored = 1024, .tokenizer = file1024, .multiple = 128}, 1024, ""},
      {"the config's", {.stored = 1024, .config = {{1010, "vocab_size"}}}, 1010, "as vocab_size has"},
      {"the config says all",
       {.stored = 1024, .config = {{1024, "c"}}, .tokenizer = file1001, .multiple = 128},
       1024,
       ""},
      // Speech#14870: special tokens beyond the config's number.
      {"the config's without the added ones",
       {.stored = 1024, .config = {{1000, "c"}}, .tokenizer = file1001, .multiple = 128},
       1001,
       "tokenizer.model"},
      {"more tokens than rows", {.stored = 1000, .tokenizer = file1001, .multiple = 8}, 1000, "have no row"},
      {"asked",
       {.stored = 1024, .asked = {{1010, "--vocab-size"}}, .tokenizer = file1001},
       1010,
       "as --vocab-size asks"},
  };
  for (const auto& [what, facts, rows, note] : cases) {
    ANEMONE_ASSERT_ASSIGN(const VocabularyChoice choice, ChooseVocabulary(facts));
    EXPECT_EQ(choice.rows, rows) << what;
    EXPECT_THAT(choice.note, *note == '\0' ? ::testing::Matcher<std::string>(IsEmpty()) : HasSubstr(note)) << what;
  }
}

TEST(VocabularyRule, NeverBelowWhatHasATokenNorBeyondWhatIsStored) {
  const VocabularyEvidence tokenizer{1001, "tokenizer.json"};
  for (const uint64_t rows : {0, 1000, 1025}) {
    EXPECT_THAT(ChooseVocabulary({.stored = 1024, .asked = {{rows, "--vocab-size"}}, .tokenizer = tokenizer}),
                StatusIs(ErrorKind::kInvalidArgument, "--vocab-size"));
  }
  EXPECT_THAT(ChooseVocabulary({.stored = 1024, .asked = {{1001, "--vocab-size"}}, .config = {{1010, "vocab_size"}}}),
              StatusIs(ErrorKind::kInvalidArgument, "vocab_size"));
}

}  // namespace
}  // namespace anemone
