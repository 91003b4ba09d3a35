#include "format/lightning/lightning.h"

#include <filesystem>

#include "format/torch/torch_file.h"
#include "format/torch/torch_write.h"
#include "support.h"

namespace anemone {
namespace {

using testing::ExpectSameTensors;
using testing::Golden;
using testing::IsOk;
using testing::ReadFile;
using testing::StatusIs;
using testing::TempDir;
using testing::WriteFile;

constexpr const char* kClip = "megatron_clip--val_loss=5.95-step=3-consumed_samples=12.0.ckpt";

// The trainer's checkpoint holds, bit for bit, what the .nemo of the same model holds.
TEST(Lightning, TheTrainersWeightsAreThoseOfTheNemo) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, OpenCheckpoint(Golden("clip/mcore.nemo")));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ckpt, OpenCheckpoint(Golden(std::string("clip/ckpt_mcore/") + kClip)));
  EXPECT_EQ(ckpt.flavour, "lightning");
  EXPECT_EQ(ckpt.config_name, "hparams.yaml");
  ASSERT_TRUE(ckpt.config.has_value());
  EXPECT_NE(ckpt.config->Find("vision.patch_dim"), nullptr);
  EXPECT_EQ(ckpt.layout, (Layout{1, 1, 1}));
  ASSERT_TRUE(ckpt.shards[0].training.has_value());
  EXPECT_NE(Lookup(*ckpt.shards[0].training->node, "optimizer_states"), nullptr);
  ExpectSameTensors(nemo.weights(), ckpt.weights());
  // The folder stands for its only checkpoint.
  ANEMONE_ASSERT_ASSIGN(const Checkpoint folder, OpenCheckpoint(Golden("clip/ckpt_mcore")));
  ExpectSameTensors(nemo.weights(), folder.weights());
}

TEST(Lightning, ReadsRankFolders) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, OpenCheckpoint(Golden("clip/mcore_tp2.nemo")));
  for (const std::string& path : {std::string("clip/ckpt_mcore_tp2"), std::string("clip/ckpt_mcore_tp2/") + kClip}) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint ckpt, OpenCheckpoint(Golden(path)));
    EXPECT_EQ(ckpt.layout, (Layout{2, 1, 1}));
    ASSERT_EQ(ckpt.shards.size(), 2u);
    EXPECT_EQ(ckpt.config_name, "hparams.yaml");
    for (size_t i = 0; i < 2; ++i) ExpectSameTensors(nemo.shards[i].weights, ckpt.shards[i].weights);
  }
  ANEMONE_ASSERT_ASSIGN(const Checkpoint one,
                        OpenCheckpoint(Golden(std::string("clip/ckpt_mcore_tp2/mp_rank_01/") + kClip)));
  EXPECT_THAT(one.notes, ::testing::Contains(::testing::HasSubstr("one rank of several")));
}

TEST(Lightning, ReadsOptimizerStatesOfO2) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ckpt, OpenCheckpoint(Golden("clip/ckpt_mcore_bf16_O2")));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, OpenCheckpoint(Golden("clip/mcore_bf16_O2.nemo")));
  const ValueNode* states = Lookup(*ckpt.shards[0].training->node, "optimizer_states");
  const ValueNode* masters = Lookup(*states->items[0], "fp32_from_fp16_params");
  ASSERT_NE(masters, nullptr);
  ASSERT_EQ(masters->items[0]->items[0]->kind, ValueNode::Kind::kTensor);
  EXPECT_EQ(masters->items[0]->items[0]->tensor->dtype(), DType::kF32);
  EXPECT_EQ(ckpt.weights().size(), nemo.weights().size());
}

