#include "family/tokenizer/tokenizer_files.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <utility>

#include "container/sentencepiece_model.h"
#include "format/format.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using ::testing::ElementsAre;
using testing::Golden;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

using Files = std::vector<Artifact>;
using Notes = std::vector<std::string>;

Artifact File(const std::string& name, std::string content) {
  return {name, Whole(MemorySource(std::move(content), name))};
}

std::string ContentOf(const Files& files, std::string_view name) {
  for (const Artifact& file : files) {
    if (file.name == name) return *file.content.ReadAll(1 << 20);
  }
  ADD_FAILURE() << "no " << name;
  return {};
}

std::vector<std::string> NamesOf(const Files& files) {
  std::vector<std::string> names;
  names.reserve(files.size());
  for (const Artifact& file : files) names.push_back(file.name);
  std::sort(names.begin(), names.end());
  return names;
}

ConfigNode Yaml(std::string_view text) { return Config::ParseYaml(text, "test")->root(); }

// A SentencePiece model of unk, bos, eos, two words, and the trainer's own words for bos and eos.
std::string Pieces(std::string begin = "<s>", std::string end = "</s>") {
  std::string model;
  const auto message = [](char field, const std::string& body) {
    return std::string{static_cast<char>(field << 3 | 2), static_cast<char>(body.size())} + body;
  };
  for (const auto& [text, type] : {std::pair{std::string("<unk>"), 2}, {begin, 3}, {end, 3}, {"a", 1}, {"b", 1}})
    model += message(1, message(1, text) + std::string{'\x18', static_cast<char>(type)});
  // bos_piece is field 46, eos_piece 47: keys of two bytes.
  const auto piece = [](char low, const std::string& text) {
    return std::string{low, '\x02', static_cast<char>(text.size())} + text;
  };
  return model + message(2, std::string("\x18\x02") + piece('\xF2', begin) + piece('\xFA', end));
}

// What transformers 4.44.2 wrote for the model that families/llama.nemo was made from, read with `legacy=False`.
constexpr std::string_view kLlamaConfig = R"({
  "add_bos_token": true,
  "add_eos_token": false,
  "add_prefix_space": true,
  "added_tokens_decoder": {
    "0": {
      "content": "<unk>",
      "lstrip": false,
      "normalized": false,
      "rstrip": false,
      "single_word": false,
      "special": true
    },
    "1": {
      "content": "<s>",
      "lstrip": false,
      "normalized": false,
      "rstrip": false,
      "single_word": false,
      "special": true
    },
    "2": {
      "content": "</s>",
      "lstrip": false,
      "normalized": false,
      "rstrip": false,
      "single_word": false,
      "special": true
    }
  },
  "bos_token": "<s>",
  "clean_up_tokenization_spaces": false,
  "eos_token": "</s>",
  "legacy": false,
  "model_max_length": 1000000000000000019884624838656,
  "pad_token": null,
  "sp_model_kwargs": {},
  "spaces_between_special_tokens": false,
  "tokenizer_class": "LlamaTokenizer",
  "unk_token": "<unk>",
  "use_default_system_prompt": false
}
)";
constexpr std::string_view kLlamaMap = R"({
  "bos_token": {
    "content": "<s>",
    "lstrip": false,
    "normalized": false,
    "rstrip": false,
    "single_word": false
  },
  "eos_token": {
    "content": "</s>",
    "lstrip": false,
    "normalized": false,
    "rstrip": false,
    "single_word": false
  },
  "unk_token": {
    "content": "<unk>",
    "lstrip": false,
    "normalized": false,
    "rstrip": false,
    "single_word": false
  }
}
)";

