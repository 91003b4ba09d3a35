#include "family/words/nemo2_config.h"

#include <fmt/format.h>

#include "testing/matchers.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;

Config Yaml(std::string_view text) { return *Config::ParseYaml(text, "test"); }

constexpr std::string_view kLlama =
    "precision: bf16\nmcore_gpt: true\nnum_layers: 2\nhidden_size: 48\nffn_hidden_size: 80\nnum_attention_heads: 4\n"
    "num_query_groups: 2\nencoder_seq_length: 64\nmax_position_embeddings: 64\nnormalization: rmsnorm\nbias: false\n"
    "activation: fast-swiglu\nposition_embedding_type: rope\nrotary_percentage: 0.5\nlayernorm_epsilon: 1e-6\n"
    "share_embeddings_and_output_weights: false\ntensor_model_parallel_size: 2\n"
    "tokenizer: {library: sentencepiece, model: 'nemo:0123_spm.model'}\noptim: {name: fused_adam}\n";

// N2-5
TEST(Nemo2Config, ALlamaThereAndBack) {
  const Config nemo1 = Yaml(kLlama);
  ANEMONE_ASSERT_ASSIGN(const ConfigNode nemo2, ToNemo2Config(nemo1.root(), {.tokenizer = "0123_spm.model"}));
  EXPECT_TRUE(IsNemo2Config(nemo2));
  EXPECT_FALSE(IsNemo2Config(nemo1.root()));
  const Config read(nemo2);
  EXPECT_EQ(read.Find("_target_")->AsString(), "nemo.collections.llm.gpt.model.llama.LlamaModel");
  EXPECT_EQ(read.Find("config.activation_func._target_")->AsString(), "torch.nn.functional.silu");
  EXPECT_EQ(read.Find("config.gated_linear_unit")->AsBool(), true);
  EXPECT_EQ(read.Find("config.normalization")->AsString(), "RMSNorm");
  EXPECT_EQ(read.Find("config.add_bias_linear")->AsBool(), false);
  EXPECT_EQ(read.Find("config.seq_length")->AsInt(), 64);
  EXPECT_EQ(read.Find("config.bf16")->AsBool(), true);
  EXPECT_EQ(read.Find("tokenizer.model_path")->AsString(), "0123_spm.model");

  ANEMONE_ASSERT_ASSIGN(const ConfigNode back, ToNemo1Config(nemo2));
  for (const auto& [key, value] : nemo1.root().map) {
    if (key == "tokenizer" || key == "optim") continue;
    ASSERT_NE(back.Get(key), nullptr) << key;
    EXPECT_TRUE(SameConfig(*back.Get(key), value)) << key;
  }
  EXPECT_TRUE(back.Get("optim")->is_map());
}

TEST(Nemo2Config, EveryActivationAndNormSurvives) {
  for (const char* activation : {"gelu", "fast-swiglu", "fast-geglu", "fast-reglu", "squared-relu", "approx-gelu"}) {
    for (const char* norm : {"layernorm", "layernorm1p", "rmsnorm"}) {
      Config nemo1 = Yaml("num_layers: 1\nhidden_size: 8\nnum_attention_heads: 2\n");
      ASSERT_THAT(nemo1.Set("activation", ConfigNode::String(activation)), IsOk());
      ASSERT_THAT(nemo1.Set("normalization", ConfigNode::String(norm)), IsOk());
      ANEMONE_ASSERT_ASSIGN(const ConfigNode nemo2, ToNemo2Config(nemo1.root(), {}));
      ANEMONE_ASSERT_ASSIGN(const ConfigNode back, ToNemo1Config(nemo2));
      EXPECT_EQ(back.Get("activation")->AsString(), activation);
      EXPECT_EQ(back.Get("normalization")->AsString(), norm);
    }
  }
}

TEST(Nemo2Config, ClipsTowers) {
  const Config nemo1 = Yaml(
      "precision: 32\nmcore_gpt: true\noutput_dim: 32\nvision: {patch_dim: 8, img_h: 32, img_w: 32, output_dim: 32, "
      "class_token_length: 1, num_layers: 3, hidden_size: 64, num_attention_heads: 4, activation: approx-gelu}\n"
      "text: {output_dim: 32, max_position_embeddings: 77, encoder_seq_length: 77, num_layers: 2, hidden_size: 48, "
      "num_attention_heads: 4, activation: approx-gelu}\n");
  ANEMONE_ASSERT_ASSIGN(const ConfigNode nemo2, ToNemo2Config(nemo1.root(), {}));
  EXPECT_EQ(Config(nemo2).Find("config.text_transformer_config.max_seq_length")->AsInt(), 77);
  EXPECT_EQ(Config(nemo2).Find("config.vision_transformer_config.class_token_len")->AsInt(), 1);
  ANEMONE_ASSERT_ASSIGN(const ConfigNode back, ToNemo1Config(nemo2));
  for (const char* tower : {"vision", "text"}) {
    for (const auto& [key, value] : nemo1.root().Get(tower)->map) {
      ASSERT_NE(back.Get(tower)->Get(key), nullptr) << tower << "." << key;
      EXPECT_TRUE(SameConfig(*back.Get(tower)->Get(key), value)) << tower << "." << key;
    }
  }
}

