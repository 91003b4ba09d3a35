// Layers that predict several tokens, between Megatron-LM, NeMo 2 and Hugging Face. tests/golden/README.md says how
// Megatron-core wrote the models.
#include <functional>
#include <optional>

#include "family/words/nemo2_config.h"
#include "parallel/reshard.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using ::testing::Contains;
using testing::Golden;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::Not;
using testing::StatusIs;
using testing::TempDir;

constexpr int kLayers = 4, kFurther = 2, kExperts = 8;

std::string DeepSeek() { return Golden("mtp/deepseek/ckpt"); }
std::string Llama() { return Golden("mtp/llama/ckpt"); }

std::string ToHf(const TempDir& temp) {
  std::string path = temp.path() + "/hf";
  Convert(DeepSeek(), path, {.to = "hf"});
  return path;
}

// The same checkpoint with its names, or tensors, changed.
std::string Changed(const std::string& source, const char* format, const std::string& path,
                    const std::function<void(Checkpoint*)>& change) {
  auto checkpoint = OpenCheckpoint(source);
  EXPECT_THAT(checkpoint, IsOk());
  change(&*checkpoint);
  const auto plan = FindFormat(format)->lay_out(*checkpoint, {});
  EXPECT_THAT(plan, IsOk());
  EXPECT_THAT(Execute(*plan, path, {}), IsOk());
  return path;
}

// What transformers calls such a layer's tensors, by what Megatron-core's state dict does
// [Megatron-Bridge 067f987 deepseek/common.py].
std::vector<std::pair<std::string, std::string>> NamesOfLayer() {
  std::vector<std::pair<std::string, std::string>> names = {
      {"enorm.weight", "enorm.weight"},
      {"hnorm.weight", "hnorm.weight"},
      {"eh_proj.weight", "eh_proj.weight"},
      {"shared_head.norm.weight", "final_layernorm.weight"},
      {"input_layernorm.weight", "transformer_layer.input_layernorm.weight"},
      {"post_attention_layernorm.weight", "transformer_layer.pre_mlp_layernorm.weight"},
      {"self_attn.q_a_proj.weight", "transformer_layer.self_attention.linear_q_down_proj.weight"},
      {"self_attn.q_a_layernorm.weight", "transformer_layer.self_attention.q_layernorm.weight"},
      {"self_attn.q_b_proj.weight", "transformer_layer.self_attention.linear_q_up_proj.weight"},
      {"self_attn.kv_a_proj_with_mqa.weight", "transformer_layer.self_attention.linear_kv_down_proj.weight"},
      {"self_attn.kv_a_layernorm.weight", "transformer_layer.self_attention.kv_layernorm.weight"},
      {"self_attn.kv_b_proj.weight", "transformer_layer.self_attention.linear_kv_up_proj.weight"},
      {"self_attn.o_proj.weight", "transformer_layer.self_attention.linear_proj.weight"},
      {"mlp.gate.weight", "transformer_layer.mlp.router.weight"},
      {"mlp.gate.e_score_correction_bias", "transformer_layer.mlp.router.expert_bias"},
      {"mlp.shared_experts.down_proj.weight", "transformer_layer.mlp.shared_experts.linear_fc2.weight"},
  };
  for (int expert = 0; expert < kExperts; ++expert)
    names.emplace_back(fmt::format("mlp.experts.{}.down_proj.weight", expert),
                       fmt::format("transformer_layer.mlp.experts.local_experts.{}.linear_fc2.weight", expert));
  return names;
}

