// What NeMo itself wrote, translated, merged and split: bit for bit, in both directions.
#include <fmt/format.h>

#include "family/clip/clip_config.h"
#include "family/family.h"
#include "format/format.h"
#include "parallel/reshard.h"
#include "synthetic.h"

namespace anemone {
namespace {

using testing::ExpectSameTensors;
using testing::Golden;
using testing::IsOk;
using testing::Names;
using testing::StatusIs;

Checkpoint Open(const std::string& name) {
  auto checkpoint = OpenCheckpoint(Golden(name));
  EXPECT_THAT(checkpoint, IsOk()) << name;
  return checkpoint.ok() ? *std::move(checkpoint) : Checkpoint();
}

// Tensors only: extra states come from whatever Transformer Engine wrote them.
StateDict TensorsOf(const StateDict& weights) {
  StateDict tensors;
  for (const auto& item : weights.items()) {
    if (item.tensor() == nullptr) continue;
    EXPECT_THAT(tensors.Add(item.name, item.entry), IsOk());
  }
  return tensors;
}

void ExpectSameWeights(const StateDict& actual, const StateDict& expected) {
  const StateDict a = TensorsOf(actual), b = TensorsOf(expected);
  EXPECT_EQ(Names(a), Names(b));
  ExpectSameTensors(a, b);
}

TranslateOptions Hparams(const std::string& name) {
  auto source = OpenFile(Golden(name));
  EXPECT_THAT(source, IsOk());
  auto config = Config::ParseYaml(*Whole(*source).ReadAll(1 << 20), name);
  EXPECT_THAT(config, IsOk());
  return {.hparams = *config, .hparams_name = name};
}

class ConvertTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ConvertTest, HuggingFaceBecomesWhatNemosConverterWrote) {
  const std::string dialect = GetParam();
  const Checkpoint nemo = Open(fmt::format("clip/{}.nemo", dialect));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ours, Translate(Open("clip/hf"), dialect, Hparams("clip/hparams.yaml")));
  ExpectSameWeights(ours.weights(), nemo.weights());
  ASSERT_TRUE(ours.config && nemo.config);
  EXPECT_TRUE(SameConfig(ours.config->root(), nemo.config->root())) << ours.config->ToYaml();
  EXPECT_EQ(ours.config->ToYaml(), nemo.config->ToYaml());
}

TEST_P(ConvertTest, AndBack) {
  const Checkpoint hf = Open("clip/hf");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(Open(fmt::format("clip/{}.nemo", GetParam())), "hf"));
  ExpectSameTensors(back.weights(), hf.weights());
}

INSTANTIATE_TEST_SUITE_P(Clip, ConvertTest, ::testing::Values("mcore", "legacy"),
                         [](const auto& test) { return std::string(test.param); });

TEST(ConvertTest, OldFilesWithPositionIds) {
  Checkpoint old = Open("clip/hf_with_position_ids.bin");
  const Checkpoint hf = Open("clip/hf");
  old.config = hf.config;
  ANEMONE_ASSERT_ASSIGN(const Checkpoint same, Translate(old, "hf"));
  ExpectSameTensors(same.weights(), hf.weights());
  // Older transformers read the buffer, and merged files have it in floats that no longer count.
  const std::string ids = "text_model.embeddings.position_ids";
  const auto with = [&](const Tensor& tensor) {
    StateDict weights;
    for (const StateDict::Item& item : old.weights().items()) {
      const bool is_ids = item.name == ids;
      EXPECT_THAT(weights.Add(item.name, is_ids ? Entry(tensor) : item.entry), IsOk());
    }
    Checkpoint changed = old;
    changed.weights() = std::move(weights);
    return Translate(changed, "hf");
  };
  ASSERT_NE(old.weights().Find(ids), nullptr);
  const Tensor counted = *old.weights().Find(ids)->tensor();
  ANEMONE_ASSERT_ASSIGN(const Tensor floats, counted.Cast(DType::kF16));
  EXPECT_THAT(with(floats), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Tensor shifted, floats.Plus(1));
  EXPECT_THAT(with(shifted), StatusIs(ErrorKind::kUnsupported, ids + ": expected 0, 1, 2, …"));
}

