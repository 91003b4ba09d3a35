// Griffin between NeMo 1 and transformers: what NeMo's own converters make of the same model (tests/golden, griffin/).
#include <string>
#include <utility>
#include <vector>

#include "anemone/convert.h"
#include "family/family.h"
#include "family/griffin/griffin_config.h"
#include "format/format.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::TempDir;

struct Case {
  const char *key, *yaml, *said;
};

std::string HfWith(const TempDir& temp, const char* key, const char* yaml) {
  return WithKey(Golden("griffin/hf"), temp.path() + "/hf", "config.json", key, yaml);
}

TEST(Griffin, IsWhatNemosConverterWritesAndComesBack) {
  const TempDir temp;
  const std::string nemo = temp.path() + "/x.nemo", back = temp.path() + "/back";
  Convert(Golden("griffin/hf"), nemo, {});
  EXPECT_EQ(DigestsOf(nemo), DigestsOf(Golden("griffin/nemo.pt")));
  Convert(nemo, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(Golden("griffin/hf")));
  EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), JsonOf(Golden("griffin/hf") + "/config.json").root()));
}

// NeMo's exporter saves the model without its head, under names without "model.".
TEST(Griffin, ReadsWhatNemosExporterWrites) {
  const TempDir temp;
  Convert(Golden("griffin/exported"), temp.path() + "/x.nemo", {});
  EXPECT_EQ(DigestsOf(temp.path() + "/x.nemo"), DigestsOf(Golden("griffin/nemo.pt")));
}

TEST(Griffin, ANewConfigSaysWhatTheOldOneSaid) {
  const TempDir temp;
  const auto theirs = JsonOf(Golden("griffin/hf") + "/config.json");
  const auto words = NemoGriffinConfig(theirs.root(), DType::kF32);
  ASSERT_THAT(words, IsOk());
  const auto json = HfGriffinConfig(*words, {.rows = 96});
  ASSERT_THAT(json, IsOk());
  const auto again = NemoGriffinConfig(*json, DType::kF32);
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(SameConfig(*words, *again));
  for (const char* key : {"num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
                          "num_key_value_heads", "lru_width", "attention_window_size", "logits_soft_cap",
                          "rms_norm_eps", "vocab_size", "block_types", "attention_bias", "conv1d_width"}) {
    ASSERT_NE(theirs.root().Get(key), nullptr) << key;
    ASSERT_NE(json->Get(key), nullptr) << key;
    EXPECT_TRUE(SameConfig(*theirs.root().Get(key), *json->Get(key))) << key;
  }
}

// Fields that NeMo's config says otherwise come back as they were.
TEST(Griffin, FieldsComeBack) {
  for (const auto& [key, yaml] : std::vector<std::pair<const char*, const char*>>{
           {"attention_window_size", "5"},
           {"logits_soft_cap", "20.0"},
           {"rms_norm_eps", "1.0e-05"},
           {"rope_parameters", "{rope_theta: 20000.0, partial_rotary_factor: 0.25, rope_type: default}"},
           {"hidden_activation", "gelu_new"},
           {"block_types", "[recurrent, recurrent, attention, recurrent]"},
           {"w_init_variance_scale", "0.5"}}) {
    SCOPED_TRACE(key);
    const TempDir temp;
    const std::string source = HfWith(temp, key, yaml);
    Convert(source, temp.path() + "/x.nemo", {});
    Convert(temp.path() + "/x.nemo", temp.path() + "/back", {.to = "hf"});
    EXPECT_TRUE(SameConfig(JsonOf(temp.path() + "/back/config.json").root(), JsonOf(source + "/config.json").root()));
  }
}

