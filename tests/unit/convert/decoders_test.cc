// Decoders between Hugging Face and NeMo, bit for bit against what NeMo v2.0.0's own converters wrote
// (tests/golden, decoders/), through every format and back.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "anemone/convert.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "format/format.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

struct Decoder {
  const char* name;
  const char* hf;                   // its dialect
  std::optional<DType> dtype = {};  // that NeMo's converter was told to cast to
  bool is_nemos = true;             // its tensors are NeMo's converter's bit for bit
};
const Decoder kDecoders[] = {
    {"llama", "hf"},
    {"mistral", "hf", DType::kBF16},
    {"mixtral", "hf_mixtral", DType::kBF16},
    {"qwen2", "hf", DType::kBF16},
    {"gemma", "hf", {}, false},  // NeMo's converter adds 1 to norms, which is not exact in every dtype
    {"gemma2", "hf"},
    {"falcon", "hf_falcon"},
    {"falcon_old", "hf_falcon_old"},
    {"starcoder", "hf_bigcode"},
    {"starcoder2", "hf_starcoder2"},
    {"baichuan2", "hf_baichuan", DType::kBF16},
    {"chatglm", "hf_chatglm", DType::kBF16},
};

std::string SourceOf(const Decoder& decoder) { return Golden(fmt::format("decoders/{}/hf", decoder.name)); }

std::vector<float> Floats(const Tensor& tensor) {
  const auto bytes = tensor.Read();
  EXPECT_THAT(bytes, IsOk());
  std::vector<float> values(bytes->size() / sizeof(float));
  std::memcpy(values.data(), bytes->data(), values.size() * sizeof(float));
  return values;
}

class DecodersTest : public ::testing::TestWithParam<Decoder> {};

TEST_P(DecodersTest, BecomesWhatNemosConverterMakes) {
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo";
  Convert(SourceOf(GetParam()), nemo, {.dialect = "mcore", .dtype = GetParam().dtype});
  Digests expected = Listed(Golden(fmt::format("decoders/{}/nemo.sha256", GetParam().name)));
  Digests found = DigestsOf(nemo);
  ASSERT_GT(expected.size(), 10);
  if (!GetParam().is_nemos) {
    const auto is_norm = [](const auto& item) { return item.first.find("norm") != std::string::npos; };
    EXPECT_GT(std::erase_if(expected, is_norm), 0);
    std::erase_if(found, is_norm);
  }
  EXPECT_EQ(found, expected);
}

TEST_P(DecodersTest, GoesToEveryFormatAndBack) {
  const std::string source = SourceOf(GetParam());
  for (const char* format : {"nemo", "nemo2", "torch_dist", "ckpt", "megatron", "megatron-bridge"}) {
    const bool is_falcon = std::string_view(GetParam().hf).starts_with("hf_falcon");
    const bool has_nemo2 = !is_falcon && std::string_view(GetParam().name) != "gemma2";
    if (std::string_view(format) == "nemo2" && !has_nemo2) continue;
    SCOPED_TRACE(format);
    const TempDir temp;
    const std::string there = temp.path() + "/there", back = temp.path() + "/back";
    const bool is_gemma = std::string_view(GetParam().name).starts_with("gemma");
    const bool is_megatron = std::string_view(format) == "megatron", is_bridge = std::string_view(format).size() > 10;
    if (((is_megatron || is_bridge) && is_falcon) || (is_megatron && is_gemma)) {
      EXPECT_THAT(PlanConversion(source, there, {.to = format}), StatusIs(ErrorKind::kUnsupported, "expected"));
      continue;
    }
    Convert(source, there, {.to = format});
    // A training's file has no place for the config that came along: Baichuan is the Llama then that NeMo computes,
    // unless one names the class.
    const bool is_file = std::string_view(format) == "ckpt";
    const bool is_named = is_file && std::string_view(GetParam().name) == "baichuan2";
    Convert(there, back, {.to = "hf", .architecture = is_named ? "BaichuanForCausalLM" : ""});
    if (std::string_view(format).starts_with("nemo")) {
      EXPECT_EQ(FilesIn(back), FilesIn(source));
    }
    Digests expected = DigestsOf(source);
    std::erase_if(expected, [](const auto& item) { return item.first.ends_with("inv_freq"); });
    EXPECT_EQ(DigestsOf(back), expected);
    EXPECT_TRUE(is_file || SameConfig(JsonOf(back + "/config.json").root(), JsonOf(source + "/config.json").root()));
  }
}

