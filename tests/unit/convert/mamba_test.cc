// Layers of Mamba 2 between NeMo 2, transformers and state-spaces: what transformers and Megatron-core save of the same
// models (tests/golden, mamba/). tests/interop/megatron/mamba_test.py compares what they compute.
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "anemone/convert.h"
#include "family/family.h"
#include "family/mamba/mamba_config.h"
#include "family/words/megatron_config.h"
#include "family/words/model_words.h"
#include "family/words/nemo2_config.h"
#include "family/words/nemo2_ssm.h"
#include "format/format.h"
#include "source/text_file.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

// A copy of the golden `name` at `copy`, one key of whose config.json is another; "absent": it has none.
std::string HfWith(const std::string& name, const std::string& copy, const char* key, const std::string& yaml) {
  if (yaml != "absent") return WithKey(Golden(name), copy, "config.json", key, yaml.c_str());
  WithKey(Golden(name), copy, "config.json", key, "null");
  Config config = JsonOf(copy + "/config.json");
  config.root().Erase(key);
  std::ofstream(copy + "/config.json") << config.ToJson();
  return copy;
}

// The tensors of Megatron-core's own modules, by name.
TEST(Mamba, MegatronCoresFilesAreTransformersModels) {
  for (const char* name : {"hybrid", "mamba2"}) {
    SCOPED_TRACE(name);
    const TempDir temp;
    const std::string hf = Golden(fmt::format("mamba/{}/hf", name)), nemo = Golden(fmt::format("mamba/{}/nemo2", name));
    Convert(nemo, temp.path() + "/hf", {.to = "hf"});
    EXPECT_EQ(DigestsOf(temp.path() + "/hf"), DigestsOf(hf));
    const Config made = JsonOf(temp.path() + "/hf/config.json"), theirs = JsonOf(hf + "/config.json");
    for (const auto& [key, value] : made.root().map) {
      const bool is_own = key == "torch_dtype" || key == "transformers_version" || key == "hybrid_override_pattern" ||
                          key == "num_hidden_layers" || key == "initializer_range" || key == "time_step_min";
      if (is_own) continue;
      const ConfigNode* said = theirs.root().Get(key);
      ASSERT_NE(said, nullptr) << key;
      EXPECT_TRUE(SameConfig(value, *said)) << key;
    }
    Convert(hf, temp.path() + "/nemo2", {.to = "nemo2"});
    EXPECT_EQ(DigestsOf(temp.path() + "/nemo2"), DigestsOf(nemo));
  }
}

TEST(Mamba, ComesBackFromNemo2) {
  struct Case {
    const char *name, *key, *yaml;
  };
  for (const Case& of : {Case{"hybrid", "time_step_max", "0.1"},
                         {"hybrid", "layers_block_type", "[mamba, mlp, mamba, attention, mlp]"},
                         {"hybrid", "num_hidden_layers", "5"},
                         {"hybrid", "expand", "3"},
                         {"hybrid", "time_step_limit", "[0.0, .inf]"},
                         {"hybrid", "mamba_n_groups", "2"},
                         {"hybrid", "mlp_hidden_act", "gelu"},
                         {"mamba2", "rescale_prenorm_residual", "true"},
                         {"mamba2", "time_step_limit", "absent"}}) {
    SCOPED_TRACE(of.yaml);
    const TempDir temp;
    const std::string source = HfWith(fmt::format("mamba/{}/hf", of.name), temp.path() + "/hf", of.key, of.yaml);
    const std::string nemo = temp.path() + "/nemo", back = temp.path() + "/back";
    Convert(source, nemo, {.to = "nemo2"});
    Convert(nemo, back, {.to = "hf"});
    EXPECT_EQ(DigestsOf(back), DigestsOf(source));
    EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), JsonOf(source + "/config.json").root()));
  }
}

