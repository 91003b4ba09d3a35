#include "parallel/reshard.h"

#include <fmt/format.h>

#include "family/clip/clip_config.h"
#include "family/families.h"
#include "family/user_table.h"
#include "parallel/vocabulary.h"
#include "synthetic.h"

namespace anemone {
namespace {

using ::testing::Contains;
using testing::ExpectSameTensors;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::Names;
using ::testing::Not;
using testing::StatusIs;

// Four layers in each tower, eight and four heads, 200 tokens padded to 256.
Checkpoint Clip(std::string_view dialect, bool siglip = false, bool stacked = true) {
  const std::string text = siglip ? R"({"model_type": "siglip",
      "text_config": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4,
                      "max_position_embeddings": 7, "vocab_size": 128},
      "vision_config": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 4, "num_attention_heads": 8,
                        "image_size": 6, "patch_size": 3}})"
                                  : R"({"model_type": "clip", "projection_dim": 6,
      "text_config": {"hidden_size": 12, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 4,
                      "max_position_embeddings": 7, "vocab_size": 200},
      "vision_config": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 4, "num_attention_heads": 8,
                        "image_size": 6, "patch_size": 3}})";
  const Family& family = siglip ? SiglipFamily() : ClipFamily();
  Config config = *Config::ParseJson(text, "config.json");
  const Dialect& hf = *family.FindDialect("hf");
  ModelSymbols symbols = *family.SymbolsOf(testing::WithWeights({}, config, "config.json"), hf, {});
  StateDict weights =
      *FromCanonical(testing::SyntheticCanonical(family, symbols), hf, family.canonical, symbols, true, nullptr);
  Checkpoint checkpoint = testing::WithWeights(std::move(weights), config, "config.json");
  TranslateOptions options;
  if (!stacked) {
    Config hparams = NemoConfigFromArchitecture(*ReadClipArchitecture(config), NemoClipKind::kLegacy);
    for (const char* tower : {"vision", "text"})
      EXPECT_THAT(hparams.Set(fmt::format("{}.megatron_legacy", tower), ConfigNode::Bool(false)), IsOk());
    options.hparams = hparams;
    options.hparams_name = "hparams.yaml";
  }
  auto result = Translate(checkpoint, dialect, options);
  EXPECT_THAT(result, IsOk());
  return *std::move(result);
}

struct Model {
  const char* name;
  const char* dialect;
  bool siglip, stacked;
};

class GridTest : public ::testing::TestWithParam<std::tuple<Model, int, int>> {};

// split ∘ merge = identity over the grid, and so is split for one layout, merge, split for another.
TEST_P(GridTest, MergingUndoesSplitting) {
  const auto& [model, tp, pp] = GetParam();
  const Checkpoint whole = Clip(model.dialect, model.siglip, model.stacked);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ranks, SplitShards(whole, {.tp = tp, .pp = pp}));
  EXPECT_THAT(CheckSplit(whole, {.tp = tp, .pp = pp}), IsOk());
  ASSERT_EQ(ranks.shards.size(), static_cast<size_t>(tp * pp));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint merged, MergeShards(ranks));
  ExpectSameTensors(merged.weights(), whole.weights());
  EXPECT_EQ(Names(merged.weights()), Names(whole.weights()));
  if (tp * pp > 1) {
    EXPECT_EQ(ranks.config->Find("tensor_model_parallel_size")->AsInt(), tp);
    EXPECT_EQ(ranks.config->Find("pipeline_model_parallel_size")->AsInt(), pp);
  }
  EXPECT_EQ(merged.config->Find("tensor_model_parallel_size")->AsInt(), 1);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(merged, "hf"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint hf, Translate(whole, "hf"));
  ExpectSameTensors(back.weights(), hf.weights());
}

INSTANTIATE_TEST_SUITE_P(All, GridTest,
                         ::testing::Combine(::testing::Values(Model{"mcore", "mcore", false, true},
                                                              Model{"legacy", "legacy", false, true},
                                                              Model{"legacy_interleaved", "legacy", false, false},
                                                              Model{"siglip", "mcore", true, true}),
                                            ::testing::Values(1, 2, 4), ::testing::Values(1, 2, 4)),
                         [](const auto& test) {
                           return fmt::format("{}_tp{}_pp{}", std::get<0>(test.param).name, std::get<1>(test.param),
                                              std::get<2>(test.param));
                         });