TEST(Lightning, ReadsVirtualPipelineChunks) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ckpt, OpenCheckpoint(Golden("gpt_vp")));
  EXPECT_EQ(ckpt.layout, (Layout{1, 2, 2}));
  ASSERT_EQ(ckpt.shards.size(), 2u);
  for (const Shard& shard : ckpt.shards) {
    EXPECT_TRUE(shard.weights.empty());
    ASSERT_EQ(shard.chunks.size(), 2u);
  }
  EXPECT_NE(ckpt.shards[0].chunks[0].Find("language_model.embedding.word_embeddings.weight"), nullptr);
  EXPECT_NE(ckpt.shards[1].chunks[1].Find("word_embeddings_for_head.weight"), nullptr);
  EXPECT_THAT(FindFormat("nemo")->lay_out(ckpt, {}), StatusIs(ErrorKind::kInvalidArgument, "interleaved"));
}

TEST(Lightning, TakesTheConfigFromTheCheckpointItself) {
  TempDir dir;
  std::filesystem::copy_file(Golden(std::string("clip/ckpt_mcore/") + kClip), dir / "run.ckpt");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ckpt, OpenCheckpoint(dir / "run.ckpt"));
  EXPECT_EQ(ckpt.config_name, "hyper_parameters");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint beside, OpenCheckpoint(Golden("clip/ckpt_mcore")));
  for (const char* key : {"vision.patch_dim", "text.num_layers", "output_dim", "optim.lr"}) {
    ASSERT_NE(ckpt.config->Find(key), nullptr) << key;
    EXPECT_TRUE(SameConfig(*ckpt.config->Find(key), *beside.config->Find(key))) << key;
  }
}

// PTL-5
TEST(Lightning, FindsHparamsWhereLightningPutsThem) {
  TempDir dir;
  std::filesystem::create_directories(dir / "run/checkpoints");
  std::filesystem::create_directories(dir / "run/version_9");
  std::filesystem::create_directories(dir / "run/version_10");
  WriteFile(dir / "run/version_9/hparams.yaml", "cfg:\n  from: old\n");
  WriteFile(dir / "run/version_10/hparams.yaml", "from: new\n");
  std::filesystem::copy_file(Golden(std::string("clip/ckpt_mcore/") + kClip), dir / "run/checkpoints/a.ckpt");
  ANEMONE_ASSERT_ASSIGN(Checkpoint ckpt, OpenCheckpoint(dir / "run/checkpoints/a.ckpt"));
  EXPECT_EQ(ckpt.config->Find("from")->AsString(), "new");
  std::filesystem::remove_all(dir / "run/version_10");
  ANEMONE_ASSERT_ASSIGN(ckpt, OpenCheckpoint(dir / "run/checkpoints/a.ckpt"));
  EXPECT_EQ(ckpt.config->Find("from")->AsString(), "old");
}

TEST(Lightning, RefusesUnfinishedSavesAndChoices) {
  TempDir dir;
  WriteFile(dir / "a.ckpt", ReadFile(Golden("torch/2.15/lightning.pt")));
  EXPECT_THAT(OpenCheckpoint(dir.path()), IsOk());
  WriteFile(dir / "b.ckpt", ReadFile(Golden("torch/2.15/lightning.pt")));
  EXPECT_THAT(OpenCheckpoint(dir.path()),
              StatusIs(ErrorKind::kInvalidArgument, "[PTL-2] expected one checkpoint, found 2: a.ckpt, b.ckpt"));
  WriteFile(dir / "a-unfinished", "");
  EXPECT_THAT(OpenCheckpoint(dir / "a.ckpt"), StatusIs(ErrorKind::kCorrupt, "[PTL-4]"));
  EXPECT_THAT(OpenCheckpoint(dir / "b.ckpt"), IsOk());
  EXPECT_THAT(OpenCheckpoint(dir / "c.ckpt"), StatusIs(ErrorKind::kNotFound, "c.ckpt"));

  std::filesystem::create_directories(dir / "ranks/mp_rank_00");
  std::filesystem::create_directories(dir / "ranks/mp_rank_01");
  WriteFile(dir / "ranks/mp_rank_00/a.ckpt", ReadFile(Golden("torch/2.15/lightning.pt")));
  EXPECT_THAT(OpenCheckpoint(dir / "ranks"), StatusIs(ErrorKind::kCorrupt, "[PTL-1]"));
  EXPECT_THAT(OpenCheckpoint(dir / "ranks/z.ckpt"), StatusIs(ErrorKind::kNotFound, "there are: a.ckpt"));
}

