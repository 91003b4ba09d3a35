#include "format/nemo/nemo.h"

#include <filesystem>

#include "container/tar.h"
#include "container/tar_layout.h"
#include "format/torch/state_dict.h"
#include "format/torch/torch_write.h"
#include "support.h"

namespace anemone {
namespace {

using testing::Bytes;
using testing::ExpectSameTensors;
using testing::Golden;
using testing::IsOk;
using testing::Numbers;
using testing::ReadFile;
using testing::StatusIs;
using testing::TempDir;
using testing::WriteFile;

std::string Weights(std::initializer_list<std::string> names = {"model.w"}) {
  StateDict state;
  for (const std::string& name : names) EXPECT_THAT(state.Add(name, Numbers(DType::kF32, {2}, "12345678")), IsOk());
  PlanFile file;
  EXPECT_THAT(LayOutTorchFile(FromStateDict(state), "model_weights", file), IsOk());
  return Bytes(std::move(file));
}

using Files = std::vector<std::pair<std::string, std::string>>;

std::string Tar(const Files& files) {
  PlanFile tar;
  for (const auto& [name, content] : files) {
    EXPECT_THAT(AppendTarHeader(tar, name, content.size()), IsOk());
    if (!content.empty()) tar.Append(content);
    PadTarMember(tar);
  }
  EndTar(tar);
  return Bytes(std::move(tar));
}

Result<Checkpoint> OpenTar(const Files& files) {
  TempDir dir;
  WriteFile(dir / "x.nemo", Tar(files));
  return OpenCheckpoint(dir / "x.nemo");
}

// Every .nemo that real NeMo wrote, with what is in it.
TEST(Nemo, OpensWhatNemoWrote) {
  struct Case {
    const char* path;
    Layout layout;
    size_t entries;  // of the first rank
  };
  const Case cases[] = {
      {"clip/mcore.nemo", {1, 1, 1}, 99},
      {"clip/legacy.nemo", {1, 1, 1}, 94},
      {"clip/mcore_bf16_O2.nemo", {1, 1, 1}, 99},
      {"clip/mcore_tp2.nemo", {2, 1, 1}, 99},
      {"clip/legacy_tp2.nemo", {2, 1, 1}, 0},
      {"clip/broken_mcore_tp2_left_unsplit.nemo", {2, 1, 1}, 0},
      {"clip_pp/mcore.nemo", {1, 1, 1}, 0},
      {"clip_pp/legacy.nemo", {1, 1, 1}, 0},
      {"clip_pp/mcore_pp2.nemo", {1, 2, 1}, 0},
      {"clip_pp/legacy_pp2.nemo", {1, 2, 1}, 0},
      {"clip_pp/mcore_tp2pp2.nemo", {2, 2, 1}, 0},
      {"clip_pp/legacy_tp2pp2.nemo", {2, 2, 1}, 0},
      {"clip_pp/uneven_mcore_pp2_first2.nemo", {1, 2, 1}, 0},
      {"gpt/A.nemo", {1, 1, 1}, 0},
      {"gpt/A_tp2.nemo", {2, 1, 1}, 0},
      {"gpt/AL_tp2.nemo", {2, 1, 1}, 0},
      {"gpt/A_tp2pp2.nemo", {2, 2, 1}, 0},
      {"gpt/C.nemo", {1, 1, 1}, 0},
      {"gpt/Z.nemo", {1, 1, 1}, 0},
      {"t5/t5.nemo", {1, 1, 1}, 0},
      {"t5/t5_tp2.nemo", {2, 1, 1}, 0},
      {"t5/t5_tp2_only.nemo", {2, 1, 1}, 0},
      {"t5/t5_tp2pp2.nemo", {2, 2, 1}, 0},
      {"siglip/siglip_32.nemo", {1, 1, 1}, 0},
      {"siglip/siglip_bf16.nemo", {1, 1, 1}, 0},
      {"siglip/siglip_smallprobe_bf16.nemo", {1, 1, 1}, 0},
  };
  for (const Case& c : cases) {
    const auto checkpoint = OpenCheckpoint(Golden(c.path));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    EXPECT_EQ(checkpoint->flavour, "nemo");
    EXPECT_EQ(checkpoint->layout, c.layout) << c.path;
    ASSERT_EQ(checkpoint->shards.size(), static_cast<size_t>(c.layout.tp * c.layout.pp)) << c.path;
    if (c.entries != 0) {
      EXPECT_EQ(checkpoint->shards[0].weights.size(), c.entries) << c.path;
    }
    for (size_t i = 0; i < checkpoint->shards.size(); ++i) {
      EXPECT_EQ(checkpoint->shards[i].pp_rank * c.layout.tp + checkpoint->shards[i].tp_rank, static_cast<int>(i));
    }
    ASSERT_TRUE(checkpoint->config.has_value()) << c.path;
    EXPECT_NE(checkpoint->config->Find("target"), nullptr) << c.path;
    EXPECT_TRUE(CheckArtifactReferences(*checkpoint).ok()) << c.path;
  }
}

// NEMO-13
TEST(Nemo, GptCarriesItsTokenizer) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(Golden("gpt/A.nemo")));
  ASSERT_EQ(checkpoint.artifacts.size(), 1u);
  EXPECT_TRUE(checkpoint.artifacts[0].name.ends_with("_spm.model"));
  const auto references = ArtifactReferences(checkpoint.config->root());
  ASSERT_EQ(references.size(), 1u);
  EXPECT_EQ(references[0].config_path, "tokenizer.model");
  EXPECT_EQ(references[0].name, checkpoint.artifacts[0].name);
}

