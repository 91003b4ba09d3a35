// Distributed checkpoints by NeMo 2.0.0, Megatron-core 0.9 and torch 2.15, read
// bit for bit.
#include <fstream>
#include <map>

#include "container/tar.h"
#include "format/dist/entries.h"
#include "format/dist/present.h"
#include "format/dist/torch_dist_metadata.h"
#include "format/torch/torch_file.h"
#include "format/values.h"
#include "unit/format_dist/support.h"

namespace anemone {
namespace {

using namespace testing;  // NOLINT: the helpers of this folder

StateDict Plain(const std::string& golden) {
  auto checkpoint = OpenCheckpoint(Golden(golden));
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return checkpoint.ok() ? checkpoint->weights() : StateDict();
}

// Every tensor of `expected`, by the name `prefix` + name, and no other.
void ExpectTensors(const StateDict& found, const StateDict& expected, const std::string& prefix = "") {
  ASSERT_GT(CountTensors(expected), 0u);
  EXPECT_EQ(CountTensors(found), CountTensors(expected));
  for (const auto& item : expected.items()) {
    if (item.tensor() == nullptr) continue;
    const Tensor* tensor = TensorAt(found, prefix + item.name);
    ASSERT_NE(tensor, nullptr) << item.name;
    ExpectSame(*tensor, *item.tensor(), item.name);
  }
}

TEST(TorchDist, IsReadLayerByLayer) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenFolder(Golden(kTorchDist)));
  EXPECT_EQ(checkpoint.flavour, "torch_dist");
  ASSERT_TRUE(checkpoint.origin.distributed.has_value());
  EXPECT_THAT(checkpoint.origin.distributed->layer_stacks, ::testing::ElementsAre("model.decoder.layers"));
  EXPECT_EQ(checkpoint.origin.ToMetadata().at("layer_stacks"), "model.decoder.layers");
  ExpectTensors(checkpoint.weights(), Plain("dist/torch_dist_small/plain.safetensors"));
  EXPECT_FALSE(checkpoint.shards[0].training);
  EXPECT_TRUE(checkpoint.artifacts.empty());
  const auto* item = checkpoint.weights().Find("model.decoder.layers.1.mlp.linear_fc1._extra_state");
  ASSERT_NE(item, nullptr);
  ASSERT_NE(item->opaque(), nullptr);
  EXPECT_EQ(item->opaque()->form, Opaque::Form::kBytesIO);
  EXPECT_FALSE(item->opaque()->holds_data);
}

TEST(TorchDist, KeepsTheOrderOfModules) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenFolder(Golden(kTorchDist)));
  const auto& items = checkpoint.weights().items();
  ASSERT_EQ(items.size(), 23u);  // 15 tensors, 8 extra states
  EXPECT_EQ(items[0].name, "model.embedding.word_embeddings.weight");
  EXPECT_EQ(items[1].name, "model.decoder.layers.0.self_attention.linear_proj.weight");
  EXPECT_EQ(items[2].name, "model.decoder.layers.0.self_attention.linear_proj._extra_state");
  EXPECT_EQ(items[11].name, "model.decoder.layers.1.self_attention.linear_proj.weight");
  EXPECT_EQ(items[22].name, "model.output_layer.weight");
}

TEST(TorchDist, ATensorIsARangeOfItsFile) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenFolder(Golden(kTorchDist)));
  const Tensor* whole = TensorAt(checkpoint.weights(), "model.decoder.layers.1.mlp.linear_fc2.weight");
  ASSERT_NE(whole, nullptr);
  const auto range = whole->AsByteRange();
  ASSERT_TRUE(range);
  EXPECT_EQ(range->size, whole->size_bytes());
  EXPECT_GE(range->source->fd(), 0);
}

TEST(TorchDist, ReadsEveryDtype) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenFolder(Golden("dist/mcore_direct_torch_dist")));
  ExpectTensors(checkpoint.weights(), Plain("dist/mcore_direct_plain.safetensors"), "model.");
}

TEST(Zarr, IsReadLayerByLayer) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenFolder(Golden(kZarr)));
  EXPECT_EQ(checkpoint.flavour, "zarr");
  ExpectTensors(checkpoint.weights(), Plain("dist/zarr_small/plain.safetensors"));
  EXPECT_NE(checkpoint.weights().Find("model.decoder.layers.0.mlp.linear_fc1._extra_state"), nullptr);
  EXPECT_TRUE(checkpoint.artifacts.empty());
}

TEST(Zarr, ReadsEveryDtype) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenFolder(Golden("dist/mcore_direct_zarr")));
  ExpectTensors(checkpoint.weights(), Plain("dist/mcore_direct_plain.safetensors"), "model.");
}

