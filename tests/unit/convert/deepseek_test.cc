// DeepSeek V2 and V3 between Hugging Face, NeMo 2 and Megatron-LM: latent attention, layers with and without experts,
// experts that all tokens share, routers with groups and a bias of scores. NeMo 1 has none of it.
#include <algorithm>
#include <filesystem>

#include "family/words/model_words.h"
#include "family/words/nemo2_config.h"
#include "parallel/reshard.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

constexpr uint64_t kWidth = 16, kHeads = 4, kNope = 4, kRope = 2, kValue = 3, kQRank = 6, kKvRank = 5, kExperts = 8;

constexpr const char* kSizes =
    R"("hidden_size": 16, "intermediate_size": 24, "moe_intermediate_size": 8, "num_hidden_layers": 3,
       "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 32, "n_routed_experts": 8,
       "first_k_dense_replace": 1, "kv_lora_rank": 5, "qk_nope_head_dim": 4, "qk_rope_head_dim": 2, "v_head_dim": 3,
       "hidden_act": "silu", "attention_bias": false, "rms_norm_eps": 1e-06, "max_position_embeddings": 163840,
       "bos_token_id": 0, "eos_token_id": 1)";
// As deepseek-ai and transformers 5.24 write them.
constexpr const char* kV3 =
    R"("architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "q_lora_rank": 6, "ep_size": 1,
       "n_shared_experts": 1, "n_group": 4, "topk_group": 2, "num_experts_per_tok": 4, "routed_scaling_factor": 2.5,
       "norm_topk_prob": true, "scoring_func": "sigmoid", "topk_method": "noaux_tc", "moe_layer_freq": 1,
       "num_nextn_predict_layers": 1, "rope_theta": 10000, "rope_scaling": {"beta_fast": 32, "beta_slow": 1,
       "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096, "type": "yarn"},
       "torch_dtype": "float32")";
constexpr const char* kV3Five =
    R"("architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "q_lora_rank": 6, "head_dim": 2,
       "n_shared_experts": 1, "n_group": 4, "topk_group": 2, "num_experts_per_tok": 4, "routed_scaling_factor": 2.5,
       "norm_topk_prob": true, "qk_head_dim": 6, "num_nextn_predict_layers": 1, "rope_interleave": true,
       "rope_parameters": {"beta_fast": 32, "beta_slow": 1, "factor": 40.0, "mscale": 1.0, "mscale_all_dim": 1.0,
       "original_max_position_embeddings": 4096, "rope_theta": 10000.0, "rope_type": "yarn"}, "dtype": "float32")";
constexpr const char* kV2 =
    R"("architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "q_lora_rank": 6,
       "n_shared_experts": 2, "n_group": 4, "topk_group": 2, "num_experts_per_tok": 2, "routed_scaling_factor": 16.0,
       "norm_topk_prob": false, "scoring_func": "softmax", "topk_method": "group_limited_greedy", "rope_theta": 10000,
       "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
       "original_max_position_embeddings": 4096, "type": "yarn"}, "torch_dtype": "float32")";
constexpr const char* kV2Lite =
    R"("architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "q_lora_rank": null,
       "n_shared_experts": 2, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2, "routed_scaling_factor": 1.0,
       "norm_topk_prob": false, "scoring_func": "softmax", "topk_method": "greedy", "rope_theta": 10000,
       "rope_scaling": null, "torch_dtype": "float32")";
// As transformers saves one whose groups nobody named.
constexpr const char* kV2Silent =
    R"("architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "q_lora_rank": null,
       "n_shared_experts": 2, "n_group": null, "topk_group": null, "num_experts_per_tok": 2,
       "routed_scaling_factor": 1.0, "norm_topk_prob": false, "topk_method": "greedy",
       "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "dtype": "float32")";

using Tensors = std::vector<std::pair<std::string, Shape>>;