// NeMo has a bias of queries, keys and values; one that was trained goes along.
TEST(Griffin, ATrainedBiasOfQueriesIsKept) {
  const TempDir temp;
  Convert(Golden("griffin/hf"), temp.path() + "/x.nemo", {});
  ANEMONE_ASSERT_ASSIGN(Checkpoint nemo, OpenCheckpoint(temp.path() + "/x.nemo"));
  StateDict weights;
  for (const StateDict::Item& item : nemo.weights().items()) {
    Entry entry = item.entry;
    if (item.name == "model.decoder.layers.2.self_attention.linear_qkv.bias") {
      ANEMONE_ASSERT_ASSIGN(Tensor bias, Tensor::Fill(DType::kF32, {24}, 0.5));
      entry = std::move(bias);
    }
    ASSERT_THAT(weights.Add(item.name, std::move(entry)), IsOk());
  }
  nemo.weights() = std::move(weights);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint hf, Translate(nemo, "hf"));
  EXPECT_TRUE(hf.config->root().Get("attention_bias")->boolean);
  const StateDict::Item* const keys = hf.weights().Find("model.layers.2.temporal_block.k_proj.bias");
  ASSERT_NE(keys, nullptr);
  EXPECT_EQ(keys->tensor()->shape(), (Shape{4}));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(hf, "mcore"));
  EXPECT_EQ(DigestsOf(back.weights()), DigestsOf(nemo.weights()));
}

TEST(Griffin, WhatNemoDoesNotComputeIsRefused) {
  for (const Case& of : {Case{"conv1d_width", "3", "conv1d_width: expected 4"},
                         {"lru_width", "32", "lru_width: expected 16"},
                         {"head_dim", "8", "head_dim: expected 4"},
                         {"block_types", "[recurrent, attention]", "block_types: expected recurrent in layer 1"},
                         {"hidden_activation", "gelu", "hidden_activation: expected gelu_pytorch_tanh"},
                         {"tie_word_embeddings", "false", "tie_word_embeddings: expected true"},
                         {"rope_parameters", "{rope_type: linear, factor: 2.0}", "rope_type: expected default"},
                         {"attention_window_size", "0", "attention_window_size: expected a number above 0"},
                         {"vocab_size", "95", "vocab_size: expected 96"},
                         {"intermediate_size", "50", "expected shape"},
                         {"num_attention_heads", "3", "num_attention_heads: expected a divisor"},
                         {"architectures", "[GemmaForCausalLM]", "GemmaForCausalLM"}}) {
    SCOPED_TRACE(of.key);
    const TempDir temp;
    const auto planned = PlanConversion(HfWith(temp, of.key, of.yaml), temp.path() + "/x.nemo", {});
    ASSERT_FALSE(planned.ok());
    EXPECT_THAT(planned.status().message(), ::testing::HasSubstr(of.said));
  }
}

TEST(Griffin, WhatTransformersDoesNotComputeIsRefused) {
  for (const Case& of : {Case{"bias", "false", "bias: expected true"},
                         {"normalization", "layernorm", "normalization: expected rmsnorm"},
                         {"layernorm_zero_centered_gamma", "false", "layernorm_zero_centered_gamma: expected true"},
                         {"bias_activation_fusion", "false", "bias_activation_fusion: expected true"},
                         {"gated_linear_unit", "false", "gated_linear_unit: expected true"},
                         {"activation", "swiglu", "activation: expected gelu"},
                         {"position_embedding_type", "none", "position_embedding_type: expected rope"},
                         {"rotary_interleaved", "true", "rotary_interleaved: expected false"},
                         {"window_size", "null", "window_size: expected two numbers"},
                         {"window_size", "[8, 8]", "window_size: expected two numbers"},
                         {"kv_channels", "8", "kv_channels: expected 4"},
                         {"vocab_size", "128", "vocab_size: expected 96"}}) {
    SCOPED_TRACE(of.key);
    const TempDir temp;
    Convert(Golden("griffin/hf"), temp.path() + "/x.nemo", {});
    Convert(temp.path() + "/x.nemo", temp.path() + "/y.nemo", {.set = {{of.key, of.yaml}}});
    const auto planned = PlanConversion(temp.path() + "/y.nemo", temp.path() + "/hf", {.to = "hf"});
    ASSERT_FALSE(planned.ok());
    EXPECT_THAT(planned.status().message(), ::testing::HasSubstr(of.said));
  }
}

// NeMo's convolution and gates are as wide as the model on each rank.
TEST(Griffin, HasOneRank) {
  const TempDir temp;
  for (const auto& [tp, pp] : {std::pair{2, 1}, std::pair{1, 2}}) {
    const auto planned = PlanConversion(Golden("griffin/hf"), temp.path() + "/x.nemo", {.tp = tp, .pp = pp});
    ASSERT_FALSE(planned.ok());
    EXPECT_THAT(planned.status().message(), ::testing::HasSubstr("expected one tensor and one pipeline rank"));
  }
}

}  // namespace
}  // namespace anemone
