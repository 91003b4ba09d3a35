#include "clip/tokenizer.h"

#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "clip/unicode.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using ::testing::ElementsAre;
using testing::Golden;
using testing::IsOk;
using testing::StatusIs;

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

const Tokenizer& Clip() {
  static const Tokenizer tokenizer =
      *Tokenizer::FromVocabAndMerges(ReadAll(Golden("clip/hf/vocab.json")), ReadAll(Golden("clip/hf/merges.txt")),
                                     ReadAll(Golden("clip/hf/tokenizer_config.json")));
  return tokenizer;
}

std::string FromHex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

// A vocabulary of the 256 byte symbols, the same ending a word, a few merges and the special tokens.
struct SmallVocabulary {
  std::string vocab;
  std::string merges = "#version: 0.2\nl o\nlo w</w>\n";
  SmallVocabulary() {
    vocab = R"({"<|startoftext|>": 0, "<|endoftext|>": 1, "l": 2, "o": 3, "w</w>": 4, "lo": 5, "low</w>": 6, "w": 7})";
  }
};

TEST(Tokenizer, AgreesWithHuggingFaceOnEveryGoldenText) {
  std::ifstream in(Golden("infer/tokenizer_clip.txt"));
  std::string line;
  int count = 0;
  while (std::getline(in, line)) {
    const size_t space = line.find(' ');
    ASSERT_NE(space, std::string::npos);
    const std::string text = FromHex(std::string_view(line).substr(0, space));
    ANEMONE_ASSERT_ASSIGN(const std::vector<int32_t> ids, Clip().Encode(text, 77));
    std::string found;
    for (const int32_t id : ids) found += (found.empty() ? "" : ",") + std::to_string(id);
    EXPECT_EQ(found, line.substr(space + 1)) << "text in hexadecimal: " << line.substr(0, space).substr(0, 400);
    ++count;
  }
  EXPECT_GE(count, 2000);
}

TEST(Tokenizer, CutsAtTheContextWithTheEndTokenLast) {
  ANEMONE_ASSERT_ASSIGN(const auto ids, Clip().Encode("a dog and a cat", 4));
  EXPECT_THAT(ids, ElementsAre(49406, 320, 1929, 49407));
  ANEMONE_ASSERT_ASSIGN(const auto empty, Clip().Encode("", 77));
  EXPECT_THAT(empty, ElementsAre(49406, 49407));
  EXPECT_THAT(Clip().Encode("a", 1), StatusIs(ErrorKind::kInvalidArgument, "context"));
}

TEST(Tokenizer, SpecialTokensThatAreNotNormalizedMatchAsWrittenOnly) {
  const std::string config =
      R"({"added_tokens_decoder": {"49407": {"content": "<|endoftext|>", "normalized": false, "special": true}}})";
  ANEMONE_ASSERT_ASSIGN(const Tokenizer tokenizer,
                        Tokenizer::FromVocabAndMerges(ReadAll(Golden("clip/hf/vocab.json")),
                                                      ReadAll(Golden("clip/hf/merges.txt")), config));
  ANEMONE_ASSERT_ASSIGN(const auto as_written, tokenizer.Tokenize("a<|endoftext|>b"));
  EXPECT_THAT(as_written, ElementsAre(320, 49407, 321));
  ANEMONE_ASSERT_ASSIGN(const auto upper, tokenizer.Tokenize("a<|ENDOFTEXT|>b"));
  EXPECT_THAT(upper, ::testing::Not(::testing::Contains(49407)));
}

TEST(Tokenizer, ReadsTokenizerJsonWithMergesOfBothKinds) {
  for (const char* merges : {R"(["l o", "lo w</w>"])", R"([["l", "o"], ["lo", "w</w>"]])"}) {
    const std::string json =
        std::string(R"({"added_tokens": [{"id": 0, "content": "<|startoftext|>", "normalized": true},)") +
        R"({"id": 1, "content": "<|endoftext|>", "normalized": false}], "model": {"end_of_word_suffix": "</w>",)" +
        R"("vocab": {"l": 2, "o": 3, "w</w>": 4, "lo": 5, "low</w>": 6, "w": 7}, "merges": )" + merges + "}}";
    ANEMONE_ASSERT_ASSIGN(const Tokenizer tokenizer, Tokenizer::FromTokenizerJson(json));
    ANEMONE_ASSERT_ASSIGN(const auto ids, tokenizer.Tokenize("low LOW wow"));
    EXPECT_THAT(ids, ElementsAre(6, 6, 7, 3, 4));
  }
}