// For so many ranks to load: each part of a mixer's projection and convolution is cut by itself.
TEST(Mamba, IsWrittenForSeveralRanks) {
  const TempDir temp;
  const std::string nemo = temp.path() + "/nemo", one = temp.path() + "/one";
  Convert(Golden("mamba/hybrid/hf"), nemo, {.to = "nemo2", .tp = 2});
  ANEMONE_ASSERT_ASSIGN(const Config written, ReadYaml(nemo + "/context/model.yaml"));
  EXPECT_EQ(written.Find("config.tensor_model_parallel_size")->AsInt(), 2);
  EXPECT_EQ(DigestsOf(nemo), DigestsOf(Golden("mamba/hybrid/nemo2")));
  Convert(nemo, one, {.to = "nemo2", .tp = 1});
  Convert(one, temp.path() + "/back", {.to = "hf"});
  EXPECT_EQ(DigestsOf(temp.path() + "/back"), DigestsOf(Golden("mamba/hybrid/hf")));
  // Megatron-core builds no model whose heads do not divide, though no layer here has attention.
  EXPECT_THAT(
      PlanConversion(Golden("mamba/mamba2/hf"), temp.path() + "/x", {.to = "nemo2", .tp = 2}),
      StatusIs(ErrorKind::kInvalidArgument, "expected a number of heads that tensor parallel 2 divides, found 1"));
}

TEST(Mamba, RanksDivideGroupsOfMixers) {
  const TempDir temp;
  const std::string layer = "backbone.layers.0.";
  WriteHfModel(
      temp.path() + "/hf",
      R"({"architectures": ["NemotronHForCausalLM"], "hybrid_override_pattern": "M", "vocab_size": 8, "hidden_size": 8,
                   "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 4, "intermediate_size": 8, "ssm_state_size": 2,
                   "mamba_num_heads": 2, "mamba_head_dim": 2, "n_groups": 1})",
      {{"backbone.embeddings.weight", {8, 8}},
       {layer + "norm.weight", {8}},
       {layer + "mixer.A_log", {2}},
       {layer + "mixer.D", {2}},
       {layer + "mixer.dt_bias", {2}},
       {layer + "mixer.in_proj.weight", {14, 8}},
       {layer + "mixer.conv1d.weight", {8, 1, 4}},
       {layer + "mixer.conv1d.bias", {8}},
       {layer + "mixer.norm.weight", {4}},
       {layer + "mixer.out_proj.weight", {8, 4}},
       {"backbone.norm_f.weight", {8}},
       {"lm_head.weight", {8, 8}}});
  EXPECT_THAT(PlanConversion(temp.path() + "/hf", temp.path() + "/one", {.to = "nemo2"}), IsOk());
  EXPECT_THAT(PlanConversion(temp.path() + "/hf", temp.path() + "/two", {.to = "nemo2", .tp = 2}),
              StatusIs(ErrorKind::kInvalidArgument, "number of Mamba groups that tensor parallel 2 divides, found 1"));
}

// As nvidia publishes it: a pattern, an older name of the heads' width, and Infinity as Python writes it.
TEST(Mamba, ThePublishedConfigSaysTheSame) {
  const TempDir temp;
  const std::string source = HfWith("mamba/hybrid/hf", temp.path() + "/hf", "layers_block_type", "absent");
  Config config = JsonOf(source + "/config.json");
  config.root().Erase("head_dim");
  config.root()["attention_head_dim"] = ConfigNode::Int(8);
  config.root()["hybrid_override_pattern"] = ConfigNode::String("M-M*-");
  config.root()["num_hidden_layers"] = ConfigNode::Int(5);
  const auto limit = Config::ParseJson("[0.0, Infinity]", "test");
  ASSERT_THAT(limit, IsOk());
  config.root()["time_step_limit"] = limit->root();
  std::ofstream(source + "/config.json") << config.ToJson();
  Convert(source, temp.path() + "/nemo", {.to = "nemo2"});
  EXPECT_EQ(DigestsOf(temp.path() + "/nemo"), DigestsOf(Golden("mamba/hybrid/nemo2")));
  Convert(temp.path() + "/nemo", temp.path() + "/back", {.to = "hf"});
  EXPECT_TRUE(SameConfig(JsonOf(temp.path() + "/back/config.json").root(), config.root()));
}

