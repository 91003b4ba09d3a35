// split ∘ merge = identity for every family over TP {1, 2, 3, 4, 8} × PP {1, 2, 3, 4} × VP {1, 2}, the optimizer with
// it; and the law that makes it so.
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "family/families.h"
#include "parallel/optimizer.h"
#include "parallel/reshard.h"
#include "parallel/slices.h"
#include "synthetic.h"

namespace anemone {
namespace {

using testing::ExpectSameTensors;
using testing::IsOk;
using testing::Names;
using testing::StatusIs;

constexpr uint64_t kTokens = 100, kRows = 104;  // padded to a multiple of 8

// 24 heads, so that every TP divides them.
constexpr const char* kClip = R"(
output_dim: 6
make_vocab_size_divisible_by: 8
vision: {{ precision: 32, img_h: 4, img_w: 4, patch_dim: 2, num_channels: 3, class_token_length: 1, num_layers: {0}, hidden_size: 24,
          ffn_hidden_size: 48, num_attention_heads: 24, position_embedding_type: learned_absolute, {1} activation: gelu, layernorm_epsilon: 1e-5}}
text: {{ precision: 32, num_layers: {0}, hidden_size: 48, ffn_hidden_size: 48, num_attention_heads: 24, max_position_embeddings: 5,
        vocab_size: 100, position_embedding_type: learned_absolute, {1} activation: gelu, layernorm_epsilon: 1e-5}}
)";

std::string Gpt(std::string_view more) {
  return std::string(
             "num_layers: {0}\nhidden_size: 48\nffn_hidden_size: 48\nnum_attention_heads: 48\nmax_position_embeddings: "
             "5\nmake_vocab_size_divisible_by: 8\n") +
         std::string(more);
}

// A whole model whose elements are all different, and its optimizer's state: each moment says what its parameter says.
Checkpoint Whole(const Family& family, const std::string& dialect_name, const std::string& yaml, DType dtype) {
  const Dialect& dialect = *family.FindDialect(dialect_name);
  auto config = Config::ParseYaml(yaml, "model.yaml");
  EXPECT_THAT(config, IsOk()) << yaml;
  StateDict tables;
  const Naming naming(dialect);
  for (size_t r = 0; r < dialect.rows.size(); ++r) {
    const std::string name = dialect.prefixes.front() + dialect.rows[r].name;
    if (dialect.rows[r].op == Op::kPadVocab && !naming.pattern(r).has_layer() && tables.Find(name) == nullptr) {
      EXPECT_THAT(tables.Add(name, *Tensor::Fill(dtype, {kRows, 1}, 0)), IsOk());
    }
  }
  Checkpoint checkpoint = testing::WithWeights(tables, *config, "model.yaml");
  auto dims = family.dims(checkpoint, dialect, {});
  EXPECT_THAT(dims, IsOk());
  dims->Set("extra_state", 1);
  for (const char* tower : {"", "text.", "encoder.", "decoder."}) {
    dims->Set(std::string(tower) + "vocab", kTokens);
    dims->Set(std::string(tower) + "padded_vocab", kRows);
  }
  const StateDict canonical = testing::SyntheticCanonical(family, *dims);
  StateDict typed;
  for (const auto& item : canonical.items()) {
    const auto* source = &item;
    for (const CanonicalRow& row : family.canonical) {
      if (row.name == item.name && !row.copy_of.empty() && dims->Holds(row.tied)) source = canonical.Find(row.copy_of);
    }
    EXPECT_THAT(typed.Add(item.name, *source->tensor()->Cast(dtype)), IsOk());
  }
  auto weights = Spell(typed, dialect, family.canonical, *dims, true, nullptr);
  EXPECT_THAT(weights, IsOk());
  checkpoint.weights() = *weights;
  return checkpoint;
}

StateDict AsMoments(const StateDict& weights) {
  StateDict moments;
  for (const auto& item : weights.items()) {
    if (item.tensor() == nullptr) continue;
    EXPECT_THAT(moments.Add(item.name, *item.tensor()->Cast(DType::kF32)), IsOk());
  }
  return moments;
}

struct NamedModel {
  std::string name;
  const Family& (*family)();
  std::string dialect;
  std::string yaml;
};

ParameterRules Rules(const NamedModel& model, const Checkpoint& checkpoint) {
  const Spelling spelling{&model.family(), model.family().FindDialect(model.dialect)};
  return RulesOf(spelling, *spelling.family->dims(checkpoint, *spelling.dialect, {}));
}

void TrainOnce(Checkpoint* checkpoint, const ParameterRules& rules) {
  Shard& shard = checkpoint->shards.front();
  auto fresh = NewAdam(shard, rules);
  ASSERT_THAT(fresh, IsOk());
  shard.training = *fresh;
  auto state = ReadOptimizer(shard, rules);
  ASSERT_THAT(state, IsOk());
  for (auto& [kind, moments] : state->moments) moments.dicts.front() = AsMoments(shard.weights);
  auto trained = WithOptimizer(*fresh, shard, &*state, state->moments);
  ASSERT_THAT(trained, IsOk());
  shard.training = *trained;
}

// Every moment of a rank says what its parameter there says.
void ExpectMomentsFollow(const Shard& shard, const ParameterRules& rules) {
  auto state = ReadOptimizer(shard, rules);
  ASSERT_THAT(state, IsOk());
  ASSERT_EQ(state->moments.size(), 3u);
  for (const auto& [kind, moments] : state->moments) {
    for (size_t d = 0; d < moments.dicts.size(); ++d) {
      const StateDict& weights = shard.chunks.empty() ? shard.weights : shard.chunks[d];
      for (const auto& item : moments.dicts[d].items()) {
        ASSERT_NE(weights.Find(item.name), nullptr) << item.name;
        EXPECT_TRUE(*item.tensor()->Read() == *weights.Find(item.name)->tensor()->Cast(DType::kF32)->Read())
            << kind << " " << item.name;
      }
    }
  }
}

using Case = std::tuple<int, int, int, int>;  // model, tp, pp, vp

const std::vector<NamedModel>& Models() {
  static const std::vector<NamedModel> models = {
      {"clip_mcore", ClipFamily, "mcore", kClip},
      {"clip_legacy", ClipFamily, "legacy", kClip},
      {"siglip", SiglipFamily, "mcore", kClip},
      {"gpt_mcore", GptFamily, "mcore", Gpt("position_embedding_type: rope\n")},
      {"gpt_mcore_gqa_swiglu", GptFamily, "mcore",
       Gpt("num_query_groups: 24\nactivation: swiglu\nbias: false\nshare_embeddings_and_output_weights: false\n")},
      {"gpt_legacy", GptFamily, "legacy", Gpt("")},
      {"gpt_legacy_stacked_fast_swiglu", GptFamily, "legacy", Gpt("megatron_legacy: true\nactivation: fast-swiglu\n")},
      {"gpt_legacy_swiglu_untied", GptFamily, "legacy",
       Gpt("activation: swiglu\nshare_embeddings_and_output_weights: false\n")},
      {"t5", T5Family, "legacy", Gpt("")},
      {"t5_swiglu", T5Family, "legacy", Gpt("activation: swiglu\nbias: false\n")},
      {"t5_untied", T5Family, "legacy",
       Gpt("share_token_embeddings: false\nshare_decoder_tokens_head_embeddings: false\n")},
      {"t5_fast_swiglu_stacked", T5Family, "legacy", Gpt("megatron_legacy: true\nactivation: fast-swiglu\n")},
  };
  return models;
}

class ReshardPropertyTest : public ::testing::TestWithParam<Case> {};

TEST_P(ReshardPropertyTest, MergingUndoesSplittingWithTheOptimizer) {
  const auto& [index, tp, pp, vp] = GetParam();
  const NamedModel& model = Models()[static_cast<size_t>(index)];
  const bool is_mcore = model.dialect == "mcore";
  if (vp > 1 && (pp == 1 || !model.family().has_virtual_stages)) GTEST_SKIP();
  const std::string yaml = model.yaml == kClip ? fmt::format(kClip, pp, is_mcore ? "" : "megatron_legacy: true,")
                                               : fmt::format(fmt::runtime(model.yaml), pp == 3 ? 6 : pp * vp);
  Checkpoint whole = Whole(model.family(), model.dialect, yaml, DType::kBF16);
  const ParameterRules rules = Rules(model, whole);
  if (pp > 1 && model.name == "t5_untied") {
    EXPECT_THAT(SplitShards(whole, {.tp = tp, .pp = pp}),
                StatusIs(ErrorKind::kInvalidArgument, "expected one pipeline stage for a T5"));
    return;
  }
  ASSERT_NO_FATAL_FAILURE(TrainOnce(&whole, rules));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ranks, SplitShards(whole, {.tp = tp, .pp = pp, .vp = vp}));
  ASSERT_EQ(ranks.shards.size(), static_cast<size_t>(tp * pp));
  for (const Shard& shard : ranks.shards) ExpectMomentsFollow(shard, rules);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint merged, MergeShards(ranks));
  EXPECT_EQ(Names(merged.weights()), Names(whole.weights()));
  ExpectSameTensors(merged.weights(), whole.weights());
  ExpectMomentsFollow(merged.shards.front(), rules);
}