Tensors TensorsOf(std::string_view keys, int dense_layers) {
  const bool is_v3 = keys.find("deepseek_v3") != std::string_view::npos;
  const bool has_q_rank = keys.find(R"("q_lora_rank": null)") == std::string_view::npos;
  const uint64_t shared = keys.find(R"("n_shared_experts": 2)") == std::string_view::npos ? 8 : 16;
  Tensors tensors = {{"model.embed_tokens.weight", {32, kWidth}}};
  for (int layer = 0; layer < 3; ++layer) {
    const std::string top = fmt::format("model.layers.{}.", layer);
    const auto add = [&](const std::string& name, Shape shape) {
      tensors.emplace_back(top + name + ".weight", std::move(shape));
    };
    const auto mlp = [&](const std::string& name, uint64_t size) {
      for (const char* part : {"gate_proj", "up_proj"}) add(fmt::format("{}.{}", name, part), {size, kWidth});
      add(name + ".down_proj", {kWidth, size});
    };
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) add(norm, {kWidth});
    if (has_q_rank) {
      add("self_attn.q_a_proj", {kQRank, kWidth});
      add("self_attn.q_a_layernorm", {kQRank});
      add("self_attn.q_b_proj", {kHeads * (kNope + kRope), kQRank});
    } else {
      add("self_attn.q_proj", {kHeads * (kNope + kRope), kWidth});
    }
    add("self_attn.kv_a_proj_with_mqa", {kKvRank + kRope, kWidth});
    add("self_attn.kv_a_layernorm", {kKvRank});
    add("self_attn.kv_b_proj", {kHeads * (kNope + kValue), kKvRank});
    add("self_attn.o_proj", {kWidth, kHeads * kValue});
    if (layer < dense_layers) {
      mlp("mlp", 24);
      continue;
    }
    add("mlp.gate", {kExperts, kWidth});
    if (is_v3) tensors.emplace_back(top + "mlp.gate.e_score_correction_bias", Shape{kExperts});
    for (uint64_t expert = 0; expert < kExperts; ++expert) mlp(fmt::format("mlp.experts.{}", expert), 8);
    mlp("mlp.shared_experts", shared);
  }
  tensors.emplace_back("model.norm.weight", Shape{kWidth});
  tensors.emplace_back("lm_head.weight", Shape{32, kWidth});
  return tensors;
}

// With keys of config.json in place of others.
std::string Model(const TempDir& temp, const std::string& keys, const std::string& other = "", const Tensors& more = {},
                  int dense_layers = 1) {
  std::string path = temp.path() + "/hf";
  std::filesystem::remove_all(path);
  Tensors tensors = TensorsOf(keys, dense_layers);
  tensors.insert(tensors.end(), more.begin(), more.end());
  const auto config = Config::ParseJson(fmt::format("{{{}, {}}}", kSizes, keys), "test");
  EXPECT_THAT(config, IsOk());
  const auto changed = Config::ParseJson(fmt::format("{{{}}}", other), "test");
  EXPECT_THAT(changed, IsOk());
  Config merged = *config;
  for (const auto& [key, value] : changed->root().map) merged.root()[key] = value;
  WriteHfModel(path, merged.ToJson(), tensors);
  return path;
}

TEST(DeepSeek, ThereAndBackBitForBit) {
  for (const char* keys : {kV3, kV3Five, kV2, kV2Lite, kV2Silent}) {
    for (const char* to : {"nemo2", "megatron", "megatron-bridge"}) {
      const TempDir temp;
      const std::string hf = Model(temp, keys), there = temp.path() + "/there", back = temp.path() + "/back";
      Convert(hf, there, {.to = to});
      Convert(there, back, {.to = "hf"});
      EXPECT_EQ(DigestsOf(back), DigestsOf(hf)) << to << keys;
      if (std::string_view(to) != "nemo2") {
        const std::string nemo2 = temp.path() + "/nemo2", again = temp.path() + "/again";
        Convert(there, nemo2, {.to = "nemo2"});
        Convert(nemo2, again, {.to = "hf"});
        EXPECT_EQ(DigestsOf(again), DigestsOf(hf)) << to << keys;
      }
      if (std::string_view(to) != "nemo2") continue;  // they keep no config.json
      EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), JsonOf(hf + "/config.json").root())) << keys;
    }
  }
}

