#include <filesystem>

#include "anemone/bytes.h"
#include "container/tar.h"
#include "golden.h"

namespace anemone {
namespace {

using testing::Dump;
using testing::Golden;
using testing::GoldenRows;
using testing::IsOk;
using testing::ReadText;
using testing::StatusIs;
using testing::WithoutSpelling;

// Where we differ on purpose. A lone `=` or `<<` is no more than a string; a root that is a scalar is no config; the
// rare collection types are refused.
bool DiffersOnPurpose(const std::string& text) {
  return text == "k: =\n" || text == "a: =\n" || text == "k: <<\n" || text == "a: <<\n" || text == "a:b\n" ||
         text == "a: !!omap [x: 1]\n" || text == "just a scalar" || text == "12";
}

TEST(Yaml, ReadsWhatOmegaConfReads) {
  for (const ConfigNode& row : GoldenRows("yaml.jsonl")) {
    const std::string text = row.Get("yaml")->text;
    if (DiffersOnPurpose(text)) continue;
    const Result<Config> config = Config::ParseYaml(text, "case.yaml");
    if (row.Get("error") != nullptr) {
      EXPECT_FALSE(config.ok()) << "OmegaConf refuses (" << row.Get("error")->text << ") and we read "
                                << Dump(config->root()) << " from\n"
                                << text;
      continue;
    }
    ASSERT_THAT(config, IsOk()) << text;
    EXPECT_TRUE(SameConfig(config->root(), *row.Get("json")))
        << text << "\nhere:  " << Dump(config->root()) << "\nthere: " << Dump(*row.Get("json"));
  }
}

TEST(Yaml, WritesWhatOmegaConfWrites) {
  for (const ConfigNode& row : GoldenRows("write.jsonl")) {
    const std::string text = Config(WithoutSpelling(*row.Get("json"))).ToYaml();
    EXPECT_EQ(text, row.Get("yaml")->text);
    ANEMONE_ASSERT_ASSIGN(const Config again, Config::ParseYaml(text, "again.yaml"));
    EXPECT_TRUE(SameConfig(again.root(), *row.Get("json"))) << text << Dump(again.root());
  }
}

// 4,000 generated values with every kind of character, quote, fold and key [tools/yaml_property.py].
TEST(Yaml, GeneratedValuesComeBack) {
  for (const ConfigNode& row : testing::RowsOf(Golden("config/omegaconf.jsonl"))) {
    const ConfigNode& value = *row.Get("json");
    ANEMONE_ASSERT_ASSIGN(const Config read, Config::ParseYaml(row.Get("yaml")->text, "omegaconf.yaml"));
    EXPECT_TRUE(SameConfig(read.root(), value)) << row.Get("yaml")->text << Dump(read.root()) << Dump(value);
    const std::string text = Config(WithoutSpelling(value)).ToYaml();
    ANEMONE_ASSERT_ASSIGN(const Config again, Config::ParseYaml(text, "again.yaml"));
    EXPECT_TRUE(SameConfig(again.root(), value)) << text << Dump(again.root());
  }
}

TEST(Yaml, ReproducesEveryFileThatNeMoWrote) {
  const std::string files[] = {"clip/ckpt_mcore/hparams.yaml",
                               "clip/ckpt_mcore_bf16_O2/hparams.yaml",
                               "clip/ckpt_mcore_tp2/hparams.yaml",
                               "dist/torch_dist_small/nemo_extracted/model_config.yaml",
                               "dist/zarr_small/nemo_extracted/model_config.yaml",
                               "gpt_fused_adam_dist/hparams.yaml",
                               "gpt_mcore_dist_optim/hparams.yaml",
                               "gpt_vp/hparams.yaml"};
  for (const std::string& file : files) {
    const std::string text = ReadText(Golden(file));
    ANEMONE_ASSERT_ASSIGN(const Config config, Config::ParseYaml(text, file));
    EXPECT_EQ(config.ToYaml(), text) << file;
  }
}

TEST(Yaml, ReproducesTheConfigOfEveryArchiveThatNeMoWrote) {
  size_t archives = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Golden(""))) {
    if (entry.path().extension() != ".nemo") continue;
    ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr file, OpenFile(entry.path().string()));
    ANEMONE_ASSERT_ASSIGN(const std::vector<TarMember> members, ReadTar({file, 0, file->size_bytes()}));
    for (const TarMember& member : members) {
      if (member.name != "model_config.yaml") continue;
      ANEMONE_ASSERT_ASSIGN(const std::string text, member.content.ReadAll(1 << 20));
      ANEMONE_ASSERT_ASSIGN(const Config config, Config::ParseYaml(text, entry.path().string()));
      EXPECT_EQ(config.ToYaml(), text) << entry.path();
      ++archives;
    }
  }
  EXPECT_GE(archives, 20U);
}

TEST(Yaml, KeepsTheTextOfNumbersAndBooleans) {
  const std::string text = "a: 1e-5\nb: yes\nc: 010\nd: 0x1F\ne: 1_000\nf: .5\ng: 'yes'\n0: x\ntrue: q\n'1': z\n";
  ANEMONE_ASSERT_ASSIGN(Config config, Config::ParseYaml(text, "a.yaml"));
  EXPECT_EQ(config.ToYaml(), text);
  EXPECT_EQ(config.Find("c")->AsInt(), 8);
  config.root()["c"].integer = 9;  // a changed value drops the old text
  EXPECT_THAT(config.ToYaml(), ::testing::HasSubstr("c: 9\n"));
}

