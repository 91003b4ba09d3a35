// Optimizer states that NeMo's trainer wrote, named, merged and split: every moment where its parameter is.
#include "parallel/optimizer.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "format/format.h"
#include "format/torch/torch_file.h"
#include "format/values.h"
#include "parallel/reshard.h"
#include "synthetic.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;

constexpr const char* kRun = "/megatron_clip--val_loss=5.95-step=3-consumed_samples=12.0.ckpt";

Checkpoint Open(const std::string& name) {
  auto checkpoint = OpenCheckpoint(Golden(name));
  EXPECT_THAT(checkpoint, IsOk()) << name;
  return checkpoint.ok() ? *std::move(checkpoint) : Checkpoint();
}

OptimizerState Read(const Shard& shard, bool is_mcore) {
  auto state = ReadOptimizer(shard, ParameterRules{.is_mcore = is_mcore, .second_names = {}, .old_names = {}});
  EXPECT_THAT(state, IsOk());
  return state.ok() ? *std::move(state) : OptimizerState();
}

const StateDict& DictOf(const Shard& shard, size_t i) { return shard.chunks.empty() ? shard.weights : shard.chunks[i]; }

void ExpectSameState(const OptimizerState& actual, const OptimizerState& expected) {
  EXPECT_THAT(CheckAgree(actual, expected), IsOk());
  ASSERT_EQ(actual.moments.size(), expected.moments.size());
  for (const auto& [kind, moments] : expected.moments) {
    const auto& dicts = actual.moments.at(kind).dicts;
    ASSERT_EQ(dicts.size(), moments.dicts.size());
    for (size_t d = 0; d < dicts.size(); ++d) {
      SCOPED_TRACE(fmt::format("{}, chunk {}", kind, d));
      testing::ExpectSameTensors(dicts[d], moments.dicts[d]);
    }
  }
}

// At the end of a step the 16-bit weights are their fp32 masters, rounded.
void ExpectMastersRoundToWeights(const Shard& shard, const OptimizerState& state) {
  size_t compared = 0;
  const auto& dicts = state.moments.at("").dicts;
  for (size_t d = 0; d < dicts.size(); ++d) {
    for (const auto& item : dicts[d].items()) {
      const Tensor& weight = *DictOf(shard, d).Find(item.name)->tensor();
      EXPECT_TRUE(*item.tensor()->Cast(weight.dtype())->Read() == *weight.Read()) << item.name;
      ++compared;
    }
  }
  EXPECT_GT(compared, 10u);
}

TEST(OptimizerTest, NamesAreThoseOfTheTrainer) {
  const Checkpoint ranks = Open("gpt_vp");
  for (size_t rank = 0; rank < 2; ++rank) {
    SCOPED_TRACE(rank);
    ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr file, OpenFile(Golden(fmt::format("gpt_vp/vp1.plain.rank{}.pt", rank))));
    ANEMONE_ASSERT_ASSIGN(const TorchFile plain, ReadTorchFile(Whole(file)));
    const OptimizerState state = Read(ranks.shards[rank], false);
    EXPECT_EQ(state.rule, DecayRule::kNorBiasNorNorm);
    ASSERT_EQ(state.moments.size(), 3u);
    const ValueRef states = Lookup(*plain.root.node, "state"), masters = Lookup(*plain.root.node, "main");
    size_t compared = 0;
    for (const auto& [kind, moments] : state.moments) {
      for (size_t chunk = 0; chunk < moments.dicts.size(); ++chunk) {
        for (const auto& item : moments.dicts[chunk].items()) {
          // The state dict calls the last stage's copy word_embeddings_for_head.
          const std::string name =
              item.name.starts_with("word_embeddings_for_head.") ? "word_embeddings.weight" : item.name;
          ValueRef value = Lookup(kind.empty() ? *masters : *states, fmt::format("model{}.module.{}", chunk, name));
          ASSERT_NE(value, nullptr) << item.name;
          if (!kind.empty()) value = Lookup(*value, kind);
          ASSERT_TRUE(value != nullptr && value->tensor) << item.name;
          EXPECT_TRUE(*value->tensor->Read() == *item.tensor()->Read()) << kind << " " << item.name;
          ++compared;
        }
      }
    }
    EXPECT_EQ(compared, 3 * DictEntries(*states)->size() / 2);
  }
}