TEST(SplitTest, OwnershipOfStages) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint legacy, SplitShards(Clip("legacy"), {.pp = 2}));
  const auto first = Names(legacy.shards[0].weights), last = Names(legacy.shards[1].weights);
  EXPECT_THAT(first, Contains("model.vision_encoder.backbone.cls_token"));
  EXPECT_THAT(last, Not(Contains("model.vision_encoder.backbone.cls_token")));
  EXPECT_THAT(first, Not(Contains("model.text_encoder.word_embeddings.weight")));
  EXPECT_THAT(last, Contains("model.text_encoder.word_embeddings.weight"));
  EXPECT_THAT(last, Contains("model.text_encoder.head.weight"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint mcore, SplitShards(Clip("mcore"), {.pp = 2}));
  for (const Shard& shard : mcore.shards) {
    EXPECT_THAT(Names(shard.weights), Contains("model.vision_encoder.conv1.weight"));
    EXPECT_THAT(Names(shard.weights), Contains("model.text_encoder.head.weight"));
  }
  EXPECT_THAT(Names(mcore.shards[1].weights), Not(Contains("model.text_encoder.embedding.word_embeddings.weight")));
}

TEST(SplitTest, RefusesWhatDoesNotDivide) {
  const auto expect = [](const Checkpoint& whole, const Layout& layout, const char* what) {
    EXPECT_THAT(SplitShards(whole, layout), StatusIs(ErrorKind::kInvalidArgument, what));
    EXPECT_THAT(CheckSplit(whole, layout), StatusIs(ErrorKind::kInvalidArgument, what));
  };
  expect(Clip("mcore"), {.tp = 8}, "text tower, found 4");
  expect(Clip("mcore"), {.pp = 3}, "4 layers");
  expect(Clip("mcore"), {.pp = 2, .vp = 2}, "virtual");
  expect(*Translate(Clip("mcore"), "hf"), {.tp = 2}, "Hugging Face");
}

TEST(SplitTest, TheCheckLooksAtEveryTensor) {
  Checkpoint whole = Clip("mcore");
  ASSERT_THAT(whole.weights().Add("model.nobody", *Tensor::Fill(DType::kF32, {2}, 0)), IsOk());
  const Status split = SplitShards(whole, {.tp = 2}).status();
  EXPECT_THAT(split, StatusIs(ErrorKind::kCorrupt, "model.nobody"));
  EXPECT_EQ(CheckSplit(whole, {.tp = 2}).message(), split.message());
}

// Replaces one tensor of one shard.
void Replace(Checkpoint* checkpoint, size_t shard, const std::string& name, Tensor tensor) {
  StateDict changed;
  for (const auto& item : checkpoint->shards[shard].weights.items()) {
    EXPECT_THAT(changed.Add(item.name, item.name == name ? Entry(tensor) : item.entry), IsOk());
  }
  checkpoint->shards[shard].weights = std::move(changed);
}

TEST(MergeTest, CopiesThatDifferAreNamed) {
  ANEMONE_ASSERT_ASSIGN(Checkpoint ranks, SplitShards(Clip("mcore"), {.tp = 2}));
  const std::string name = "model.vision_encoder.ln_pre.bias";
  Replace(&ranks, 1, name, *Tensor::Fill(DType::kF32, {8}, 7));
  EXPECT_THAT(MergeShards(ranks),
              StatusIs(ErrorKind::kCorrupt,
                       name + ": expected the same copy on every rank, found tensor rank 0 and tensor rank 1"));
}

TEST(MergeTest, StagesThatDifferAreNamed) {
  ANEMONE_ASSERT_ASSIGN(Checkpoint ranks, SplitShards(Clip("mcore"), {.pp = 2}));
  const std::string name = "model.vision_encoder.head.weight";
  Replace(&ranks, 1, name, *Tensor::Fill(DType::kF32, {6, 8}, 7));
  EXPECT_THAT(MergeShards(ranks), StatusIs(ErrorKind::kCorrupt, name + ": expected stage 1 to hold the same copy"));
}