TEST(Mamba, StateSpacesFilesAreMamba2) {
  const TempDir temp;
  const std::string source = Golden("mamba/mamba2/state_spaces");
  Convert(source, temp.path() + "/nemo", {.to = "nemo2"});
  EXPECT_EQ(DigestsOf(temp.path() + "/nemo"), DigestsOf(Golden("mamba/mamba2/nemo2")));
  Convert(source, temp.path() + "/hf", {.to = "hf"});
  EXPECT_EQ(DigestsOf(temp.path() + "/hf"), DigestsOf(Golden("mamba/mamba2/hf")));
  EXPECT_EQ(JsonOf(temp.path() + "/hf/config.json").root().Get("vocab_size")->AsInt(), 64);
  for (const auto& [key, yaml, said] :
       {std::tuple{"attn_layer_idx", "[1]", "attn_layer_idx: expected []"},
        {"rms_norm", "false", "rms_norm: expected true"},
        {"ssm_cfg", "{layer: Mamba2, d_state: 4, headdim: 4, norm_before_gate: true}", "norm_before_gate"},
        {"ssm_cfg", "{}", "found Mamba 1"},
        {"ssm_cfg", "{layer: Mamba2, d_state: 4, headdim: 5}", "whole heads"}}) {
    SCOPED_TRACE(yaml);
    const TempDir changed;
    const std::string odd = HfWith("mamba/mamba2/state_spaces", changed.path() + "/x", key, yaml);
    const auto planned = PlanConversion(odd, temp.path() + "/y", {.to = "nemo2"});
    ASSERT_FALSE(planned.ok());
    EXPECT_THAT(planned.status().message(), ::testing::HasSubstr(said));
  }
}

// transformers does not tie a Nemotron-H's output layer: it is written beside the embedding.
TEST(Mamba, AClassIsWrittenAsAsked) {
  const TempDir temp;
  Convert(Golden("mamba/mamba2/nemo2"), temp.path() + "/hf", {.to = "hf", .architecture = "NemotronHForCausalLM"});
  const Config config = JsonOf(temp.path() + "/hf/config.json");
  EXPECT_EQ(config.root().Get("hybrid_override_pattern")->AsString(), "MM");
  EXPECT_EQ(config.root().Get("tie_word_embeddings")->AsBool(), false);
  Digests digests = DigestsOf(temp.path() + "/hf"), theirs = DigestsOf(Golden("mamba/mamba2/hf"));
  EXPECT_EQ(digests["lm_head.weight"], digests["backbone.embeddings.weight"]);
  digests.erase("lm_head.weight");
  EXPECT_EQ(digests, theirs);
  EXPECT_THAT(PlanConversion(Golden("mamba/hybrid/nemo2"), temp.path() + "/x",
                             {.to = "hf", .architecture = "Mamba2ForCausalLM"}),
              StatusIs(ErrorKind::kUnsupported, "hybrid_override_pattern: expected M alone"));
}