TEST(TokenizerFiles, TheBytesThatTransformersWritesForALlama) {
  ANEMONE_ASSERT_ASSIGN(Checkpoint nemo, OpenCheckpoint(Golden("families/llama.nemo")));
  const std::string model = ContentOf(nemo.artifacts, "15c9c5fe6af2484fb526ceadf10255f7_tokenizer.model");
  Notes notes;
  ASSERT_THAT(TokenizerToHuggingFace(nemo.config->Find("tokenizer"), {.architecture = "LlamaForCausalLM"},
                                     &nemo.artifacts, &notes),
              IsOk());
  EXPECT_THAT(NamesOf(nemo.artifacts), ElementsAre("generation_config.json", "special_tokens_map.json",
                                                   "tokenizer.model", "tokenizer_config.json"));
  EXPECT_EQ(ContentOf(nemo.artifacts, "tokenizer_config.json"), kLlamaConfig);
  EXPECT_EQ(ContentOf(nemo.artifacts, "special_tokens_map.json"), kLlamaMap);
  EXPECT_EQ(ContentOf(nemo.artifacts, "tokenizer.model"), model);
  EXPECT_EQ(ContentOf(nemo.artifacts, "generation_config.json"),
            "{\n  \"_from_model_config\": true,\n  \"bos_token_id\": 1,\n  \"eos_token_id\": 2,\n"
            "  \"transformers_version\": \"4.44.2\"\n}\n");
  EXPECT_THAT(notes, IsEmpty());
}

TEST(TokenizerFiles, EachGoldenFamilyHasFilesOrIsToldWhatToGive) {
  const struct {
    const char *family, *architecture, *file, *note;
  } cases[] = {
      {"mistral", "MistralForCausalLM", "tokenizer.model", ""},
      {"mixtral", "MixtralForCausalLM", "tokenizer.model", ""},
      {"gemma", "GemmaForCausalLM", "tokenizer.model", ""},
      {"gemma2", "Gemma2ForCausalLM", "tokenizer.model", ""},
      {"nemotron", "NemotronForCausalLM", "tokenizer.model", ""},
      {"baichuan2", "BaichuanForCausalLM", "tokenizer.model", ""},
      {"chatglm", "ChatGLMModel", "tokenizer.model", "LlamaTokenizer reads its pieces"},
      {"llama31", "LlamaForCausalLM", "", "NeMo loads '/opt/models/golden/llama31/hf' by name"},
      {"qwen2", "Qwen2ForCausalLM", "vocab.json", "without its merges"},
      {"falcon", "FalconForCausalLM", "", "NeMo loads 'tiiuae/falcon-40b' by name"},
      {"starcoder", "GPTBigCodeForCausalLM", "", "NeMo loads 'bigcode/starcoder' by name"},
      {"starcoder2", "Starcoder2ForCausalLM", "tokenizer.model", "NeMo loads 'bigcode/starcoder2-tokenizer' by name"},
  };
  for (const auto& [family, architecture, file, note] : cases) {
    ANEMONE_ASSERT_ASSIGN(Checkpoint nemo, OpenCheckpoint(Golden(std::string("families/") + family + ".nemo")));
    Notes notes;
    ASSERT_THAT(
        TokenizerToHuggingFace(nemo.config->Find("tokenizer"), {.architecture = architecture}, &nemo.artifacts, &notes),
        IsOk())
        << family;
    const std::vector<std::string> names = NamesOf(nemo.artifacts);
    EXPECT_EQ(std::count(names.begin(), names.end(), file), *file == '\0' ? 0 : 1) << family;
    for (const std::string& name : names) EXPECT_EQ(name.find('_', 32), std::string::npos) << family << ": " << name;
    EXPECT_THAT(notes, *note == '\0' ? ::testing::Matcher<Notes>(IsEmpty()) : ElementsAre(HasSubstr(note))) << family;
    for (const std::string& said : notes) EXPECT_THAT(said, HasSubstr("the option tokenizer")) << family;
  }
}

