#include "clip/tokenizer.h"

#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "anemone/config.h"
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

// A tokenizer.json with CLIP's own steps and a small vocabulary.
Config SmallTokenizer(const std::string& merges = R"(["l o", "lo w</w>"])") {
  const std::string json = std::string(R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [
          {"id": 0, "content": "<|startoftext|>", "normalized": true},
          {"id": 1, "content": "<|endoftext|>", "normalized": false}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"},
          {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex":
          "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"}, "behavior": "Removed", "invert": true},
          {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]},
        "post_processor": {"type": "RobertaProcessing", "sep": ["<|endoftext|>", 1], "cls": ["<|startoftext|>", 0],
          "trim_offsets": false, "add_prefix_space": false},
        "decoder": null, "model": {"type": "BPE", "dropout": null, "unk_token": "<|endoftext|>",
          "end_of_word_suffix": "</w>", "vocab": {"l": 2, "o": 3, "w</w>": 4, "lo": 5, "low</w>": 6, "w": 7},
          "merges": )") + merges +
                           "}}";
  auto config = Config::ParseJson(json, "tokenizer.json");
  EXPECT_THAT(config, IsOk());
  return *std::move(config);
}

TEST(Tokenizer, ReadsTokenizerJsonWithMergesOfBothKinds) {
  for (const char* merges : {R"(["l o", "lo w</w>"])", R"([["l", "o"], ["lo", "w</w>"]])"}) {
    ANEMONE_ASSERT_ASSIGN(const Tokenizer tokenizer, Tokenizer::FromTokenizerJson(SmallTokenizer(merges).ToJson()));
    ANEMONE_ASSERT_ASSIGN(const auto ids, tokenizer.Tokenize("low LOW wow"));
    EXPECT_THAT(ids, ElementsAre(6, 6, 7, 3, 4));
  }
}

// What transformers 5.24 gives for tokens that were added by add_tokens.
TEST(Tokenizer, CutsAddedTokensOutAsTransformersDoes) {
  const std::string config = R"({"added_tokens_decoder": {
      "49408": {"content": "<Cat-Toy>", "normalized": true}, "49409": {"content": "zqx", "normalized": true},
      "49410": {"content": "zqxy", "normalized": true}, "49411": {"content": "<RAW>", "normalized": false}}})";
  const std::string vocab = ReadAll(Golden("clip/hf/vocab.json")), merges = ReadAll(Golden("clip/hf/merges.txt"));
  ANEMONE_ASSERT_ASSIGN(const Tokenizer tokenizer, Tokenizer::FromVocabAndMerges(vocab, merges, config));
  EXPECT_EQ(tokenizer.vocab_size(), 49412u);
  const std::pair<const char*, std::vector<int32_t>> cases[] = {
      {"a <cat-toy> b", {320, 49408, 321}},
      {"A <CAT-TOY>s", {320, 49408, 338}},
      {"azqxb ZQXY zqxyz", {320, 49409, 321, 49410, 49410, 345}},
      {"<raw> <RAW>", {283, 6323, 285, 49411}},
      {"zqx", {49409}},
      {"a zq x", {320, 89, 336, 343}},
  };
  for (const auto& [text, expected] : cases) {
    ANEMONE_ASSERT_ASSIGN(const auto ids, tokenizer.Tokenize(text));
    EXPECT_EQ(ids, expected) << text;
  }
  // added_tokens.json counts where tokenizer_config.json lists no added tokens.
  const std::string added = R"({"zqx": 49408})";
  ANEMONE_ASSERT_ASSIGN(const Tokenizer old,
                        Tokenizer::FromFiles({.vocab_json = vocab, .merges_txt = merges, .added_tokens_json = added}));
  ANEMONE_ASSERT_ASSIGN(const auto old_ids, old.Tokenize("a zqx"));
  EXPECT_THAT(old_ids, ElementsAre(320, 49408));
  ANEMONE_ASSERT_ASSIGN(const Tokenizer newer,
                        Tokenizer::FromFiles({.vocab_json = vocab,
                                              .merges_txt = merges,
                                              .tokenizer_config_json = R"({"added_tokens_decoder": {}})",
                                              .added_tokens_json = added}));
  ANEMONE_ASSERT_ASSIGN(const auto newer_ids, newer.Tokenize("zqx"));
  EXPECT_THAT(newer_ids, ElementsAre(89, 45038));
}

