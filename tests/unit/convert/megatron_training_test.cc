// Optimizers of Megatron-LM's trainings: read by parameter name from each form that they are stored in, and carried to
// the form that other layouts load. Rules MEG-10, MEG-15: docs/formats/megatron.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "anemone/convert.h"
#include "anemone/save.h"
#include "engine/execute.h"
#include "format/format.h"
#include "format/values.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;
using testing::Golden;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

// "kind.parameter" of each tensor of an optimizer's states but the parameters themselves.
Digests MomentsOf(const Checkpoint& checkpoint) {
  Checkpoint moments;
  moments.shards.emplace_back();
  for (const ValueRef optimizer : FindOptimizers(checkpoint.shards.front().training->node)) {
    const std::vector<ValueRef>& pairs = *Pairs(Lookup(*optimizer, "state"));
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      const std::vector<ValueRef>& kinds = *Pairs(pairs[i + 1]);
      for (size_t j = 0; j + 1 < kinds.size(); j += 2) {
        if (kinds[j]->text == "param") continue;
        const std::string name = kinds[j]->text + "." + pairs[i]->text;
        EXPECT_THAT(moments.weights().Add(name, *kinds[j + 1]->tensor), IsOk());
      }
    }
  }
  return DigestsOf(moments.weights());
}

Digests MomentsIn(const std::string& path) {
  const auto checkpoint = OpenCheckpoint(path);
  EXPECT_THAT(checkpoint, IsOk());
  return checkpoint.ok() ? MomentsOf(*checkpoint) : Digests();
}

// ---- fsdp_dtensor ----

class FsdpTest : public ::testing::TestWithParam<const char*> {
 protected:
  std::string item() const { return Golden(std::string("megatron/") + GetParam()); }
};

TEST_P(FsdpTest, HasMegatronsNamesAndTensors) {  // MEG-15
  const TempDir temp;
  EXPECT_EQ(OpenCheckpoint(item() + "/ckpt")->flavour, "megatron");
  EXPECT_EQ(DigestsOf(item() + "/ckpt"), Listed(item() + "/plain.sha256"));
  Convert(item() + "/ckpt", temp / "hf", {.to = "hf"});
  Convert(temp / "hf", temp / "lm", {.to = "megatron"});
  Convert(item() + "/ckpt", temp / "own", {.to = "megatron"});
  EXPECT_EQ(DigestsOf(temp / "lm"), DigestsOf(temp / "own"));
}

TEST_P(FsdpTest, BecomesADistributedCheckpointWithItsOptimizer) {  // MEG-10, MEG-15
  const TempDir temp;
  EXPECT_EQ(MomentsIn(item() + "/ckpt"), Listed(item() + "/optimizer.sha256"));
  Convert(item() + "/ckpt", temp / "lm", {.to = "megatron"});
  const auto written = OpenCheckpoint(temp / "lm");
  ASSERT_THAT(written, IsOk());
  EXPECT_EQ(written->origin.distributed->layer_stacks, std::vector<std::string>{"decoder.layers"});
  const Value& training = *written->shards.front().training;
  const ValueRef optimizer = Lookup(*training.node, "optimizer"), inner = Lookup(*optimizer, "optimizer");
  EXPECT_EQ(Lookup(*optimizer, "param_state_sharding_type")->text, "fully_reshardable");
  EXPECT_EQ(Lookup(*inner, "param_groups")->items.size(), 2);
  EXPECT_EQ(Lookup(*Lookup(*inner, "param_groups")->items[1], "step")->integer, 7);
  // Every state is that of a weight, and has that weight as the optimizer's parameter.
  const std::vector<ValueRef>& states = *Pairs(Lookup(*inner, "state"));
  EXPECT_EQ(states.size() / 2, DigestsOf(temp / "lm").size());
  for (size_t i = 0; i + 1 < states.size(); i += 2) {
    const StateDict::Item* weight = written->weights().Find(states[i]->text);
    ASSERT_NE(weight, nullptr) << states[i]->text;
    EXPECT_EQ(*Lookup(*states[i + 1], "param")->tensor->Read(), *weight->tensor()->Read()) << states[i]->text;
  }
}

INSTANTIATE_TEST_SUITE_P(All, FsdpTest, ::testing::Values("fsdp-llama", "fsdp-experts"));

// A checkpoint as torch alone writes one: these weights, and a training's arguments.
std::string WriteByTorch(const TempDir& temp, const std::vector<std::string>& names) {
  Checkpoint checkpoint;
  Shard& shard = checkpoint.shards.emplace_back();
  for (const std::string& name : names)
    EXPECT_THAT(shard.weights.Add(name, *Tensor::Fill(DType::kF32, {2, 2}, 1)), IsOk());
  Value& training = shard.training.emplace(Value{std::make_shared<ValueGraph>(), nullptr});
  training.node = training.graph->New(ValueNode::Kind::kDict);
  const ValueRef args = training.graph->New(ValueNode::Kind::kObject);
  args->is_new = true;
  args->callable = training.graph->New(ValueNode::Kind::kGlobal);
  args->callable->text = "argparse Namespace";
  args->state = training.graph->New(ValueNode::Kind::kDict);
  SetKey(*training.graph, args->state, "num_layers", NewInt(*training.graph, 1));
  SetKey(*training.graph, training.node, "args", args);
  const auto plan = FindFormat("torch_dist")->lay_out(checkpoint, {});
  EXPECT_THAT(plan, IsOk());
  EXPECT_THAT(Execute(*plan, temp / "dcp", {}), IsOk());
  fs::remove(temp / "dcp/metadata.json");
  return temp / "dcp";
}

TEST(Fsdp, AHalfByItselfIsRefused) {  // MEG-15
  const std::string layer = "model.module.module.decoder.layers.0.mlp.linear_fc1.";
  const TempDir whole, gate, other, twice;
  EXPECT_THAT(OpenCheckpoint(WriteByTorch(whole, {layer + "weight_v", layer + "weight_w"})), IsOk());
  EXPECT_THAT(OpenCheckpoint(WriteByTorch(gate, {layer + "weight_w"})), StatusIs(ErrorKind::kCorrupt, "MEG-15"));
  EXPECT_THAT(OpenCheckpoint(WriteByTorch(other, {layer + "weight_v"})), StatusIs(ErrorKind::kCorrupt, "MEG-15"));
  EXPECT_THAT(OpenCheckpoint(WriteByTorch(twice, {layer + "weight_w", layer + "weight_v", layer + "weight"})),
              StatusIs(ErrorKind::kCorrupt, "weight"));
}

TEST(Fsdp, StagesOfVirtualPipelinesAreRefused) {  // MEG-15
  const TempDir temp;
  EXPECT_THAT(OpenCheckpoint(WriteByTorch(temp, {"model0.module.a.weight"})), StatusIs(ErrorKind::kCorrupt, "MEG-15"));
}

}  // namespace
}  // namespace anemone
