// Towers alone: what transformers computes with them, and what they cannot be asked.
#include "family/family.h"
#include "format/format.h"
#include "infer/clip_source.h"
#include "infer/forward.h"
#include "source/source.h"
#include "tensor_values.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using testing::ExpectNear;
using testing::Golden;
using testing::Ids;
using testing::IsOk;
using testing::StatusIs;
using testing::Values;

struct Tower {
  const char* name;
  bool is_vision;
  uint64_t width;  // of the features
};

Checkpoint Open(const std::string& path) {
  auto checkpoint = OpenSource(Golden(path), {});
  EXPECT_THAT(checkpoint, IsOk());
  return *std::move(checkpoint);
}

// As transformers 4 saved a tower: with its name before every other.
Checkpoint WithPrefix(const Checkpoint& checkpoint, const std::string& prefix) {
  Checkpoint result = checkpoint;
  result.weights() = StateDict();
  for (const StateDict::Item& item : checkpoint.weights().items()) {
    const bool has_name = item.name.starts_with(prefix) || item.name.find("projection") != std::string::npos;
    EXPECT_THAT(result.weights().Add(has_name ? item.name : prefix + item.name, item.entry), IsOk());
  }
  return result;
}

class TowersTest : public ::testing::TestWithParam<Tower> {};

TEST_P(TowersTest, ComputeWhatTransformersDoes) {
  const auto& [name, is_vision, width] = GetParam();
  const Checkpoint alone = Open(std::string("towers/") + name);
  const Checkpoint expected = Open(std::string("towers/") + name + ".safetensors");
  for (const Checkpoint& checkpoint : {alone, WithPrefix(alone, is_vision ? "vision_model." : "text_model.")}) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint same, Translate(checkpoint, "hf"));
    for (const Checkpoint* saved : {&checkpoint, &same}) {
      ANEMONE_ASSERT_ASSIGN(ClipModel model, LoadClip(*saved));
      ANEMONE_ASSERT_ASSIGN(const ClipFeatures features, is_vision
                                                             ? model.EncodeImages(Values<float>(expected, "pixels"))
                                                             : model.EncodeTexts(Ids(expected)));
      EXPECT_EQ(features.width, width);
      ExpectNear(features.values, Values<float>(expected, "features"));
      EXPECT_THAT(is_vision ? model.EncodeTexts(std::vector<std::vector<int32_t>>{{1}}).status()
                            : model.EncodeImages(std::vector<float>(3)).status(),
                  StatusIs(ErrorKind::kInvalidArgument, "alone"));
      EXPECT_THAT(model.LogitScale(), StatusIs(ErrorKind::kInvalidArgument, "both towers"));
    }
    ANEMONE_ASSERT_ASSIGN(const ForwardDifference none, DiffForward(alone, checkpoint, {}));
    EXPECT_EQ(none.first_divergence(), nullptr);
    EXPECT_EQ(none.layers.size(), is_vision ? 5U : 4U);  // pixels, embeddings, two layers, features
    EXPECT_THAT(Translate(checkpoint, "mcore"), StatusIs(ErrorKind::kUnsupported, "alone"));
  }
}

INSTANTIATE_TEST_SUITE_P(All, TowersTest,
                         ::testing::Values(Tower{"vision", true, 32}, Tower{"vision_projected", true, 20},
                                           Tower{"text", false, 16}, Tower{"text_projected", false, 20},
                                           Tower{"siglip_vision", true, 32}, Tower{"siglip_text", false, 20}),
                         [](const auto& test) { return test.param.name; });

TEST(TowersTest, ATowerThatOneModelLacksIsADifference) {
  const Checkpoint whole = Open("clip/hf");
  const Checkpoint text = Open("towers/text");
  ANEMONE_ASSERT_ASSIGN(const ForwardDifference difference, DiffForward(whole, text, {}));
  EXPECT_EQ(difference.layers.back().name, "vision");
  EXPECT_EQ(difference.layers.back().detail, "in the first alone");
  ANEMONE_ASSERT_ASSIGN(const ForwardDifference nothing, DiffForward(text, Open("towers/vision"), {}));
  ASSERT_EQ(nothing.layers.size(), 2U);
  EXPECT_EQ(nothing.first_divergence()->name, "vision");
}

TEST(TowersTest, AMissingProjectionIsMissed) {
  Checkpoint tower = Open("towers/vision_projected");
  tower.config->root()["architectures"] = ConfigNode::List({ConfigNode::String("CLIPVisionModel")});
  EXPECT_THAT(LoadClip(tower).status(), StatusIs(ErrorKind::kCorrupt, "visual_projection.weight"));
  tower = Open("towers/vision");
  tower.config->root()["architectures"] = ConfigNode::List({ConfigNode::String("CLIPVisionModelWithProjection")});
  EXPECT_THAT(LoadClip(tower).status(), StatusIs(ErrorKind::kCorrupt, "missing tensor: visual_projection.weight"));
}

// A table of names splits such a model, and a conversion carries it: neither makes a CLIP of it.
TEST(Towers, AnotherModelIsToldWhatCompares) {
  Checkpoint other;
  Shard& shard = other.shards.emplace_back();
  ASSERT_THAT(shard.weights.Add("decoder.reduces.0.weight", *Tensor::Fill(DType::kF32, {2, 2}, 1)), IsOk());
  for (const bool has_config : {false, true}) {
    if (has_config) {
      other.config = *Config::ParseJson(
          R"({"model_type": "clipseg", "architectures": ["CLIPSegForImageSegmentation"], "text_config": {},
              "vision_config": {}})",
          "config.json");
    }
    const Status status = LoadClip(other).status();
    EXPECT_THAT(status, StatusIs(ErrorKind::kUnsupported, "expected a model of a known family"));
    EXPECT_EQ(status.error().hint, "pictures and texts are compared by a CLIP or a SigLIP");
    EXPECT_TRUE(status.error().remedies.empty());
  }
}

}  // namespace
}  // namespace anemone
