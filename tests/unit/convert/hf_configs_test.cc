// Configs of Hugging Face's that people have and no golden file is of: models that only their words tell apart, files
// that older versions wrote, keys that say nothing. From a trainer's file a config.json is made anew.
#include "anemone/save.h"
#include "family/words/hf_config.h"
#include "testing/temp_dir.h"
#include "unit/convert/hollow_model.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

// The same with other values, by YAML.
ConfigNode With(ConfigNode config, std::string_view yaml) {
  const auto values = Config::ParseYaml(yaml, "test");
  EXPECT_THAT(values, IsOk());
  for (const auto& [key, value] : values->root().map) config[key] = value;
  return config;
}

ConfigNode ModelOf(const char* architecture, const char* type, const char* yaml) {
  ConfigNode config = ConfigNode::Map();
  config["architectures"] = ConfigNode::List({ConfigNode::String(architecture)});
  config["model_type"] = ConfigNode::String(type);
  config = With(config,
                "{hidden_size: 12, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, "
                "intermediate_size: 20, vocab_size: 31, max_position_embeddings: 64, torch_dtype: float32}");
  return With(config, yaml);
}

void WriteHollow(const ConfigNode& config, const std::string& folder) {
  const auto model = Hollow(config);
  ASSERT_THAT(model, IsOk());
  const auto conversion = PlanSave(*model, folder, {.to = "hf"});
  ASSERT_THAT(conversion, IsOk());
  ASSERT_THAT(RunConversion(*conversion, {}), IsOk());
}

struct Model {
  const char *architecture, *type, *yaml;
};
constexpr Model kToldByWords[] = {
    {"LlamaForCausalLM", "llama", "{attention_bias: true, mlp_bias: true, head_dim: 10, num_key_value_heads: 1}"},
    {"LlamaForCausalLM", "llama", "{hidden_act: gelu}"},
    {"LlamaForCausalLM", "llama", "{hidden_act: gelu_pytorch_tanh}"},
    {"LlamaForCausalLM", "llama", "{hidden_act: relu}"},
    {"MistralForCausalLM", "mistral", "{head_dim: 8, sliding_window: null}"},
    {"Phi3ForCausalLM", "phi3",
     "{partial_rotary_factor: 0.5, head_dim: 4, num_attention_heads: 3, "
     "num_key_value_heads: 1}"},
    {"NemotronForCausalLM", "nemotron", "{hidden_act: gelu}"},
    {"FalconForCausalLM", "falcon", "{new_decoder_architecture: true, num_kv_heads: 1, tie_word_embeddings: false}"},
    {"FalconForCausalLM", "falcon", "{parallel_attn: false, multi_query: false, bias: true}"},
    {"FalconForCausalLM", "falcon", "{new_decoder_architecture: true, num_kv_heads: 2, ffn_hidden_size: 20}"},
};

// A config.json, and the one that comes back of a model that went through a format with all its tensors.
struct ThereAndBack {
  Config before, after;
};
ThereAndBack Through(const std::string& format, const ConfigNode& config) {
  const TempDir temp;
  const std::string hf = temp / "hf", there = temp / "there", back = temp / "back";
  WriteHollow(config, hf);
  Convert(hf, there, {.to = format});
  Convert(there, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(hf));
  return {JsonOf(hf + "/config.json"), JsonOf(back + "/config.json")};
}

TEST(HfConfigs, AModelIsToldByItsWords) {
  for (const Model& model : kToldByWords) {
    SCOPED_TRACE(fmt::format("{}: {}", model.architecture, model.yaml));
    EXPECT_EQ(Through("ckpt", ModelOf(model.architecture, model.type, model.yaml))
                  .after.root()
                  .Get("architectures")
                  ->list.front()
                  .AsString(),
              model.architecture);
  }
}

// What changes nothing of what a model computes, and must come back as it was.
constexpr Model kComesBack[] = {
    {"LlamaForCausalLM", "llama", "{torch_dtype: null}"},
    {"LlamaForCausalLM", "llama",
     "{rope_theta: 10000.0, rope_parameters: {rope_type: default, rope_theta: 10000.0, "
     "partial_rotary_factor: 0.5}}"},
    {"LlamaForCausalLM", "llama", "{rope_scaling: {type: linear, factor: 1.0}, partial_rotary_factor: 0.5}"},
    {"Gemma2ForCausalLM", "gemma2", "{head_dim: 8, layer_types: [sliding_attention, full_attention]}"},
};