TEST(Lightning, RefusesATrainingWithoutWeights) {
  // Distributed optimizers leave an empty state_dict beside a folder with the weights.
  const std::string saved = ReadFile(Golden("torch/2.15/lightning.pt"));
  ANEMONE_ASSERT_ASSIGN(const TorchFile torch, ReadTorchFile(testing::Range(saved)));
  Value emptied{std::make_shared<ValueGraph>(), nullptr};
  emptied.node = emptied.graph->New(ValueNode::Kind::kDict);
  const ValueList& entries = *DictEntries(*torch.root.node);
  for (size_t i = 0; i + 1 < entries.size(); i += 2) {
    const bool is_state = entries[i]->text == "state_dict";
    emptied.node->items.push_back(entries[i]);
    emptied.node->items.push_back(is_state ? emptied.graph->New(ValueNode::Kind::kDict) : entries[i + 1]);
  }
  PlanFile file;
  ASSERT_THAT(LayOutTorchFile(emptied, "archive", file), IsOk());
  TempDir dir;
  WriteFile(dir / "a.ckpt", testing::Bytes(std::move(file)));
  EXPECT_THAT(OpenCheckpoint(dir / "a.ckpt"), StatusIs(ErrorKind::kCorrupt, "[PTL-3]"));
}

TEST(Lightning, RefusesRanksOfUnequalChunks) {
  TempDir dir;
  std::filesystem::copy(Golden("gpt_vp"), dir / "vp", std::filesystem::copy_options::recursive);
  std::string second;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir / "vp")) {
    const std::string path = entry.path().string();
    if (path.ends_with(".ckpt") && path.find("_001/") != std::string::npos) second = path;
  }
  ASSERT_FALSE(second.empty());
  WriteFile(second, ReadFile(Golden("torch/2.15/lightning.pt")));
  EXPECT_THAT(OpenCheckpoint(dir / "vp"), StatusIs(ErrorKind::kCorrupt, "[PTL-6]"));
}

TEST(Lightning, WritesWhatItReads) {
  for (const char* name : {"clip/ckpt_mcore", "clip/ckpt_mcore_tp2", "gpt_vp"}) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenCheckpoint(Golden(name)));
    ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat("ckpt")->lay_out(before, {}));
    TempDir dir;
    testing::Write(plan, dir / "out");
    ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenCheckpoint(dir / "out"));
    EXPECT_EQ(after.flavour, "lightning");
    EXPECT_EQ(after.layout, before.layout);
    EXPECT_TRUE(SameConfig(after.config->root(), before.config->root())) << name;
    for (size_t i = 0; i < before.shards.size(); ++i) {
      ExpectSameTensors(before.shards[i].weights, after.shards[i].weights);
      ASSERT_EQ(before.shards[i].chunks.size(), after.shards[i].chunks.size());
      for (size_t k = 0; k < before.shards[i].chunks.size(); ++k)
        ExpectSameTensors(before.shards[i].chunks[k], after.shards[i].chunks[k]);
      for (const char* key : {"optimizer_states", "loops", "callbacks", "lr_schedulers", "global_step"}) {
        EXPECT_NE(Lookup(*after.shards[i].training->node, key), nullptr) << key;
      }
    }
  }
}

TEST(Lightning, MakesAStartingPointOfANemo) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, OpenCheckpoint(Golden("clip/mcore.nemo")));
  ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat("ckpt")->lay_out(nemo, {}));
  TempDir dir;
  testing::Write(plan, dir / "start.ckpt");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ckpt, OpenCheckpoint(dir / "start.ckpt"));
  EXPECT_EQ(ckpt.flavour, "lightning");
  EXPECT_TRUE(SameConfig(ckpt.config->root(), nemo.config->root()));
  ExpectSameTensors(nemo.weights(), ckpt.weights());
  EXPECT_NE(Lookup(*ckpt.shards[0].training->node, "optimizer_states"), nullptr);
}

}  // namespace
}  // namespace anemone