// A model of experts alone: NeMo's and Megatron-Bridge's importers list a 1 for each layer and keep the size of the MLP
// that no layer has [NeMo v2.4 gpt/model/deepseek.py, HFDeepSeekImporter.config; Bridge deepseek_v3_bridge.py].
TEST(DeepSeek, ExpertsInAllLayers) {
  for (const char* keys : {kV3, kV3Five, kV2, kV2Lite}) {
    for (const char* to : {"nemo2", "megatron", "megatron-bridge"}) {
      const TempDir temp;
      const std::string hf = Model(temp, keys, R"("first_k_dense_replace": 0)", {}, 0), there = temp.path() + "/there",
                        back = temp.path() + "/back", bare = temp.path() + "/bare";
      const auto made = PlanConversion(hf, there, {.to = to});
      ASSERT_THAT(made, IsOk());
      const std::string_view at = std::string_view(to) == "nemo2" ? "config" : "model";
      if (std::string_view(to) != "megatron") {
        const ConfigNode *freq = made->result.config->Find(fmt::format("{}.moe_layer_freq", at)),
                         *ffn = made->result.config->Find(fmt::format("{}.ffn_hidden_size", at));
        ASSERT_NE(freq, nullptr) << to;
        EXPECT_TRUE(SameConfig(*freq, ConfigNode::List({ConfigNode::Int(1), ConfigNode::Int(1), ConfigNode::Int(1)})))
            << to << keys;
        ASSERT_NE(ffn, nullptr) << to;
        EXPECT_EQ(ffn->AsInt(), 24) << to << keys;
      }
      Convert(hf, there, {.to = to});
      Convert(there, back, {.to = "hf"});
      EXPECT_EQ(DigestsOf(back), DigestsOf(hf)) << to << keys;
      const Config config = JsonOf(back + "/config.json");
      EXPECT_EQ(config.root().Get("first_k_dense_replace")->AsInt(), 0) << to << keys;
      EXPECT_EQ(config.root().Get("intermediate_size")->AsInt(), 24) << to << keys;
    }
  }
}

// What Megatron-Bridge's own importer says [067f987 deepseek_v3_bridge.py, deepseek_v2_bridge.py].
TEST(DeepSeek, MegatronBridgesProvider) {
  const TempDir temp;
  const auto v3 = PlanConversion(Model(temp, kV3), temp.path() + "/bridge", {.to = "megatron-bridge"});
  ASSERT_THAT(v3, IsOk());
  const ConfigNode& model = *v3->result.config->Find("model");
  EXPECT_EQ(model.Get("_target_")->AsString(), "megatron.bridge.models.mla_provider.MLAModelProvider");
  EXPECT_EQ(v3->result.config->Find("model.transformer_layer_spec._target_")->AsString(),
            "megatron.core.models.gpt.gpt_layer_specs.get_gpt_decoder_block_spec");
  EXPECT_EQ(model.Get("multi_latent_attention")->AsBool(), true);
  EXPECT_EQ(model.Get("qk_layernorm")->AsBool(), true);
  EXPECT_EQ(model.Get("moe_router_score_function")->AsString(), "sigmoid");
  EXPECT_TRUE(model.Get("moe_layer_freq")->is_list());
  const auto lite = PlanConversion(Model(temp, kV2Lite), temp.path() + "/bridge", {.to = "megatron-bridge"});
  ASSERT_THAT(lite, IsOk());
  const ConfigNode& own = *lite->result.config->Find("model");
  EXPECT_TRUE(own.Get("q_lora_rank")->is_null());  // the class has a number
  for (const auto& [key, value] : own.map) {
    const bool is_none = key == "q_lora_rank" || !IsLatentWord(key) || !value.is_null();
    EXPECT_TRUE(is_none) << key;
  }
}

