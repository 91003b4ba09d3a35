// Whole conversions, written and opened again: what NeMo's trainer wrote comes back, its optimizer included.
#include "anemone/convert.h"

#include <fmt/format.h>
#include <deque>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <fstream>

#include "engine/execute.h"
#include "format/format.h"
#include "format/huggingface/safetensors.h"
#include "format/torch/state_dict.h"
#include "format/torch/torch_file.h"
#include "format/torch/torch_write.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;
using Kind = ValueNode::Kind;

constexpr const char* kClip = "/megatron_clip--val_loss=5.95-step=3-consumed_samples=12.0.ckpt";
constexpr const char* kFusedAdam = "gpt_fused_adam_dist/megatron_gpt--val_loss=5.10-step=2-consumed_samples=8.0-last";
constexpr const char* kDistributedAdam =
    "gpt_mcore_dist_optim/megatron_gpt--val_loss=5.35-step=2-consumed_samples=8.0-last";

Conversion Convert(const std::string& source, const std::string& destination, const ConvertOptions& options) {
  auto conversion = PlanConversion(source, destination, options);
  EXPECT_THAT(conversion, IsOk());
  if (!conversion.ok()) return {};
  EXPECT_THAT(RunConversion(*conversion, {}), IsOk());
  return *std::move(conversion);
}

Checkpoint Open(const std::string& path) {
  auto checkpoint = OpenCheckpoint(path);
  EXPECT_THAT(checkpoint, IsOk()) << path;
  return checkpoint.ok() ? *std::move(checkpoint) : Checkpoint();
}

bool HasNote(const Conversion& conversion, std::string_view words) {
  return std::ranges::any_of(conversion.notes,
                             [&](const std::string& n) { return n.find(words) != std::string::npos; });
}

// Bit for bit: keys in order, plain values, tensors. `compared` counts the tensors.
void ExpectSame(const ValueNode& actual, const ValueNode& expected, const std::string& where, size_t* compared) {
  const auto *a = DictEntries(actual), *e = DictEntries(expected);
  if (expected.kind == Kind::kObject && e == nullptr) return;  // configs, extra states: compared elsewhere
  ASSERT_EQ(a != nullptr, e != nullptr) << where;
  if (e == nullptr) {
    ASSERT_EQ(actual.kind, expected.kind) << where;
    if (expected.kind == Kind::kTensor) {
      ++*compared;
      EXPECT_EQ(actual.tensor->dtype(), expected.tensor->dtype()) << where;
      EXPECT_EQ(actual.tensor->shape(), expected.tensor->shape()) << where;
      EXPECT_TRUE(*actual.tensor->Read() == *expected.tensor->Read()) << where;
      return;
    }
    EXPECT_EQ(actual.integer, expected.integer) << where;
    EXPECT_EQ(actual.real, expected.real) << where;
    EXPECT_EQ(actual.text, expected.text) << where;
    a = &actual.items;
    e = &expected.items;
  }
  ASSERT_EQ(a->size(), e->size()) << where;
  const bool is_dict = DictEntries(expected) != nullptr;
  for (size_t i = 0; i < e->size(); ++i) {
    std::string inner = where + fmt::format("/{}", i);
    if (is_dict && i % 2 == 1) inner = where + "/" + (*e)[i - 1]->text;
    ExpectSame(*(*a)[i], *(*e)[i], inner, compared);
  }
}

void ExpectSameTraining(const Checkpoint& actual, const Checkpoint& expected) {
  EXPECT_EQ(actual.layout, expected.layout);
  ASSERT_EQ(actual.shards.size(), expected.shards.size());
  for (size_t i = 0; i < expected.shards.size(); ++i) {
    size_t compared = 0;
    ASSERT_TRUE(actual.shards[i].training && expected.shards[i].training);
    ExpectSame(*actual.shards[i].training->node, *expected.shards[i].training->node, fmt::format("rank {}", i),
               &compared);
    EXPECT_GT(compared, 50u);
  }
}

