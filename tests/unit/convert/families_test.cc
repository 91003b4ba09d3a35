// What NeMo v2.0.0 demands of each architecture in each layout: the names on every stage, the rows of its tables, the
// values of its config. Sources: what NeMo's converters wrote (tests/golden, families/).
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "anemone/convert.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "format/format.h"
#include "format/torch/omegaconf.h"
#include "format/torch/torch_file.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;
using Kind = ValueNode::Kind;

struct Architecture {
  const char* name;
  const char* nemo2_class;    // below nemo.collections.; "": NeMo 2 has none
  const char* nemo2_version;  // the first with it
  uint64_t rows_at_2;         // of the embedding on two tensor ranks together; 384 or 448 on one
  bool tied = false;
  bool one_group = false;  // of keys and values, which no two ranks can share
};
constexpr Architecture kArchitectures[] = {
    {"llama", "llm.gpt.model.llama.LlamaConfig", "2.0.0", 512},
    {"llama31", "llm.gpt.model.llama.Llama31Config", "2.0.0", 512},
    {"mistral", "llm.gpt.model.mistral.MistralConfig7B", "2.0.0", 512},
    {"mixtral", "llm.gpt.model.mixtral.MixtralConfig", "2.0.0", 512},
    {"qwen2", "llm.gpt.model.qwen2.Qwen2Config", "2.0.0", 384},
    {"gemma", "llm.gpt.model.gemma.GemmaConfig", "2.0.0", 512, true},
    {"gemma2", "llm.gpt.model.gemma2.Gemma2Config", "2.1.0", 512, true},
    {"nemotron", "llm.gpt.model.nemotron.NemotronConfig", "2.0.0", 512},
    {"falcon", "", "", 512},
    {"starcoder", "llm.gpt.model.starcoder.StarcoderConfig", "2.0.0", 0, false, true},
    {"starcoder2", "llm.gpt.model.starcoder2.Starcoder2Config", "2.0.0", 512},
    {"baichuan2", "llm.gpt.model.llama.LlamaConfig", "2.0.0", 512},  // a Llama in all that NeMo computes
    {"chatglm", "llm.gpt.model.chatglm.ChatGLMConfig", "2.0.0", 448},
    {"llava", "vlm.neva.model.llava.LlavaConfig", "2.0.0", 512},
};

std::string Source(const Architecture& architecture) {
  return Golden(fmt::format("families/{}.nemo", architecture.name));
}

Conversion PlanOf(const std::string& source, const std::string& destination, const ConvertOptions& options) {
  auto conversion = PlanConversion(source, destination, options);
  EXPECT_THAT(conversion, IsOk()) << source;
  return conversion.ok() ? *std::move(conversion) : Conversion();
}

Conversion Convert(const std::string& source, const std::string& destination, const ConvertOptions& options) {
  Conversion conversion = PlanOf(source, destination, options);
  if (conversion.plan != nullptr) {
    EXPECT_THAT(RunConversion(conversion, {}), IsOk());
  }
  return conversion;
}

std::set<std::string> NamesOf(const StateDict& state) {
  std::set<std::string> names;
  for (const StateDict::Item& item : state.items()) names.insert(item.name);
  return names;
}

constexpr std::string_view kLayers = "model.decoder.layers.";

uint64_t LayersOf(const StateDict& whole) {
  uint64_t layers = 0;
  for (const StateDict::Item& item : whole.items()) {
    if (item.name.starts_with(kLayers))
      layers = std::max<uint64_t>(layers, std::stoull(item.name.substr(kLayers.size())) + 1);
  }
  return layers;
}

