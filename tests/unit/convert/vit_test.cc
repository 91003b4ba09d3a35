// ViT between NeMo and transformers: NeMo v2.0.0's own file, and what transformers 4 and 5 save (tests/golden, vit/).
// tests/interop/nemo/vit.py compares what they compute.
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "anemone/convert.h"
#include "family/family.h"
#include "format/format.h"
#include "source/canonical.h"
#include "tensor/fill.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

TEST(Vit, NemosOwnIsDividedAndMerged) {
  const TempDir temp;
  const std::string source = Golden("vit/nemo.nemo"), split = temp.path() + "/split.nemo",
                    merged = temp.path() + "/merged.nemo";
  ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, OpenCheckpoint(source));
  ANEMONE_ASSERT_ASSIGN(const ResolvedModel model, ResolveModel(nemo));
  EXPECT_EQ(model.family->name, "vit");
  EXPECT_EQ(*model.symbols.Get("class_tokens"), 8u);
  Convert(source, split, {.tp = 2});
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ranks, OpenCheckpoint(split));
  ASSERT_EQ(ranks.shards.size(), 2u);
  EXPECT_EQ(
      ranks.shards[1].weights.Find("model.backbone.transformer.layers.0.mlp.dense_h_to_4h.weight")->tensor()->shape(),
      (Shape{36, 32}));
  Convert(split, merged, {.tp = 1});
  EXPECT_EQ(DigestsOf(merged), DigestsOf(source));
}

TEST(Vit, ComesBackFromNemo) {
  for (const char* name : {"4_small", "5_small", "4_tanh", "5_tanh"}) {
    SCOPED_TRACE(name);
    for (const int tp : {1, 2}) {
      const TempDir temp;
      const std::string source = Golden(std::string("vit/") + name), nemo = temp.path() + "/out.nemo",
                        back = temp.path() + "/back";
      Convert(source, nemo, {.tp = tp});
      Convert(nemo, back, {.to = "hf"});
      EXPECT_EQ(DigestsOf(back), DigestsOf(source));
      EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), JsonOf(source + "/config.json").root()));
    }
  }
}

// Without the config.json that came along.
TEST(Vit, IsMadeAnewFromNemosConfig) {
  for (const char* name : {"4_small", "5_tanh"}) {
    SCOPED_TRACE(name);
    const std::string source = Golden(std::string("vit/") + name);
    ANEMONE_ASSERT_ASSIGN(const Checkpoint hf, OpenCheckpoint(source));
    ANEMONE_ASSERT_ASSIGN(Checkpoint nemo, Translate(hf, "legacy"));
    EXPECT_EQ(nemo.config->root().Get("class_token_length")->AsInt(), 1);
    nemo.artifacts.clear();
    ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(nemo, "hf"));
    for (const auto& [key, value] : hf.config->root().map) {
      if (key == "transformers_version" || key == "dtype" || key.starts_with("pooler_")) continue;
      const ConfigNode* found = back.config->root().Get(key);
      ASSERT_NE(found, nullptr) << key;
      EXPECT_TRUE(SameConfig(*found, value)) << key;
    }
  }
}