TEST(MergeTest, AcceptsZerosForTheTiedCopyAndNothingElse) {
  ANEMONE_ASSERT_ASSIGN(Checkpoint ranks, SplitShards(Clip("legacy"), {.pp = 2}));
  const std::string name = "model.text_encoder.word_embeddings.weight";
  Replace(&ranks, 1, name, *Tensor::Fill(DType::kF32, {256, 12}, 0));
  EXPECT_THAT(MergeShards(ranks), IsOk());
  Replace(&ranks, 1, name, *Tensor::Fill(DType::kF32, {256, 12}, 1));
  EXPECT_THAT(MergeShards(ranks), StatusIs(ErrorKind::kCorrupt, "copy of the embedding"));
}

TEST(MergeTest, AFileLeftUnsplitIsNamedForWhatItIs) {
  const Checkpoint whole = Clip("mcore");
  ANEMONE_ASSERT_ASSIGN(Checkpoint ranks, SplitShards(whole, {.tp = 2}));
  const std::string name = "model.vision_encoder.decoder.layers.0.mlp.linear_fc1.weight";
  for (const size_t rank : {0, 1}) Replace(&ranks, rank, name, *whole.weights().Find(name)->tensor());
  EXPECT_THAT(MergeShards(ranks), StatusIs(ErrorKind::kCorrupt, "left unsplit"));
  EXPECT_THAT(MergeShards(ranks), StatusIs(ErrorKind::kCorrupt, name));
}

TEST(MergeTest, ARankThatLacksATensorIsNamed) {
  ANEMONE_ASSERT_ASSIGN(Checkpoint ranks, SplitShards(Clip("mcore"), {.tp = 2}));
  StateDict fewer;
  for (const auto& item : ranks.shards[1].weights.items()) {
    if (item.name == "model.logit_scale") continue;
    ASSERT_THAT(fewer.Add(item.name, item.entry), IsOk());
  }
  ranks.shards[1].weights = fewer;
  EXPECT_THAT(
      MergeShards(ranks),
      StatusIs(ErrorKind::kCorrupt,
               "tensor rank 1: expected the names of tensor rank 0, found 1 missing tensor: model.logit_scale"));
  ranks.shards.pop_back();
  EXPECT_THAT(MergeShards(ranks), StatusIs(ErrorKind::kCorrupt, "expected 2 shards"));
}

TEST(MergeTest, StackedQkvIsSplitPartByPart) {
  // Rank 0 of two must hold the first halves of q, of k and of v.
  const Checkpoint whole = Clip("legacy");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ranks, SplitShards(whole, {.tp = 2}));
  const std::string name = "model.vision_encoder.backbone.transformer.layers.0.self_attention.query_key_value.bias";
  const Tensor& all = *whole.weights().Find(name)->tensor();
  std::string expected;
  for (const uint64_t start : {0, 8, 16}) expected += *all.Narrow(0, start, 4)->Read();
  EXPECT_EQ(*ranks.shards[0].weights.Find(name)->tensor()->Read(), expected);
}

TEST(UserTableTest, RefusesAVocabularyWithoutRows) {
  ANEMONE_ASSERT_ASSIGN(const Config table, Config::ParseYaml("rows:\n- {name: emb.weight, split: vocabulary}\n", "t"));
  ANEMONE_ASSERT_ASSIGN(const auto family, ParseUserTable(table));
  StateDict weights;
  float next = 1;
  ASSERT_THAT(weights.Add("emb.weight", testing::Counting({}, &next)), IsOk());
  EXPECT_THAT(
      SplitShards(testing::WithWeights(weights, std::nullopt, ""), {.tp = 2}, TranslateOptions{.family = family.get()}),
      StatusIs(ErrorKind::kCorrupt, "emb.weight: expected one row for each token of the vocabulary, found shape []"));
}