// NEMO-4: nemo → nemo changes nothing that is said: config, weights with their extra states, artifacts, layout.
TEST(Nemo, RewrittenArchivesSayTheSame) {
  for (const char* name :
       {"clip/mcore.nemo", "clip_pp/legacy_tp2pp2.nemo", "gpt/A.nemo", "clip/mcore_tp2.nemo", "gpt/C.nemo"}) {
    for (const char* to : {"nemo", "nemo-dir"}) {
      ANEMONE_ASSERT_ASSIGN(const Checkpoint before, OpenCheckpoint(Golden(name)));
      ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat(to)->lay_out(before, {}));
      TempDir dir;
      testing::Write(plan, dir / "out");
      ANEMONE_ASSERT_ASSIGN(const Checkpoint after, OpenCheckpoint(dir / "out"));
      EXPECT_EQ(after.flavour, to);
      EXPECT_EQ(after.layout, before.layout) << name;
      EXPECT_TRUE(SameConfig(after.config->root(), before.config->root())) << name;
      ASSERT_EQ(after.shards.size(), before.shards.size()) << name;
      for (size_t i = 0; i < before.shards.size(); ++i) {
        const auto& left = before.shards[i].weights.items();
        const auto& right = after.shards[i].weights.items();
        ASSERT_EQ(left.size(), right.size()) << name;
        for (size_t k = 0; k < left.size(); ++k) {
          const bool ordered = !before.origin.distributed;  // a distributed folder has no order of names
          const StateDict::Item* other = ordered ? &right[k] : after.shards[i].weights.Find(left[k].name);
          ASSERT_NE(other, nullptr) << left[k].name;
          EXPECT_EQ(left[k].name, other->name) << name;
          ASSERT_EQ(left[k].opaque() == nullptr, other->opaque() == nullptr) << left[k].name;
          if (left[k].opaque() != nullptr) {
            EXPECT_EQ(left[k].opaque()->form, other->opaque()->form) << left[k].name;
          }
        }
        ExpectSameTensors(before.shards[i].weights, after.shards[i].weights);
      }
      ASSERT_EQ(after.artifacts.size(), before.artifacts.size()) << name;
      for (size_t i = 0; i < before.artifacts.size(); ++i) {
        EXPECT_EQ(after.artifacts[i].name, before.artifacts[i].name);
        EXPECT_EQ(*after.artifacts[i].content.ReadAll(1 << 30), *before.artifacts[i].content.ReadAll(1 << 30));
      }
    }
  }
}

TEST(Nemo, WritesMembersInNemosOrder) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(Golden("clip_pp/legacy_tp2pp2.nemo")));
  ANEMONE_ASSERT_ASSIGN(const Plan plan, FindFormat("nemo")->lay_out(checkpoint, {}));
  ANEMONE_ASSERT_ASSIGN(const auto members, ReadTar(testing::Range(Bytes(plan))));
  std::vector<std::string> names;
  for (const TarMember& member : members) names.push_back(member.name + (member.is_directory ? "/" : ""));
  const std::vector<std::string> expected = {
      "/",
      "model_config.yaml",
      "tp_rank_00_pp_rank_000/",
      "tp_rank_00_pp_rank_000/model_weights.ckpt",
      "tp_rank_00_pp_rank_001/",
      "tp_rank_00_pp_rank_001/model_weights.ckpt",
      "tp_rank_01_pp_rank_000/",
      "tp_rank_01_pp_rank_000/model_weights.ckpt",
      "tp_rank_01_pp_rank_001/",
      "tp_rank_01_pp_rank_001/model_weights.ckpt",
  };
  EXPECT_EQ(names, expected);
}

