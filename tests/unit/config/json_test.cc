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

TEST(Json, IndentsAsPython) {
  ANEMONE_ASSERT_ASSIGN(const Config config, Config::ParseJson(R"({"a":[1,{"b":"\ud83d\ude00"}],"c":{}})", "x.json"));
  EXPECT_EQ(config.ToJson(), "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"😀\"\n    }\n  ],\n  \"c\": {}\n}");
}

TEST(Json, RefusesBrokenText) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "expected a value, found the end"},
      {"{\"a\":1,\n\"a\":2}", "line 2, column 4: expected each key once, found 'a' again"},
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
      {"\"\\ud800\"", "expected both halves of a surrogate pair"},
      {"\"\\udc00\"", "expected both halves of a surrogate pair"},
      {"\"\\u12g4\"", "expected a hexadecimal digit, found 'g'"},
      {"\"\xff\"", "expected UTF-8, found other bytes"},
      {"{} {}", "expected the end of the file, found '{'"},
      {"{a:1}", "expected a key, found 'a'"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(Config::ParseJson(text, "x.json"), StatusIs(ErrorKind::kCorrupt, message)) << text;
  }
  EXPECT_THAT(Config::ParseJson(std::string(100000, '['), "x.json"), StatusIs(ErrorKind::kLimitExceeded, "200 levels"));
}

}  // namespace
}  // namespace anemone
