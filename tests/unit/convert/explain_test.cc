// What the passes of a conversion are, and what each says that it changed.
#include <filesystem>
#include <set>

#include "convert/explain.h"
#include "convert/pass.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::Golden;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::TempDir;

const PassReport& Find(const Conversion& conversion, std::string_view name) {
  static const PassReport none;
  for (const PassReport& pass : conversion.passes) {
    if (pass.name == name) return pass;
  }
  ADD_FAILURE() << "no pass " << name;
  return none;
}

TEST(Passes, NamesAreDistinct) {
  std::set<std::string_view> names;
  for (const Pass& pass : Passes()) {
    EXPECT_TRUE(names.insert(pass.name).second) << pass.name;
    EXPECT_FALSE(pass.purpose.empty()) << pass.name;
  }
}

// A pass's file says what holds before and after it, and speaks of no model family.
TEST(Passes, FilesSayWhatHoldsAndNameNoFamily) {
  const std::set<std::string> engine = {"convert.cc", "explain.cc", "pass.cc"};
  size_t seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(ANEMONE_SOURCE_DIR) + "/src/convert")) {
    if (entry.path().extension() != ".cc" || engine.contains(entry.path().filename().string())) continue;
    ++seen;
    std::string text = testing::ReadFile(entry.path().string());
    for (const char* word : {"Before:", "After:", "Notes:"}) EXPECT_THAT(text, HasSubstr(word)) << entry.path();
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    for (const Family* family : Families()) {
      for (size_t at = text.find(family->name); at != std::string::npos; at = text.find(family->name, at + 1)) {
        const bool begins_a_word = at == 0 || std::isalpha(static_cast<unsigned char>(text[at - 1])) == 0;
        EXPECT_FALSE(begins_a_word) << entry.path() << " names " << family->name;  // "bert" is in numberTraining, too
      }
    }
  }
  EXPECT_GE(seen, 10u);
}

TEST(Explain, EachPassSaysWhatItChanged) {
  const TempDir dir;
  ConvertOptions options;
  options.to = "hf";
  options.dtype = DType::kBF16;
  options.set = {{"projection_dim", "32"}, {"note", "new"}};
  options.explain = true;
  ANEMONE_ASSERT_ASSIGN(const Conversion conversion,
                        PlanConversion(Golden("clip/mcore_tp2.nemo"), dir / "out", options));
  ASSERT_EQ(conversion.passes.size(), Passes().size());
  for (size_t i = 0; i < Passes().size(); ++i) EXPECT_EQ(conversion.passes[i].name, Passes()[i].name);

  EXPECT_EQ(Find(conversion, "open").layout, (Layout{.tp = 2}));
  EXPECT_FALSE(Find(conversion, "resolve").changed());
  const PassReport& translate = Find(conversion, "translate");
  EXPECT_EQ(translate.names_removed, 99u);
  EXPECT_EQ(translate.names_added, translate.names);
  EXPECT_EQ(translate.layout, Layout{});
  EXPECT_THAT(translate.artifacts_added, Contains("preprocessor_config.json"));
  EXPECT_THAT(translate.notes, Contains(HasSubstr("49408 rows")));
  const PassReport& cast = Find(conversion, "cast");
  EXPECT_EQ(cast.recast, translate.names);
  EXPECT_EQ(cast.reshaped, 0u);
  EXPECT_THAT(cast.config_keys, ElementsAre("torch_dtype"));
  EXPECT_THAT(Find(conversion, "edit").config_keys, ElementsAre("note"));
  EXPECT_GT(Find(conversion, "lay-out").files, 1u);
}

TEST(Explain, TrainingStatePaddingAndFilesAreSeen) {
  const TempDir dir;
  ANEMONE_ASSERT_ASSIGN(const Conversion conversion,
                        PlanConversion(Golden("dist/nemo2_llama/nemo"), dir / "out.nemo", {.tp = 2, .explain = true}));
  EXPECT_TRUE(Find(conversion, "drop-training").drops_training);
  EXPECT_THAT(Find(conversion, "normalize-config").artifacts_removed, ElementsAre("context/io.json"));
  EXPECT_GT(Find(conversion, "ranks").reshaped, 0u);
}

TEST(Explain, NothingIsComparedUnlessAsked) {
  const TempDir dir;
  ANEMONE_ASSERT_ASSIGN(const Conversion conversion, PlanConversion(Golden("clip/hf"), dir / "out.nemo", {}));
  EXPECT_THAT(conversion.passes, IsEmpty());
}

}  // namespace
}  // namespace anemone
