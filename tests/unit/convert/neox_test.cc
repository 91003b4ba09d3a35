// GPT-NeoX between Hugging Face, NeMo 1, NeMo 2 and Megatron-LM. Layers whose attention and MLP read the same input
// (`use_parallel_residual`, as all of Pythia has) are nobody's but transformers'.
#include <filesystem>

#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

constexpr const char* kSizes =
    R"("architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "hidden_size": 16, "intermediate_size": 24,
       "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 32, "max_position_embeddings": 64,
       "hidden_act": "gelu", "layer_norm_eps": 1e-05, "classifier_dropout": 0.1, "bos_token_id": 0, "eos_token_id": 2)";
// As transformers 4.44 and 5.24 write them.
constexpr const char* kFour =
    R"("rope_scaling": null, "rotary_emb_base": 10000, "rotary_pct": 0.5, "attention_bias": true,
       "torch_dtype": "float32", "use_parallel_residual": false)";
constexpr const char* kFive =
    R"("rope_parameters": {"partial_rotary_factor": 0.5, "rope_theta": 10000.0, "rope_type": "default"},
       "attention_bias": true, "dtype": "float32", "is_decoder": false, "use_parallel_residual": false)";

std::string Model(const TempDir& temp, const std::string& keys, bool has_buffers = false) {
  std::string path = temp.path() + "/hf";
  std::filesystem::remove_all(path);
  std::vector<std::pair<std::string, Shape>> tensors = {{"gpt_neox.embed_in.weight", {32, 16}}};
  for (int layer = 0; layer < 2; ++layer) {
    const std::string top = fmt::format("gpt_neox.layers.{}.", layer);
    const auto linear = [&](const char* name, uint64_t rows, uint64_t columns) {
      tensors.emplace_back(top + name + ".weight", Shape{rows, columns});
      tensors.emplace_back(top + name + ".bias", Shape{rows});
    };
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) {
      for (const char* part : {"weight", "bias"})
        tensors.emplace_back(fmt::format("{}{}.{}", top, norm, part), Shape{16});
    }
    linear("attention.query_key_value", 48, 16);
    linear("attention.dense", 16, 16);
    linear("mlp.dense_h_to_4h", 24, 16);
    linear("mlp.dense_4h_to_h", 16, 24);
  }
  for (const char* part : {"weight", "bias"})
    tensors.emplace_back(fmt::format("gpt_neox.final_layer_norm.{}", part), Shape{16});
  tensors.emplace_back("embed_out.weight", Shape{32, 16});
  for (int layer = 0; layer < 2 && has_buffers; ++layer) {
    const std::string attention = fmt::format("gpt_neox.layers.{}.attention.", layer);
    tensors.emplace_back(attention + "bias", Shape{1, 1, 64, 64});
    tensors.emplace_back(attention + "masked_bias", Shape{});
    tensors.emplace_back(attention + "rotary_emb.inv_freq", Shape{2});
  }
  WriteHfModel(path, fmt::format("{{{}, {}}}", kSizes, keys), tensors);
  return path;
}

TEST(NeoX, ThereAndBackBitForBit) {
  for (const char* keys : {kFour, kFive}) {
    for (const char* to : {"nemo", "nemo2", "megatron"}) {
      const TempDir temp;
      const std::string hf = Model(temp, keys), there = temp.path() + "/there", back = temp.path() + "/back";
      Convert(hf, there, {.to = to});
      Convert(there, back, {.to = "hf", .architecture = "GPTNeoXForCausalLM"});
      EXPECT_EQ(DigestsOf(back), DigestsOf(hf)) << to;
      if (std::string_view(to) == "megatron") continue;  // it keeps no config.json
      EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), JsonOf(hf + "/config.json").root())) << to;
    }
  }
}