TEST_P(DecodersTest, IsMadeAnewWithoutTheConfigThatCameAlong) {
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo", back = temp.path() + "/back";
  const auto there = PlanConversion(SourceOf(GetParam()), nemo, {.dialect = "mcore", .dtype = GetParam().dtype});
  ASSERT_THAT(there, IsOk());
  Checkpoint bare = there->result;
  std::erase_if(bare.artifacts, [](const Artifact& artifact) { return artifact.name == "config.json"; });
  const auto plan = FindFormat("nemo")->lay_out(bare, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, nemo, {}), IsOk());
  if (std::string_view(GetParam().name) == "baichuan2") {
    Convert(nemo, back, {.to = "hf", .dialect = "hf"});  // a Llama in all that NeMo computes
    return;
  }
  Convert(nemo, back, {.to = "hf", .dialect = GetParam().hf});
  Digests expected = DigestsOf(SourceOf(GetParam()));
  std::erase_if(expected, [](const auto& item) { return item.first.ends_with("inv_freq"); });
  Digests found = DigestsOf(back);
  if (GetParam().dtype) {  // values that were cast on the way
    for (auto& [name, digest] : expected) digest.clear();
    for (auto& [name, digest] : found) digest.clear();
  }
  EXPECT_EQ(found, expected);
  // Whatever a class of transformers reads of it says the same as the source's.
  const Config made = JsonOf(back + "/config.json"), own = JsonOf(SourceOf(GetParam()) + "/config.json");
  for (const char* key :
       {"architectures", "model_type", "vocab_size", "num_key_value_heads", "rope_theta", "rms_norm_eps",
        "num_local_experts", "intermediate_size", "hidden_act", "max_position_embeddings"}) {
    const ConfigNode *a = made.root().Get(key), *b = own.root().Get(key);
    if (b == nullptr) continue;
    ASSERT_NE(a, nullptr) << key;
    EXPECT_TRUE(SameConfig(*a, *b)) << key;
  }
}

// Classes and forms of them that NeMo's converters do not know, as transformers 4 and 5 save them.
TEST(Decoders, WhatTransformersSavesComesBackAsItWas) {
  size_t tried = 0;
  for (const char* version : {"transformers4", "transformers5"}) {
    for (const auto& entry : std::filesystem::directory_iterator(Golden(version))) {
      const std::string source = entry.path().string();
      SCOPED_TRACE(source);
      const TempDir temp;
      const std::string nemo = temp.path() + "/out.nemo", ranks = temp.path() + "/ranks.nemo",
                        back = temp.path() + "/back";
      Convert(source, nemo, {});
      const bool one_group = source.find("falcon_7b") != std::string::npos;
      Convert(nemo, ranks, {.tp = one_group ? 1 : 2, .pp = 2});
      Convert(ranks, back, {.to = "hf"});
      EXPECT_EQ(DigestsOf(back), DigestsOf(source));
      EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), JsonOf(source + "/config.json").root()));
      ++tried;
    }
  }
  EXPECT_EQ(tried, 27);
}

// NeMo's converters give a tied output layer a copy of the embedding, which training then changes.
TEST(Decoders, AnOutputLayerThatIsNoCopyAnyMoreIsWritten) {
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo", changed = temp.path() + "/changed.nemo",
                    back = temp.path() + "/back";
  const std::string source = Golden("transformers4/qwen2_tied");
  Convert(source, nemo, {});
  auto checkpoint = OpenCheckpoint(nemo);
  ASSERT_THAT(checkpoint, IsOk());
  StateDict weights;
  for (const StateDict::Item& item : checkpoint->weights().items()) {
    const bool is_output = item.name == "model.output_layer.weight";
    ASSERT_THAT(weights.Add(item.name, is_output ? Entry(*item.tensor()->Plus(1)) : item.entry), IsOk());
  }
  checkpoint->weights() = weights;
  const auto plan = FindFormat("nemo")->lay_out(*checkpoint, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, changed, {}), IsOk());
  Convert(changed, back, {.to = "hf"});
  EXPECT_EQ(JsonOf(back + "/config.json").root().Get("tie_word_embeddings")->AsBool(), false);
  EXPECT_TRUE(DigestsOf(back).contains("lm_head.weight"));
  EXPECT_FALSE(DigestsOf(source).contains("lm_head.weight"));
}

