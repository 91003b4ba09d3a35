#include "format/format.h"

#include <filesystem>
#include <set>

#include "support.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::Numbers;
using testing::Range;
using testing::StatusIs;
using testing::TempDir;
using testing::WriteFile;

TEST(Format, NamesAreDistinctAndFound) {
  std::set<std::string_view> names;
  for (const Format* format : Formats()) {
    EXPECT_TRUE(names.insert(format->name).second) << format->name;
    EXPECT_EQ(FindFormat(format->name), format);
    EXPECT_NE(format->matches, nullptr);
    EXPECT_NE(format->open, nullptr);
  }
  for (const char* word :
       {"nemo", "nemo-dir", "ckpt", "lightning", "pytorch", "safetensors", "hf", "huggingface", "openclip"}) {
    EXPECT_NE(FindFormat(word), nullptr) << word;
  }
  EXPECT_EQ(FindFormat("parquet"), nullptr);
}

TEST(Format, TraitsFitTogether) {
  for (const Format* format : Formats()) {
    const FormatTraits& traits = format->traits;
    if (!traits.successor.empty()) {
      EXPECT_EQ(format->lay_out, nullptr) << format->name;
      ASSERT_NE(FindFormat(traits.successor), nullptr) << format->name;
      EXPECT_NE(FindFormat(traits.successor)->lay_out, nullptr) << format->name;
    }
    EXPECT_FALSE(traits.has_rank_files && traits.is_chunked) << format->name;
    EXPECT_FALSE(traits.takes_any_megatron && !traits.is_megatron()) << format->name;
    EXPECT_TRUE(!traits.is_chunked || traits.distributed_in.has_value()) << format->name;
    EXPECT_TRUE(!traits.takes_every_file || format->is_directory) << format->name;
  }
}

TEST(Format, ACheckpointSaysWhatItWasOpenedAs) {
  const std::pair<const char*, const char*> cases[] = {{"clip/mcore.nemo", "nemo"},
                                                       {"clip/hf", "hf"},
                                                       {"clip/ckpt_mcore_tp2", "ckpt"},
                                                       {"dist/nemo2_llama/nemo", "nemo2"}};
  for (const auto& [path, name] : cases) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(Golden(path)));
    EXPECT_EQ(checkpoint.format, FindFormat(name)) << path;
    EXPECT_EQ(&TraitsOf(checkpoint), &FindFormat(name)->traits) << path;
  }
  EXPECT_EQ(TraitsOf(Checkpoint()).language, ConfigLanguage::kNone);
}

// What people pass by mistake is called by its name.
TEST(Format, NamesWhatIsNoCheckpoint) {
  struct Case {
    const char* what;
    std::string bytes;
    ErrorKind kind;
    const char* words;
  };
  const Case cases[] = {
      {"empty", "", ErrorKind::kCorrupt, "an empty file"},
      {"html", "<!DOCTYPE html>\n<html><body>401</body></html>", ErrorKind::kCorrupt, "an HTML page"},
      {"xml", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", ErrorKind::kCorrupt,
       "an XML document"},
      {"lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", ErrorKind::kCorrupt,
       "git lfs pull"},
      {"annex", "/annex/objects/SHA256E-s3--0.nemo\n", ErrorKind::kCorrupt, "git annex get"},
      {"gguf", std::string("GGUF\3\0\0\0", 8), ErrorKind::kUnsupported, "GGUF"},
      {"onnx", std::string("\x08\x07\x12\x07pytorch", 11), ErrorKind::kUnsupported, "ONNX"},
      {"hdf5", "\x89HDF\r\n\x1a\n....", ErrorKind::kUnsupported, "HDF5"},
      {"npy", "\x93NUMPY\1", ErrorKind::kUnsupported, "numpy"},
      {"json", "{\"a\": 1}", ErrorKind::kCorrupt, "JSON"},
      {"pickle", "\x80\x04K\x01.", ErrorKind::kUnsupported, "bare pickle"},
      {"zeros", std::string(5000, '\0'), ErrorKind::kCorrupt, "zeros"},
      {"text", "hello world", ErrorKind::kUnsupported, "a text, not a checkpoint"},
      {"preview torch", "PYTORCH1....", ErrorKind::kUnsupported, "preview"},
  };
  TempDir dir;
  for (const Case& c : cases) {
    WriteFile(dir / "x.nemo", c.bytes);
    EXPECT_THAT(OpenCheckpoint(dir / "x.nemo"), StatusIs(c.kind, c.words)) << c.what;
  }
  EXPECT_THAT(OpenCheckpoint(dir / "absent.nemo"), StatusIs(ErrorKind::kNotFound, "absent.nemo"));
  std::filesystem::create_symlink("blobs/1", dir / "link.nemo");
  EXPECT_THAT(OpenCheckpoint(dir / "link.nemo"),
              StatusIs(ErrorKind::kNotFound, "a link to blobs/1, which is not there"));
  std::filesystem::create_directory(dir / "empty");
  EXPECT_THAT(OpenCheckpoint(dir / "empty"), StatusIs(ErrorKind::kCorrupt, "an empty folder"));
  std::filesystem::create_directory(dir / "other");
  WriteFile(dir / "other/readme.md", "x");
  EXPECT_THAT(OpenCheckpoint(dir / "other"), StatusIs(ErrorKind::kUnsupported, "readme.md"));
  WriteFile(dir / "other/config.json", "{}");
  EXPECT_THAT(OpenCheckpoint(dir / "other"), StatusIs(ErrorKind::kCorrupt, "no weights"));
  WriteFile(dir / "other/model.safetensors", "version https://git-lfs.github.com/spec/v1\n");
  EXPECT_THAT(OpenCheckpoint(dir / "other"), StatusIs(ErrorKind::kCorrupt, "git-lfs"));
}

