// torch_dist folders as anemone writes them: what was read comes back, stacked
// as Megatron stacks it.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "format/dist/torch_dist_metadata.h"
#include "format/torch/omegaconf.h"
#include "format/torch/torch_file.h"
#include "format/values.h"
#include "unit/format_dist/support.h"

namespace anemone {
namespace {

using namespace testing;  // NOLINT: the helpers of this folder

Status Write(const Checkpoint& checkpoint, const std::string& format, const std::string& destination) {
  ANEMONE_ASSIGN(const Plan plan, FindFormat(format)->lay_out(checkpoint, {}));
  ANEMONE_TRY(Check(plan));
  return Execute(plan, destination, {});
}

Result<DistMetadata> ReadIndex(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return ParseDistMetadata(std::string((std::istreambuf_iterator<char>(in)), {}));
}

void ExpectSameWeights(const StateDict& found, const StateDict& expected) {
  EXPECT_EQ(found.size(), expected.size());
  for (const auto& item : expected.items()) {
    const auto* other = found.Find(item.name);
    ASSERT_NE(other, nullptr) << item.name;
    ASSERT_EQ(other->tensor() == nullptr, item.tensor() == nullptr) << item.name;
    if (item.tensor() != nullptr) {
      ExpectSame(*other->tensor(), *item.tensor(), item.name);
    } else {
      EXPECT_EQ(other->opaque()->form, item.opaque()->form) << item.name;
      if (item.opaque()->value.node != nullptr && !item.opaque()->value.node->items.empty()) {
        EXPECT_EQ(other->opaque()->value.node->items[0]->text, item.opaque()->value.node->items[0]->text) << item.name;
      }
    }
  }
}

TEST(WriteTorchDist, LayersAreStackedAgain) {
  const TempFolder temp;
  ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenFolder(Golden(kTorchDist)));
  ASSERT_THAT(Write(before, "torch_dist", temp / "out"), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenFolder(temp / "out"));
  ExpectSameWeights(after.weights(), before.weights());
  ANEMONE_ASSERT_ASSIGN(const DistMetadata ours, ReadIndex(temp / "out/.metadata"));
  ANEMONE_ASSERT_ASSIGN(const DistMetadata theirs, ReadIndex(Golden(kTorchDist) + "/.metadata"));
  std::map<std::string, Shape> shapes, expected;
  for (const auto* metadata : {&ours, &theirs}) {
    for (const DistItem& item : metadata->items) {
      const auto* tensor = std::get_if<DistTensor>(&item.content);
      (metadata == &ours ? shapes : expected)[item.key] = tensor != nullptr ? *tensor->shape : Shape{};
    }
  }
  EXPECT_EQ(shapes, expected);
}

// A layer's experts are one tensor in a distributed checkpoint, and MLPs of their own in a state dict [core_v0.9.0
// moe/experts.py, SequentialMLP.sharded_state_dict].
TEST(WriteTorchDist, ExpertsAreStackedTwice) {
  const TempFolder temp;
  Checkpoint before;
  StateDict& weights = before.shards.emplace_back().weights;
  const std::string fc1 = ".linear_fc1.weight", state = ".linear_fc1._extra_state";
  int next = 0;
  for (const char* layer : {"0", "1"}) {
    for (const char* expert : {"0", "1", "2"}) {
      const std::string name = fmt::format("model.decoder.layers.{}.mlp.experts.local_experts.{}", layer, expert);
      ASSERT_THAT(weights.Add(name + fc1, *Tensor::Fill(DType::kF32, {4, 2}, ++next)), IsOk());
      ASSERT_THAT(weights.Add(name + state, Opaque{}), IsOk());
    }
    ASSERT_THAT(weights.Add(fmt::format("model.decoder.layers.{}.self_attention.linear_proj.weight", layer),
                            *Tensor::Fill(DType::kF32, {2, 2}, ++next)),
                IsOk());
  }
  ASSERT_THAT(Write(before, "torch_dist", temp / "out"), IsOk());
  ANEMONE_ASSERT_ASSIGN(const DistMetadata index, ReadIndex(temp / "out/.metadata"));
  std::map<std::string, Shape> shapes;
  std::set<std::string> objects;
  for (const DistItem& item : index.items) {
    const auto* tensor = std::get_if<DistTensor>(&item.content);
    if (tensor != nullptr) {
      shapes[item.key] = *tensor->shape;
    } else {
      objects.insert(item.key);
    }
  }
  const std::string experts = "model.decoder.layers.mlp.experts.experts";
  EXPECT_EQ(shapes,
            (std::map<std::string, Shape>{{experts + fc1, {2, 3, 4, 2}},
                                          {"model.decoder.layers.self_attention.linear_proj.weight", {2, 2, 2}}}));
  EXPECT_EQ(objects.size(), 6u);
  EXPECT_TRUE(objects.contains(experts + state + "/shard_1.2_2.3"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenFolder(temp / "out"));
  EXPECT_EQ(after.weights().size(), weights.size());
  for (const auto& item : weights.items()) {
    const auto* found = after.weights().Find(item.name);
    ASSERT_NE(found, nullptr) << item.name;
    if (item.tensor() != nullptr) ExpectSame(*found->tensor(), *item.tensor(), item.name);
  }
}

TEST(WriteTorchDist, ZarrBecomesTorchDist) {
  const TempFolder temp;
  ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenFolder(Golden(kZarr)));
  ASSERT_THAT(Write(before, "torch_dist", temp / "out"), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenCheckpoint(temp / "out"));
  EXPECT_EQ(after.flavour, "torch_dist");
  ExpectSameWeights(after.weights(), before.weights());
}

TEST(WriteTorchDist, TrainingStateComesBack) {
  for (const char* golden : {kFusedAdam, kDistOptim, kChained}) {
    const TempFolder temp;
    ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenFolder(Golden(golden)));
    ASSERT_THAT(Write(before, "torch_dist", temp / "out"), IsOk());
    ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenCheckpoint(temp / "out"));
    ExpectSameWeights(after.weights(), before.weights());
    std::map<std::string, Shape> shapes, expected;
    for (const std::string& path : {temp / "out/.metadata", Golden(golden) + "/.metadata"}) {
      ANEMONE_ASSERT_ASSIGN(const DistMetadata metadata, ReadIndex(path));
      for (const DistItem& item : metadata.items) {
        const auto* tensor = std::get_if<DistTensor>(&item.content);
        auto& into = path.starts_with(Golden("")) ? expected : shapes;
        into[item.key] = tensor != nullptr ? *tensor->shape : Shape{};
        if (tensor != nullptr && tensor->original_shape) into[item.key + " before"] = *tensor->original_shape;
      }
    }
    for (const auto& [key, shape] : expected) {
      ASSERT_TRUE(shapes.contains(key)) << key;
      // The number of fragments is the writer's choice.
      if (!expected.contains(key + " before")) {
        EXPECT_EQ(shapes[key], shape) << key;
      }
    }
    const std::vector<ValueRef> expected_chain = FindOptimizers(before.shards[0].training->node);
    const std::vector<ValueRef> found_chain = FindOptimizers(after.shards[0].training->node);
    ASSERT_EQ(found_chain.size(), expected_chain.size());
    size_t parameters = 0;
    for (size_t member = 0; member < expected_chain.size(); ++member) {
      const auto& states = *DictEntries(*Lookup(*expected_chain[member], "state"));
      const ValueRef found_states = Lookup(*found_chain[member], "state");
      EXPECT_EQ(DictEntries(*found_states)->size(), states.size());
      for (size_t i = 0; i < states.size(); i += 2) {
        const ValueRef found = Lookup(*found_states, states[i]->text);
        ASSERT_NE(found, nullptr) << states[i]->text;
        if (states[i + 1]->kind == ValueNode::Kind::kTensor) {  // the step that all have
          ExpectSame(*found->tensor, *states[i + 1]->tensor, states[i]->text);
          continue;
        }
        ++parameters;
        const auto& kinds = *DictEntries(*states[i + 1]);
        for (size_t j = 0; j < kinds.size(); j += 2)
          ExpectSame(*Lookup(*found, kinds[j]->text)->tensor, *kinds[j + 1]->tensor, states[i]->text);
      }
    }
    EXPECT_EQ(parameters, CountTensors(before.weights()));
    EXPECT_EQ(At(*after.shards[0].training, {"global_step"})->integer, 2);
  }
}