TEST(CopyTest, TheTwoNamesOfAnEmbeddingAgree) {
  const std::string yaml = fmt::format(fmt::runtime(Gpt("")), 1);
  ANEMONE_ASSERT_ASSIGN(Checkpoint ranks, SplitShards(Whole(T5Family(), "legacy", yaml, DType::kBF16), {.tp = 2}));
  for (Shard& shard : ranks.shards) {
    StateDict changed;
    for (const auto& item : shard.weights.items()) {
      const bool copy = item.name.ends_with("decoder_embedding.position_embeddings.weight");
      const Entry entry = copy ? Entry(*Tensor::Fill(DType::kBF16, item.tensor()->shape(), 7)) : item.entry;
      ASSERT_THAT(changed.Add(item.name, entry), IsOk());
    }
    shard.weights = changed;
  }
  EXPECT_THAT(MergeShards(ranks), StatusIs(ErrorKind::kCorrupt,
                                           "decoder_embedding.position_embeddings.weight: expected "
                                           "a copy of the embedding"));
}

std::string NameOf(const ::testing::TestParamInfo<Case>& test) {
  const auto& [index, tp, pp, vp] = test.param;
  return fmt::format("{}_tp{}_pp{}_vp{}", Models()[static_cast<size_t>(index)].name, tp, pp, vp);
}