TEST(Mtp, HuggingFaceHasWhatMegatronCoreStores) {
  const TempDir temp;
  Digests hf = DigestsOf(ToHf(temp));
  // The layers' stage, as Megatron-core's own state dict has it.
  const auto stage = OpenCheckpoint(Golden("mtp/deepseek/stages/iter_0000001/mp_rank_00_001/model_optim_rng.pt"));
  ASSERT_THAT(stage, IsOk());
  const Digests core = DigestsOf(stage->weights());
  const auto of_core = [&](const std::string& name) {
    for (const auto& [key, digest] : core) {
      if (key.ends_with(name)) return digest;
    }
    return "no " + name;
  };
  for (int layer = 0; layer < kFurther; ++layer) {
    const std::string top = fmt::format("model.layers.{}.", kLayers + layer);
    for (const auto& [name, theirs] : NamesOfLayer())
      EXPECT_EQ(hf[top + name], of_core(fmt::format("mtp.layers.{}.{}", layer, theirs))) << name;
    EXPECT_EQ(hf[top + "embed_tokens.weight"], of_core("embedding.word_embeddings.weight"));
    EXPECT_EQ(hf[top + "shared_head.head.weight"], of_core("output_layer.weight"));
  }
  EXPECT_FALSE(hf.contains(fmt::format("model.layers.{}.enorm.weight", kLayers + kFurther)));
  EXPECT_EQ(JsonOf(temp.path() + "/hf/config.json").Find("num_nextn_predict_layers")->AsInt(), kFurther);
}

TEST(Mtp, ThereAndBackBitForBit) {
  const TempDir temp;
  const std::string hf = ToHf(temp), back = temp.path() + "/back";
  const Digests expected = DigestsOf(hf);
  for (const char* to : {"nemo2", "megatron", "megatron-bridge"}) {
    const TempDir out;
    Convert(hf, out.path() + "/there", {.to = to});
    Convert(out.path() + "/there", out.path() + "/back", {.to = "hf"});
    EXPECT_EQ(DigestsOf(out.path() + "/back"), expected) << to;
    if (std::string_view(to) == "nemo2") {  // Megatron-LM keeps no config.json
      EXPECT_TRUE(SameConfig(JsonOf(out.path() + "/back/config.json").root(), JsonOf(hf + "/config.json").root()));
    }
  }
  // From the framework, not by way of Hugging Face; a new config.json says as much as the first.
  Convert(DeepSeek(), temp.path() + "/nemo2", {.to = "nemo2"});
  Convert(temp.path() + "/nemo2", back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), expected);
  EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), JsonOf(hf + "/config.json").root()));
}

TEST(Mtp, FieldsOfTheConfigs) {
  const TempDir temp;
  const auto of = [&](const std::string& source) {
    const auto plan = PlanConversion(source, temp.path() + "/out", {.to = "nemo2"});
    EXPECT_THAT(plan, IsOk());
    EXPECT_THAT(plan->notes, Contains(HasSubstr("NeMo 2.3.0")));
    const Config& config = *plan->result.config;
    return std::pair(config.Find("config.mtp_num_layers")->AsInt(),
                     config.Find("config.mtp_loss_scaling_factor")->AsDouble());
  };
  EXPECT_EQ(of(DeepSeek()), (std::pair{std::optional<int64_t>(2), std::optional(0.3)}));
  EXPECT_EQ(of(Llama()), (std::pair{std::optional<int64_t>(1), std::optional(0.3)}));
  // Hugging Face has no word for the second.
  EXPECT_EQ(of(ToHf(temp)), (std::pair{std::optional<int64_t>(2), std::optional(0.1)}));
  Convert(Llama(), temp.path() + "/nemo2", {.to = "nemo2"});
  for (const char* to : {"megatron", "megatron-bridge"}) {
    const std::string out = temp.path() + "/" + to;
    Convert(temp.path() + "/nemo2", out, {.to = to});
    const auto checkpoint = OpenCheckpoint(out);
    ASSERT_THAT(checkpoint, IsOk());
    const std::string place = std::string_view(to) == "megatron" ? "" : "model.";
    EXPECT_EQ(checkpoint->config->Find(place + "mtp_num_layers")->AsInt(), 1) << to;
    EXPECT_EQ(checkpoint->config->Find(place + "mtp_loss_scaling_factor")->AsDouble(), 0.3) << to;
    EXPECT_EQ(DigestsOf(checkpoint->weights()), DigestsOf(Llama())) << to;
  }
}