// TD-13, as the common.pt of a checkpoint that NeMo's trainer saved; and where no training came along.
TEST(WriteTorchDist, CommonValuesAreWhatLightningLoads) {
  const TempFolder temp;
  ANEMONE_ASSERT_ASSIGN(Checkpoint before, OpenFolder(Golden(kTorchDist)));
  before.config = Config(ConfigNode::Map());
  (void)before.config->Set("mcore_gpt", ConfigNode::Bool(true));
  (void)before.config->Set("dist_ckpt_format", ConfigNode::String("zarr"));
  for (const bool has_training : {false, true}) {
    if (has_training) {
      ANEMONE_ASSERT_ASSIGN(const Checkpoint golden, OpenFolder(Golden(kFusedAdam)));
      before.shards[0].training = golden.shards[0].training;
    }
    const std::string folder = temp / std::string(has_training ? "trained" : "alone");
    ASSERT_THAT(Write(before, "torch_dist", folder), IsOk());
    ANEMONE_ASSERT_ASSIGN(ByteSourcePtr file, OpenFile(folder + "/common.pt"));
    ANEMONE_ASSERT_ASSIGN(const TorchFile common, ReadTorchFile(Whole(file)));
    const ValueNode& values = *common.root.node;
    for (const char* key : {"epoch", "global_step", "pytorch-lightning_version", "callbacks", "optimizer_states",
                            "lr_schedulers", "hparams_name", "hparams_type"}) {
      EXPECT_NE(Lookup(values, key), nullptr) << key;
    }
    ASSERT_NE(Lookup(values, "state_dict"), nullptr);
    EXPECT_THAT(Lookup(values, "state_dict")->items, ::testing::IsEmpty());
    const ValueRef hparams = Lookup(values, "hyper_parameters");
    ASSERT_NE(hparams, nullptr);
    EXPECT_EQ(hparams->callable->text, "omegaconf.dictconfig DictConfig");
    ANEMONE_ASSERT_ASSIGN(const ConfigNode config, ToConfigNode(Value{common.root.graph, hparams}));
    ASSERT_NE(config.Get("cfg"), nullptr);
    // NeMo opens the folder by what the config says.
    Config expected = *before.config;
    *expected.root().Get("dist_ckpt_format") = ConfigNode::String("torch_dist");
    EXPECT_EQ(Config(*config.Get("cfg")).ToYaml(), expected.ToYaml());
    ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenFolder(folder));
    EXPECT_TRUE(SameConfig(after.config->root(), expected.root()));
  }
}

