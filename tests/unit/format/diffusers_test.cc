// Folders of diffusers: docs/formats/diffusers.md.
#include <filesystem>

#include "anemone/convert.h"
#include "format/huggingface/safetensors.h"
#include "support.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::Numbers;
using testing::ReadFile;
using testing::StatusIs;
using testing::TempDir;
using testing::WriteFile;

std::string Weights(const std::string& name) {
  PlanFile file;
  EXPECT_THAT(LayOutSafetensors({{name, Numbers(DType::kF32, {1}, "1111")}}, {{"format", "pt"}}, file), IsOk());
  return testing::Bytes(std::move(file));
}

// A pipeline of a model of diffusers, one of transformers, a scheduler and a tokenizer.
void WritePipeline(const TempDir& dir) {
  for (const char* name : {"unet", "text_encoder", "scheduler", "tokenizer"}) fs::create_directory(dir / name);
  WriteFile(dir / "model_index.json",
            R"({"_class_name": "P", "unet": ["diffusers", "U"], "text_encoder": ["transformers", "T"],
      "scheduler": ["diffusers", "S"], "tokenizer": ["transformers", "K"], "safety_checker": [null, null], "flag": true})");
  WriteFile(dir / "unet/config.json", R"({"a": 1})");
  WriteFile(dir / "unet/diffusion_pytorch_model.safetensors", Weights("conv_in.weight"));
  WriteFile(dir / "text_encoder/config.json", R"({"b": 2})");
  WriteFile(dir / "text_encoder/model.safetensors", Weights("norm.weight"));
  WriteFile(dir / "scheduler/scheduler_config.json", R"({"c": 3})");
  WriteFile(dir / "tokenizer/merges.txt", "x");
}

// DF-1, DF-2, DF-3, DF-5
TEST(Diffusers, EveryComponentIsReadAndWritten) {
  const TempDir dir;
  WritePipeline(dir);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint pipeline, OpenCheckpoint(dir.path()));
  EXPECT_EQ(pipeline.format, FindFormat("diffusers"));
  EXPECT_NE(pipeline.weights().Find("unet.conv_in.weight"), nullptr);
  EXPECT_NE(pipeline.weights().Find("text_encoder.norm.weight"), nullptr);
  EXPECT_EQ(pipeline.config->Find("scheduler.c")->AsInt(), 3);
  EXPECT_EQ(pipeline.config->Find("model_index.flag")->AsBool(), true);
  EXPECT_NE(pipeline.FindArtifact("tokenizer/merges.txt"), nullptr);
  EXPECT_THAT(pipeline.notes, ::testing::IsEmpty());
  const TempDir out;
  ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat("diffusers")->lay_out(pipeline, {.max_shard_bytes = 1}));
  testing::Write(plan, out / "p");
  for (const char* name :
       {"model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "text_encoder/config.json",
        "text_encoder/model.safetensors", "scheduler/scheduler_config.json", "tokenizer/merges.txt"})
    EXPECT_TRUE(fs::is_regular_file(fs::path(out / "p") / name)) << name;
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, OpenCheckpoint(out / "p"));
  testing::ExpectSameTensors(pipeline.weights(), back.weights());
  EXPECT_TRUE(SameConfig(pipeline.config->root(), back.config->root()));
}

// DF-1, DF-2, DF-3
TEST(Diffusers, WhatIsNoComponentIsNamed) {
  const TempDir dir;
  WritePipeline(dir);
  fs::remove_all(dir / "text_encoder");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint without, OpenCheckpoint(dir.path()));
  EXPECT_THAT(without.notes, Contains(HasSubstr("text_encoder: model_index.json names it")));
  EXPECT_TRUE(without.config->Find("model_index.text_encoder[0]")->is_null());
  fs::rename(dir / "unet/diffusion_pytorch_model.safetensors", dir / "unet/model.onnx");
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kCorrupt, "[DF-3] expected weights"));
  WriteFile(dir / "unet/config.json", "[]");
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kCorrupt, "[DF-1]"));
  WriteFile(dir / "model_index.json", R"({"../unet": ["diffusers", "U"]})");
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kCorrupt, "[DF-2]"));
}

// DF-4
TEST(Diffusers, TheOnlyVariantIsRead) {
  const TempDir dir;
  WritePipeline(dir);
  fs::rename(dir / "unet/diffusion_pytorch_model.safetensors", dir / "unet/diffusion_pytorch_model.fp16.safetensors");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint half, OpenCheckpoint(dir.path()));
  EXPECT_NE(half.weights().Find("unet.conv_in.weight"), nullptr);
  EXPECT_THAT(half.notes, Contains(HasSubstr("unet: weights are those of the variant diffusion_pytorch_model.fp16")));
  fs::copy(dir / "unet/diffusion_pytorch_model.fp16.safetensors", dir / "unet/diffusion_pytorch_model.ema.safetensors");
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kInvalidArgument, "[DF-4]"));
}

// Another file in its folders is not replaced with it.
TEST(Diffusers, AFolderIsReplacedAlone) {
  const TempDir dir;
  fs::create_directory(dir / "p");
  WritePipeline(dir);
  const std::string out = dir / "out";
  const auto convert = [&](bool force) -> Status {
    ANEMONE_ASSIGN(const Conversion conversion, PlanConversion(dir.path(), out, {.to = "diffusers"}));
    return RunConversion(conversion, {.force = force});
  };
  ASSERT_THAT(convert(false), IsOk());
  EXPECT_THAT(convert(true), IsOk());
  WriteFile(out + "/unet/notes.txt", "mine");
  EXPECT_THAT(convert(true), StatusIs(ErrorKind::kAlreadyExists, "unet/notes.txt"));
}

}  // namespace
}  // namespace anemone