TEST(HfConfigs, WhatSaysNothingComesBack) {
  for (const Model& model : kComesBack) {
    SCOPED_TRACE(fmt::format("{}: {}", model.architecture, model.yaml));
    const ThereAndBack json = Through("nemo", ModelOf(model.architecture, model.type, model.yaml));
    EXPECT_TRUE(SameConfig(json.after.root(), json.before.root()));
  }
}

constexpr Model kEverywhere[] = {
    {"Qwen3ForCausalLM", "qwen3", "{head_dim: 5, tie_word_embeddings: true}"},
    {"Qwen3MoeForCausalLM", "qwen3_moe",
     "{head_dim: 5, num_experts: 3, num_experts_per_tok: 2, moe_intermediate_size: 6, norm_topk_prob: true}"},
    {"NemotronForCausalLM", "nemotron", "{head_dim: 8, partial_rotary_factor: 0.25}"},
    {"Phi3ForCausalLM", "phi3", "{sliding_window: 37}"},
    {"GPTNeoXForCausalLM", "gpt_neox", "{use_parallel_residual: false, num_key_value_heads: 4}"},
};

TEST(HfConfigs, NemoTwoAndMegatronGiveThemBack) {
  for (const Model& model : kEverywhere) {
    for (const char* format : {"nemo2", "megatron", "megatron-bridge"}) {
      SCOPED_TRACE(fmt::format("{}: {}", model.architecture, format));
      Through(format, ModelOf(model.architecture, model.type, model.yaml));
    }
  }
}

TEST(HfConfigs, NemoTwoGivesBackGemma2AndGpt2) {
  const ConfigNode gpt2 = With(ConfigNode::Map(),
                               "{architectures: [GPT2LMHeadModel], model_type: gpt2, n_embd: 12, n_layer: 2, n_head: "
                               "4, n_positions: 16, vocab_size: 31, torch_dtype: float32}");
  for (const ConfigNode& config :
       {ModelOf("Gemma2ForCausalLM", "gemma2", "{head_dim: 5, attn_logit_softcapping: null}"), gpt2}) {
    const ThereAndBack json = Through("nemo2", config);
    EXPECT_TRUE(SameConfig(json.after.root(), json.before.root()));
  }
}

// One class of NeMo 2's scales positions as Llama 3.1 does, and it builds what its fields say; Gemma's scales none.
TEST(HfConfigs, NemoTwoScalesThePositionsOfEveryClass) {
  constexpr const char* kScaled =
      "{rope_scaling: {rope_type: llama3, factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, "
      "original_max_position_embeddings: 16}}";
  for (const Model& model :
       {Model{"LlamaForCausalLM", "llama", "{head_dim: 5}"},
        {"MistralForCausalLM", "mistral", "{sliding_window: 37}"},
        {"MixtralForCausalLM", "mixtral", "{num_local_experts: 3, num_experts_per_tok: 2, sliding_window: null}"},
        {"Qwen2ForCausalLM", "qwen2", "{}"},
        {"Qwen3ForCausalLM", "qwen3", "{head_dim: 5}"},
        {"Qwen3MoeForCausalLM", "qwen3_moe",
         "{num_experts: 3, num_experts_per_tok: 2, moe_intermediate_size: 6, norm_topk_prob: true}"}}) {
    SCOPED_TRACE(model.architecture);
    const ThereAndBack json = Through("nemo2", With(ModelOf(model.architecture, model.type, model.yaml), kScaled));
    EXPECT_TRUE(SameConfig(json.after.root(), json.before.root()));
  }
  const auto gemma = Hollow(With(ModelOf("GemmaForCausalLM", "gemma", "{}"), kScaled));
  ASSERT_THAT(gemma, IsOk());
  EXPECT_THAT(PlanSave(*gemma, "/no/such/folder/out", {.to = "nemo2"}),
              StatusIs(ErrorKind::kUnsupported, "apply_embedding_scaling"));
}