// NeMo 1's converter stores Gemma's norms as 1 + w, and its config then has no layernorm_zero_centered_gamma.
TEST(Decoders, NormsOfTheOtherKindAreShifted) {
  const TempDir temp;
  const std::string source = Golden("decoders/gemma/hf"), whole = temp.path() + "/whole.nemo",
                    back = temp.path() + "/back";
  Convert(source, whole, {.dialect = "mcore", .set = {{"layernorm_zero_centered_gamma", "false"}}});
  Convert(whole, back, {.to = "hf", .dialect = "hf"});
  const auto before = OpenCheckpoint(source), after = OpenCheckpoint(back);
  ASSERT_THAT(before, IsOk());
  ASSERT_THAT(after, IsOk());
  size_t shifted = 0;
  for (const StateDict::Item& item : before->weights().items()) {
    const StateDict::Item* found = after->weights().Find(item.name);
    ASSERT_NE(found, nullptr) << item.name;
    const auto a = Floats(*item.tensor()), b = Floats(*found->tensor());
    ASSERT_EQ(a.size(), b.size());
    const bool is_norm = item.name.find("norm") != std::string::npos;
    for (size_t i = 0; i < a.size(); ++i) ASSERT_EQ(b[i], is_norm ? a[i] - 1 : a[i]) << item.name;
    shifted += is_norm;
  }
  EXPECT_EQ(shifted, 5);
}

