#include "clip/sentencepiece.h"

#include <simdjson.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "testing/matchers.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;

std::string ReadFile(const std::string& relative) {
  std::ifstream in(Golden(relative), std::ios::binary);
  EXPECT_TRUE(in.good()) << relative;
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string ModelOf(const std::string& name) {
  return ReadFile(name == "siglip" ? "siglip/hf_siglip/spiece.model" : "infer/sentencepiece/" + name + ".model");
}

// Every text of NAME.txt: ids, a tab, the text in JSON.
void ExpectGolden(const SentencePiece& tokenizer, const std::string& name) {
  std::istringstream lines(ReadFile("infer/sentencepiece/" + name + ".txt"));
  std::string line;
  size_t count = 0;
  simdjson::dom::parser parser;
  while (std::getline(lines, line)) {
    const size_t tab = line.find('\t');
    std::istringstream fields(line.substr(0, tab));
    const std::vector<int32_t> expected{std::istream_iterator<int32_t>(fields), {}};
    const std::string json = "[" + line.substr(tab + 1) + "]";
    const std::string text(std::string_view(parser.parse(json).at(0)));
    const auto ids = tokenizer.Encode(text, 100000);
    ASSERT_THAT(ids, IsOk()) << line;
    EXPECT_EQ(*ids, expected) << name << ": " << line;
    ++count;
  }
  EXPECT_GT(count, 190u);
}

TEST(SentencePiece, TransformersIds) {
  for (const char* name : {"siglip", "bytes", "spaces"}) {
    ANEMONE_ASSERT_ASSIGN(const SentencePiece tokenizer, SentencePiece::FromModel(ModelOf(name)));
    ExpectGolden(tokenizer, name);
  }
}

std::string Base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += i + k <= bytes.size() ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

TEST(SentencePiece, TokenizerJsonIsTheSameModel) {
  const std::string model = ModelOf("siglip");
  const size_t table = model.find("\x12\x87\xD3\x0E");  // the normalizer's field 2, 240,007 bytes
  ASSERT_NE(table, std::string::npos);
  const std::string json =
      R"({"added_tokens":[{"id":0,"content":"<pad>"},{"id":1,"content":"</s>"},{"id":2,"content":"<unk>"}],)"
      R"("normalizer":{"type":"Sequence","normalizers":[{"type":"Lowercase"},{"type":"Precompiled","precompiled_charsmap":")" +
      Base64(std::string_view(model).substr(table + 4, 240007)) +
      R"("}]},"model":{"type":"Unigram","unk_id":2,"vocab":)" + ReadFile("infer/sentencepiece/siglip.vocab.json") +
      "}}";
  ANEMONE_ASSERT_ASSIGN(const SentencePiece tokenizer, SentencePiece::FromTokenizerJson(json));
  ExpectGolden(tokenizer, "siglip");
  EXPECT_THAT(SentencePiece::FromTokenizerJson(R"({"model":{"type":"BPE"}})"),
              StatusIs(ErrorKind::kUnsupported, "Unigram"));
}

// A model of `<unk>`, `</s>` and these pieces.
std::string ModelOf(const std::vector<std::pair<std::string, float>>& pieces) {
  std::string model;
  const auto add = [&](const std::string& text, float score, char kind) {
    std::string piece = "\n" + std::string(1, static_cast<char>(text.size())) + text + "\x15";
    piece.append(reinterpret_cast<const char*>(&score), sizeof score);
    piece += std::string("\x18") + kind;
    model += "\n" + std::string(1, static_cast<char>(piece.size())) + piece;
  };
  add("<unk>", 0, 2);
  add("</s>", 0, 3);
  for (const auto& [text, score] : pieces) add(text, score, 1);
  return model;
}

std::string EqualScores(const std::vector<std::string>& pieces) {
  std::vector<std::pair<std::string, float>> scored;
  for (const std::string& piece : pieces) scored.emplace_back(piece, -8.648274F);
  return ModelOf(scored);
}

