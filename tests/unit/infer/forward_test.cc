// What names and shapes cannot show must be seen, and named where it begins.
#include "infer/forward.h"

#include <algorithm>
#include <functional>

#include "source/source.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;

Checkpoint Open(const std::string& relative) {
  auto checkpoint = OpenSource(Golden(relative), {});
  EXPECT_THAT(checkpoint, IsOk());
  return *std::move(checkpoint);
}

// The checkpoint with one tensor replaced.
Checkpoint Changed(const Checkpoint& checkpoint, const std::string& name,
                   const std::function<Result<Tensor>(const Tensor&)>& change) {
  Checkpoint result = checkpoint;
  result.weights() = StateDict();
  bool found = false;
  for (const StateDict::Item& item : checkpoint.weights().items()) {
    if (item.name != name) {
      EXPECT_THAT(result.weights().Add(item.name, item.entry), IsOk());
      continue;
    }
    auto changed = change(*item.tensor());
    EXPECT_THAT(changed, IsOk());
    EXPECT_THAT(result.weights().Add(name, *std::move(changed)), IsOk());
    found = true;
  }
  EXPECT_TRUE(found) << name;
  return result;
}

// Rows of `heads` heads, the first two of them exchanged.
Result<Tensor> SwapHeads(const Tensor& tensor, uint64_t heads) {
  const uint64_t d = tensor.shape()[0] / heads;
  ANEMONE_ASSIGN(Tensor first, tensor.Narrow(0, 0, d));
  ANEMONE_ASSIGN(Tensor second, tensor.Narrow(0, d, d));
  ANEMONE_ASSIGN(Tensor rest, tensor.Narrow(0, 2 * d, (heads - 2) * d));
  return Tensor::Concat({second, first, rest}, 0);
}

std::string FirstDivergence(const Checkpoint& a, const Checkpoint& b, const ForwardOptions& options = {}) {
  const auto difference = DiffForward(a, b, options);
  EXPECT_THAT(difference, IsOk());
  if (!difference.ok()) return "error";
  return difference->first_divergence() == nullptr ? "" : difference->first_divergence()->name;
}

constexpr char kQuery[] = "vision_model.encoder.layers.1.self_attn.q_proj.weight";

TEST(ForwardTest, EveryDialectComputesTheSame) {
  const Checkpoint hf = Open("clip/hf");
  for (const char* other : {"clip/mcore.nemo", "clip/legacy.nemo", "clip/mcore_tp2.nemo", "clip/legacy_tp2.nemo"}) {
    const auto difference = DiffForward(hf, Open(other), {});
    ASSERT_THAT(difference, IsOk()) << other;
    EXPECT_EQ(difference->first_divergence(), nullptr) << other;
    EXPECT_EQ(difference->layers.size(), 11u);  // pixels, 5 of vision, 4 of text, logit_scale
    for (const LayerDifference& layer : difference->layers) EXPECT_EQ(layer.max_abs, 0) << other << layer.name;
  }
}

TEST(ForwardTest, SiglipAsNemosYamlHasItDiffersByItsEpsilonAlone) {
  const Checkpoint hf = Open("siglip/hf_siglip");
  Checkpoint nemo = Open("siglip/siglip_32.nemo");
  EXPECT_EQ(FirstDivergence(hf, nemo), "vision.layers.0");
  for (const char* tower : {"vision", "text"}) {
    nemo.config->root()[tower]["layernorm_epsilon"] = ConfigNode::Float(1e-6);
  }
  EXPECT_EQ(FirstDivergence(hf, nemo), "");
}

TEST(ForwardTest, SeesASwappedHead) {
  const Checkpoint hf = Open("clip/hf");
  const Checkpoint swapped = Changed(hf, kQuery, [](const Tensor& t) { return SwapHeads(t, 4); });
  const auto difference = DiffForward(hf, swapped, {});
  ASSERT_THAT(difference, IsOk());
  ASSERT_NE(difference->first_divergence(), nullptr);
  EXPECT_EQ(difference->first_divergence()->name, "vision.layers.1");
  EXPECT_EQ(difference->layers[2].max_abs, 0);      // vision.layers.0
  EXPECT_EQ(difference->layers.back().max_abs, 0);  // logit_scale
}

TEST(ForwardTest, SeesADroppedBias) {
  const Checkpoint hf = Open("clip/hf");
  EXPECT_EQ(FirstDivergence(hf, Changed(hf, "text_model.encoder.layers.1.mlp.fc1.bias",
                                        [](const Tensor& t) { return Tensor::Fill(t.dtype(), t.shape(), 0); })),
            "text.layers.1");
  const Checkpoint siglip = Open("siglip/hf_siglip");
  EXPECT_EQ(FirstDivergence(siglip, Changed(siglip, "vision_model.head.attention.in_proj_bias",
                                            [](const Tensor& t) { return Tensor::Fill(t.dtype(), t.shape(), 0.5); })),
            "vision.features");
}