std::string NameOf(const ::testing::TestParamInfo<Decoder>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(All, DecodersTest, ::testing::ValuesIn(kDecoders), NameOf);

// What the class of the target cannot say is refused by its name.
struct Refused {
  const char* decoder;
  const char* key;
  const char* value;  // YAML
  const char* words;
};
const Refused kRefused[] = {
    {"llama", "rope_scaling",
     "{rope_type: llama3, factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, "
     "original_max_position_embeddings: 8192}",
     "rope_scaling.factor: expected 8"},
    {"llama", "rope_scaling", "{rope_type: yarn, factor: 4.0}", "rope_type: expected none, linear or llama3"},
    {"llama", "rope_scaling", "{rope_type: longrope}", "rope_scaling.rope_type: expected linear, llama3 or yarn"},
    {"llama", "rope_scaling", "{rope_type: yarn, factor: 0}", "rope_scaling.factor: expected a number above 0"},
    {"llama", "rope_scaling", "{rope_type: yarn}", "rope_scaling.factor: expected a number above 0, found nothing"},
    {"llama", "rope_scaling", "{rope_type: yarn, factor: 4.0, truncate: 2}", "rope_scaling.truncate: expected true or"},
    {"llama", "rope_scaling", "{rope_type: yarn, factor: 4.0, attention_factor: 1.0}",
     "rope_scaling.attention_factor: expected none, found 1.0"},
    {"llama", "attention_bias", "true", "attention_bias: expected that of mlp_bias"},
    {"llama", "hidden_act", "tanh", "hidden_act: expected an activation that NeMo has, found tanh"},
    {"llama", "quantization_config", "{bits: 4}", "quantization_config: expected weights as they are"},
    {"llama", "num_hidden_layers", "many", "num_hidden_layers: expected a number"},
    {"mistral", "sliding_window", "0", "sliding_window: expected a number above 0"},
    {"baichuan2", "num_hidden_layers", "40", "ALiBi"},
    {"falcon", "alibi", "true", "alibi: expected false, found true"},
    {"falcon", "num_ln_in_parallel_attn", "1", "num_ln_in_parallel_attn: expected 2"},
    {"falcon", "bias", "true", "bias: expected false, found true: NeMo's Falcon leaves out biases"},
    {"mixtral", "num_experts_per_tok", "1", "num_experts_per_tok: expected 2 or more, found 1"},
    {"starcoder", "scale_attn_weights", "false", "scale_attn_weights: expected true"},
    {"llama", "architectures", "[DeciLMForCausalLM]", "DeciLMForCausalLM"},
    {"llama", "compression_config", "{quant_method: compressed-tensors}", "compression_config: expected weights as"},
    {"llama", "rms_norm_eps", "'1e-5'", "rms_norm_eps: expected a number, found \"1e-5\""},
    {"llama", "rope_scaling", "{rope_type: linear}", "rope_scaling.factor: expected a number above 0, found null"},
    {"llama", "rope_scaling", "{type: linear, factor: 0}", "rope_scaling.factor: expected a number above 0, found 0"},
    {"llama", "rope_parameters", "{rope_type: default, rope_theta: 77.0}",
     "rope_parameters.rope_theta: expected that of rope_theta"},
    {"qwen2", "rope_parameters", "{rope_type: linear, factor: 2.0, partial_rotary_factor: 0.5}",
     "rope_parameters.partial_rotary_factor: expected 1, as Qwen2ForCausalLM computes, found 0.5"},
    {"llama", "vocab_size", "5", "vocab_size: expected 384, the rows of the embedding, found 5"},
    {"llama", "attention_bias", "'yes'", "attention_bias: expected true or false, found \"yes\""},
    {"llama", "is_causal", "false", "is_causal: expected true, found false"},
    {"llama", "is_causal", "null", "is_causal: expected true, found null"},
    {"llama", "sliding_window", "3", "sliding_window: expected null, found 3"},
    {"llama", "attention_chunk_size", "8", "attention_chunk_size: expected null, found 8"},
    {"llama", "per_layer_config", "{'0': {intermediate_size: 8}}", "per_layer_config: expected null"},
    {"llama", "model_type", "mistral", "model_type: expected llama, as LlamaForCausalLM has, found mistral"},
    {"llama", "rope_theta", "0", "rope_theta: expected a number above 0, found 0"},
    {"llama", "rope_theta", "null", "rope_theta: expected a number, found null"},
    {"qwen2", "layer_types", "[sliding_attention, sliding_attention]",
     "layer_types: expected full_attention beside use_sliding_window: false"},
    {"llama", "rope_scaling", "{rope_type: 5}", "rope_scaling.rope_type: expected a name, found 5"},
    {"llama", "rope_parameters", "{rope_type: default, partial_rotary_factor: 2}",
     "rope_parameters.partial_rotary_factor: expected a number above 0 and at most 1, found 2"},
    {"mixtral", "num_experts_per_tok", "9", "num_experts_per_tok: expected 1 to"},
    {"mixtral", "num_experts_per_tok", "-2", "num_experts_per_tok: expected 1 to"},
    {"gemma2", "layer_types", "[]", "layer_types: expected one for each of"},
    {"llama", "layer_types", "[full_attention]", "layer_types: expected one for each of 2 layers, found 1"},
    {"llama", "layer_types", "[sliding_attention, sliding_attention]", "layer_types: expected full_attention"},
    {"starcoder", "scale_attn_weights", "null", "scale_attn_weights: expected true, found null"},
    {"gemma", "hidden_act", "silu", "hidden_act: expected what hidden_activation says, gelu_pytorch_tanh, found silu"},
    {"gemma", "hidden_activation", "gelu", "hidden_act: expected what hidden_activation says, gelu"},
    {"gemma2", "layer_types", "[full_attention, sliding_attention]",
     "layer_types: expected a window in every other layer, from the first on"},
    {"gemma2", "sliding_window", "null", "sliding_window: expected a number, found null"},
};

TEST(Decoders, WhatNemoCannotSayIsRefusedByName) {
  for (const Refused& refused : kRefused) {
    SCOPED_TRACE(fmt::format("{}: {}", refused.key, refused.value));
    const TempDir temp;
    const std::string source = WithKey(Golden(fmt::format("decoders/{}/hf", refused.decoder)), temp.path() + "/hf",
                                       "config.json", refused.key, refused.value);
    const auto conversion = PlanConversion(source, temp.path() + "/out.nemo", {});
    ASSERT_FALSE(conversion.ok());
    EXPECT_THAT(conversion.status(), StatusIs(conversion.status().kind(), refused.words));
  }
}

// A copy of a source whose config.json and files may be changed.
std::string CopyOf(const std::string& name, const TempDir& temp) {
  std::string source = temp.path() + "/hf";
  std::filesystem::copy(Golden(fmt::format("decoders/{}/hf", name)), source);
  for (const auto& file : std::filesystem::directory_iterator(source))
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  return source;
}

// NeMo 2's and Megatron-Bridge's classes cap at 50 and 30 where a config says nothing; NeMo 1 reads the first always.
TEST(Decoders, CapsThatAreNoneAreSaid) {
  const TempDir temp;
  const std::string source = CopyOf("gemma2", temp);
  Config config = JsonOf(source + "/config.json");
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) config.root()[key] = ConfigNode::Null();
  std::ofstream(source + "/config.json") << config.ToJson();
  const std::pair<const char*, const char*> formats[] = {
      {"nemo", "mcore_customization_config"}, {"nemo2", "config"}, {"megatron-bridge", "model"}};
  for (const auto& [format, place] : formats) {
    const std::string there = temp.path() + "/" + format, back = there + "-hf";
    const auto conversion = PlanConversion(source, there, {.to = format});
    ASSERT_THAT(conversion, IsOk());
    for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
      const ConfigNode* cap = conversion->result.config->Find(fmt::format("{}.{}", place, key));
      EXPECT_TRUE(cap != nullptr && cap->is_null()) << format << ": " << key;
    }
    Convert(source, there, {.to = format});
    Convert(there, back, {.to = "hf"});
    EXPECT_TRUE(JsonOf(back + "/config.json").root().Get("attn_logit_softcapping")->is_null()) << format;
  }
}