TEST(OptimizerTest, VirtualStagesMergeAndSplitAgain) {
  const Checkpoint ranks = Open("gpt_vp");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint merged, MergeShards(ranks));
  const OptimizerState whole = Read(merged.shards[0], false);
  ExpectMastersRoundToWeights(merged.shards[0], whole);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint again, SplitShards(merged, ranks.layout));
  for (size_t i = 0; i < ranks.shards.size(); ++i) {
    SCOPED_TRACE(i);
    ExpectSameState(Read(again.shards[i], false), Read(ranks.shards[i], false));
  }
  // Another shape, and back to one.
  ANEMONE_ASSERT_ASSIGN(const Checkpoint other, SplitShards(merged, {.tp = 2, .pp = 4}));
  for (const Shard& shard : other.shards) ExpectMastersRoundToWeights(shard, Read(shard, false));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, MergeShards(other));
  ExpectSameState(Read(back.shards[0], false), whole);
}

// Two runs of the same training, on one rank and on two: their moments differ by rounding only.
TEST(OptimizerTest, RanksMergeToWhatOneRankHas) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint merged, MergeShards(Open("clip/ckpt_mcore_tp2")));
  const Checkpoint one = Open(std::string("clip/ckpt_mcore") + kRun);
  const OptimizerState actual = Read(merged.shards[0], true), expected = Read(one.shards[0], true);
  EXPECT_EQ(actual.rule, DecayRule::kAllButBiases);
  EXPECT_THAT(CheckAgree(actual, expected), IsOk());
  size_t compared = 0;
  for (const auto& item : expected.moments.at("exp_avg").dicts[0].items()) {
    const auto* found = actual.moments.at("exp_avg").dicts[0].Find(item.name);
    ASSERT_NE(found, nullptr) << item.name;
    const std::string a = *found->tensor()->Read(), b = *item.tensor()->Read();
    ASSERT_EQ(a.size(), b.size()) << item.name;
    double difference = 0, size = 0;
    for (size_t at = 0; at < a.size(); at += sizeof(float)) {
      float x = 0, y = 0;
      std::memcpy(&x, a.data() + at, sizeof(float));
      std::memcpy(&y, b.data() + at, sizeof(float));
      difference += std::pow(double{x} - double{y}, 2);
      size += std::pow(double{y}, 2);
    }
    // What a softmax cannot feel, such as a bias of the keys, has nothing but rounding.
    EXPECT_LE(std::sqrt(difference), 1e-3 * std::sqrt(size) + 1e-6) << item.name;
    ++compared;
  }
  EXPECT_EQ(compared, 74u);
}

TEST(OptimizerTest, MastersOfClipSplitWithTheirWeights) {
  const Checkpoint one = Open(std::string("clip/ckpt_mcore_bf16_O2") + kRun);
  const OptimizerState state = Read(one.shards[0], true);
  ExpectMastersRoundToWeights(one.shards[0], state);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ranks, SplitShards(one, {.tp = 4}));
  for (const Shard& shard : ranks.shards) ExpectMastersRoundToWeights(shard, Read(shard, true));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, MergeShards(ranks));
  ExpectSameState(Read(back.shards[0], true), state);
}

TEST(OptimizerTest, RanksThatDisagreeAreNamed) {
  const Checkpoint ranks = Open("clip/ckpt_mcore_tp2");
  const ValueRef states = Lookup(*ranks.shards[1].training->node, "optimizer_states");
  Lookup(*Lookup(*states->items[0], "param_groups")->items[0], "lr")->real = 0.5;
  EXPECT_THAT(MergeShards(ranks), StatusIs(ErrorKind::kCorrupt, "tensor rank 1, stage 0: optimizer_states: expected"));
}