TEST(WriteTorchDist, TheMarkerIsLast) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenFolder(Golden(kTorchDist)));
  Plan plan;
  ASSERT_THAT(LayOutTorchDist(before, {}, plan), IsOk());
  EXPECT_EQ(plan.files.back().path, "metadata.json");
}

TEST(WriteTorchDist, RanksAreMergedFirst) {
  ANEMONE_ASSERT_ASSIGN(Checkpoint checkpoint, OpenFolder(Golden(kTorchDist)));
  checkpoint.shards.resize(2);
  Plan plan;
  EXPECT_THAT(LayOutTorchDist(checkpoint, {}, plan),
              StatusIs(ErrorKind::kInvalidArgument, "expected one shard, found 2"));
}

TEST(WriteTorchDist, ExtraStateIsDroppedOnRequest) {
  const TempFolder temp;
  ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenFolder(Golden(kTorchDist)));
  LayOutOptions options;
  options.extra_state = ExtraState::kDrop;
  ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat("torch_dist")->lay_out(before, options));
  ASSERT_THAT(Execute(plan, temp / "out", {}), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenFolder(temp / "out"));
  EXPECT_EQ(after.weights().size(), 15u);
}

TEST(WriteTorchDist, AGridGivesEachRankItsFile) {
  const TempFolder temp;
  ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenFolder(Golden(kTorchDist)));
  LayOutOptions options;
  options.shard_grid = 4;
  ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat("torch_dist")->lay_out(before, options));
  ASSERT_THAT(Execute(plan, temp / "out", {}), IsOk());
  EXPECT_TRUE(std::filesystem::exists(temp / "out/__3_0.distcp"));
  ANEMONE_ASSERT_ASSIGN(const DistMetadata index, ReadIndex(temp / "out/.metadata"));
  for (const DistItem& item : index.items) {
    if (item.key == "model.decoder.layers.mlp.linear_fc2.weight") {
      EXPECT_EQ(*std::get<DistTensor>(item.content).chunks[1].offsets, (Shape{0, 0, 24}));
    }
    if (item.key == "model.output_layer.weight") {  // 1010 rows: not by four
      EXPECT_EQ(std::get<DistTensor>(item.content).chunks.size(), 1u);
    }
  }
  ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenFolder(temp / "out"));
  ExpectSameWeights(after.weights(), before.weights());
  options.shard_grid = 0;
  EXPECT_THAT(FindFormat("torch_dist")->lay_out(before, options), StatusIs(ErrorKind::kInvalidArgument, "shard grid"));
}

TEST(WriteNemo2, ComesBackWhole) {
  const TempFolder temp;
  ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenCheckpoint(Golden("dist/nemo2_llama/nemo")));
  ASSERT_THAT(Write(before, "nemo2", temp / "out"), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenCheckpoint(temp / "out"));
  EXPECT_EQ(after.flavour, "nemo2");
  ExpectSameWeights(after.weights(), before.weights());
  EXPECT_TRUE(SameConfig(after.config->root(), before.config->root()));
  EXPECT_EQ(after.artifacts.size(), before.artifacts.size());
  ANEMONE_ASSERT_ASSIGN(const DistMetadata index, ReadIndex(temp / "out/weights/.metadata"));
  ANEMONE_ASSERT_ASSIGN(const DistMetadata theirs, ReadIndex(Golden("dist/nemo2_llama/nemo/weights/.metadata")));
  std::set<std::string> keys, expected;
  for (const DistItem& item : index.items) keys.insert(item.key);
  for (const DistItem& item : theirs.items) expected.insert(item.key);
  EXPECT_EQ(keys, expected);
}