// The stage that has the layers has the embedding, too; newer versions of Megatron-core call the module otherwise.
TEST(Mtp, StagesMerge) {
  const TempDir temp;
  const Digests expected = DigestsOf(ToHf(temp));
  Convert(Golden("mtp/deepseek/stages"), temp.path() + "/merged", {.to = "hf"});
  EXPECT_EQ(DigestsOf(temp.path() + "/merged"), expected);
  const std::string newer = Changed(DeepSeek(), "megatron", temp.path() + "/newer", [](Checkpoint* checkpoint) {
    StateDict renamed;
    for (const StateDict::Item& item : checkpoint->weights().items()) {
      std::string name = item.name;
      constexpr std::string_view kOlder = ".transformer_layer.";
      if (const size_t at = name.find(kOlder); at != std::string::npos)
        name.replace(at, kOlder.size(), ".mtp_model_layer.");
      ASSERT_THAT(renamed.Add(name, item.entry), IsOk());
    }
    checkpoint->weights() = std::move(renamed);
  });
  ASSERT_THAT(DigestsOf(newer), Contains(::testing::Key(HasSubstr("mtp_model_layer"))));
  Convert(newer, temp.path() + "/same", {.to = "hf"});
  EXPECT_EQ(DigestsOf(temp.path() + "/same"), expected);
}

TEST(Mtp, RanksHaveThemOnTheLastStage) {
  const TempDir temp;
  const std::string nemo2 = temp.path() + "/nemo2";
  Convert(ToHf(temp), nemo2, {.to = "nemo2"});
  auto whole = OpenCheckpoint(nemo2);
  ASSERT_THAT(whole, IsOk());
  const auto config = ToNemo1Config(whole->config->root());
  ASSERT_THAT(config, IsOk());
  whole->config = Config(*config);
  const auto split = SplitShards(*whole, {.tp = 2, .pp = 2, .ep = 2});
  ASSERT_THAT(split, IsOk());
  ASSERT_EQ(split->shards.size(), 8U);
  for (const Shard& shard : split->shards) {
    const bool is_last = shard.pp_rank == 1;
    const auto shape = [&](const char* name) {
      const StateDict::Item* item = shard.weights.Find(std::string("model.") + name);
      return item == nullptr ? Shape() : item->tensor()->shape();
    };
    EXPECT_EQ(shape("mtp.layers.1.eh_proj.weight"), is_last ? (Shape{8, 32}) : Shape());
    EXPECT_EQ(shape("mtp.layers.1.transformer_layer.self_attention.linear_proj.weight"),
              is_last ? (Shape{16, 6}) : Shape());
    EXPECT_EQ(shape("embedding.word_embeddings.weight").size(), 2U);
  }
  const auto merged = MergeShards(*split);
  ASSERT_THAT(merged, IsOk());
  Digests expected = DigestsOf(whole->weights()), found = DigestsOf(merged->weights());
  // Rows that ranks are padded to.
  for (Digests* digests : {&expected, &found}) {
    for (const char* table : {"model.embedding.word_embeddings.weight", "model.output_layer.weight"})
      digests->erase(table);
  }
  EXPECT_EQ(found, expected);
}

TEST(Mtp, CopiesOfTheEmbeddingMayBeMissingButNotOthers) {
  const TempDir temp;
  const std::string hf = ToHf(temp), name = fmt::format("model.layers.{}.embed_tokens.weight", kLayers);
  const auto without = [&](bool replace) {
    return [&, replace](Checkpoint* checkpoint) {
      StateDict kept;
      for (const StateDict::Item& item : checkpoint->weights().items()) {
        if (item.name != name) {
          ASSERT_THAT(kept.Add(item.name, item.entry), IsOk());
        } else if (replace) {
          ASSERT_THAT(kept.Add(name, *Tensor::Fill(DType::kF32, item.tensor()->shape(), 1)), IsOk());
        }
      }
      checkpoint->weights() = std::move(kept);
    };
  };
  const std::string fewer = Changed(hf, "hf", temp.path() + "/fewer", without(false)),
                    other = Changed(hf, "hf", temp.path() + "/other", without(true));
  EXPECT_THAT(PlanConversion(fewer, temp.path() + "/out", {.to = "nemo2"}), IsOk());
  EXPECT_THAT(PlanConversion(other, temp.path() + "/out", {.to = "nemo2"}),
              StatusIs(ErrorKind::kCorrupt, name + ": expected a copy of what token_embedding.weight is"));
}