TEST(Nemo2Config, ALlavaThereAndBack) {
  Config nemo1 = Yaml(kLlama);
  ASSERT_THAT(
      nemo1.Set("mm_cfg", Yaml("vision_encoder: {from_hf: true, from_pretrained: openai/clip-vit-large-patch14-336, "
                               "hidden_size: 1024, patch_dim: 14, crop_size: [336, 336], class_token_length: 1, "
                               "vision_select_layer: -2}\nmm_mlp_adapter_type: mlp2x_gelu\n")
                              .root()),
      IsOk());
  ANEMONE_ASSERT_ASSIGN(const ConfigNode nemo2, ToNemo2Config(nemo1.root(), {}));
  const Config read(nemo2);
  EXPECT_EQ(read.Find("_target_")->AsString(), "nemo.collections.vlm.neva.model.llava.LlavaModel");
  EXPECT_EQ(read.Find("config.language_transformer_config.hidden_size")->AsInt(), 48);
  EXPECT_EQ(read.Find("config.vision_projection_config.input_size")->AsInt(), 1024);
  // All that the tower's class of NeMo 2.0.0 takes; patches and pictures come back from the published name.
  EXPECT_EQ(read.Find("config.vision_transformer_config")->map.size(), 2u);
  ANEMONE_ASSERT_ASSIGN(const ConfigNode back, ToNemo1Config(nemo2));
  EXPECT_TRUE(SameConfig(*back.Get("mm_cfg"), *nemo1.root().Get("mm_cfg")));
  EXPECT_EQ(back.Get("hidden_size")->AsInt(), 48);
  EXPECT_TRUE(back.Get("target")->AsString()->ends_with(".MegatronNevaModel"));
}

// The class of a LLaVA's language model says what no field of it does.
TEST(Nemo2Config, TheLanguageModelOfALlavaIsOfItsClass) {
  for (const auto& [word, target] : {std::pair{"scale_positional_embedding", "llama.Llama31Config"},
                                     {"apply_embedding_scaling", "gemma.GemmaConfig"}}) {
    Config nemo1 = Yaml(std::string(kLlama) + word + ": true\n");
    ASSERT_THAT(nemo1.Set("mm_cfg", Yaml("vision_encoder: {from_pretrained: openai/clip-vit-large-patch14}\n").root()),
                IsOk());
    ANEMONE_ASSERT_ASSIGN(const ConfigNode nemo2, ToNemo2Config(nemo1.root(), {}));
    EXPECT_TRUE(Config(nemo2).Find("config.language_transformer_config._target_")->AsString()->ends_with(target));
    ANEMONE_ASSERT_ASSIGN(const ConfigNode back, ToNemo1Config(nemo2));
    ASSERT_NE(back.Get(word), nullptr) << word;
    EXPECT_EQ(back.Get(word)->AsBool(), true);
  }
}

TEST(Nemo2Config, AMixtureThereAndBack) {
  Config nemo1 = Yaml(std::string(kLlama) + "num_moe_experts: 4\nmoe_router_topk: 2\nmoe_router_pre_softmax: true\n");
  std::vector<std::string> notes;
  ANEMONE_ASSERT_ASSIGN(const ConfigNode nemo2, ToNemo2Config(nemo1.root(), {}, &notes));
  EXPECT_EQ(Config(nemo2).Find("_target_")->AsString(), "nemo.collections.llm.gpt.model.mixtral.MixtralModel");
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(notes[0].substr(0, 22), "moe_router_pre_softmax");
  ANEMONE_ASSERT_ASSIGN(const ConfigNode back, ToNemo1Config(nemo2));
  EXPECT_EQ(back.Get("num_moe_experts")->AsInt(), 4);
  EXPECT_EQ(back.Get("moe_router_pre_softmax")->AsBool(), false);
  EXPECT_THAT(ToNemo2Config(nemo1.root(), {.id = "meta-llama/Llama-2-7b-hf"}),
              StatusIs(ErrorKind::kInvalidArgument, "MixtralModel"));
}

