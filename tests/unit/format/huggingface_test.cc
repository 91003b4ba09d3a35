#include <filesystem>

#include "format/safetensors.h"
#include "format/shards.h"
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
  EXPECT_THAT(open(R"({"weight_map":{"a":"c.safetensors","b":"d.safetensors"}})"),
              StatusIs(ErrorKind::kNotFound, "c.safetensors, d.safetensors"));
  EXPECT_THAT(open(R"({"weight_map":{"a":"a.safetensors","z":"a.safetensors"}})"),
              StatusIs(ErrorKind::kCorrupt, "[HF-6]"));
  // Two files hold "a": the index says whose.
  ANEMONE_ASSERT_ASSIGN(const Checkpoint chosen, open(R"({"weight_map":{"a":"b.safetensors"}})"));
  EXPECT_EQ(*chosen.weights().items()[0].tensor()->Read(), "2222");
  WriteFile(dir / "config.json", "[1]");
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kCorrupt, "[HF-2]"));
}

}  // namespace
}  // namespace anemone