// The names that a stage of a model built by NeMo has: embeddings (and below them what sees) on the first, norm and
// output layer on the last, with a copy of a tied embedding; layers counted from 0; states of the linear layers.
std::set<std::string> NamesOnStage(const StateDict& whole, bool tied, uint64_t stage, uint64_t stages) {
  const uint64_t each = LayersOf(whole) / stages;
  std::set<std::string> names;
  for (const StateDict::Item& item : whole.items()) {
    if (item.name.starts_with("model.embedding.")) {
      if (stage == 0) names.insert(item.name);
    } else if (!item.name.starts_with(kLayers)) {
      if (stage + 1 == stages) names.insert(item.name);
    } else {
      const std::string rest = item.name.substr(kLayers.size());
      const uint64_t layer = std::stoull(rest);
      if (layer / each != stage) continue;
      const std::string local = fmt::format("{}{}{}", kLayers, layer % each, rest.substr(rest.find('.')));
      names.insert(local);
      for (const std::string_view linear :
           {"linear_qkv.weight", "linear_proj.weight", "linear_fc1.weight", "linear_fc2.weight"}) {
        if (local.ends_with(linear)) names.insert(local.substr(0, local.size() - 6) + "_extra_state");
      }
    }
  }
  if (tied && stages > 1 && stage + 1 == stages) names.insert("model.output_layer.weight");
  return names;
}

class FamiliesTest : public ::testing::TestWithParam<Architecture> {};

TEST_P(FamiliesTest, EveryLayoutHoldsWhatNemoAsksFor) {
  const Architecture& architecture = GetParam();
  ANEMONE_ASSERT_ASSIGN(const Checkpoint whole, OpenCheckpoint(Source(architecture)));
  EXPECT_EQ(whole.notes, std::vector<std::string>());
  const std::string table = "model.embedding.word_embeddings.weight";
  const uint64_t rows_at_1 = whole.weights().Find(table)->tensor()->shape()[0];
  TempDir dir;
  // From a distributed checkpoint, and from files of ranks.
  const int most = architecture.one_group ? 1 : 2;
  if (architecture.one_group) {
    EXPECT_THAT(PlanConversion(Source(architecture), dir / "x.nemo", {.tp = 2}),
                StatusIs(ErrorKind::kInvalidArgument, "query groups"));
    EXPECT_THAT(PlanConversion(Source(architecture), dir / "x", {.to = "torch_dist", .tp = 2}),
                StatusIs(ErrorKind::kInvalidArgument, "query groups"));
  }
  const Conversion ranks = Convert(Source(architecture), dir / "tp2pp2.nemo", {.tp = most, .pp = 2});
  for (const std::string& source : {Source(architecture), dir / "tp2pp2.nemo"}) {
    for (const auto& [tp, pp] : {std::pair(1, 1), {2, 1}, {1, 2}, {2, 2}}) {
      if (tp > most) continue;
      SCOPED_TRACE(fmt::format("{} → TP {} PP {}", source, tp, pp));
      const Conversion conversion = PlanOf(source, dir / "out.ckpt", {.tp = tp, .pp = pp});
      const Checkpoint& result = conversion.result;
      ASSERT_EQ(result.shards.size(), static_cast<size_t>(tp * pp));
      EXPECT_EQ(result.config->Find("tensor_model_parallel_size")->AsInt(), tp);
      EXPECT_EQ(result.config->Find("pipeline_model_parallel_size")->AsInt(), pp);
      for (const Shard& shard : result.shards) {
        EXPECT_EQ(NamesOf(shard.weights),
                  NamesOnStage(whole.weights(), architecture.tied, static_cast<uint64_t>(shard.pp_rank),
                               static_cast<uint64_t>(pp)));
        const StateDict::Item* item = shard.weights.Find(shard.pp_rank == 0 ? table : "model.output_layer.weight");
        ASSERT_NE(item, nullptr);
        const uint64_t rows = tp == 1 ? rows_at_1 : architecture.rows_at_2;
        EXPECT_EQ(item->tensor()->shape()[0] * static_cast<uint64_t>(tp), rows);
      }
    }
  }
}