TEST(UserTableTest, CountsTokensByABiasWhereThereIsNoTable) {
  ANEMONE_ASSERT_ASSIGN(const Config table, Config::ParseYaml("rows:\n- {name: head.bias, split: vocabulary}\n", "t"));
  ANEMONE_ASSERT_ASSIGN(const auto family, ParseUserTable(table));
  const TranslateOptions options{.family = family.get()};
  StateDict weights;
  float next = 1;
  const Tensor bias = testing::Counting({12}, &next);
  ASSERT_THAT(weights.Add("head.bias", bias), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ranks,
                        SplitShards(testing::WithWeights(weights, std::nullopt, ""), {.tp = 3}, options));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint whole, MergeShards(ranks, options));
  const Tensor& merged = *whole.weights().Find("head.bias")->tensor();
  EXPECT_EQ(merged.shape(), Shape({128}));  // as Megatron pads for one rank
  EXPECT_EQ(*merged.Narrow(0, 0, 12)->Read(), *bias.Read());
}

TEST(UserTableTest, MergesAndSplitsAModelNobodyKnows) {
  ANEMONE_ASSERT_ASSIGN(const Config table, Config::ParseYaml(R"(
prefixes: ["model."]
rows:
- {name: emb.weight, split: vocabulary, stage: first}
- {name: "block.{i}.up.weight", split: gate and up}
- {name: "block.{i}.down.weight", split: rows}
- {name: "block.{i}.down.bias"}
- {name: norm.weight, stage: last}
)",
                                                              "table.yaml"));
  ANEMONE_ASSERT_ASSIGN(const auto family, ParseUserTable(table));
  const TranslateOptions options{.family = family.get()};
  StateDict weights;
  float next = 1;
  const auto add = [&](const std::string& name, const Shape& shape) {
    ASSERT_THAT(weights.Add("model." + name, testing::Counting(shape, &next)), IsOk());
  };
  add("emb.weight", {256, 4});
  for (const char* layer : {"0", "1"}) {
    add(fmt::format("block.{}.up.weight", layer), {8, 4});
    add(fmt::format("block.{}.down.weight", layer), {4, 4});
    add(fmt::format("block.{}.down.bias", layer), {4});
  }
  add("norm.weight", {4});
  const Checkpoint whole = testing::WithWeights(weights, std::nullopt, "");
  EXPECT_THAT(SplitShards(whole, {.tp = 2}), StatusIs(ErrorKind::kUnsupported, "model.emb.weight"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ranks, SplitShards(whole, {.tp = 2, .pp = 2}, options));
  const Tensor& up = *weights.Find("model.block.1.up.weight")->tensor();
  EXPECT_EQ(*ranks.shards[2].weights.Find("model.block.0.up.weight")->tensor()->Read(),
            *up.Narrow(0, 0, 2)->Read() + *up.Narrow(0, 4, 2)->Read());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint merged, MergeShards(ranks, options));
  ExpectSameTensors(merged.weights(), weights);
}

TEST(UserTableTest, NamesTheRowThatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"rows: []", "rows: expected a list"},
      {"rows: [{split: rows}]", "rows[0]: name"},
      {"rows: [{name: a, split: diagonal}]", "rows[0]: split: expected"},
      {"rows: [{name: a}, {name: a}]", "rows[1]: expected a name of its own"},
      {"rows: [{name: a, shape: b}]", "found 'shape'"}};
  for (const auto& [text, words] : cases) {
    ANEMONE_ASSERT_ASSIGN(const Config table, Config::ParseYaml(text, "table.yaml"));
    EXPECT_THAT(ParseUserTable(table), StatusIs(ErrorKind::kCorrupt, words));
  }
}

TEST(PaddedVocabTest, AsMegatronPads) {
  EXPECT_EQ(PaddedVocab(49408, 128, 1), 49408u);
  EXPECT_EQ(PaddedVocab(49408, 128, 2), 49408u);
  EXPECT_EQ(PaddedVocab(49408, 128, 4), 49664u);
  EXPECT_EQ(PaddedVocab(49408, 128, 8), 50176u);
  EXPECT_EQ(PaddedVocab(49408, 128, 16), 51200u);
  EXPECT_EQ(PaddedVocab(1001, 10, 2), 1020u);
}

}  // namespace
}  // namespace anemone