// The oldest, a middle and the newest torch: `.metadata` changed its classes' module, gained `version` and strides.
class OfTorch : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(TorchDist, OfTorch, ::testing::Values("2.2", "2.9", "2.15"));

TEST_P(OfTorch, ReadsWhatTwoProcessesWrote) {
  const std::string folder = std::string("dist_torch_") + GetParam();
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenFolder(Golden(folder + "/plain_dcp")));
  ASSERT_TRUE(checkpoint.origin.distributed.has_value());
  EXPECT_EQ(checkpoint.origin.distributed->backend, "torch");
  const StateDict plain = Plain(folder + "/plain.safetensors");
  ASSERT_TRUE(checkpoint.shards[0].training);
  const Value& training = *checkpoint.shards[0].training;
  EXPECT_EQ(CountTensors(checkpoint.weights()) + 1, CountTensors(plain));
  for (const auto& item : plain.items()) {
    const Tensor* found = TensorAt(checkpoint.weights(), item.name);
    if (item.name == "optim.state.embed.exp_avg") {
      const ValueRef node = At(training, {"optim", "state", "embed", "exp_avg"});
      ASSERT_NE(node, nullptr);
      found = &*node->tensor;
    }
    ASSERT_NE(found, nullptr) << item.name;
    ExpectSame(*found, *item.tensor(), item.name);
  }
  const ValueRef step = At(training, {"step"});
  ASSERT_NE(step, nullptr);
  EXPECT_EQ(step->integer, 12);
  EXPECT_EQ(At(training, {"note"})->text, "trained");
  EXPECT_NE(At(training, {"optim", "param_groups"}), nullptr);
}

Value TorchValue(const std::string& golden) {
  auto source = OpenFile(Golden(golden));
  EXPECT_TRUE(source.ok()) << source.status().message();
  auto file = ReadTorchFile(Whole(*source));
  EXPECT_TRUE(file.ok()) << file.status().message();
  return file->root;
}

TEST(Lightning, FusedAdamStandsBesideItsGroups) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenFolder(Golden(kFusedAdam)));
  const Value plain = TorchValue("gpt_fused_adam_dist/opt1.plain.rank0.pt");
  ASSERT_TRUE(checkpoint.shards[0].training);
  const Value& training = *checkpoint.shards[0].training;
  EXPECT_EQ(At(training, {"global_step"})->integer, 2);
  const ValueRef optimizer = At(training, {"optimizer_states", "0"});
  ASSERT_NE(optimizer, nullptr);
  EXPECT_NE(Lookup(*optimizer, "param_groups"), nullptr);
  const ValueRef state = Lookup(*optimizer, "state");
  ASSERT_NE(state, nullptr);
  const auto& parameters = *DictEntries(*At(plain, {"params"}));
  ASSERT_EQ(parameters.size(), 30u);
  EXPECT_EQ(CountTensors(checkpoint.weights()), 15u);
  for (size_t i = 0; i < parameters.size(); i += 2) {
    const std::string name = "model." + parameters[i]->text;
    const Tensor* weight = TensorAt(checkpoint.weights(), name);
    ASSERT_NE(weight, nullptr) << name;
    ExpectSame(*weight, *parameters[i + 1]->tensor, name);
    const ValueRef moments = Lookup(*state, name);
    ASSERT_NE(moments, nullptr) << name;
    for (const char* kind : {"exp_avg", "exp_avg_sq"}) {
      ExpectSame(*Lookup(*moments, kind)->tensor, *At(plain, {"state", parameters[i]->text, kind})->tensor,
                 name + kind);
    }
  }
  ASSERT_TRUE(checkpoint.config);
  EXPECT_EQ(checkpoint.config->Find("hidden_size")->AsInt(), 24);
}