INSTANTIATE_TEST_SUITE_P(Grid, ReshardPropertyTest,
                         ::testing::Combine(::testing::Range(0, static_cast<int>(Models().size())),
                                            ::testing::Values(1, 2, 3, 4, 8), ::testing::Values(1, 2, 3, 4),
                                            ::testing::Values(1, 2)),
                         NameOf);

// ---- the law ----

TEST(SliceLawTest, HoldsForEverySplit) {
  SliceLaw law;
  for (const int tp : {1, 2, 3, 4, 8}) {
    for (const size_t sections : {1, 2, 3}) {
      for (const uint64_t rows : {1, 5, 7}) {
        EXPECT_THAT(law.Check(rows * sections * static_cast<uint64_t>(tp), sections, tp), IsOk());
      }
    }
  }
  EXPECT_THAT(law.Check(7, 1, 2), StatusIs(ErrorKind::kInvalidArgument, "divide into 2"));
}

TEST(SliceLawTest, NamesTheElementThatBreaksIt) {
  EXPECT_THAT(CheckCover(4, {{0, 1}, {2, 3}}), IsOk());
  EXPECT_THAT(CheckCover(4, {{0, 3}, {1, 2}}), IsOk());
  EXPECT_THAT(CheckCover(4, {{0, 1}, {1, 3}}), StatusIs(ErrorKind::kInternal, "element 1 once, found it twice"));
  EXPECT_THAT(CheckCover(4, {{0, 1}, {3}}), StatusIs(ErrorKind::kInternal, "element 2 once, found it nowhere"));
  EXPECT_THAT(CheckCover(4, {{0, 1, 2}, {3, 4}}), StatusIs(ErrorKind::kInternal, "below 4, found 4"));
}

// A table with two owners for one tensor, or none.
TEST(SliceLawTest, ABrokenTableIsRefused) {
  const std::string yaml = fmt::format(fmt::runtime(Gpt("")), 2);
  const Checkpoint whole = Whole(GptFamily(), "mcore", yaml, DType::kF32);
  const auto split = [&](const std::function<void(std::vector<StoredRow>&)>& breaking) {
    Family broken = GptFamily();
    breaking(broken.dialects[0].rows);
    return SplitShards(whole, {.tp = 2, .pp = 2}, {.family = &broken}).status();
  };
  EXPECT_THAT(split([](auto&) {}), IsOk());
  constexpr std::string_view kNorm = "decoder.final_layernorm.weight";
  const auto norm = [&](std::vector<StoredRow>& rows) {
    return std::find_if(rows.begin(), rows.end(), [&](const StoredRow& row) { return row.name == kNorm; });
  };
  EXPECT_THAT(split([&](auto& rows) {
                StoredRow twice = *norm(rows);
                twice.stage = Stage::kFirst;
                rows.push_back(twice);
              }),
              StatusIs(ErrorKind::kCorrupt, "final_layernorm.weight: expected a table that puts it on one stage"));
  EXPECT_THAT(split([&](auto& rows) { rows.erase(norm(rows)); }),
              StatusIs(ErrorKind::kCorrupt, "model.decoder.final_layernorm.weight"));
  EXPECT_THAT(split([&](auto& rows) { norm(rows)->split = Split::kRows; }),
              StatusIs(ErrorKind::kInvalidArgument, "final_layernorm.weight: expected axis 1"));
}

}  // namespace
}  // namespace anemone
