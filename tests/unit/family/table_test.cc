#include "family/table.h"

#include "family/family.h"
#include "synthetic.h"

namespace anemone {
namespace {

using testing::Counting;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::Names;
using testing::StatusIs;

std::vector<float> Floats(const Tensor& tensor) {
  const std::string bytes = *tensor.Read();
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

TEST(PatternTest, CapturesLayerAndPart) {
  const Pattern pattern("a.{i}.{q,k,v}_proj");
  const auto hit = pattern.Match("a.12.k_proj");
  ASSERT_TRUE(hit.has_value());
  EXPECT_EQ(hit->layer, 12u);
  EXPECT_EQ(hit->part, 1u);
  EXPECT_EQ(pattern.Fill(12, 1), "a.12.k_proj");
}

TEST(PatternTest, MatchesExactly) {
  const Pattern pattern("a.{i}.b");
  for (const char* name : {"a..b", "a.01.b", "a.x.b", "a.1.bc", "xa.1.b", "a.1", "a.1234567890.b", ""}) {
    EXPECT_FALSE(pattern.Match(name).has_value()) << name;
  }
  EXPECT_TRUE(pattern.Match("a.0.b").has_value());
}

TEST(PatternTest, AnEmptyWordIsAWord) {
  const Pattern pattern("up{,_2}.weight");
  EXPECT_EQ(pattern.Match("up.weight")->part, 0u);
  EXPECT_EQ(pattern.Match("up_2.weight")->part, 1u);
}

TEST(PatternTest, AnExpertIsAPart) {
  const Pattern pattern("l.{i}.experts.{e}.up");
  const auto hit = pattern.Match("l.3.experts.11.up");
  ASSERT_TRUE(hit.has_value());
  EXPECT_EQ(hit->layer, 3u);
  EXPECT_EQ(hit->part, 11u);
  EXPECT_EQ(pattern.Fill(3, 11), "l.3.experts.11.up");
  ModelSymbols symbols;
  EXPECT_EQ(pattern.num_parts(symbols), 0u);
  symbols.Set("experts", 8);
  EXPECT_EQ(pattern.num_parts(symbols), 8u);
}

TEST(ModelSymbolsTest, EvaluatesProducts) {
  ModelSymbols symbols;
  symbols.Set("text.width", 5);
  EXPECT_EQ(*symbols.Evaluate("3*text.width, text.width"), (Shape{15, 5}));
  EXPECT_EQ(*symbols.Evaluate(""), Shape{});
  EXPECT_THAT(symbols.Evaluate("text.depth"), StatusIs(ErrorKind::kInternal, "text.depth"));
}

TEST(ModelSymbolsTest, HoldsConditions) {
  ModelSymbols symbols;
  symbols.Set("on", 1);
  symbols.Set("off", 0);
  EXPECT_TRUE(symbols.Holds("") && symbols.Holds("on") && symbols.Holds("!off") && symbols.Holds("!absent"));
  EXPECT_TRUE(symbols.Holds("on & !off"));
  EXPECT_FALSE(symbols.Holds("on & off") || symbols.Holds("off & on"));
  EXPECT_FALSE(symbols.Holds("off") || symbols.Holds("!on") || symbols.Holds(kReadOnly));
}

TEST(FamiliesTest, AreExactlyThese) {
  std::vector<std::string> names;
  for (const Family* family : Families()) {
    for (const Dialect& dialect : family->dialects) names.push_back(family->name + "/" + dialect.name);
  }
  EXPECT_THAT(names, ElementsAre("clip/hf", "clip/openclip", "clip/mcore", "clip/legacy", "siglip/hf", "siglip/mcore",
                                 "gpt/mcore", "gpt/legacy", "t5/legacy", "neva/mcore", "neva/legacy"));
}

TEST(FamiliesTest, TablesObeyTheRules) {
  for (const Family* family : Families()) {
    for (const Dialect& dialect : family->dialects) {
      EXPECT_THAT(CheckTable(family->canonical, dialect), IsOk()) << family->name;
    }
  }
}

TEST(CheckTableTest, SeesWhatIsWrong) {
  const std::vector<CanonicalRow> canonical = {{.name = "a"}, {.name = "l.{i}"}};
  const auto check = [&](std::vector<StoredRow> rows) {
    return CheckTable(canonical, {"d", "D", {""}, std::move(rows)});
  };
  const StoredRow a{.name = "A", .canonical = "a"}, l{.name = "L.{i}", .canonical = "l.{i}"};
  EXPECT_THAT(check({a, l}), IsOk());
  EXPECT_THAT(check({a}), StatusIs(ErrorKind::kInternal, "writes l.{i}"));
  EXPECT_THAT(check({a, l, {.name = "{A,B}", .canonical = "a", .op = Op::kStack}}),
              StatusIs(ErrorKind::kInternal, "match it alone"));
  EXPECT_THAT(check({a, l, {.name = "X", .op = Op::kDrop}}), StatusIs(ErrorKind::kInternal, "why"));
  EXPECT_THAT(check({a, {.name = "L", .canonical = "l.{i}"}}), StatusIs(ErrorKind::kInternal, "captures"));
  EXPECT_THAT(check({a, l, {.name = "B", .canonical = "b"}}), StatusIs(ErrorKind::kInternal, "canonical row b"));
}

// One canonical tensor through one op and back.
struct OpCase {
  const char* name;
  StoredRow row;
  std::string canonical_shape;
  std::vector<Shape> stored_shapes;
};

class OpTest : public ::testing::TestWithParam<OpCase> {};

TEST_P(OpTest, IsUndoneByItsInverse) {
  ModelSymbols symbols;
  for (const auto& [key, value] : {std::pair{"heads", 3}, {"vocab", 5}, {"padded_vocab", 8}, {"experts", 3}})
    symbols.Set(key, value);
  const std::vector<CanonicalRow> canonical = {{.name = "x", .shape = GetParam().canonical_shape}};
  const Dialect dialect{"d", "D", {"model."}, {GetParam().row}};
  float next = 1;
  StateDict weights;
  ASSERT_THAT(weights.Add("x", Counting(*symbols.Evaluate(canonical[0].shape), &next)), IsOk());
  ANEMONE_ASSERT_ASSIGN(const StateDict stored, FromCanonical(weights, dialect, canonical, symbols, true, nullptr));
  std::vector<Shape> shapes;
  for (const auto& item : stored.items()) shapes.push_back(item.tensor()->shape());
  EXPECT_EQ(shapes, GetParam().stored_shapes);
  ANEMONE_ASSERT_ASSIGN(const StateDict back, Canonicalize(stored, dialect, canonical, symbols, true, nullptr));
  testing::ExpectSameTensors(back, weights);
}

INSTANTIATE_TEST_SUITE_P(
    All, OpTest,
    ::testing::Values(
        OpCase{"Same", {.name = "X", .canonical = "x"}, "2, 3", {{2, 3}}},
        OpCase{"Transpose", {.name = "X", .canonical = "x", .op = Op::kTranspose}, "2, 3", {{3, 2}}},
        OpCase{"Reshape", {.name = "X", .canonical = "x", .op = Op::kReshape, .shape = "1, 1, 4"}, "4", {{1, 1, 4}}},
        OpCase{"Stack", {.name = "{q,k,v}", .canonical = "x", .op = Op::kStack}, "6, 2", {{2, 2}, {2, 2}, {2, 2}}},
        OpCase{"Interleave", {.name = "X", .canonical = "x", .op = Op::kInterleave}, "18, 2", {{18, 2}}},
        OpCase{"InterleaveBias", {.name = "X", .canonical = "x", .op = Op::kInterleave}, "18", {{18}}},
        OpCase{"QueryKeyValue",
               {.name = "{q,kv}", .canonical = "x", .op = Op::kQueryKeyValue},
               "18, 2",
               {{6, 2}, {12, 2}}},
        OpCase{"Experts", {.name = "{e}", .canonical = "x", .op = Op::kStack}, "6, 4", {{2, 4}, {2, 4}, {2, 4}}},
        OpCase{"SideBySide", {.name = "X", .canonical = "x", .op = Op::kSideBySide, .shape = "4, 6"}, "6, 4", {{4, 6}}},
        OpCase{"PadVocab", {.name = "X", .canonical = "x", .op = Op::kPadVocab}, "vocab, 2", {{8, 2}}},
        OpCase{"PatchLinear", {.name = "X", .canonical = "x", .op = Op::kPatchLinear}, "2, 3, 4, 4", {{2, 48}}}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(OpTest, InterleavesHeadByHead) {
  // Two heads of one row each: q0 q1 k0 k1 v0 v1 → q0 k0 v0 q1 k1 v1.
  ModelSymbols symbols;
  symbols.Set("heads", 2);
  const std::vector<CanonicalRow> canonical = {{.name = "x", .shape = "6"}};
  const Dialect dialect{"d", "D", {""}, {{.name = "X", .canonical = "x", .op = Op::kInterleave}}};
  float next = 0;
  StateDict weights;
  ASSERT_THAT(weights.Add("x", Counting({6}, &next)), IsOk());
  ANEMONE_ASSERT_ASSIGN(const StateDict stored, FromCanonical(weights, dialect, canonical, symbols, true, nullptr));
  EXPECT_THAT(Floats(*stored.Find("X")->tensor()), ElementsAre(0, 2, 4, 1, 3, 5));
}

TEST(OpTest, TransposesEachExpert) {
  // Two experts of two rows and three columns become three rows and two columns each.
  ModelSymbols symbols;
  symbols.Set("experts", 2);
  const std::vector<CanonicalRow> canonical = {{.name = "x", .shape = "4, 3"}};
  const Dialect dialect{"d", "D", {""}, {{.name = "X", .canonical = "x", .op = Op::kSideBySide, .shape = "3, 4"}}};
  float next = 0;
  StateDict weights;
  ASSERT_THAT(weights.Add("x", Counting({4, 3}, &next)), IsOk());
  ANEMONE_ASSERT_ASSIGN(const StateDict stored, FromCanonical(weights, dialect, canonical, symbols, true, nullptr));
  EXPECT_THAT(Floats(*stored.Find("X")->tensor()), ElementsAre(0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11));
}

TEST(OpTest, InterleavesQueryGroups) {
  // Four heads in two groups, one row each: q0 q1 k0 v0, q2 q3 k1 v1.
  ModelSymbols symbols;
  symbols.Set("heads", 4);
  symbols.Set("groups", 2);
  const std::vector<CanonicalRow> canonical = {{.name = "x", .shape = "8"}};
  const Dialect dialect{"d", "D", {""}, {{.name = "X", .canonical = "x", .op = Op::kInterleave}}};
  float next = 0;
  StateDict weights;
  ASSERT_THAT(weights.Add("x", Counting({8}, &next)), IsOk());
  ANEMONE_ASSERT_ASSIGN(const StateDict stored, FromCanonical(weights, dialect, canonical, symbols, true, nullptr));
  EXPECT_THAT(Floats(*stored.Find("X")->tensor()), ElementsAre(0, 1, 4, 6, 2, 3, 5, 7));
}

TEST(CanonicalizeTest, NamesEverythingMissingAndUnexpectedAtOnce) {
  ModelSymbols symbols;
  const std::vector<CanonicalRow> canonical = {{.name = "one"}, {.name = "two"}};
  const Dialect dialect{
      "d", "D", {""}, {{.name = "encoder.first.weight", .canonical = "one"}, {.name = "second", .canonical = "two"}}};
  float next = 0;
  StateDict weights;
  ASSERT_THAT(weights.Add("encoder.fisrt.weight", Counting({}, &next)), IsOk());
  const auto result = Canonicalize(weights, dialect, canonical, symbols, true, nullptr);
  EXPECT_THAT(result, StatusIs(ErrorKind::kCorrupt,
                               "2 missing tensors: encoder.first.weight (nearest: encoder.fisrt.weight), second; "
                               "1 unexpected tensor: encoder.fisrt.weight (nearest missing: encoder.first.weight)"));
  std::vector<std::string> notes;
  EXPECT_THAT(Canonicalize(weights, dialect, canonical, symbols, false, &notes), IsOk());
  EXPECT_THAT(notes, ElementsAre(HasSubstr("2 missing tensors")));
}

TEST(CanonicalizeTest, ChecksShapesAgainstTheConfig) {
  ModelSymbols symbols;
  symbols.Set("width", 4);
  const std::vector<CanonicalRow> canonical = {{.name = "one", .shape = "width"}};
  const Dialect dialect{"d", "D", {""}, {{.name = "first", .canonical = "one"}}};
  float next = 0;
  StateDict weights;
  ASSERT_THAT(weights.Add("first", Counting({5}, &next)), IsOk());
  EXPECT_THAT(Canonicalize(weights, dialect, canonical, symbols, true, nullptr),
              StatusIs(ErrorKind::kCorrupt, "first: expected shape [4] by the config, found [5]"));
}

TEST(DescribeNamesTest, CapsLongLists) {
  std::vector<std::string> missing;
  for (int i = 0; i < 100; ++i) missing.push_back("layer" + std::to_string(i));
  EXPECT_THAT(DescribeNames(missing, {}), HasSubstr("100 missing tensors: layer0, layer1, layer10"));
  EXPECT_THAT(DescribeNames(missing, {}), HasSubstr("and 92 more"));
}

}  // namespace
}  // namespace anemone