// As NeMo's importer names them [NeMo v2.2.0 deepseek.py]: one key a layer, as its layers differ.
TEST(DeepSeek, NamesOfNemo2) {
  const TempDir temp;
  const std::string hf = Model(temp, kV3), nemo2 = temp.path() + "/nemo2";
  Convert(hf, nemo2, {.to = "nemo2"});
  const auto checkpoint = OpenCheckpoint(nemo2);
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_THAT(checkpoint->origin.distributed->layer_stacks, ::testing::IsEmpty());
  Digests ours = DigestsOf(nemo2), theirs = DigestsOf(hf);
  const auto same = [&](const char* name, const char* of) {
    EXPECT_EQ(ours[std::string("model.decoder.layers.") + name], theirs[std::string("model.layers.") + of]) << name;
    EXPECT_NE(theirs[std::string("model.layers.") + of], "") << of;
  };
  same("0.input_layernorm.weight", "0.input_layernorm.weight");
  same("0.mlp.linear_fc1.layer_norm_weight", "0.post_attention_layernorm.weight");
  same("1.pre_mlp_layernorm.weight", "1.post_attention_layernorm.weight");
  same("0.self_attention.linear_q_down_proj.weight", "0.self_attn.q_a_proj.weight");
  same("0.self_attention.linear_q_up_proj.layer_norm_weight", "0.self_attn.q_a_layernorm.weight");
  same("0.self_attention.linear_q_up_proj.weight", "0.self_attn.q_b_proj.weight");
  same("0.self_attention.linear_kv_down_proj.weight", "0.self_attn.kv_a_proj_with_mqa.weight");
  same("0.self_attention.linear_kv_up_proj.layer_norm_weight", "0.self_attn.kv_a_layernorm.weight");
  same("0.self_attention.linear_kv_up_proj.weight", "0.self_attn.kv_b_proj.weight");
  same("0.self_attention.linear_proj.weight", "0.self_attn.o_proj.weight");
  same("1.mlp.router.weight", "1.mlp.gate.weight");
  same("1.mlp.router.expert_bias", "1.mlp.gate.e_score_correction_bias");
  same("2.mlp.shared_experts.linear_fc2.weight", "2.mlp.shared_experts.down_proj.weight");
  same("2.mlp.experts.local_experts.7.linear_fc2.weight", "2.mlp.experts.7.down_proj.weight");
  EXPECT_EQ(ours.size(), 3U * 9 + 2 + 2 * (4 + 2 * kExperts) + 3) << "a layer has 7 of attention and 2 norms";
}