// Every architecture with rotary positions, and the kinds of scaling that each carries there and back; others are
// refused by the key that the file has, of transformers 4 or 5.
struct Scaling {
  Model model;
  std::set<std::string> carried;
};
const Scaling kScalings[] = {
    {{"LlamaForCausalLM", "llama", "{}"}, {"linear", "llama3"}},
    {{"MistralForCausalLM", "mistral", "{sliding_window: null}"}, {"linear", "llama3"}},
    {{"MixtralForCausalLM", "mixtral", "{num_local_experts: 3, num_experts_per_tok: 2, sliding_window: null}"},
     {"linear", "llama3"}},
    {{"Qwen2ForCausalLM", "qwen2", "{}"}, {"linear", "llama3"}},
    {{"Qwen3ForCausalLM", "qwen3", "{head_dim: 4}"}, {"linear", "llama3"}},
    {{"Qwen3MoeForCausalLM", "qwen3_moe",
      "{head_dim: 4, num_experts: 3, num_experts_per_tok: 2, moe_intermediate_size: 6, norm_topk_prob: true}"},
     {"linear", "llama3"}},
    {{"GemmaForCausalLM", "gemma", "{head_dim: 4}"}, {"linear"}},
    {{"Gemma2ForCausalLM", "gemma2", "{head_dim: 4}"}, {"linear"}},
    {{"Gemma3ForCausalLM", "gemma3_text", "{head_dim: 4, num_hidden_layers: 2}"}, {"linear"}},
    {{"NemotronForCausalLM", "nemotron", "{head_dim: 4}"}, {"linear"}},
    {{"Starcoder2ForCausalLM", "starcoder2", "{}"}, {"linear"}},
    {{"Phi3ForCausalLM", "phi3", "{}"}, {"linear", "llama3"}},
    {{"GPTNeoXForCausalLM", "gpt_neox", "{use_parallel_residual: false, num_key_value_heads: 4}"}, {"linear"}},
    {{"DeepseekV3ForCausalLM", "deepseek_v3",
      "{num_key_value_heads: 4, q_lora_rank: 6, kv_lora_rank: 5, qk_nope_head_dim: 4, qk_rope_head_dim: 2, v_head_dim: "
      "3, n_routed_experts: 8, n_group: 4, topk_group: 2, num_experts_per_tok: 4, first_k_dense_replace: 1, "
      "moe_intermediate_size: 6, n_shared_experts: 1}"},
     {"yarn"}},
};
constexpr std::pair<const char*, const char*> kScalingKinds[] = {
    {"linear", "rope_type: linear, factor: 2.5"},
    {"dynamic", "rope_type: dynamic, factor: 2.0"},
    {"yarn", "rope_type: yarn, factor: 4.0, original_max_position_embeddings: 16"},
    {"longrope", "rope_type: longrope, short_factor: [1.0], long_factor: [2.0], original_max_position_embeddings: 16"},
    {"llama3",
     "rope_type: llama3, factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: "
     "16"},
};

TEST(HfConfigs, EachKindOfScaledPositionsIsCarriedOrRefusedByKey) {
  for (const Scaling& scaling : kScalings) {
    for (const auto& [kind, yaml] : kScalingKinds) {
      for (const bool is_five : {false, true}) {
        const char* key = is_five ? "rope_parameters" : "rope_scaling";
        const bool is_gemma3 = std::string_view(scaling.model.type) == "gemma3_text";
        const std::string value = !is_five ? fmt::format("{{rope_scaling: {{{}}}}}", yaml)
                                  : is_gemma3
                                      ? fmt::format(
                                            "{{rope_parameters: {{full_attention: {{rope_theta: 10000.0, {}}}, "
                                            "sliding_attention: {{rope_type: default, rope_theta: 10000.0}}}}}}",
                                            yaml)
                                      : fmt::format("{{rope_parameters: {{rope_theta: 10000.0, {}}}}}", yaml);
        SCOPED_TRACE(fmt::format("{}: {}", scaling.model.architecture, value));
        const ConfigNode config =
            With(ModelOf(scaling.model.architecture, scaling.model.type, scaling.model.yaml), value.c_str());
        if (scaling.carried.contains(kind)) {
          const ThereAndBack json = Through("nemo2", config);
          EXPECT_TRUE(SameConfig(json.after.root(), json.before.root()));
          continue;
        }
        const auto model = Hollow(config);
        const auto plan =
            model.ok() ? PlanSave(*model, "/no/such/folder/out", {.to = "nemo2"}).status() : model.status();
        EXPECT_THAT(plan, StatusIs(ErrorKind::kUnsupported, model.ok() ? "expected" : key));
      }
    }
  }
}