TEST(TokenizerFiles, PiecesAndNemosSpecialTokens) {
  Files files = {File("0123456789abcdef0123456789abcdef_my.model", Pieces("<bos>", "<eos>"))};
  const ConfigNode tokenizer = Yaml(
      "library: sentencepiece\nmodel: nemo:0123456789abcdef0123456789abcdef_my.model\nsentencepiece_legacy: true\n"
      "special_tokens: {pad_token: <pad>, first: <extra>, second: a}\n");
  Notes notes;
  ASSERT_THAT(TokenizerToHuggingFace(&tokenizer, {.architecture = "MistralForCausalLM"}, &files, &notes), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Config config, Config::ParseJson(ContentOf(files, "tokenizer_config.json"), "test"));
  EXPECT_EQ(config.Find("bos_token")->AsString(), "<bos>");
  EXPECT_EQ(config.Find("eos_token")->AsString(), "<eos>");
  EXPECT_EQ(config.Find("pad_token")->AsString(), "<pad>");
  EXPECT_EQ(config.Find("legacy")->AsBool(), true);
  EXPECT_EQ(config.Find("added_tokens_decoder.5.content")->AsString(), "<pad>");
  EXPECT_EQ(config.Find("added_tokens_decoder.6.content")->AsString(), "<extra>");
  EXPECT_EQ(config.Find("added_tokens_decoder.3.content")->AsString(), "a");
  EXPECT_EQ(ContentOf(files, "added_tokens.json"), "{\n  \"<extra>\": 6,\n  \"<pad>\": 5\n}\n");
  ANEMONE_ASSERT_ASSIGN(const SpecialIds ids, SpecialIdsOf(files));
  EXPECT_EQ(ids.begin, 1);
  EXPECT_EQ(ids.end, 2);
  EXPECT_EQ(ids.pad, 5);
}

TEST(TokenizerFiles, ModelsWithoutABeginAddNone) {
  Files files = {File("context/x.model", Pieces())};
  const ConfigNode tokenizer = Yaml("library: sentencepiece\nmodel: x.model\n");
  Notes notes;
  ASSERT_THAT(TokenizerToHuggingFace(&tokenizer, {.architecture = "NemotronForCausalLM"}, &files, &notes), IsOk());
  EXPECT_THAT(ContentOf(files, "tokenizer_config.json"), HasSubstr("\"add_bos_token\": false"));
  EXPECT_THAT(NamesOf(files), ElementsAre("generation_config.json", "special_tokens_map.json", "tokenizer.model",
                                          "tokenizer_config.json"));
}

TEST(TokenizerFiles, DamagedPiecesAreRefused) {
  for (const std::string& bytes : {std::string("no model"), std::string(), Pieces().substr(0, 9)}) {
    Files files = {File("x.model", bytes)};
    const ConfigNode tokenizer = Yaml("library: sentencepiece\nmodel: nemo:x.model\n");
    Notes notes;
    EXPECT_THAT(TokenizerToHuggingFace(&tokenizer, {}, &files, &notes),
                StatusIs(ErrorKind::kCorrupt, "tokenizer.model"));
  }
}

TEST(TokenizerFiles, VocabulariesOfGpt2AndBert) {
  Files gpt2 = {File("v_gpt2-vocab.json", R"({"a": 0, "b": 1, "<|endoftext|>": 2})"),
                File("m_gpt2-merges.txt", "#version: 0.2\na b\n")};
  Notes notes;
  ConfigNode tokenizer = Yaml(
      "library: megatron\ntype: GPT2BPETokenizer\nmodel: null\nvocab_file: nemo:v_gpt2-vocab.json\n"
      "merge_file: nemo:m_gpt2-merges.txt\n");
  ASSERT_THAT(TokenizerToHuggingFace(&tokenizer, {}, &gpt2, &notes), IsOk());
  EXPECT_THAT(NamesOf(gpt2), ElementsAre("generation_config.json", "merges.txt", "special_tokens_map.json",
                                         "tokenizer_config.json", "vocab.json"));
  EXPECT_THAT(ContentOf(gpt2, "tokenizer_config.json"), HasSubstr("GPT2Tokenizer"));
  ANEMONE_ASSERT_ASSIGN(const SpecialIds ids, SpecialIdsOf(gpt2));
  EXPECT_EQ(ids.end, 2);

  Files bert = {File("v_vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nword\n")};
  tokenizer = Yaml("library: megatron\ntype: BertWordPieceCase\nvocab_file: nemo:v_vocab.txt\n");
  ASSERT_THAT(TokenizerToHuggingFace(&tokenizer, {}, &bert, &notes), IsOk());
  EXPECT_THAT(ContentOf(bert, "tokenizer_config.json"), HasSubstr("\"do_lower_case\": false"));
  EXPECT_THAT(notes, IsEmpty());
}