TEST_P(FamiliesTest, ADistributedResultIsForTheRanksAskedFor) {
  const Architecture& architecture = GetParam();
  if (architecture.one_group) return;
  TempDir dir;
  const auto rows = [](const Checkpoint& checkpoint) {
    return checkpoint.weights().Find("model.embedding.word_embeddings.weight")->tensor()->shape()[0];
  };
  const Conversion two = Convert(Source(architecture), dir / "two", {.to = "torch_dist", .tp = 2});
  EXPECT_EQ(rows(two.result), architecture.rows_at_2);
  EXPECT_EQ(two.result.config->Find("tensor_model_parallel_size")->AsInt(), 2);
  const Conversion one = PlanOf(dir / "two", dir / "one", {.to = "torch_dist", .tp = 1});
  EXPECT_EQ(rows(one.result), rows(two.source));
  EXPECT_EQ(one.result.config->Find("tensor_model_parallel_size")->AsInt(), 1);
}

// N2-7, N2-8
TEST_P(FamiliesTest, NemoTwoGetsTheClassThatComputesTheSame) {
  const Architecture& architecture = GetParam();
  TempDir dir;
  ConvertOptions options{.to = "nemo2"};
  if (*architecture.nemo2_class == '\0') {
    EXPECT_THAT(PlanConversion(Source(architecture), dir / "x", options), StatusIs(ErrorKind::kUnsupported, "name:"));
    return;
  }
  const Conversion conversion = Convert(Source(architecture), dir / "x", options);
  const Config& config = *conversion.result.config;
  EXPECT_EQ(config.Find("config._target_")->AsString(), fmt::format("nemo.collections.{}", architecture.nemo2_class));
  const std::string in =
      std::string_view(architecture.name) == "llava" ? "config.language_transformer_config." : "config.";
  EXPECT_EQ(config.Find(in + "apply_query_key_layer_scaling")->AsBool(), false);
  options.nemo2_version = "2.0.0";
  const auto for_two = PlanConversion(Source(architecture), dir / "y", options);
  EXPECT_EQ(for_two.ok(), std::string_view(architecture.nemo2_version) == "2.0.0");

  ANEMONE_ASSERT_ASSIGN(const Checkpoint written, OpenCheckpoint(dir / "x"));
  for (const StateDict::Item& item : written.weights().items()) {
    const std::string layer = item.name.substr(0, item.name.find("linear_proj.weight"));
    if (layer == item.name) continue;
    for (const char* state :
         {"linear_qkv._extra_state", "linear_proj._extra_state", "core_attention.fused_attention._extra_state"}) {
      EXPECT_NE(written.weights().Find(layer + state), nullptr) << layer << state;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Nemo, FamiliesTest, ::testing::ValuesIn(kArchitectures),
                         [](const auto& test) { return std::string(test.param.name); });

struct Value {
  const char* architecture;
  const char* path;
  const char* yaml;
};
// What a class would take another value for, or a converter has wrong.
constexpr Value kValues[] = {
    {"mixtral", "config.num_moe_experts", "4"},
    {"mixtral", "config.moe_router_topk", "2"},
    {"mixtral", "config.moe_router_pre_softmax", "false"},
    {"mixtral", "tokenizer.model_path", "f64c72f16140494f8beee446fc8df708_tokenizer.model"},
    {"mistral", "config.window_size", "[64, 0]"},
    {"llama", "config.window_size", "null"},
    {"llama31", "config.seq_len_interpolation_factor", "null"},
    {"llama31", "tokenizer.pretrained_model_name.attr", "/opt/models/golden/llama31/hf"},
    {"qwen2", "config.vocab_size", "384"},
    {"qwen2", "config.add_qkv_bias", "true"},
    {"qwen2", "tokenizer._target_", "nemo.collections.common.tokenizers.huggingface.auto_tokenizer.AutoTokenizer"},
    {"chatglm", "config.make_vocab_size_divisible_by", "448"},
    {"chatglm", "config.rotary_interleaved", "true"},
    {"gemma", "config.share_embeddings_and_output_weights", "true"},
    {"gemma2", "config.query_pre_attn_scalar", "16"},
    {"gemma2", "config.vocab_size", "384"},
    {"gemma2", "config.activation_func._target_", "nemo.collections.llm.fn.activation.openai_gelu"},
    {"starcoder2", "tokenizer.pretrained_model_name.attr", "bigcode/starcoder2-tokenizer"},
    {"llava", "config.vision_transformer_config",
     "{_target_: nemo.collections.vlm.neva.model.base.HFCLIPVisionConfig, "
     "pretrained_model_name_or_path: openai/clip-vit-large-patch14}"},
    {"llava", "config.vision_projection_config.input_size", "32"},
};

TEST(FamiliesTest, NemoTwoGetsTheValues) {
  TempDir dir;
  for (const Value& value : kValues) {
    SCOPED_TRACE(fmt::format("{} {}", value.architecture, value.path));
    const Conversion conversion =
        PlanOf(Golden(fmt::format("families/{}.nemo", value.architecture)), dir / "x", {.to = "nemo2"});
    const ConfigNode* found = conversion.result.config->Find(value.path);
    ASSERT_NE(found, nullptr);
    EXPECT_TRUE(
        SameConfig(*found, *Config::ParseYaml(fmt::format("value: {}", value.yaml), "expected")->root().Get("value")))
        << Config(*found).ToYaml();
  }
}

TEST(FamiliesTest, ALaterNemoTwoTakesMore) {
  TempDir dir;
  const Conversion conversion =
      PlanOf(Golden("families/llava.nemo"), dir / "x", {.to = "nemo2", .nemo2_version = "2.2.0"});
  EXPECT_EQ(conversion.result.config->Find("config.vision_transformer_config.hidden_size")->AsInt(), 32);
  EXPECT_EQ(conversion.result.config->Find("config.vision_transformer_config._target_")->AsString(),
            "nemo.collections.vlm.vision.base.HFCLIPVisionConfig");
}

// ---- what is told in other files ----

TEST(FamiliesTest, AVocabularyIsPaddedAnewFromEverySource) {
  TempDir dir;
  const std::string source = Golden("gpt_gqa_tp2/gqa_tp2.nemo");  // 3 layers; divisible by 10
  for (const auto& [tp, pp, rows] : {std::tuple(1, 1, 250u), {1, 3, 250u}, {2, 1, 260u}, {2, 3, 260u}}) {
    SCOPED_TRACE(fmt::format("TP {} PP {}", tp, pp));
    const Conversion conversion = PlanOf(source, dir / "out.nemo", {.tp = tp, .pp = pp});
    EXPECT_EQ(conversion.result.config->Find("tensor_model_parallel_size")->AsInt(), tp);
    const Shard& shard = conversion.result.shards.front();
    EXPECT_EQ(
        shard.weights.Find("model.embedding.word_embeddings.weight")->tensor()->shape()[0] * static_cast<uint64_t>(tp),
        rows);
    EXPECT_TRUE(
        std::ranges::none_of(conversion.notes, [](const std::string& n) { return n.find("believed") != n.npos; }));
  }
}

// Rows behind the tokenizer's tokens have been trained: the softmax sees them. They stay where the result has rows for
// them, as in NeMo's own ranks.
TEST(FamiliesTest, RowsOfAVocabularyThatAreNoTokensStayWhereThereIsRoom) {
  TempDir dir;
  const std::string table = "model.embedding.word_embeddings.weight";
  const auto table_of = [&](const Conversion& conversion, size_t rank) {
    return *conversion.result.shards[rank].weights.Find(table)->tensor()->Read();
  };
  const Conversion ranks = PlanOf(Golden("gpt_gqa_tp2/gqa_tp2.nemo"), dir / "tp2.nemo", {.tp = 2});
  for (size_t rank = 0; rank < 2; ++rank) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint own,
                          OpenCheckpoint(Golden(fmt::format("gpt_gqa_tp2/gqa_tp2.nemo.params.rank{}.pt", rank))));
    EXPECT_TRUE(table_of(ranks, rank) == *own.weights().Find(table)->tensor()->Read()) << rank;
  }
  ASSERT_THAT(Execute(*ranks.plan, dir / "tp2.nemo", {}), IsOk());
  const Conversion stages = PlanOf(dir / "tp2.nemo", dir / "pp3.nemo", {.tp = 2, .pp = 3});
  EXPECT_EQ(table_of(stages, 0), table_of(ranks, 0));
  EXPECT_EQ(table_of(stages, 1), table_of(ranks, 1));
  const Conversion distributed = PlanOf(dir / "tp2.nemo", dir / "dist", {.to = "torch_dist", .tp = 2});
  EXPECT_EQ(table_of(distributed, 0), table_of(ranks, 0) + table_of(ranks, 1));
}