// Megatron-Bridge's provider has fields for YaRN; Megatron-LM, NeMo 1 and NeMo 2 have none
// (tests/interop/megatron/yarn_test.py).
TEST(HfConfigs, YarnGoesToMegatronBridgeAlone) {
  for (const Scaling& scaling : kScalings) {
    const std::string_view type = scaling.model.type;
    if (type == "deepseek_v3" || type == "gemma3_text") continue;  // whose positions are others
    SCOPED_TRACE(type);
    const ConfigNode config = With(ModelOf(scaling.model.architecture, scaling.model.type, scaling.model.yaml),
                                   "{rope_scaling: {rope_type: yarn, factor: 4.0, original_max_position_embeddings: "
                                   "16, beta_fast: 16, mscale: 0.5, mscale_all_dim: 0.25, truncate: false}}");
    const auto model = Hollow(config);
    ASSERT_THAT(model, IsOk());
    for (const auto& [to, key] : {std::pair{"nemo", "rope_type: expected none, linear or llama3"},
                                  {"nemo2", "position_embedding_type: expected rope"},
                                  {"megatron", "position_embedding_type: expected rope"}}) {
      const bool is_other = type.starts_with("gemma") || type == "gpt_neox";  // which some refuse by another key
      EXPECT_THAT(PlanSave(*model, "/no/such/folder/out", {.to = to}),
                  StatusIs(ErrorKind::kUnsupported, is_other ? "expected" : key))
          << to;
    }
    if (type == "nemotron" || type.starts_with("gemma") || type == "gpt_neox") {
      EXPECT_FALSE(PlanSave(*model, "/no/such/folder/out", {.to = "megatron-bridge"}).ok());
      continue;
    }
    const ThereAndBack json = Through("megatron-bridge", config);
    EXPECT_TRUE(SameConfig(json.after.root(), json.before.root()));
  }
}

// Numbers of which transformers 5.24 makes no model, or one that computes NaN: the same rule in every family.
TEST(HfConfigs, NumbersThatNoModelIsMadeOfAreRefused) {
  const Model llama{"LlamaForCausalLM", "llama", "{}"},
      qwen2{"Qwen2ForCausalLM", "qwen2", "{use_sliding_window: true, max_window_layers: 0, sliding_window: 8}"},
      gemma2{"Gemma2ForCausalLM", "gemma2", "{head_dim: 4}"},
      gemma3{"Gemma3ForCausalLM", "gemma3_text", "{head_dim: 4}"}, mixtral{"MixtralForCausalLM", "mixtral", "{}"};
  const struct {
    Model model;
    const char *yaml, *what;
  } kCases[] = {
      {llama, "{attention_dropout: 1.5}", "attention_dropout: expected a number from 0 to 1, found 1.5"},
      {llama, "{attention_dropout: null}", "attention_dropout: expected a number, found null"},
      {llama, "{attention_dropout: true}", "attention_dropout: expected a number, found true"},
      {llama, "{attention_dropout: .nan}", "attention_dropout: expected a number from 0 to 1"},
      {llama, "{initializer_range: -0.02}", "initializer_range: expected a number from 0 to 1, found -0.02"},
      {llama, "{rms_norm_eps: -1}", "rms_norm_eps: expected a number of at least 0, found -1"},
      {llama, "{rope_theta: 0}", "rope_theta: expected a number above 0, found 0"},
      {llama, "{rope_parameters: {rope_theta: -1}}", "rope_parameters.rope_theta: expected a number above 0, found -1"},
      {llama, "{rope_parameters: [1]}", "rope_parameters: expected a map, found a list"},
      {llama, "{rope_scaling: {rope_type: null}}", "rope_scaling.rope_type: expected a name, found null"},
      {llama, "{max_position_embeddings: null}", "max_position_embeddings: expected a whole number"},
      {llama, "{pad_token_id: 31}", "pad_token_id: expected one of 31 rows of the vocabulary, found 31"},
      {llama, "{rope_scaling: {rope_type: yarn, factor: 2.0}, rope_theta: 1}",
       "rope_theta: expected a number other than 1"},
      {qwen2, "{sliding_window: null}", "sliding_window: expected a number beside use_sliding_window, found nothing"},
      {gemma2, "{query_pre_attn_scalar: 0}", "query_pre_attn_scalar: expected a whole number above 0, found 0"},
      {gemma2, "{query_pre_attn_scalar: 2.5}", "query_pre_attn_scalar: expected a whole number above 0, found 2.5"},
      {gemma2, "{attn_logit_softcapping: 0}", "attn_logit_softcapping: expected a number above 0, found 0"},
      {gemma3, "{query_pre_attn_scalar: 0}", "query_pre_attn_scalar: expected a whole number above 0, found 0"},
      {gemma3, "{rope_parameters: {full_attention: odd}}", "rope_parameters.full_attention: expected a map, found"},
      {gemma3, "{layer_types: [full_attention]}", "layer_types: expected one for each of 2 layers, found 1"},
      {gemma3, "{layer_types: [sliding_attention, odd]}", "layer_types: expected full_attention or sliding_attention"},
      {mixtral, "{num_experts_per_tok: null}", "num_experts_per_tok: expected a number, found nothing"},
      {mixtral, "{num_experts_per_tok: 0.5}", "num_experts_per_tok: expected 1 to 8, the number of experts, found 0.5"},
  };
  for (const auto& [model, yaml, what] : kCases) {
    SCOPED_TRACE(fmt::format("{}: {}", model.architecture, yaml));
    const ConfigNode config = ModelOf(model.architecture, model.type, model.yaml);
    EXPECT_THAT(Nemo1OfHf(config, nullptr), IsOk());
    const auto read = Nemo1OfHf(With(config, yaml), nullptr);
    ASSERT_FALSE(read.ok());
    EXPECT_THAT(read.status().error().what, ::testing::HasSubstr(what));
  }
}