TEST(Yaml, KeepsEveryCharacterOfAString) {
  const std::string texts[] = {"a\n\n",
                               "\n\n\n",
                               "a\n\n\nb\n\n",
                               " \n ",
                               "a\xE2\x80\xA8"
                               "b",
                               "\xE2\x80\xA9",
                               "\xC2\x85",
                               "a\r",
                               "\r\n",
                               "\xC2\xA0",
                               "\xF0\x9F\x98\x80 \xEF\xBB\xBF",
                               "'\n'",
                               "\"\n\\",
                               std::string("\0", 1),
                               "\x7F\x1B"};
  for (const std::string& text : texts) {
    ConfigNode node = ConfigNode::Map();
    node["x"] = ConfigNode::List({ConfigNode::String(text), ConfigNode::String("last")});
    node[text] = ConfigNode::String("a key");
    const std::string yaml = Config(node).ToYaml();
    ANEMONE_ASSERT_ASSIGN(const Config again, Config::ParseYaml(yaml, "again.yaml"));
    EXPECT_TRUE(SameConfig(again.root(), node)) << yaml << Dump(again.root());
  }
}

// OmegaConf reads a file that an editor of Windows saved.
TEST(Yaml, LeavesOutAByteOrderMark) {
  ANEMONE_ASSERT_ASSIGN(const Config config, Config::ParseYaml("\xEF\xBB\xBF"
                                                               "a: 1\nb: \xEF\xBB\xBFx\n",
                                                               "x.yaml"));
  EXPECT_EQ(config.Find("a")->AsInt(), 1);
  EXPECT_EQ(config.Find("b")->AsString(), "\xEF\xBB\xBFx");
}

// Line breaks of YAML 1.1, as OmegaConf writes and reads them.
TEST(Yaml, ReadsForeignLineBreaks) {
  const std::pair<std::string, std::string> cases[] = {
      {"x: 'a\n\n\n  '\n", "a\n\n"},
      {"x: 'a\xE2\x80\xA8  b'\n",
       "a\xE2\x80\xA8"
       "b"},
      {"x: \"a\xE2\x80\xA9"
       "b\"\n",
       "a\xE2\x80\xA9"
       "b"},
      {"x: a\rb: 2\r", "a"},
      {"x: \"\\N\\_\\L\\P\"\n", "\xC2\x85\xC2\xA0\xE2\x80\xA8\xE2\x80\xA9"},
  };
  for (const auto& [yaml, text] : cases) {
    ANEMONE_ASSERT_ASSIGN(const Config config, Config::ParseYaml(yaml, "x.yaml"));
    EXPECT_EQ(config.Find("x")->AsString(), text) << yaml;
  }
}

TEST(Yaml, SaysWhereAndWhat) {
  const std::pair<std::string, std::string> cases[] = {
      {"a: 1\nb: 2\na: 3\n", "x.yaml: line 3, column 1: expected each key once, found 'a' again (first in line 1)"},
      {"a: !!python/object/apply:os.system ['echo']\n",
       "expected plain data, found the tag 'tag:yaml.org,2002:python/object/apply:os.system'"},
      {"a: 1\n---\nb: 2\n", "expected one document, found two"},
      {"a: \"x\n", "found unexpected end of stream while scanning a quoted scalar of line 1, column 4"},
      {"a: &x 'x\n", "found unexpected end of stream while scanning a quoted scalar"},
      {"a: *x\n", "line 1, column 4: expected an anchor 'x' before its alias, found none"},
      {"a: &x [*x]\n", "found one inside its own value"},
      {"a: 0x_\n", "expected the digits of an integer, found '0x_'"},
      {"a: !!int x\n", "expected a value of the type !!int, found 'x'"},
      {"a: {<<: 1}\n", "expected a map or a list of maps to merge"},
      {"? [a]\n: b\n", "expected a scalar as key"},
      {"~: b\n", "expected a key, found null"},
      {std::string("a: 1\nb: \0\n", 10), "line 2: expected text, found a control character of value 0"},
      {"a: \xff\n", "expected UTF-8, found other bytes"},
      {"a: \xed\xa0\x80\n", "expected UTF-8, found other bytes"},
      {"text\n", "expected a map or a list, found a scalar"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(Config::ParseYaml(text, "x.yaml"), StatusIs(ErrorKind::kCorrupt, message)) << text;
  }
}

TEST(Yaml, BoundsWhatAFileCanCost) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string below = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + below;
    for (int k = 0; k < 9; ++k) bomb += ", " + below;
    bomb += "]\n";
  }
  EXPECT_THAT(Config::ParseYaml(bomb, "bomb"), StatusIs(ErrorKind::kLimitExceeded, "500000 values"));
  std::string text_bomb = "a: &a " + std::string(1 << 20, 'x') + "\nb: [*a";
  for (int k = 0; k < 100; ++k) text_bomb += ", *a";
  EXPECT_THAT(Config::ParseYaml(text_bomb + "]\n", "bomb"), StatusIs(ErrorKind::kLimitExceeded, "64 MiB"));
  EXPECT_THAT(Config::ParseYaml(std::string(100000, '['), "deep"), StatusIs(ErrorKind::kLimitExceeded, "200 levels"));
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  EXPECT_THAT(Config::ParseYaml(deep, "deep"), StatusIs(ErrorKind::kLimitExceeded, "200 levels"));
  // Each level is shallow, but aliases stack them.
  std::string stacked = "a0: &a0 1\n";
  for (int i = 1; i < 300; ++i)
    stacked += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) + "]\n";
  EXPECT_THAT(Config::ParseYaml(stacked, "stacked"), StatusIs(ErrorKind::kLimitExceeded, "200 levels"));
  EXPECT_THAT(Config::ParseYaml(std::string((16 << 20) + 1, ' '), "big"),
              StatusIs(ErrorKind::kLimitExceeded, "16 MiB"));
}

}  // namespace
}  // namespace anemone