// NeMo 1 pads the tokenizer's tokens: other numbers of rows are override_vocab_size.
TEST(Decoders, RowsThatNemoWouldNotMakeAreFixed) {
  const TempDir temp;
  const std::string source = CopyOf("llama", temp);
  const auto rows = [&]() -> std::optional<int64_t> {
    const auto conversion = PlanConversion(source, temp.path() + "/out.nemo", {});
    EXPECT_THAT(conversion, IsOk());
    const ConfigNode* said = conversion->result.config->Find("override_vocab_size");
    return said == nullptr ? std::nullopt : said->AsInt();
  };
  EXPECT_EQ(rows(), std::nullopt);
  std::filesystem::remove(source + "/tokenizer.model");
  EXPECT_EQ(rows(), std::nullopt);
  std::ofstream(source + "/vocab.json") << R"({"a": 0})";
  std::ofstream(source + "/merges.txt") << "#version: 0.2\n";
  EXPECT_EQ(rows(), 384);
}

// NeMo 2 has Llama 3.2's factor of 32; NeMo 1 has 8 built in.
TEST(Decoders, OtherFactorsOfPositionsGoToNemo2AndBack) {
  const TempDir temp;
  const std::string source = temp.path() + "/hf", nemo2 = temp.path() + "/nemo2", back = temp.path() + "/back",
                    anew = temp.path() + "/anew";
  std::filesystem::copy(Golden("transformers4/llama31"), source);
  std::filesystem::permissions(source + "/config.json", std::filesystem::perms::owner_all);
  Config config = JsonOf(source + "/config.json");
  config.root()["rope_scaling"]["factor"] = ConfigNode::Float(32);
  std::ofstream(source + "/config.json") << config.ToJson();
  Convert(source, nemo2, {.to = "nemo2"});
  auto checkpoint = OpenCheckpoint(nemo2);
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_EQ(checkpoint->config->Find("config.scale_factor")->AsInt(), 32);
  Convert(nemo2, back, {.to = "hf"});
  EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), config.root()));
  std::erase_if(checkpoint->artifacts, [](const Artifact& artifact) { return artifact.name.ends_with("config.json"); });
  const auto plan = FindFormat("nemo2")->lay_out(*checkpoint, {});
  ASSERT_THAT(plan, IsOk());
  const std::string bare = temp.path() + "/bare";
  ASSERT_THAT(Execute(*plan, bare, {}), IsOk());
  Convert(bare, anew, {.to = "hf"});
  const Config made = JsonOf(anew + "/config.json");
  EXPECT_EQ(made.Find("rope_scaling.factor")->AsDouble(), 32);
  EXPECT_EQ(made.Find("rope_scaling.rope_type")->AsString(), "llama3");
  EXPECT_EQ(made.Find("rope_scaling.original_max_position_embeddings")->AsInt(), 8192);
  for (const char* format : {"nemo", "ckpt", "torch_dist"}) {
    EXPECT_THAT(PlanConversion(nemo2, temp.path() + "/x", {.to = format}),
                StatusIs(ErrorKind::kUnsupported, "rope_scaling.factor: expected 8"))
        << format;
  }
}