TEST(TokenizerFiles, OfNemo2AreCopied) {
  Files files = {File("context/io.json", "{}"), File("context/nemo_tokenizer/tokenizer.json", "{}"),
                 File("context/nemo_tokenizer/tokenizer.model", Pieces()), File("0123_tokenizer.model", Pieces()),
                 File("context/generation_config.json", "kept")};
  const ConfigNode tokenizer = Yaml("library: sentencepiece\nmodel: nemo:0123_tokenizer.model\n");
  Notes notes;
  ASSERT_THAT(TokenizerToHuggingFace(&tokenizer, {}, &files, &notes), IsOk());
  EXPECT_THAT(NamesOf(files), ElementsAre("0123_tokenizer.model", "context/io.json", "generation_config.json",
                                          "tokenizer.json", "tokenizer.model"));
  EXPECT_EQ(ContentOf(files, "generation_config.json"), "kept");
}

TEST(TokenizerFiles, GivenOnesReplaceTheCheckpoints) {
  const TempDir dir;
  testing::WriteFile(dir / "tokenizer.json", "theirs");
  testing::WriteFile(dir / "README.md", "no tokenizer");
  ANEMONE_ASSERT_ASSIGN(const Files given, OpenTokenizer(dir.path()));
  EXPECT_THAT(NamesOf(given), ElementsAre("tokenizer.json"));
  const std::string stored = "0123456789abcdef0123456789abcdef_tokenizer.model";
  Files files = {File(stored, Pieces()), File("tokenizer/vocab.json", "{}"), File("other.txt", "kept")};
  ConfigNode config = Yaml("tokenizer: {library: sentencepiece, model: 'nemo:" + stored + "'}\n");
  ASSERT_THAT(ReplaceTokenizer(given, &config, &files), IsOk());
  Notes notes;
  ASSERT_THAT(TokenizerToHuggingFace(config.Get("tokenizer"), {}, &files, &notes), IsOk());
  EXPECT_THAT(NamesOf(files), ElementsAre("other.txt", "tokenizer.json"));
  EXPECT_THAT(OpenTokenizer(dir / "none"), StatusIs(ErrorKind::kNotFound, "none"));
  const TempDir empty;
  EXPECT_THAT(OpenTokenizer(empty.path()), StatusIs(ErrorKind::kNotFound, "tokenizer.json"));
}

TEST(TokenizerFiles, AFileAloneReplacesItsLike) {
  const TempDir dir;
  testing::WriteFile(dir / "any.model", Pieces("<b>"));
  ANEMONE_ASSERT_ASSIGN(const Files given, OpenTokenizer(dir / "any.model"));
  // Among Hugging Face's files.
  Files folder = {File("tokenizer.model", "old"), File("tokenizer_config.json", "{}")};
  ASSERT_THAT(ReplaceTokenizer(given, nullptr, &folder), IsOk());
  EXPECT_THAT(NamesOf(folder), ElementsAre("tokenizer.model", "tokenizer_config.json"));
  EXPECT_EQ(ContentOf(folder, "tokenizer.model"), Pieces("<b>"));
  // For a NeMo 1 that knows its tokenizer by name, and for a NeMo 2.
  for (const char* named :
       {"tokenizer: {library: huggingface, type: x}\n", "tokenizer: {_target_: x.AutoTokenizer}\n"}) {
    Files files;
    ConfigNode config = Yaml(named);
    ASSERT_THAT(ReplaceTokenizer(given, &config, &files), IsOk());
    ConfigNode tokenizer = *config.Get("tokenizer");
    if (const ConfigNode* path = config.Get("tokenizer")->Get("model_path")) {  // in NeMo 1's words
      tokenizer["model"] = *path;
      tokenizer["library"] = ConfigNode::String("sentencepiece");
    }
    Notes notes;
    ASSERT_THAT(TokenizerToHuggingFace(&tokenizer, {}, &files, &notes), IsOk());
    EXPECT_THAT(ContentOf(files, "tokenizer_config.json"), HasSubstr("\"bos_token\": \"<b>\""));
    EXPECT_THAT(notes, IsEmpty());
    Files others = {File("merges.txt", "")};
    EXPECT_THAT(ReplaceTokenizer(others, &config, &files), StatusIs(ErrorKind::kUnsupported, "merges.txt alone"));
  }
}