// TD-9
TEST(Lightning, FlattenedStateIsPutTogether) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenFolder(Golden(kDistOptim)));
  const ValueRef state = At(*checkpoint.shards[0].training, {"optimizer_states", "0", "optimizer", "state"});
  ASSERT_NE(state, nullptr);
  size_t slices = 0;
  for (const char* rank : {"0", "1"}) {
    const Value plain = TorchValue(std::string("gpt_mcore_dist_optim/opt3.plain.rank") + rank + ".pt");
    const auto& parameters = *DictEntries(*At(plain, {"params"}));
    for (size_t i = 0; i < parameters.size(); i += 2) {
      const std::string name = "model." + parameters[i]->text.substr(std::string("module.").size());
      const Tensor* weight = TensorAt(checkpoint.weights(), name);
      ASSERT_NE(weight, nullptr) << name;
      ExpectSame(*weight, *parameters[i + 1]->tensor, name);
    }
    const auto& flat = *DictEntries(*At(plain, {"flat"}));
    for (size_t i = 0; i < flat.size(); i += 2) {
      const std::string name = "model." + flat[i]->text.substr(std::string("module.").size());
      const ValueRef moments = Lookup(*state, name);
      ASSERT_NE(moments, nullptr) << name;
      const auto start = static_cast<size_t>(Lookup(*flat[i + 1], "start")->integer);
      for (const char* kind : {"fp32_param", "exp_avg", "exp_avg_sq"}) {
        const Tensor& whole = *Lookup(*moments, kind)->tensor;
        EXPECT_EQ(whole.shape(), TensorAt(checkpoint.weights(), name)->shape()) << name;
        const std::string expected = Bytes(*Lookup(*flat[i + 1], kind)->tensor);
        EXPECT_TRUE(Bytes(whole).substr(start * 4, expected.size()) == expected) << name << " " << kind;
        ++slices;
      }
    }
  }
  EXPECT_GT(slices, 45u);
}

// TD-12: experts with ranks and an optimizer of their own, by Megatron-core 0.16, whose `.metadata` holds the ranks'
// plans, too.
TEST(Lightning, AChainOfOptimizersKeepsItsMembers) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenFolder(Golden(kChained)));
  EXPECT_EQ(CountTensors(checkpoint.weights()), 34u);
  const std::vector<ValueRef> chain = FindOptimizers(checkpoint.shards[0].training->node);
  ASSERT_EQ(chain.size(), 2u);
  size_t compared[2] = {};
  for (const char* rank : {"0", "1"}) {
    const Value plain = TorchValue(std::string("dist_megatron_0.16/rank") + rank + ".pt");
    const auto& weights = *DictEntries(*At(plain, {"weights"}));
    for (size_t i = 0; i < weights.size(); i += 2) {
      const std::string& name = weights[i]->text;
      const Tensor* weight = TensorAt(checkpoint.weights(), name);
      ASSERT_NE(weight, nullptr) << name;
      ExpectSame(*weight, *weights[i + 1]->tensor, name);
      const size_t member = name.find(".experts.") != std::string::npos ? 1 : 0;
      const ValueRef moments = Lookup(*Lookup(*chain[member], "state"), name);
      ASSERT_NE(moments, nullptr) << name;
      for (const char* kind : {"exp_avg", "exp_avg_sq"}) {
        ExpectSame(*Lookup(*moments, kind)->tensor, *At(plain, {"moments", name, kind})->tensor, name + kind);
      }
      ++compared[member];
    }
  }
  EXPECT_EQ(compared[0], 2 * 18u);  // both ranks hold them
  EXPECT_EQ(compared[1], 16u);
  for (const ValueRef member : chain) EXPECT_NE(Lookup(*Lookup(*member, "state"), "common_step"), nullptr);
}

// Two tensor ranks with gated linear units: what each rank held is a block, or
// two, of the whole.
TEST(TorchDist, ReadsWhatTwoTensorRanksWrote) {
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr file, OpenFile(Golden("gpt_gqa_tp2/gqa_tp2.nemo")));
  ANEMONE_ASSERT_ASSIGN(const std::vector<TarMember> tar, ReadTar(Whole(file)));
  std::vector<Artifact> members;
  for (const TarMember& member : tar) {
    if (!member.is_directory) members.push_back({member.name, member.content});
  }
  EXPECT_FALSE(LooksDistributed(members));
  members = MembersBelow(members, "model_weights");
  EXPECT_TRUE(LooksDistributed(members));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenDistributed(members, "model_weights"));
  EXPECT_EQ(CountTensors(checkpoint.weights()), 21u);
  for (const uint64_t rank : {0u, 1u}) {
    const Value plain = TorchValue("gpt_gqa_tp2/gqa_tp2.nemo.params.rank" + std::to_string(rank) + ".pt");
    const auto& parameters = *DictEntries(*plain.node);
    for (size_t i = 0; i < parameters.size(); i += 2) {
      const std::string& name = parameters[i]->text;
      const Tensor& part = *parameters[i + 1]->tensor;
      const Tensor* whole = TensorAt(checkpoint.weights(), name);
      ASSERT_NE(whole, nullptr) << name;
      if (name.ends_with("linear_fc1.weight")) {
        const uint64_t half = part.shape()[0] / 2;
        ANEMONE_ASSERT_ASSIGN(const Tensor gate, whole->Narrow(0, rank * half, half));
        ANEMONE_ASSERT_ASSIGN(const Tensor up, whole->Narrow(0, (2 + rank) * half, half));
        ANEMONE_ASSERT_ASSIGN(const Tensor block, Tensor::Concat({gate, up}, 0));
        ExpectSame(block, part, name);
        continue;
      }
      const size_t axis = name.ends_with("linear_proj.weight") || name.ends_with("linear_fc2.weight") ? 1 : 0;
      const uint64_t start = whole->shape() == part.shape() ? 0 : rank * part.shape()[axis];
      ANEMONE_ASSERT_ASSIGN(const Tensor block, whole->Narrow(axis, start, part.shape()[axis]));
      ExpectSame(block, part, name);
    }
  }
}