TEST(Nemo, ReadsMembersBelowAFolder) {
  ANEMONE_ASSERT_ASSIGN(
      const Checkpoint checkpoint,
      OpenTar({{"foo/model_config.yaml", "a: 1\n"}, {"foo/model_weights.ckpt", Weights()}, {"foo/vocab.txt", "v"}}));
  EXPECT_EQ(checkpoint.weights().size(), 1u);
  ASSERT_NE(checkpoint.FindArtifact("vocab.txt"), nullptr);
  EXPECT_FALSE(checkpoint.notes.empty());
}

TEST(Nemo, LeavesOutWhatMacOsPacksBesideEachFile) {
  const std::string beside("\0\x05\x16\x07\0\2\0\0Mac OS X", 16);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenTar({{"._model_config.yaml", beside},
                                                              {"model_config.yaml", "a: 1"},
                                                              {"model_weights.ckpt", Weights()},
                                                              {"tokenizer/._vocab.json", beside},
                                                              {"tokenizer/._mine", "mine"},
                                                              {"tokenizer/vocab.json", "{}"}}));
  ASSERT_EQ(checkpoint.artifacts.size(), 2u);
  EXPECT_EQ(checkpoint.artifacts[0].name, "tokenizer/._mine");
  EXPECT_EQ(checkpoint.artifacts[1].name, "tokenizer/vocab.json");
  EXPECT_THAT(checkpoint.notes, ::testing::Contains("left out 2 files of macOS (._NAME)"));
}

TEST(Nemo, WeightsMayComeBeforeTheConfig) {
  EXPECT_THAT(OpenTar({{"model_weights.ckpt", Weights()}, {"model_config.yaml", "a: 1\n"}}), IsOk());
}

// NEMO-11
TEST(Nemo, ForeignModulePrefixIsNormalised) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenTar({{"model_config.yaml", "megatron_amp_O2: true\n"},
                                                              {"model_weights.ckpt", Weights({"model.module.w"})}}));
  EXPECT_NE(checkpoint.weights().Find("model.w"), nullptr);
  EXPECT_THAT(checkpoint.notes, ::testing::Contains(::testing::HasSubstr("model.module.")));
}

// NEMO-10
TEST(Nemo, FoldersAreBelievedOverTheConfig) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint checkpoint, OpenTar({{"model_config.yaml", "tensor_model_parallel_size: 4\n"},
                                                              {"mp_rank_00/model_weights.ckpt", Weights()},
                                                              {"mp_rank_01/model_weights.ckpt", Weights()}}));
  EXPECT_EQ(checkpoint.layout, (Layout{2, 1, 1}));
  EXPECT_THAT(checkpoint.notes, ::testing::Contains(::testing::HasSubstr("TP 4")));
}

TEST(Nemo, RefusesBrokenArchives) {
  const std::string weights = Weights();
  struct Case {
    const char* what;
    Files files;
    ErrorKind kind;
    const char* words;
  };
  const Case cases[] = {
      {"no config", {{"model_weights.ckpt", weights}}, ErrorKind::kCorrupt, "[NEMO-3]"},
      {"two configs",
       {{"a/model_config.yaml", "a: 1"}, {"b/model_config.yaml", "a: 1"}},
       ErrorKind::kCorrupt,
       "[NEMO-3]"},
      {"old torch", {{"pickle", "x"}, {"storages", "x"}, {"tensors", "x"}}, ErrorKind::kUnsupported, "0.1.10"},
      {"bad YAML",
       {{"model_config.yaml", "a: [1"}, {"model_weights.ckpt", weights}},
       ErrorKind::kCorrupt,
       "model_config.yaml"},
      {"no weights", {{"model_config.yaml", "a: 1"}}, ErrorKind::kCorrupt, "[NEMO-5]"},
      {"LitGPT's", {{"model_config.yaml", "a: 1"}, {"lit_model.pth", "PK"}}, ErrorKind::kUnsupported, "found LitGPT's"},
      {"two forms",
       {{"model_config.yaml", "a: 1"}, {"model_weights.ckpt", weights}, {"mp_rank_00/model_weights.ckpt", weights}},
       ErrorKind::kCorrupt,
       "[NEMO-6]"},
      {"empty weights",  // NEMO-14
       {{"model_config.yaml", "a: 1"}, {"model_weights.ckpt", Weights({})}},
       ErrorKind::kCorrupt,
       "convert the .ckpt instead"},
      {"a rank lacks",
       {{"model_config.yaml", "a: 1"},
        {"mp_rank_00/model_weights.ckpt", weights},
        {"mp_rank_02/model_weights.ckpt", weights}},
       ErrorKind::kCorrupt,
       "mp_rank_01"},
      {"a stage lacks",
       {{"model_config.yaml", "a: 1"},
        {"tp_rank_00_pp_rank_000/model_weights.ckpt", weights},
        {"tp_rank_01_pp_rank_001/model_weights.ckpt", weights}},
       ErrorKind::kCorrupt,
       "tp_rank_01_pp_rank_000, tp_rank_00_pp_rank_001"},
      {"FSDP",
       {{"model_config.yaml", "a: 1"}, {"mp_rank_00_fsdp_shard_00000/model_weights.ckpt", weights}},
       ErrorKind::kUnsupported,
       "[NEMO-9]"},
      {"weights no torch file",
       {{"model_config.yaml", "a: 1"}, {"model_weights.ckpt", "hello"}},
       ErrorKind::kCorrupt,
       "model_weights.ckpt"},
  };
  for (const Case& c : cases) EXPECT_THAT(OpenTar(c.files), StatusIs(c.kind, c.words)) << c.what;
}