// The files of a Hugging Face folder in NeMo 1 or 2 and back: all of them, with their bytes.
TEST(TokenizerFiles, ThereAndBack) {
  const Files folder = {File("tokenizer.model", Pieces()), File("tokenizer_config.json", "{\"legacy\": true}"),
                        File("special_tokens_map.json", "{}"), File("generation_config.json", "{ }"),
                        File("chat_template.jinja", "{{ messages }}")};
  for (const bool nemo2 : {false, true}) {
    Files files = folder;
    Notes notes;
    std::optional<ConfigNode> tokenizer;
    if (nemo2) {
      tokenizer = TokenizerToNemo2(&files, &notes);
      ASSERT_TRUE(tokenizer.has_value());
      EXPECT_EQ(tokenizer->Get("pretrained_model_name")->AsString(), "nemo_tokenizer");
      EXPECT_THAT(NamesOf(files), ::testing::Contains("context/nemo_tokenizer/tokenizer.model"));
    } else {
      ANEMONE_ASSERT_ASSIGN(tokenizer, TokenizerToNemo1({"LlamaForCausalLM", ""}, &files, &notes));
      EXPECT_THAT(NamesOf(files), ::testing::Contains("tokenizer/tokenizer_config.json"));
      const Artifact* model = FindNemoFile(tokenizer->Get("model"), files);
      ASSERT_NE(model, nullptr);
      EXPECT_THAT(model->name, ::testing::MatchesRegex("[0-9a-f]{32}_tokenizer.model"));
    }
    ASSERT_THAT(TokenizerToHuggingFace(nemo2 ? nullptr : &*tokenizer, {}, &files, &notes), IsOk());
    EXPECT_EQ(NamesOf(files), NamesOf(folder));
    for (const Artifact& file : folder) EXPECT_EQ(ContentOf(files, file.name), ContentOf(folder, file.name));
    EXPECT_THAT(notes, IsEmpty());
  }
  Files none = {File("tokenizer.model", Pieces())};
  Notes none_said;
  EXPECT_EQ(TokenizerToNemo2(&none, &none_said), std::nullopt);
}

// The yaml that NeMo's own converter wrote, for the same files.
TEST(TokenizerFiles, Nemo1sConfigIsItsConverters) {
  const struct {
    const char *family, *architecture, *name;
  } cases[] = {
      {"llama", "LlamaForCausalLM", ""},
      {"llama31", "LlamaForCausalLM", "/opt/models/golden/llama31/hf"},
      {"mistral", "MistralForCausalLM", ""},
      {"mixtral", "MixtralForCausalLM", ""},
      {"qwen2", "Qwen2ForCausalLM", "/opt/models/golden/qwen2/hf"},
      {"gemma", "GemmaForCausalLM", ""},
      {"gemma2", "Gemma2ForCausalLM", ""},
      {"nemotron", "NemotronForCausalLM", ""},
      {"falcon", "FalconForCausalLM", "/opt/models/golden/falcon/hf"},
      {"starcoder", "GPTBigCodeForCausalLM", "folder"},
      {"starcoder2", "Starcoder2ForCausalLM", "folder"},
      {"baichuan2", "BaichuanForCausalLM", ""},
      {"chatglm", "ChatGLMModel", "./folder"},
  };
  for (const auto& [family, architecture, name] : cases) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, OpenCheckpoint(Golden(std::string("families/") + family + ".nemo")));
    // Its artifacts under their names in the folder that they came from.
    Files files;
    for (const Artifact& artifact : nemo.artifacts) {
      if (artifact.name.size() > 33) files.push_back({artifact.name.substr(33), artifact.content});
    }
    Notes notes;
    ANEMONE_ASSERT_ASSIGN(const ConfigNode tokenizer, TokenizerToNemo1({architecture, name}, &files, &notes));
    const ConfigNode& expected = *nemo.config->Find("tokenizer");
    ASSERT_EQ(tokenizer.map.size(), expected.map.size()) << family;
    for (const auto& [key, value] : expected.map) {
      const ConfigNode* found = tokenizer.Get(key);
      ASSERT_NE(found, nullptr) << family << ": " << key;
      const std::string text = value.ScalarText();
      if (text.starts_with("nemo:")) {  // with digits of its own
        ASSERT_NE(FindNemoFile(found, files), nullptr) << family << ": " << key;
        EXPECT_EQ(found->ScalarText().substr(37), text.substr(37)) << family << ": " << key;
      } else {
        EXPECT_EQ(found->ScalarText(), text) << family << ": " << key;
      }
    }
  }
}