// NEMO-7
TEST(Nemo, HoldsEitherBackend) {
  for (const char* name : {"gpt/C.nemo", "gpt/Z.nemo"}) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(Golden(name)));
    EXPECT_EQ(checkpoint.flavour, "nemo");
    const Value plain = TorchValue(std::string(name) + ".params.pt");
    const auto& parameters = *DictEntries(*plain.node);
    EXPECT_EQ(CountTensors(checkpoint.weights()) * 2, parameters.size());
    for (size_t i = 0; i < parameters.size(); i += 2) {
      const Tensor* found = TensorAt(checkpoint.weights(), parameters[i]->text);
      ASSERT_NE(found, nullptr) << parameters[i]->text;
      ExpectSame(*found, *parameters[i + 1]->tensor, parameters[i]->text);
    }
  }
}

// N2-1, N2-2, N2-3
TEST(Nemo2, IsReadUnderNemoOnesNames) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(Golden("dist/nemo2_llama/nemo")));
  EXPECT_EQ(checkpoint.flavour, "nemo2");
  ASSERT_TRUE(checkpoint.config);
  EXPECT_EQ(checkpoint.config->Find("config.ffn_hidden_size")->AsInt(), 80);
  EXPECT_NE(checkpoint.FindArtifact("context/nemo_tokenizer/tokenizer.model"), nullptr);
  EXPECT_NE(checkpoint.FindArtifact("context/io.json"), nullptr);
  size_t compared = 0;
  const StateDict stacked = Plain("dist/nemo2_llama/plain_from_dcp.safetensors");
  for (const auto& item : stacked.items()) {
    const std::string name = "model." + item.name.substr(std::string("module.").size());
    const LayerKey key = SplitStackedKey(name);
    if (key.prefix.empty()) {
      ASSERT_NE(TensorAt(checkpoint.weights(), name), nullptr) << name;
      ExpectSame(*TensorAt(checkpoint.weights(), name), *item.tensor(), name);
      ++compared;
      continue;
    }
    for (uint64_t layer = 0; layer < 2; ++layer) {
      const std::string of = std::string(key.prefix) + "." + std::to_string(layer) + "." + std::string(key.suffix);
      ANEMONE_ASSERT_ASSIGN(const Tensor thick, item.tensor()->Narrow(0, layer, 1));
      ANEMONE_ASSERT_ASSIGN(const Tensor thin, thick.Reshape({thick.shape().begin() + 1, thick.shape().end()}));
      ASSERT_NE(TensorAt(checkpoint.weights(), of), nullptr) << of;
      ExpectSame(*TensorAt(checkpoint.weights(), of), thin, of);
      ++compared;
    }
  }
  EXPECT_EQ(compared, CountTensors(checkpoint.weights()));
}

// N2-10
TEST(Nemo2, MissingFilesOfTheContextAreTold) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf("dist/nemo2_llama/nemo");
  const auto note = [&](const std::string& file) -> std::string {
    std::filesystem::remove_all(folder + "/" + file);
    auto checkpoint = OpenCheckpoint(folder);
    if (!checkpoint.ok()) return checkpoint.status().message();
    for (const std::string& told : checkpoint->notes) {
      if (told.starts_with("[N2-10]")) return told.substr(0, told.find(','));
    }
    return "";
  };
  EXPECT_EQ(note("none"), "");
  EXPECT_EQ(note("context/nemo_tokenizer"), "[N2-10] context/nemo_tokenizer is missing");
  EXPECT_THAT(note("context/io.json"), ::testing::StartsWith("[N2-10] context/io.json"));
  EXPECT_THAT(note("context/model.yaml"), ::testing::StartsWith("[N2-10] context/model.yaml"));
}

// ---- damaged folders