// The whole dictionaries of all ranks, as the trainer wrote them: split, merged, split again.
TEST(ConvertTest, RanksOfATrainingComeBackAsTheTrainerWroteThem) {
  const struct {
    const char* source;
    Layout layout;
  } cases[] = {{"clip/ckpt_mcore_tp2", {.tp = 2}}, {"gpt_vp", {.pp = 2, .vp = 2}}};
  for (const auto& [source, layout] : cases) {
    SCOPED_TRACE(source);
    const TempDir dir;
    const Conversion merged = Convert(Golden(source), dir / "one.ckpt", {.tp = 1, .pp = 1, .vp = 1});
    EXPECT_FALSE(HasNote(merged, "training state"));
    Convert(dir / "one.ckpt", dir / "ranks", {.to = "ckpt", .tp = layout.tp, .pp = layout.pp, .vp = layout.vp});
    ExpectSameTraining(Open(dir / "ranks"), Open(Golden(source)));
  }
}

// Numbers → names → numbers.
TEST(ConvertTest, ADistributedCheckpointHoldsTheOptimizerByName) {
  for (const std::string& source :
       {std::string("clip/ckpt_mcore") + kClip, std::string("clip/ckpt_mcore_bf16_O2") + kClip}) {
    SCOPED_TRACE(source);
    const TempDir dir;
    Convert(Golden(source), dir / "dist", {.to = "torch_dist"});
    Convert(dir / "dist", dir / "back.ckpt", {});
    ExpectSameTraining(Open(dir / "back.ckpt"), Open(Golden(source)));
  }
}

// What NeMo's trainer saved distributed, as the .ckpt that it would have saved otherwise.
TEST(ConvertTest, NamedStatesAreNumberedAsTheModelCounts) {
  const TempDir dir;
  Convert(Golden(kFusedAdam), dir / "adam.ckpt", {});
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr file, OpenFile(Golden("gpt_fused_adam_dist/opt1.plain.rank0.pt")));
  ANEMONE_ASSERT_ASSIGN(const TorchFile plain, ReadTorchFile(Whole(file)));
  const Checkpoint numbered = Open(dir / "adam.ckpt");
  const ValueRef inner = Lookup(*numbered.shards.front().training->node, "optimizer_states")->items[0];
  const ValueRef names = Lookup(*Lookup(*plain.root.node, "groups")->items[0], "names");
  const auto& states = *DictEntries(*Lookup(*inner, "state"));
  ASSERT_EQ(states.size(), 2 * names->items.size());
  for (size_t i = 0; i < names->items.size(); ++i) {
    const std::string& name = names->items[i]->text;
    EXPECT_EQ(states[2 * i]->integer, static_cast<int64_t>(i));
    size_t compared = 0;
    ExpectSame(*states[2 * i + 1], *Lookup(*Lookup(*plain.root.node, "state"), name), name, &compared);
    EXPECT_EQ(compared, 2u);
  }
}