// What transformers 5.24 gives where an ordinary token pads, as SDXL's "!" does.
TEST(Tokenizer, CutsTokensOfRolesOutAsTransformersDoes) {
  const std::string vocab = ReadAll(Golden("clip/hf/vocab.json")), merges = ReadAll(Golden("clip/hf/merges.txt"));
  const std::vector<int32_t> plain = {320, 3365, 256, 2781, 748}, whole = {320, 3365, 0, 2781, 0, 0};
  struct Case {
    const char *config, *specials;
    const std::vector<int32_t>& expected;
  };
  const Case cases[] = {
      {R"({"pad_token": "<|endoftext|>"})", "{}", plain},
      {R"({"pad_token": "!"})", "{}", whole},
      {R"({"pad_token": {"content": "!", "normalized": true}})", "{}", whole},
      {R"({"pad_token": "<|endoftext|>"})", R"({"pad_token": "!"})", whole},
      {R"({"pad_token": "<|endoftext|>"})", R"({"mask_token": {"content": "!"}})", whole},
      {"{}", R"({"sep_token": "!"})", whole},
      {R"({"sep_token": "!"})", "{}", whole},
      {R"({"cls_token": "!", "added_tokens_decoder": {}})", "{}", whole},
      {R"({"mask_token": {"content": "!"}})", "{}", whole},
      {R"({"cls_token": "<|startoftext|>", "sep_token": "<|endoftext|>", "mask_token": "<mask>"})", "{}", plain},
      {R"({"added_tokens_decoder": {}})", R"({"pad_token": "!"})", plain},
      {R"({"pad_token": "!", "added_tokens_decoder": {"0": {"content": "!", "normalized": false}}})", "{}", whole},
      {R"({"pad_token": "<pad>"})", "{}", plain},
  };
  for (const auto& [config, specials, expected] : cases) {
    ANEMONE_ASSERT_ASSIGN(const Tokenizer tokenizer, Tokenizer::FromFiles({.vocab_json = vocab,
                                                                           .merges_txt = merges,
                                                                           .tokenizer_config_json = config,
                                                                           .special_tokens_map_json = specials}));
    ANEMONE_ASSERT_ASSIGN(const auto ids, tokenizer.Tokenize("a bag! wow!!"));
    EXPECT_EQ(ids, expected) << config << " " << specials;
  }
  EXPECT_THAT(Tokenizer::FromFiles({.vocab_json = vocab,
                                    .merges_txt = merges,
                                    .tokenizer_config_json = R"({"pad_token": {"content": "!", "rstrip": true}})"}),
              StatusIs(ErrorKind::kUnsupported, "rstrip"));
}

TEST(Tokenizer, TokenizerJsonComesFirst) {
  ANEMONE_ASSERT_ASSIGN(const Tokenizer tokenizer,
                        Tokenizer::FromFiles({.tokenizer_json = SmallTokenizer().ToJson(),
                                              .vocab_json = ReadAll(Golden("clip/hf/vocab.json")),
                                              .merges_txt = ReadAll(Golden("clip/hf/merges.txt"))}));
  EXPECT_EQ(tokenizer.vocab_size(), 8u);
}