TEST(FamiliesTest, UntiedLegacyGptsKeepTheirHeadsStateOnTheLastStage) {
  TempDir dir;
  ANEMONE_ASSERT_ASSIGN(Checkpoint source, OpenCheckpoint(Golden("gpt/A.nemo")));
  const Tensor table = *source.weights().Find("model.language_model.embedding.word_embeddings.weight")->tensor();
  ASSERT_THAT(source.weights().Add("model.language_model.output_layer.weight", table), IsOk());
  ASSERT_THAT(source.weights().Add("model.language_model.output_layer._extra_state", Opaque{}), IsOk());
  ASSERT_THAT(source.config->Set("share_embeddings_and_output_weights", ConfigNode::Bool(false)), IsOk());
  ANEMONE_ASSERT_ASSIGN(const anemone::Plan plan, FindFormat("nemo")->lay_out(source, {}));
  ASSERT_THAT(Execute(plan, dir / "untied.nemo", {}), IsOk());
  for (const int tp : {1, 2}) {
    const Conversion conversion = PlanOf(dir / "untied.nemo", dir / "out.nemo", {.tp = tp, .pp = 2});
    for (const Shard& shard : conversion.result.shards) {
      for (const char* name : {"weight", "_extra_state"}) {
        EXPECT_EQ(shard.weights.Find(std::string("model.language_model.output_layer.") + name) != nullptr,
                  shard.pp_rank == 1);
      }
    }
  }
}