// The optimizers of dense parameters and of experts, each by its ranks, as the one of a process that holds all.
TEST(ConvertTest, AChainOfOptimizersBecomesOne) {
  const std::string source = Golden("dist_megatron_0.16/dist");
  for (const bool renames : {false, true}) {  // by --hparams, whose model keeps a norm apart
    SCOPED_TRACE(renames);
    const TempDir dir;
    std::ofstream(dir / "model.yaml") << Open(source).config->ToYaml();
    const std::string hparams = renames ? dir / "model.yaml" : "";
    const Conversion conversion = Convert(source, dir / "adam.ckpt", {.hparams = hparams});
    EXPECT_FALSE(HasNote(conversion, "training state"));
    const Checkpoint numbered = Open(dir / "adam.ckpt");
    EXPECT_EQ(numbered.config->Find("expert_model_parallel_size")->AsInt(), 1);
    const ValueRef inner = Lookup(*numbered.shards.front().training->node, "optimizer_states")->items[0];
    ASSERT_EQ(Lookup(*inner, "param_groups")->items.size(), 2u);
    // Numbered through the group with weight decay, then the one without.
    std::vector<std::string> names;
    for (const bool is_bias : {false, true}) {
      for (const StateDict::Item& item : numbered.weights().items()) {
        if (item.tensor() != nullptr && item.name.ends_with("bias") == is_bias) names.push_back(item.name);
      }
    }
    const auto& states = *DictEntries(*Lookup(*inner, "state"));
    ASSERT_EQ(states.size(), 2 * names.size());
    size_t compared = 0;
    for (const char* rank : {"0", "1"}) {
      ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr file,
                            OpenFile(Golden(fmt::format("dist_megatron_0.16/rank{}.pt", rank))));
      ANEMONE_ASSERT_ASSIGN(const TorchFile plain, ReadTorchFile(Whole(file)));
      const auto& moments = *DictEntries(*Lookup(*plain.root.node, "moments"));
      for (size_t i = 0; i < moments.size(); i += 2) {
        std::string name = moments[i]->text;
        const std::string stored = "mlp.linear_fc1.layer_norm_";
        const size_t at = renames ? name.find(stored) : name.npos;
        if (at != name.npos) name.replace(at, stored.size(), "pre_mlp_layernorm.");
        const auto number = static_cast<size_t>(std::ranges::find(names, name) - names.begin());
        ASSERT_LT(number, names.size()) << name;
        EXPECT_EQ(states[2 * number]->integer, static_cast<int64_t>(number));
        const ValueRef own = states[2 * number + 1];
        EXPECT_EQ(*Lookup(*own, "step")->tensor->Read(), std::string("\0\0\0\x40", 4));  // 2.0F
        for (const char* kind : {"exp_avg", "exp_avg_sq"})
          ExpectSame(*Lookup(*own, kind), *Lookup(*moments[i + 1], kind), name, &compared);
      }
    }
    EXPECT_EQ(compared, 2 * (2 * 18u + 16u));
    // Over ranks and back.
    Convert(dir / "adam.ckpt", dir / "ranks", {.to = "ckpt", .tp = 2, .pp = 2});
    Convert(dir / "ranks", dir / "back.ckpt", {.tp = 1, .pp = 1});
    ExpectSameTraining(Open(dir / "back.ckpt"), numbered);
  }
}

TEST(ConvertTest, TheDistributedOptimizerBecomesAdamWithMasters) {
  const TempDir dir;
  const Conversion conversion = Convert(Golden(kDistributedAdam), dir / "ranks", {.to = "ckpt", .tp = 2, .pp = 2});
  EXPECT_TRUE(HasNote(conversion, "optim.name=fused_adam"));
  for (const Shard& shard : Open(dir / "ranks").shards) {
    const ValueRef outer = Lookup(*shard.training->node, "optimizer_states")->items[0];
    const ValueRef masters = Lookup(*outer, "fp32_from_fp16_params")->items[0];
    size_t next = 0;
    for (const StateDict::Item& item : shard.weights.items()) {
      if (item.tensor() == nullptr) continue;
      EXPECT_TRUE(*masters->items[next]->tensor->Cast(DType::kBF16)->Read() == *item.tensor()->Read()) << item.name;
      ++next;
    }
    EXPECT_EQ(next, masters->items.size());
  }
  Convert(dir / "ranks", dir / "dist", {.to = "torch_dist", .tp = 1, .pp = 1});
  const auto named = [](const Checkpoint& c) -> const ValueNode& {
    return *Lookup(*Lookup(*Lookup(*c.shards.front().training->node, "optimizer_states")->items[0], "optimizer"),
                   "state");
  };
  const Checkpoint back = Open(dir / "dist"), golden = Open(Golden(kDistributedAdam));
  const ValueNode &states = named(golden), &actual = named(back);
  size_t compared = 0;
  for (size_t i = 0; i + 1 < states.items.size(); i += 2) {
    const ValueRef own = Lookup(actual, states.items[i]->text);
    ASSERT_NE(own, nullptr) << states.items[i]->text;
    for (const char* key : {"exp_avg", "exp_avg_sq", "fp32_param"}) {
      ExpectSame(*Lookup(*own, key), *Lookup(*states.items[i + 1], key), states.items[i]->text, &compared);
    }
  }
  EXPECT_EQ(compared, 45u);
}

