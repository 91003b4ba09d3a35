#include <filesystem>

#include "format/huggingface/safetensors.h"
#include "format/huggingface/shards.h"
#include "format/torch/state_dict.h"
#include "format/torch/torch_write.h"
#include "support.h"

namespace anemone {
namespace {

using testing::ExpectSameTensors;
using testing::Golden;
using testing::IsOk;
using testing::Numbers;
using testing::ReadFile;
using testing::StatusIs;
using testing::TempDir;
using testing::WriteFile;

std::string Safetensors(const std::string& name, const std::string& four_bytes) {
  PlanFile file;
  EXPECT_THAT(LayOutSafetensors({{name, Numbers(DType::kF32, {1}, four_bytes)}}, {{"format", "pt"}}, file), IsOk());
  return testing::Bytes(std::move(file));
}

TEST(HuggingFace, KnowsShardsByTheirNames) {
  EXPECT_EQ(IndexOfShard("model-00001-of-00003.safetensors"), "model.safetensors.index.json");
  EXPECT_EQ(IndexOfShard("pytorch_model-00001-of-00003.bin"), "pytorch_model.bin.index.json");
  for (const char* name : {"model.safetensors", "model-1-of-my.safetensors", "best-of-00003.safetensors", "-of-", "",
                           "model-00001-of-00003", "state-of-1.2.ckpt", "model-00001-of-00003x.safetensors"})
    EXPECT_EQ(IndexOfShard(name), "") << name;
}

// HF-7
TEST(HuggingFace, OpensAFolderWithItsCompanions) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint hf, OpenCheckpoint(Golden("clip/hf")));
  EXPECT_EQ(hf.flavour, "huggingface");
  EXPECT_EQ(hf.config_name, "config.json");
  EXPECT_EQ(hf.config->Find("model_type")->AsString(), "clip");
  for (const char* name :
       {"vocab.json", "merges.txt", "tokenizer_config.json", "preprocessor_config.json", "special_tokens_map.json"}) {
    EXPECT_NE(hf.FindArtifact(name), nullptr) << name;
  }
  EXPECT_EQ(hf.FindArtifact("config.json"), nullptr);
}

// torchao's safetensors say in their metadata which tensors are parts of which.
TEST(HuggingFace, MetadataComesAlongToSafetensors) {
  TempDir dir;
  PlanFile file;
  ASSERT_THAT(LayOutSafetensors({{"w._weight_qdata", Numbers(DType::kF32, {1}, "abcd")}},
                                {{"format", "pt"}, {"w", "{\"_type\": \"Int8Tensor\"}"}}, file),
              IsOk());
  WriteFile(dir / "model.safetensors", testing::Bytes(std::move(file)));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint folder, OpenCheckpoint(dir.path()));
  ANEMONE_ASSERT_ASSIGN(Plan plan, FindFormat("safetensors")->lay_out(folder, {}));
  std::map<std::string, std::string> metadata;
  ASSERT_THAT(ReadSafetensors(testing::Range(testing::Bytes(std::move(plan.files[0]))), &metadata), IsOk());
  EXPECT_EQ(metadata["w"], "{\"_type\": \"Int8Tensor\"}");
  EXPECT_EQ(metadata["format"], "pt");
}

TEST(HuggingFace, OpensEveryGoldenFolder) {
  for (const char* name :
       {"clip_hf/odd", "clip_hf/gelu", "clip_hf/tanh_gelu_short", "clip_hf/old_eos", "clip_hf/bf16", "clip_hf/bf16_bin",
        "clip_hf/fp16_sharded", "clip_hf/fp32_sharded_bin", "siglip/hf_siglip", "dist/nemo2_llama/hf"}) {
    const auto checkpoint = OpenCheckpoint(Golden(name));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    EXPECT_EQ(checkpoint->flavour, "huggingface");
    EXPECT_GT(checkpoint->weights().size(), 10u) << name;
  }
}