TEST(OptimizerTest, StatesOfOtherParametersAreRefused) {
  Checkpoint one = Open(std::string("clip/ckpt_mcore") + kRun);
  StateDict fewer;
  for (const auto& item : one.weights().items()) {
    if (item.name == "model.logit_scale") continue;
    ASSERT_THAT(fewer.Add(item.name, item.entry), IsOk());
  }
  one.weights() = fewer;
  EXPECT_THAT(
      ReadOptimizer(one.shards[0], ParameterRules{.is_mcore = true, .second_names = {}, .old_names = {}}),
      StatusIs(ErrorKind::kUnsupported, "73 parameters with and without weight decay, found groups of 41 and 33"));
}

// NeMo 1 wrote a group for what is spared weight decay, of a model that has no such parameters too.
TEST(OptimizerTest, AGroupWithoutParametersStays) {
  Checkpoint one = Open(std::string("clip/ckpt_mcore") + kRun);
  Shard& shard = one.shards[0];
  StateDict fewer;
  for (const auto& item : shard.weights.items()) {
    if (item.name.ends_with("bias")) continue;
    ASSERT_THAT(fewer.Add(item.name, item.entry), IsOk());
  }
  shard.weights = fewer;
  const auto groups_in = [](const Value& training) {
    return Lookup(*Lookup(*training.node, "optimizer_states")->items[0], "param_groups")->items;
  };
  Lookup(*groups_in(*shard.training)[1], "params")->items.clear();
  const OptimizerState state = Read(shard, true);
  ANEMONE_ASSERT_ASSIGN(const Value written,
                        WithOptimizer(*shard.training, shard, &state, state.moments, ParameterKeys::kNumbers));
  const ValueList groups = groups_in(written);
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(Lookup(*groups[0], "params")->items.size(), 41U);
  EXPECT_TRUE(Lookup(*groups[1], "params")->items.empty());
}

// A chain whose members do not agree is no one optimizer.
TEST(OptimizerTest, ChainsThatDisagreeAreRefused) {
  const struct {
    const char* words;
    void (*spoil)(const ValueList& chain);
  } cases[] = {
      {"the experts' learning rate",
       [](const ValueList& chain) { Lookup(*Lookup(*chain[1], "param_groups")->items[0], "lr")->real = 0.5; }},
      {"expected one step for all parameters, found several",
       [](const ValueList& chain) {
         Lookup(*Lookup(*chain[1], "state"), "common_step")->tensor =
             std::make_unique<Tensor>(*Tensor::Fill(DType::kF32, {}, 3));
       }},
      {"expected one state of model.decoder.final_layernorm.weight, found two",
       [](const ValueList& chain) {
         const ValueRef own = Lookup(*Lookup(*chain[0], "state"), "model.decoder.final_layernorm.weight");
         const auto& states = *DictEntries(*Lookup(*chain[0], "state"));
         const auto at = std::ranges::find(states, own);
         auto& others = Lookup(*chain[1], "state")->items;
         others.insert(others.end(), {*(at - 1), own});
       }},
  };
  const ParameterRules rules{.is_mcore = true, .second_names = {}, .old_names = {}};
  EXPECT_THAT(ReadOptimizer(Open("dist_megatron_0.16/dist").shards[0], rules), IsOk());
  for (const auto& [words, spoil] : cases) {
    const Checkpoint one = Open("dist_megatron_0.16/dist");
    spoil(FindOptimizers(one.shards[0].training->node));
    EXPECT_THAT(ReadOptimizer(one.shards[0], rules), StatusIs(ErrorKind::kUnsupported, words));
  }
}

}  // namespace
}  // namespace anemone