TEST(ConvertTest, Siglip) {
  const Checkpoint nemo = Open("siglip/siglip_32.nemo"), hf = Open("siglip/hf_siglip");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ours, Translate(hf, "mcore", Hparams("siglip/megatron_siglip.yaml")));
  ExpectSameTensors(TensorsOf(ours.weights()), TensorsOf(nemo.weights()));
  // NeMo's converter leaves out how SigLIP's pixels are normalized, and NeMo then uses CLIP's mean and deviation.
  ConfigNode expected = nemo.config->root();
  for (const char* key : {"img_mean", "img_std"}) expected["vision"][key] = RgbNode({0.5, 0.5, 0.5});
  EXPECT_TRUE(SameConfig(ours.config->root(), expected)) << ours.config->ToYaml();
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(nemo, "hf"));
  ExpectSameTensors(back.weights(), hf.weights());
}

TEST(ConvertTest, WhatTrainersAndOldConvertersLeftIsReadToo) {
  // bf16 stays bf16; a trainer's .ckpt holds what its .nemo holds.
  for (const char* name :
       {"clip/mcore_bf16_O2.nemo", "siglip/siglip_bf16.nemo", "siglip/siglip_smallprobe_bf16.nemo"}) {
    const Checkpoint nemo = Open(name);
    ANEMONE_ASSERT_ASSIGN(const Checkpoint hf, Translate(nemo, "hf"));
    EXPECT_EQ(hf.weights().items().back().tensor()->dtype(), DType::kBF16) << name;
    ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(hf, "mcore"));
    ExpectSameTensors(TensorsOf(back.weights()), TensorsOf(nemo.weights()));
  }
  const std::string run = "megatron_clip--val_loss=5.95-step=3-consumed_samples=12.0.ckpt";
  ANEMONE_ASSERT_ASSIGN(const Checkpoint hf, Translate(Open("clip/ckpt_mcore/" + run), "hf"));
  ExpectSameTensors(hf.weights(), Open("clip/hf").weights());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint merged, MergeShards(Open("clip/ckpt_mcore_tp2")));
  ExpectSameTensors(TensorsOf(merged.weights()), TensorsOf(Open("clip/mcore.nemo").weights()));
}

TEST(VirtualStagesTest, ATrainersChunksMergeAndSplitAgain) {
  const Checkpoint ranks = Open("gpt_vp");
  EXPECT_EQ(ranks.layout, (Layout{.pp = 2, .vp = 2}));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint merged, MergeShards(ranks));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint again, SplitShards(merged, ranks.layout));
  for (size_t i = 0; i < ranks.shards.size(); ++i) {
    ASSERT_EQ(again.shards[i].chunks.size(), ranks.shards[i].chunks.size());
    for (size_t c = 0; c < ranks.shards[i].chunks.size(); ++c) {
      SCOPED_TRACE(fmt::format("shard {}, chunk {}", i, c));
      ExpectSameTensors(TensorsOf(again.shards[i].chunks[c]), TensorsOf(ranks.shards[i].chunks[c]));
    }
  }
}

TEST(QueryGroupsTest, RanksHoldWhatTheDistributedCheckpointSplitsInto) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ours, SplitShards(Open("gpt_gqa_tp2/gqa_tp2.nemo"), {.tp = 2}));
  for (size_t rank = 0; rank < 2; ++rank) {
    const Checkpoint plain = Open(fmt::format("gpt_gqa_tp2/gqa_tp2.nemo.params.rank{}.pt", rank));
    size_t compared = 0;
    for (const auto& item : plain.weights().items()) {
      const auto* found =
          ours.shards[rank].weights.Find(item.name.starts_with("model.") ? item.name : "model." + item.name);
      ASSERT_NE(found, nullptr) << item.name;
      EXPECT_EQ(found->tensor()->shape(), item.tensor()->shape()) << item.name;
      EXPECT_TRUE(*found->tensor()->Read() == *item.tensor()->Read()) << item.name;
      ++compared;
    }
    EXPECT_GT(compared, 10u);
  }
}

struct Ranks {
  const char* ranks;
  const char* whole;
  Layout layout;
  const char* extra = "";  // a config key that NeMo's run had besides the layout
  ConfigNode value = {};
};