// transformers drops the layers and keeps their number; more layers than the number says are nobody's.
TEST(Mtp, TheNumberIsThatOfTheLayersThatAreStored) {
  const TempDir temp;
  const std::string hf = ToHf(temp);
  const std::string without = Changed(hf, "hf", temp.path() + "/without", [](Checkpoint* checkpoint) {
    StateDict kept;
    for (const StateDict::Item& item : checkpoint->weights().items()) {
      const bool is_further = item.name.starts_with("model.layers.4.") || item.name.starts_with("model.layers.5.");
      if (is_further) continue;
      ASSERT_THAT(kept.Add(item.name, item.entry), IsOk());
    }
    checkpoint->weights() = std::move(kept);
  });
  const auto plan = PlanConversion(without, temp.path() + "/out", {.to = "nemo2"});
  ASSERT_THAT(plan, IsOk());
  EXPECT_THAT(DigestsOf(plan->result.weights()), Not(Contains(::testing::Key(HasSubstr("mtp.")))));
  EXPECT_EQ(plan->result.config->Find("config.mtp_num_layers"), nullptr);
  const std::string fewer = WithKey(hf, temp.path() + "/fewer", "config.json", "num_nextn_predict_layers", "1");
  EXPECT_THAT(PlanConversion(fewer, temp.path() + "/out", {.to = "nemo2"}),
              StatusIs(ErrorKind::kCorrupt, "unexpected"));
  EXPECT_THAT(PlanConversion(fewer, temp.path() + "/out", {.to = "nemo2"}),
              StatusIs(ErrorKind::kCorrupt, "model.layers.5."));
  const std::string more = WithKey(hf, temp.path() + "/more", "config.json", "num_nextn_predict_layers", "3");
  EXPECT_THAT(PlanConversion(more, temp.path() + "/out", {.to = "nemo2"}),
              StatusIs(ErrorKind::kCorrupt, "missing tensors: model.layers.6.eh_proj.weight"));
}

TEST(Mtp, RefusedByKeyWhereNobodyHasThem) {
  const TempDir temp;
  const std::string out = temp.path() + "/out";
  EXPECT_THAT(PlanConversion(Llama(), out + ".nemo", {}),
              StatusIs(ErrorKind::kUnsupported, "mtp_num_layers: expected none, as NeMo 1 builds, found 1"));
  EXPECT_THAT(
      PlanConversion(Llama(), out, {.to = "hf"}),
      StatusIs(ErrorKind::kUnsupported, "LlamaForCausalLM cannot say what this model computes: mtp_num_layers"));
  const auto less = PlanConversion(Llama(), out, {.to = "hf", .strict = false});
  ASSERT_THAT(less, IsOk());
  EXPECT_THAT(less->notes, Contains(HasSubstr("left out 1 layers that predict several tokens")));
  EXPECT_EQ(less->result.weights().size(), 2U + kLayers * 9 + 1);
  const std::string repeated = Changed(DeepSeek(), "megatron", temp.path() + "/repeated", [](Checkpoint* checkpoint) {
    checkpoint->config->root()["mtp_use_repeated_layer"] = ConfigNode::Bool(true);
  });
  EXPECT_THAT(PlanConversion(repeated, out, {.to = "hf"}), StatusIs(ErrorKind::kUnsupported, "mtp_use_repeated_layer"));
}

}  // namespace
}  // namespace anemone
