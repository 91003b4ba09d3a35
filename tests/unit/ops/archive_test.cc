#include "ops/archive.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "engine/execute.h"
#include "ops/diff.h"
#include "ops/replace.h"
#include "ops/source.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;
using testing::Golden;
using testing::IsOk;
using testing::StatusIs;

class ArchiveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(dir_);
    fs::create_directories(dir_);
  }
  std::string Path(const std::string& name) const { return (dir_ / name).string(); }
  fs::path dir_ = fs::path(::testing::TempDir()) /
                  ("archive_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
};

void ExpectSame(const std::string& a, const std::string& b) {
  auto first = OpenSource(a, {});
  auto second = OpenSource(b, {});
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  auto difference = Diff(*first, *second, {});
  ASSERT_THAT(difference, IsOk());
  EXPECT_TRUE(difference->empty());
  EXPECT_GT(difference->tensors_compared, 70u);
}

TEST_F(ArchiveTest, ExtractThenPackIsTheSameCheckpoint) {
  for (const char* name : {"clip/mcore.nemo", "clip/mcore_tp2.nemo"}) {
    ANEMONE_ASSERT_ASSIGN(Plan extract, PlanExtract(Golden(name), {}));
    ASSERT_THAT(Execute(extract, Path("x"), {.replace = true, .may_replace = MayReplace(extract)}), IsOk());
    ANEMONE_ASSERT_ASSIGN(Plan pack, PlanPack(Path("x")));
    ASSERT_THAT(Execute(pack, Path("y.nemo"), {.replace = true}), IsOk());
    ExpectSame(Golden(name), Path("y.nemo"));
    ExpectSame(Golden(name), Path("x"));
  }
}

TEST_F(ArchiveTest, ExtractsOneMember) {
  ANEMONE_ASSERT_ASSIGN(Plan plan, PlanExtract(Golden("clip/mcore.nemo"), {"model_config.yaml"}));
  ASSERT_EQ(plan.files.size(), 1u);
  EXPECT_EQ(plan.files[0].path, "model_config.yaml");
  EXPECT_THAT(PlanExtract(Golden("clip/mcore.nemo"), {"nothing"}), StatusIs(ErrorKind::kNotFound, "nothing"));
}

TEST_F(ArchiveTest, EditMovesWeightsUntouched) {
  ConfigEdit edit;
  edit.set = {{"optim.lr", "3e-4"}};
  ANEMONE_ASSERT_ASSIGN(Plan plan, PlanEdit(Golden("clip/mcore.nemo"), edit));
  ASSERT_THAT(Execute(plan, Path("edited.nemo"), {}), IsOk());
  ANEMONE_ASSERT_ASSIGN(Checkpoint before, OpenSource(Golden("clip/mcore.nemo"), {}));
  ANEMONE_ASSERT_ASSIGN(Checkpoint after, OpenSource(Path("edited.nemo"), {}));
  ANEMONE_ASSERT_ASSIGN(Difference difference, Diff(before, after, {}));
  EXPECT_TRUE(difference.tensors.empty());
  ASSERT_EQ(difference.config.size(), 1u);
  EXPECT_EQ(difference.config[0].path, "optim.lr");
  EXPECT_EQ(after.config->Find("optim.lr")->AsDouble(), 3e-4);
}

TEST_F(ArchiveTest, RefusesWhatIsNoArchiveOrFolder) {
  std::ofstream(Path("x.nemo")) << "not a tar";
  EXPECT_THAT(PlanExtract(Path("x.nemo"), {}), StatusIs(ErrorKind::kCorrupt, "expected a .nemo archive"));
  EXPECT_THAT(PlanPack(Path("x.nemo")), StatusIs(ErrorKind::kInvalidArgument, "expected a directory"));
  EXPECT_THAT(PlanPack(Path("")), StatusIs(ErrorKind::kInvalidArgument, "model_config.yaml"));
  EXPECT_THAT(PlanPack(Path("gone")), StatusIs(ErrorKind::kNotFound, "gone"));
}

}  // namespace
}  // namespace anemone