TEST(Tokenizer, RefusesFieldsThatChangeTokensByName) {
  const std::pair<const char*, const char*> edits[] = {
      {"normalizer", R"({"type": "NFC"})"},
      {"normalizer", "null"},
      {"pre_tokenizer", R"({"type": "ByteLevel", "add_prefix_space": false})"},
      {"post_processor", R"({"type": "ByteLevel"})"},
      {"model.byte_fallback", "true"},
      {"model.ignore_merges", "true"},
      {"model.dropout", "0.1"},
      {"model.continuing_subword_prefix", "\"##\""},
      {"sharpen", "1"},
  };
  for (const auto& [path, value] : edits) {
    Config config = SmallTokenizer();
    ASSERT_THAT(config.Set(path, Config::ParseJson(value, "v")->root()), IsOk());
    EXPECT_THAT(Tokenizer::FromTokenizerJson(config.ToJson()), StatusIs(ErrorKind::kUnsupported, path));
  }
  const SmallVocabulary small;
  const std::pair<const char*, const char*> configs[] = {
      {R"({"tokenizer_class": "BertTokenizer"})", "tokenizer_class"},
      {R"({"eos_token": "</s>"})", "eos_token: expected <|endoftext|>, found </s>"},
      {R"({"bos_token": {"content": "<s>"}})", "bos_token"},
      {R"({"padding_side": "left"})", "padding_side"},
      {R"({"additional_special_tokens": ["<new>"]})", "additional_special_tokens"},
      {R"({"split_special_tokens": true})", "split_special_tokens"},
      {R"({"sharpen": 1})", "sharpen"},
  };
  for (const auto& [config, words] : configs) {
    EXPECT_THAT(Tokenizer::FromVocabAndMerges(small.vocab, small.merges, config),
                StatusIs(ErrorKind::kUnsupported, words));
  }
  EXPECT_THAT(Tokenizer::FromFiles({.vocab_json = small.vocab,
                                    .merges_txt = small.merges,
                                    .special_tokens_map_json = R"({"eos_token": "</s>"})"}),
              StatusIs(ErrorKind::kUnsupported, "special_tokens_map.json: eos_token"));
}

TEST(Tokenizer, ReadsJsonAsPythonWritesIt) {
  const SmallVocabulary small;
  EXPECT_THAT(Tokenizer::FromVocabAndMerges(
                  "\xEF\xBB\xBF" + small.vocab, small.merges,
                  R"({"model_max_length": 1000000000000000019884624838656, "model_max_length": Infinity,
                      "pad_token": "!", "chat_template": "\ud83d"})"),
              IsOk());
}

TEST(Tokenizer, SiglipsFilesSayWhatChangesItsTokens) {
  const std::pair<const char*, const char*> configs[] = {
      {R"({"do_lower_case": false})", "do_lower_case"},
      {R"({"pad_token": "<pad>"})", "pad_token"},
      {R"({"tokenizer_class": "GemmaTokenizerFast"})", "tokenizer_class"},
      {R"({"added_tokens_decoder": {"40": {"content": "<new>"}}})", "<new>"},
      {R"({"added_tokens_decoder": {"7": {"content": "bag"}}})",
       "expected </s> and <unk> of SigLIP's model, found bag"},
      {R"({"sp_model_kwargs": {"enable_sampling": true}})", "sp_model_kwargs"},
  };
  for (const auto& [config, words] : configs) {
    EXPECT_THAT(CheckSiglipTokenizer({.tokenizer_config_json = config}, 40), StatusIs(ErrorKind::kUnsupported, words));
  }
  EXPECT_THAT(CheckSiglipTokenizer({.tokenizer_config_json = R"({"do_lower_case": true, "pad_token": "</s>",
      "additional_special_tokens": ["</s>"], "added_tokens_decoder": {"1": {"content": "</s>", "lstrip": true}}})"},
                                   40),
              IsOk());
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
  EXPECT_THAT(Tokenizer::FromVocabAndMerges(small.vocab + " {}", small.merges),
              StatusIs(ErrorKind::kCorrupt, "vocab.json"));
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
