// Checkpoints that Megatron-LM and Megatron-Bridge wrote (tests/golden, megatron/): their full tensors and the Hugging
// Face model, bit for bit, and what is refused. Rules MEG-1 … MEG-9: docs/formats/megatron.md.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "anemone/check.h"
#include "anemone/convert.h"
#include "engine/execute.h"
#include "family/words/megatron_config.h"
#include "family/words/model_words.h"
#include "format/format.h"
#include "format/torch/megatron_file.h"
#include "format/torch/torch_write.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;
using testing::Golden;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;
using Kind = ValueNode::Kind;

std::string Item(const std::string& name) { return Golden("megatron/" + name); }

Status TryConvert(const std::string& source, const std::string& destination, const ConvertOptions& options = {}) {
  const auto conversion = PlanConversion(source, destination, options);
  return conversion.ok() ? RunConversion(*conversion, {}) : conversion.status();
}

std::string IterationOf(const std::string& item) {
  for (const auto& entry : fs::directory_iterator(Item(item) + "/ckpt")) {
    if (entry.is_directory()) return entry.path().string();
  }
  return "";
}

class MegatronTest : public ::testing::TestWithParam<const char*> {};

TEST_P(MegatronTest, HasTheTensorsThatWereSaved) {  // MEG-7
  const TempDir temp;
  ASSERT_THAT(TryConvert(Item(GetParam()) + "/ckpt", temp / "plain.safetensors"), IsOk());
  EXPECT_EQ(DigestsOf(temp / "plain.safetensors"), Listed(Item(GetParam()) + "/plain.sha256"));
  ASSERT_THAT(TryConvert(IterationOf(GetParam()), temp / "iteration.safetensors"), IsOk());
  EXPECT_EQ(DigestsOf(temp / "iteration.safetensors"), Listed(Item(GetParam()) + "/plain.sha256"));
}

TEST_P(MegatronTest, BecomesTransformersModel) {  // MEG-8
  const TempDir temp;
  const std::string source = Item(GetParam()) + "/ckpt";
  ASSERT_THAT(TryConvert(source, temp / "hf", {.to = "hf"}), IsOk());
  EXPECT_EQ(DigestsOf(temp / "hf"), Listed(Item(GetParam()) + "/hf.sha256"));
  for (const char* format : {"nemo", "nemo2"}) {
    SCOPED_TRACE(format);
    const std::string there = temp / format, back = there + "-hf";
    ASSERT_THAT(TryConvert(source, there, {.to = format}), IsOk());
    ASSERT_THAT(TryConvert(there, back, {.to = "hf"}), IsOk());
    EXPECT_EQ(DigestsOf(back), Listed(Item(GetParam()) + "/hf.sha256"));
  }
}

TEST_P(MegatronTest, IsVerified) {
  const auto verified = Verify(Item(GetParam()) + "/ckpt", nullptr);
  ASSERT_THAT(verified, IsOk());
  EXPECT_EQ(verified->problems, std::vector<std::string>());
  EXPECT_EQ(verified->unchecked, "");
}

INSTANTIATE_TEST_SUITE_P(All, MegatronTest,
                         ::testing::Values("mb031-provider-llama", "mb07-builder-llama", "mlm09-dist-tp2-llama-te",
                                           "mlm09-torch-ep2-moe-grouped", "mlm09-torch-tp2pp2-legacy-gpt2",
                                           "mlm19-dist-tp1-llama", "mlm20-torch-pp2vpp2-llama"));

TEST(MegatronFolder, IsNamedByWhatIsInIt) {  // MEG-2
  const auto flavour = [](const char* item) { return OpenCheckpoint(Item(item) + "/ckpt")->flavour; };
  EXPECT_EQ(flavour("mb031-provider-llama"), "megatron-bridge");
  EXPECT_EQ(flavour("mb07-builder-llama"), "megatron-bridge");
  EXPECT_EQ(flavour("mlm19-dist-tp1-llama"), "megatron");
  EXPECT_EQ(flavour("mlm20-torch-pp2vpp2-llama"), "megatron");
}

TEST(MegatronFolder, TheArgumentsSayWhatARankFolderIs) {  // MEG-3
  const auto experts = OpenCheckpoint(Item("mlm09-torch-ep2-moe-grouped") + "/ckpt");
  ASSERT_THAT(experts, IsOk());
  EXPECT_EQ(experts->layout, (Layout{.ep = 2}));
  const auto stages = OpenCheckpoint(Item("mlm20-torch-pp2vpp2-llama") + "/ckpt");
  ASSERT_THAT(stages, IsOk());
  EXPECT_EQ(stages->layout, (Layout{.pp = 2, .vp = 2}));
}