TEST(HuggingFace, AnIndexMayBeOpenedItself) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint folder, OpenCheckpoint(Golden("clip_hf/fp16_sharded")));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint index,
                        OpenCheckpoint(Golden("clip_hf/fp16_sharded/model.safetensors.index.json")));
  EXPECT_EQ(index.flavour, "safetensors");
  ExpectSameTensors(folder.weights(), index.weights());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint bin,
                        OpenCheckpoint(Golden("clip_hf/fp32_sharded_bin/pytorch_model.bin.index.json")));
  EXPECT_EQ(bin.flavour, "pytorch");
}

TEST(HuggingFace, WritesAFolderThatSaysTheSame) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenCheckpoint(Golden("clip/hf")));
  for (const uint64_t shard : {uint64_t{0}, uint64_t{2'000'000}}) {
    ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat("hf")->lay_out(before, {.max_shard_bytes = shard}));
    TempDir dir;
    testing::Write(plan, dir / "hf");
    ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenCheckpoint(dir / "hf"));
    EXPECT_TRUE(SameConfig(after.config->root(), before.config->root()));
    ExpectSameTensors(before.weights(), after.weights());
    EXPECT_EQ(ReadFile(dir / "hf/vocab.json"), ReadFile(Golden("clip/hf/vocab.json")));
    EXPECT_EQ(std::filesystem::exists(dir / "hf/model.safetensors"), shard == 0);
    if (shard == 0) {
      EXPECT_TRUE(ReadFile(dir / "hf/model.safetensors") == ReadFile(Golden("clip/hf/model.safetensors")));
    }
    if (shard != 0) {
      EXPECT_GT(plan.files.size(), 6u);
    }
  }
}

TEST(HuggingFace, OpenClipFolders) {
  ANEMONE_ASSERT_ASSIGN(Checkpoint checkpoint, OpenCheckpoint(Golden("clip/hf")));
  ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat("openclip")->lay_out(checkpoint, {}));
  TempDir dir;
  testing::Write(plan, dir / "oc");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenCheckpoint(dir / "oc"));
  EXPECT_EQ(after.flavour, "openclip");
  EXPECT_EQ(after.config_name, "open_clip_config.json");
  ExpectSameTensors(checkpoint.weights(), after.weights());
}

// HF-1
TEST(HuggingFace, TransformersPrecedence) {
  TempDir dir;
  WriteFile(dir / "config.json", "{}");
  WriteFile(dir / "open_clip_model.safetensors", Safetensors("openclip", "1111"));
  EXPECT_EQ(OpenCheckpoint(dir.path())->weights().items()[0].name, "openclip");
  WriteFile(dir / "model.safetensors.index.json",
            R"({"metadata":{},"weight_map":{"indexed":"model-00001-of-00001.safetensors"}})");
  WriteFile(dir / "model-00001-of-00001.safetensors", Safetensors("indexed", "2222"));
  EXPECT_EQ(OpenCheckpoint(dir.path())->weights().items()[0].name, "indexed");
  WriteFile(dir / "model.safetensors", Safetensors("single", "3333"));
  EXPECT_EQ(OpenCheckpoint(dir.path())->weights().items()[0].name, "single");
}

// Given alone, a file is one shard of several by its name, also where the index is not beside it.
TEST(HuggingFace, OneShardIsAPart) {
  TempDir dir;
  for (const auto& [name, whole] : {std::pair{"model-00002-of-00003.safetensors", "model.safetensors.index.json"},
                                    {"model-00001-of-00001.safetensors", ""},
                                    {"model-100-of-200.safetensors", ""}}) {
    WriteFile(dir / name, Safetensors("a", "1111"));
    ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(dir / name));
    EXPECT_EQ(checkpoint.origin.part_of, *whole == '\0' ? "" : dir / whole) << name;
  }
  // An index that is there tells a shard however it is numbered.
  WriteFile(dir / "model.safetensors.index.json", "{}");
  EXPECT_EQ(OpenCheckpoint(dir / "model-100-of-200.safetensors")->origin.part_of, dir / "model.safetensors.index.json");
}