// Some classes give the row no meaning.
TEST(HfConfigs, ARowOfPaddingThatNothingIsMadeWithIsLeftAlone) {
  EXPECT_THAT(
      Nemo1OfHf(ModelOf("GPTNeoXForCausalLM", "gpt_neox", "{num_key_value_heads: 4, pad_token_id: 31}"), nullptr),
      IsOk());
}

// A list that a class does not read must not contradict what it computes; nor must versions differ.
TEST(HfConfigs, AWindowThatLayerTypesContradictIsRefused) {
  const char* kFull = "{sliding_window: 8, layer_types: [full_attention, full_attention]}";
  const char* kUsed = "{use_sliding_window: true, sliding_window: 8}";
  for (const auto& [name, type] : {std::pair{"MixtralForCausalLM", "mixtral"},
                                   {"Starcoder2ForCausalLM", "starcoder2"},
                                   {"Phi3ForCausalLM", "phi3"}}) {
    EXPECT_THAT(Nemo1OfHf(ModelOf(name, type, kFull), nullptr),
                StatusIs(ErrorKind::kCorrupt, "layer_types: expected sliding_attention beside sliding_window: 8"));
  }
  const ConfigNode qwen3_moe = ModelOf("Qwen3MoeForCausalLM", "qwen3_moe", "{}");
  EXPECT_THAT(Nemo1OfHf(With(qwen3_moe, kFull), nullptr), IsOk());  // its window is not used
  EXPECT_THAT(Nemo1OfHf(With(With(qwen3_moe, kFull), kUsed), nullptr),
              StatusIs(ErrorKind::kCorrupt, "layer_types: expected sliding_attention"));
  EXPECT_THAT(Nemo1OfHf(With(qwen3_moe, kUsed), nullptr),
              StatusIs(ErrorKind::kUnsupported, "max_window_layers: expected 0"));
  EXPECT_THAT(Nemo1OfHf(With(With(qwen3_moe, kUsed), "{max_window_layers: 0}"), nullptr), IsOk());
  EXPECT_THAT(Nemo1OfHf(ModelOf("MistralForCausalLM", "mistral", kFull), nullptr), IsOk());
}

TEST(HfConfigs, AHeadOfAnotherWidthThanItsRotationIsRefused) {
  const auto neox = [](const char* yaml) {
    return Nemo1OfHf(ModelOf("GPTNeoXForCausalLM", "gpt_neox", yaml), nullptr);
  };
  const auto plain = neox("{}");
  ASSERT_THAT(plain, IsOk());
  const int64_t width = *plain->Get("hidden_size")->AsInt() / *plain->Get("num_attention_heads")->AsInt();
  EXPECT_THAT(neox(fmt::format("{{head_dim: {}}}", width).c_str()), IsOk());
  EXPECT_THAT(neox(fmt::format("{{head_dim: {}}}", 2 * width).c_str()),
              StatusIs(ErrorKind::kUnsupported, "head_dim: expected"));
}

