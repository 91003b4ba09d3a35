#include <filesystem>

#include "golden.h"

namespace anemone {
namespace {

using testing::Dump;
using testing::Golden;
using testing::GoldenRows;
using testing::IsOk;
using testing::ReadText;
using testing::StatusIs;
using testing::WithoutSpelling;

// Where we differ on purpose. A lone `=` or `<<` is no more than a string; `!` means a string, as YAML 1.2 says; a root
// that is a scalar is no config; an empty item `[,]` is null; the rare collection types are refused.
bool DiffersOnPurpose(const std::string& text) {
  return text == "k: =\n" || text == "a: =\n" || text == "k: <<\n" || text == "a: <<\n" || text == "a: ! 12\n" ||
         text == "a:b\n" || text == "a: [,]\n" || text == "a: !!omap [x: 1]\n" || text == "just a scalar" ||
         text == "12";
}

TEST(Yaml, ReadsWhatOmegaConfReads) {
  for (const ConfigNode& row : GoldenRows("yaml.jsonl")) {
    const std::string text = row.Get("yaml")->text;
    if (DiffersOnPurpose(text)) continue;
    const Result<Config> config = Config::ParseYaml(text, "case.yaml");
    if (row.Get("error") != nullptr) {
      EXPECT_FALSE(config.ok()) << "OmegaConf refuses (" << row.Get("error")->text << ") and we read "
                                << Dump(config->root()) << " from\n"
                                << text;
      continue;
    }
    ASSERT_THAT(config, IsOk()) << text;
    EXPECT_TRUE(SameConfig(config->root(), *row.Get("json")))
        << text << "\nhere:  " << Dump(config->root()) << "\nthere: " << Dump(*row.Get("json"));
  }
}

TEST(Yaml, WritesWhatOmegaConfWrites) {
  for (const ConfigNode& row : GoldenRows("write.jsonl")) {
    const std::string text = Config(WithoutSpelling(*row.Get("json"))).ToYaml();
    EXPECT_EQ(text, row.Get("yaml")->text);
    ANEMONE_ASSERT_ASSIGN(const Config again, Config::ParseYaml(text, "again.yaml"));
    EXPECT_TRUE(SameConfig(again.root(), *row.Get("json"))) << text << Dump(again.root());
  }
}

TEST(Yaml, ReproducesEveryFileThatNeMoWrote) {
  const std::string files[] = {"clip/ckpt_mcore/hparams.yaml",
                               "clip/ckpt_mcore_bf16_O2/hparams.yaml",
                               "clip/ckpt_mcore_tp2/hparams.yaml",
                               "dist/torch_dist_small/nemo_extracted/model_config.yaml",
                               "dist/zarr_small/nemo_extracted/model_config.yaml",
                               "gpt_fused_adam_dist/hparams.yaml",
                               "gpt_mcore_dist_optim/hparams.yaml",
                               "gpt_vp/hparams.yaml"};
  for (const std::string& file : files) {
    const std::string text = ReadText(Golden(file));
    ANEMONE_ASSERT_ASSIGN(const Config config, Config::ParseYaml(text, file));
    EXPECT_EQ(config.ToYaml(), text) << file;
  }
}

}  // namespace
}  // namespace anemone