// N2-9
TEST(Nemo2Config, ScalingByLayerIsForHalfPrecisionAlone) {
  for (const auto& [precision, scales] : {std::pair("bf16", false), {"32", false}, {"16-mixed", true}, {"16", true}}) {
    Config nemo1 = Yaml(kLlama);
    ASSERT_THAT(nemo1.Set("precision", ConfigNode::String(precision)), IsOk());
    ASSERT_THAT(nemo1.Set("apply_query_key_layer_scaling", ConfigNode::Bool(true)), IsOk());
    ANEMONE_ASSERT_ASSIGN(const ConfigNode nemo2, ToNemo2Config(nemo1.root(), {}));
    EXPECT_EQ(Config(nemo2).Find("config.apply_query_key_layer_scaling")->AsBool(), scales) << precision;
  }
}

TEST(Nemo2Config, WhatIsNotThereIsNamed) {
  EXPECT_THAT(ToNemo2Config(Yaml(kLlama).root(), {.id = "gpt-17"}),
              StatusIs(ErrorKind::kInvalidArgument, "known are meta-llama/Llama-2-7b-hf"));
  EXPECT_THAT(ToNemo2Config(Yaml("unet: 1").root(), {}), StatusIs(ErrorKind::kUnsupported, "neither's sizes"));
  const auto refused = [](const char* yaml, const char* what, std::string_view version = "") {
    EXPECT_THAT(ToNemo2Config(Yaml(std::string(kLlama) + yaml).root(), {.version = version}),
                StatusIs(ErrorKind::kUnsupported, what))
        << yaml;
  };
  refused("name: megatron_falcon_gpt\n", "name:");
  refused("target: nemo.collections.nlp.models.language_modeling.megatron_bert_model.MegatronBertModel\n", "target:");
  refused("transformer_block_type: post_ln\n", "transformer_block_type:");
  refused("name: megatron_gemma2\n", "NeMo 2.1.0 or later", "2.0.0");
  EXPECT_THAT(ToNemo2Config(Yaml(kLlama).root(), {.version = "1.23"}), StatusIs(ErrorKind::kInvalidArgument, "2.0.0"));
  EXPECT_THAT(ToNemo1Config(Yaml("_target_: x\nconfig: {activation_func: {_target_: my.act}}").root()),
              StatusIs(ErrorKind::kUnsupported, "my.act"));
}

// N2-11: fields of Megatron-core's TransformerConfig that NeMo 1 has no words for.
TEST(Nemo2Config, WhatNoWordSaysIsRefusedByItsKey) {
  ANEMONE_ASSERT_ASSIGN(const ConfigNode plain, ToNemo2Config(Yaml(kLlama).root(), {}));
  for (const char* field :
       {"softmax_scale: 0.3", "softmax_type: learnable", "window_attn_skip_freq: 2", "no_rope_freq: 2",
        "moe_apply_probs_on_input: true", "moe_shared_expert_gate: true", "qk_l2_norm: true",
        "activation_func_clamp_value: 7.0", "glu_linear_offset: 1.0", "heterogeneous_block_specs: true",
        "attention_output_gate: true", "linear_attention_freq: 2", "moe_latent_size: 8",
        "apply_residual_connection_post_layernorm: true"}) {
    ConfigNode nemo2 = plain;
    const Config one = Yaml(field);
    const auto& [key, value] = one.root().map.front();
    nemo2["config"][key] = value;
    EXPECT_THAT(CheckNemo2Carried(nemo2), StatusIs(ErrorKind::kUnsupported, "config: " + key + ": expected")) << field;
    EXPECT_THAT(ToNemo1Config(nemo2), IsOk()) << field;  // names and shapes are told all the same
    nemo2["config"][key] = ConfigNode::Null();
    EXPECT_THAT(CheckNemo2Carried(nemo2), IsOk()) << field;
  }
}

// Its gelu is the one by tanh.
TEST(Nemo2Config, TransformerEngineMayComputeTheActivation) {
  for (const char* key : {"use_te_activation_func", "use_transformer_engine_op_fuser"}) {
    const auto flag = [&](std::string_view value, std::string_view gates) {
      const Config nemo2 =
          Yaml(fmt::format("_target_: x.Y\nconfig: {{num_layers: 1, gated_linear_unit: {}, {}: {}, activation_func: "
                           "{{_target_: torch.nn.functional.gelu}}}}\n",
                           gates, key, value));
      const auto nemo1 = ToNemo1Config(nemo2.root());
      EXPECT_THAT(nemo1, IsOk()) << key;
      return nemo1.ok() && nemo1->Get("openai_gelu") != nullptr;
    };
    EXPECT_TRUE(flag("true", "false") && flag("true", "true")) << key;
    EXPECT_FALSE(flag("false", "false")) << key;
  }
}