TEST(DeepSeek, Nemo2sConfig) {
  const auto is = [](const Config& config, const char* key, const char* yaml) {
    const auto value = Config::ParseYaml(fmt::format("v: {}", yaml), "test");
    const ConfigNode* found = config.Find(key);
    ASSERT_NE(found, nullptr) << key;
    EXPECT_TRUE(SameConfig(*found, *value->root().Get("v"))) << key;
  };
  for (const char* keys : {kV3, kV3Five}) {
    const TempDir temp;
    const auto plan = PlanConversion(Model(temp, keys), temp.path() + "/nemo2", {.to = "nemo2"});
    ASSERT_THAT(plan, IsOk());
    const Config& config = *plan->result.config;
    is(config, "_target_", "nemo.collections.llm.gpt.model.deepseek.DeepSeekModel");
    for (const auto& [key, yaml] : {std::pair{"_target_", "nemo.collections.llm.gpt.model.deepseek.DeepSeekConfig"},
                                    {"multi_latent_attention", "true"},
                                    {"qk_layernorm", "true"},
                                    {"kv_channels", "4"},
                                    {"q_lora_rank", "6"},
                                    {"kv_lora_rank", "5"},
                                    {"qk_head_dim", "4"},
                                    {"qk_pos_emb_head_dim", "2"},
                                    {"v_head_dim", "3"},
                                    {"rope_type", "yarn"},
                                    {"rotary_scaling_factor", "40"},
                                    {"max_position_embeddings", "4096"},
                                    {"mscale", "1"},
                                    {"mscale_all_dim", "1"},
                                    {"ffn_hidden_size", "24"},
                                    {"moe_ffn_hidden_size", "8"},
                                    {"moe_shared_expert_intermediate_size", "8"},
                                    {"moe_layer_freq", "[0, 1, 1]"},
                                    {"moe_router_topk", "4"},
                                    {"moe_router_num_groups", "4"},
                                    {"moe_router_group_topk", "2"},
                                    {"moe_router_score_function", "sigmoid"},
                                    {"moe_router_enable_expert_bias", "true"},
                                    {"moe_router_topk_scaling_factor", "2.5"}}) {
      is(config, fmt::format("config.{}", key).c_str(), yaml);
    }
    EXPECT_THAT(plan->notes, Contains(HasSubstr("NeMo 2.2.0")));
  }
  // Another length than the one that older versions have built in is a key of later ones alone.
  const TempDir temp;
  const auto plan = PlanConversion(Model(temp, kV3, R"("rope_scaling": {"type": "yarn", "factor": 4,
      "original_max_position_embeddings": 8192})"),
                                   temp.path() + "/nemo2", {.to = "nemo2"});
  ASSERT_THAT(plan, IsOk());
  is(*plan->result.config, "config.original_max_position_embeddings", "8192");
  is(*plan->result.config, "config.mscale_all_dim", "0");
  EXPECT_THAT(plan->notes, Contains(HasSubstr("NeMo 2.5.0")));
}

// What NeMo's config alone tells.
TEST(DeepSeek, AConfigIsMadeAnew) {
  for (const char* keys : {kV3, kV2, kV2Lite}) {
    const TempDir temp;
    const std::string hf = Model(temp, keys), nemo2 = temp.path() + "/nemo2", back = temp.path() + "/back";
    Convert(hf, nemo2, {.to = "nemo2"});
    std::filesystem::remove(nemo2 + "/context/config.json");
    Convert(nemo2, back, {.to = "hf"});
    EXPECT_EQ(DigestsOf(back), DigestsOf(hf));
    const Config made = JsonOf(back + "/config.json"), given = JsonOf(hf + "/config.json");
    for (const auto& [key, value] : given.root().map) {
      // The tokenizer's, which there is none of, and what says nothing of a model without such layers.
      if (key.ends_with("_token_id") || key == "ep_size" || key == "moe_layer_freq" ||
          key == "num_nextn_predict_layers")
        continue;
      const ConfigNode* found = made.root().Get(key);
      ASSERT_NE(found, nullptr) << key;
      EXPECT_TRUE(SameConfig(*found, value)) << key;
    }
  }
}

