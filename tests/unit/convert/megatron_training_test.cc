// Optimizers of Megatron-LM's trainings: read by parameter name from each form that they are stored in, and carried to
// the form that other layouts load. Rules MEG-10, MEG-15: docs/formats/megatron.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "anemone/convert.h"
#include "anemone/save.h"
#include "engine/execute.h"
#include "format/dist/torch_dist_metadata.h"
#include "format/format.h"
#include "format/megatron/megatron.h"
#include "format/optimizer_state.h"
#include "format/torch/megatron_file.h"
#include "format/torch/state_dict.h"
#include "format/torch/torch_file.h"
#include "format/torch/torch_write.h"
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

// "kind.parameter" of each tensor of an optimizer's states; the parameters themselves, or not.
enum class Masters : uint8_t { kWith, kWithout };
Digests MomentsOf(const Checkpoint& checkpoint, Masters masters = Masters::kWithout) {
  Checkpoint moments;
  moments.shards.emplace_back();
  for (const ValueRef optimizer : FindOptimizers(checkpoint.shards.front().training->node)) {
    const ValueList& pairs = *Pairs(Lookup(*optimizer, "state"));
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      if (pairs[i]->text == "common_step") continue;
      const ValueList& kinds = *Pairs(pairs[i + 1]);
      for (size_t j = 0; j + 1 < kinds.size(); j += 2) {
        if (kinds[j]->text == "param" && masters == Masters::kWithout) continue;
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
  const ValueList& states = *Pairs(Lookup(*inner, "state"));
  EXPECT_EQ(states.size() / 2, DigestsOf(temp / "lm").size());
  for (size_t i = 0; i + 1 < states.size(); i += 2) {
    const StateDict::Item* weight = written->weights().Find(states[i]->text);
    ASSERT_NE(weight, nullptr) << states[i]->text;
    EXPECT_EQ(*Lookup(*states[i + 1], "param")->tensor->Read(), *weight->tensor()->Read()) << states[i]->text;
  }
}

INSTANTIATE_TEST_SUITE_P(All, FsdpTest, ::testing::Values("fsdp-llama", "fsdp-experts"));

// ---- core 0.9's fully_sharded_model_space ----

// The fragments that Megatron-core 0.9 asks for: one for each part that it divides a parameter into [mlm09-dist-dp2-
// fully_sharded/.metadata: linear_fc1 (2, 2, 1, 11264), linear_fc2 (2, 1, 1, 11264), norms (2, 1, 64)].
TEST(FullySharded, AGatesHalvesAndExpertsAreFragmentsOfTheirOwn) {  // TD-8
  const TempDir temp;
  Checkpoint checkpoint;
  Shard& shard = checkpoint.shards.emplace_back();
  Value& training = shard.training.emplace(Value{std::make_shared<ValueGraph>(), nullptr});
  ValueGraph& graph = *training.graph;
  training.node = graph.New(ValueNode::Kind::kDict);
  const ValueRef optimizer = graph.New(ValueNode::Kind::kDict), state = graph.New(ValueNode::Kind::kDict);
  SetKey(graph, training.node, "optimizer", optimizer);
  SetKey(graph, optimizer, "state", state);
  const std::pair<const char*, Shape> parameters[] = {{"mlp.linear_fc1.weight", {8, 2}},
                                                      {"mlp.linear_fc2.weight", {2, 4}},
                                                      {"mlp.linear_fc1.layer_norm_weight", {2}},
                                                      {"mlp.experts.local_experts.0.linear_fc1.weight", {8, 2}},
                                                      {"mlp.experts.local_experts.1.linear_fc1.weight", {8, 2}},
                                                      {"mlp.experts.local_experts.0.linear_fc2.weight", {2, 4}},
                                                      {"mlp.experts.local_experts.1.linear_fc2.weight", {2, 4}}};
  std::map<std::string, std::string> values;
  for (const int layer : {0, 1}) {
    for (const auto& [name, shape] : parameters) {
      const std::string full = "decoder.layers." + std::to_string(layer) + "." + name;
      std::string bytes(*NumElements(shape) * 4, '\0');
      for (char& byte : bytes) byte = static_cast<char>(values.size() * 7 + static_cast<size_t>(&byte - bytes.data()));
      values.emplace(full, bytes);
      const ValueRef kinds = graph.New(ValueNode::Kind::kDict);
      SetKey(graph, kinds, "exp_avg", NewTensor(graph, *Tensor::FromBytes(DType::kF32, shape, bytes)));
      SetKey(graph, state, full, kinds);
    }
  }
  EXPECT_THAT(shard.weights.Add("decoder.final_layernorm.weight", *Tensor::Fill(DType::kF32, {2}, 1)), IsOk());
  checkpoint.origin.distributed.emplace();
  checkpoint.origin.distributed->layer_stacks = {"decoder.layers"};
  checkpoint.origin.distributed->has_flat_optimizer = true;
  const auto plan = FindFormat("torch_dist")->lay_out(checkpoint, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, temp / "out", {}), IsOk());

  std::ifstream in(temp / "out/.metadata", std::ios::binary);
  ANEMONE_ASSERT_ASSIGN(const DistMetadata index,
                        ParseDistMetadata(std::string((std::istreambuf_iterator<char>(in)), {})));
  std::map<std::string, std::pair<Shape, size_t>> found;
  for (const DistItem& item : index.items) {
    const auto* tensor = std::get_if<DistTensor>(&item.content);
    if (tensor != nullptr && item.key.starts_with("optimizer.state.exp_avg.decoder.layers."))
      found[item.key.substr(39)] = {*tensor->shape, tensor->chunks.size()};
  }
  const std::map<std::string, std::pair<Shape, size_t>> expected = {
      {"mlp.linear_fc1.weight", {{2, 2, 1, 8}, 4}},
      {"mlp.linear_fc2.weight", {{2, 1, 1, 8}, 2}},
      {"mlp.linear_fc1.layer_norm_weight", {{2, 1, 2}, 2}},
      {"mlp.experts.experts.linear_fc1.weight", {{2, 2, 2, 1, 8}, 8}},
      {"mlp.experts.experts.linear_fc2.weight", {{2, 2, 1, 1, 8}, 4}}};
  EXPECT_EQ(found, expected);
  // What is read of it is what was written.
  const auto read = OpenCheckpoint(temp / "out");
  ASSERT_THAT(read, IsOk());
  const ValueRef states = Lookup(*FindOptimizers(read->shards.front().training->node)[0], "state");
  for (const auto& [name, bytes] : values) {
    const ValueRef kinds = Lookup(*states, name);
    ASSERT_NE(kinds, nullptr) << name;
    EXPECT_EQ(*Lookup(*kinds, "exp_avg")->tensor->Read(), bytes) << name;
  }
}

// ---- NeMo 2 ----

// To NeMo 2, whose own names the optimizer then has, and on to Megatron-Bridge: every moment as it was.
TEST_P(FsdpTest, GoesOnInNemo2AndMegatronBridge) {  // MEG-18
  const TempDir temp;
  Convert(item() + "/ckpt", temp / "lm", {.to = "megatron"});
  Convert(temp / "lm", temp / "nemo2", {.to = "nemo2"});
  Convert(temp / "nemo2", temp / "bridge", {.to = "megatron-bridge"});
  EXPECT_EQ(MomentsIn(temp / "bridge"), MomentsIn(temp / "lm"));
  const auto nemo2 = OpenCheckpoint(temp / "nemo2/weights");
  ASSERT_THAT(nemo2, IsOk());
  const Value& training = *nemo2->shards.front().training;
  EXPECT_EQ(Lookup(*training.node, "global_step")->integer, 7);
  EXPECT_EQ(Lookup(*training.node, "optimizer")->items.size(), 1);
  const ValueList& states = *Pairs(Lookup(*FindOptimizers(training.node)[0], "state"));
  for (size_t i = 0; i + 1 < states.size(); i += 2)
    EXPECT_NE(nemo2->weights().Find(states[i]->text), nullptr) << states[i]->text;
  const auto bridge = OpenCheckpoint(temp / "bridge");
  ASSERT_THAT(bridge, IsOk());
  EXPECT_TRUE(fs::exists(temp / "bridge/iter_0000007"));
  const Value& back = *bridge->shards.front().training;
  EXPECT_NE(Lookup(*back.node, "opt_param_scheduler"), nullptr);
  EXPECT_EQ(Lookup(*Lookup(*back.node, "content_metadata"), "distrib_optim_sharding_type")->text, "fully_reshardable");
}

// A checkpoint as torch alone writes one: these weights, without what Megatron-core adds; and the arguments, which
// torch keeps as an object among them.
Result<Checkpoint> OpenByTorch(const std::vector<std::string>& names) {
  const TempDir temp;
  Checkpoint checkpoint;
  Shard& shard = checkpoint.shards.emplace_back();
  for (const std::string& name : names)
    EXPECT_THAT(shard.weights.Add(name, *Tensor::Fill(DType::kF32, {2, 2}, 1)), IsOk());
  Value training{std::make_shared<ValueGraph>(), nullptr};
  training.node = training.graph->New(ValueNode::Kind::kDict);
  const ValueRef args = training.graph->New(ValueNode::Kind::kObject);
  args->is_new = true;
  args->callable = training.graph->New(ValueNode::Kind::kGlobal);
  args->callable->text = "argparse Namespace";
  args->state = training.graph->New(ValueNode::Kind::kDict);
  for (const char* key : {"num_layers", "num_attention_heads", "tensor_model_parallel_size"})
    SetKey(*training.graph, args->state, key, NewInt(*training.graph, 1));
  SetKey(*training.graph, training.node, "args", args);
  const auto plan = FindFormat("torch_dist")->lay_out(checkpoint, {});
  EXPECT_THAT(plan, IsOk());
  EXPECT_THAT(Execute(*plan, temp / "dcp", {}), IsOk());
  for (const char* name : {"dcp/metadata.json", "dcp/common.pt"}) fs::remove(temp / name);
  ANEMONE_ASSIGN(Checkpoint opened, OpenCheckpoint(temp / "dcp"));
  opened.shards.front().training = training;
  ANEMONE_TRY(TellMegatron(&opened));
  return opened;
}

TEST(Fsdp, AHalfByItselfIsRefused) {  // MEG-15
  const std::string layer = "model.module.module.decoder.layers.0.mlp.linear_fc1.";
  EXPECT_THAT(OpenByTorch({layer + "weight_v", layer + "weight_w"}), IsOk());
  EXPECT_THAT(OpenByTorch({layer + "weight_w"}), StatusIs(ErrorKind::kCorrupt, "MEG-15"));
  EXPECT_THAT(OpenByTorch({layer + "weight_v"}), StatusIs(ErrorKind::kCorrupt, "MEG-15"));
  EXPECT_THAT(OpenByTorch({layer + "weight_w", layer + "weight_v", layer + "weight"}),
              StatusIs(ErrorKind::kCorrupt, "weight"));
}

TEST(Fsdp, StagesOfVirtualPipelinesAreRefused) {  // MEG-15
  EXPECT_THAT(OpenByTorch({"model0.module.a.weight"}), StatusIs(ErrorKind::kCorrupt, "MEG-15"));
}

// ---- a file for each rank ----

// What a rank's file holds, to be changed and written again.
struct RankFile {
  std::string path;
  Value root;
  std::vector<StateDict> models;  // model0, model1
};

RankFile ReadRank(const std::string& path) {
  RankFile file{.path = path, .root = {}, .models = {}};
  const auto source = OpenFile(path);
  EXPECT_THAT(source, IsOk());
  file.root = ReadTorchFile(Whole(*source))->root;
  for (const char* key : {"model0", "model1"})
    file.models.push_back(*ToStateDict({file.root.graph, Lookup(*file.root.node, key)}));
  return file;
}

void Write(const Value& value, const std::string& path) {
  Plan plan;
  ASSERT_THAT(LayOutTorchFile(value, "archive", plan.files.emplace_back()), IsOk());
  ASSERT_THAT(Execute(plan, path + ".new", {}), IsOk());
  fs::rename(path + ".new", path);
}

ValueRef TensorValue(ValueGraph& graph, Tensor tensor) {
  const ValueRef node = graph.New(ValueNode::Kind::kTensor);
  node->tensor = std::make_unique<Tensor>(std::move(tensor));
  return node;
}

// A state that tells whose it is: the weight plus a number of its kind.
constexpr std::pair<const char*, double> kKinds[] = {{"exp_avg", 1}, {"exp_avg_sq", 2}};
Tensor StateOf(const Tensor& weight, double more) { return *weight.Cast(DType::kF32)->Plus(more); }

ValueRef GroupOf(ValueGraph& graph, bool decays) {
  const ValueRef group = graph.New(ValueNode::Kind::kDict);
  SetKey(graph, group, "wd_mult", NewFloat(graph, decays ? 1 : 0));
  SetKey(graph, group, "lr", NewFloat(graph, 0.001));
  SetKey(graph, group, "default_config", NewBool(graph, true));
  return group;
}

// torch's Adam with fp32 masters: parameters are numbered through two groups.
void AddAdam(RankFile& file) {
  ValueGraph& graph = *file.root.graph;
  const ValueRef optimizer = graph.New(ValueNode::Kind::kDict), inner = Child(graph, optimizer, "optimizer");
  const ValueRef state = Child(graph, inner, "state");
  const ValueRef groups = graph.New(ValueNode::Kind::kList), masters = graph.New(ValueNode::Kind::kList);
  int64_t next = 0;
  for (const bool decays : {true, false}) {
    const ValueRef numbers = graph.New(ValueNode::Kind::kList), own = graph.New(ValueNode::Kind::kList);
    for (const StateDict& model : file.models) {
      for (const StateDict::Item& item : model.items()) {
        if (item.tensor() == nullptr || (item.tensor()->shape().size() > 1) != decays) continue;
        const ValueRef kinds = graph.New(ValueNode::Kind::kDict);
        SetKey(graph, kinds, "step", NewFloat(graph, 10));
        for (const auto& [kind, more] : kKinds)
          SetKey(graph, kinds, kind, TensorValue(graph, StateOf(*item.tensor(), more)));
        numbers->items.push_back(NewInt(graph, next++));
        state->items.insert(state->items.end(), {numbers->items.back(), kinds});
        own->items.push_back(TensorValue(graph, *item.tensor()->Cast(DType::kF32)));
      }
    }
    groups->items.push_back(GroupOf(graph, decays));
    SetKey(graph, groups->items.back(), "params", numbers);
    masters->items.push_back(own);
  }
  SetKey(graph, inner, "param_groups", groups);
  SetKey(graph, optimizer, "fp32_from_fp16_params", masters);
  PutKey(graph, file.root.node, "optimizer", optimizer);
}

// A model's states of one kind in one tensor: last first, each at a multiple of 64 elements of its bucket.
Tensor InBuckets(const StateDict& model, double more, uint64_t bucket_size) {
  std::vector<Tensor> parts;
  uint64_t in_bucket = 0;
  for (size_t i = model.size(); i-- > 0;) {
    const Tensor* weight = model.items()[i].tensor();
    if (weight == nullptr) continue;
    const uint64_t size = weight->num_elements(), gap = (64 - in_bucket % 64) % 64;
    parts.push_back(*StateOf(*weight, more).Reshape({size})->Pad(0, gap, 0));
    in_bucket += gap + size;
    if (bucket_size > 0 && in_bucket >= bucket_size) in_bucket = 0;
  }
  return *Tensor::Concat(std::move(parts), 0);
}

// The distributed optimizer: groups in the rank's file, and in the file beside it a buffer for each model, the first of
// which may have several buckets.
void AddDistributed(RankFile& file, uint64_t bucket_size) {
  ValueGraph& graph = *file.root.graph;
  const ValueRef optimizer = graph.New(ValueNode::Kind::kDict), inner = Child(graph, optimizer, "optimizer");
  const ValueRef groups = graph.New(ValueNode::Kind::kList);
  for (const bool decays : {true, false}) groups->items.push_back(GroupOf(graph, decays));
  SetKey(graph, inner, "param_groups", groups);
  PutKey(graph, file.root.node, "optimizer", optimizer);
  const Value buckets{std::make_shared<ValueGraph>(), nullptr};
  ValueGraph& own = *buckets.graph;
  const ValueRef root = own.New(ValueNode::Kind::kDict);
  SetKey(own, root, "buckets_coalesced", NewBool(own, true));
  for (size_t m = 0; m < file.models.size(); ++m) {
    const ValueRef buffer = own.New(ValueNode::Kind::kDict), of_dtype = own.New(ValueNode::Kind::kDict);
    const uint64_t size = m == 0 ? bucket_size : 0;
    SetKey(own, buffer, "param", TensorValue(own, InBuckets(file.models[m], 0, size)));
    for (const auto& [kind, more] : kKinds)
      SetKey(own, buffer, kind, TensorValue(own, InBuckets(file.models[m], more, size)));
    const ValueRef dtypes = own.New(ValueNode::Kind::kTuple);
    for (const char* dtype : {"torch bfloat16", "torch float32"}) {
      dtypes->items.push_back(own.New(ValueNode::Kind::kGlobal));
      dtypes->items.back()->text = dtype;
    }
    of_dtype->items = {dtypes, buffer};
    root->items.insert(root->items.end(), {NewInt(own, static_cast<int64_t>(m)), of_dtype});
  }
  Write({buckets.graph, root}, fs::path(file.path).replace_filename("distrib_optim.pt").string());
}

// Two stages of two virtual ones, without optimizer, in a copy.
class RankOptimizerTest : public ::testing::Test {
 protected:
  template <typename Change>
  void ForEachRank(Change change) {
    fs::copy(Golden("megatron/mlm20-torch-pp2vpp2-llama/ckpt"), temp_ / "ckpt", fs::copy_options::recursive);
    for (const int stage : {0, 1}) {
      const std::string path = temp_ / fmt::format("ckpt/iter_0000010/mp_rank_00_{:03}/model_optim_rng.pt", stage);
      fs::permissions(fs::path(path).parent_path(), fs::perms::owner_all);
      RankFile file = ReadRank(path);
      change(file, stage);
      Write(file.root, path);
    }
  }
  // Every weight has the states that tell so, and the optimizer's own parameter.
  void ExpectStates(const std::string& path, const char* master) const {
    const auto written = OpenCheckpoint(path);
    ASSERT_THAT(written, IsOk());
    const ValueRef inner = Lookup(*Lookup(*written->shards.front().training->node, "optimizer"), "optimizer");
    ASSERT_NE(inner, nullptr);
    EXPECT_EQ(Lookup(*inner, "param_groups")->items.size(), 2);
    size_t compared = 0;
    for (const StateDict::Item& item : written->weights().items()) {
      if (item.tensor() == nullptr) continue;
      const ValueRef own = Lookup(*Lookup(*inner, "state"), item.name);
      ASSERT_NE(own, nullptr) << item.name;
      for (const auto& [kind, more] : kKinds)
        EXPECT_EQ(*Lookup(*own, kind)->tensor->Read(), *StateOf(*item.tensor(), more).Read()) << item.name;
      EXPECT_EQ(*Lookup(*own, master)->tensor->Read(), *StateOf(*item.tensor(), 0).Read()) << item.name;
      ++compared;
    }
    EXPECT_EQ(compared, 27);
  }
  std::vector<std::string> NotesOf(const std::string& path) const {
    const auto checkpoint = OpenCheckpoint(path);
    EXPECT_THAT(checkpoint, IsOk());
    return checkpoint.ok() ? checkpoint->notes : std::vector<std::string>();
  }
  TempDir temp_;
};

TEST_F(RankOptimizerTest, NumberedStatesBecomeThoseOfADistributedCheckpoint) {  // MEG-16
  ForEachRank([](RankFile& file, int) { AddAdam(file); });
  Convert(temp_ / "ckpt", temp_ / "lm", {.to = "megatron"});
  ExpectStates(temp_ / "lm", "fp32_param");
  const auto written = OpenCheckpoint(temp_ / "lm");
  const ValueRef inner = Lookup(*Lookup(*written->shards.front().training->node, "optimizer"), "optimizer");
  EXPECT_EQ(Lookup(*Lookup(*inner, "state"), "common_step")->real, 10);
}

TEST_F(RankOptimizerTest, BuffersBecomeStatesByName) {  // MEG-17
  ForEachRank([](RankFile& file, int) { AddDistributed(file, 0); });
  Convert(temp_ / "ckpt", temp_ / "lm", {.to = "megatron"});
  ExpectStates(temp_ / "lm", "param");
  Convert(temp_ / "ckpt", temp_ / "nemo2", {.to = "nemo2"});
  Convert(temp_ / "nemo2", temp_ / "bridge", {.to = "megatron-bridge"});
  ExpectStates(temp_ / "bridge", "param");
}

// Where gradients are reduced in pieces, the first stage's buffer has several buckets.
TEST_F(RankOptimizerTest, BucketsBeginAnew) {  // MEG-17
  ForEachRank([](RankFile& file, int stage) {
    const ValueRef args = MegatronArgsOf(file.root);
    PutKey(*file.root.graph, args, "overlap_grad_reduce", NewBool(*file.root.graph, true));
    PutKey(*file.root.graph, args, "ddp_bucket_size", NewInt(*file.root.graph, 100));
    AddDistributed(file, stage == 0 ? 100 : 0);
  });
  Convert(temp_ / "ckpt", temp_ / "lm", {.to = "megatron"});
  ExpectStates(temp_ / "lm", "param");
}

TEST_F(RankOptimizerTest, AnotherOrderIsNotTaken) {  // MEG-17
  ForEachRank([](RankFile& file, int) {
    std::swap(file.models[0], file.models[1]);
    AddDistributed(file, 0);
  });
  EXPECT_THAT(NotesOf(temp_ / "ckpt"), ::testing::Contains(::testing::HasSubstr("the optimizer's state is not read")));
  Convert(temp_ / "ckpt", temp_ / "lm", {.to = "megatron"});
  EXPECT_EQ(OpenCheckpoint(temp_ / "lm")->config->root().Get("no_save_optim")->AsBool(), true);
}

TEST_F(RankOptimizerTest, OtherGroupsAreNotTaken) {  // MEG-16
  ForEachRank([](RankFile& file, int) {
    AddAdam(file);
    ValueList& groups = Lookup(*Lookup(*Lookup(*file.root.node, "optimizer"), "optimizer"), "param_groups")->items;
    groups.erase(groups.end() - 1, groups.end());
  });
  EXPECT_THAT(NotesOf(temp_ / "ckpt"), ::testing::Contains(::testing::HasSubstr("the optimizer's state is not read")));
}

// What vars() makes of the arguments; a dictionary of another training's is none.
TEST_F(RankOptimizerTest, ArgumentsMayBeADictionary) {  // MEG-2
  ForEachRank([](RankFile& file, int) {
    PutKey(*file.root.graph, file.root.node, "args", MegatronArgsOf(file.root));
    ASSERT_EQ(Lookup(*file.root.node, "args")->kind, ValueNode::Kind::kDict);
  });
  Convert(temp_ / "ckpt", temp_ / "hf", {.to = "hf"});
  EXPECT_EQ(DigestsOf(temp_ / "hf"), Listed(Golden("megatron/mlm20-torch-pp2vpp2-llama/hf.sha256")));
  const Value other{std::make_shared<ValueGraph>(), nullptr};
  const ValueRef root = other.graph->New(ValueNode::Kind::kDict);
  SetKey(*other.graph, Child(*other.graph, root, "args"), "num_attention_heads", NewInt(*other.graph, 8));
  EXPECT_FALSE(IsMegatronTraining({other.graph, root}));
}

// ---- several expert ranks ----

// An optimizer of the experts' own beside the others', whose states the first expert rank alone may have.
class ExpertRanksTest : public ::testing::TestWithParam<const char*> {
 protected:
  std::string item() const { return Golden(std::string("megatron/") + GetParam()); }
  static std::vector<ValueRef> Members(const Checkpoint& checkpoint) {
    return FindOptimizers(checkpoint.shards.front().training->node);
  }
  void ExpectAll(const Checkpoint& checkpoint) const {
    EXPECT_EQ(DigestsOf(checkpoint.weights()), Listed(item() + "/plain.sha256"));
    EXPECT_EQ(MomentsOf(checkpoint, Masters::kWith), Listed(item() + "/optimizer.sha256"));
  }
};

TEST_P(ExpertRanksTest, BecomeOneOptimizer) {  // MEG-16, MEG-17
  const TempDir temp;
  Convert(item() + "/ckpt", temp / "lm", {.to = "megatron"});
  ANEMONE_ASSERT_ASSIGN(const Checkpoint written, OpenCheckpoint(temp / "lm"));
  ExpectAll(written);
  ASSERT_EQ(Members(written).size(), 1);
  EXPECT_EQ(Lookup(*Members(written)[0], "param_groups")->items.size(), 2);
  EXPECT_EQ(written.config->root().Get("expert_model_parallel_size")->AsInt(), 1);
  EXPECT_THAT(written.notes, ::testing::Not(::testing::Contains(::testing::HasSubstr("not read"))));
}

// Where experts have ranks again, they have an optimizer again; without, the dictionary is as it was.
TEST_P(ExpertRanksTest, AreAskedFor) {  // MEG-19
  const TempDir temp;
  Convert(item() + "/ckpt", temp / "two", {.to = "megatron", .ep = 2});
  ANEMONE_ASSERT_ASSIGN(const Checkpoint two, OpenCheckpoint(temp / "two"));
  ExpectAll(two);
  ASSERT_EQ(Members(two).size(), 2);
  EXPECT_TRUE(two.origin.distributed->has_chained_optimizer);
  EXPECT_EQ(two.config->root().Get("expert_model_parallel_size")->AsInt(), 2);
  const ValueRef groups = Lookup(*Members(two)[1], "param_groups");
  ASSERT_EQ(groups->items.size(), 1);  // experts have no vectors
  EXPECT_EQ(Lookup(*groups->items[0], "is_expert_parallel")->integer, 1);
  EXPECT_EQ(
      Lookup(*Lookup(*two.shards.front().training->node, "content_metadata"), "chained_optim_avoid_prefix")->integer,
      0);
  const ValueList& experts = *Pairs(Lookup(*Members(two)[1], "state"));
  for (size_t i = 0; i + 1 < experts.size(); i += 2)
    EXPECT_THAT(experts[i]->text, ::testing::AnyOf("common_step", ::testing::HasSubstr(".mlp.experts.")));

  Convert(temp / "two", temp / "tp", {.to = "megatron", .tp = 1});  // keeps expert ranks
  EXPECT_EQ(Members(*OpenCheckpoint(temp / "tp")).size(), 2);
  Convert(temp / "two", temp / "one", {.to = "megatron", .ep = 1});
  Convert(item() + "/ckpt", temp / "merged", {.to = "megatron"});
  ANEMONE_ASSERT_ASSIGN(const Checkpoint one, OpenCheckpoint(temp / "one"));
  ExpectAll(one);
  EXPECT_EQ(Members(one).size(), 1);
  EXPECT_EQ(Lookup(*Members(one)[0], "param_groups")->items.size(), 2);
  Convert(temp / "two", temp / "nemo2", {.to = "nemo2"});
  Convert(temp / "nemo2", temp / "bridge", {.to = "megatron-bridge"});
  ANEMONE_ASSERT_ASSIGN(const Checkpoint bridge, OpenCheckpoint(temp / "bridge"));
  const std::string fused = ".mlp.linear_fc1.layer_norm_";  // of local layers; NeMo 2 has Transformer Engine's
  Digests expected;
  for (const auto& [name, digest] : Listed(item() + "/optimizer.sha256")) {
    const size_t at = name.find(fused);
    const bool is_fused = at != std::string::npos;
    expected.emplace(is_fused ? std::string(name).replace(at, fused.size(), ".pre_mlp_layernorm.") : name, digest);
  }
  EXPECT_EQ(MomentsOf(bridge, Masters::kWith), expected);
}

TEST_P(ExpertRanksTest, AreRefusedWhereTheyDivideNothing) {  // MEG-19
  const TempDir temp;
  EXPECT_THAT(PlanConversion(item() + "/ckpt", temp / "lm", {.to = "megatron", .ep = 3}),
              StatusIs(ErrorKind::kInvalidArgument, "4 experts"));
  EXPECT_THAT(PlanConversion(item() + "/ckpt", temp / "a.nemo", {.ep = 2}),
              StatusIs(ErrorKind::kInvalidArgument, "nemo"));
  EXPECT_THAT(PlanConversion(Golden("megatron/mlm19-dist-tp1-llama/ckpt"), temp / "lm", {.to = "megatron", .ep = 2}),
              StatusIs(ErrorKind::kInvalidArgument, "0 experts"));
}

// A distributed checkpoint in the form of the version that wrote the ranks, which is told.
TEST(Buffers, BecomeWhatTheirVersionLoads) {  // MEG-17
  const TempDir temp;
  const auto told = [&](const std::string& source, const std::string& to) {
    const auto plan = PlanConversion(source, temp / "planned", {.to = to});
    EXPECT_THAT(plan, IsOk());
    const auto note = std::ranges::find_if(
        plan->notes, [](const std::string& line) { return line.find("loads in Megatron-core") != std::string::npos; });
    return note == plan->notes.end() ? std::string() : note->substr(note->find("core ") + 5);
  };
  const std::string ranks = Golden("megatron/experts-distributed/ckpt"),
                    old = Golden("megatron/experts-distributed-0.14/ckpt");
  EXPECT_EQ(told(ranks, "megatron"), "0.15 and later");
  EXPECT_EQ(told(old, "megatron"), "0.9 to 0.15");
  EXPECT_EQ(told(old, "nemo2"), "0.9 to 0.15");
  EXPECT_EQ(told(ranks, "safetensors"), "");
  EXPECT_EQ(told(Golden("megatron/experts-adam/ckpt"), "megatron"), "");
  for (const auto& [source, form] : {std::pair{ranks, "fully_reshardable"}, {old, "fully_sharded_model_space"}}) {
    const std::string written = temp / form;
    Convert(source, written, {.to = "megatron"});
    EXPECT_EQ(told(written, "megatron-bridge"), "");  // as it was
    EXPECT_NE(told(written, "nemo2"), "");
    const auto opened = OpenCheckpoint(written);
    ASSERT_THAT(opened, IsOk());
    EXPECT_EQ(ShardingOf(*opened->shards.front().training), form);
    EXPECT_EQ(opened->origin.distributed->has_flat_optimizer, source == old);
  }
}

// The buffers that the first expert rank alone has.
TEST(ExpertRanks, AMissingFileLeavesTheOptimizer) {  // MEG-17
  const TempDir temp;
  fs::copy(Golden("megatron/experts-distributed/ckpt"), temp / "ckpt", fs::copy_options::recursive);
  const fs::path rank = temp / "ckpt/iter_0000003/mp_rank_00_000_000";
  fs::permissions(rank, fs::perms::owner_all);
  fs::copy_file(rank.parent_path() / "mp_rank_00_000_001/distrib_optim.pt", rank / "distrib_optim.pt",
                fs::copy_options::overwrite_existing);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint((temp / "ckpt")));
  EXPECT_THAT(checkpoint.notes, ::testing::Contains(::testing::HasSubstr("buffers of all but the experts")));
}

INSTANTIATE_TEST_SUITE_P(All, ExpertRanksTest,
                         ::testing::Values("experts-adam", "experts-distributed", "experts-distributed-0.14"));

// Without an optimizer, too, the training goes on where it was.
TEST_F(RankOptimizerTest, TheIterationStays) {  // MEG-16
  Convert(Golden("megatron/mlm20-torch-pp2vpp2-llama/ckpt"), temp_ / "lm", {.to = "megatron"});
  EXPECT_TRUE(fs::exists(temp_ / "lm/iter_0000010"));
}

}  // namespace
}  // namespace anemone