TEST(TorchDist, AMissingIndexSaysTheSaveDidNotFinish) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf(kTorchDist);
  std::filesystem::remove(folder + "/.metadata");
  EXPECT_THAT(OpenFolder(folder), StatusIs(ErrorKind::kNotFound, "the save did not finish"));
  EXPECT_THAT(OpenCheckpoint(folder), StatusIs(ErrorKind::kNotFound, "[TD-1]"));
}

// Megatron-core 0.9 to 0.18 state in metadata.json that common.pt is there.
TEST(TorchDist, MissingCommonValuesAreTold) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf(kTorchDist);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint whole, OpenFolder(folder));
  std::filesystem::remove(folder + "/common.pt");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenFolder(folder));
  ASSERT_EQ(checkpoint.notes.size(), 1U);
  EXPECT_THAT(checkpoint.notes[0], ::testing::HasSubstr("[TD-14] common.pt is missing"));
  EXPECT_EQ(CountTensors(checkpoint.weights()), CountTensors(whole.weights()));
  EXPECT_FALSE(checkpoint.shards.front().training);
  EXPECT_TRUE(whole.notes.empty());
}

TEST(TorchDist, AMissingShardIsNamed) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf(kTorchDist);
  std::filesystem::remove(folder + "/__0_1.distcp");
  EXPECT_THAT(OpenFolder(folder), StatusIs(ErrorKind::kNotFound, "__0_1.distcp"));
}

TEST(TorchDist, ATruncatedShardIsNamed) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf(kTorchDist);
  std::filesystem::resize_file(folder + "/__0_0.distcp", 200'000);
  EXPECT_THAT(OpenFolder(folder), StatusIs(ErrorKind::kCorrupt, "[TD-5] truncated"));
}

TEST(TorchDist, AnItemOfAnotherShapeIsRefused) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf(kTorchDist);
  std::fstream index(folder + "/.metadata", std::ios::in | std::ios::out | std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(index)), {});
  // The offset of the first item, 7296 of the embedding, becomes that of
  // linear_fc1: BININT2 0x1c80.
  const size_t at = bytes.find(std::string("M\x80\x1c", 3));
  ASSERT_NE(at, std::string::npos);
  index.clear();
  index.seekp(static_cast<std::streamoff>(at + 1));
  index.write("\x00\x00", 2);
  index.close();
  EXPECT_THAT(OpenFolder(folder), StatusIs(ErrorKind::kCorrupt, "__0_0.distcp at 0"));
}

// A folder whose index says `to` wherever it said `from`.
std::string Rewritten(const TempFolder& temp, const std::string& from, const std::string& to) {
  std::string folder = temp.CopyOf(kTorchDist);
  std::ifstream in(folder + "/.metadata", std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), {});
  EXPECT_EQ(from.size(), to.size());
  EXPECT_NE(bytes.find(from), std::string::npos);
  for (size_t at = 0; (at = bytes.find(from, at)) != std::string::npos;) bytes.replace(at, from.size(), to);
  std::ofstream(folder + "/.metadata", std::ios::binary) << bytes;
  return folder;
}

// Objects come first, and a header is where the first tensor should be.
TEST(TorchDist, ASafetensorsFileInsteadOfTensorsIsNamed) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf(kTorchDist), path = folder + "/__0_0.distcp";
  const auto content = [](const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(in)), {});
  };
  ANEMONE_ASSERT_ASSIGN(const DistMetadata metadata, ParseDistMetadata(content(folder + "/.metadata")));
  uint64_t first = std::filesystem::file_size(path);
  for (const DistItem& item : metadata.items) {
    const auto* tensor = std::get_if<DistTensor>(&item.content);
    for (const DistChunk& chunk : tensor == nullptr ? std::vector<DistChunk>() : tensor->chunks)
      if (metadata.files[chunk.location.file] == "__0_0.distcp") first = std::min(first, chunk.location.offset);
  }
  std::string bytes = content(path).substr(0, first) + std::string("\0\x10\0\0\0\0\0\0{", 9);
  bytes.resize(std::filesystem::file_size(path), ' ');
  std::ofstream(path, std::ios::binary) << bytes;
  const auto opened = OpenFolder(folder);
  EXPECT_THAT(opened, StatusIs(ErrorKind::kUnsupported, "found a safetensors file (SerializationFormat.SAFETENSORS)"));
  EXPECT_THAT(opened.status().error().hint, ::testing::HasSubstr("copy it from byte " + std::to_string(first) + " on"));
}

TEST(TorchDist, ItemsHaveTheDeclaredDtype) {
  const TempFolder temp;
  EXPECT_THAT(OpenFolder(Rewritten(temp, "float32", "float16")),
              StatusIs(ErrorKind::kCorrupt, "[TD-10] expected fp16 [1010, 40], found fp32 [1010, 40]"));
}