// Version 5 of transformers takes no 1 for a float, and no null for a size.
TEST(HfConfigs, NumbersAreWrittenInTheTypeOfTheirFields) {
  const ConfigNode model = With(
      ConfigNode::Map(),
      "{num_layers: 2, hidden_size: 8, ffn_hidden_size: 20, num_attention_heads: 2, max_position_embeddings: 64, bias: "
      "false, normalization: rmsnorm, layernorm_epsilon: 1, activation: fast-swiglu, position_embedding_type: rope, "
      "init_method_std: 1, qk_layernorm: true, multi_latent_attention: true, kv_lora_rank: 8, qk_head_dim: 4, "
      "qk_pos_emb_head_dim: 4, v_head_dim: 4, rope_type: rope, num_moe_experts: 4, moe_ffn_hidden_size: 6, "
      "moe_router_topk: 2, share_embeddings_and_output_weights: false}");
  const char* kV3 = "{moe_router_score_function: sigmoid, moe_router_enable_expert_bias: true}";
  const char* kV2 = "{moe_router_pre_softmax: true}";
  for (const auto& [name, yaml] : {std::pair{"DeepseekV2ForCausalLM", kV2}, {"DeepseekV3ForCausalLM", kV3}}) {
    const HfArchitecture* architecture = FindHfArchitecture(std::string_view(name));
    const auto json = HfOfNemo1(With(model, yaml), {.architecture = architecture, .vocab_rows = 31}, nullptr);
    ASSERT_THAT(json, IsOk());
    for (const char* key : {"rms_norm_eps", "initializer_range", "routed_scaling_factor"}) {
      ASSERT_NE(json->Get(key), nullptr) << key;
      EXPECT_EQ(json->Get(key)->kind, ConfigNode::Kind::kFloat) << key;
    }
    ASSERT_NE(json->Get("intermediate_size"), nullptr);
    EXPECT_EQ(json->Get("intermediate_size")->AsInt(), 20);
  }
}

// What Megatron does with tokens, and no class of transformers says.
TEST(HfConfigs, RoutingThatNoClassSaysIsRefusedOrNoted) {
  const ConfigNode model = With(
      ConfigNode::Map(),
      "{num_layers: 2, hidden_size: 8, ffn_hidden_size: 20, num_attention_heads: 2, max_position_embeddings: 64, bias: "
      "false, normalization: rmsnorm, activation: fast-swiglu, position_embedding_type: rope, num_moe_experts: 4, "
      "share_embeddings_and_output_weights: false}");
  const HfRequest request = {.architecture = FindHfArchitecture(std::string_view("MixtralForCausalLM")),
                             .vocab_rows = 31};
  for (const char* key : {"moe_router_load_balancing_type: sinkhorn", "moe_router_topk_limited_devices: 2"})
    EXPECT_THAT(HfOfNemo1(With(model, fmt::format("{{{}}}", key)), request, nullptr),
                StatusIs(ErrorKind::kUnsupported, std::string_view(key).substr(0, 15)))
        << key;
  for (const auto& [value, count] : {std::pair{"1.25", 1U}, {"null", 0U}, {"-1", 0U}}) {
    std::vector<std::string> notes;
    EXPECT_THAT(HfOfNemo1(With(model, fmt::format("{{moe_router_load_balancing_type: none, "
                                                  "moe_expert_capacity_factor: {}}}",
                                                  value)),
                          request, &notes),
                IsOk());
    EXPECT_EQ(notes.size(), count) << value;
  }
}