TEST(Tokenizer, ABytelessVocabularyGivesTheUnknownToken) {
  const SmallVocabulary small;
  ANEMONE_ASSERT_ASSIGN(const Tokenizer tokenizer, Tokenizer::FromVocabAndMerges(small.vocab, small.merges));
  ANEMONE_ASSERT_ASSIGN(const auto ids, tokenizer.Tokenize("lox"));
  EXPECT_THAT(ids, ElementsAre(5, 1));
}

TEST(Tokenizer, RefusesWhatIsNotUtf8) {
  for (const char* text : {"a\xff", "\xc3", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xc0\x80"}) {
    EXPECT_THAT(Clip().Encode(text, 77), StatusIs(ErrorKind::kInvalidArgument, "UTF-8"));
  }
}

TEST(Tokenizer, RefusesBrokenFiles) {
  const SmallVocabulary small;
  EXPECT_THAT(Tokenizer::FromVocabAndMerges("{", small.merges), StatusIs(ErrorKind::kCorrupt, "vocab.json"));
  EXPECT_THAT(Tokenizer::FromVocabAndMerges("[]", small.merges), StatusIs(ErrorKind::kCorrupt, "vocab.json"));
  EXPECT_THAT(Tokenizer::FromVocabAndMerges(R"({"a": "b"})", small.merges), StatusIs(ErrorKind::kCorrupt, "a"));
  EXPECT_THAT(Tokenizer::FromVocabAndMerges(R"({"a": -1})", ""), StatusIs(ErrorKind::kCorrupt, "out of range"));
  EXPECT_THAT(Tokenizer::FromVocabAndMerges(R"({"a": 1})", ""), StatusIs(ErrorKind::kCorrupt, "<|startoftext|>"));
  EXPECT_THAT(Tokenizer::FromVocabAndMerges(small.vocab, "l\n"), StatusIs(ErrorKind::kCorrupt, "line 1"));
  EXPECT_THAT(Tokenizer::FromVocabAndMerges(small.vocab, "l o w\n"), StatusIs(ErrorKind::kCorrupt, "line 1"));
  EXPECT_THAT(Tokenizer::FromVocabAndMerges(small.vocab, "o o\n"), StatusIs(ErrorKind::kCorrupt, "o o"));
  EXPECT_THAT(Tokenizer::FromTokenizerJson(R"({"model": {"type": "Unigram"}})"),
              StatusIs(ErrorKind::kUnsupported, "BPE"));
  EXPECT_THAT(
      Tokenizer::FromVocabAndMerges(small.vocab, small.merges,
                                    R"({"added_tokens_decoder": {"1": {"content": "<|endoftext|>", "lstrip": true}}})"),
      StatusIs(ErrorKind::kUnsupported, "lstrip"));
}

// Hugging Face's tokenizers normalizes by Unicode 9: newer marks stay where they stand, newer compositions apart.
// U+11A7 is no trailing consonant.
TEST(Unicode, CompositionLeavesNewerCharactersAlone) {
  using internal::ToNfc;
  EXPECT_THAT(ToNfc({0xAE30, 0x11A7}), ElementsAre(0xAE30, 0x11A7));
  EXPECT_THAT(ToNfc({0xAE30, 0x11A8}), ElementsAre(0xAE31));
  EXPECT_THAT(ToNfc({'x', 0x1DFA, 0x334}), ElementsAre('x', 0x1DFA, 0x334));
  EXPECT_THAT(ToNfc({'x', 0x1DF5, 0x334}), ElementsAre('x', 0x334, 0x1DF5));
  EXPECT_THAT(ToNfc({'e', 0x1DFA, 0x301}), ElementsAre('e', 0x1DFA, 0x301));
  EXPECT_THAT(ToNfc({0x11935, 0x11930}), ElementsAre(0x11935, 0x11930));
  EXPECT_THAT(ToNfc({0x11938}), ElementsAre(0x11938));
  EXPECT_THAT(ToNfc({0x1100, 0x1161, 0x11A7, 0x1100, 0x1161}), ElementsAre(0xAC00, 0x11A7, 0xAC00));
}

TEST(Unicode, CompositionOrdersMarksAndComposes) {
  EXPECT_THAT(internal::ToNfc({'a', 0x302, 0x323}), ElementsAre(0x1ead));
  EXPECT_THAT(internal::ToNfc({0x1100, 0x1161, 0x11a8}), ElementsAre(0xac01));
  EXPECT_THAT(internal::ToNfc({0x958}), ElementsAre(0x915, 0x93c));  // a composition exclusion
}

}  // namespace
}  // namespace anemone
