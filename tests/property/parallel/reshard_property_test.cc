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
  const NameMatcher matcher(dialect);
  for (size_t r = 0; r < dialect.rows.size(); ++r) {
    const std::string name = dialect.prefixes.front() + dialect.rows[r].name;
    if (dialect.rows[r].transform == &kPadVocab && !matcher.pattern(r).has_layer() && tables.Find(name) == nullptr) {
      EXPECT_THAT(tables.Add(name, *Tensor::Fill(dtype, {kRows, 1}, 0)), IsOk());
    }
  }
  Checkpoint checkpoint = testing::WithWeights(tables, *config, "model.yaml");
  auto symbols = family.SymbolsOf(checkpoint, dialect, {});
  EXPECT_THAT(symbols, IsOk());
  symbols->Set("extra_state", 1);
  for (const char* tower : {"", "text.", "encoder.", "decoder."}) {
    if (!symbols->Declares(std::string(tower) + "vocab")) continue;
    symbols->Set(std::string(tower) + "vocab", kTokens);
    symbols->Set(std::string(tower) + "padded_vocab", kRows);
  }
  const StateDict canonical = testing::SyntheticCanonical(family, *symbols);
  StateDict typed;
  for (const auto& item : canonical.items()) {
    const auto* source = &item;
    for (const CanonicalRow& row : family.canonical) {
      if (row.name == item.name && !row.copy_of.empty() && *symbols->Holds(row.tied))
        source = canonical.Find(row.copy_of);
    }
    EXPECT_THAT(typed.Add(item.name, *source->tensor()->Cast(dtype)), IsOk());
  }
  auto weights = FromCanonical(typed, dialect, family.canonical, *symbols, true, nullptr);
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
  const ModelIdentity identity{&model.family(), model.family().FindDialect(model.dialect)};
  const auto resolved = ResolveModel(checkpoint, {.family = identity.family, .dialect = identity.dialect});
  EXPECT_THAT(resolved, IsOk());
  return *RulesOf(*resolved);
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

constexpr const char* kMixture =
    "num_moe_experts: 4\nactivation: swiglu\nbias: false\nshare_embeddings_and_output_weights: false\n";

