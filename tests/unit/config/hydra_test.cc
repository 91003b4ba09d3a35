#include "config/hydra.h"

#include "golden.h"

namespace anemone {
namespace {

using testing::Dump;
using testing::GoldenRows;
using testing::IsOk;
using testing::StatusIs;

TEST(OverrideValue, ParsesWhatTheGrammarParses) {
  for (const ConfigNode& row : GoldenRows("value.jsonl")) {
    const std::string text = row.Get("text")->text;
    const Result<ConfigNode> value = ParseOverrideValue(text);
    if (row.Get("error") != nullptr) {
      EXPECT_FALSE(value.ok()) << "'" << text << "': the grammar refuses it (" << row.Get("error")->text
                               << "), we give " << Dump(*value);
    } else {
      ASSERT_THAT(value, IsOk()) << text;
      EXPECT_TRUE(SameConfig(*value, *row.Get("json")))
          << text << "\nhere:  " << Dump(*value) << "\nthere: " << Dump(*row.Get("json"));
    }
  }
}

TEST(OverrideValue, KeepsInterpolationsAsText) {
  EXPECT_EQ(ParseOverrideValue("${model.x}")->text, "${model.x}");
  EXPECT_EQ(ParseOverrideValue("a_${oc.select:b,'c d'}_e")->text, "a_${oc.select:b,'c d'}_e");
  EXPECT_EQ(Dump(*ParseOverrideValue("[${a}, 'x ${b}']")), R"(["${a}", "x ${b}"])");
  EXPECT_EQ(ParseOverrideValue("")->text, "");
  EXPECT_EQ(ParseOverrideValue("  a b ")->text, "a b");
  EXPECT_EQ(ParseOverrideValue("1e-5")->ScalarText(), "1e-5");
}

// [hydra OverrideLexer.g4, QUOTED_VALUE]: to Hydra `${` in quotes is text, and the quotes in it are escaped like
// others.
TEST(OverrideValue, UnescapesQuotesInsideInterpolations) {
  const std::pair<std::string, std::string> cases[] = {
      {R"('${foo:\'b,a,r\'}')", "${foo:'b,a,r'}"},
      {R"('a ${x:\"b\"} c')", R"(a ${x:\"b\"} c)"},
      {R"("${a:\"q\"}")", R"(${a:"q"})"},
      {R"('\\\'x')", R"(\'x)"},
      {R"('\${x}')", R"(\${x})"},
      {R"('\\${x}')", R"(\\${x})"},
  };
  for (const auto& [text, expected] : cases) {
    ANEMONE_ASSERT_ASSIGN(const ConfigNode value, ParseOverrideValue(text));
    EXPECT_EQ(value.text, expected) << text;
  }
  EXPECT_FALSE(ParseOverrideValue("'${foo:'b'}'").ok());
}

TEST(OverrideValue, RefusesSweepsAndFunctions) {
  EXPECT_THAT(ParseOverrideValue("1,2"), StatusIs(ErrorKind::kUnsupported, "found a sweep '1,2'"));
  EXPECT_THAT(ParseOverrideValue("range(1,3)"), StatusIs(ErrorKind::kUnsupported, "found a function 'range(…)'"));
  EXPECT_THAT(ParseOverrideValue("[1"), StatusIs(ErrorKind::kInvalidArgument, "expected ',' or ']', found the end"));
  EXPECT_THAT(ParseOverrideValue("it's"), StatusIs(ErrorKind::kInvalidArgument, "expected a bare word, found ''s'"));
  EXPECT_THAT(ParseOverrideValue(std::string(10000, '[')), StatusIs(ErrorKind::kLimitExceeded, "200 levels"));
}

Status Apply(Config* config, std::string_view text) {
  const Result<Override> parsed = ParseOverride(text);
  return parsed.ok() ? ApplyOverride(*parsed, config) : parsed.status();
}

TEST(Hydra, AppliesOverridesToAConfig) {
  ANEMONE_ASSERT_ASSIGN(
      Config config, Config::ParseYaml("model: {restore_from_path: null, tp: 1, l: [1, 2]}\ntexts: []\n", "conf.yaml"));
  EXPECT_THAT(Apply(&config, "model.restore_from_path=./x.nemo"), IsOk());
  EXPECT_THAT(Apply(&config, R"(texts=["a dog", "a boy", "a girl"])"), IsOk());
  EXPECT_THAT(Apply(&config, "+image_path=./y=z.jpg"), IsOk());
  EXPECT_THAT(Apply(&config, "++model.tp=2"), IsOk());
  EXPECT_THAT(Apply(&config, "model={new: 1, l: [3]}"), IsOk());  // dicts merge, lists replace
  EXPECT_THAT(Apply(&config, "~model.new=1"), IsOk());
  EXPECT_EQ(config.ToYaml(),
            "model:\n  restore_from_path: ./x.nemo\n  tp: 2\n  l:\n  - 3\ntexts:\n- a dog\n- a boy\n- a "
            "girl\nimage_path: ./y=z.jpg\n");
}

TEST(Hydra, SaysWhatItCannotApply) {
  ANEMONE_ASSERT_ASSIGN(Config config, Config::ParseYaml("a: {b: 1}\n", "conf.yaml"));
  EXPECT_THAT(Apply(&config, "a.c=1"), StatusIs(ErrorKind::kNotFound, "add it with +a.c=…"));
  EXPECT_THAT(Apply(&config, "+a.b=1"), StatusIs(ErrorKind::kAlreadyExists, "set it with ++a.b=…"));
  EXPECT_THAT(Apply(&config, "~a.c"), StatusIs(ErrorKind::kNotFound, "expected a key to delete"));
  EXPECT_THAT(Apply(&config, "~a.b=2"), StatusIs(ErrorKind::kNotFound, "expected the value '2' to delete"));
  EXPECT_THAT(Apply(&config, "a.b"), StatusIs(ErrorKind::kInvalidArgument, "expected key=value, found 'a.b'"));
  EXPECT_THAT(Apply(&config, "a b=1"), StatusIs(ErrorKind::kInvalidArgument, "expected a dotted key"));
  EXPECT_THAT(Apply(&config, "db@x=mysql"), StatusIs(ErrorKind::kUnsupported, "config group"));
  EXPECT_THAT(Apply(&config, "a.b=1,2"), StatusIs(ErrorKind::kUnsupported, "sweep"));
}

}  // namespace
}  // namespace anemone
