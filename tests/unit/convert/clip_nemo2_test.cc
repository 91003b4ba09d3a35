// CLIP and SigLIP between Hugging Face and NeMo: what NeMo 2 has, and what pictures become.
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
  const std::string source = Golden("clip/hf"), there = temp.path() + "/there", back = temp.path() + "/back";
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

// transformers leaves out the columns beyond the last whole patch; NeMo's pictures are whole patches.
TEST(Siglip, TheSizeThatNemoResizesToIsItsConfigs) {
  const TempDir temp;
  const std::string source = Golden("siglip/hf_siglip");
  ConfigNode vision = *JsonOf(source + "/config.json").root().Get("vision_config");
  const int64_t image = *vision.Get("image_size")->AsInt();
  vision["image_size"] = ConfigNode::Int(image + 1);
  const std::string yaml = Config(vision).ToJson();
  const auto plan = PlanConversion(WithKey(source, temp.path() + "/hf", "config.json", "vision_config", yaml.c_str()),
                                   temp.path() + "/x.nemo", {});
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->result.config->Find("vision.img_h")->AsInt(), image);
  EXPECT_THAT(plan->notes,
              ::testing::Contains(::testing::HasSubstr(fmt::format("NeMo resizes the shorter side to {}", image))));
}

}  // namespace
}  // namespace anemone
