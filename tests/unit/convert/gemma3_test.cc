// Gemma 3's text model between Hugging Face and NeMo 2: NeMo v2.4.0 nemo/collections/llm/gpt/model/gemma3.py has pairs
// where other configs have numbers, and NeMo 1 has no such model.
#include <filesystem>

#include "engine/execute.h"
#include "engine/plan.h"
#include "family/words/hf_config.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

constexpr const char* kSizes =
    R"("architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 8, "intermediate_size": 12,
       "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 2, "vocab_size": 16,
       "max_position_embeddings": 32, "sliding_window": 8, "hidden_activation": "gelu_pytorch_tanh",
       "rms_norm_eps": 1e-06, "bos_token_id": 2, "eos_token_id": [1, 106], "pad_token_id": 0)";
// As transformers 4.50 and 5.24 write them.
constexpr const char* kFour =
    R"("query_pre_attn_scalar": 3, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
       "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window_pattern": 2, "torch_dtype": "float32")";
constexpr const char* kFive =
    R"("query_pre_attn_scalar": 3, "layer_types": ["sliding_attention", "full_attention", "sliding_attention",
       "full_attention"], "rope_parameters": {"full_attention": {"factor": 8.0, "rope_theta": 1000000.0,
       "rope_type": "linear"}, "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}},
       "dtype": "float32")";

// A folder of transformers' at `path`.
void WriteModel(const std::string& path, const std::string& keys) {
  Checkpoint model;
  model.shards.emplace_back();
  const auto config = Config::ParseJson(fmt::format("{{{}, {}}}", kSizes, keys), "config.json");
  ASSERT_THAT(config, IsOk());
  model.config = *config;
  float next = 0;
  const auto add = [&](const std::string& name, const Shape& shape) {
    std::string bytes;
    for (uint64_t i = 0; i < *NumElements(shape); ++i, next += 0.25F)
      bytes.append(reinterpret_cast<const char*>(&next), sizeof(next));
    ASSERT_THAT(model.weights().Add(name, *Tensor::FromBytes(DType::kF32, shape, bytes)), IsOk());
  };
  add("model.embed_tokens.weight", {16, 8});
  for (int layer = 0; layer < 4; ++layer) {
    const std::string top = fmt::format("model.layers.{}.", layer);
    for (const char* norm :
         {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"})
      add(fmt::format("{}{}.weight", top, norm), {8});
    for (const char* norm : {"q_norm", "k_norm"}) add(fmt::format("{}self_attn.{}.weight", top, norm), {2});
    add(top + "self_attn.q_proj.weight", {8, 8});
    for (const char* part : {"k_proj", "v_proj"}) add(fmt::format("{}self_attn.{}.weight", top, part), {4, 8});
    add(top + "self_attn.o_proj.weight", {8, 8});
    for (const char* part : {"gate_proj", "up_proj"}) add(fmt::format("{}mlp.{}.weight", top, part), {12, 8});
    add(top + "mlp.down_proj.weight", {8, 12});
  }
  add("model.norm.weight", {8});
  const auto plan = FindFormat("hf")->lay_out(model, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, path, {}), IsOk());
}

std::string Model(const TempDir& temp, const std::string& keys) {
  std::string path = temp.path() + "/hf";
  std::filesystem::remove_all(path);
  WriteModel(path, keys);
  return path;
}

TEST(Gemma3, ThereAndBackBitForBit) {
  for (const char* keys : {kFour, kFive}) {
    const TempDir temp;
    const std::string hf = Model(temp, keys), nemo2 = temp.path() + "/nemo2", back = temp.path() + "/back";
    Convert(hf, nemo2, {.to = "nemo2"});
    Convert(nemo2, back, {.to = "hf"});
    EXPECT_EQ(DigestsOf(back), DigestsOf(hf));
    EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), JsonOf(hf + "/config.json").root()));
  }
}

TEST(Gemma3, Nemo2sConfig) {
  for (const char* keys : {kFour, kFive}) {
    const TempDir temp;
    const auto plan = PlanConversion(Model(temp, keys), temp.path() + "/nemo2", {.to = "nemo2"});
    ASSERT_THAT(plan, IsOk());
    const Config& config = *plan->result.config;
    const auto is = [&](const char* key, const char* yaml) {
      const auto value = Config::ParseYaml(fmt::format("v: {}", yaml), "test");
      const ConfigNode* found = config.Find(key);
      ASSERT_NE(found, nullptr) << key;
      EXPECT_TRUE(SameConfig(*found, *value->root().Get("v"))) << key;
    };
    is("_target_", "nemo.collections.llm.gpt.model.gemma3.Gemma3Model");
    is("config._target_", "nemo.collections.llm.gpt.model.gemma3.Gemma3Config");
    is("config.rotary_base", "[10000, 1000000]");
    is("config.window_size", "8");
    is("config.interleaved_attn_pattern", "[1, 1]");
    is("config.rope_scaling_factor", "8");
    is("config.softmax_scale", "0.5773502691896258");
    is("config.vocab_size", "16");
    is("config.share_embeddings_and_output_weights", "true");
    is("config.layernorm_zero_centered_gamma", "true");
    EXPECT_THAT(plan->notes, ::testing::Contains(::testing::HasSubstr("NeMo 2.4.0")));
  }
}