TEST(Nemo, DanglingReferencesAreToldAndNeverWritten) {
  ANEMONE_ASSERT_ASSIGN(
      const Checkpoint checkpoint,
      OpenTar({{"model_config.yaml", "tokenizer:\n  model: nemo:abc_spm.model\n"}, {"model_weights.ckpt", Weights()}}));
  EXPECT_THAT(checkpoint.notes, ::testing::Contains(::testing::HasSubstr("tokenizer.model = nemo:abc_spm.model")));
  EXPECT_THAT(FindFormat("nemo")->lay_out(checkpoint, {}), StatusIs(ErrorKind::kCorrupt, "[NEMO-12]"));
}

TEST(Nemo, TruncationIsNeverReadAsLess) {
  const std::string bytes =
      Tar({{"model_config.yaml", "a: 1\n"}, {"model_weights.ckpt", Weights()}, {"x.model", "content"}});
  TempDir dir;
  for (size_t size = 0; size < bytes.size(); size += 13) {
    WriteFile(dir / "x.nemo", bytes.substr(0, size));
    const auto checkpoint = OpenCheckpoint(dir / "x.nemo");
    if (!checkpoint.ok()) continue;
    // Only the end marker and its padding may be missing.
    EXPECT_GE(size + 10240, bytes.size());
    EXPECT_EQ(checkpoint->weights().size(), 1u);
    ASSERT_EQ(checkpoint->artifacts.size(), 1u);
    EXPECT_EQ(*checkpoint->artifacts[0].content.ReadAll(100), "content");
  }
}

// NEMO-2: Python's tarfile in its dialects, and gzip as NeMo up to 1.6 wrote it: tools/make_format_corpus.py.
TEST(Nemo, ReadsEveryDialectOfTar) {
  const std::string corpus = std::string(ANEMONE_SOURCE_DIR) + "/fuzz/corpus/nemo/";
  ANEMONE_ASSERT_ASSIGN(const Checkpoint pax, OpenCheckpoint(corpus + "single"));
  ASSERT_NE(pax.FindArtifact("abc_spm.model"), nullptr);
  for (const char* name : {"gnu", "prefix", "gzip"}) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint other, OpenCheckpoint(corpus + name));
    EXPECT_EQ(other.flavour, "nemo");
    EXPECT_TRUE(SameConfig(other.config->root(), pax.config->root())) << name;
    ExpectSameTensors(other.weights(), pax.weights());
    EXPECT_NE(other.FindArtifact("abc_spm.model"), nullptr) << name;
  }
  EXPECT_THAT(OpenCheckpoint(corpus + "gzip_of_text"), StatusIs(ErrorKind::kUnsupported, "[NEMO-1]"));
  EXPECT_THAT(OpenCheckpoint(corpus + "rank_missing"), StatusIs(ErrorKind::kCorrupt, "[NEMO-8]"));
}

TEST(Nemo, NeedsAConfigToBeWritten) {
  Checkpoint checkpoint;
  checkpoint.shards.resize(1);
  EXPECT_THAT(FindFormat("nemo")->lay_out(checkpoint, {}), StatusIs(ErrorKind::kInvalidArgument, "hparams=FILE"));
}

}  // namespace
}  // namespace anemone