TEST(DeepSeek, RanksOfTensorsStagesAndExpertsMergeAgain) {
  for (const char* keys : {kV3, kV2Lite}) {
    const TempDir temp;
    const std::string nemo2 = temp.path() + "/nemo2";
    Convert(Model(temp, keys), nemo2, {.to = "nemo2"});
    auto whole = OpenCheckpoint(nemo2);
    ASSERT_THAT(whole, IsOk());
    const auto config = ToNemo1Config(whole->config->root());
    ASSERT_THAT(config, IsOk());
    whole->config = Config(*config);
    Layout layout;
    layout.tp = 2;
    layout.pp = 3;
    layout.ep = 2;
    const auto split = SplitShards(*whole, layout);
    ASSERT_THAT(split, IsOk());
    ASSERT_EQ(split->shards.size(), 12U);
    const auto shape = [&](size_t shard, const char* name) {
      const StateDict::Item* item = split->shards[shard].weights.Find(name);
      return item == nullptr ? Shape() : item->tensor()->shape();
    };
    const size_t last = 11;
    EXPECT_EQ(shape(last, "model.decoder.layers.0.self_attention.linear_kv_up_proj.weight"),
              (Shape{kHeads * (kNope + kValue) / 2, kKvRank}));
    EXPECT_EQ(shape(last, "model.decoder.layers.0.self_attention.linear_kv_down_proj.weight"),
              (Shape{kKvRank + kRope, kWidth}));
    EXPECT_EQ(shape(last, "model.decoder.layers.0.self_attention.linear_proj.weight"),
              (Shape{kWidth, kHeads * kValue / 2}));
    const auto merged = MergeShards(*split);
    ASSERT_THAT(merged, IsOk());
    ASSERT_EQ(merged->weights().size(), whole->weights().size());
    for (const StateDict::Item& item : whole->weights().items()) {
      if (item.tensor() == nullptr) continue;
      const StateDict::Item* found = merged->weights().Find(item.name);
      ASSERT_NE(found, nullptr) << item.name;
      EXPECT_EQ(*found->tensor()->Read(), *item.tensor()->Read()) << item.name;
    }
  }
}

TEST(DeepSeek, WhatIsNotCarriedIsRefusedByName) {
  const TempDir temp;
  const auto convert = [&](const char* keys, const std::string& other, const char* to, const Tensors& more = {}) {
    return PlanConversion(Model(temp, keys, other, more), temp.path() + "/out", {.to = to});
  };
  EXPECT_THAT(convert(kV3, "", "nemo"), StatusIs(ErrorKind::kUnsupported, "multi_latent_attention"));
  for (const auto& [keys, other, what] : {
           std::tuple{kV3, R"("norm_topk_prob": false)", "norm_topk_prob"},
           {kV2, R"("norm_topk_prob": true)", "norm_topk_prob"},
           {kV3, R"("scoring_func": "softmax")", "scoring_func"},
           {kV3, R"("topk_method": "greedy")", "topk_method"},
           {kV2, R"("topk_method": "noaux_tc")", "topk_method"},
           {kV3, R"("rope_interleave": false)", "rope_interleave"},
           {kV3, R"("moe_layer_freq": 2)", "moe_layer_freq"},
           {kV3, R"("num_key_value_heads": 2)", "num_key_value_heads"},
           {kV3, R"("num_experts_per_tok": 8)", "n_group"},
           {kV3, R"("num_experts_per_tok": 1)", "num_experts_per_tok"},
           {kV3, R"("attention_bias": true)", "attention_bias"},
           {kV2, R"("mlp_bias": true)", "mlp_bias"},
           {kV3, R"("quantization_config": {"quant_method": "fp8"})", "quantization_config"},
           {kV3, R"("rope_scaling": {"type": "linear", "factor": 2.0})", "rope_type"},
           {kV3, R"("rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 4096,
              "attention_factor": 1.0})",
            "attention_factor"},
           {kV3, R"("rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 4096,
              "mscale_all_dim": 1.0})",
            "mscale"},
       }) {
    EXPECT_THAT(convert(keys, other, "nemo2"), StatusIs(ErrorKind::kUnsupported, what)) << other;
  }
  for (const char* groups : {"3", "8", "null", "0.5", "1"})  // two of one group are chosen
    EXPECT_THAT(convert(kV3, fmt::format(R"("n_group": {})", groups), "nemo2"),
                StatusIs(ErrorKind::kCorrupt, "n_group: expected groups of"));
  EXPECT_THAT(convert(kV3, R"("head_dim": 1)", "nemo2"),
              StatusIs(ErrorKind::kCorrupt, "head_dim: expected that of qk_rope_head_dim"));
  const Tensors scaled = {{"model.layers.0.self_attn.o_proj.weight_scale_inv", {1, 1}}};
  EXPECT_THAT(convert(kV3, "", "nemo2", scaled), StatusIs(ErrorKind::kUnsupported, "weight_scale_inv"));
  EXPECT_THAT(convert(kV3, "", "hf", scaled), StatusIs(ErrorKind::kUnsupported, "found ones in FP8 with a scale for"));
  // Scales that do not fit, and other ways to quantize.
  const std::string quantized = Model(temp, kV3, R"("quantization_config": {"quant_method": "gptq"})", scaled);
  EXPECT_THAT(PlanConversion(quantized, temp.path() + "/out", {.to = "nemo2", .dequantize = true}),
              StatusIs(ErrorKind::kUnsupported, "quant_method: expected fp8, found gptq"));
  const Tensors more = {{"model.layers.0.self_attn.o_proj.weight_scale_inv", {2, 1}}};
  EXPECT_THAT(PlanConversion(Model(temp, kV3, "", more), temp.path() + "/out", {.to = "nemo2", .dequantize = true}),
              StatusIs(ErrorKind::kCorrupt, "o_proj.weight_scale_inv: expected a scale for each block"));
}