const std::vector<NamedModel>& Models() {
  static const std::vector<NamedModel> models = {
      {"clip_mcore", ClipFamily, "mcore", kClip},
      {"clip_legacy", ClipFamily, "legacy", kClip},
      {"siglip", SiglipFamily, "mcore", kClip},
      {"gpt_mcore", GptFamily, "mcore", Gpt("position_embedding_type: rope\n")},
      {"gpt_mcore_gqa_swiglu", GptFamily, "mcore",
       Gpt("num_query_groups: 24\nactivation: swiglu\nbias: false\nshare_embeddings_and_output_weights: false\n")},
      {"gpt_experts", GptFamily, "mcore", Gpt(kMixture)},
      {"gpt_experts_with_biases", GptFamily, "mcore", Gpt("num_moe_experts: 2\n")},
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

// Every model in every layout that there is: chunks need stages, and a family that has them.
std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (int index = 0; index < static_cast<int>(Models().size()); ++index) {
    const bool has_chunks = Models()[static_cast<size_t>(index)].family().has_virtual_stages;
    for (const int tp : {1, 2, 3, 4, 8}) {
      for (const int pp : {1, 2, 3, 4}) {
        cases.emplace_back(index, tp, pp, 1);
        if (has_chunks && pp > 1) cases.emplace_back(index, tp, pp, 2);
      }
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Grid, ReshardPropertyTest, ::testing::ValuesIn(Cases()), NameOf);

// ---- experts ----

// The three forms in which Megatron-core keeps a layer's experts.
enum class Form : uint8_t { kEach, kTransformerEngine, kSideBySide };

Checkpoint Mixture(Form form, int layers, std::string_view more = "") {
  std::string yaml = fmt::format(fmt::runtime(Gpt(kMixture)), layers) + std::string(more);
  if (form == Form::kTransformerEngine) yaml += "moe_grouped_gemm: true\n";
  Checkpoint whole = Whole(GptFamily(), "mcore", yaml, DType::kBF16);
  if (form != Form::kSideBySide) return whole;
  // The same experts, each transposed, one after the other.
  StateDict weights;
  for (const auto& item : whole.weights().items()) {
    const size_t at = item.name.find("local_experts.0.linear_fc");
    if (item.name.find(".local_experts.") == std::string::npos) {
      EXPECT_THAT(weights.Add(item.name, item.entry), IsOk());
    }
    if (at == std::string::npos || item.tensor() == nullptr) continue;
    const bool up = item.name[at + 25] == '1';
    std::vector<Tensor> experts;
    for (const char e : {'0', '1', '2', '3'}) {
      std::string name = item.name;
      name[at + 14] = e;
      experts.push_back(*(*whole.weights().Find(name)->tensor()->Permute({1, 0}))
                             .Reshape({whole.weights().Find(name)->tensor()->num_elements()}));
    }
    const Shape shape = up ? Shape{48, 4 * 96} : Shape{4 * 48, 48};
    EXPECT_THAT(weights.Add(item.name.substr(0, at) + (up ? "weight1" : "weight2"),
                            *(*Tensor::Concat(experts, 0)).Reshape(shape)),
                IsOk());
  }
  whole.weights() = weights;
  return whole;
}

using ExpertCase = std::tuple<Form, int, int, int>;  // form, ep, tp, pp
class ExpertPropertyTest : public ::testing::TestWithParam<ExpertCase> {};

TEST_P(ExpertPropertyTest, MergingUndoesSplitting) {
  const auto& [form, ep, tp, pp] = GetParam();
  for (const int vp : {1, 2}) {
    if (vp > 1 && pp == 1) continue;
    const Checkpoint whole = Mixture(form, pp * vp);
    ANEMONE_ASSERT_ASSIGN(const Checkpoint ranks, SplitShards(whole, {.tp = tp, .pp = pp, .vp = vp, .ep = ep}));
    ASSERT_EQ(ranks.shards.size(), static_cast<size_t>(tp * pp * ep));
    ANEMONE_ASSERT_ASSIGN(const Checkpoint merged, MergeShards(ranks));
    EXPECT_EQ(Names(merged.weights()), Names(whole.weights()));
    ExpectSameTensors(merged.weights(), whole.weights());
  }
}

INSTANTIATE_TEST_SUITE_P(Grid, ExpertPropertyTest,
                         ::testing::Combine(::testing::Values(Form::kEach, Form::kTransformerEngine, Form::kSideBySide),
                                            ::testing::Values(1, 2, 4), ::testing::Values(1, 2, 4),
                                            ::testing::Values(1, 2)));

// Each form's rank holds the same experts' same slices [experts.py: each expert's fc1 divided by gate and up, its fc2
// by columns].
TEST(ExpertTest, RanksHoldTheirExpertsSlices) {
  const Checkpoint whole = Mixture(Form::kEach, 1);
  const Tensor& up =
      *whole.weights().Find("model.decoder.layers.0.mlp.experts.local_experts.3.linear_fc1.weight")->tensor();
  const std::string expected = *up.Narrow(0, 24, 24)->Read() + *up.Narrow(0, 72, 24)->Read();
  const Tensor& down =
      *whole.weights().Find("model.decoder.layers.0.mlp.experts.local_experts.3.linear_fc2.weight")->tensor();
  const std::string expected_down = *down.Narrow(1, 24, 24)->Read();
  // Expert 3 is the second of expert rank 1; its shard is the last of four.
  const auto last = [](Form form) { return SplitShards(Mixture(form, 1), {.tp = 2, .ep = 2})->shards.back(); };
  const Shard each = last(Form::kEach), te = last(Form::kTransformerEngine), one = last(Form::kSideBySide);
  EXPECT_EQ(each.ep_rank, 1);
  EXPECT_EQ(each.tp_rank, 1);
  const std::string prefix = "model.decoder.layers.0.mlp.experts.";
  EXPECT_EQ(*each.weights.Find(prefix + "local_experts.1.linear_fc1.weight")->tensor()->Read(), expected);
  EXPECT_EQ(*each.weights.Find(prefix + "local_experts.1.linear_fc2.weight")->tensor()->Read(), expected_down);
  EXPECT_EQ(each.weights.Find(prefix + "local_experts.2.linear_fc1.weight"), nullptr);
  EXPECT_EQ(*te.weights.Find(prefix + "linear_fc1.weight1")->tensor()->Read(), expected);
  const Tensor& weight1 = *one.weights.Find(prefix + "weight1")->tensor();
  ASSERT_EQ(weight1.shape(), (Shape{48, 2 * 48}));
  const Tensor second = *(*weight1.Reshape({2, 48, 48})).Narrow(0, 1, 1);
  EXPECT_EQ(*(*second.Permute({0, 2, 1})).Read(), expected);
  const Tensor& weight2 = *one.weights.Find(prefix + "weight2")->tensor();
  ASSERT_EQ(weight2.shape(), (Shape{2 * 24, 48}));
  EXPECT_EQ(*(*(*weight2.Narrow(0, 24, 24)).Permute({1, 0})).Read(), expected_down);
}

TEST(ExpertTest, WhatDoesNotDivideIsRefused) {
  const Checkpoint mixture = Mixture(Form::kEach, 1);
  EXPECT_THAT(SplitShards(mixture, {.ep = 3}), StatusIs(ErrorKind::kInvalidArgument, "expert parallel 3 divides"));
  Checkpoint dense = Whole(GptFamily(), "mcore", fmt::format(fmt::runtime(Gpt("")), 1), DType::kBF16);
  EXPECT_THAT(SplitShards(dense, {.ep = 2}), StatusIs(ErrorKind::kInvalidArgument, "expected a mixture of experts"));
  Checkpoint trained = mixture;
  ASSERT_NO_FATAL_FAILURE(TrainOnce(&trained, ParameterRules{.is_mcore = true, .second_names = {}, .old_names = {}}));
  EXPECT_THAT(SplitShards(trained, {.ep = 2}),
              StatusIs(ErrorKind::kUnsupported, "one expert rank for a training state"));
  for (const char* more : {"moe_extended_tp: true\n", "expert_tensor_parallel_size: 2\n"}) {
    Checkpoint other = mixture;
    other.config = *Config::ParseYaml(fmt::format(fmt::runtime(Gpt(kMixture)), 1) + more, "model.yaml");
    EXPECT_THAT(SplitShards(other, {.tp = 2}),
                StatusIs(ErrorKind::kUnsupported, more[0] == 'm' ? "moe_ext" : "expert_t"));
  }
}

TEST(ExpertTest, CopiesThatDifferBetweenExpertRanksAreNamed) {
  ANEMONE_ASSERT_ASSIGN(Checkpoint ranks, SplitShards(Mixture(Form::kEach, 1), {.ep = 2}));
  StateDict changed;
  for (const auto& item : ranks.shards[1].weights.items()) {
    const bool router = item.name.ends_with("router.weight");
    ASSERT_THAT(changed.Add(item.name, router ? Entry(*Tensor::Fill(DType::kBF16, {4, 48}, 7)) : item.entry), IsOk());
  }
  ranks.shards[1].weights = changed;
  EXPECT_THAT(MergeShards(ranks),
              StatusIs(ErrorKind::kCorrupt, "router.weight: expected the same copy on every expert rank"));
}

// ---- NeVA ----

// A language model, and the same with an image tower and a projector below its embedding.
struct Pair {
  Checkpoint language, seeing;
};
Pair Neva(const std::string& dialect, const Family& tower, int layers) {
  Pair pair;
  const std::string yaml = Gpt("activation: fast-swiglu\nshare_embeddings_and_output_weights: false\n");
  pair.language = pair.seeing = Whole(GptFamily(), dialect, fmt::format(fmt::runtime(yaml), layers), DType::kBF16);
  const std::string at =
      dialect == "mcore" ? "model.embedding.word_embeddings." : "model.language_model.embedding.word_embeddings.";
  const Checkpoint hf = Whole(tower, "hf", fmt::format(kClip, 2, ""), DType::kBF16);
  StateDict weights;
  float next = 1;
  for (const auto& item : pair.language.weights().items()) {
    EXPECT_THAT(weights.Add(item.name, item.entry), IsOk());
    if (item.name != at + "weight") continue;
    for (const auto& sight : hf.weights().items()) {
      if (sight.name.starts_with("vision_model.")) {
        EXPECT_THAT(weights.Add(at + "vision_encoder." + sight.name, sight.entry), IsOk());
      }
    }
    for (const auto& [name, shape] : {std::pair<const char*, Shape>{"0.weight", {48, 24}},
                                      {"0.bias", {48}},
                                      {"2.weight", {48, 48}},
                                      {"2.bias", {48}}}) {
      EXPECT_THAT(weights.Add(at + "adapter_layer.mm_projector_adapter.mm_projector." + name,
                              *testing::Counting(shape, &next).Cast(DType::kBF16)),
                  IsOk());
    }
  }
  pair.seeing.weights() = weights;
  return pair;
}

bool Sees(const std::string& name) {
  return name.find(".vision_encoder.") != std::string::npos || name.find(".mm_projector.") != std::string::npos;
}

using NevaCase = std::tuple<std::string, int, std::pair<int, int>>;  // dialect, tp, (pp, vp)
class NevaPropertyTest : public ::testing::TestWithParam<NevaCase> {};

// The language model is split as without sight; what sees lies whole on every tensor rank of the first stage.
TEST_P(NevaPropertyTest, IsALanguageModelThatSeesOnItsFirstStage) {
  const auto& [dialect, tp, stages] = GetParam();
  const auto& [pp, vp] = stages;
  const Layout layout{.tp = tp, .pp = pp, .vp = vp};
  for (const Family* tower : {&ClipFamily(), &SiglipFamily()}) {
    SCOPED_TRACE(tower->name);
    const Pair pair = Neva(dialect, *tower, pp * vp);
    ANEMONE_ASSERT_ASSIGN(const ModelIdentity model, IdentifyModel(pair.seeing));
    EXPECT_EQ(model.family->name, "neva");
    ANEMONE_ASSERT_ASSIGN(const Checkpoint language, SplitShards(pair.language, layout));
    ANEMONE_ASSERT_ASSIGN(const Checkpoint seeing, SplitShards(pair.seeing, layout));
    const size_t all = pair.seeing.weights().size() - pair.language.weights().size();
    for (size_t i = 0; i < seeing.shards.size(); ++i) {
      StateDict rest;
      size_t sights = 0;
      for (size_t chunk = 0; chunk < static_cast<size_t>(vp); ++chunk) {
        const StateDict& dict = vp > 1 ? seeing.shards[i].chunks[chunk] : seeing.shards[i].weights;
        for (const auto& item : dict.items()) {
          if (!Sees(item.name)) {
            if (chunk == 0) {
              ASSERT_THAT(rest.Add(item.name, item.entry), IsOk());
            }
            continue;
          }
          ++sights;
          const auto* whole = pair.seeing.weights().Find((vp > 1 ? "model." : "") + item.name);
          ASSERT_NE(whole, nullptr) << item.name;
          EXPECT_TRUE(*item.tensor()->Read() == *whole->tensor()->Read()) << item.name;
        }
      }
      EXPECT_EQ(sights, seeing.shards[i].pp_rank == 0 ? all : 0);
      ExpectSameTensors(rest, vp > 1 ? language.shards[i].chunks[0] : language.shards[i].weights);
    }
    ANEMONE_ASSERT_ASSIGN(const Checkpoint merged, MergeShards(seeing));
    EXPECT_EQ(Names(merged.weights()), Names(pair.seeing.weights()));
    ExpectSameTensors(merged.weights(), pair.seeing.weights());
  }
}

// Adam's moments lie where their parameters do, those of the tower and the projector on every rank of the first stage.
TEST_P(NevaPropertyTest, TheOptimizerFollows) {
  const auto& [dialect, tp, stages] = GetParam();
  const auto& [pp, vp] = stages;
  Checkpoint whole = Neva(dialect, ClipFamily(), pp * vp).seeing;
  const ParameterRules rules = Rules({"neva", NevaFamily, dialect, ""}, whole);
  ASSERT_NO_FATAL_FAILURE(TrainOnce(&whole, rules));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ranks, SplitShards(whole, {.tp = tp, .pp = pp, .vp = vp}));
  for (const Shard& shard : ranks.shards) ExpectMomentsFollow(shard, rules);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint merged, MergeShards(ranks));
  ExpectSameTensors(merged.weights(), whole.weights());
  ExpectMomentsFollow(merged.shards.front(), rules);
}

INSTANTIATE_TEST_SUITE_P(Grid, NevaPropertyTest,
                         ::testing::Combine(::testing::Values("mcore", "legacy"), ::testing::Values(1, 2, 4),
                                            ::testing::Values(std::pair(1, 1), std::pair(2, 1), std::pair(4, 1),
                                                              std::pair(2, 2), std::pair(4, 2))));

TEST(NevaTest, GoesBetweenItsDialects) {
  const Pair pair = Neva("mcore", ClipFamily(), 2);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint legacy, Translate(pair.seeing, "legacy"));
  EXPECT_NE(legacy.weights().Find("model.language_model.embedding.word_embeddings.vision_encoder.vision_model."
                                  "post_layernorm.weight"),
            nullptr);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(legacy, "mcore"));
  ExpectSameTensors(back.weights(), pair.seeing.weights());
}

