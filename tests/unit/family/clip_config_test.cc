#include "family/clip/clip_config.h"

#include <fstream>
#include <sstream>

#include "family/clip/nemo_clip_template.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;

Config Yaml(const std::string& name) {
  std::ifstream file(std::string(ANEMONE_SOURCE_DIR) + "/tests/unit/family/data/" + name);
  std::stringstream text;
  text << file.rdbuf();
  auto config = Config::ParseYaml(text.str(), name);
  EXPECT_THAT(config, IsOk());
  return config.ok() ? *std::move(config) : Config();
}

ClipArchitecture Openai(std::string_view preset) { return *ClipPreset(preset); }

TEST(ClipPresetTest, KnowsTheSizesByEverySpelling) {
  for (const char* name : {"ViT-L-14", "vit-l/14", "ViT-L-14-quickgelu"}) {
    ASSERT_TRUE(ClipPreset(name).has_value()) << name;
    EXPECT_EQ(ClipPreset(name)->vision.width, 1024u);
  }
  EXPECT_EQ(ClipPreset("ViT-L/14@336px")->positions(), 577u);
  EXPECT_EQ(ClipPreset("ViT-bigG-14")->vision.ffn, 8192u);
  EXPECT_EQ(ClipPreset("ViT-g-14")->vision.width / ClipPreset("ViT-g-14")->vision.heads, 88u);
  EXPECT_FALSE(ClipPreset("RN50").has_value());
}

TEST(ReadClipSpecTest, FillsHuggingFaceDefaults) {
  ANEMONE_ASSERT_ASSIGN(const Config config,
                        Config::ParseJson(R"({"model_type": "clip", "text_config": {}, "vision_config": {}})", "c"));
  ANEMONE_ASSERT_ASSIGN(const ClipArchitecture spec, ReadClipArchitecture(config));
  EXPECT_EQ(spec.text.width, 512u);
  EXPECT_EQ(spec.text.heads, 8u);
  EXPECT_EQ(spec.vision.ffn, 3072u);
  EXPECT_EQ(spec.positions(), 50u);
  EXPECT_EQ(spec.vision.activation, "quick_gelu");
}

TEST(ReadClipSpecTest, ConfigDictWins) {
  ANEMONE_ASSERT_ASSIGN(
      const Config config,
      Config::ParseJson(
          R"({"text_config": {"hidden_size": 64}, "text_config_dict": {"hidden_size": 768, "num_attention_heads": 12}, "vision_config": {}})",
          "c"));
  ANEMONE_ASSERT_ASSIGN(const ClipArchitecture spec, ReadClipArchitecture(config));
  EXPECT_EQ(spec.text.width, 768u);
  EXPECT_EQ(spec.text.heads, 12u);
}

TEST(ReadClipSpecTest, OpenClipRatiosAndHeadWidth) {
  ANEMONE_ASSERT_ASSIGN(const Config config, Config::ParseJson(R"({"model_cfg": {"embed_dim": 1280,
      "vision_cfg": {"image_size": 224, "layers": 48, "width": 1664, "head_width": 104, "mlp_ratio": 4.9231, "patch_size": [14, 14]},
      "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1280, "heads": 20, "layers": 32}}})",
                                                               "c"));
  ANEMONE_ASSERT_ASSIGN(const ClipArchitecture spec, ReadClipArchitecture(config));
  EXPECT_EQ(spec.vision.heads, 16u);
  EXPECT_EQ(spec.vision.ffn, 8192u);
  EXPECT_EQ(spec.patch, 14u);
  EXPECT_EQ(spec.vision.activation, "gelu");
}

TEST(ReadClipSpecTest, RefusesRelativesByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"model_cfg": {"embed_dim": 1, "vision_cfg": {"timm_model_name": "convnext"}, "text_cfg": {}}})", "convnext"},
      {R"({"model_cfg": {"embed_dim": 1, "vision_cfg": {"layers": [3, 4, 6, 3]}, "text_cfg": {}}})", "ResNet"},
      {R"({"model_cfg": {"embed_dim": 1, "vision_cfg": {}, "text_cfg": {"hf_model_name": "roberta"}}})", "roberta"},
      {R"({"model_cfg": {"embed_dim": 1, "vision_cfg": {}, "text_cfg": {}, "multimodal_cfg": {}}})", "CoCa"},
      {R"({"model_type": "blip", "vision_config": {}})", "blip"},
  };
  for (const auto& [text, word] : cases) {
    ANEMONE_ASSERT_ASSIGN(const Config config, Config::ParseJson(text, "c"));
    EXPECT_THAT(ReadClipArchitecture(config), StatusIs(ErrorKind::kUnsupported, word));
  }
}