TEST(FamiliesTest, AnEncoderAndADecoderSayWhereTheySplit) {
  TempDir dir;
  const auto split = [&](const std::string& source, const ConvertOptions& options) {
    const Conversion conversion = PlanOf(source, dir / "out.nemo", options);
    return conversion.result.config->Find("pipeline_model_parallel_split_rank")->AsInt();
  };
  EXPECT_EQ(split(Golden("t5/t5.nemo"), {.tp = 2, .pp = 2}), 1);
  EXPECT_EQ(split(Golden("t5/t5_tp2pp2.nemo"), {.tp = 1, .pp = 2}), 1);
  EXPECT_EQ(split(Golden("t5/t5_tp2pp2.nemo"), {.tp = 1, .pp = 1}), 0);
  EXPECT_EQ(split(Golden("t5/t5_tp2.nemo"), {.tp = 1}), 0);
}

// ---- a trainer's file ----

// The pickled classes and their attributes, a node's parent and flags left aside.
void ExpectSamePickle(const ValueNode* actual, const ValueNode* expected, const std::string& where) {
  ASSERT_NE(actual, nullptr) << where;
  ASSERT_EQ(actual->kind, expected->kind) << where;
  EXPECT_EQ(actual->text, expected->text) << where;
  EXPECT_EQ(actual->integer, expected->integer) << where;
  if (expected->kind == Kind::kObject) {
    EXPECT_EQ(actual->is_new, expected->is_new) << where;
    ExpectSamePickle(actual->callable, expected->callable, where + "()");
    ASSERT_EQ(actual->state != nullptr, expected->state != nullptr) << where;
    if (expected->state != nullptr) ExpectSamePickle(actual->state, expected->state, where);
  }
  ASSERT_EQ(actual->items.size(), expected->items.size()) << where;
  for (size_t i = 0; i < expected->items.size(); ++i) {
    const bool is_value = expected->kind == Kind::kDict && i % 2 == 1;
    const std::string key = is_value ? expected->items[i - 1]->text : std::to_string(i);
    if (is_value && (key == "_parent" || key == "flags")) continue;
    ExpectSamePickle(actual->items[i], expected->items[i], where + "." + key);
  }
}