// A weight of one block times its scale; all else keeps its dtype.
TEST(DeepSeek, WeightsWithScalesAreMultipliedWhenAsked) {
  const TempDir temp;
  const std::string name = "model.layers.0.self_attn.o_proj.weight";
  const Tensors scaled = {{name + "_scale_inv", {1, 1}}};
  const std::string hf = Model(temp, kV3, R"("quantization_config": {"quant_method": "fp8"})", scaled),
                    nemo2 = temp.path() + "/nemo2", back = temp.path() + "/back";
  Convert(hf, nemo2, {.to = "nemo2", .dequantize = true});
  Convert(nemo2, back, {.to = "hf"});
  EXPECT_EQ(JsonOf(back + "/config.json").root().Get("quantization_config"), nullptr);
  const auto before = OpenCheckpoint(hf), after = OpenCheckpoint(back);
  ASSERT_THAT(before, IsOk());
  ASSERT_THAT(after, IsOk());
  const Tensor product = *after->weights().Find(name)->tensor();
  EXPECT_EQ(product.dtype(), DType::kBF16);
  const auto values = before->weights().Find(name)->tensor()->Read(),
             scale = before->weights().Find(name + "_scale_inv")->tensor()->Read(), found = product.Read();
  float value = 0, factor = 0;
  std::memcpy(&value, values->data() + sizeof(float), sizeof(float));
  std::memcpy(&factor, scale->data(), sizeof(float));
  uint16_t half = 0;
  std::memcpy(&half, found->data() + sizeof(half), sizeof(half));
  const uint32_t bits = uint32_t{half} << 16;
  float got = 0;
  std::memcpy(&got, &bits, sizeof(got));
  EXPECT_NEAR(got, value * factor, std::abs(value * factor) / 256);
  Digests others = DigestsOf(after->weights()), expected = DigestsOf(before->weights());
  others.erase(name);
  for (const std::string& gone : {name, name + "_scale_inv"}) expected.erase(gone);
  EXPECT_EQ(others, expected);
}

// A V2 chooses groups of experts by their best one.
TEST(DeepSeek, GroupsThatMegatronChoosesOtherwiseAreNoted) {
  const TempDir temp;
  const auto plan =
      PlanConversion(Model(temp, kV2, R"("num_experts_per_tok": 4)"), temp.path() + "/out", {.to = "nemo2"});
  ASSERT_THAT(plan, IsOk());
  EXPECT_THAT(plan->notes, Contains(HasSubstr("n_group")));
  const auto same = PlanConversion(Model(temp, kV2), temp.path() + "/out", {.to = "nemo2"});
  ASSERT_THAT(same, IsOk());
  EXPECT_THAT(same->notes, ::testing::Not(Contains(HasSubstr("n_group"))));
}

}  // namespace
}  // namespace anemone