// ---- what NeMo's own converters have wrong ----

TEST(Decoders, WhatNemosConvertersHaveWrongIsSaid) {
  using ::testing::Contains;
  using ::testing::HasSubstr;
  using ::testing::Not;
  const TempDir temp;
  const auto notes = [&](const std::string& source, const char* to) {
    const auto plan = PlanConversion(source, temp.path() + "/x", {.to = to});
    EXPECT_THAT(plan, IsOk()) << source;
    return plan.ok() ? plan->notes : std::vector<std::string>();
  };
  // Scaled twice, and scaled at a length of 128: --llama31 is true by default.
  const auto llama31 = notes(Golden("families/llama31.nemo"), "hf");
  EXPECT_THAT(llama31, Contains(HasSubstr("seq_len_interpolation_factor: left out")));
  EXPECT_THAT(llama31, Contains(HasSubstr("scale_positional_embedding: true beside a length of 128")));
  EXPECT_THAT(notes(Golden("families/llama.nemo"), "hf"), Not(Contains(HasSubstr("scale_positional_embedding"))));
  EXPECT_THAT(notes(Golden("families/mixtral.nemo"), "hf"), Contains(HasSubstr("moe_router_pre_softmax: read as")));
  // A window counts the token itself, or it does not.
  for (const char* to : {"nemo", "nemo2"})
    EXPECT_THAT(notes(Golden("decoders/mistral/hf"), to), Contains(HasSubstr("window_size: [")));
  EXPECT_THAT(notes(Golden("families/mistral.nemo"), "hf"), Contains(HasSubstr("counts the token itself")));
  EXPECT_THAT(notes(Golden("decoders/mistral/hf"), "megatron"), Not(Contains(HasSubstr("window_size"))));
  // A Llama 3.1 that lost its scaling.
  const std::string bare = temp.path() + "/bare";
  std::filesystem::copy(Golden("transformers4/llama31"), bare);
  std::filesystem::permissions(bare + "/config.json", std::filesystem::perms::owner_all);
  EXPECT_THAT(notes(bare, "nemo2"), Not(Contains(HasSubstr("rope_scaling: none"))));
  Config config = JsonOf(bare + "/config.json");
  config.root()["rope_scaling"] = ConfigNode::Null();
  std::ofstream(bare + "/config.json") << config.ToJson();
  EXPECT_THAT(notes(bare, "nemo"), Contains(HasSubstr("rope_scaling: none beside rope_theta 500000")));
}

// ---- the rows of the vocabulary ----

uint64_t RowsIn(const std::string& folder) {
  const auto checkpoint = OpenCheckpoint(folder);
  EXPECT_THAT(checkpoint, IsOk());
  const StateDict::Item* table = checkpoint.ok() ? checkpoint->weights().Find("model.embed_tokens.weight") : nullptr;
  EXPECT_NE(table, nullptr);
  const auto rows = JsonOf(folder + "/config.json").root().Get("vocab_size")->AsInt();
  if (table == nullptr || rows != static_cast<int64_t>(table->tensor()->shape()[0])) return 0;
  return table->tensor()->shape()[0];
}

// 1001 tokens, padded to 1024 rows. What NeMo's own exporter wrote is bit for bit the same.
TEST(DecodersVocabulary, RowsThatTheTokenizerProvesPaddingAreLeftOut) {
  const TempDir temp;
  const std::string source = Golden("dist/nemo2_llama/nemo"), back = temp.path() + "/back";
  const auto conversion = PlanConversion(source, back, {.to = "hf"});
  ASSERT_THAT(conversion, IsOk());
  EXPECT_THAT(conversion->notes, ::testing::Contains(::testing::HasSubstr("1001 of 1024 rows")));
  ASSERT_THAT(RunConversion(*conversion, {}), IsOk());
  EXPECT_EQ(RowsIn(back), 1001u);
  EXPECT_EQ(DigestsOf(back), DigestsOf(Golden("dist/nemo2_llama/hf_back")));
}

TEST(DecodersVocabulary, AConfigThatCameAlongSaysHowManyThereAre) {
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo", back = temp.path() + "/back";
  Convert(Golden("dist/nemo2_llama/hf"), nemo, {});
  Convert(nemo, back, {.to = "hf"});
  EXPECT_EQ(RowsIn(back), 1024u);
}