// N2-4: parts that the two generations call by other names.
TEST(WriteNemo2, PartsAreCalledAsNemoTwoCallsThem) {
  const std::pair<std::vector<const char*>, std::vector<const char*>> models[] = {
      {{"model.vision_encoder.class_token", "model.text_encoder.token"},
       {"module.vision_model.class_token", "module.text_model.token"}},
      {{"model.embedding.word_embeddings.vision_encoder.class_token",
        "model.embedding.word_embeddings.adapter_layer.mm_projector_adapter.mm_projector.0.weight",
        "model.decoder.final_layernorm.weight"},
       {"module.vision_model.class_token", "module.vision_projection.0.weight",
        "module.language_model.decoder.final_layernorm.weight"}}};
  for (const auto& [ours, theirs] : models) {
    const TempFolder temp;
    Checkpoint before;
    before.config = Config(ConfigNode::Map());
    before.shards.emplace_back();
    for (const char* name : ours) ASSERT_THAT(before.weights().Add(name, *Tensor::Fill(DType::kF32, {2}, 1)), IsOk());
    ASSERT_THAT(Write(before, "nemo2", temp / "out"), IsOk());
    ANEMONE_ASSERT_ASSIGN(const DistMetadata index, ReadIndex(temp / "out/weights/.metadata"));
    std::set<std::string> keys;
    for (const DistItem& item : index.items) keys.insert(item.key);
    EXPECT_EQ(keys, std::set<std::string>(theirs.begin(), theirs.end()));
    ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenCheckpoint(temp / "out"));
    ExpectSameWeights(after.weights(), before.weights());
  }
}

// Of a million tensors the index is most of what a plan holds: words and classes take two bytes each time.
TEST(WriteTorchDist, TheIndexIsShort) {
  const TempFolder temp;
  const auto name = [](int i) { return fmt::format("part.{:04}.weight", i); };
  std::vector<uint64_t> sizes;
  for (const int count : {300, 600}) {
    Checkpoint before;
    StateDict& weights = before.shards.emplace_back().weights;
    for (int i = 0; i < count; ++i) ASSERT_THAT(weights.Add(name(i), *Tensor::Fill(DType::kF32, {2}, i)), IsOk());
    const std::string out = temp / std::to_string(count);
    ASSERT_THAT(Write(before, "torch_dist", out), IsOk());
    sizes.push_back(std::filesystem::file_size(out + "/.metadata"));
    ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenFolder(out));
    ExpectSameWeights(after.weights(), before.weights());
  }
  EXPECT_LE((sizes[1] - sizes[0]) / 300, name(0).size() + 150);
}

// N2-10
TEST(WriteNemo2, AFolderThatNobodyCanLoadIsNotWritten) {
  const TempFolder temp;
  ANEMONE_ASSERT_ASSIGN(Checkpoint checkpoint, OpenCheckpoint(Golden("dist/nemo2_llama/nemo")));
  checkpoint.config.reset();
  EXPECT_THAT(Write(checkpoint, "nemo2", temp / "by-io.json"), IsOk());
  std::erase_if(checkpoint.artifacts, [](const Artifact& artifact) { return artifact.name == "context/io.json"; });
  EXPECT_THAT(Write(checkpoint, "nemo2", temp / "out"), StatusIs(ErrorKind::kInvalidArgument, "needs a model config"));
}

// NeMo opens `model_weights/` by what the config says.
TEST(WriteNemo, TheConfigNamesTheFormatOfTheWeights) {
  const TempFolder temp;
  ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenCheckpoint(Golden("gpt/Z.nemo")));
  ASSERT_EQ(before.config->root().Get("dist_ckpt_format")->text, "zarr");
  ASSERT_THAT(Write(before, "nemo", temp / "out.nemo"), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenCheckpoint(temp / "out.nemo"));
  EXPECT_EQ(after.config->root().Get("dist_ckpt_format")->text, "torch_dist");
  ASSERT_TRUE(after.origin.distributed.has_value());
  EXPECT_EQ(after.origin.distributed->backend, "torch_dist");
  ExpectSameWeights(after.weights(), before.weights());
}

}  // namespace
}  // namespace anemone