TEST(HuggingFace, OneOfMetasRanksIsNoModel) {
  TempDir dir;
  const std::string bytes = ReadFile(Golden("clip/hf_with_position_ids.bin"));
  WriteFile(dir / "consolidated.00.pth", bytes);
  EXPECT_THAT(OpenCheckpoint(dir / "consolidated.00.pth"), IsOk());
  WriteFile(dir / "consolidated.01.pth", bytes);
  for (const char* name : {"consolidated.00.pth", "consolidated.01.pth"})
    EXPECT_THAT(OpenCheckpoint(dir / name), StatusIs(ErrorKind::kUnsupported, "found one of several ranks"));
}

TEST(HuggingFace, FoldersThatStayBehindAreNoted) {
  TempDir dir;
  WriteFile(dir / "config.json", "{}");
  WriteFile(dir / "model.safetensors", Safetensors("a", "1111"));
  for (const char* name : {"1_Pooling", "2_Dense", "images"}) std::filesystem::create_directory(dir / name);
  EXPECT_THAT(OpenCheckpoint(dir.path())->notes, ::testing::IsEmpty());
  WriteFile(dir / "modules.json", "[]");
  EXPECT_THAT(OpenCheckpoint(dir.path())->notes, ::testing::ElementsAre(::testing::EndsWith(": 1_Pooling, 2_Dense")));
  std::filesystem::create_directory(dir / "additional_chat_templates");
  EXPECT_THAT(OpenCheckpoint(dir.path())->notes,
              ::testing::Contains(::testing::HasSubstr("additional_chat_templates/")));
}

// HF-10: safetensors' save_model stores one of the names of a tensor, and says in the metadata what the others are.
TEST(HuggingFace, NamesThatTheMetadataTiesAreRead) {
  TempDir dir;
  WriteFile(dir / "config.json", "{}");
  PlanFile file;
  const std::map<std::string, std::string> metadata = {
      {"format", "pt"}, {"embedding", "output"}, {"output", "output"}, {"lost", "nowhere"}};
  ASSERT_THAT(LayOutSafetensors({{"output", Numbers(DType::kF32, {1}, "1111")}}, metadata, file), IsOk());
  Plan plan;
  plan.files.push_back(std::move(file));
  testing::Write(plan, dir / "model.safetensors");
  for (const std::string& path : {dir.path(), dir / "model.safetensors"}) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(path));
    ASSERT_EQ(checkpoint.weights().size(), 2u);
    EXPECT_EQ(*checkpoint.weights().Find("embedding")->tensor()->Read(), "1111");
  }
}

// HF-9
TEST(HuggingFace, AnAdapterIsPefts) {
  TempDir dir;
  WriteFile(dir / "adapter_config.json", R"({"peft_type": "LORA"})");
  WriteFile(dir / "adapter_model.safetensors", Safetensors("adapter", "1111"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint adapter, OpenCheckpoint(dir.path()));
  EXPECT_EQ(adapter.format, FindFormat("peft"));
  EXPECT_EQ(adapter.config_name, "adapter_config.json");
  ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat("peft")->lay_out(adapter, {.max_shard_bytes = 1}));
  testing::Write(plan, dir / "out");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenCheckpoint(dir / "out"));
  EXPECT_EQ(after.format, FindFormat("peft"));
  ExpectSameTensors(adapter.weights(), after.weights());
  // A model that was trained on in the same folder.
  WriteFile(dir / "model.safetensors", Safetensors("whole", "2222"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint both, OpenCheckpoint(dir.path()));
  EXPECT_EQ(both.format, FindFormat("hf"));
  EXPECT_THAT(both.notes, ::testing::Contains(::testing::HasSubstr("an adapter lies beside the weights")));
}