// A shard is made for each rank that the arguments speak of: a small file cannot ask for memory without end.
TEST(MegatronFolder, MoreRanksThanAnyMachineAreRefused) {  // MEG-3
  ConfigNode args = ConfigNode::Map();
  args["tensor_model_parallel_size"] = ConfigNode::Int(4096);
  EXPECT_THAT(LayoutOfMegatronArgs(args), IsOk());
  for (const char* key : {"pipeline_model_parallel_size", "expert_model_parallel_size"})
    args[key] = ConfigNode::Int(4096);
  EXPECT_THAT(LayoutOfMegatronArgs(args), StatusIs(ErrorKind::kCorrupt, "at most 65536 ranks, found 68719476736"));
}

TEST(MegatronFolder, OneRankOfSeveralIsRefused) {  // MEG-4
  const TempDir temp;
  const std::string iteration = IterationOf("mlm09-torch-tp2pp2-legacy-gpt2");
  EXPECT_THAT(TryConvert(iteration + "/mp_rank_00_000/model_optim_rng.pt", temp / "half.safetensors"),
              StatusIs(ErrorKind::kCorrupt, iteration + " has all parts: give that"));
}

TEST(MegatronFolder, AMissingRankIsNamed) {  // MEG-3
  const TempDir temp;
  fs::copy(Item("mlm09-torch-tp2pp2-legacy-gpt2") + "/ckpt", temp / "ckpt", fs::copy_options::recursive);
  fs::remove_all(temp / "ckpt/iter_0000010/mp_rank_01_000");
  EXPECT_THAT(OpenCheckpoint(temp / "ckpt"), StatusIs(ErrorKind::kCorrupt, "missing: mp_rank_01_000; others: none"));
}

TEST(MegatronFolder, ARankOfAnotherSaveIsNamed) {  // MEG-3
  const TempDir temp;
  fs::copy(Item("mlm09-torch-tp2pp2-legacy-gpt2") + "/ckpt", temp / "ckpt", fs::copy_options::recursive);
  fs::copy(temp / "ckpt/iter_0000010/mp_rank_01_000", temp / "ckpt/iter_0000010/mp_rank_02_000");
  EXPECT_THAT(OpenCheckpoint(temp / "ckpt"), StatusIs(ErrorKind::kCorrupt, "missing: none; others: mp_rank_02_000"));
}

TEST(MegatronFolder, TheTrackerIsBelievedOrAsked) {  // MEG-1
  const TempDir temp;
  fs::copy(Item("mlm19-dist-tp1-llama") + "/ckpt", temp / "ckpt", fs::copy_options::recursive);
  const std::string tracker = temp / "ckpt/latest_checkpointed_iteration.txt";
  std::ofstream(tracker) << "20";
  EXPECT_THAT(OpenCheckpoint(temp / "ckpt"), StatusIs(ErrorKind::kNotFound, "iter_0000010"));
  std::ofstream(tracker) << "ten";
  EXPECT_THAT(OpenCheckpoint(temp / "ckpt"), StatusIs(ErrorKind::kCorrupt, "MEG-1"));
  fs::rename(temp / "ckpt/iter_0000010", temp / "ckpt/release");
  std::ofstream(tracker) << "release\n";
  EXPECT_THAT(OpenCheckpoint(temp / "ckpt"), IsOk());
  fs::remove(tracker);
  fs::rename(temp / "ckpt/release", temp / "ckpt/iter_0000010");
  EXPECT_THAT(OpenCheckpoint(temp / "ckpt"), IsOk());
  fs::create_directory(temp / "ckpt/iter_0000020");
  EXPECT_THAT(OpenCheckpoint(temp / "ckpt"), StatusIs(ErrorKind::kInvalidArgument, "iter_0000020"));
}

TEST(MegatronFolder, TheTrainingIsLeftOutWithANote) {  // MEG-10
  const auto conversion = PlanConversion(Item("mlm19-dist-tp1-llama") + "/ckpt", "out.safetensors", {});
  ASSERT_THAT(conversion, IsOk());
  EXPECT_TRUE(std::ranges::any_of(
      conversion->notes, [](const std::string& note) { return note.starts_with("left out the training state"); }));
}