// N2-12: the code of a class says what it computes, and its fields do not say all of it.
TEST(Nemo2Config, ClassesAndLayersThatAreNotKnownAreRefused) {
  const auto carried = [](std::string_view config, std::string_view fields) {
    return CheckNemo2Carried(
        Yaml(fmt::format("_target_: nemo.collections.llm.gpt.model.llama.LlamaModel\nconfig: {{_target_: {}, "
                         "num_layers: 1, {}}}\n",
                         config, fields))
            .root());
  };
  const auto layer = [](std::string_view name) {
    return fmt::format("transformer_layer_spec: {{_call_: false, _target_: {}}}", name);
  };
  constexpr const char *kModels = "nemo.collections.llm.gpt.model.", *kSize = "hidden_size: 8";
  const std::string llama = fmt::format("{}llama.LlamaConfig", kModels);
  // The first's tokens see those behind them, as the second's do.
  for (const std::string& name :
       {fmt::format("{}llama_embedding.Llama32EmbeddingConfig1B", kModels),
        fmt::format("{}reranker.Llama32Reranker1BConfig", kModels), fmt::format("{}hyena.HyenaConfig", kModels),
        std::string("nemo.collections.llm.t5.model.t5.T5Config"), std::string("my.models.LongLlama")}) {
    EXPECT_THAT(carried(name, kSize), StatusIs(ErrorKind::kUnsupported, "config: _target_: expected a class of NeMo's"))
        << name;
  }
  for (const char* name : {"base.GPTConfig126M", "qwen3.Qwen3Config4B", "ssm.NemotronHConfig8B", "phi3mini.Phi3Config"})
    EXPECT_THAT(carried(kModels + std::string(name), kSize), IsOk()) << name;
  EXPECT_THAT(carried(llama, layer(fmt::format("{}base.default_layer_spec", kModels))), IsOk());
  EXPECT_THAT(carried(llama, layer("megatron.core.models.gpt.gpt_layer_specs.get_gpt_decoder_block_spec")), IsOk());
  EXPECT_THAT(carried(llama, layer(fmt::format("{}llama_embedding.get_nv_embedding_layer_spec", kModels))),
              StatusIs(ErrorKind::kUnsupported, "config: transformer_layer_spec._target_: expected a class of NeMo's"));
  EXPECT_THAT(carried(llama,
                      "transformer_layer_spec: {_target_: megatron.core.transformer.spec_utils.ModuleSpec, "
                      "module: {_call_: false, _target_: my.Layer}}"),
              StatusIs(ErrorKind::kUnsupported, "config: transformer_layer_spec.module._target_: expected"));
  const Config other = Yaml(
      "_target_: x.Y\nconfig: {_target_: nemo.collections.vlm.gemma3vl.model.base.Gemma3VLConfig, "
      "language_transformer_config: {num_layers: 1}}\n");
  EXPECT_THAT(CheckNemo2Carried(other.root()), StatusIs(ErrorKind::kUnsupported, "config: _target_: expected"));
}

TEST(Nemo2Config, ClassesMadeOfLlama31ScalePositions) {
  constexpr std::string_view kFields =
      "scale_factor: 32, low_freq_factor: 1, high_freq_factor: 4, old_context_len: 8192";
  const auto scaled = [](std::string_view name, std::string_view fields) {
    const Config nemo2 = Yaml(fmt::format(
        "_target_: nemo.collections.llm.gpt.model.llama.LlamaModel\nconfig: {{_target_: {}, num_layers: 1, {}}}\n",
        name, fields));
    const auto nemo1 = ToNemo1Config(nemo2.root());
    EXPECT_THAT(nemo1, IsOk());
    const ConfigNode* flag = nemo1->Get("scale_positional_embedding");
    if (flag == nullptr || !flag->AsBool().value_or(false)) return -1.0;
    const ConfigNode* factors = nemo1->Get("rope_scaling");
    return factors == nullptr ? 8.0 : factors->Get("factor")->AsDouble().value_or(0);
  };
  constexpr std::string_view kLlamas = "nemo.collections.llm.gpt.model.llama.", kSize = "hidden_size: 8";
  for (const char* name : {"Llama31Config8B", "Llama32Config1B"})
    EXPECT_EQ(scaled(std::string(kLlamas) + name, kFields), 32) << name;
  EXPECT_EQ(scaled("nemo.collections.llm.gpt.model.llama_nemotron.Llama31NemotronNano8BConfig", kFields), 32);
  EXPECT_EQ(scaled(std::string(kLlamas) + "Llama31Config8B", kSize), 8);
  EXPECT_EQ(scaled(std::string(kLlamas) + "Llama32Config3B", kSize), 32);
  EXPECT_EQ(scaled(std::string(kLlamas) + "Llama3Config8B", kSize), -1);
}

}  // namespace
}  // namespace anemone