// Two matrices in a torch file, a bit of the second one flipped.
std::string Damaged(const std::string& path) {
  std::string bytes(uint64_t{1} << 20, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * i / 7);
  const std::string second(bytes.rbegin(), bytes.rend());
  StateDict state;
  EXPECT_THAT(state.Add("a", *Tensor::FromBytes(DType::kF32, {512, 512}, bytes)), IsOk());
  EXPECT_THAT(state.Add("b", *Tensor::FromBytes(DType::kF32, {512, 512}, second)), IsOk());
  Plan plan;
  EXPECT_THAT(LayOutTorchFile(FromStateDict(state), "archive", plan.files.emplace_back()), IsOk());
  EXPECT_THAT(Execute(plan, path, {}), IsOk());
  std::string file = testing::ReadFile(path);
  file[file.find(second) + 300'000] ^= 0x40;
  std::ofstream(path, std::ios::binary) << file;
  return path;
}

// Bytes are compared with the source's checksum however they travel: moved, cast, cut or read piece by piece.
TEST(ConvertTest, ADamagedRecordIsNotPassedOn) {
  const TempDir dir;
  const std::string source = Damaged(dir / "in.pt");
  const struct {
    const char* name;
    ConvertOptions options;
  } cases[] = {{"out.safetensors", {}}, {"out.pt", {}}, {"half.safetensors", {.dtype = DType::kF16}}};
  for (const auto& [name, options] : cases) {
    SCOPED_TRACE(name);
    ANEMONE_ASSERT_ASSIGN(const Conversion conversion, PlanConversion(source, dir / name, options));
    EXPECT_THAT(RunConversion(conversion, {}), StatusIs(ErrorKind::kCorrupt, "in.pt: archive/data/1: expected CRC-32"));
    EXPECT_FALSE(std::filesystem::exists(dir / name));
    std::vector<std::string> damaged;
    RunOptions run;
    run.on_damaged_source = [&](const Status& status) { damaged.push_back(status.message()); };
    EXPECT_THAT(RunConversion(conversion, run), IsOk());
    EXPECT_EQ(damaged.size(), 1u);
    EXPECT_TRUE(std::filesystem::exists(dir / name));
  }
  // Columns, twice: read out of order, in parts, and more than once.
  const Checkpoint checkpoint = Open(source);
  for (const char* tensor : {"a", "b"}) {
    const Tensor& whole = *checkpoint.weights().Find(tensor)->tensor();
    Plan plan;
    PlanFile& file = plan.files.emplace_back();
    for (int i = 0; i < 2; ++i) file.Append(*whole.Permute({1, 0}));
    const Status status = Execute(plan, dir / "columns", {.replace = true});
    EXPECT_EQ(status.ok(), tensor[0] == 'a') << status.message();
  }
}

// A safetensors file that is converted to itself is the same to the bit, its metadata included.
TEST(ConvertTest, ASafetensorsFileKeepsItsMetadata) {
  const TempDir dir;
  for (const std::map<std::string, std::string>& metadata :
       {std::map<std::string, std::string>{}, {{"format", "pt"}, {"license", "mine"}}}) {
    Plan plan;
    NamedTensors tensors;
    tensors.emplace_back("a", *Tensor::FromBytes(DType::kF4E2M1, {2}, "1"));
    ASSERT_THAT(LayOutSafetensors(tensors, metadata, plan.files.emplace_back()), IsOk());
    ASSERT_THAT(Execute(plan, dir / "in.safetensors", {.replace = true}), IsOk());
    std::filesystem::remove(dir / "out.safetensors");
    Convert(dir / "in.safetensors", dir / "out.safetensors", {});
    EXPECT_EQ(testing::ReadFile(dir / "out.safetensors"), testing::ReadFile(dir / "in.safetensors"));
  }
}

TEST(ConvertTest, WrappersOfAModelAreTakenOff) {
  for (const char* prefix : {"model.", "clip.", "module._orig_mod.", "model.module._orig_mod.", "net.backbone."}) {
    SCOPED_TRACE(prefix);
    const TempDir dir;
    Checkpoint wrapped = Open(Golden("clip/hf/model.safetensors"));
    Plan plan;
    std::deque<std::string> names;
    NamedTensors named;
    for (const StateDict::Item& item : wrapped.weights().items())
      named.emplace_back(names.emplace_back(prefix + item.name), *item.tensor());
    ASSERT_THAT(LayOutSafetensors(named, {}, plan.files.emplace_back()), IsOk());
    ASSERT_THAT(Execute(plan, dir / "wrapped.safetensors", {}), IsOk());
    const Conversion conversion =
        Convert(dir / "wrapped.safetensors", dir / "out.nemo", {.hparams = Golden("clip/hf/config.json")});
    Convert(Golden("clip/hf"), dir / "plain.nemo", {});
    EXPECT_EQ(Open(dir / "out.nemo").weights().size(), Open(dir / "plain.nemo").weights().size());
    EXPECT_TRUE(HasNote(conversion, "read without it") || HasNote(conversion, "taken out"));
  }
}

TEST(ConvertTest, WhatNemoCannotRestoreIsNoNemo) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "hf");
  std::ofstream(dir / "hf/config.json") << R"({"model_type":"other","architectures":["Other"]})";
  Plan plan;
  ASSERT_THAT(
      LayOutSafetensors({{"some.weight", *Tensor::FromBytes(DType::kU8, {1}, "1")}}, {}, plan.files.emplace_back()),
      IsOk());
  ASSERT_THAT(Execute(plan, dir / "hf/model.safetensors", {}), IsOk());
  EXPECT_THAT(PlanConversion(dir / "hf", dir / "x.nemo", {}), StatusIs(ErrorKind::kUnsupported, ""));
  EXPECT_THAT(PlanConversion(dir / "hf", dir / "x.nemo", {.strict = false}), IsOk());
  EXPECT_THAT(PlanConversion(dir / "hf", dir / "x.safetensors", {}), IsOk());
}