TEST(TorchDist, ObjectsBelongToALayer) {
  const TempFolder temp;
  EXPECT_THAT(OpenFolder(Rewritten(temp, "shard_0_2", "shard_5_2")),
              StatusIs(ErrorKind::kCorrupt, "[TD-11] expected a layer below 2, found 5"));
}

// Whose shape lasts as long as the tensor does.
DistChunk ChunkAt(const Shape& offsets, const Tensor& tensor) { return {&offsets, &tensor.shape(), {}, tensor}; }

// Volumes add up, yet rows 1 … 2 are there twice and row 3 never.
TEST(TorchDist, ChunksThatOverlapAreRefused) {
  ANEMONE_ASSERT_ASSIGN(const Tensor half, Tensor::FromBytes(DType::kU8, {2, 3}, "abcdef"));
  const Shape whole_shape = {4, 3}, first = {0, 0}, second = {1, 0}, third = {2, 0};
  DistTensor tensor{DType::kU8, &whole_shape, {ChunkAt(first, half), ChunkAt(second, half)}, nullptr};
  EXPECT_THAT(AssembleWhole(tensor), StatusIs(ErrorKind::kCorrupt, "[TD-4]"));
  tensor.chunks[1].offsets = &third;
  ANEMONE_ASSERT_ASSIGN(const Tensor whole, AssembleWhole(tensor));
  EXPECT_EQ(Bytes(whole), "abcdefabcdef");
}

// PyTorch's tutorial has the model and the optimizer in one "app", Composer in "state"; torchtitan counts its steps in
// a tensor.
TEST(TorchDist, ATrainersTensorsAreNoWeights) {
  ANEMONE_ASSERT_ASSIGN(const Tensor tensor, Tensor::FromBytes(DType::kU8, {2}, "ab"));
  const Shape shape = {2}, zero = {0};
  DistMetadata stored;
  const std::vector<std::vector<DistStep>> paths = {{"app", "model", "w"},
                                                    {"app", "optim", "state", "w", "exp_avg"},
                                                    {"train_state", "step"},
                                                    {"state", "optimizers", "AdamW", "state", "w", "exp_avg"},
                                                    {"model.optim"}};
  for (const auto& path : paths) {
    std::string key;
    for (const DistStep& step : path) key += (key.empty() ? "" : ".") + std::get<std::string>(step);
    stored.items.push_back({key, path, DistTensor{DType::kU8, &shape, {ChunkAt(zero, tensor)}, nullptr}});
  }
  Shard shard;
  DistributedOrigin origin;
  ASSERT_THAT(PresentDist(std::move(stored), {}, {}, shard, origin), IsOk());
  EXPECT_EQ(shard.weights.size(), 2u);
  EXPECT_NE(TensorAt(shard.weights, "app.model.w"), nullptr);
  EXPECT_NE(TensorAt(shard.weights, "model.optim"), nullptr);
  ASSERT_TRUE(shard.training);
  EXPECT_NE(At(*shard.training, {"app", "optim", "state", "w", "exp_avg"}), nullptr);
}

// [4, 6] as 2 × 1 fragments of [2, 6], the second in two slices.
TEST(TorchDist, FlatSlicesFallIntoPlace) {
  std::string bytes;
  for (char c = 'a'; c < 'a' + 24; ++c) bytes += c;
  const auto flat = [&](size_t from, size_t count) {
    return *Tensor::FromBytes(DType::kU8, {1, 1, count}, bytes.substr(from, count));
  };
  const Shape shape = {2, 1, 12}, original = {4, 6}, first = {0, 0, 0}, second = {1, 0, 0}, third = {1, 0, 5};
  DistTensor tensor{DType::kU8,
                    &shape,
                    {ChunkAt(third, flat(17, 7)), ChunkAt(first, flat(0, 12)), ChunkAt(second, flat(12, 5))},
                    &original};
  ANEMONE_ASSERT_ASSIGN(const Tensor whole, AssembleWhole(tensor));
  EXPECT_EQ(whole.shape(), (Shape{4, 6}));
  EXPECT_EQ(Bytes(whole), bytes);
  tensor.chunks.pop_back();
  EXPECT_THAT(AssembleWhole(tensor), StatusIs(ErrorKind::kCorrupt, "[TD-4]"));
}