TEST(MegatronFolder, NemoLoadsTheTokenizerByTheNameThatTheTrainingHad) {  // MEG-8
  const auto conversion = PlanConversion(Item("mb031-provider-llama") + "/ckpt", "out.nemo", {});
  ASSERT_THAT(conversion, IsOk());
  const ConfigNode* type = conversion->result.config->Find("tokenizer.type");
  ASSERT_NE(type, nullptr);
  EXPECT_EQ(type->AsString(), "hf");
  EXPECT_NE(conversion->result.FindArtifact("tokenizer/tokenizer.json"), nullptr);
}

// ---- files made here ----

class RankFileMaker {
 public:
  ValueRef Text(std::string_view text) {
    return Made(Kind::kString, [&](ValueNode& node) { node.text = text; });
  }
  ValueRef Int(int64_t number) {
    return Made(Kind::kInt, [&](ValueNode& node) { node.integer = number; });
  }
  ValueRef Float(double number) {
    return Made(Kind::kFloat, [&](ValueNode& node) { node.real = number; });
  }
  ValueRef Bool(bool value) {
    return Made(Kind::kBool, [&](ValueNode& node) { node.integer = value; });
  }
  ValueRef Dict(const std::vector<std::pair<std::string, ValueRef>>& pairs) {
    const ValueRef dict = value_.graph->New(Kind::kDict);
    for (const auto& [key, value] : pairs) dict->items.insert(dict->items.end(), {Text(key), value});
    return dict;
  }
  ValueRef Rows(const std::vector<uint8_t>& rows) {
    auto tensor = Tensor::FromBytes(DType::kU8, {rows.size(), 1}, std::string(rows.begin(), rows.end()));
    return Made(Kind::kTensor, [&](ValueNode& node) { node.tensor = std::make_unique<Tensor>(*std::move(tensor)); });
  }
  ValueRef Namespace(const std::vector<std::pair<std::string, ValueRef>>& pairs) {
    const ValueRef node = value_.graph->New(Kind::kObject);
    node->is_new = true;
    node->callable = value_.graph->New(Kind::kGlobal);
    node->callable->text = "argparse Namespace";
    node->state = Dict(pairs);
    return node;
  }
  void Write(ValueRef root, const std::string& path) {
    value_.node = value_.graph->root = root;
    Plan plan;
    ASSERT_THAT(LayOutTorchFile(value_, "archive", plan.files.emplace_back()), IsOk());
    fs::create_directories(fs::path(path).parent_path());
    ASSERT_THAT(Execute(plan, path, {}), IsOk());
  }

 private:
  template <typename Fill>
  ValueRef Made(Kind kind, Fill fill) {
    const ValueRef node = value_.graph->New(kind);
    fill(*node);
    return node;
  }
  Value value_{std::make_shared<ValueGraph>(), nullptr};
};

// Two heads of size two: the rows of the queries, keys and values of a head in today's order.
TEST(MegatronFile, QkvRowsAreReadInTodaysOrder) {  // MEG-5
  const std::vector<uint8_t> today = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const std::map<int, std::vector<uint8_t>> stored = {
      {0, {1, 2, 7, 8, 3, 4, 9, 10, 5, 6, 11, 12}},  // (3, heads, size)
      {1, {1, 3, 5, 2, 4, 6, 7, 9, 11, 8, 10, 12}},  // (heads, size, 3)
      {2, today},
  };
  for (const auto& [version, rows] : stored) {
    SCOPED_TRACE(version);
    const TempDir temp;
    RankFileMaker make;
    const ValueRef layers = make.Dict({{"layers.0.attention.query_key_value.weight", make.Rows(rows)}});
    make.Write(make.Dict({{"args", make.Namespace({{"num_attention_heads", make.Int(2)}})},
                          {"checkpoint_version", make.Float(version)},
                          {"model", make.Dict({{"language_model", make.Dict({{"transformer", layers}})}})}}),
               temp / "mp_rank_00/model_optim_rng.pt");
    const auto checkpoint = OpenCheckpoint(temp.path());
    ASSERT_THAT(checkpoint, IsOk());
    const StateDict::Item* item =
        checkpoint->weights().Find("language_model.encoder.layers.0.self_attention.query_key_value.weight");
    ASSERT_NE(item, nullptr);
    const auto bytes = item->tensor()->Read();
    ASSERT_THAT(bytes, IsOk());
    EXPECT_EQ(*bytes, std::string(today.begin(), today.end()));
  }
}