TEST(ConvertTest, OneRankOfSeveralIsNoModel) {
  const std::string rank = Golden(std::string("clip/ckpt_mcore_tp2/mp_rank_00") + kClip);
  const TempDir dir;
  EXPECT_THAT(PlanConversion(rank, dir / "x.nemo", {}), StatusIs(ErrorKind::kCorrupt, "one part of several"));
}

TEST(ConvertTest, LayersOutOfAllProportionAreRefusedAtOnce) {
  const TempDir dir;
  for (const char* destination : {"huge.nemo", "huge_hf"}) {
    const bool is_nemo = std::string_view(destination).ends_with(".nemo");
    const char* key = is_nemo ? "text.num_layers" : "text_config.num_hidden_layers";
    Convert(Golden("clip/hf"), dir / destination, {.to = is_nemo ? "nemo" : "hf", .set = {{key, "1000000000"}}});
    EXPECT_THAT(PlanConversion(dir / destination, dir / "out", {.to = is_nemo ? "hf" : "nemo-dir"}),
                StatusIs(ErrorKind::kLimitExceeded, "layers"));
  }
}

TEST(ConvertTest, AnArtifactIsNoFileOfTheFormat) {
  const TempDir dir;
  Convert(Golden("clip/mcore.nemo"), dir / "in", {.to = "nemo-dir"});
  std::ofstream(dir / "in/common.pt") << "mine";
  EXPECT_THAT(PlanConversion(dir / "in", dir / "out", {.to = "torch_dist"}),
              StatusIs(ErrorKind::kUnsupported, "common.pt"));
}

TEST(ConvertTest, NemosYamlNeedNotExist) {
  const TempDir dir;
  const std::string yaml = "/opt/NeMo/examples/conf/megatron_clip_VIT-L-14.yaml";
  ANEMONE_ASSERT_ASSIGN(const Conversion derived, PlanConversion(Golden("clip/hf"), dir / "x.nemo", {.hparams = yaml}));
  EXPECT_TRUE(HasNote(derived, "NeMo's megatron_clip_VIT-L-14.yaml does not exist here"));
  ANEMONE_ASSERT_ASSIGN(const Conversion plain, PlanConversion(Golden("clip/hf"), dir / "x.nemo", {}));
  EXPECT_EQ(derived.result.config->ToYaml(), plain.result.config->ToYaml());
  // One that exists is read; one that NeMo does not ship must exist.
  std::ofstream(dir / "megatron_clip_VIT-L-14.yaml") << "model: {}\n";
  EXPECT_FALSE(
      PlanConversion(Golden("clip/hf"), dir / "x.nemo", {.hparams = dir / "megatron_clip_VIT-L-14.yaml"}).ok());
  EXPECT_THAT(PlanConversion(Golden("clip/hf"), dir / "x.nemo", {.hparams = "/opt/NeMo/mine.yaml"}),
              StatusIs(ErrorKind::kNotFound, "hparams: /opt/NeMo/mine.yaml: cannot open"));
}

