#include "base/nearest.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

const std::vector<std::string> kCommands = {"inspect", "convert", "reshard", "convert_clip_hf_to_nemo"};

TEST(NearestTest, CountsEdits) {
  EXPECT_EQ(EditDistance("inspct", "inspect", 5), 1U);
  EXPECT_EQ(EditDistance("", "abc", 5), 3U);
  EXPECT_EQ(EditDistance("abc", "xyz", 2), 3U);  // the limit and one
  EXPECT_EQ(EditDistance("abc", "abc", 0), 0U);
}

TEST(NearestTest, IsWithinTheLimitAndKeepsSomeOfTheWord) {
  EXPECT_EQ(Nearest("inspct", kCommands, 2), "inspect");
  EXPECT_EQ(Nearest("frobnicate", kCommands, 3), "");
  EXPECT_EQ(Nearest("x", std::vector<std::string>{"y"}, 3), "");
  EXPECT_EQ(Nearest("", kCommands, 30), "");
  EXPECT_EQ(Nearest("convrt", {}, 3), "");
}

TEST(NearestTest, ProposesWhatBeginsWithTheWord) {
  EXPECT_EQ(DidYouMean("inspct", kCommands), "did you mean inspect?");
  EXPECT_EQ(DidYouMean("convert_clip", kCommands), "did you mean convert_clip_hf_to_nemo?");
  EXPECT_EQ(DidYouMean("zzz", kCommands), "");
}

TEST(NearestTest, NamesWhatLiesBesideAPathThatIsMissing) {
  const testing::TempDir dir;
  std::ofstream(dir / "clip.nemo") << "x";
  EXPECT_THAT(OpenGivenFile(dir / "clp.nemo"), testing::StatusIs(ErrorKind::kNotFound, "/clip.nemo?"));
  EXPECT_EQ(OpenGivenFile(dir / "something.else").status().error().hint, "");
  EXPECT_EQ(OpenGivenFile(dir / "nowhere/clip.nemo").status().error().hint, "");
  EXPECT_THAT(OpenGivenFile(dir / "clip.nemo"), testing::IsOk());
  // A failure of another kind, and of what is there, stays as it is.
  EXPECT_EQ(WithNearestPath(Corrupt("broken"), dir / "clp.nemo").error().hint, "");
  EXPECT_EQ(WithNearestPath(NotFound("a key"), dir / "clip.nemo").error().hint, "");
  EXPECT_EQ(WithNearestPath(NotFound("no file", "own advice"), dir / "clp.nemo").error().hint, "own advice");
}

}  // namespace
}  // namespace anemone
