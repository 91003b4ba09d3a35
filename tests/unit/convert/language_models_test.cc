// BERT between Hugging Face and NeMo: bit for bit what NeMo v2.0.0's own converter wrote (tests/golden, decoders/), and
// what transformers 4 and 5 save, there and back.
#include "anemone/convert.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "format/format.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

// A copy of a Hugging Face folder, one key of whose config.json is another.
std::string With(const std::string& source, const TempDir& temp, const char* key, const char* yaml) {
  const std::string copy = temp.path() + "/hf";
  std::filesystem::copy(source, copy);
  Config config = JsonOf(copy + "/config.json");
  const auto value = Config::ParseYaml(fmt::format("v: {}", yaml), "test");
  EXPECT_THAT(value, IsOk());
  config.root()[key] = *value->root().Get("v");
  std::filesystem::permissions(copy + "/config.json", std::filesystem::perms::owner_all);
  std::ofstream(copy + "/config.json") << config.ToJson();
  return copy;
}

// The .nemo without the config.json that came along: as NeMo's converter writes it.
void Forget(const std::string& source, const std::string& destination) {
  auto checkpoint = OpenCheckpoint(source);
  ASSERT_THAT(checkpoint, IsOk());
  std::erase_if(checkpoint->artifacts, [](const Artifact& artifact) { return artifact.name == "config.json"; });
  const auto plan = FindFormat("nemo")->lay_out(*checkpoint, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, destination, {}), IsOk());
}

void ComesBack(const std::string& source, const ConvertOptions& there) {
  SCOPED_TRACE(source);
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo", back = temp.path() + "/back";
  Convert(source, nemo, there);
  Convert(nemo, back, {.to = "hf"});
  EXPECT_EQ(FilesIn(back), FilesIn(source));
  EXPECT_EQ(DigestsOf(back), DigestsOf(source));
  EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), JsonOf(source + "/config.json").root()));
}

TEST(Bert, BecomesWhatNemosConverterMakes) {
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo";
  Convert(Golden("decoders/bert/hf"), nemo, {.dtype = DType::kBF16});
  EXPECT_EQ(DigestsOf(nemo), Listed(Golden("decoders/bert/nemo.sha256")));
}

TEST(Bert, ComesBackInEverySpellingAndLayout) {
  for (const std::string& source :
       {Golden("decoders/bert/hf"), Golden("transformers4_others/bert_pretraining"),
        Golden("transformers5_others/bert_pretraining"), Golden("transformers4_others/bert_masked_lm"),
        Golden("transformers5_others/bert_masked_lm")}) {
    ComesBack(source, {.dialect = "mcore"});
    ComesBack(source, {.dialect = "legacy"});
    ComesBack(source, {.dialect = "mcore", .tp = 2, .pp = 2});
    ComesBack(source, {.dialect = "legacy", .tp = 2});
  }
}

TEST(Bert, IsMadeAnewWithoutTheConfigThatCameAlong) {
  const TempDir temp;
  const std::string source = Golden("decoders/bert/hf"), nemo = temp.path() + "/out.nemo",
                    bare = temp.path() + "/bare.nemo", back = temp.path() + "/back";
  Convert(source, nemo, {});
  Forget(nemo, bare);
  Convert(bare, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(source));
  const Config made = JsonOf(back + "/config.json"), own = JsonOf(source + "/config.json");
  for (const auto& [key, value] : own.root().map) {
    const ConfigNode* found = made.root().Get(key);
    ASSERT_NE(found, nullptr) << key;
    EXPECT_TRUE(SameConfig(*found, value)) << key;
  }
}

// 200 rows became 256 in NeMo, with zeros; config.json that came along says so, or the user does.
TEST(Bert, RowsThatNemoPaddedAreLeftOutOnEvidence) {
  const TempDir temp;
  const std::string source = Golden("transformers4_others/bert_masked_lm"), nemo = temp.path() + "/out.nemo",
                    bare = temp.path() + "/bare.nemo", all = temp.path() + "/all", asked = temp.path() + "/asked";
  Convert(source, nemo, {});
  Forget(nemo, bare);
  Convert(bare, all, {.to = "hf"});
  EXPECT_EQ(JsonOf(all + "/config.json").root().Get("vocab_size")->AsInt(), 256);
  Convert(bare, asked, {.to = "hf", .vocab_size = 200});
  EXPECT_EQ(DigestsOf(asked), DigestsOf(source));
}

TEST(Bert, WhatTheOtherSideCannotSayIsRefusedByName) {
  const std::string source = Golden("decoders/bert/hf");
  struct Case {
    const char *key, *value;
  };
  for (const Case& c : {Case{"position_embedding_type", "relative_key"}, Case{"is_decoder", "true"},
                        Case{"hidden_act", "relu"}, Case{"type_vocab_size", "4"}}) {
    const TempDir temp;
    EXPECT_THAT(PlanConversion(With(source, temp, c.key, c.value), temp.path() + "/x.nemo", {}),
                StatusIs(ErrorKind::kUnsupported, c.key));
  }
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo", other = temp.path() + "/other.nemo";
  Convert(source, nemo, {});
  Forget(nemo, other);
  for (const Case& c : {Case{"normalization", "rmsnorm"}, Case{"activation", "geglu"}, Case{"bias", "false"}}) {
    const std::string changed = fmt::format("{}/{}.nemo", temp.path(), c.key);
    auto checkpoint = OpenCheckpoint(other);
    ASSERT_THAT(checkpoint, IsOk());
    checkpoint->config->root()[c.key] = ConfigNode::String(c.value);
    if (std::string_view(c.value) == "false") checkpoint->config->root()[c.key] = ConfigNode::Bool(false);
    const auto plan = FindFormat("nemo")->lay_out(*checkpoint, {});
    ASSERT_THAT(plan, IsOk());
    ASSERT_THAT(Execute(*plan, changed, {}), IsOk());
    EXPECT_FALSE(PlanConversion(changed, temp.path() + "/x", {.to = "hf"}).ok()) << c.key;
  }
}

}  // namespace
}  // namespace anemone