TEST(HuggingFace, AFileThatGitLfsHasNotFetchedIsNamed) {
  TempDir dir;
  WriteFile(dir / "config.json", "{}");
  WriteFile(dir / "model.safetensors", Safetensors("a", "1111"));
  WriteFile(dir / "vocab.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 862328\n");
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kCorrupt, "vocab.json: a git-lfs pointer"));
}

TEST(HuggingFace, AFileThatWasNotFetchedToItsEndIsNamed) {
  TempDir dir;
  WriteFile(dir / "model.safetensors", Safetensors("a", "1111"));
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"config.json", "<html><head></head></html>", "config.json: an HTML page"},
      {"vocab.json", "<!DOCTYPE html>\n<html></html>", "vocab.json: an HTML page"},
      {"vocab.json", "", "vocab.json: an empty file"},
      {"vocab.json", R"({"a": 1, "b)", "vocab.json: expected '}' at its end, found none"},
      {"merges.txt", "", "merges.txt: an empty file"},
      {"merges.txt", "<?xml version=\"1.0\"?><Error/>", "merges.txt: an XML document"},
  };
  for (const auto& [name, content, words] : cases) {
    WriteFile(dir / "config.json", "{}");
    WriteFile(dir / "vocab.json", "{}\n");
    WriteFile(dir / "merges.txt", "#version: 0.2\n");
    EXPECT_THAT(OpenCheckpoint(dir.path()), IsOk());
    WriteFile(dir / name, content);
    EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kCorrupt, words));
  }
  std::filesystem::remove(dir / "vocab.json");
  std::filesystem::create_symlink("../blobs/1", dir / "vocab.json");
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kNotFound, "a link to ../blobs/1, which is not there"));
}

// HF-5, too
TEST(HuggingFace, RefusesBrokenIndexes) {
  TempDir dir;
  WriteFile(dir / "config.json", "{}");
  WriteFile(dir / "a.safetensors", Safetensors("a", "1111"));
  WriteFile(dir / "b.safetensors", Safetensors("a", "2222"));
  const auto open = [&](const std::string& index) {
    WriteFile(dir / "model.safetensors.index.json", index);
    return OpenCheckpoint(dir.path());
  };
  EXPECT_THAT(open("{}"), StatusIs(ErrorKind::kCorrupt, "[HF-3]"));
  EXPECT_THAT(open("{"), StatusIs(ErrorKind::kCorrupt, "index.json"));
  EXPECT_THAT(open(R"({"weight_map":{"a":"../a.safetensors"}})"), StatusIs(ErrorKind::kCorrupt, "[HF-4]"));
  EXPECT_THAT(open(R"({"weight_map":{"a":".."}})"), StatusIs(ErrorKind::kCorrupt, "[HF-4]"));
  EXPECT_THAT(open(R"({"weight_map":{"a":7}})"), StatusIs(ErrorKind::kCorrupt, "[HF-4]"));
  EXPECT_THAT(open(R"({"weight_map":{"a":"/a.safetensors"}})"), StatusIs(ErrorKind::kCorrupt, "[HF-4]"));
  EXPECT_THAT(open(R"({"weight_map":{"a":"c.safetensors","b":"d.safetensors"}})"),
              StatusIs(ErrorKind::kNotFound, "c.safetensors, d.safetensors"));
  EXPECT_THAT(open(R"({"weight_map":{"a":"a.safetensors","z":"a.safetensors"}})"),
              StatusIs(ErrorKind::kCorrupt, "[HF-6]"));
  // Two files hold "a": the index says whose.
  ANEMONE_ASSERT_ASSIGN(const Checkpoint chosen, open(R"({"weight_map":{"a":"b.safetensors"}})"));
  EXPECT_EQ(*chosen.weights().items()[0].tensor()->Read(), "2222");
  const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("z":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})";
  WriteFile(dir / "a.safetensors",
            std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header + "12");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint twice, open(R"({"weight_map":{"a":"b.safetensors","z":"a.safetensors"}})"));
  EXPECT_EQ(*twice.weights().Find("a")->tensor()->Read(), "2222");
  EXPECT_THAT(twice.notes, ::testing::Contains(::testing::HasSubstr("1 tensors lie in several files")));
  WriteFile(dir / "config.json", "[1]");
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kCorrupt, "[HF-2]"));
}