TEST(Mamba, WhatNemo2DoesNotComputeIsRefused) {
  struct Case {
    const char *key, *yaml, *said;
  };
  for (const Case& of :
       {Case{"conv_kernel", "3", "conv_kernel: expected 4"},
        {"model_type", "mamba2", "model_type: expected nemotron_h"},
        {"layer_norm_epsilon", "1.0e-06", "layer_norm_epsilon: expected 1.0e-05"},
        {"mamba_hidden_act", "gelu", "mamba_hidden_act: expected silu"},
        {"mlp_hidden_act", "silu", "mlp_hidden_act: expected relu2 or gelu"},
        {"use_conv_bias", "false", "use_conv_bias: expected true"},
        {"use_bias", "true", "use_bias: expected false"},
        {"mlp_bias", "true", "mlp_bias: expected false"},
        {"attention_bias", "true", "attention_bias: expected false"},
        {"mamba_proj_bias", "true", "mamba_proj_bias: expected false"},
        {"sliding_window", "16", "sliding_window: expected null"},
        {"num_nextn_predict_layers", "1", "num_nextn_predict_layers: expected 0"},
        {"time_step_limit", "[0.0, 0.5]", "time_step_limit: expected 0 and Infinity"},
        {"mamba_dt_limit", "[0.1, .inf]", "time_step_limit: expected 0 and Infinity"},
        {"hybrid_override_pattern", "M-M*M", "hybrid_override_pattern: expected the layers of"},
        {"layers_block_type", "[mamba, mlp, mamba, attention, moe]", "found E: a mixture of experts"},
        {"layers_block_type", "[mamba, mlp, mamba, attention, x]", "found x"},
        {"layers_block_type", "absent", "expected a letter for each layer"},
        {"num_hidden_layers", "4", "num_hidden_layers: expected 5"},
        {"n_groups", "3", "mamba_num_groups: expected a divisor of 4 heads"},
        {"mamba_n_groups", "1", "expected shape"},
        {"ssm_state_size", "5", "expected shape"},
        {"head_dim", "4", "expected shape"},
        {"num_key_value_heads", "null", "expected shape"},
        {"vocab_size", "63", "vocab_size: expected 64"},
        {"tie_word_embeddings", "true", "lm_head.weight: expected a copy"},
        {"architectures", "[NemotronHForSequenceClassification]", "NemotronHForSequenceClassification"}}) {
    SCOPED_TRACE(fmt::format("{}: {}", of.key, of.yaml));
    const TempDir temp;
    const std::string odd = HfWith("mamba/hybrid/hf", temp.path() + "/hf", of.key, of.yaml);
    const auto planned = PlanConversion(odd, temp.path() + "/nemo", {.to = "nemo2"});
    ASSERT_FALSE(planned.ok());
    EXPECT_THAT(planned.status().message(), ::testing::HasSubstr(of.said));
  }
  for (const Case& of : {Case{"expand", "3", "expand: expected heads that are 3 times"},
                         {"hidden_act", "gelu", "hidden_act: expected silu"},
                         {"time_step_limit", "[0.0, 1.0]", "time_step_limit: expected 0"},
                         {"num_hidden_layers", "1", "unexpected tensors"},
                         {"architectures", "[MambaForCausalLM]", "MambaForCausalLM"}}) {
    SCOPED_TRACE(fmt::format("{}: {}", of.key, of.yaml));
    const TempDir temp;
    const std::string odd = HfWith("mamba/mamba2/hf", temp.path() + "/hf", of.key, of.yaml);
    const auto planned = PlanConversion(odd, temp.path() + "/nemo", {.to = "nemo2"});
    ASSERT_FALSE(planned.ok());
    EXPECT_THAT(planned.status().message(), ::testing::HasSubstr(of.said));
  }
}

TEST(Mamba, StepsThatTransformersRaisesAreNoted) {
  const TempDir temp;
  const std::string source = HfWith("mamba/hybrid/hf", temp.path() + "/hf", "time_step_min", "0.001");
  const auto planned = PlanConversion(source, temp.path() + "/nemo", {.to = "nemo2"});
  ASSERT_THAT(planned, IsOk());
  EXPECT_THAT(planned->notes, ::testing::Contains(::testing::HasSubstr("raises smaller time steps to 0.001")));
  const auto anew = PlanConversion(Golden("mamba/hybrid/nemo2"), temp.path() + "/anew", {.to = "hf"});
  ASSERT_THAT(anew, IsOk());
  EXPECT_EQ(anew->result.config->root().Get("time_step_min")->AsDouble(), 0.0);
}