TEST(HfConfigs, TheDtypeOfSomeWeightsStaysTheModels) {
  const TempDir temp;
  const std::string hf = temp.path() + "/hf", nemo = temp.path() + "/m.nemo", back = temp.path() + "/back",
                    cast = temp.path() + "/cast";
  auto model = Hollow(ModelOf("LlamaForCausalLM", "llama", "{}"));
  ASSERT_THAT(model, IsOk());
  StateDict mixed;
  for (const StateDict::Item& item : model->weights().items()) {
    const bool is_norm = item.name.find("norm") != std::string::npos;
    ASSERT_THAT(mixed.Add(item.name, is_norm ? *item.tensor() : *item.tensor()->Cast(DType::kBF16)), IsOk());
  }
  model->weights() = std::move(mixed);
  const auto conversion = PlanSave(*model, hf, {.to = "hf"});
  ASSERT_THAT(conversion, IsOk());
  ASSERT_THAT(RunConversion(*conversion, {}), IsOk());
  Convert(hf, nemo, {});
  Convert(nemo, back, {.to = "hf"});
  EXPECT_EQ(JsonOf(back + "/config.json").root().Get("torch_dtype")->AsString(), "float32");
  Convert(nemo, cast, {.to = "hf", .dtype = DType::kBF16});
  EXPECT_EQ(JsonOf(cast + "/config.json").root().Get("torch_dtype")->AsString(), "bfloat16");
}

// The first files of GPT-2 have names without "transformer." and masks of attention.
TEST(HfConfigs, TheFirstFilesOfGpt2AreRead) {
  const TempDir temp;
  const std::string hf = temp.path() + "/hf", bare = temp.path() + "/bare", nemo = temp.path() + "/m.nemo",
                    back = temp.path() + "/back";
  const ConfigNode config =
      With(ConfigNode::Map(),
           "{architectures: [GPT2LMHeadModel], model_type: gpt2, n_embd: 12, n_layer: 2, n_head: 4, n_positions: 16, "
           "n_ctx: 16, vocab_size: 31, torch_dtype: float32}");
  WriteHollow(config, hf);
  auto model = Hollow(config);
  ASSERT_THAT(model, IsOk());
  StateDict old;
  for (const StateDict::Item& item : model->weights().items())
    ASSERT_THAT(old.Add(item.name.substr(std::string_view("transformer.").size()), *item.tensor()), IsOk());
  ASSERT_THAT(old.Add("h.0.attn.bias", *Tensor::Fill(DType::kF32, {1, 1, 16, 16}, 1)), IsOk());
  model->weights() = std::move(old);
  const auto plan = FindFormat("hf")->lay_out(*model, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, bare, {}), IsOk());
  Convert(bare, nemo, {});
  Convert(nemo, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(hf));
}

TEST(HfConfigs, AFrequencyBesideTheLayersIsLeftOut) {
  const TempDir temp;
  const std::string hf = temp.path() + "/hf", nemo = temp.path() + "/m.nemo", back = temp.path() + "/back";
  auto model = Hollow(ModelOf("LlamaForCausalLM", "llama", "{}"));
  ASSERT_THAT(model, IsOk());
  ASSERT_THAT(model->weights().Add("model.rotary_emb.inv_freq", *Tensor::Fill(DType::kF32, {6}, 1)), IsOk());
  const auto plan = FindFormat("hf")->lay_out(*model, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, hf, {}), IsOk());
  Convert(hf, nemo, {});
  Convert(nemo, back, {.to = "hf"});
  Digests expected = DigestsOf(hf);
  EXPECT_EQ(expected.erase("model.rotary_emb.inv_freq"), 1U);
  EXPECT_EQ(DigestsOf(back), expected);
}

// NeMo takes four widths where an MLP's size is not said, and each class of transformers a number of its own.
TEST(HfConfigs, AnMlpOfFourWidthsIsSaid) {
  for (const char* model : {"transformers5/llama_tied", "transformers5/qwen3", "transformers5/nemotron"}) {
    auto json =
        Config::ParseJson(*Whole(*OpenFile(testing::Golden(model) + "/config.json")).ReadAll(1 << 20), "config.json");
    ASSERT_THAT(json, IsOk());
    const int64_t width = *json->root().Get("hidden_size")->AsInt();
    json->root()["intermediate_size"] = ConfigNode::Int(4 * width);
    const auto words = Nemo1OfHf(json->root(), nullptr);
    ASSERT_THAT(words, IsOk());
    const auto anew = HfOfNemo1(*words, {.architecture = FindHfArchitecture(json->root())}, nullptr);
    ASSERT_THAT(anew, IsOk());
    ASSERT_NE(anew->Get("intermediate_size"), nullptr) << model;
    EXPECT_EQ(anew->Get("intermediate_size")->AsInt(), 4 * width) << model;
  }
}

}  // namespace
}  // namespace anemone