TEST(TrainersFileTest, ItsConfigIsPickledAsOmegaConfPicklesIt) {
  TempDir dir;
  const std::string name = "megatron_clip--val_loss=5.95-step=3-consumed_samples=12.0.ckpt";
  const std::string theirs = Golden("clip/ckpt_mcore/" + name);
  ANEMONE_ASSERT_ASSIGN(ByteSourcePtr theirs_source, OpenFile(theirs));
  ANEMONE_ASSERT_ASSIGN(const TorchFile expected, ReadTorchFile(Whole(theirs_source)));
  ANEMONE_ASSERT_ASSIGN(Checkpoint checkpoint, OpenCheckpoint(theirs));
  ANEMONE_ASSERT_ASSIGN(const ConfigNode said,
                        ToConfigNode({expected.root.graph, Lookup(*expected.root.node, "hyper_parameters")}));
  checkpoint.config = Config(*said.Get("cfg"));
  for (Shard& shard : checkpoint.shards) shard.training.reset();
  ANEMONE_ASSERT_ASSIGN(const anemone::Plan plan, FindFormat("ckpt")->lay_out(checkpoint, {}));
  ASSERT_THAT(Execute(plan, dir / "x.ckpt", {}), IsOk());
  ANEMONE_ASSERT_ASSIGN(ByteSourcePtr source, OpenFile(dir / "x.ckpt"));
  ANEMONE_ASSERT_ASSIGN(const TorchFile actual, ReadTorchFile(Whole(source)));
  const ValueRef ours = Lookup(*actual.root.node, "hyper_parameters");
  const ValueRef nemos = Lookup(*expected.root.node, "hyper_parameters");
  ASSERT_NE(ours, nullptr);
  EXPECT_EQ(ours->callable->text, "omegaconf.dictconfig DictConfig");
  const ValueRef our_cfg = Lookup(*Lookup(*ours->state, "_content"), "cfg");
  const ValueRef their_cfg = Lookup(*Lookup(*nemos->state, "_content"), "cfg");
  ExpectSamePickle(our_cfg, their_cfg, "cfg");
  EXPECT_EQ(Lookup(*our_cfg->state, "_parent"), ours);
}

TEST(TrainersFileTest, RanksKeepTheNameThatSaysHowFarItCame) {
  TempDir dir;
  const std::string name = "megatron_clip--val_loss=5.95-step=3-consumed_samples=12.0.ckpt";
  for (const std::string& source : {Golden("clip/ckpt_mcore/" + name), Golden("clip/ckpt_mcore_tp2")}) {
    const Conversion conversion = PlanOf(source, dir / "out", {.to = "ckpt", .tp = 4});
    for (int rank = 0; rank < 4; ++rank) {
      const std::string path = fmt::format("mp_rank_{:02}/{}", rank, name);
      EXPECT_TRUE(std::ranges::any_of(conversion.plan->files, [&](const PlanFile& f) { return f.path == path; }))
          << path;
    }
  }
  const Conversion fresh = PlanOf(Golden("clip/mcore.nemo"), dir / "out", {.to = "ckpt", .tp = 2});
  EXPECT_EQ(fresh.plan->files.front().path, "mp_rank_00/model.ckpt");
}

}  // namespace
}  // namespace anemone