ConfigNode Nemo2With(const char* name, const char* key, const char* yaml) {
  Config config = *ReadYaml(Golden(fmt::format("mamba/{}/nemo2/context/model.yaml", name)));
  ConfigNode& own = *config.root().Get("config");
  if (std::string_view(yaml) == "absent") {
    own.Erase(key);
  } else {
    own[key] = ParseWord(yaml);
  }
  return config.root();
}

// transformers 5.24 modeling_mamba2.py, _init_weights.
TEST(Mamba, WeightsThatTransformersScalesOnLoadingAreTold) {
  for (const auto& [yaml, is_told] : {std::pair{"true", true}, {"false", false}}) {
    const TempDir temp;
    const std::string source = HfWith("mamba/mamba2/hf", temp.path() + "/hf", "rescale_prenorm_residual", yaml);
    const auto planned = PlanConversion(source, temp.path() + "/nemo", {.to = "nemo2"});
    ASSERT_THAT(planned, IsOk());
    const auto tells = [](const std::string& note) { return note.starts_with("rescale_prenorm_residual: "); };
    EXPECT_EQ(std::ranges::any_of(planned->notes, tells), is_told) << yaml;
  }
}

TEST(Mamba, WhatTransformersDoesNotComputeIsRefused) {
  struct Case {
    const char *key, *yaml, *said;
  };
  for (const Case& of :
       {Case{"hybrid_override_pattern", "M-M*E", "found E: a mixture of experts"},
        {"hybrid_override_pattern", "M-M*", "expected a letter for each of 5 layers, found 4"},
        {"hybrid_override_pattern", "M-|M*", "found '|'"},
        {"mamba_num_heads", "-1", "mamba_num_heads: expected"},
        {"mamba_head_dim", "0", "mamba_head_dim"},
        {"softmax_scale", "0.5", "softmax_scale: expected null"},
        {"num_moe_experts", "4", "num_moe_experts: expected null"},
        {"apply_residual_connection_post_layernorm", "true", "expected false"},
        {"position_embedding_type", "rope", "position_embedding_type: expected none"},
        {"position_embedding_type", "learned_absolute", "position_embedding_type: expected none"},
        {"normalization", "LayerNorm", "normalization: expected rmsnorm"},
        {"layernorm_zero_centered_gamma", "true", "layernorm_zero_centered_gamma: expected false"},
        {"layernorm_epsilon", "1.0e-06", "layernorm_epsilon: expected 1.0e-05"},
        {"add_bias_linear", "true", "bias: expected false"},
        {"add_qkv_bias", "true", "qkv_bias: expected false"},
        {"qk_layernorm", "true", "qk_layernorm: expected false"},
        {"window_size", "[64, 0]", "window_size: expected null"},
        {"activation_func", "{_target_: torch.nn.functional.relu6, _call_: false}", "activation_func"}}) {
    SCOPED_TRACE(fmt::format("{}: {}", of.key, of.yaml));
    Result<ConfigNode> json = ToNemo1Config(Nemo2With("hybrid", of.key, of.yaml));
    if (json.ok()) json = HfMambaConfig(*json, {.rows = 64});
    ASSERT_FALSE(json.ok());
    EXPECT_THAT(json.status().message(), ::testing::HasSubstr(of.said));
  }
  // Positions turn keys and queries, of which a model without attention has none.
  ANEMONE_ASSERT_ASSIGN(const ConfigNode turned, ToNemo1Config(Nemo2With("mamba2", "position_embedding_type", "rope")));
  EXPECT_THAT(HfMambaConfig(turned, {.rows = 64}), IsOk());
  EXPECT_THAT(ToNemo1Config(Nemo2With("mamba2", "hybrid_override_pattern", "null")), IsOk());
  ConfigNode ratio = Nemo2With("mamba2", "hybrid_override_pattern", "null");
  (*ratio.Get("config"))["hybrid_attention_ratio"] = ConfigNode::Float(0.5);
  EXPECT_THAT(ToNemo1Config(ratio), StatusIs(ErrorKind::kUnsupported, "hybrid_attention_ratio: expected 0"));
}