class NemoRanksTest : public ::testing::TestWithParam<Ranks> {};

Checkpoint WithExtra(const Ranks& test, Checkpoint checkpoint) {
  if (*test.extra == '\0') return checkpoint;
  EXPECT_THAT(checkpoint.config->Set(test.extra, test.value), IsOk());
  return checkpoint;
}

TEST_P(NemoRanksTest, MergeToTheWhole) {
  const Ranks& test = GetParam();
  const Checkpoint whole = Open(std::string(test.whole) + ".nemo");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint merged, MergeShards(WithExtra(test, Open(std::string(test.ranks) + ".nemo"))));
  ExpectSameWeights(merged.weights(), whole.weights());
}

TEST_P(NemoRanksTest, AreWhatTheWholeSplitsInto) {
  const Ranks& test = GetParam();
  const Checkpoint ranks = Open(std::string(test.ranks) + ".nemo");
  EXPECT_EQ(ranks.layout, test.layout);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ours,
                        SplitShards(WithExtra(test, Open(std::string(test.whole) + ".nemo")), test.layout));
  ASSERT_EQ(ours.shards.size(), ranks.shards.size());
  for (size_t i = 0; i < ours.shards.size(); ++i) {
    SCOPED_TRACE(fmt::format("shard {}", i));
    EXPECT_EQ(ours.shards[i].tp_rank, ranks.shards[i].tp_rank);
    EXPECT_EQ(ours.shards[i].pp_rank, ranks.shards[i].pp_rank);
    ExpectSameWeights(ours.shards[i].weights, ranks.shards[i].weights);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, NemoRanksTest,
    ::testing::Values(Ranks{"clip/mcore_tp2", "clip/mcore", {.tp = 2}},
                      Ranks{"clip/legacy_tp2", "clip/legacy", {.tp = 2}},
                      Ranks{"clip_pp/mcore_pp2", "clip_pp/mcore", {.pp = 2}},
                      Ranks{"clip_pp/legacy_pp2", "clip_pp/legacy", {.pp = 2}},
                      Ranks{"clip_pp/mcore_tp2pp2", "clip_pp/mcore", {.tp = 2, .pp = 2}},
                      Ranks{"clip_pp/legacy_tp2pp2", "clip_pp/legacy", {.tp = 2, .pp = 2}},
                      Ranks{"clip_pp/uneven_mcore_pp2_first2",
                            "clip/mcore",
                            {.pp = 2},
                            "vision.first_pipeline_num_layers",
                            ConfigNode::Int(2)},
                      Ranks{"gpt/A_tp2", "gpt/A", {.tp = 2}}, Ranks{"gpt/A_tp2pp2", "gpt/A", {.tp = 2, .pp = 2}},
                      Ranks{"gpt/AL_tp2", "gpt/A", {.tp = 2}, "megatron_legacy", ConfigNode::Bool(true)},
                      Ranks{"t5/t5_tp2", "t5/t5", {.tp = 2}}, Ranks{"t5/t5_tp2_only", "t5/t5", {.tp = 2}},
                      Ranks{"t5/t5_tp2pp2", "t5/t5", {.tp = 2, .pp = 2}}),
    [](const auto& test) {
      std::string name = test.param.ranks;
      for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

TEST(NemoRanksTest, ConfigSaysTheLayoutAsNemoWritesIt) {
  const Checkpoint ranks = Open("clip_pp/mcore_tp2pp2.nemo");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ours, SplitShards(Open("clip_pp/mcore.nemo"), {.tp = 2, .pp = 2}));
  EXPECT_TRUE(SameConfig(ours.config->root(), ranks.config->root()));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint merged, MergeShards(ranks));
  EXPECT_TRUE(SameConfig(merged.config->root(), Open("clip_pp/mcore.nemo").config->root()));
}

TEST(NemoRanksTest, AFileThatNemosToolLeftUnsplitIsNamed) {
  EXPECT_THAT(MergeShards(Open("clip/broken_mcore_tp2_left_unsplit.nemo")),
              StatusIs(ErrorKind::kCorrupt, "left unsplit"));
}

}  // namespace
}  // namespace anemone