TEST(Gemma3, MegatronBridgesProvider) {
  for (const char* keys : {kFour, kFive}) {
    const TempDir temp;
    const std::string hf = Model(temp, keys), bridge = temp.path() + "/bridge", back = temp.path() + "/back";
    Convert(hf, bridge, {.to = "megatron-bridge"});
    const auto checkpoint = OpenCheckpoint(bridge);
    ASSERT_THAT(checkpoint, IsOk());
    const auto is = [&](const std::string& key, const char* yaml) {
      const auto value = Config::ParseYaml(fmt::format("v: {}", yaml), "test");
      const ConfigNode* found = checkpoint->config->Find("model." + key);
      ASSERT_NE(found, nullptr) << key;
      EXPECT_TRUE(SameConfig(*found, *value->root().Get("v"))) << key;
    };
    is("_target_", "megatron.bridge.models.gemma.gemma3_provider.Gemma3ModelProvider");
    is("rotary_base", "[10000, 1000000]");
    is("window_size", "8");
    is("interleaved_attn_pattern", "[1, 1]");
    is("rope_scaling_factor", "8");
    is("softmax_scale", "0.5773502691896258");
    is("activation_func._target_", "megatron.core.activations.fast_gelu");
    is("layernorm_zero_centered_gamma", "true");
    // [067f987 gemma3_bridge.py, mapping_registry]
    for (const char* name : {"self_attention.linear_proj.post_layernorm.weight", "mlp.linear_fc2.post_layernorm.weight",
                             "self_attention.q_layernorm.weight", "self_attention.linear_qkv.layer_norm_weight",
                             "mlp.linear_fc1.layer_norm_weight"})
      EXPECT_NE(checkpoint->weights().Find(fmt::format("decoder.layers.0.{}", name)), nullptr) << name;
    Convert(bridge, back, {.to = "hf"});
    EXPECT_EQ(DigestsOf(back), DigestsOf(hf));
    const Config made = JsonOf(back + "/config.json"), was = JsonOf(hf + "/config.json");
    for (const char* key : {"query_pre_attn_scalar", "sliding_window", "head_dim", "hidden_activation"})
      EXPECT_TRUE(SameConfig(*made.root().Get(key), *was.root().Get(key))) << key;
    EXPECT_THAT(PlanConversion(hf, temp.path() + "/lm", {.to = "megatron"}),
                StatusIs(ErrorKind::kUnsupported, "activation"));
  }
}

// What NeMo's config alone tells.
TEST(Gemma3, AConfigIsMadeAnew) {
  const TempDir temp;
  const std::string hf = Model(temp, kFive), nemo2 = temp.path() + "/nemo2", back = temp.path() + "/back";
  Convert(hf, nemo2, {.to = "nemo2"});
  std::filesystem::remove(nemo2 + "/context/config.json");
  Convert(nemo2, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(hf));
  const Config made = JsonOf(back + "/config.json");
  const auto four = Config::ParseJson(fmt::format("{{{}, {}}}", kSizes, kFour), "config.json");
  for (const auto& [key, value] : four->root().map) {
    if (key.ends_with("_token_id")) continue;  // the tokenizer's, which there is none of
    const ConfigNode* found = made.root().Get(key);
    ASSERT_NE(found, nullptr) << key;
    EXPECT_TRUE(SameConfig(*found, value)) << key;
  }
}

// transformers 5.24 configuration_gemma3.py: the name that it saves a period under says nothing without `layer_types`.
TEST(Gemma3, ThePeriodIsThatOfTheNameThatIsRead) {
  const auto locals = [](const std::string& keys) {
    const TempDir temp;
    const auto checkpoint = OpenCheckpoint(Model(temp, keys));
    EXPECT_THAT(checkpoint, IsOk());
    ConfigNode json = checkpoint->config->root();
    json.Erase("layer_types");
    const auto words = Nemo1OfHf(json, nullptr);
    EXPECT_THAT(words, IsOk());
    if (!words.ok()) return std::optional<int64_t>();
    return words->Get("interleaved_attn_pattern")->list.front().AsInt();
  };
  EXPECT_EQ(locals(R"("_sliding_window_pattern": 2, "sliding_window_pattern": 3)"), 2);
  EXPECT_EQ(locals(R"("_sliding_window_pattern": 2, "sliding_window_pattern": 6)"), 5);
}

TEST(Gemma3, WhatIsNotCarriedIsRefusedByName) {
  const TempDir temp;
  const auto convert = [&](const std::string& keys, const char* to) {
    return PlanConversion(Model(temp, keys), temp.path() + "/out", {.to = to});
  };
  EXPECT_THAT(convert(kFour, "nemo"), StatusIs(ErrorKind::kUnsupported, "found Gemma 3"));
  for (const auto& [keys, what] : {
           std::pair{R"("attn_logit_softcapping": 50.0)", "attn_logit_softcapping"},
           {R"("final_logit_softcapping": 30.0)", "final_logit_softcapping"},
           {R"("use_bidirectional_attention": true)", "use_bidirectional_attention"},
           {R"("rope_scaling": {"rope_type": "yarn", "factor": 2.0})", "rope_type"},
           {R"("rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}})", "sliding_attention"},
           {R"("layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"])",
            "layer_types"},
       }) {
    EXPECT_THAT(convert(keys, "nemo2"), StatusIs(ErrorKind::kUnsupported, what));
  }
}

}  // namespace
}  // namespace anemone
