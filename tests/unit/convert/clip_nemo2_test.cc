// CLIP between Hugging Face and NeMo 2.
#include "anemone/convert.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

// NeMo 2's folder has the files of its model in context/.
TEST(ClipInNemo2, AClipComesBackFromNemo2) {
  const TempDir temp;
  const std::string source = Golden("clip/hf"), there = temp.path() + "/there",
                    back = temp.path() + "/back";
  Convert(source, there, {.to = "nemo2"});
  Convert(there, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(source));
  EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), JsonOf(source + "/config.json").root()));
  for (const std::string& file : FilesIn(back)) EXPECT_TRUE(FilesIn(source).contains(file)) << file;
}

// [NeMo v2.4.0 vlm/clip/model/base.py: its towers are CLIP's, and a SigLIP's alone has no text.]
TEST(ClipInNemo2, ASiglipIsNoModelOfNemo2s) {
  const TempDir temp;
  EXPECT_THAT(PlanConversion(Golden("siglip/siglip_32.nemo"), temp.path() + "/x", {.to = "nemo2"}),
              StatusIs(ErrorKind::kUnsupported, "use_siglip: expected false, as NeMo 2's CLIP computes, found true"));
}

}  // namespace
}  // namespace anemone
