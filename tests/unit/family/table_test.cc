#include "schema/table.h"

#include <functional>

#include "family/clip/clip_transforms.h"
#include "family/family.h"
#include "family/megatron/megatron_transforms.h"
#include "schema/check.h"
#include "synthetic.h"

namespace anemone {
namespace {

using testing::Counting;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::Names;
using testing::Sizes;
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

TEST(PatternTest, WhateverIsLeftIsNotNothing) {
  const Pattern pattern("a.{i}.{*}");
  EXPECT_EQ(pattern.Match("a.3.b.c")->layer, 3u);
  EXPECT_FALSE(pattern.Match("a.3.").has_value());
  EXPECT_FALSE(pattern.Match("a.b.c").has_value());
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
  EXPECT_EQ(pattern.num_parts(0), 0u);
  EXPECT_EQ(pattern.num_parts(8), 8u);
}

TEST(PatternTest, AWordOfAnExpertIsAPartExpertAfterExpert) {
  const Pattern pattern("l.{i}.experts.{e}.{w1,w3}.weight");
  EXPECT_EQ(pattern.num_parts(8), 16u);
  EXPECT_EQ(pattern.Fill(3, 5), "l.3.experts.2.w3.weight");
  const auto hit = pattern.Match("l.3.experts.2.w3.weight");
  ASSERT_TRUE(hit.has_value());
  EXPECT_EQ(hit->layer, 3u);
  EXPECT_EQ(hit->part, 5u);
  EXPECT_FALSE(pattern.Match("l.3.experts.2.w2.weight").has_value());
}

TEST(ModelSymbolsTest, EvaluatesSumsAndProducts) {
  const ModelSymbols symbols = Sizes({{"text.width", 5}, {"heads", 4}, {"groups", 2}, {"head_dim", 16}});
  EXPECT_EQ(*symbols.Evaluate("3*text.width, text.width"), (Shape{15, 5}));
  EXPECT_EQ(*symbols.Evaluate("(heads+2*groups)*head_dim"), (Shape{128}));
  EXPECT_EQ(*symbols.Evaluate(""), Shape{});
  EXPECT_THAT(symbols.Evaluate("text.depth"), StatusIs(ErrorKind::kInternal, "text.depth"));
  for (const char* malformed : {"3*", "(heads", "heads)", "heads groups", "2x", "-1"})
    EXPECT_THAT(symbols.Evaluate(malformed), StatusIs(ErrorKind::kInternal, "")) << malformed;
}

TEST(ModelSymbolsTest, SizesBeyond64BitsAreErrors) {
  const ModelSymbols symbols = Sizes({{"width", uint64_t{1} << 63}});
  for (const char* expression : {"4*width", "width+width", "(width+2*width)*3", "width*width"})
    EXPECT_THAT(symbols.Compute(expression), StatusIs(ErrorKind::kCorrupt, "below 2^64")) << expression;
}

TEST(ModelSymbolsTest, HoldsConditions) {
  const ModelSymbols symbols = Sizes({{"on", 1}, {"off", 0}});
  for (const char* condition : {"", "on", "!off", "on & !off"}) EXPECT_TRUE(*symbols.Holds(condition)) << condition;
  for (const char* condition : {"on & off", "off & on", "off", "!on"})
    EXPECT_FALSE(*symbols.Holds(condition)) << condition;
  EXPECT_FALSE(*symbols.Holds(kReadOnly));
}

TEST(ModelSymbolsTest, WhatIsNotDeclaredOrNotSetIsAnError) {
  ModelSymbols symbols({Symbol::Flag("glu", "the MLP is gated"), Symbol::Size("width", "of a vector")});
  symbols.Set("width", 4);
  for (const char* condition : {"absent", "!absent", "width & absent", "!width & absent", "glu", "!glu"})
    EXPECT_THAT(symbols.Holds(condition), StatusIs(ErrorKind::kInternal, "")) << condition;
  EXPECT_THAT(symbols.Find("", "glu"), StatusIs(ErrorKind::kInternal, "glu"));
  EXPECT_EQ(*symbols.Find("", "absent"), std::nullopt);
  EXPECT_THAT(symbols.CheckSet(), StatusIs(ErrorKind::kInternal, "glu"));
  symbols.Set("glu", 1);
  EXPECT_THAT(symbols.CheckSet(), IsOk());
}

TEST(ModelSymbolsTest, AMisspeltSymbolFailsEveryReadFromThenOn) {
  ModelSymbols symbols({Symbol::Flag("glu", "the MLP is gated")});
  symbols.Set("glu", 1);
  ModelSymbols misspelt = symbols, too_large = symbols;
  misspelt.Set("gul", 1);
  too_large.Set("glu", 2);
  for (const ModelSymbols* wrong : {&misspelt, &too_large}) {
    EXPECT_THAT(wrong->Holds("glu"), StatusIs(ErrorKind::kInternal, ""));
    EXPECT_THAT(wrong->CheckSet(), StatusIs(ErrorKind::kInternal, ""));
  }
}

TEST(ModelSymbolsTest, ALayersFlagIsReadWithALayer) {
  ModelSymbols symbols({Symbol::LayerFlag("dense", "an MLP, not experts")});
  symbols.SetLayers("dense", {true, false});
  EXPECT_TRUE(*symbols.Holds("dense", 0) && *symbols.Holds("!dense", 1));
  EXPECT_FALSE(*symbols.Holds("dense", 1));
  EXPECT_TRUE(*symbols.HoldsAnywhere("dense") && *symbols.HoldsAnywhere("!dense"));
  EXPECT_THAT(symbols.Holds("dense"), StatusIs(ErrorKind::kInternal, "dense"));
  EXPECT_THAT(symbols.Holds("dense", 2), StatusIs(ErrorKind::kInternal, "2 layers"));
  EXPECT_THAT(symbols.Get("dense"), StatusIs(ErrorKind::kInternal, "dense"));
}

TEST(FamiliesTest, AreExactlyThese) {
  std::vector<std::string> names;
  for (const Family* family : Families()) {
    for (const Dialect& dialect : family->dialects) names.push_back(family->name + "/" + dialect.name);
  }
  EXPECT_THAT(names,
              ElementsAre("clip/hf", "clip/openclip", "clip/mcore", "clip/legacy", "siglip/hf", "siglip/mcore",
                          "gpt/mcore", "gpt/legacy", "gpt/megatron-lm", "gpt/hf", "gpt/hf_mixtral", "gpt/hf_moe",
                          "gpt/hf_deepseek", "gpt/hf_starcoder2", "gpt/hf_phi3", "gpt/hf_baichuan", "gpt/hf_falcon",
                          "gpt/hf_falcon_old", "gpt/hf_neox", "gpt/hf_gpt2", "gpt/hf_bigcode", "gpt/hf_chatglm",
                          "gpt/hf_deepseek_v5", "gpt/hf_neox_v5", "gpt/hf_moe_v5", "t5/legacy", "t5/hf", "neva/mcore",
                          "neva/legacy", "neva/mcore_vit", "neva/hf", "neva/hf_v5", "neva/hf_nested", "neva/llava",
                          "bert/mcore", "bert/legacy", "bert/hf", "bert/hf_heads", "vit/legacy", "vit/hf",
                          "stable_diffusion/nemo", "stable_diffusion/nemo-1.23", "stable_diffusion/dreambooth",
                          "stable_diffusion/ldm", "stable_diffusion/diffusers", "mamba/mcore", "mamba/hf",
                          "mamba/mamba_ssm", "griffin/mcore", "griffin/hf"));
}

TEST(FamiliesTest, TablesObeyTheRules) {
  for (const Family* family : Families()) {
    for (const Dialect& dialect : family->dialects) {
      EXPECT_THAT(CheckTable(family->symbols, family->canonical, dialect), IsOk()) << family->name;
    }
  }
}

TEST(CheckTableTest, SeesWhatIsWrong) {
  const std::vector<CanonicalRow> canonical = {{.name = "a"}, {.name = "l.{i}"}};
  const std::vector<Symbol> symbols = {Symbol::Size("layers", "layers")};
  const auto check = [&](std::vector<StoredRow> rows) {
    return CheckTable(symbols, canonical, {"d", "D", {""}, std::move(rows)});
  };
  const StoredRow a{.name = "A", .canonical = "a"}, l{.name = "L.{i}", .canonical = "l.{i}"};
  EXPECT_THAT(check({a, l}), IsOk());
  EXPECT_THAT(check({a}), StatusIs(ErrorKind::kInternal, "writes l.{i}"));
  EXPECT_THAT(check({a, l, {.name = "{A,B}", .canonical = "a", .transform = &kStack}}),
              StatusIs(ErrorKind::kInternal, "match it alone"));
  EXPECT_THAT(check({a, l, {.name = "X", .role = Role::kDrop}}), StatusIs(ErrorKind::kInternal, "why"));
  EXPECT_THAT(check({a, {.name = "L", .canonical = "l.{i}"}}), StatusIs(ErrorKind::kInternal, "captures"));
  EXPECT_THAT(check({a, l, {.name = "B", .canonical = "b"}}), StatusIs(ErrorKind::kInternal, "canonical row b"));
  EXPECT_THAT(check({l, {.name = "{A,B}", .canonical = "a", .transform = &kStack, .parts = "1 | 2 | 3"}}),
              StatusIs(ErrorKind::kInternal, "2 words"));
}

// Every text of a table that names a symbol, with one that is not declared.
TEST(CheckTableTest, EveryReferenceIsChecked) {
  const std::vector<Symbol> symbols = {Symbol::Size("layers", "layers"), Symbol::Flag("on", "a flag"),
                                       Symbol::LayerFlag("dense", "a layer's flag")};
  const auto check = [&](const std::function<void(CanonicalRow&, CanonicalRow&, StoredRow&, Dialect&)>& change) {
    std::vector<CanonicalRow> canonical = {{.name = "a"}, {.name = "l.{i}"}};
    Dialect dialect{"d", "D", {""}, {{.name = "A", .canonical = "a"}, {.name = "L.{i}", .canonical = "l.{i}"}}, true};
    dialect.omitted = {{"p.", "on"}};
    change(canonical[0], canonical[1], dialect.rows[0], dialect);
    return CheckTable(symbols, canonical, dialect);
  };
  EXPECT_THAT(check([](auto&, auto&, auto&, auto&) {}), IsOk());
  EXPECT_THAT(check([](auto& a, auto& l, auto& row, auto&) {
                a.when = "!on";
                l.when = "on & !dense";
                row.only = "on";
              }),
              IsOk());
  const auto is_unknown = StatusIs(ErrorKind::kInternal, "'gul'");
  EXPECT_THAT(check([](auto& a, auto&, auto&, auto&) { a.when = "on & !gul"; }), is_unknown);
  EXPECT_THAT(check([](auto& a, auto&, auto&, auto&) { a.shape = "4, 2*gul"; }), is_unknown);
  EXPECT_THAT(check([](auto& a, auto&, auto&, auto&) {
                a.copy_of = "l.{i}";
                a.tied = "gul";
              }),
              is_unknown);
  EXPECT_THAT(check([](auto&, auto&, auto& row, auto&) { row.when = "gul"; }), is_unknown);
  EXPECT_THAT(check([](auto&, auto&, auto& row, auto&) { row.only = "!gul"; }), is_unknown);
  EXPECT_THAT(check([](auto&, auto&, auto& row, auto&) { row.shape = "gul"; }), is_unknown);
  EXPECT_THAT(check([](auto&, auto&, auto&, auto& dialect) { dialect.never = "gul"; }), is_unknown);
  EXPECT_THAT(check([](auto&, auto&, auto&, auto& dialect) { dialect.omitted[0].when = "gul"; }), is_unknown);
  // A layer's flag, where no layer is known.
  const auto is_of_layers = StatusIs(ErrorKind::kInternal, "the layers' flag 'dense'");
  EXPECT_THAT(check([](auto& a, auto&, auto&, auto&) { a.when = "dense"; }), is_of_layers);
  EXPECT_THAT(check([](auto&, auto&, auto& row, auto&) { row.only = "dense"; }), is_of_layers);
  // What a split or a transform reads.
  EXPECT_THAT(check([](auto&, auto&, auto& row, auto&) { row.split = Split::kGlu; }),
              StatusIs(ErrorKind::kInternal, "'glu'"));
  EXPECT_THAT(check([](auto&, auto&, auto& row, auto&) { row.split = Split::kQkv; }),
              StatusIs(ErrorKind::kInternal, "'heads'"));
  EXPECT_THAT(check([](auto&, auto&, auto& row, auto&) { row.transform = &kInterleave; }),
              StatusIs(ErrorKind::kInternal, "'heads'"));
  EXPECT_THAT(check([](auto&, auto&, auto& row, auto&) { row.transform = &kPadVocab; }),
              StatusIs(ErrorKind::kInternal, "'vocab'"));
  EXPECT_THAT(check([](auto& a, auto&, auto&, auto&) { a.made = 0; }), StatusIs(ErrorKind::kInternal, "say why"));
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
  const ModelSymbols symbols =
      Sizes({{"heads", 3}, {"groups", 3}, {"head_dim", 2}, {"vocab", 5}, {"padded_vocab", 8}, {"experts", 3}});
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
        OpCase{"Transpose", {.name = "X", .canonical = "x", .transform = &kTranspose}, "2, 3", {{3, 2}}},
        OpCase{
            "Reshape", {.name = "X", .canonical = "x", .transform = &kReshape, .shape = "1, 1, 4"}, "4", {{1, 1, 4}}},
        OpCase{"Stack", {.name = "{q,k,v}", .canonical = "x", .transform = &kStack}, "6, 2", {{2, 2}, {2, 2}, {2, 2}}},
        OpCase{"StackUnequal",
               {.name = "{q,k,v}", .canonical = "x", .transform = &kStack, .parts = "heads*head_dim | 2 | 1+1"},
               "10, 2",
               {{6, 2}, {2, 2}, {2, 2}}},
        OpCase{"Interleave", {.name = "X", .canonical = "x", .transform = &kInterleave}, "18, 2", {{18, 2}}},
        OpCase{"InterleaveBias", {.name = "X", .canonical = "x", .transform = &kInterleave}, "18", {{18}}},
        OpCase{"QueryKeyValue",
               {.name = "{q,kv}", .canonical = "x", .transform = &kQueryKeyValue},
               "18, 2",
               {{6, 2}, {12, 2}}},
        OpCase{"Experts", {.name = "{e}", .canonical = "x", .transform = &kStack}, "6, 4", {{2, 4}, {2, 4}, {2, 4}}},
        OpCase{"ExpertsOfWords",
               {.name = "{e}.{w1,w3}", .canonical = "x", .transform = &kStack, .parts = "1 | 2"},
               "9, 4",
               {{1, 4}, {2, 4}, {1, 4}, {2, 4}, {1, 4}, {2, 4}}},
        OpCase{"FusedExperts",
               {.name = "X", .canonical = "x", .transform = &kReshape, .shape = "experts, 2, 4"},
               "6, 4",
               {{3, 2, 4}}},
        OpCase{"SideBySide",
               {.name = "X", .canonical = "x", .transform = &kGroupedGemm, .shape = "4, 6"},
               "6, 4",
               {{4, 6}}},
        OpCase{"PadVocab", {.name = "X", .canonical = "x", .transform = &kPadVocab}, "vocab, 2", {{8, 2}}},
        OpCase{"PatchLinear", {.name = "X", .canonical = "x", .transform = &kPatchLinear}, "2, 3, 4, 4", {{2, 48}}}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(OpTest, InterleavesHeadByHead) {
  // Two heads of one row each: q0 q1 k0 k1 v0 v1 → q0 k0 v0 q1 k1 v1.
  const ModelSymbols symbols = Sizes({{"heads", 2}, {"groups", 2}});
  const std::vector<CanonicalRow> canonical = {{.name = "x", .shape = "6"}};
  const Dialect dialect{"d", "D", {""}, {{.name = "X", .canonical = "x", .transform = &kInterleave}}};
  float next = 0;
  StateDict weights;
  ASSERT_THAT(weights.Add("x", Counting({6}, &next)), IsOk());
  ANEMONE_ASSERT_ASSIGN(const StateDict stored, FromCanonical(weights, dialect, canonical, symbols, true, nullptr));
  EXPECT_THAT(Floats(*stored.Find("X")->tensor()), ElementsAre(0, 2, 4, 1, 3, 5));
}

TEST(OpTest, TransposesEachExpert) {
  // Two experts of two rows and three columns become three rows and two columns each.
  const ModelSymbols symbols = Sizes({{"experts", 2}});
  const std::vector<CanonicalRow> canonical = {{.name = "x", .shape = "4, 3"}};
  const Dialect dialect{"d", "D", {""}, {{.name = "X", .canonical = "x", .transform = &kGroupedGemm, .shape = "3, 4"}}};
  float next = 0;
  StateDict weights;
  ASSERT_THAT(weights.Add("x", Counting({4, 3}, &next)), IsOk());
  ANEMONE_ASSERT_ASSIGN(const StateDict stored, FromCanonical(weights, dialect, canonical, symbols, true, nullptr));
  EXPECT_THAT(Floats(*stored.Find("X")->tensor()), ElementsAre(0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11));
}

TEST(OpTest, InterleavesQueryGroups) {
  // Four heads in two groups, one row each: q0 q1 k0 v0, q2 q3 k1 v1.
  const ModelSymbols symbols = Sizes({{"heads", 4}, {"groups", 2}});
  const std::vector<CanonicalRow> canonical = {{.name = "x", .shape = "8"}};
  const Dialect dialect{"d", "D", {""}, {{.name = "X", .canonical = "x", .transform = &kInterleave}}};
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

TEST(OpTest, PartsThatDoNotMakeTheWholeAreRefused) {
  const std::vector<CanonicalRow> canonical = {{.name = "x", .shape = "9"}};
  const Dialect dialect{
      "d", "D", {""}, {{.name = "{q,k}", .canonical = "x", .transform = &kStack, .parts = "heads | heads"}}};
  float next = 0;
  StateDict weights;
  ASSERT_THAT(weights.Add("x", Counting({9}, &next)), IsOk());
  EXPECT_THAT(FromCanonical(weights, dialect, canonical, Sizes({{"heads", 4}}), true, nullptr),
              StatusIs(ErrorKind::kCorrupt, "make 9, found 8"));
}

TEST(CanonicalizeTest, ChecksShapesAgainstTheConfig) {
  const ModelSymbols symbols = Sizes({{"width", 4}});
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

// Names are looked up by their last two words; that must hide no row.
TEST(NameMatcherTest, EveryNameOfADialectIsFoundBehindItsPrefixes) {
  for (const Family* family : Families()) {
    for (const Dialect& dialect : family->dialects) {
      const NameMatcher matcher(dialect);
      for (const std::string& prefix : dialect.prefixes) {
        StateDict names;
        for (size_t r = 0; r < dialect.rows.size(); ++r) {
          const Pattern& pattern = matcher.pattern(r);
          for (size_t part = 0; part < pattern.num_parts(2); ++part) {
            const std::string name = pattern.Fill(12, part);
            ASSERT_TRUE(pattern.Match(name)) << name;
            EXPECT_TRUE(matcher.Match(prefix + name, prefix)) << dialect.name << " " << name;
            if (names.Find(prefix + name) != nullptr) continue;
            ASSERT_THAT(names.Add(prefix + name, Opaque{}), IsOk());
          }
        }
        EXPECT_EQ(matcher.BestPrefix(names).matched, names.size()) << family->name << " " << dialect.name;
      }
    }
  }
}

// Each dialect is compared with every group of a checkpoint's names: a million layers are few groups.
TEST(NameMatcherTest, LayersOfManyNumbersAreFewGroups) {
  StateDict weights;
  for (int i = 0; i < 2000; ++i) ASSERT_THAT(weights.Add("layers." + std::to_string(i) + ".weight", Opaque{}), IsOk());
  EXPECT_LE(NamesByEnd(weights).groups().size(), 101u);
  // A table that spells such a number out is found all the same.
  Dialect dialect{"numbers", "numbers", {"model.", ""}, {}};
  dialect.rows = {{.name = "layers.1234.weight"}, {.name = "layers.{i}.{weight,bias}"}, {.name = "other.{i}.weight"}};
  const NameMatcher matcher(dialect);
  EXPECT_EQ(matcher.Match("model.layers.1234.weight", "model.")->row, 0u);
  EXPECT_EQ(matcher.Match("layers.1235.weight")->row, 1u);
  EXPECT_EQ(matcher.Match("other.1234.weight")->row, 2u);
  EXPECT_EQ(matcher.BestPrefix(weights).matched, 2000u);
}

}  // namespace
}  // namespace anemone
