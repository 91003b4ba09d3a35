#include "edit/artifact.h"

#include <filesystem>
#include <fstream>

#include "family/tokenizer/nemo_artifact.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;

class ArtifactTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(path_) << "pieces";
    auto parsed = Config::ParseYaml("tokenizer:\n  model: nemo:0123_old.model\n", "model_config.yaml");
    ASSERT_THAT(parsed, IsOk());
    config_ = *parsed;
    artifacts_.push_back({"0123_old.model", Whole(MemorySource("old", "old"))});
    artifacts_.push_back({"other.txt", Whole(MemorySource("other", "other"))});
  }
  const testing::TempDir dir_;
  const std::string path_ = dir_ / "spm.model";
  Config config_;
  std::vector<Artifact> artifacts_;
};

TEST_F(ArtifactTest, ReplacesTheArtifactThatTheKeyReferredTo) {
  ConfigEdit edit;
  edit.artifacts = {{"tokenizer.model", path_}};
  ASSERT_THAT(ApplyEdit(edit, config_, artifacts_), IsOk());
  ASSERT_EQ(artifacts_.size(), 2u);
  EXPECT_EQ(artifacts_[0].name, "other.txt");
  // sha256("pieces"), first 32 digits: the same file is named the same every time.
  EXPECT_TRUE(artifacts_[1].name.ends_with("_spm.model")) << artifacts_[1].name;
  EXPECT_EQ(artifacts_[1].name.size(), 32 + std::string("_spm.model").size());
  EXPECT_EQ(*config_.Find("tokenizer.model")->AsString(), "nemo:" + artifacts_[1].name);
  EXPECT_EQ(FollowReference(config_.Find("tokenizer.model"), artifacts_), &artifacts_[1]);
}

TEST_F(ArtifactTest, SetsAndUnsets) {
  ConfigEdit edit;
  edit.set = {{"optim.lr", "1e-4"}, {"optim.betas", "[0.9, 0.98]"}};
  edit.unset = {"tokenizer"};
  ASSERT_THAT(ApplyEdit(edit, config_, artifacts_), IsOk());
  EXPECT_EQ(config_.Find("optim.lr")->AsDouble(), 1e-4);
  EXPECT_EQ(config_.Find("optim.betas")->list.size(), 2u);
  EXPECT_EQ(config_.Find("tokenizer"), nullptr);
  // A dict merges, as in Hydra.
  edit = {};
  edit.set = {{"optim", "{lr: 2e-4, sched: {name: cosine}}"}};
  ASSERT_THAT(ApplyEdit(edit, config_, artifacts_), IsOk());
  EXPECT_EQ(config_.Find("optim.lr")->AsDouble(), 2e-4);
  EXPECT_EQ(config_.Find("optim.betas")->list.size(), 2u);
  EXPECT_EQ(config_.Find("optim.sched.name")->AsString(), "cosine");
}

TEST_F(ArtifactTest, NamesTheMissingFile) {
  ConfigEdit edit;
  edit.artifacts = {{"tokenizer.model", "/nowhere/spm.model"}};
  EXPECT_THAT(ApplyEdit(edit, config_, artifacts_), StatusIs(ErrorKind::kNotFound, "/nowhere/spm.model"));
}

}  // namespace
}  // namespace anemone
