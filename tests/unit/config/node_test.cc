#include "golden.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;

TEST(ConfigNode, IsAValueWithTypedScalars) {
  ConfigNode map = ConfigNode::Map();
  map["i"] = ConfigNode::Int(3);
  map["f"] = ConfigNode::Float(1e-5);
  map["s"] = ConfigNode::String("x");
  EXPECT_EQ(map.Get("i")->AsInt(), 3);
  EXPECT_EQ(map.Get("i")->AsDouble(), 3.0);
  EXPECT_EQ(map.Get("f")->AsInt(), std::nullopt);
  EXPECT_EQ(map.Get("f")->ScalarText(), "1.0e-05");
  EXPECT_EQ(map.Get("s")->AsString(), "x");
  EXPECT_EQ(map.Get("nope"), nullptr);
  EXPECT_TRUE(map.Erase("i"));
  EXPECT_FALSE(map.Erase("i"));
}

TEST(ConfigNode, SameConfigLooksAtValues) {
  ANEMONE_ASSERT_ASSIGN(const Config a, Config::ParseYaml("a: 1\nb: [1e-5, yes]\n", "a"));
  ANEMONE_ASSERT_ASSIGN(const Config b, Config::ParseYaml("b: [0.00001, true]\na: 1.0\n", "b"));
  ANEMONE_ASSERT_ASSIGN(const Config c, Config::ParseYaml("b: [0.00001, true]\na: '1'\n", "c"));
  EXPECT_TRUE(SameConfig(a.root(), b.root()));
  EXPECT_FALSE(SameConfig(a.root(), c.root()));
}

TEST(Config, FindsSetsAndUnsetsByPath) {
  ANEMONE_ASSERT_ASSIGN(Config config, Config::ParseYaml("a: {b: [1, {c: 2}]}\nq: null\n'x.y': 5\n", "a"));
  EXPECT_EQ(config.Find("a.b[1].c")->AsInt(), 2);
  EXPECT_EQ(config.Find("a.b.0")->AsInt(), 1);
  EXPECT_EQ(config.Find("[a][b][0]")->AsInt(), 1);
  EXPECT_EQ(config.Find("x\\.y")->AsInt(), 5);
  EXPECT_EQ(config.Find(""), &config.root());
  EXPECT_EQ(config.Find("a.b[2]"), nullptr);
  EXPECT_EQ(config.Find("a.nope.c"), nullptr);
  EXPECT_THAT(config.Set("a.new.deep", ConfigNode::Int(1)), IsOk());
  EXPECT_THAT(config.Set("q.m", ConfigNode::String("s")), IsOk());
  EXPECT_THAT(config.Set("a.b[0]", ConfigNode::Bool(true)), IsOk());
  EXPECT_THAT(config.Set("a.b[2]", ConfigNode::Int(1)),
              StatusIs(ErrorKind::kInvalidArgument, "expected an index inside the list, found '2'"));
  EXPECT_THAT(config.Set("q.m.x", ConfigNode::Int(1)), StatusIs(ErrorKind::kInvalidArgument, "found 's'"));
  EXPECT_THAT(config.Unset("a.b[1]"), IsOk());
  EXPECT_THAT(config.Unset("x\\.y"), IsOk());
  EXPECT_THAT(config.Unset("a.b.5"), StatusIs(ErrorKind::kNotFound, "a.b.5: expected a value, found none"));
  EXPECT_EQ(config.ToYaml(), "a:\n  b:\n  - true\n  new:\n    deep: 1\nq:\n  m: s\n");
}

TEST(Config, ListsWhatOthersWouldRun) {
  ANEMONE_ASSERT_ASSIGN(
      const Config config,
      Config::ParseYaml(
          "_target_: a.B\nm: {target: c.D, l: [{_target_: e}]}\nx: ${oc.env:HOME}\ny: ${x}\nz: a${b.${f:1}}\n", "a"));
  const auto targets = FindTargets(config.root());
  ASSERT_EQ(targets.size(), 3U);
  EXPECT_EQ(targets[2].path, "m.l[0]._target_");
  EXPECT_EQ(targets[2].text, "e");
  const auto resolvers = FindResolvers(config.root());
  ASSERT_EQ(resolvers.size(), 2U);
  EXPECT_EQ(resolvers[0].path, "x");
  EXPECT_EQ(resolvers[1].text, "a${b.${f:1}}");
}

}  // namespace
}  // namespace anemone