TEST(MegatronFile, ExpertsInOneMatrixMustBeAsManyAsTheArgumentsSay) {  // MEG-6
  const TempDir temp;
  RankFileMaker make;
  make.Write(make.Dict({{"args", make.Namespace({{"num_experts", make.Int(5)}})},
                        {"checkpoint_version", make.Float(3)},
                        {"model", make.Dict({{"decoder.layers.0.mlp.experts.weight2", make.Rows({1, 2, 3, 4})}})}}),
             temp / "mp_rank_00/model_optim_rng.pt");
  EXPECT_THAT(OpenCheckpoint(temp.path()), StatusIs(ErrorKind::kCorrupt, "MEG-6"));
}

TEST(MegatronFile, AnUnknownVersionIsRefused) {  // MEG-5
  const TempDir temp;
  RankFileMaker make;
  for (const ValueRef version : {make.Float(4), make.Float(-1), make.Text("3.0")}) {
    make.Write(make.Dict({{"args", make.Namespace({{"num_attention_heads", make.Int(2)}})},
                          {"checkpoint_version", version},
                          {"model", make.Dict({{"decoder.final_norm.weight", make.Rows({1})}})}}),
               temp / "mp_rank_00/model_optim_rng.pt");
    EXPECT_THAT(OpenCheckpoint(temp.path()), StatusIs(ErrorKind::kUnsupported, "MEG-5"));
    fs::remove_all(temp / "mp_rank_00");
  }
}

// ---- arguments ----

ConfigNode Args(const std::string& more = "") {
  const auto config = Config::ParseYaml(
      "{num_layers: 2, hidden_size: 8, ffn_hidden_size: 16, num_attention_heads: 2, max_position_embeddings: 8, "
      "padded_vocab_size: 128, tensor_model_parallel_size: 1, world_size: 1, position_embedding_type: rope, "
      "add_bias_linear: true, normalization: LayerNorm}",
      "args");
  ConfigNode root = config->root();
  const auto added = Config::ParseYaml("{" + more + "}", "args");
  for (const auto& [key, value] : added->root().map) root[key] = value;
  return root;
}

std::string Word(const std::string& more, std::string_view key) {
  const auto words = Nemo1OfMegatron(Args(more), nullptr);
  EXPECT_THAT(words, IsOk()) << more;
  const ConfigNode* node = words.ok() ? words->Get(key) : nullptr;
  if (node == nullptr) return "none";
  return node->is_list() ? node->list.front().ScalarText() : node->ScalarText();
}

TEST(MegatronArgs, SayWhatNemoSays) {
  EXPECT_EQ(Word("", "num_query_groups"), "2");
  EXPECT_EQ(Word("num_query_groups: 1", "num_query_groups"), "2");  // the default, which means nothing
  EXPECT_EQ(Word("num_query_groups: 1, group_query_attention: true", "num_query_groups"), "1");
  EXPECT_EQ(Word("", "activation"), "gelu");
  EXPECT_EQ(Word("swiglu: true", "activation"), "fast-swiglu");
  EXPECT_EQ(Word("squared_relu: true", "activation"), "squared-relu");
  EXPECT_EQ(Word("", "bias_activation_fusion"), "true");
  EXPECT_EQ(Word("add_bias_linear: false", "bias_activation_fusion"), "false");
  EXPECT_EQ(Word("bias_gelu_fusion: false", "bias_activation_fusion"), "false");
  EXPECT_EQ(Word("norm_epsilon: 0.5", "layernorm_epsilon"), "0.5");
  EXPECT_EQ(Word("layernorm_epsilon: 0.25", "layernorm_epsilon"), "0.25");
  EXPECT_EQ(Word("apply_layernorm_1p: true", "normalization"), "layernorm1p");
  EXPECT_EQ(Word("normalization: RMSNorm", "normalization"), "rmsnorm");
  EXPECT_EQ(Word("window_size: [7, 0]", "window_size"), "8");
  EXPECT_EQ(Word("use_rope_scaling: true", "scale_positional_embedding"), "true");
  EXPECT_EQ(Word("untie_embeddings_and_output_weights: true", "share_embeddings_and_output_weights"), "false");
  EXPECT_EQ(Word("position_embedding_type: learned_absolute, use_rotary_position_embeddings: true",
                 "position_embedding_type"),
            "rope");
}

// Megatron-core has no such activation; legacy models have.
TEST(MegatronArgs, LegacyModelsAloneLookAtOpenaiGelu) {
  EXPECT_EQ(Word("openai_gelu: true", "openai_gelu"), "false");
  EXPECT_EQ(Word("openai_gelu: true, use_legacy_models: true", "openai_gelu"), "true");
}

