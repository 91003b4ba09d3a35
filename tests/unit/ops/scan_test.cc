#include "ops/scan.h"

#include <algorithm>
#include <fstream>

#include "testing/matchers.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;

std::string WriteFile(const std::string& name, const std::string& bytes) {
  const std::string path = ::testing::TempDir() + "/" + name;
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

Danger Worst(const std::vector<ScanFinding>& findings) {
  Danger worst = Danger::kInert;
  for (const ScanFinding& f : findings) worst = std::max(worst, f.danger);
  return worst;
}

TEST(ScanTest, JudgesGlobals) {
  EXPECT_EQ(JudgeGlobal("torch._utils _rebuild_tensor_v2"), Danger::kInert);
  EXPECT_EQ(JudgeGlobal("collections OrderedDict"), Danger::kInert);
  EXPECT_EQ(JudgeGlobal("torch BFloat16Storage"), Danger::kInert);
  EXPECT_EQ(JudgeGlobal("omegaconf.dictconfig DictConfig"), Danger::kInert);
  EXPECT_EQ(JudgeGlobal("os system"), Danger::kCalls);
  EXPECT_EQ(JudgeGlobal("builtins eval"), Danger::kCalls);
  EXPECT_EQ(JudgeGlobal("builtins dict"), Danger::kInert);
  EXPECT_EQ(JudgeGlobal("builtins dict.__init__.__globals__"), Danger::kCalls);
  EXPECT_EQ(JudgeGlobal("torch.hub load"), Danger::kCalls);
  EXPECT_EQ(JudgeGlobal("torch.utils._config_module ConfigModule.load_config"), Danger::kCalls);
  EXPECT_EQ(JudgeGlobal("numpy.testing._private.utils runstring"), Danger::kCalls);
  EXPECT_EQ(JudgeGlobal("osprey thing"), Danger::kUnknown);
  EXPECT_EQ(JudgeGlobal("somebody.package Class"), Danger::kUnknown);
}

TEST(ScanTest, NamesADangerousPickle) {
  const std::string path = WriteFile("evil.pkl", std::string("\x80\x02"
                                                             "cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
                                                             24));
  auto findings = Scan(path);
  ASSERT_THAT(findings, IsOk());
  ASSERT_EQ(findings->size(), 1u);
  EXPECT_EQ(findings->front().danger, Danger::kCalls);
}

TEST(ScanTest, NamesTargetsInConfigs) {
  const std::string path = WriteFile(
      "model_config.yaml", "optim:\n  _target_: os.system\ntarget: nemo.collections.x.Model\nhome: ${oc.env:HOME}\n");
  auto findings = Scan(path);
  ASSERT_THAT(findings, IsOk());
  ASSERT_EQ(findings->size(), 3u);
  EXPECT_EQ(Worst(*findings), Danger::kCalls);
}

TEST(ScanTest, GoldenNemoFilesAreInert) {
  for (const char* name : {"clip/mcore.nemo", "clip/legacy.nemo", "clip/mcore_tp2.nemo"}) {
    auto findings = Scan(testing::Golden(name));
    ASSERT_THAT(findings, IsOk());
    EXPECT_FALSE(findings->empty()) << name;
    for (const ScanFinding& f : *findings)
      EXPECT_EQ(f.danger, Danger::kInert) << f.file << ": " << f.name << " " << f.where;
  }
}

TEST(ScanTest, MissingFileIsAnError) { EXPECT_THAT(Scan("/nowhere"), StatusIs(ErrorKind::kNotFound, "/nowhere")); }

}  // namespace
}  // namespace anemone