TEST(ForwardTest, SeesAnotherActivationEpsilonScaleAndPooling) {
  const Checkpoint hf = Open("clip/hf");
  const auto with = [&hf](const char* tower, const char* key, ConfigNode value) {
    Checkpoint changed = hf;
    changed.config->root()[tower][key] = std::move(value);
    return changed;
  };
  EXPECT_EQ(FirstDivergence(hf, with("vision_config", "hidden_act", ConfigNode::String("gelu"))), "vision.layers.0");
  EXPECT_EQ(FirstDivergence(hf, with("text_config", "hidden_act", ConfigNode::String("gelu"))), "text.layers.0");
  EXPECT_EQ(FirstDivergence(hf, with("text_config", "layer_norm_eps", ConfigNode::Float(1e-2))), "text.layers.0");
  EXPECT_EQ(FirstDivergence(hf, with("vision_config", "num_attention_heads", ConfigNode::Int(8))), "vision.layers.0");
  EXPECT_EQ(FirstDivergence(
                hf, Changed(hf, "logit_scale", [](const Tensor& t) { return Tensor::Fill(t.dtype(), t.shape(), 4); })),
            "logit_scale");
  // The pooled position decides how much of a text is looked at.
  EXPECT_EQ(FirstDivergence(hf, with("text_config", "eos_token_id", ConfigNode::Int(7))), "text.embeddings");
}

TEST(ForwardTest, SeesAnotherPreprocessing) {
  const Checkpoint hf = Open("clip/hf");
  Checkpoint other = Open("clip/mcore.nemo");
  other.config->root()["vision"]["img_mean"] = ConfigNode::Float(0.5);
  EXPECT_EQ(FirstDivergence(hf, other), "vision.pixels");
}

TEST(ForwardTest, RunsOnGivenPicturesAndTexts) {
  ForwardOptions options;
  options.images = {Golden("clip/test.jpg")};
  options.texts = {"a dog", "two red squares on a blue background!", ""};
  EXPECT_EQ(FirstDivergence(Open("clip/hf"), Open("clip/mcore.nemo"), options), "");
  options.images = {Golden("clip/hparams.yaml")};
  EXPECT_THAT(DiffForward(Open("clip/hf"), Open("clip/mcore.nemo"), options),
              StatusIs(ErrorKind::kUnsupported, "hparams.yaml"));
}

TEST(ForwardTest, RoundingIsAllowedForAndDoesNotHideAnything) {
  const Checkpoint hf = Open("clip/hf");
  const Checkpoint bf16 = Open("clip/mcore_bf16_O2.nemo");
  const auto loose = DiffForward(hf, bf16, {});
  ASSERT_THAT(loose, IsOk());
  EXPECT_EQ(loose->first_divergence(), nullptr);
  EXPECT_EQ(loose->tolerance, 1e-1);
  ForwardOptions rounded;
  rounded.round_first = DType::kBF16;
  const auto exact = DiffForward(hf, bf16, rounded);
  ASSERT_THAT(exact, IsOk());
  EXPECT_EQ(exact->tolerance, 1e-5);
  EXPECT_EQ(exact->first_divergence(), nullptr);
  EXPECT_EQ(FirstDivergence(Changed(hf, kQuery, [](const Tensor& t) { return SwapHeads(t, 4); }), bf16, rounded),
            "vision.layers.1");
}

TEST(ForwardTest, SizesThatDisagreeAreNamed) {
  const auto difference = DiffForward(Open("clip/hf"), Open("clip_pp/mcore.nemo"), {});
  ASSERT_THAT(difference, IsOk());
  ASSERT_NE(difference->first_divergence(), nullptr);
  const auto found = std::find_if(difference->layers.begin(), difference->layers.end(),
                                  [](const LayerDifference& d) { return d.name == "vision.layers"; });
  ASSERT_NE(found, difference->layers.end());
  EXPECT_EQ(found->detail, "3 layers in the first, 4 in the second");
}

TEST(ForwardTest, WhatIsNoClipIsRefused) {
  EXPECT_THAT(DiffForward(Open("gpt/A_tp2.nemo"), Open("clip/hf"), {}),
              StatusIs(ErrorKind::kUnsupported, "expected a CLIP"));
}

}  // namespace
}  // namespace anemone