TEST(NevaTest, WhatIsFrozenNeedNotBeThere) {
  Checkpoint projector = Neva("mcore", ClipFamily(), 2).seeing;
  StateDict weights;
  for (const auto& item : projector.weights().items()) {
    if (item.name.find(".mm_projector.") != std::string::npos) {
      ASSERT_THAT(weights.Add(item.name, item.entry), IsOk());
    }
  }
  projector.weights() = weights;
  ANEMONE_ASSERT_ASSIGN(const Checkpoint ranks, SplitShards(projector, {.tp = 2, .pp = 2}));
  EXPECT_EQ(ranks.shards[1].weights.size(), 4u);
  EXPECT_EQ(ranks.shards[2].weights.size(), 0u);
}

// Which of its rows are a head's only the CLIP's config says (llava_test).
TEST(NevaTest, ATowerOfNemosOwnIsDividedByItsConfig) {
  Checkpoint neva = Neva("mcore", ClipFamily(), 2).seeing;
  const std::string name = "model.embedding.word_embeddings.vision_encoder.backbone.cls_token";
  ASSERT_THAT(neva.weights().Add(name, *Tensor::Fill(DType::kBF16, {1, 1, 24}, 0)), IsOk());
  EXPECT_THAT(SplitShards(neva, {.tp = 2}),
              StatusIs(ErrorKind::kNotFound, "mm_cfg.vision_encoder.from_pretrained: expected the CLIP's .nemo"));
}

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

// A config may say any number of rows: they are not numbered one by one.
TEST(SliceLawTest, HoldsForAnySize) {
  SliceLaw law;
  EXPECT_THAT(law.Check(uint64_t{1} << 40, 2, 8), IsOk());
  EXPECT_THAT(law.Check((uint64_t{1} << 40) + 1, 1, 2),
              StatusIs(ErrorKind::kInvalidArgument, "to divide into 2 pieces"));
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