// Its gelu is the one by tanh, with a bias and without one.
TEST(MegatronArgs, TransformerEngineMayComputeTheActivation) {
  for (const char* key : {"use_te_activation_func", "use_transformer_engine_op_fuser"}) {
    EXPECT_EQ(Word(fmt::format("{}: true, bias_gelu_fusion: false", key), "openai_gelu"), "true") << key;
    EXPECT_EQ(Word(fmt::format("{}: false, bias_gelu_fusion: false", key), "openai_gelu"), "false") << key;
    EXPECT_EQ(Word(fmt::format("{}: true, swiglu: true", key), "openai_gelu"), "false") << key;
  }
}

TEST(MegatronArgs, ASizeThatNoModelIsWithoutIsAskedFor) {
  for (const char* key : {"num_layers", "hidden_size", "num_attention_heads"})
    EXPECT_THAT(Nemo1OfMegatron(Args(std::string(key) + ": null"), nullptr), StatusIs(ErrorKind::kCorrupt, key));
}

TEST(MegatronArgs, WhatIsNotCarriedIsRefusedByName) {
  for (const auto& [more, key] : std::map<std::string, std::string>{
           {"softmax_type: learnable", "softmax_type"},
           {"moe_router_force_load_balancing: true", "moe_router_force_load_balancing"},
           {"moe_router_force_biased: 0.5", "moe_router_force_biased"},
           {"spec: [my.layers, my_spec]", "spec: expected layers of megatron.core, found my.layers"},
           {"position_embedding_type: yarn", "position_embedding_type"},
           {"position_embedding_type: learned_absolute, add_position_embedding: false", "add_position_embedding"},
           {"normalization: L2Norm", "normalization"}}) {
    EXPECT_THAT(Nemo1OfMegatron(Args(more), nullptr), StatusIs(ErrorKind::kUnsupported, key)) << more;
  }
  EXPECT_THAT(Nemo1OfMegatron(Args("num_experts: 2, moe_layer_freq: [1, 1]"), nullptr), IsOk());
  EXPECT_THAT(Nemo1OfMegatron(Args("spec: [megatron.core.models.mamba.mamba_layer_specs, mamba_stack_spec]"), nullptr),
              IsOk());
}

// What Megatron and NeMo 2 have, and NeMo 1 has not.
TEST(MegatronArgs, WhatNemo1HasNotIsToldByName) {
  for (const auto& [more, key] : std::map<std::string, std::string>{
           {"multi_latent_attention: true", "multi_latent_attention"},
           {"num_experts: 2, moe_shared_expert_intermediate_size: 8", "moe_shared_expert_intermediate_size"},
           {"num_experts: 2, moe_layer_freq: [0, 1]", "moe_layer_freq"},
           {"num_experts: 2, moe_router_score_function: sigmoid", "moe_router_score_function"},
           {"num_experts: 2, moe_layer_freq: [1, 1]", ""},
           {"moe_router_score_function: softmax", ""}}) {
    const auto words = Nemo1OfMegatron(Args(more), nullptr);
    ASSERT_THAT(words, IsOk()) << more;
    EXPECT_EQ(KeyBeyondNemo1(*words), key) << more;
    if (key.empty()) continue;
    EXPECT_THAT(CheckNemo1Factors(*words), StatusIs(ErrorKind::kUnsupported, key)) << more;
  }
}

TEST(MegatronArgs, WhatIsNotKnownIsNoted) {
  std::vector<std::string> notes;
  ASSERT_THAT(Nemo1OfMegatron(Args("seed: 1, new_thing: 5, other_thing: false"), &notes), IsOk());
  ASSERT_EQ(notes.size(), 1);
  EXPECT_EQ(notes[0], "arguments that are not known are not looked at: new_thing = 5");
}

TEST(MegatronArgs, TheEmbeddingsRowsAreChecked) {  // MEG-9
  auto checkpoint = OpenCheckpoint(Item("mlm19-dist-tp1-llama") + "/ckpt");
  ASSERT_THAT(checkpoint, IsOk());
  checkpoint->config->root()["padded_vocab_size"] = ConfigNode::Int(512);
  std::vector<std::string> notes;
  EXPECT_THAT(TakeMegatronCheckpoint({}, &*checkpoint, &notes), StatusIs(ErrorKind::kCorrupt, "padded_vocab_size"));
}