TEST(ReadClipSpecTest, NamesTheFieldThatIsWrong) {
  ANEMONE_ASSERT_ASSIGN(Config config, Config::ParseJson(R"({"vision_config": {"hidden_size": "wide"}})", "c"));
  EXPECT_THAT(ReadClipArchitecture(config),
              StatusIs(ErrorKind::kCorrupt, "vision_config.hidden_size: expected a size, found wide"));
  ANEMONE_ASSERT_ASSIGN(config, Config::ParseJson(R"({"vision_config": {"patch_size": [7, 7]}})", "c"));
  EXPECT_THAT(ReadClipArchitecture(config),
              StatusIs(ErrorKind::kCorrupt, "vision_config.patch_size: expected a size, found [7, 7]"));
  ANEMONE_ASSERT_ASSIGN(config, Config::ParseJson(R"({"vision_config": {"num_attention_heads": 7}})", "c"));
  EXPECT_THAT(ReadClipArchitecture(config), StatusIs(ErrorKind::kCorrupt, "7 heads"));
}

TEST(NemoConfigTest, PublishedYamlsPassForTheirModels) {
  // vision.encoder_seq_length says 196 in both, which no model has; NeMo never reads it.
  const Config l14 = Yaml("megatron_clip_VIT-L-14.yaml"), h14 = Yaml("megatron_clip_VIT-H-14.yaml");
  for (const NemoClipKind kind : {NemoClipKind::kMcore, NemoClipKind::kLegacy}) {
    EXPECT_THAT(NemoConfigFromHparams(l14, "l.yaml", Openai("ViT-L-14-quickgelu"), "config.json", kind, nullptr),
                IsOk());
    EXPECT_THAT(NemoConfigFromHparams(h14, "h.yaml", Openai("ViT-H-14"), "config.json", kind, nullptr), IsOk());
  }
}

TEST(NemoConfigTest, NamesEveryDisagreementWithBothValuesAndTheFix) {
  const Config l14 = Yaml("megatron_clip_VIT-L-14.yaml");
  const auto result =
      NemoConfigFromHparams(l14, "l.yaml", Openai("ViT-L-14-336"), "config.json", NemoClipKind::kMcore, nullptr);
  for (const char* words : {"l.yaml: disagrees with config.json in 4 fields",
                            "vision.activation: expected gelu (gelu), found approx-gelu (quick_gelu)",
                            "text.activation", "vision.img_h: expected 336, found 224", "set vision.activation=gelu"}) {
    EXPECT_THAT(result, StatusIs(ErrorKind::kCorrupt, words));
  }
}

struct Change {
  const char* path;
  ConfigNode value;
};

TEST(NemoConfigTest, SeesEachFieldThatMatters) {
  const Change changes[] = {
      {"model.vision.num_layers", ConfigNode::Int(23)},
      {"model.text.hidden_size", ConfigNode::Int(1536)},
      {"model.vision.num_attention_heads", ConfigNode::Int(8)},
      {"model.text.ffn_hidden_size", ConfigNode::Int(1)},
      {"model.vision.patch_dim", ConfigNode::Int(16)},
      {"model.vision.class_token_length", ConfigNode::Int(8)},
      {"model.text.layernorm_epsilon", ConfigNode::Float(1e-6)},
      {"model.text.max_position_embeddings", ConfigNode::Int(64)},
      {"model.output_dim", ConfigNode::Int(512)},
      {"model.vision.openai_gelu", ConfigNode::Bool(true)},
      {"model.vision.preprocess_layernorm", ConfigNode::Bool(false)},
      {"model.vision.global_average_pool", ConfigNode::Bool(true)},
      {"model.vision.kv_channels", ConfigNode::Int(32)},
  };
  for (const Change& change : changes) {
    Config config = Yaml("megatron_clip_VIT-L-14.yaml");
    ASSERT_THAT(config.Set(change.path, change.value), IsOk());
    const std::string field = std::string(change.path).substr(std::string("model.").size());
    EXPECT_THAT(NemoConfigFromHparams(config, "l.yaml", Openai("ViT-L-14-quickgelu"), "config.json",
                                      NemoClipKind::kMcore, nullptr),
                StatusIs(ErrorKind::kCorrupt, field));
  }
}

// A model that was trained so, of NeMo's own layers: Megatron core's take the first token whatever is said.
TEST(NemoConfigTest, WhatNemosOwnLayersDoIsRefused) {
  for (const Change& change : {Change{"model.vision.global_average_pool", ConfigNode::Bool(true)},
                               Change{"model.vision.preprocess_layernorm", ConfigNode::Bool(false)}}) {
    Config config = Yaml("megatron_clip_VIT-L-14.yaml");
    EXPECT_THAT(ReadClipArchitecture(config), IsOk());
    ASSERT_THAT(config.Set(change.path, change.value), IsOk());
    ASSERT_THAT(config.Set("model.mcore_gpt", ConfigNode::Bool(false)), IsOk());
    const std::string field = std::string(change.path).substr(std::string("model.").size());
    EXPECT_THAT(ReadClipArchitecture(config), StatusIs(ErrorKind::kUnsupported, field + ": expected "));
    ASSERT_THAT(config.Set("model.mcore_gpt", ConfigNode::Bool(true)), IsOk());
    EXPECT_THAT(ReadClipArchitecture(config), IsOk());
  }
}