// Sizes that a config leaves to Megatron-core are its own.
TEST(Mamba, SilentSizesAreMegatronCores) {
  ConfigNode yaml = Nemo2With("hybrid", "mamba_num_heads", "null");
  ConfigNode& own = *yaml.Get("config");
  for (const char* key : {"mamba_state_dim", "mamba_head_dim", "mamba_num_groups"}) own.Erase(key);
  for (const char* key : {"num_query_groups", "kv_channels"}) own[key] = ConfigNode::Null();
  own["hidden_size"] = ConfigNode::Int(64);
  ANEMONE_ASSERT_ASSIGN(const ConfigNode words, ToNemo1Config(yaml));
  ANEMONE_ASSERT_ASSIGN(const ConfigNode json, HfMambaConfig(words, {.rows = 64}));
  for (const auto& [key, value] : {std::pair{"ssm_state_size", 128},
                                   {"mamba_head_dim", 64},
                                   {"n_groups", 8},
                                   {"mamba_num_heads", 2},
                                   {"num_key_value_heads", 4},
                                   {"head_dim", 16}})
    EXPECT_EQ(json.Get(key)->AsInt(), value) << key;
  // NeMo 2.0 to 2.2.
  own["mamba_ssm_ngroups"] = ConfigNode::Int(2);
  ANEMONE_ASSERT_ASSIGN(const ConfigNode older, ToNemo1Config(yaml));
  EXPECT_EQ(older.Get("mamba_num_groups")->AsInt(), 2);
}

// Classes of NeMo 2's by their fields [ssm.py]; the heads where they leave them to Megatron-core.
TEST(Mamba, ClassesOfNemo2HaveTheirModels) {
  struct Size {
    const char* fields;
    const char* pattern;
    int64_t heads;
    std::string_view class_name;
  };
  const Size sizes[] = {
      {"{hidden_size: 4096, num_layers: 52, ffn_hidden_size: 21504, num_attention_heads: 32, num_query_groups: 8}",
       "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-", 128, kNemotronHClass},
      {"{hidden_size: 8192, num_layers: 98, ffn_hidden_size: 30720, num_attention_heads: 64, num_query_groups: 8, "
       "mamba_state_dim: 256}",
       "M-M-M-M-M-M-M-M-M*-M-M-M-M-M-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-M-M---MM---M-M*-M-M-M-M-M-", 256,
       kNemotronHClass},
      {"{hidden_size: 4480, num_layers: 56, ffn_hidden_size: 15680, num_attention_heads: 40, num_query_groups: 8, "
       "kv_channels: 128, mamba_head_dim: 80, mamba_num_heads: 128}",
       "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-", 128, kNemotronHClass},
      {"{hidden_size: 768, num_layers: 24, ffn_hidden_size: 768, mamba_num_groups: 1}", "MMMMMMMMMMMMMMMMMMMMMMMM", 24,
       kMamba2Class},
      {"{hidden_size: 4096, num_layers: 56, ffn_hidden_size: 4096, num_attention_heads: 32}",
       "MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM", 128, kNemotronHClass},
  };
  for (const Size& size : sizes) {
    SCOPED_TRACE(size.fields);
    ConfigNode yaml = Nemo2With("hybrid", "hybrid_override_pattern", "null");
    ConfigNode& own = *yaml.Get("config");
    own["hybrid_override_pattern"] = ConfigNode::String(size.pattern);
    own["num_attention_heads"] = ConfigNode::Int(1);
    for (const char* key : {"num_query_groups", "kv_channels", "mamba_num_heads"}) own[key] = ConfigNode::Null();
    for (const char* key : {"mamba_state_dim", "mamba_head_dim", "mamba_num_groups"}) own.Erase(key);
    for (const auto& [key, value] : ParseWord(size.fields).map) own[key] = value;
    ANEMONE_ASSERT_ASSIGN(const ConfigNode words, ToNemo1Config(yaml));
    ANEMONE_ASSERT_ASSIGN(const ConfigNode json, HfMambaConfig(words, {.rows = 1024}));
    EXPECT_EQ(json.Get("architectures")->list.front().AsString(), std::string(size.class_name));
    EXPECT_EQ(json.Get(size.class_name == kMamba2Class ? "num_heads" : "mamba_num_heads")->AsInt(), size.heads);
    // And they come back.
    ANEMONE_ASSERT_ASSIGN(const ConfigNode back, MambaWordsOf(json, DType::kBF16));
    ANEMONE_ASSERT_ASSIGN(const ConfigNode yaml_again, ToNemo2Config(back, {}));
    EXPECT_EQ(WordAt(yaml_again, "config.hybrid_override_pattern").AsString(), std::string(size.pattern));
    const bool is_said = WordAt(own, "mamba_num_heads").AsInt().has_value();
    EXPECT_EQ(WordAt(yaml_again, "config.mamba_num_heads").AsInt().has_value(), is_said);
  }
}

