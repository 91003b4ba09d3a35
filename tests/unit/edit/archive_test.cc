#include "edit/archive.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "anemone/check.h"
#include "base/sys.h"
#include "edit/replace.h"
#include "engine/execute.h"
#include "source/source.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;
using testing::Golden;
using testing::IsOk;
using testing::StatusIs;

class ArchiveTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return temp_ / name; }

 private:
  const testing::TempDir temp_;

 protected:
  const fs::path dir_ = temp_.path();
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

// Calls that write, from the `fail_at`-th on, fail: one of them, or, as where the machine stops, all.
int calls = 0, fail_at = 0;
bool fails_for_ever = false;
bool Fails() {
  ++calls;
  errno = EIO;
  return calls == fail_at || (fails_for_ever && calls > fail_at);
}

TEST_F(ArchiveTest, AnEditInPlaceIsDoneOrNot) {
  const Sys real = sys;
  ConfigEdit edit;
  edit.set = {{"optim.lr", "0.25"}, {"optim.name", std::string(20000, 'x')}};  // beyond the room of the end marker
  for (const bool for_ever : {false, true}) {
    fails_for_ever = for_ever;
    bool is_done = false;
    for (fail_at = 1; !is_done; ++fail_at) {
      ASSERT_LT(fail_at, 20);
      fs::copy_file(Golden("clip/mcore.nemo"), Path("x.nemo"), fs::copy_options::overwrite_existing);
      fs::permissions(Path("x.nemo"), fs::perms::owner_all);
      ANEMONE_ASSERT_ASSIGN(const PreparedEdit prepared, PrepareEdit(Path("x.nemo"), edit, true));
      ANEMONE_ASSERT_ASSIGN(const bool can_edit, CanEditInPlace(Path("x.nemo"), prepared.written, *prepared.place));
      ASSERT_TRUE(can_edit);
      static Sys untouched;
      untouched = real;
      calls = 0;
      sys.pwrite = [](int fd, const void* bytes, size_t size, off_t at) -> ssize_t {
        return Fails() ? -1 : untouched.pwrite(fd, bytes, size, at);
      };
      sys.fsync = [](int fd) { return Fails() ? -1 : untouched.fsync(fd); };
      sys.ftruncate = [](int fd, off_t size) { return Fails() ? -1 : untouched.ftruncate(fd, size); };
      is_done = EditInPlace(Path("x.nemo"), prepared.written, *prepared.place).ok();
      sys = real;
      ANEMONE_ASSERT_ASSIGN(const Config config, ReadStoredConfig(Path("x.nemo")));
      const std::string lr = config.Find("optim.lr")->ScalarText();
      if (is_done) {
        EXPECT_EQ(lr, "0.25");
      } else if (!for_ever && lr != "0.25") {  // only the last sync may fail behind a change that is visible
        EXPECT_EQ(fs::file_size(Path("x.nemo")), fs::file_size(Golden("clip/mcore.nemo")));
      }
      ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenSource(Path("x.nemo"), {}));
      EXPECT_GT(checkpoint.weights().size(), 70u);
    }
    EXPECT_GT(fail_at, 5);
  }
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