// transformers 5 calls the output layer lm_head in memory, and embed_out in files.
TEST(NeoX, TheOutputLayersNameInMemory) {
  const TempDir temp;
  const std::string hf = Model(temp, kFive), other = temp.path() + "/other", there = temp.path() + "/there";
  auto model = OpenCheckpoint(hf);
  ASSERT_THAT(model, IsOk());
  StateDict renamed;
  for (const StateDict::Item& item : model->weights().items()) {
    const bool is_output = item.name == "embed_out.weight";
    ASSERT_THAT(renamed.Add(is_output ? "lm_head.weight" : item.name, item.entry), IsOk());
  }
  model->weights() = std::move(renamed);
  const auto plan = FindFormat("hf")->lay_out(*model, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, other, {}), IsOk());
  Convert(other, there, {.to = "nemo"});
  Convert(there, temp.path() + "/back", {.to = "hf"});
  EXPECT_EQ(DigestsOf(temp.path() + "/back"), DigestsOf(hf));
}

// Each head's query, key and value follow each other on both sides.
TEST(NeoX, QueriesKeysAndValuesKeepTheirPlaces) {
  const TempDir temp;
  const std::string hf = Model(temp, kFour), nemo = temp.path() + "/x.nemo";
  Convert(hf, nemo, {});
  Digests theirs = DigestsOf(hf), ours = DigestsOf(nemo);
  for (const char* part : {"weight", "bias"}) {
    EXPECT_EQ(ours[fmt::format("model.decoder.layers.1.self_attention.linear_qkv.{}", part)],
              theirs[fmt::format("gpt_neox.layers.1.attention.query_key_value.{}", part)]);
  }
}

TEST(NeoX, MasksAndFrequenciesOfOlderFilesAreLeftOut) {
  const TempDir temp;
  const std::string back = temp.path() + "/back", nemo = temp.path() + "/x.nemo";
  Convert(Model(temp, kFour, true), nemo, {});
  Convert(nemo, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(Model(temp, kFour)));
}

// What NeMo's config alone tells: rotary positions for a part of a head are GPT-NeoX's.
TEST(NeoX, AConfigIsMadeAnew) {
  const TempDir temp;
  const std::string hf = Model(temp, kFour), nemo2 = temp.path() + "/nemo2", back = temp.path() + "/back";
  Convert(hf, nemo2, {.to = "nemo2"});
  std::filesystem::remove(nemo2 + "/context/config.json");
  Convert(nemo2, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(hf));
  const Config made = JsonOf(back + "/config.json"), given = JsonOf(hf + "/config.json");
  for (const auto& [key, value] : given.root().map) {
    if (key.ends_with("_token_id")) continue;  // the tokenizer's, which there is none of
    const ConfigNode* found = made.root().Get(key);
    ASSERT_NE(found, nullptr) << key;
    EXPECT_TRUE(SameConfig(*found, value)) << key;
  }
}

TEST(NeoX, WhatIsNotCarriedIsRefusedByName) {
  const TempDir temp;
  const auto convert = [&](const std::string& keys, const char* to) {
    return PlanConversion(Model(temp, keys), temp.path() + "/out", {.to = to});
  };
  const std::string parallel = R"("use_parallel_residual": true)";
  for (const char* to : {"nemo", "nemo2", "megatron", "megatron-bridge"}) {
    EXPECT_THAT(convert(parallel, to), StatusIs(ErrorKind::kUnsupported, "use_parallel_residual")) << to;
    EXPECT_THAT(convert(R"("rotary_pct": 0.25)", to), StatusIs(ErrorKind::kUnsupported, "use_parallel_residual")) << to;
  }
  EXPECT_THAT(convert(parallel, "hf"), IsOk());
  const std::string serial = R"("use_parallel_residual": false, )";
  for (const auto& [keys, what] : {
           std::pair{R"("attention_bias": false)", "attention_bias: expected true"},
           {R"("rope_theta": 500000.0)", "rope_theta: expected that of rotary_emb_base"},
           {R"("rope_scaling": {"rope_type": "yarn", "factor": 2.0})", "rope_type"},
           {R"("hidden_act": "mish")", "hidden_act"},
       }) {
    const auto refused = convert(serial + keys, "nemo");
    ASSERT_FALSE(refused.ok()) << keys;
    EXPECT_THAT(refused.status().message(), HasSubstr(what));
  }
}

}  // namespace
}  // namespace anemone