TEST(ConvertTest, SaysWhatTrainingStateItLeavesOut) {
  const std::string ranks = Golden("clip/ckpt_mcore_tp2");
  const struct {
    std::string destination;
    ConvertOptions options;
    const char* note;
  } cases[] = {{"x.nemo", {}, "a nemo holds none"},
               {"x.safetensors", {}, "a safetensors holds none"},
               {"x.ckpt", {.dialect = "legacy"}, "the old dialect"},
               {"x.ckpt", {.dtype = DType::kBF16}, "the dtypes"},
               {"x", {.to = "nemo2"}, "NeMo 1 and NeMo 2"}};
  for (const auto& [destination, options, note] : cases) {
    SCOPED_TRACE(note);
    const TempDir dir;
    ANEMONE_ASSERT_ASSIGN(const Conversion conversion, PlanConversion(ranks, dir / destination, options));
    EXPECT_TRUE(HasNote(conversion, note)) << fmt::format("{}", fmt::join(conversion.notes, "; "));
    for (const Shard& shard : conversion.result.shards) EXPECT_FALSE(shard.training);
  }
  const TempDir dir;
  ANEMONE_ASSERT_ASSIGN(const Conversion asked, PlanConversion(ranks, dir / "x.ckpt", {.tp = 4, .only_weights = true}));
  EXPECT_FALSE(HasNote(asked, "training state"));
}

TEST(ConvertTest, AnOptionThatNothingHeedsIsRefused) {
  const TempDir dir;
  std::ofstream(dir / "text.txt") << "hello\n";
  const struct {
    const char* source;
    const char* to;
    ConvertOptions options;
    const char* words;
  } cases[] = {
      {"clip/hf", "nemo", {.max_shard_bytes = 1 << 20}, "max_shard_bytes: expected a format with shards"},
      {"clip/hf", "openclip", {.max_shard_bytes = 1 << 20}, "max_shard_bytes: expected a format with shards"},
      {"gpt/A.nemo", "hf", {.nemo2_version = "2.2.0"}, "nemo2_version: expected a NeMo 2 folder"},
      {"clip/hf", "safetensors", {.set = {{"a", "1"}}}, "set: expected a format with a config"},
      {"clip/mcore.nemo", "pytorch", {.unset = {"precision"}}, "unset: expected a format with a config"},
      {"clip/hf", "pytorch", {.artifacts = {{"a", "b"}}}, "artifacts: expected a format with a config"},
      {"clip/hf", "nemo", {.key = "model", .use_ema = true}, "key: expected the EMA weights"},
      {"clip/hf", "nemo", {.tokenizer = dir / "text.txt"}, "expected a SentencePiece model, found another file"},
      {"clip/hf", "hf", {.preset = "ViT-B-32"}, "preset: expected a source without a config, found config.json"},
      {"clip/mcore.nemo", "hf", {.vocab_size = 50}, "vocab_size: expected a model whose vocabulary may hold padding"},
      {"gpt/A.nemo", "torch_dist", {.split_rank = 1}, "split_rank: expected a format with files of ranks"},
      {"gpt/A.nemo", "nemo", {.pp = 2, .split_rank = 1}, "split_rank: expected an encoder-decoder, found a GPT"},
      // In NeMo 1's words, which the format's config has others for.
      {"gpt/A.nemo",
       "nemo2",
       {.set = {{"foo.bar", "1"}}},
       "set: foo.bar: expected a value that the config of a NeMo 2"},
      {"gpt/A.nemo", "megatron", {.unset = {"precision"}}, "unset: precision: expected a value that the config"},
  };
  for (auto [source, to, options, words] : cases) {
    options.to = to;
    const auto refused = PlanConversion(Golden(source), dir / "out", options);
    ASSERT_FALSE(refused.ok()) << words;
    EXPECT_THAT(refused.status().message(), ::testing::HasSubstr(words));
  }
  EXPECT_THAT(PlanConversion(Golden("gpt/A.nemo"), dir / "out", {.to = "nemo2", .set = {{"hidden_dropout", "0.25"}}}),
              IsOk());
}

}  // namespace
}  // namespace anemone