TEST(TokenizerFiles, AHubIdReplacesTheNameInNemosScript) {
  Files files;
  Notes notes;
  ANEMONE_ASSERT_ASSIGN(const ConfigNode tokenizer,
                        TokenizerToNemo1({"FalconForCausalLM", "tiiuae/falcon-180B"}, &files, &notes));
  EXPECT_EQ(tokenizer.Get("type")->AsString(), "tiiuae/falcon-180B");
}

// A folder that transformers loads no tokenizer of, either.
TEST(TokenizerFiles, AMissingVocabularyIsSaid) {
  const Files folders[] = {{},
                           {File("tokenizer_config.json", "{}"), File("special_tokens_map.json", "{}")},
                           {File("tokenizer_config.json", "{}"), File("vocab.json", "{\"a\": 0}")}};
  for (const Files& folder : folders) {
    for (const bool nemo2 : {false, true}) {
      if (nemo2 && folder.empty()) continue;  // NeMo 2 has it by name
      Files files = folder;
      Notes notes;
      if (nemo2) {
        EXPECT_TRUE(TokenizerToNemo2(&files, &notes).has_value());
      } else {
        EXPECT_THAT(TokenizerToNemo1({"Qwen2ForCausalLM", "org/name"}, &files, &notes), IsOk());
      }
      EXPECT_THAT(notes, ElementsAre(HasSubstr("tokenizer: the source has no vocabulary"))) << nemo2;
    }
  }
}

TEST(TokenizerFiles, WhatIsNoSentencePieceModelIsKnownByName) {
  Files files = {File("tokenizer.model", "IQ== 0\nIg== 1\n"), File("tokenizer.json", "{}")};  // Llama 3's, tiktoken's
  Notes notes;
  ANEMONE_ASSERT_ASSIGN(const ConfigNode tokenizer,
                        TokenizerToNemo1({"LlamaForCausalLM", "meta-llama/Meta-Llama-3-8B"}, &files, &notes));
  EXPECT_EQ(tokenizer.Get("library")->AsString(), "huggingface");
  EXPECT_EQ(tokenizer.Get("type")->AsString(), "meta-llama/Meta-Llama-3-8B");
  EXPECT_THAT(NamesOf(files), ElementsAre("tokenizer/tokenizer.json", "tokenizer/tokenizer.model"));
}

TEST(TokenizerFiles, TokensThatNemo1DoesNotSeeAreSaid) {
  Files files = {File("tokenizer.model", Pieces()), File("added_tokens.json", R"({"<x>": 5, "<y>": 6})")};
  Notes notes;
  ASSERT_THAT(TokenizerToNemo1({"LlamaForCausalLM", ""}, &files, &notes), IsOk());
  EXPECT_THAT(notes, ElementsAre(HasSubstr("the 5 tokens of tokenizer.model, not the 7 of added_tokens.json")));
}

// transformers begins a text with a space as tokenizer_config.json says; NeMo 1 as the model says.
TEST(TokenizerFiles, TheSpaceBeforeATextIsTheModels) {
  const std::string without = Pieces() + std::string("\x1A\x02\x18\x00", 4);  // normalizer_spec.add_dummy_prefix
  for (const auto& [pieces, adds] : {std::pair{Pieces(), true}, {without, false}}) {
    Files files = {File("context/x.model", pieces)};
    const ConfigNode tokenizer = Yaml("library: sentencepiece\nmodel: x.model\n");
    Notes notes;
    ASSERT_THAT(TokenizerToHuggingFace(&tokenizer, {.architecture = "LlamaForCausalLM"}, &files, &notes), IsOk());
    EXPECT_THAT(ContentOf(files, "tokenizer_config.json"), HasSubstr(fmt::format("\"add_prefix_space\": {}", adds)));
    for (const bool said : {true, false}) {
      Files hf = {File("tokenizer.model", pieces),
                  File("tokenizer_config.json", fmt::format(R"({{"add_prefix_space": {}}})", said))};
      Notes told;
      ASSERT_THAT(TokenizerToNemo1({"LlamaForCausalLM", ""}, &hf, &told), IsOk());
      EXPECT_EQ(told.size(), said == adds ? 0 : 1);
    }
  }
}

}  // namespace
}  // namespace anemone
