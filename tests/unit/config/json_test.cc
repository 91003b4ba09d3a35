#include "config/json_stream.h"
#include "golden.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;

TEST(Json, KeepsWhatPythonWrites) {
  const std::string text =
      R"({"model_max_length": 1000000000000000019884624838656, "eps": 1e-05, "big": 1E400, "nan": NaN, "inf": [Infinity, -Infinity],)"
      R"( "s": "a\"\\\n\u0001é😀", "t": true, "n": null, "e": {}, "l": []})";
  ANEMONE_ASSERT_ASSIGN(const Config config, Config::ParseJson(text, "x.json"));
  EXPECT_EQ(config.ToJson(-1), text);
  EXPECT_EQ(config.Find("s")->text, "a\"\\\n\x01é😀");
  EXPECT_EQ(config.Find("model_max_length")->AsInt(), std::nullopt);
  EXPECT_DOUBLE_EQ(*config.Find("model_max_length")->AsDouble(), 1e30);
}

// As Python's json.loads does: the last of two equal keys counts, in the first one's place; half a surrogate pair stays
// alone; a byte order mark is no part of the text.
TEST(Json, ReadsWhatPythonReads) {
  ANEMONE_ASSERT_ASSIGN(const Config twice, Config::ParseJson(R"({"a": 1, "b": 2, "a": {"c": 3}})", "x.json"));
  EXPECT_EQ(twice.ToJson(-1), R"({"a": {"c": 3}, "b": 2})");
  const std::string halves = R"(["\ud800", "\udc00", "a\ud83dz", "\ud83d\ud83d", "\udfff\ud83d"])";
  ANEMONE_ASSERT_ASSIGN(const Config half, Config::ParseJson(halves, "x.json"));
  EXPECT_EQ(half.ToJson(-1), halves);
  // As Python's json.dumps(os.fsdecode(…)).
  Config bytes{ConfigNode::Map()};
  bytes.root()["path"] = ConfigNode::String("d\xFF\x80\xC3\xA9\xED\xA0\x80\xE2\x82");
  EXPECT_EQ(bytes.ToJson(-1), R"({"path": "d\udcff\udc80é\ud800\udce2\udc82"})");
  ANEMONE_ASSERT_ASSIGN(const Config marked, Config::ParseJson("\xEF\xBB\xBF{\"a\": \"\\ud83d\\ude00\"}", "x.json"));
  EXPECT_EQ(marked.Find("a")->text, "\xF0\x9F\x98\x80");
}

TEST(Json, IndentsAsPython) {
  ANEMONE_ASSERT_ASSIGN(const Config config, Config::ParseJson(R"({"a":[1,{"b":"\ud83d\ude00"}],"c":{}})", "x.json"));
  EXPECT_EQ(config.ToJson(), "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"😀\"\n    }\n  ],\n  \"c\": {}\n}");
}

TEST(Json, RefusesBrokenText) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "expected a value, found the end"},
      {"{\"a\":1,\n\"a\":}", "line 2, column 5: expected a value, found '}'"},
      {"{\"a\":1,}", "expected a key, found '}'"},
      {"[1,]", "expected a value, found ']'"},
      {"[1 2]", "expected ',' or ']', found '2'"},
      {"01", "expected the end of the file, found '1'"},
      {"1.", "expected a digit, found the end"},
      {"-", "expected a value, found the end"},
      {"nul", "expected a value, found 'n'"},
      {"\"a", "expected '\"', found the end"},
      {"\"\x01\"", "expected an escaped control character, found byte 1"},
      {"\"\\x\"", "expected an escape, found 'x'"},
      {"\"\\ud800\\u12g4\"", "expected a hexadecimal digit, found 'g'"},
      {"\"\\u12g4\"", "expected a hexadecimal digit, found 'g'"},
      {"\"\xff\"", "expected UTF-8, found other bytes"},
      {"{} {}", "expected the end of the file, found '{'"},
      {"{a:1}", "expected a key, found 'a'"},
      {"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"},
      {"/annex/objects/SHA256E-s3--0.json\n", "a git-annex pointer"},
      {"\n<!DOCTYPE html>\n<html>", "an HTML page"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(Config::ParseJson(text, "x.json"), StatusIs(ErrorKind::kCorrupt, message)) << text;
  }
  EXPECT_THAT(Config::ParseJson(std::string(100000, '['), "x.json"), StatusIs(ErrorKind::kLimitExceeded, "200 levels"));
}

TEST(Json, PieceByPieceIsTheSame) {
  const std::string text = R"({"a": [], "b": [1, {"c": "d\"", "e": {}}, []], "f": {"g": null}, "h": 2.5})";
  std::string made;
  JsonStream json([&](std::string_view piece) { made += piece; });
  json.BeginMap();
  json.Key("a");
  json.BeginList();
  json.End();
  json.Key("b");
  json.BeginList();
  json.Value(ConfigNode::Int(1));
  json.BeginMap();
  json.Add("c", ConfigNode::String("d\""));
  json.Key("e");
  json.BeginMap();
  json.End();
  json.End();
  json.Value(ConfigNode::List());
  json.End();
  ANEMONE_ASSERT_ASSIGN(const Config config, Config::ParseJson(text, "x.json"));
  json.Add("f", *config.Find("f"));
  json.Add("h", ConfigNode::Float(2.5));
  json.End();
  EXPECT_EQ(made, text);
}

// 64 MiB of text may say 32 million values, each of which takes a hundred bytes.
TEST(Json, BoundsTheNumberOfValues) {
  std::string list = "[0";
  for (uint64_t i = 2; i < Config::kMaxValues; ++i) list += ",0";  // and the list itself
  EXPECT_THAT(Config::ParseJson(list + "]", "x.json"), IsOk());
  EXPECT_THAT(Config::ParseJson(list + ",0]", "x.json"), StatusIs(ErrorKind::kLimitExceeded, "at most 500000 values"));
  EXPECT_THAT(Config::ParseJson(list + ",{}]", "x.json", 2 * Config::kMaxValues), IsOk());
}

}  // namespace
}  // namespace anemone