TEST(Zarr, AMissingChunkIsNamed) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf(kZarr);
  std::filesystem::remove(folder + "/model.decoder.layers.mlp.linear_fc1.weight/1.1.0");
  EXPECT_THAT(OpenFolder(folder), StatusIs(ErrorKind::kCorrupt, "[ZA-4] expected the chunk 1.1.0"));
}

TEST(Distributed, ALinkToAFolderIsRefused) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf(kZarr);
  std::filesystem::create_directory_symlink("/tmp", folder + "/stolen");
  EXPECT_THAT(OpenFolder(folder),
              StatusIs(ErrorKind::kUnsupported, "stolen: expected files and folders, found a link"));
}

TEST(Zarr, ChunksHaveTheirSize) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf(kZarr);
  std::filesystem::resize_file(folder + "/model.decoder.final_layernorm.weight/0", 100);
  EXPECT_THAT(OpenFolder(folder), StatusIs(ErrorKind::kCorrupt, "[ZA-4] expected 160 bytes"));
}

Status WriteHeader(const std::string& folder, const std::string& json) {
  std::ofstream(folder + "/model.decoder.final_layernorm.weight/.zarray") << json;
  return OpenFolder(folder).status();
}

TEST(Zarr, HeadersAreChecked) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf(kZarr);
  const std::string good = R"("zarr_format": 2, "shape": [40], "chunks": [40], "dtype": "<f4")";
  EXPECT_THAT(WriteHeader(folder, "{" + good + "}"), IsOk());
  EXPECT_THAT(WriteHeader(folder, "{" + good + R"(, "compressor": {"id": "blosc"}})"),
              StatusIs(ErrorKind::kUnsupported, "[ZA-2] expected raw chunks, found compressor \"blosc\""));
  EXPECT_THAT(WriteHeader(folder, R"({"zarr_format": 3, "shape": [40], "chunks": [40], "dtype": "<f4"})"),
              StatusIs(ErrorKind::kUnsupported, "[ZA-1]"));
  EXPECT_THAT(WriteHeader(folder, R"({"zarr_format": 2, "shape": [40], "chunks": [40, 1], "dtype": "<f4"})"),
              StatusIs(ErrorKind::kCorrupt, "[ZA-1]"));
  EXPECT_THAT(WriteHeader(folder, R"({"zarr_format": 2, "shape": [40], "chunks": [0], "dtype": "<f4"})"),
              StatusIs(ErrorKind::kCorrupt, "[ZA-1]"));
  EXPECT_THAT(WriteHeader(folder, R"({"zarr_format": 2, "shape": [40], "chunks": [40], "dtype": ">f4"})"),
              StatusIs(ErrorKind::kUnsupported, "[ZA-3]"));
}

// ZA-6: what Megatron's distributed optimizer leaves beside its arrays; a file with content is no lock.
TEST(Zarr, LocksAreLeftOut) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf(kZarr);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenFolder(folder));
  const std::string locks = folder + "/model.decoder.layers.mlp.linear_fc1.weight.sync";
  std::filesystem::create_directory(locks);
  for (const char* name : {".zarray", "0.0.0", "1.0.0"}) std::ofstream(locks + "/" + name).flush();
  ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenFolder(folder));
  EXPECT_EQ(after.weights().size(), before.weights().size());
  EXPECT_EQ(after.artifacts.size(), before.artifacts.size());
  std::ofstream(locks + "/1.0.0") << "content";
  EXPECT_THAT(OpenFolder(folder), StatusIs(ErrorKind::kCorrupt, "[ZA-1] expected"));
}

// What Megatron-core 0.9's distributed optimizer saved as zarr and as torch_dist is one training.
TEST(Zarr, HoldsADistributedOptimizer) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint zarr, OpenCheckpoint(Golden("dist_zarr_0.9/zarr")));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint torch_dist, OpenCheckpoint(Golden("dist_zarr_0.9/torch_dist")));
  EXPECT_EQ(zarr.flavour, "megatron");
  ExpectTensors(zarr.weights(), torch_dist.weights());
  const auto state_of = [](const Checkpoint& checkpoint) {
    return At(*checkpoint.shards[0].training, {"optimizer", "optimizer", "state"});
  };
  const ValueRef expected = state_of(torch_dist), found = state_of(zarr);
  ASSERT_NE(expected, nullptr);
  ASSERT_NE(found, nullptr);
  int tensors = 0;
  for (size_t i = 0; i + 1 < Pairs(expected)->size(); i += 2) {
    const std::string& parameter = (*Pairs(expected))[i]->text;
    for (const char* kind : {"fp32_param", "exp_avg", "exp_avg_sq"}) {
      const ValueRef want = Lookup(*(*Pairs(expected))[i + 1], kind);
      if (want == nullptr) continue;
      const ValueRef own = Lookup(*found, parameter);
      ASSERT_NE(own, nullptr) << parameter;
      ASSERT_NE(Lookup(*own, kind), nullptr) << parameter;
      ExpectSame(*Lookup(*own, kind)->tensor, *want->tensor, parameter);
      ++tensors;
    }
  }
  EXPECT_EQ(tensors, 3 * 20);
}