// Scores are added in fp32, and of paths of equal score the first one stays: transformers 5.24's tokens.
TEST(SentencePiece, TiesAreBrokenAsTransformersBreaksThem) {
  const std::string space = "\xE2\x96\x81";
  ANEMONE_ASSERT_ASSIGN(const SentencePiece equal, SentencePiece::FromModel(EqualScores({space, "0", "00", "1"})));
  EXPECT_EQ(*equal.Tokenize("00000"), (std::vector<int32_t>{2, 3, 4, 4}));
  EXPECT_EQ(*equal.Tokenize("0000000"), (std::vector<int32_t>{2, 3, 4, 4, 4}));
  // Which sums are equal depends on what is added before: the `<unk>` that transformers encodes text behind, and the
  // space that the model puts before that.
  ANEMONE_ASSERT_ASSIGN(const SentencePiece tokenizer, SentencePiece::FromModel(ModelOf({{space, -1.8264377F},
                                                                                         {"0", -6.999151F},
                                                                                         {"00", -7.98809F},
                                                                                         {space + "<", -5.683696F},
                                                                                         {"un", -6.9444146F},
                                                                                         {"k", -5.9758816F},
                                                                                         {">", -5.1652412F}})));
  EXPECT_EQ(*tokenizer.Tokenize("00000"), (std::vector<int32_t>{2, 4, 3, 4}));
}

// A Σ at the end of a word is ς in Python; Roman numerals and circled letters are cased, marks and points inside words
// are looked through.
TEST(SentencePiece, FinalSigmaIsPythons) {
  const std::string unknown = "\xE2\x96\x81";
  ANEMONE_ASSERT_ASSIGN(const SentencePiece tokenizer,
                        SentencePiece::FromModel(EqualScores({unknown, "\u03c3", "\u03c2"})));
  const std::pair<std::string, bool> cases[] = {
      {"A\u03a3", true},       {"\u2167\u03a3", true},   {"\u24b6\u03a3", true},    {"\U0001F130\u03a3", true},
      {"\u00aa\u03a3", true},  {"\u03a3", false},        {"1\u03a3", false},        {"A\u2018\u03a3", true},
      {"A\uff07\u03a3", true}, {"A\u03a3\u2167", false}, {"A\u03a3\u2027B", false}, {"A\u2010\u03a3", false},
  };
  for (const auto& [text, is_final] : cases) {
    const std::vector<int32_t> ids = *tokenizer.Tokenize(text);
    EXPECT_EQ(std::find(ids.begin(), ids.end(), 4) != ids.end(), is_final) << text;
  }
}

TEST(SentencePiece, CutsToTheContext) {
  ANEMONE_ASSERT_ASSIGN(const SentencePiece tokenizer, SentencePiece::FromModel(ModelOf("siglip")));
  ANEMONE_ASSERT_ASSIGN(const std::vector<int32_t> whole, tokenizer.Encode("a photo of a cat", 64));
  for (size_t context = 1; context <= whole.size(); ++context) {
    ANEMONE_ASSERT_ASSIGN(const std::vector<int32_t> cut, tokenizer.Encode("a photo of a cat", context));
    std::vector<int32_t> expected(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(context - 1));
    expected.push_back(1);
    EXPECT_EQ(cut, expected);
  }
}

TEST(SentencePiece, DamageIsRefused) {
  const std::string model = ModelOf("spaces");
  for (size_t size = 0; size < model.size(); ++size) {  // no crash; a cut between fields may leave a smaller model
    const auto tokenizer = SentencePiece::FromModel(model.substr(0, size));
    if (!tokenizer.ok()) {
      EXPECT_THAT(tokenizer, StatusIs(ErrorKind::kCorrupt, ""));
    }
  }
  for (size_t at = 0; at < model.size(); ++at) {
    for (const char bit : {'\1', '\4', '\x40'}) {
      std::string changed = model;
      changed[at] = static_cast<char>(changed[at] ^ bit);
      const auto tokenizer = SentencePiece::FromModel(changed);
      if (tokenizer.ok()) (void)tokenizer->Encode("a photo, of </s> a cat", 64);
    }
  }
  std::string table = ModelOf("siglip");
  for (size_t at = table.find("\x12\x87\xD3\x0E") + 8; at < table.size(); at += 997) {
    std::string changed = table;
    for (size_t i = at; i < std::min(at + 64, changed.size()); ++i) changed[i] = '\xFF';
    const auto tokenizer = SentencePiece::FromModel(changed);
    if (tokenizer.ok()) (void)tokenizer->Encode("ﬁne naïve １２３ ﷺ text", 64);
  }
  ANEMONE_ASSERT_ASSIGN(const SentencePiece good, SentencePiece::FromModel(model));
  EXPECT_THAT(good.Encode("\xFF", 64), StatusIs(ErrorKind::kInvalidArgument, ""));
  EXPECT_THAT(good.Encode(std::string(65 << 10, 'a'), 64), StatusIs(ErrorKind::kLimitExceeded, "64 KiB"));
}

}  // namespace
}  // namespace anemone
