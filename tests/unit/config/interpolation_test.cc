#include "golden.h"

namespace anemone {
namespace {

using testing::Dump;
using testing::GoldenRows;
using testing::IsOk;
using testing::StatusIs;

Config Yaml(std::string_view text) {
  Result<Config> config = Config::ParseYaml(text, "test.yaml");
  EXPECT_THAT(config, IsOk());
  return *std::move(config);
}

TEST(Interpolation, ResolvesWhatOmegaConfResolves) {
  const std::vector<ConfigNode> rows = GoldenRows("resolve.jsonl");
  const Config config = Yaml(rows[0].Get("yaml")->text);
  for (size_t i = 1; i < rows.size(); ++i) {
    const std::string path = rows[i].Get("path")->text;
    const Result<ConfigNode> value = config.Resolve(path);
    if (rows[i].Get("error") != nullptr) {
      EXPECT_FALSE(value.ok()) << path << ": OmegaConf refuses (" << rows[i].Get("error")->text << "), we give "
                               << Dump(*value);
    } else {
      ASSERT_THAT(value, IsOk()) << path;
      EXPECT_TRUE(SameConfig(*value, *rows[i].Get("json")))
          << path << "\nhere:  " << Dump(*value) << "\nthere: " << Dump(*rows[i].Get("json"));
    }
  }
}

TEST(Interpolation, NeverReadsTheMachine) {
  const Config config = Yaml("a: ${oc.env:HOME}\nb: ${oc.env:HOME,/x}\nc: {d: '${.e}', e: '${divide:1,2}'}\n");
  EXPECT_THAT(config.Resolve("a"),
              StatusIs(ErrorKind::kUnsupported,
                       "a: expected a config that does not depend on the machine, found '${oc.env:HOME}'"));
  EXPECT_THAT(config.Resolve("b"), StatusIs(ErrorKind::kUnsupported, "oc.env:HOME"));
  EXPECT_THAT(config.Resolve("c"), StatusIs(ErrorKind::kUnsupported, "found 'divide'"));
}

TEST(Interpolation, SaysWhatIsWrong) {
  const Config config = Yaml(
      "cycle: {a: '${cycle.b}', b: '${cycle.a}'}\nself: {x: '${self}'}\nm: ???\nto_m: ${m}\nno: ${nope.x}\nup: "
      "${...x}\n"
      "open: '${a'\nempty: ${}\nsplice: x${cycle2}\ncycle2: [1]\ntext: ${multiply:a,2}\nbig: "
      "${multiply:9223372036854775807,2}\nargs: ${sum:1}\n");
  EXPECT_THAT(config.Resolve("cycle.a"), StatusIs(ErrorKind::kCorrupt, "without a cycle"));
  EXPECT_THAT(config.Resolve("self"), StatusIs(ErrorKind::kCorrupt, "without a cycle, found one through 'self'"));
  EXPECT_THAT(config.Resolve("to_m"), StatusIs(ErrorKind::kNotFound, "expected a value for 'm', found ??? (missing)"));
  EXPECT_THAT(config.Resolve("no"),
              StatusIs(ErrorKind::kNotFound, "no: expected the key 'nope.x' of an interpolation, found none"));
  EXPECT_THAT(config.Resolve("up"), StatusIs(ErrorKind::kNotFound, "above its root"));
  EXPECT_THAT(config.Resolve("absent"), StatusIs(ErrorKind::kNotFound, "expected the key 'absent'"));
  EXPECT_THAT(config.Resolve("open"), StatusIs(ErrorKind::kCorrupt, "open: expected '}' to close the interpolation"));
  EXPECT_THAT(config.Resolve("empty"), StatusIs(ErrorKind::kCorrupt, "found '${}'"));
  EXPECT_THAT(config.Resolve("splice"), StatusIs(ErrorKind::kCorrupt, "expected a scalar inside text"));
  EXPECT_THAT(config.Resolve("text"), StatusIs(ErrorKind::kCorrupt, "expected two numbers"));
  EXPECT_THAT(config.Resolve("big"), StatusIs(ErrorKind::kLimitExceeded, "64-bit"));
  EXPECT_THAT(config.Resolve("args"), StatusIs(ErrorKind::kCorrupt, "expected 2 arguments of sum, found 1"));
  EXPECT_EQ(config.Find("to_m")->text, "${m}");  // loading and writing never resolve
}

TEST(Interpolation, BoundsWhatItCanCost) {
  std::string doubling = "k0: xxxxxxxxxxxxxxxx\n";
  for (int i = 1; i < 40; ++i) {
    const std::string below = "${k" + std::to_string(i - 1) + "}";
    doubling += "k" + std::to_string(i) + ": " + below + below + "\n";
  }
  EXPECT_THAT(Yaml(doubling).Resolve("k39"), StatusIs(ErrorKind::kLimitExceeded, "expand to at most"));
  std::string chain = "k0: 1\n";
  for (int i = 1; i < 1000; ++i) chain += "k" + std::to_string(i) + ": ${k" + std::to_string(i - 1) + "}\n";
  EXPECT_THAT(Yaml(chain).Resolve("k999"), StatusIs(ErrorKind::kLimitExceeded, "200 deep"));
  std::string nested;
  for (int i = 0; i < 5000; ++i) nested += "${";
  EXPECT_THAT(Yaml("a: '" + nested + "'\n").Resolve("a"), StatusIs(ErrorKind::kLimitExceeded, "200 levels"));
}

TEST(Interpolation, ResolvesTheChildrenThatItCan) {
  const Config config = Yaml("model: {a: '${b}', x.y: 1, gone: '${trainer.lr}', vision: {w: '${nowhere}'}}\nb: 2\n");
  const auto all = [](std::string_view) { return true; };
  ANEMONE_ASSERT_ASSIGN(const ConfigNode model, config.ResolveChildren("model", all));
  EXPECT_EQ(model.Get("a")->AsInt(), 2);
  EXPECT_EQ(model.Get("x.y")->AsInt(), 1);
  EXPECT_EQ(model.Get("gone")->text, "${trainer.lr}");
  EXPECT_THAT(config.ResolveChildren("model", [](std::string_view key) { return key != "vision"; }),
              StatusIs(ErrorKind::kNotFound, "nowhere"));
  EXPECT_THAT(config.ResolveChildren("none", all), StatusIs(ErrorKind::kNotFound, "none"));
}

// Every child may be small, and all of them together be too much.
TEST(Interpolation, BoundsWhatAllChildrenExpandTo) {
  std::string text = "z: [0";
  for (int i = 1; i < 1000; ++i) text += ", 0";
  text += "]\n";
  for (int i = 0; i < 2000; ++i) text += "k" + std::to_string(i) + ": ${z}\n";
  const Config config = Yaml(text);
  EXPECT_THAT(config.ResolveChildren("", [](std::string_view) { return false; }),
              StatusIs(ErrorKind::kLimitExceeded, "expand to at most 500000 values"));
  ANEMONE_ASSERT_ASSIGN(const ConfigNode some, config.ResolveChildren("", [](std::string_view) { return true; }));
  EXPECT_TRUE(some.Get("k1")->is_list());
  EXPECT_EQ(some.Get("k1999")->text, "${z}");
}

}  // namespace
}  // namespace anemone