TEST(HuggingFace, AnIndexMayNameFoldersBelowIt) {
  TempDir dir;
  std::filesystem::create_directory(dir / "shards");
  WriteFile(dir / "config.json", "{}");
  WriteFile(dir / "shards/a.safetensors", Safetensors("a", "1234"));
  WriteFile(dir / "model.safetensors.index.json", R"({"weight_map":{"a":"shards/a.safetensors"}})");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(dir.path()));
  EXPECT_NE(checkpoint.weights().Find("a"), nullptr);
}

TEST(HuggingFace, TheOnlyVariantIsTheWeights) {
  TempDir dir;
  WriteFile(dir / "config.json", R"({"model_type":"clip"})");
  WriteFile(dir / "model.fp16.safetensors", Safetensors("a", "1234"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint one, OpenCheckpoint(dir.path()));
  EXPECT_EQ(one.flavour, "huggingface");
  EXPECT_NE(one.weights().Find("a"), nullptr);
  WriteFile(dir / "model.non_ema.safetensors", Safetensors("b", "1234"));
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kInvalidArgument, "[HF-8]"));
  WriteFile(dir / "model.safetensors", Safetensors("c", "1234"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint whole, OpenCheckpoint(dir.path()));
  EXPECT_NE(whole.weights().Find("c"), nullptr);
}

TEST(HuggingFace, WeightsTakeTheConfigBesideThem) {
  for (const auto& [weights, config] : {std::pair{"model.safetensors", "config.json"},
                                        std::pair{"open_clip_model.safetensors", "open_clip_config.json"},
                                        std::pair{"model.fp16.safetensors", "config.json"}}) {
    TempDir dir;
    WriteFile(dir / weights, Safetensors("a", "1234"));
    WriteFile(dir / config, R"({"model_type":"clip"})");
    WriteFile(dir / "vocab.json", "{}");
    ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(dir / weights));
    ASSERT_TRUE(checkpoint.config.has_value()) << weights;
    EXPECT_EQ(checkpoint.config_name, config);
    EXPECT_NE(checkpoint.FindArtifact("vocab.json"), nullptr);
  }
  // Weights under another name are somebody else's.
  TempDir dir;
  WriteFile(dir / "other.safetensors", Safetensors("a", "1234"));
  WriteFile(dir / "config.json", R"({"model_type":"clip"})");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint other, OpenCheckpoint(dir / "other.safetensors"));
  EXPECT_FALSE(other.config.has_value());
}

TEST(HuggingFace, OneShardSaysWhereTheOthersAre) {
  ANEMONE_ASSERT_ASSIGN(const Plan plan,
                        FindFormat("hf")->lay_out(*OpenCheckpoint(Golden("clip/hf")), {.max_shard_bytes = 2'000'000}));
  TempDir dir;
  testing::Write(plan, dir / "hf");
  for (const auto& entry : std::filesystem::directory_iterator(dir / "hf")) {
    if (!entry.path().filename().string().starts_with("model-00001-of-")) continue;
    ANEMONE_ASSERT_ASSIGN(const Checkpoint shard, OpenCheckpoint(entry.path().string()));
    EXPECT_EQ(shard.origin.part_of, dir / "hf/model.safetensors.index.json");
    return;
  }
  FAIL() << "expected shards";
}

std::string TorchFileOf(const std::string& name, DType dtype = DType::kF32) {
  StateDict state;
  EXPECT_THAT(state.Add(name, Numbers(dtype, {1}, dtype == DType::kF32 ? "1234" : "12")), IsOk());
  PlanFile file;
  EXPECT_THAT(LayOutTorchFile(FromStateDict(state), "archive", file), IsOk());
  return testing::Bytes(std::move(file));
}