TEST(DecodersVocabulary, AllRowsAreKeptWithoutEvidence) {
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo", back = temp.path() + "/back";
  Convert(Golden("dist/nemo2_llama/nemo"), nemo, {.set = {{"override_vocab_size", "1024"}}});
  const auto conversion = PlanConversion(nemo, back, {.to = "hf"});
  ASSERT_THAT(conversion, IsOk());
  EXPECT_THAT(conversion->notes, ::testing::Contains(::testing::HasSubstr("all 1024 rows")));
  ASSERT_THAT(RunConversion(*conversion, {}), IsOk());
  EXPECT_EQ(RowsIn(back), 1024u);
}

TEST(DecodersVocabulary, TheUserMayAskForFewerButNotBelowTheTokens) {
  const TempDir temp;
  const std::string source = Golden("dist/nemo2_llama/nemo"), back = temp.path() + "/back";
  Convert(source, back, {.to = "hf", .vocab_size = 1010});
  EXPECT_EQ(RowsIn(back), 1010u);
  for (const int rows : {-1, 0, 1000, 1025}) {
    EXPECT_THAT(PlanConversion(source, temp.path() + "/other", {.to = "hf", .vocab_size = rows}),
                StatusIs(ErrorKind::kInvalidArgument, "vocab_size"));
  }
  EXPECT_THAT(PlanConversion(Golden("dist/nemo2_llama/hf"), temp.path() + "/x.nemo", {.vocab_size = 1010}),
              StatusIs(ErrorKind::kInvalidArgument, "from NeMo to Hugging Face"));
}

// ---- the class that the user names ----

TEST(DecodersArchitecture, TheUsersClassIsWrittenWhereItComputesTheSame) {
  const TempDir temp;
  const std::string source = Golden("decoders/llama/hf"), nemo = temp.path() + "/out.nemo",
                    back = temp.path() + "/back";
  Convert(source, nemo, {});
  Convert(nemo, back, {.to = "hf", .architecture = "MistralForCausalLM"});
  EXPECT_EQ(JsonOf(back + "/config.json").root().Get("model_type")->AsString(), "mistral");
  EXPECT_TRUE(JsonOf(back + "/config.json").root().Get("sliding_window")->is_null());
  EXPECT_EQ(DigestsOf(back), DigestsOf(source));
  EXPECT_THAT(PlanConversion(nemo, temp.path() + "/x", {.to = "hf", .architecture = "Qwen2ForCausalLM"}),
              StatusIs(ErrorKind::kUnsupported, "qkv_bias"));
  EXPECT_THAT(PlanConversion(nemo, temp.path() + "/x", {.to = "hf", .architecture = "NoSuchModel"}),
              StatusIs(ErrorKind::kInvalidArgument, "architecture"));
  EXPECT_THAT(PlanConversion(nemo, temp.path() + "/x", {.to = "hf", .architecture = "Gemma3ForConditionalGeneration"})
                  .status()
                  .error()
                  .hint,
              "that is Gemma3ForCausalLM");
  EXPECT_THAT(PlanConversion(nemo, temp.path() + "/x.nemo", {.architecture = "LlamaForCausalLM"}),
              StatusIs(ErrorKind::kInvalidArgument, "architecture"));
}

TEST(DecodersArchitecture, ASourceOfAnUnknownClassIsTheOneThatTheUserNames) {
  const TempDir temp;
  const std::string source = temp.path() + "/hf", nemo = temp.path() + "/out.nemo";
  std::filesystem::copy(Golden("decoders/llama/hf"), source);
  Config config = JsonOf(source + "/config.json");
  config.root()["architectures"] = ConfigNode::List({ConfigNode::String("OurLlama")});
  std::filesystem::permissions(source + "/config.json", std::filesystem::perms::owner_all);
  std::ofstream(source + "/config.json") << config.ToJson();
  EXPECT_THAT(PlanConversion(source, nemo, {}), StatusIs(ErrorKind::kUnsupported, "OurLlama"));
  Convert(source, nemo, {.dialect = "mcore", .architecture = "LlamaForCausalLM"});
  EXPECT_EQ(DigestsOf(nemo), Listed(Golden("decoders/llama/nemo.sha256")));
}

}  // namespace
}  // namespace anemone