TEST(Mamba, IsWrittenForVersionsThatHaveIt) {
  const TempDir temp;
  for (const auto& [name, version, said] : {std::tuple{"hybrid", "2.3.0", "expected NeMo 2.4.0 or later"},
                                            {"mamba2", "2.2.0", "expected NeMo 2.3.0 or later"}}) {
    EXPECT_THAT(PlanConversion(Golden(fmt::format("mamba/{}/hf", name)), temp.path() + "/x",
                               {.to = "nemo2", .nemo2_version = version}),
                StatusIs(ErrorKind::kUnsupported, said));
  }
  const auto planned =
      PlanConversion(Golden("mamba/mamba2/hf"), temp.path() + "/x", {.to = "nemo2", .nemo2_version = "2.3.0"});
  ASSERT_THAT(planned, IsOk());
  EXPECT_EQ(planned->result.config->Find("config.mamba_num_heads"), nullptr);
}

// Megatron-LM's folders are read. Its newer pattern may say where pipeline stages begin.
TEST(Mamba, MegatronsFoldersAreRead) {
  const TempDir temp;
  const std::string source = Golden("mamba/hybrid/megatron");
  Convert(source, temp.path() + "/hf", {.to = "hf"});
  EXPECT_EQ(DigestsOf(temp.path() + "/hf"), DigestsOf(Golden("mamba/hybrid/hf")));
  EXPECT_EQ(JsonOf(temp.path() + "/hf/config.json").root().Get("hybrid_override_pattern")->AsString(), "M-M*-");
  Convert(source, temp.path() + "/nemo2", {.to = "nemo2"});
  EXPECT_EQ(DigestsOf(temp.path() + "/nemo2"), DigestsOf(Golden("mamba/hybrid/nemo2")));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint megatron, OpenCheckpoint(source));
  ANEMONE_ASSERT_ASSIGN(const ResolvedModel model, ResolveModel(megatron));
  EXPECT_EQ(*model.symbols.Get("ssm_groups"), 2u);
  for (const auto& [pattern, said] : {std::pair{"M-|M*-", ""},
                                      {"M-M*G", "found 'G'"},
                                      {"M-M*E", "found E: a mixture of experts"},
                                      {"M-M*-/M", "expected a letter for each of 5 layers, found 7"}}) {
    SCOPED_TRACE(pattern);
    ConfigNode args = megatron.config->root();
    args["hybrid_override_pattern"] = ConfigNode::Null();
    args["hybrid_layer_pattern"] = ConfigNode::String(pattern);
    const Result<ConfigNode> words = Nemo1OfMegatron(args, nullptr);
    if (*said == '\0') {
      ASSERT_THAT(words, IsOk());
      EXPECT_EQ(words->Get("hybrid_override_pattern")->AsString(), "M-M*-");
      continue;
    }
    ASSERT_FALSE(words.ok());
    EXPECT_THAT(words.status().message(), ::testing::HasSubstr(said));
  }
}