// Megatron-core loads such a state from torch_dist in pieces of one dimension alone.
TEST(Zarr, ADistributedOptimizerIsWrittenAsMegatronCutsIt) {
  const TempFolder temp;
  ANEMONE_ASSERT_ASSIGN(const Checkpoint zarr, OpenCheckpoint(Golden("dist_zarr_0.9/zarr")));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint torch_dist, OpenCheckpoint(Golden("dist_zarr_0.9/torch_dist")));
  Plan plan;
  ASSERT_THAT(LayOutTorchDist(zarr, {}, plan), IsOk());
  ASSERT_THAT(Execute(plan, temp / "out", {}), IsOk());
  const auto indexed = [](const std::string& folder) {
    std::map<std::string, Shape> shapes;
    auto members = ListFiles(folder);
    EXPECT_TRUE(members.ok());
    std::vector<std::string_view> used;
    const auto metadata = ReadTorchDist(*members, used);
    EXPECT_TRUE(metadata.ok()) << metadata.status().message();
    for (const DistItem& item : metadata->items) {
      const auto* tensor = std::get_if<DistTensor>(&item.content);
      if (tensor != nullptr && item.key.starts_with("optimizer.state.")) shapes[item.key] = *tensor->shape;
    }
    return shapes;
  };
  const auto expected = indexed(Golden("dist_zarr_0.9/torch_dist/iter_0000003"));
  EXPECT_FALSE(expected.empty());
  EXPECT_EQ(indexed(temp / "out"), expected);
}

// ZA-5: [5] in chunks of [2] has three files of two elements each.
TEST(Zarr, PaddingAtTheEdgeIsCut) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf(kZarr);
  const std::string array = folder + "/model.decoder.final_layernorm.weight";
  std::filesystem::remove(array + "/0");
  for (const char* name : {"0", "1", "2"}) std::ofstream(array + "/" + name) << std::string(2, name[0]);
  ASSERT_THAT(WriteHeader(folder, R"({"zarr_format": 2, "shape": [5], "chunks": [2], "dtype": "|u1"})"), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenFolder(folder));
  EXPECT_EQ(Bytes(*TensorAt(checkpoint.weights(), "model.decoder.final_layernorm.weight")), "00112");
}

TEST(Dist, OtherBackendsAreRefusedByName) {
  const TempFolder temp;
  const std::string folder = temp.CopyOf(kTorchDist);
  std::ofstream(folder + "/metadata.json") << R"({"sharded_backend": "fsdp_dtensor"})";
  EXPECT_THAT(OpenFolder(folder), StatusIs(ErrorKind::kUnsupported, "\"fsdp_dtensor\""));
}

TEST(Dist, KeysAreSplit) {
  EXPECT_EQ(SplitStackedKey("model.decoder.layers.mlp.linear_fc1.weight").prefix, "model.decoder.layers");
  EXPECT_EQ(SplitStackedKey("model.decoder.layers.mlp.linear_fc1.weight").suffix, "mlp.linear_fc1.weight");
  EXPECT_EQ(SplitStackedKey("model.decoder.layers.7.mlp.weight").prefix, "");
  EXPECT_EQ(SplitStackedKey("model.players.weight").prefix, "");
  EXPECT_EQ(SplitStackedKey("model.layers").prefix, "");
  ASSERT_TRUE(SplitLayerName("model.decoder.layers.12.mlp.weight"));
  EXPECT_EQ(SplitLayerName("model.decoder.layers.12.mlp.weight")->layer, 12u);
  EXPECT_FALSE(SplitLayerName("model.decoder.layers.12"));
  ASSERT_TRUE(SplitObjectKey("a._extra_state/shard_0.3_24.8"));
  EXPECT_EQ(SplitObjectKey("a._extra_state/shard_0.3_24.8")->offsets, (Shape{0, 3}));
  EXPECT_EQ(SplitObjectKey("a._extra_state/shard_0.3_24")->shape, (Shape{24}));  // an old writer
  EXPECT_FALSE(SplitObjectKey("a._extra_state/shard_x_1"));
  EXPECT_FALSE(SplitObjectKey("a._extra_state"));
}

}  // namespace
}  // namespace anemone