TEST(NemoConfigTest, PixelsAreTheSpecsUnlessTheYamlSaysOthers) {
  ClipArchitecture spec = Openai("ViT-L-14-quickgelu");
  Config yaml = Yaml("megatron_clip_VIT-L-14.yaml");
  spec.mean = Rgb{0.5, 0.5, 0.5};
  spec.deviation = kClipDeviation;
  ANEMONE_ASSERT_ASSIGN(const Config set,
                        NemoConfigFromHparams(yaml, "l.yaml", spec, "spec", NemoClipKind::kMcore, nullptr));
  EXPECT_EQ(ReadRgb(set.Find("vision.img_mean")), spec.mean);
  EXPECT_EQ(set.Find("vision.img_std"), nullptr);
  ASSERT_THAT(yaml.Set("model.vision.img_mean", ConfigNode::Float(0.25)), IsOk());
  EXPECT_THAT(NemoConfigFromHparams(yaml, "l.yaml", spec, "spec", NemoClipKind::kMcore, nullptr),
              StatusIs(ErrorKind::kCorrupt, "vision.img_mean: expected [0.5, 0.5, 0.5], found [0.25, 0.25, 0.25]"));
  spec.mean.reset();  // weights that do not say it
  EXPECT_THAT(NemoConfigFromHparams(yaml, "l.yaml", spec, "spec", NemoClipKind::kMcore, nullptr), IsOk());
}

TEST(NemoConfigTest, IgnoresWhatNemoNeverReads) {
  const Change changes[] = {{"model.vision.encoder_seq_length", ConfigNode::Int(1)},
                            {"model.vision.image_mean", ConfigNode::Float(0.5)},
                            {"model.text.transformer_engine", ConfigNode::Bool(false)}};
  for (const Change& change : changes) {
    Config config = Yaml("megatron_clip_VIT-L-14.yaml");
    ASSERT_THAT(config.Set(change.path, change.value), IsOk());
    EXPECT_THAT(NemoConfigFromHparams(config, "l.yaml", Openai("ViT-L-14-quickgelu"), "config.json",
                                      NemoClipKind::kMcore, nullptr),
                IsOk());
  }
}

TEST(NemoConfigTest, SetsWhatTheConverterSets) {
  ANEMONE_ASSERT_ASSIGN(const Config config, NemoConfigFromHparams(Yaml("megatron_clip_VIT-L-14.yaml"), "l.yaml",
                                                                   Openai("ViT-L-14-quickgelu"), "config.json",
                                                                   NemoClipKind::kMcore, nullptr));
  EXPECT_EQ(config.Find("mcore_gpt")->AsBool(), true);
  EXPECT_EQ(config.Find("transformer_engine")->AsBool(), true);
  EXPECT_EQ(config.Find("text.position_embedding_type")->AsString(), "learned_absolute");
  EXPECT_EQ(config.Find("vision.output_dim")->AsInt(), 768);
  EXPECT_EQ(config.root().map.back().first, "nemo_version");
}

TEST(NemoConfigTest, DerivedOnesReadBackAsTheSpecAndHaveEveryKey) {
  const ConfigNode full = NemoClipTemplate();
  ASSERT_GT(full.map.size(), 25u);
  for (const std::string_view name : ClipPresetNames()) {
    for (const NemoClipKind kind : {NemoClipKind::kMcore, NemoClipKind::kLegacy}) {
      const ClipArchitecture spec = *ClipPreset(name);
      const Config config = NemoConfigFromArchitecture(spec, kind);
      EXPECT_THAT(NemoConfigFromHparams(config, "own", spec, "spec", kind, nullptr), IsOk()) << name;
      for (const auto& [key, value] : full.map) EXPECT_NE(config.Find(key), nullptr) << key;
    }
  }
}

TEST(HuggingFaceConfigTest, ReadsBackAsTheSpec) {
  for (const std::string_view name : ClipPresetNames()) {
    const ClipArchitecture spec = *ClipPreset(name);
    ANEMONE_ASSERT_ASSIGN(const Config hf, HuggingFaceConfig(spec, DType::kF32));
    ANEMONE_ASSERT_ASSIGN(const ClipArchitecture back, ReadClipArchitecture(hf));
    EXPECT_THAT(NemoConfigFromHparams(NemoConfigFromArchitecture(spec, NemoClipKind::kMcore), "yaml", back, "hf",
                                      NemoClipKind::kMcore, nullptr),
                IsOk());
    ANEMONE_ASSERT_ASSIGN(const Config open, OpenClipConfig(spec));
    ANEMONE_ASSERT_ASSIGN(const ClipArchitecture again, ReadClipArchitecture(open));
    EXPECT_EQ(again.vision.ffn, spec.vision.ffn) << name;
    EXPECT_EQ(again.vision.heads, spec.vision.heads) << name;
  }
}

}  // namespace
}  // namespace anemone