TEST(Mamba, MegatronBridgesConfigsAreRead) {
  for (const char* name : {"hybrid.hybrid_provider.HybridModelProvider", "mamba.mamba_provider.MambaModelProvider",
                           "nemotronh.nemotron_h_provider.NemotronHModelProvider8B"}) {
    SCOPED_TRACE(name);
    const auto config = Config::ParseYaml(
        fmt::format(
            "model: {{_target_: megatron.bridge.models.{}, num_layers: 3, hidden_size: 8, num_attention_heads: 2, "
            "num_query_groups: 1, kv_channels: 4, ffn_hidden_size: 12, seq_length: 8, gated_linear_unit: false, "
            "activation_func: {{_target_: megatron.core.activations.squared_relu}}, normalization: RMSNorm, "
            "add_bias_linear: false, layernorm_epsilon: 1.0e-05, position_embedding_type: none, "
            "share_embeddings_and_output_weights: false, hybrid_layer_pattern: M*-, mamba_state_dim: 16, "
            "mamba_head_dim: 4, mamba_num_groups: 2, is_hybrid_model: true}}",
            name),
        "run_config.yaml");
    ASSERT_THAT(config, IsOk());
    ANEMONE_ASSERT_ASSIGN(const ConfigNode words, Nemo1OfMegatron(config->root(), nullptr));
    ANEMONE_ASSERT_ASSIGN(const ConfigNode json, HfMambaConfig(words, {.rows = 64}));
    EXPECT_EQ(json.Get("hybrid_override_pattern")->AsString(), "M*-");
    for (const auto& [key, value] : {std::pair{"ssm_state_size", 16},
                                     {"mamba_num_heads", 4},
                                     {"n_groups", 2},
                                     {"num_key_value_heads", 1},
                                     {"head_dim", 4},
                                     {"intermediate_size", 12}})
      EXPECT_EQ(json.Get(key)->AsInt(), value) << key;
    EXPECT_EQ(json.Get("mlp_hidden_act")->AsString(), "relu2");
  }
}

TEST(Mamba, OtherFormatsRefuseIt) {
  const TempDir temp;
  for (const char* source : {"mamba/hybrid/hf", "mamba/hybrid/nemo2"}) {
    for (const char* to : {"nemo", "ckpt", "megatron", "megatron-bridge"}) {
      EXPECT_THAT(PlanConversion(Golden(source), temp.path() + "/x", {.to = to}),
                  StatusIs(ErrorKind::kUnsupported, "found Mamba"))
          << source << " " << to;
    }
  }
}

// The third generation of Nemotron.
TEST(Mamba, AMixtureOfExpertsIsRefusedByName) {
  const TempDir temp;
  std::vector<std::pair<std::string, Shape>> tensors = {{"backbone.embeddings.weight", {8, 4}}};
  for (int expert = 0; expert < 8; ++expert)
    tensors.push_back({fmt::format("backbone.layers.0.mixer.experts.{}.up_proj.weight", expert), {4, 4}});
  WriteHfModel(temp.path() + "/hf", R"({"architectures": ["NemotronHForCausalLM"], "hybrid_override_pattern": "E"})",
               tensors);
  EXPECT_THAT(PlanConversion(temp.path() + "/hf", temp.path() + "/nemo", {.to = "nemo2"}),
              StatusIs(ErrorKind::kUnsupported, "a mixture of experts"));
}

}  // namespace
}  // namespace anemone
