// What the schema can say, each said by the synthetic family.
#include <fmt/format.h>

#include "schema/check.h"
#include "synthetic.h"
#include "synthetic_family.h"

namespace anemone {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::ExpectSameTensors;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::Names;
using ::testing::Not;
using testing::StatusIs;
using testing::SyntheticFamily;

const Dialect& Hf() { return *SyntheticFamily().FindDialect("hf"); }
const Dialect& Fused() { return *SyntheticFamily().FindDialect("fused"); }

StateDict CanonicalModel(const ModelSymbols& symbols) {
  return testing::SyntheticCanonical(SyntheticFamily(), symbols);
}
Result<StateDict> Spelled(const StateDict& canonical, const Dialect& dialect, const ModelSymbols& symbols,
                          std::vector<std::string>* notes = nullptr) {
  return FromCanonical(canonical, dialect, SyntheticFamily().canonical, symbols, true, notes);
}
Result<StateDict> Read(const StateDict& stored, const Dialect& dialect, const ModelSymbols& symbols,
                       std::vector<std::string>* notes = nullptr) {
  return Canonicalize(stored, dialect, SyntheticFamily().canonical, symbols, true, notes);
}

StateDict Without(const StateDict& weights, const std::string& name) {
  StateDict rest;
  for (const auto& item : weights.items()) {
    if (item.name == name) continue;
    EXPECT_THAT(rest.Add(item.name, item.entry), IsOk());
  }
  return rest;
}

TEST(SchemaTest, TheFamilyObeysTheRules) {
  for (const Dialect& dialect : SyntheticFamily().dialects)
    EXPECT_THAT(CheckTable(SyntheticFamily().symbols, SyntheticFamily().canonical, dialect), IsOk());
  EXPECT_THAT(testing::SyntheticSymbols(false).CheckSet(), IsOk());
}

TEST(SchemaTest, EveryDialectGivesTheCanonicalTensorsBack) {
  for (const bool tied : {false, true}) {
    const ModelSymbols symbols = testing::SyntheticSymbols(tied);
    ANEMONE_ASSERT_ASSIGN(const StateDict hf, Spelled(CanonicalModel(symbols), Hf(), symbols));
    ANEMONE_ASSERT_ASSIGN(const StateDict canonical, Read(Without(hf, "model.newline"), Hf(), symbols));
    for (const Dialect& dialect : SyntheticFamily().dialects) {
      ANEMONE_ASSERT_ASSIGN(const StateDict stored, Spelled(canonical, dialect, symbols));
      ANEMONE_ASSERT_ASSIGN(const StateDict back, Read(stored, dialect, symbols));
      ExpectSameTensors(back, canonical);
    }
  }
}

Family Speaking(std::vector<Dialect> dialects) {
  Family family;
  family.name = family.title = "speaking";
  family.symbols = {Symbol::Flag("gated", "the MLP is gated")};
  family.dialects = std::move(dialects);
  family.read_symbols = [](const Checkpoint&, const Dialect&, const TranslateOptions&,
                           ModelSymbols* symbols) -> Status {
    symbols->Set("gated", 1);
    return {};
  };
  return family;
}

TEST(SchemaTest, ADialectIsChosenByTheLanguageOfTheConfig) {
  const auto dialect = [](std::string name, ConfigLanguage language, std::string never, bool is_megatron) {
    return Dialect{std::move(name), "", {""}, {}, is_megatron, {}, std::move(never), language};
  };
  using enum ConfigLanguage;
  Family family =
      Speaking({dialect("hf_plain", kHuggingFace, "gated", false), dialect("hf_gated", kHuggingFace, "", false),
                dialect("open", kOpenClip, "gated", false), dialect("mcore", kNone, "", true)});
  const auto chosen = [&](const char* from, ConfigLanguage language) {
    const auto found = DialectFor(Checkpoint(), {&family, family.FindDialect(from)}, language, {});
    EXPECT_THAT(found, IsOk());
    return found.ok() && *found != nullptr ? (*found)->name : std::string();
  };
  EXPECT_EQ(chosen("mcore", kHuggingFace), "hf_gated");
  EXPECT_EQ(chosen("hf_plain", kHuggingFace), "hf_plain");  // its own
  EXPECT_EQ(chosen("mcore", kOpenClip), "open");            // the only one
  EXPECT_EQ(chosen("open", kNemo1), "mcore");
  EXPECT_EQ(chosen("mcore", kNemo2), "");
  family.choose_dialect = [](const Checkpoint&, const TranslateOptions&, ConfigLanguage) -> Result<const Dialect*> {
    return Unsupported("none");
  };
  EXPECT_THAT(DialectFor(Checkpoint(), {&family, family.FindDialect("mcore")}, kHuggingFace, {}),
              StatusIs(ErrorKind::kUnsupported, "none"));
}

TEST(SchemaTest, PartsMayBeOfUnequalSize) {
  const ModelSymbols symbols = testing::SyntheticSymbols(false);
  ANEMONE_ASSERT_ASSIGN(const StateDict stored, Spelled(CanonicalModel(symbols), Hf(), symbols));
  EXPECT_EQ(stored.Find("model.layers.0.q_proj.weight")->tensor()->shape(), (Shape{8, 4}));
  EXPECT_EQ(stored.Find("model.layers.0.v_proj.weight")->tensor()->shape(), (Shape{4, 4}));
}

TEST(SchemaTest, LayersAreOfTheirOwnKind) {
  const ModelSymbols symbols = testing::SyntheticSymbols(false);
  ANEMONE_ASSERT_ASSIGN(const StateDict stored, Spelled(CanonicalModel(symbols), Hf(), symbols));
  const std::vector<std::string> names = Names(stored);
  EXPECT_THAT(names, Contains("model.layers.0.gate.weight"));
  EXPECT_THAT(names, Not(Contains("model.layers.1.gate.weight")));
  EXPECT_THAT(names, Contains("model.layers.1.experts.1.w3.weight"));
  EXPECT_THAT(names, Not(Contains("model.layers.2.experts.0.w1.weight")));
  // The other kind's tensors are unexpected, and the missing ones are this kind's.
  ModelSymbols other = symbols;
  other.SetLayers("dense", {true, true, true});
  EXPECT_THAT(Read(stored, Hf(), other),
              StatusIs(ErrorKind::kCorrupt, "2 missing tensors: model.layers.1.gate.weight"));
}

TEST(SchemaTest, ExpertsOfWordsLieExpertAfterExpert) {
  const ModelSymbols symbols = testing::SyntheticSymbols(false);
  const StateDict canonical = CanonicalModel(symbols);
  ANEMONE_ASSERT_ASSIGN(const StateDict stored, Spelled(canonical, Hf(), symbols));
  std::string bytes;
  for (const char* name : {"0.w1", "0.w3", "1.w1", "1.w3"})
    bytes += *stored.Find(fmt::format("model.layers.1.experts.{}.weight", name))->tensor()->Read();
  EXPECT_TRUE(bytes == *canonical.Find("layers.1.experts.up.weight")->tensor()->Read());
}

TEST(SchemaTest, ATensorThatTheSourceLacksIsMade) {
  const ModelSymbols symbols = testing::SyntheticSymbols(false);
  ANEMONE_ASSERT_ASSIGN(const StateDict stored, Spelled(CanonicalModel(symbols), Hf(), symbols));
  std::vector<std::string> notes;
  ANEMONE_ASSERT_ASSIGN(const StateDict canonical, Read(Without(stored, "model.newline"), Hf(), symbols, &notes));
  EXPECT_EQ(*canonical.Find("newline")->tensor()->Read(), std::string(16, '\0'));
  EXPECT_THAT(notes, ElementsAre(HasSubstr("made 1 tensor: models without one")));
  // A dialect that has no place for it leaves out what was made, and nothing else.
  notes.clear();
  EXPECT_THAT(Spelled(canonical, Fused(), symbols, &notes), IsOk());
  EXPECT_THAT(notes, ElementsAre(HasSubstr("left out 1 tensor")));
  EXPECT_THAT(Spelled(CanonicalModel(symbols), Fused(), symbols),
              StatusIs(ErrorKind::kCorrupt, "1 unexpected tensor: newline"));
}

TEST(SchemaTest, ACopyIsLeftOutWhereItIsOne) {
  const ModelSymbols symbols = testing::SyntheticSymbols(true);
  ANEMONE_ASSERT_ASSIGN(StateDict stored, Spelled(CanonicalModel(symbols), Hf(), symbols));
  const Tensor embedding = *stored.Find("model.embed.weight")->tensor();
  StateDict differing = stored;
  ASSERT_THAT(stored.Add("model.head.weight", embedding), IsOk());
  std::vector<std::string> notes;
  EXPECT_THAT(Read(stored, Hf(), symbols, &notes), IsOk());
  EXPECT_THAT(notes, ElementsAre(HasSubstr("left out 1 tensor: it is the embedding")));
  ASSERT_THAT(differing.Add("model.head.weight", *testing::SwapHalves(embedding)), IsOk());
  EXPECT_THAT(Read(differing, Hf(), symbols), StatusIs(ErrorKind::kCorrupt, "model.head.weight: expected a copy"));
}

TEST(SchemaTest, APlaceIsARowOfItsOwn) {
  const ModelSymbols symbols = testing::SyntheticSymbols(false);
  ANEMONE_ASSERT_ASSIGN(const StateDict stored, Spelled(CanonicalModel(symbols), Hf(), symbols));
  const std::vector<std::string> names = Names(stored);
  for (const char* place : {"down_blocks.0.resnets.0", "down_blocks.1.resnets.0", "mid_block"})
    EXPECT_THAT(names, Contains(fmt::format("model.{}.weight", place)));
}

TEST(SchemaTest, AMountedFamilyBringsWhatItsRowsSpeakOf) {
  std::vector<std::string> symbols, canonical, rows;
  const Mounted eye =
      Mount(testing::SyntheticTower(), "hf", {.names = "at.", .stage = Stage::kFirst, .tower = "eye", .as = "left"});
  for (const Symbol& symbol : eye.symbols) symbols.push_back(symbol.name);
  for (const CanonicalRow& row : eye.canonical) canonical.push_back(row.name + " [" + row.shape + "]");
  for (const StoredRow& row : eye.rows) {
    rows.push_back(row.name);
    EXPECT_EQ(row.stage, Stage::kFirst);
    EXPECT_EQ(row.tower, "left");
  }
  EXPECT_THAT(symbols, ElementsAre("left.layers", "left.width", "pixels"));
  EXPECT_THAT(canonical, ElementsAre("left.patches.weight [left.width, pixels]",
                                     "left.layers.{i}.mlp.weight [left.width, left.width]"));
  EXPECT_THAT(rows, ElementsAre("at.eye_model.patches", "at.eye_model.h.{i}.mlp"));
}

TEST(SchemaTest, OneOfTwoMountedFamiliesIsThere) {
  const Mounted a{{}, {{.name = "x"}, {.name = "a", .when = "on"}}, {{.name = "X"}, {.name = "A"}}};
  const Mounted b{{}, {{.name = "x"}, {.name = "b"}}, {{.name = "X"}, {.name = "B"}}};
  const Mounted either = EitherOf(a, b, "second");
  std::vector<std::string> canonical;
  for (const CanonicalRow& row : either.canonical) canonical.push_back(row.name + ": " + row.when);
  EXPECT_THAT(canonical, ElementsAre("x: ", "b: second", "a: on & !second"));
}

}  // namespace
}  // namespace anemone