// Mixtral makes the chosen experts' weights add up to one, which a softmax before the choice does not.
TEST(MegatronArgs, AnotherRouterThanMixtralsIsRefused) {
  for (const bool before : {true, false}) {
    auto checkpoint = OpenCheckpoint(Item("mlm09-torch-ep2-moe-grouped") + "/ckpt");
    ASSERT_THAT(checkpoint, IsOk());
    checkpoint->config->root()["moe_router_pre_softmax"] = ConfigNode::Bool(before);
    std::vector<std::string> notes;
    const Status taken = TakeMegatronCheckpoint({.language = ConfigLanguage::kHuggingFace}, &*checkpoint, &notes);
    if (before) {
      EXPECT_THAT(taken, StatusIs(ErrorKind::kUnsupported, "moe_router_pre_softmax"));
    } else {
      EXPECT_THAT(taken, IsOk());
    }
  }
}

TEST(BridgeConfig, ClassesThatComputeMoreAreRefused) {
  for (const char* name : {"Gemma4ModelProvider", "Gemma3VLModelProvider", "KimiK3Provider", "FalconH1ModelProvider"}) {
    const auto config = Config::ParseYaml(
        fmt::format("model: {{_target_: megatron.bridge.models.a.b.{}, num_layers: 2}}", name), "run_config.yaml");
    ASSERT_THAT(config, IsOk());
    EXPECT_THAT(Nemo1OfMegatron(config->root(), nullptr), StatusIs(ErrorKind::kUnsupported, name));
  }
}

// Classes of Gemma's scale embeddings; each layer's kind may be listed.
TEST(BridgeConfig, ClassesSayWhatNoFieldSays) {
  const auto words = [](const std::string& name, const std::string& fields) {
    const auto config = Config::ParseYaml(
        fmt::format(
            "model: {{_target_: megatron.bridge.models.{}, num_layers: 4, hidden_size: 8, num_attention_heads: 2, "
            "seq_length: 8, activation_func: {{_target_: megatron.core.activations.fast_gelu}}, "
            "gated_linear_unit: true, kv_channels: 4, position_embedding_type: rope, {}}}",
            name, fields),
        "run_config.yaml");
    EXPECT_THAT(config, IsOk());
    return Nemo1OfMegatron(config->root(), nullptr);
  };
  const auto gemma = words("gemma.gemma_provider.GemmaModelProvider2B", "rotary_base: 10000");
  ASSERT_THAT(gemma, IsOk());
  EXPECT_EQ(WordAt(*gemma, "apply_embedding_scaling").AsBool(), true);
  const auto second = words("gemma.gemma2_provider.Gemma2ModelProvider",
                            "window_size: [7, 0], query_pre_attn_scalar: 9, final_logit_softcapping: 30.0");
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(WordAt(*second, "name").AsString(), "megatron_gemma2");
  EXPECT_EQ(WordAt(*second, "mcore_customization_config.query_pre_attn_scalar").AsInt(), 9);
  EXPECT_EQ(WordAt(*second, "window_size").list.front().AsInt(), 8);
  const std::string third = "gemma.gemma3_provider.Gemma3ModelProvider1B";
  const std::string pairs = "rotary_base: [10000, 1000000], window_size: 8, softmax_scale: 0.5, qk_layernorm: false, ";
  const auto listed = words(third, pairs +
                                       "interleaved_attn_pattern: [sliding_attention, full_attention, "
                                       "sliding_attention, full_attention]");
  ASSERT_THAT(listed, IsOk());
  EXPECT_EQ(WordAt(*listed, "name").AsString(), "gemma3");
  EXPECT_EQ(WordAt(*listed, "rotary_base_local").AsInt(), 10000);
  EXPECT_EQ(WordAt(*listed, "qk_layernorm").AsBool(), true);
  EXPECT_EQ(WordAt(*listed, "mcore_customization_config.query_pre_attn_scalar").AsInt(), 4);
  EXPECT_EQ(WordAt(*listed, "interleaved_attn_pattern").list.front().AsInt(), 1);
  EXPECT_THAT(words(third, pairs + "interleaved_attn_pattern: [full_attention, full_attention, sliding_attention, "
                                   "full_attention]"),
              StatusIs(ErrorKind::kUnsupported, "interleaved_attn_pattern"));
  const auto latent = words("deepseek.deepseek_provider.DeepSeekV3ModelProvider", "rotary_base: 10000");
  ASSERT_THAT(latent, IsOk());
  EXPECT_EQ(WordAt(*latent, "multi_latent_attention").AsBool(), true);
}

}  // namespace
}  // namespace anemone