TEST(DeepSpeed, ReadsWhereOneFileHoldsTheWeights) {
  TempDir dir;
  std::filesystem::create_directory(dir / "step10");
  WriteFile(dir / "latest", "step10\n");
  WriteFile(dir / "zero_to_fp32.py", "");
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kCorrupt, "[DS-2]"));
  WriteFile(dir / "step10/mp_rank_00_model_states.pt", TorchFileOf("w"));
  for (const std::string& path : {dir.path(), dir / "step10"}) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(path));
    EXPECT_NE(checkpoint.weights().Find("w"), nullptr);
  }
  WriteFile(dir / "step10/mp_rank_01_model_states.pt", TorchFileOf("w"));
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kUnsupported, "[DS-4]"));
  std::filesystem::remove(dir / "step10/mp_rank_01_model_states.pt");
  WriteFile(dir / "step10/layer_00-model_00-model_states.pt", TorchFileOf("w"));
  EXPECT_THAT(OpenCheckpoint(dir.path()),
              StatusIs(ErrorKind::kUnsupported, "[DS-4] a checkpoint of DeepSpeed's, divided over pipeline stages"));
  std::filesystem::remove(dir / "step10/layer_00-model_00-model_states.pt");
  std::filesystem::create_directory(dir / "step10/zero");
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kUnsupported, "[DS-5]"));
  std::filesystem::remove(dir / "step10/zero");
  std::filesystem::remove(dir / "step10/mp_rank_00_model_states.pt");
  WriteFile(dir / "step10/zero_pp_rank_0_mp_rank_00_model_states.pt", TorchFileOf("w"));
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kUnsupported, "[DS-3]"));
  WriteFile(dir / "latest", "../step10");
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kCorrupt, "[DS-1]"));
}

// Nobody takes the rounded copies for all there is.
TEST(DeepSpeed, SaysWhereTheTrainedWeightsAre) {
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    for (const bool has_masters : {true, false}) {
      TempDir dir;
      WriteFile(dir / "mp_rank_00_model_states.pt", TorchFileOf("w", dtype));
      if (has_masters) WriteFile(dir / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", TorchFileOf("w"));
      ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(dir.path()));
      const bool is_said = std::ranges::any_of(
          checkpoint.notes, [](const std::string& note) { return note.find("the fp32 weights") != note.npos; });
      EXPECT_EQ(is_said, dtype == DType::kBF16 && has_masters);
    }
  }
}

// A folder of transformers' Trainer under DeepSpeed: the weights are the Trainer's, the folder below is its state.
TEST(DeepSpeed, IsTrainingStateBesideTheTrainersWeights) {
  TempDir dir;
  std::filesystem::create_directory(dir / "global_step5");
  WriteFile(dir / "latest", "global_step5");
  WriteFile(dir / "global_step5/mp_rank_00_model_states.pt", TorchFileOf("deepspeed"));
  WriteFile(dir / "config.json", R"({"model_type":"clip"})");
  WriteFile(dir / "vocab.json", "{}");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint alone, OpenCheckpoint(dir.path()));
  EXPECT_NE(alone.weights().Find("deepspeed"), nullptr);
  ASSERT_TRUE(alone.config.has_value());
  EXPECT_NE(alone.FindArtifact("vocab.json"), nullptr);
  WriteFile(dir / "zero_to_fp32.py", "");
  WriteFile(dir / "model.safetensors", Safetensors("trainer", "1234"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint both, OpenCheckpoint(dir.path()));
  EXPECT_NE(both.weights().Find("trainer"), nullptr);
}

TEST(DeepSpeed, NamesAUniversalCheckpointByItsFolder) {
  TempDir dir;
  std::filesystem::create_directories(dir / "global_step5_universal/zero");
  WriteFile(dir / "latest_universal", "global_step5_universal");
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kUnsupported, "[DS-5]"));
}

}  // namespace
}  // namespace anemone