TEST(Format, NamesWhatIsThereInPlaceOfWeights) {
  for (const auto& [name, words] : {
           std::pair{"flax_model.msgpack", "(Flax's)"},
           std::pair{"tf_model.h5", "(TensorFlow's)"},
           std::pair{"x.gguf", "(llama.cpp's)"},
           std::pair{"qmodel.pt", "(HQQ's)"},
           std::pair{"model.onnx", "(ONNX)"},
           std::pair{"model.weights.h5", "(Keras's)"},
           std::pair{"model.keras", "(Keras's)"},
           std::pair{"model.safetensors.incomplete", "(a download that did not finish)"},
           std::pair{"model-00001-of-00002.safetensors", "(shards without model.safetensors.index.json)"},
       }) {
    TempDir dir;
    WriteFile(dir / "config.json", "{}");
    WriteFile(dir / name, "x");
    EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kCorrupt, words)) << name;
  }
}

TEST(Format, AFolderOfMetasIsNamed) {
  TempDir dir;
  WriteFile(dir / "params.json", "{}");
  WriteFile(dir / "consolidated.00.pth", "x");
  EXPECT_THAT(OpenCheckpoint(dir.path()), StatusIs(ErrorKind::kUnsupported, "a folder of Meta's or Mistral's own"));
}

TEST(Format, AFileOfADistributedCheckpointIsNamed) {
  TempDir dir;
  WriteFile(dir / "__0_0.distcp", "PK\x03\x04");
  WriteFile(dir / ".metadata", "\x80\x02}.");
  for (const char* name : {"__0_0.distcp", ".metadata"})
    EXPECT_THAT(OpenCheckpoint(dir / name), StatusIs(ErrorKind::kUnsupported, "one file of a distributed checkpoint"));
}

// Content decides, never the name.
TEST(Format, NamesDoNotMatter) {
  TempDir dir;
  std::filesystem::copy_file(Golden("clip/mcore.nemo"), dir / "x.safetensors");
  EXPECT_EQ(OpenCheckpoint(dir / "x.safetensors")->flavour, "nemo");
  std::filesystem::copy_file(Golden("clip/hf/model.safetensors"), dir / "x.ckpt");
  EXPECT_EQ(OpenCheckpoint(dir / "x.ckpt")->flavour, "safetensors");
  std::filesystem::copy_file(Golden("clip/hf_with_position_ids.bin"), dir / "x.nemo");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint bare, OpenCheckpoint(dir / "x.nemo"));
  EXPECT_EQ(bare.flavour, "pytorch");
  EXPECT_THAT(bare.notes, ::testing::Contains(::testing::HasSubstr("bare torch file")));
}

TEST(Format, AtMostOneFormatMatchesEachGoldenPath) {
  size_t matched = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Golden(""))) {
    if (!entry.is_directory() && !entry.is_regular_file()) continue;
    ANEMONE_ASSERT_ASSIGN(const Probe probe, ProbePath(entry.path().string()));
    std::string names;
    size_t count = 0;
    for (const Format* format : Formats()) {
      ANEMONE_ASSERT_ASSIGN(const bool matches, format->matches(probe));
      if (!matches) continue;
      ++count;
      names += std::string(format->name) + " ";
    }
    EXPECT_LE(count, 1u) << entry.path() << ": " << names;
    matched += count;
  }
  EXPECT_GT(matched, 100u);
}

// A file that travels with a model is carried, or refused where the format has one of its name: never left out.
TEST(Format, AnArtifactOfATakenNameIsRefused) {
  for (const auto& [format, name] : {std::pair{"nemo", "model_config.yaml"},
                                     {"nemo", "model_weights.ckpt"},
                                     {"nemo", "model_weights.ckpt/x"},
                                     {"nemo-dir", "model_config.yaml"},
                                     {"hf", "config.json"},
                                     {"hf", "model.safetensors"},
                                     {"hf", "config.json/x"},
                                     {"openclip", "open_clip_config.json"},
                                     {"peft", "adapter_config.json"},
                                     {"torch_dist", ".metadata"},
                                     {"torch_dist", "common.pt"},
                                     {"torch_dist", "hparams.yaml"},
                                     {"nemo2", "weights/common.pt"},
                                     {"nemo2", "model_config.yaml"}}) {
    Checkpoint checkpoint;
    checkpoint.config.emplace();
    ASSERT_THAT(checkpoint.config->Set("a", ConfigNode::Int(1)), IsOk());
    checkpoint.shards.resize(1);
    ASSERT_THAT(checkpoint.weights().Add("w", Numbers(DType::kU8, {2}, "ab")), IsOk());
    for (const bool is_taken : {false, true}) {
      checkpoint.artifacts = {{is_taken ? name : "of_its_own.txt", Range("x")}};
      const Result<Plan> plan = FindFormat(format)->lay_out(checkpoint, {});
      if (is_taken) {
        EXPECT_THAT(plan, StatusIs(ErrorKind::kUnsupported, "has one of its own")) << format << " " << name;
      } else {
        EXPECT_THAT(plan.status(), IsOk()) << format;
      }
    }
  }
}

}  // namespace
}  // namespace anemone