std::vector<float> FloatsOf(const Tensor& tensor) {
  std::vector<float> values(tensor.num_elements());
  EXPECT_THAT(Fill(tensor, 0, std::as_writable_bytes(std::span(values))), IsOk());
  return values;
}
Tensor TensorOf(const Shape& shape, const std::vector<float>& values) {
  return *Tensor::FromBytes(DType::kF32, shape,
                            std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
}

// NeMo 1.23 had a linear layer, whose columns are a patch's rows, columns and channels, and a bias.
TEST(Vit, PatchesOfOlderFilesKeepTheirBias) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint hf, OpenCheckpoint(Golden("vit/5_small")));
  ANEMONE_ASSERT_ASSIGN(Checkpoint nemo, Translate(hf, "legacy"));
  nemo.artifacts.clear();
  StateDict older;
  std::vector<float> bias(32);
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(i) - 7.5F;
  for (const StateDict::Item& item : nemo.weights().items()) {
    if (item.name != "model.backbone.conv1.weight") {
      ASSERT_THAT(older.Add(item.name, item.entry), IsOk());
      continue;
    }
    const std::vector<float> conv = FloatsOf(*item.tensor());
    std::vector<float> linear(conv.size());
    constexpr size_t kPatch = 8, kChannels = 3;
    for (size_t row = 0, to = 0; row < 32; ++row) {
      for (size_t y = 0; y < kPatch; ++y) {
        for (size_t x = 0; x < kPatch; ++x) {
          for (size_t c = 0; c < kChannels; ++c, ++to)
            linear[to] = conv[((row * kChannels + c) * kPatch + y) * kPatch + x];
        }
      }
    }
    ASSERT_THAT(older.Add("model.backbone.linear_encoder.weight", TensorOf({32, 192}, linear)), IsOk());
    ASSERT_THAT(older.Add("model.backbone.linear_encoder.bias", TensorOf({32}, bias)), IsOk());
  }
  nemo.weights() = std::move(older);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(nemo, "hf"));
  const std::string patches = "vit.embeddings.patch_embeddings.projection.";
  EXPECT_EQ(FloatsOf(*back.weights().Find(patches + "bias")->tensor()), bias);
  EXPECT_EQ(FloatsOf(*back.weights().Find(patches + "weight")->tensor()),
            FloatsOf(*hf.weights().Find(patches + "weight")->tensor()));
}

TEST(Vit, WhatTheOtherSideDoesNotComputeIsRefused) {
  const TempDir temp;
  EXPECT_THAT(PlanConversion(Golden("vit/nemo.nemo"), temp.path() + "/hf", {.to = "hf"}),
              StatusIs(ErrorKind::kUnsupported, "finetune: expected true"));
  for (const char* name : {"vit/4_biased", "vit/5_biased"}) {
    EXPECT_THAT(PlanConversion(Golden(name), temp.path() + "/x.nemo", {}),
                StatusIs(ErrorKind::kUnsupported, "projection.bias: expected zeros, as NeMo projects patches"));
  }
  struct Case {
    const char *key, *yaml, *said;
  };
  for (const Case& of : {Case{"hidden_act", "relu", "hidden_act: expected gelu"},
                         {"qkv_bias", "false", "qkv_bias: expected true"},
                         {"model_type", "deit", "model_type: expected vit"},
                         {"patch_size", "[8, 4]", "patch_size: expected squares"},
                         {"patch_size", "[8, 8, 8]", "patch_size: expected a size or two"},
                         {"architectures", "[ViTModel]", "found ViTModel"},
                         {"image_size", "64", "vit.embeddings.position_embeddings"},
                         {"num_hidden_layers", "3", "missing tensors"}}) {
    SCOPED_TRACE(of.yaml);
    const TempDir changed;
    const std::string odd = WithKey(Golden("vit/5_small"), changed.path() + "/hf", "config.json", of.key, of.yaml);
    const auto planned = PlanConversion(odd, temp.path() + "/y.nemo", {});
    ASSERT_FALSE(planned.ok());
    EXPECT_THAT(planned.status().message(), ::testing::HasSubstr(of.said));
  }
  ANEMONE_ASSERT_ASSIGN(const Checkpoint hf, OpenCheckpoint(Golden("vit/5_small")));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, Translate(hf, "legacy"));
  for (const auto& [key, value] : {std::pair{"class_token_length", ConfigNode::Int(8)},
                                   {"preprocess_layernorm", ConfigNode::Bool(true)},
                                   {"layerscale", ConfigNode::Bool(true)},
                                   {"normalization", ConfigNode::String("rmsnorm")},
                                   {"num_classes", ConfigNode::Int(int64_t{1} << 40)},
                                   {"kv_channels", ConfigNode::Int(16)}}) {
    Checkpoint other = nemo;
    other.artifacts.clear();
    ASSERT_THAT(other.config->Set(key, value), IsOk());
    EXPECT_FALSE(Translate(other, "hf").ok()) << key;
  }
}

}  // namespace
}  // namespace anemone
