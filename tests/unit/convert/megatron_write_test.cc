// Megatron-LM's and Megatron-Bridge's folders as they are written (rules MEG-11 … MEG-14 of docs/formats/megatron.md),
// held against those that their own code wrote (tests/golden, megatron/).
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "anemone/convert.h"
#include "anemone/save.h"
#include "engine/execute.h"
#include "family/words/megatron_config.h"
#include "family/words/megatron_tables.h"
#include "family/words/model_words.h"
#include "format/format.h"
#include "format/torch/megatron_file.h"
#include "format/torch/torch_file.h"
#include "format/values.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using testing::Golden;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

std::string Item(const std::string& name) { return Golden("megatron/" + name); }

ConfigNode ConfigOf(const std::string& path) {
  const auto checkpoint = OpenCheckpoint(path);
  EXPECT_THAT(checkpoint, IsOk());
  return checkpoint.ok() && checkpoint->config ? checkpoint->config->root() : ConfigNode::Map();
}

std::string Shown(const ConfigNode& node) { return node.is_scalar() ? node.ScalarText() : "a list or a map"; }

class MegatronWriteTest : public ::testing::TestWithParam<const char*> {};

// From a Hugging Face folder, which says nothing of Megatron, back to the tensors that Megatron had saved.
TEST_P(MegatronWriteTest, HasTheTensorsThatMegatronSaved) {  // MEG-12
  const TempDir temp;
  Convert(Item(GetParam()) + "/ckpt", temp / "hf", {.to = "hf"});
  for (const char* format : {"megatron", "megatron-bridge"}) {
    SCOPED_TRACE(format);
    const std::string written = temp / format;
    Convert(temp / "hf", written, {.to = format});
    EXPECT_EQ(OpenCheckpoint(written)->flavour, format);
    Convert(written, written + ".safetensors", {});
    EXPECT_EQ(DigestsOf(written + ".safetensors"), Listed(Item(GetParam()) + "/plain.sha256"));
    Convert(written, written + "-hf", {.to = "hf"});
    EXPECT_EQ(DigestsOf(written + "-hf"), Listed(Item(GetParam()) + "/hf.sha256"));
  }
}

// Legacy modules and the layers of Megatron-core have other names in a distributed checkpoint; copies of a tied
// embedding are not there.
TEST(MegatronWrite, OtherNamesHaveTheTensorsThatMegatronSaved) {  // MEG-12
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"language_model.embedding.", "embedding."},
      {"language_model.output_layer.", "output_layer."},
      {"language_model.encoder.final_norm.", "decoder.final_layernorm."},
      {"language_model.encoder.final_layernorm.", "decoder.final_layernorm."},
      {"language_model.encoder.", "decoder."},
      {".self_attention.query_key_value.", ".self_attention.linear_qkv."},
      {".self_attention.dense.", ".self_attention.linear_proj."},
      {".input_norm.", ".self_attention.linear_qkv.layer_norm_"},
      {".input_layernorm.", ".self_attention.linear_qkv.layer_norm_"},
      {".post_attention_norm.", ".mlp.linear_fc1.layer_norm_"},
      {".post_attention_layernorm.", ".mlp.linear_fc1.layer_norm_"},
      {".pre_mlp_layernorm.", ".mlp.linear_fc1.layer_norm_"},
      {".dense_h_to_4h.", ".linear_fc1."},
      {".dense_4h_to_h.", ".linear_fc2."},
  };
  for (const char* item : {"mlm09-torch-tp2pp2-legacy-gpt2", "mlm20-torch-pp2vpp2-llama"}) {
    SCOPED_TRACE(item);
    Digests expected;
    for (const auto& [stored, digest] : Listed(Item(item) + "/plain.sha256")) {
      std::string name = stored;
      for (const auto& [from, to] : kNames) {
        if (const size_t at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
      }
      if (!name.starts_with("word_embeddings_for_head.")) expected[name] = digest;
    }
    const TempDir temp;
    Convert(Item(item) + "/ckpt", temp / "hf", {.to = "hf"});
    for (const char* format : {"megatron", "megatron-bridge"}) {
      SCOPED_TRACE(format);
      for (const std::string& source : {temp / "hf", Item(item) + "/ckpt"}) {
        const TempDir out;
        Convert(source, out / "out", {.to = format});
        EXPECT_EQ(DigestsOf(out / "out"), expected) << source;
      }
    }
  }
}

// Writes a checkpoint as it is, and answers where.
std::string LayOut(const Checkpoint& checkpoint, const TempDir& temp) {
  const auto plan = FindFormat("megatron")->lay_out(checkpoint, {});
  EXPECT_THAT(plan, IsOk());
  EXPECT_THAT(Execute(*plan, temp / "made", {}), IsOk());
  return temp / "made";
}

// A config that no table has words for stays as it is where the same framework's is written.
TEST(MegatronWrite, TheSameFrameworkKeepsWordsThatNoneElseHas) {  // MEG-13
  for (const auto& [key, value] : {std::pair{"position_embedding_type", ConfigNode::String("yarn")},
                                   {"position_embedding_type", ConfigNode::String("none")},
                                   {"mtp_use_repeated_layer", ConfigNode::Bool(true)}}) {
    SCOPED_TRACE(key);
    const TempDir temp;
    auto checkpoint = OpenCheckpoint(Item("mlm19-dist-tp1-llama") + "/ckpt");
    ASSERT_THAT(checkpoint, IsOk());
    checkpoint->config->root()[key] = value;
    const std::string source = LayOut(*checkpoint, temp);
    const auto conversion = PlanConversion(source, temp / "out", {.to = "megatron"});
    ASSERT_THAT(conversion, IsOk());
    EXPECT_THAT(conversion->notes, Contains(HasSubstr(key)));
    ASSERT_THAT(RunConversion(*conversion, {}), IsOk());
    EXPECT_TRUE(SameConfig(ConfigOf(temp / "out"), ConfigOf(source)));
    EXPECT_EQ(DigestsOf(temp / "out"), DigestsOf(source));
    for (const char* other : {"hf", "megatron-bridge", "nemo2"})
      EXPECT_THAT(PlanConversion(source, temp / other, {.to = other}), StatusIs(ErrorKind::kUnsupported, key));
  }
}

TEST(MegatronWrite, ATiedEmbeddingIsStoredOnce) {  // MEG-7
  const TempDir temp;
  Convert(Item("mlm09-torch-tp2pp2-legacy-gpt2") + "/ckpt", temp / "lm", {.to = "megatron"});
  auto checkpoint = OpenCheckpoint(temp / "lm");
  ASSERT_THAT(checkpoint, IsOk());
  const Tensor embedding = *checkpoint->weights().Find("embedding.word_embeddings.weight")->tensor();
  ASSERT_THAT(checkpoint->weights().Add("output_layer.weight", embedding), IsOk());
  Value& training = *checkpoint->shards.front().training;
  ValueGraph& graph = *training.graph;
  const ValueRef optimizer = graph.New(ValueNode::Kind::kDict), state = graph.New(ValueNode::Kind::kDict);
  for (const char* name : {"embedding.word_embeddings.weight", "output_layer.weight"}) {
    const ValueRef kinds = graph.New(ValueNode::Kind::kDict);
    SetKey(graph, kinds, "exp_avg", NewTensor(graph, embedding));
    SetKey(graph, state, name, kinds);
  }
  SetKey(graph, optimizer, "state", state);
  SetKey(graph, training.node, "optimizer", optimizer);
  const auto written = OpenCheckpoint(LayOut(*checkpoint, temp));
  ASSERT_THAT(written, IsOk());
  EXPECT_EQ(written->weights().Find("output_layer.weight"), nullptr);
  EXPECT_NE(written->weights().Find("embedding.word_embeddings.weight"), nullptr);
  const ValueRef states = Lookup(*FindOptimizers(written->shards.front().training->node)[0], "state");
  EXPECT_EQ(Lookup(*states, "output_layer.weight"), nullptr);
  EXPECT_NE(Lookup(*states, "embedding.word_embeddings.weight"), nullptr);
}

// Rows that are cut for as many ranks are the same rows.
TEST_P(MegatronWriteTest, CutForRanksIsTheSame) {
  const TempDir temp;
  Convert(Item(GetParam()) + "/ckpt", temp / "hf", {.to = "hf"});
  Convert(temp / "hf", temp / "two", {.to = "megatron", .tp = 2});
  EXPECT_TRUE(fs::exists(temp / "two/iter_0000001/__1_0.distcp"));
  EXPECT_EQ(ConfigOf(temp / "two").Get("tensor_model_parallel_size")->AsInt(), 2);
  EXPECT_EQ(ConfigOf(temp / "two").Get("world_size")->AsInt(), 2);
  Convert(temp / "two", temp / "hf2", {.to = "hf"});
  EXPECT_EQ(DigestsOf(temp / "hf2"), Listed(Item(GetParam()) + "/hf.sha256"));
}

INSTANTIATE_TEST_SUITE_P(All, MegatronWriteTest,
                         ::testing::Values("mb031-provider-llama", "mlm09-dist-tp2-llama-te",
                                           "mlm09-torch-ep2-moe-grouped", "mlm19-dist-tp1-llama"));

// Of every key of the tables that Megatron-LM's own arguments have.
TEST(MegatronWrite, ArgumentsSayWhatMegatronsOwnSay) {  // MEG-13
  for (const char* item : {"mlm09-dist-tp2-llama-te", "mlm09-torch-ep2-moe-grouped", "mlm19-dist-tp1-llama",
                           "mlm20-torch-pp2vpp2-llama"}) {
    SCOPED_TRACE(item);
    const TempDir temp;
    Convert(Item(item) + "/ckpt", temp / "hf", {.to = "hf"});
    Convert(temp / "hf", temp / "out", {.to = "megatron"});
    const ConfigNode own = ConfigOf(temp / "out"), theirs = ConfigOf(Item(item) + "/ckpt");
    std::vector<std::string_view> keys = {"num_query_groups",
                                          "group_query_attention",
                                          "normalization",
                                          "swiglu",
                                          "squared_relu",
                                          "bias_gelu_fusion",
                                          "position_embedding_type",
                                          "add_position_embedding",
                                          "untie_embeddings_and_output_weights",
                                          "padded_vocab_size",
                                          "use_rotary_position_embeddings",
                                          "params_dtype",
                                          "bf16",
                                          "fp16",
                                          "window_size"};
    const auto words = WordsOf(ConfigNode::Map(), nullptr);
    ASSERT_THAT(words, IsOk());
    for (const MegatronKey& row : kMegatronKeys) {
      // Megatron-LM also has sizes of latent attention where a model has none.
      if (words->Get(row.nemo1) != nullptr && !IsLatentWord(row.nemo1)) keys.push_back(row.key);
    }
    for (const MegatronOnly& row : kMegatronOnly) keys.push_back(row.key);
    size_t compared = 0;
    for (const std::string_view key : keys) {
      const ConfigNode* value = theirs.Get(key);
      if (value == nullptr) continue;
      ++compared;
      EXPECT_TRUE(SameConfig(WordAt(own, key), *value))
          << key << ": " << Shown(WordAt(own, key)) << ", not " << Shown(*value);
    }
    EXPECT_GT(compared, 35);
  }
}

TEST(MegatronWrite, ProviderSaysWhatMegatronBridgesOwnSays) {  // MEG-13
  // Of speed and of training alone.
  constexpr std::string_view kOther[] = {"apply_rope_fusion",   "bias_activation_fusion",
                                         "bias_dropout_fusion", "masked_softmax_fusion",
                                         "init_method_std",     "make_vocab_size_divisible_by"};
  const TempDir temp;
  const std::string item = Item("mb031-provider-llama");
  Convert(item + "/ckpt", temp / "hf", {.to = "hf"});
  Convert(temp / "hf", temp / "out", {.to = "megatron-bridge"});
  const ConfigNode own = *ConfigOf(temp / "out").Get("model"), theirs = *ConfigOf(item + "/ckpt").Get("model");
  EXPECT_GT(own.map.size(), 35);
  for (const auto& [key, value] : own.map) {
    const ConfigNode* other = theirs.Get(key);
    ASSERT_NE(other, nullptr) << key << " is no key of a provider";
    if (std::ranges::find(kOther, key) != std::end(kOther)) continue;
    EXPECT_TRUE(SameConfig(value, *other)) << key << ": " << Shown(value) << ", not " << Shown(*other);
  }
}

Value CommonOf(const std::string& iteration) {
  const auto source = OpenFile(iteration + "/common.pt");
  EXPECT_THAT(source, IsOk());
  const auto file = ReadTorchFile(Whole(*source));
  EXPECT_THAT(file, IsOk());
  return file->root;
}

// The training of a checkpoint stays whole: optimizer, schedule, random states and arguments of all kinds.
TEST(MegatronWrite, MegatronsOwnFolderStaysWhatItIs) {  // MEG-13
  const TempDir temp;
  const std::string source = Item("mlm19-dist-tp1-llama") + "/ckpt";
  Convert(source, temp / "out", {.to = "megatron"});
  const auto before = OpenCheckpoint(source), after = OpenCheckpoint(temp / "out");
  ASSERT_THAT(after, IsOk());
  EXPECT_EQ(DigestsOf(temp / "out"), DigestsOf(source));
  EXPECT_TRUE(fs::exists(temp / "out/iter_0000010/common.pt"));
  for (const auto& [key, value] : before->config->root().map) {
    const ConfigNode* other = after->config->root().Get(key);
    ASSERT_NE(other, nullptr) << key;
    EXPECT_TRUE(SameConfig(value, *other)) << key << ": " << Shown(*other) << ", not " << Shown(value);
  }
  const Value common = CommonOf(temp / "out/iter_0000010");
  const ValueRef args = MegatronArgsOf(common);
  ASSERT_NE(args, nullptr);
  EXPECT_EQ(Lookup(*args, "params_dtype")->text, "torch bfloat16");
  EXPECT_EQ(Lookup(*args, "attention_backend")->kind, ValueNode::Kind::kObject);
  EXPECT_EQ(Lookup(*common.node, "iteration")->integer, 10);
}

TEST(MegatronWrite, SaysWhatMegatronIsToBeToldBesides) {
  const TempDir temp;
  Convert(Item("mlm19-dist-tp1-llama") + "/ckpt", temp / "hf", {.to = "hf"});
  const auto conversion = PlanConversion(temp / "hf", temp / "out", {.to = "megatron"});
  ASSERT_THAT(conversion, IsOk());
  EXPECT_THAT(conversion->notes, Contains(HasSubstr("give them, too: --bf16 --norm-epsilon 1.0e-06")));
}

// What is not in the folder is not asked for [load_checkpoint, gen_sd_optim and gen_sd_rng_state].
TEST(MegatronWrite, AsksForNoOptimizerThatIsNotThere) {  // MEG-13
  const TempDir temp;
  Convert(Item("mlm19-dist-tp1-llama") + "/ckpt", temp / "hf", {.to = "hf"});
  Convert(temp / "hf", temp / "lm", {.to = "megatron"});
  Convert(temp / "hf", temp / "bridge", {.to = "megatron-bridge"});
  const ConfigNode args = ConfigOf(temp / "lm"), run = ConfigOf(temp / "bridge");
  for (const char* key : {"no_save_optim", "no_save_rng"}) EXPECT_EQ(WordAt(args, key).AsBool(), true) << key;
  for (const char* key : {"checkpoint.save_optim", "checkpoint.save_rng"})
    EXPECT_EQ(WordAt(run, key).AsBool(), false) << key;
  for (const char* file : {"latest_train_state.pt", "latest_checkpointed_iteration.txt", "iter_0000000/common.pt",
                           "iter_0000000/train_state.pt", "iter_0000000/run_config.yaml"})
    EXPECT_TRUE(fs::exists(fs::path(temp / "bridge") / file)) << file;
  EXPECT_EQ(MegatronArgsOf(CommonOf(temp / "bridge/iter_0000000")), nullptr);
}

// As Megatron's optimizer of 16-bit parameters keeps it, between the two that share it.
TEST(MegatronWrite, AnOptimizerGoesWithItsParametersToMegatronBridgeAndBack) {
  const TempDir temp;
  auto checkpoint = OpenCheckpoint(Item("mlm19-dist-tp1-llama") + "/ckpt");
  ASSERT_THAT(checkpoint, IsOk());
  Value& training = *checkpoint->shards.front().training;
  ValueGraph& graph = *training.graph;
  const ValueRef optimizer = graph.New(ValueNode::Kind::kDict), state = Child(graph, optimizer, "state");
  SetKey(graph, optimizer, "param_groups", graph.New(ValueNode::Kind::kList));
  for (const StateDict::Item& item : checkpoint->weights().items()) {
    if (item.tensor() == nullptr) continue;
    for (const char* kind : {"exp_avg", "exp_avg_sq", "fp32_param"}) {
      const ValueRef leaf = graph.New(ValueNode::Kind::kTensor);
      leaf->tensor = std::make_unique<Tensor>(*item.tensor()->Cast(DType::kF32));
      SetKey(graph, Child(graph, state, item.name), kind, leaf);
    }
  }
  SetKey(graph, training.node, "optimizer", optimizer);
  const auto save = [&](const Checkpoint& source, const char* name, const char* format) {
    const auto conversion = PlanSave(source, temp / name, {.to = format});
    ASSERT_THAT(conversion, IsOk());
    ASSERT_THAT(RunConversion(*conversion, {}), IsOk());
  };
  save(*checkpoint, "bridge", "megatron-bridge");
  const auto bridge = OpenCheckpoint(temp / "bridge");
  ASSERT_THAT(bridge, IsOk());
  EXPECT_EQ(WordAt(bridge->config->root(), "checkpoint.save_optim").AsBool(), true);
  save(*bridge, "lm", "megatron");
  const auto back = OpenCheckpoint(temp / "lm");
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(WordAt(back->config->root(), "no_save_optim").AsBool(), std::nullopt);
  EXPECT_EQ(WordAt(back->config->root(), "consumed_train_samples").AsInt(), 40);
  for (const auto* written : {&*bridge, &*back}) {
    const std::vector<ValueRef> found = FindOptimizers(written->shards.front().training->node);
    ASSERT_EQ(found.size(), 1);
    const ValueList& pairs = *Pairs(Lookup(*found[0], "state"));
    EXPECT_EQ(pairs.size(), Pairs(state)->size());
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      const ValueRef before = Lookup(*state, pairs[i]->text);
      ASSERT_NE(before, nullptr) << pairs[i]->text;
      for (const char* kind : {"exp_avg", "exp_avg_sq", "fp32_param"})
        EXPECT_EQ(*Lookup(*pairs[i + 1], kind)->tensor->Read(), *Lookup(*before, kind)->tensor->Read()) << kind;
    }
  }
}

// The way that NVIDIA's guide to migration leaves out.
TEST(MegatronWrite, Nemo2BecomesMegatronBridge) {
  const TempDir temp;
  const std::string source = Item("mb031-provider-llama") + "/ckpt";
  Convert(source, temp / "nemo2", {.to = "nemo2"});
  Convert(temp / "nemo2", temp / "bridge", {.to = "megatron-bridge"});
  Convert(temp / "bridge", temp / "plain.safetensors", {});
  EXPECT_EQ(DigestsOf(temp / "plain.safetensors"), Listed(Item("mb031-provider-llama") + "/plain.sha256"));
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"})
    EXPECT_TRUE(fs::exists(fs::path(temp / "bridge/iter_0000000/tokenizer") / file)) << file;
  const ConfigNode run = ConfigOf(temp / "bridge");
  const ConfigNode& folder = WordAt(run, "tokenizer.tokenizer_model");
  EXPECT_EQ(folder.AsString(), fs::path(temp / "bridge/iter_0000000/tokenizer").lexically_normal().string());
}

// Its classes compute what no field says, as Gemma's in NeMo 2 do.
TEST(MegatronWrite, GemmasGoToMegatronBridgeAndBack) {  // MEG-13
  for (const auto& [model, name] : std::map<std::string, std::string>{
           {"gemma", "gemma_provider.GemmaModelProvider"}, {"gemma2", "gemma2_provider.Gemma2ModelProvider"}}) {
    const TempDir temp;
    const std::string hf = Golden("decoders/" + model + "/hf");
    Convert(hf, temp / "bridge", {.to = "megatron-bridge"});
    EXPECT_EQ(WordAt(ConfigOf(temp / "bridge"), "model._target_").AsString(), "megatron.bridge.models.gemma." + name);
    EXPECT_EQ(WordAt(ConfigOf(temp / "bridge"), "model.layernorm_zero_centered_gamma").AsBool(), true);
    Convert(temp / "bridge", temp / "back", {.to = "hf"});
    EXPECT_EQ(DigestsOf(temp / "back"), DigestsOf(hf));
    const Config made = JsonOf(temp / "back/config.json"), was = JsonOf(hf + "/config.json");
    for (const char* key : {"architectures", "head_dim", "sliding_window", "query_pre_attn_scalar",
                            "attn_logit_softcapping", "final_logit_softcapping", "hidden_activation", "rms_norm_eps"}) {
      if (was.root().Get(key) == nullptr) continue;
      ASSERT_NE(made.root().Get(key), nullptr) << key;
      EXPECT_TRUE(SameConfig(*made.root().Get(key), *was.root().Get(key))) << key;
    }
  }
}

// Without a whole tokenizer, too, what there is of one goes along.
TEST(MegatronWrite, PartsOfATokenizerAreKept) {  // MEG-14
  for (const auto& [model, file] :
       std::map<std::string, std::string>{{"qwen2", "vocab.json"}, {"starcoder2", "tokenizer.model"}}) {
    const TempDir temp;
    Convert(Golden("families/" + model + ".nemo"), temp / "lm", {.to = "megatron"});
    EXPECT_TRUE(fs::exists(fs::path(temp / "lm/iter_0000001/tokenizer") / file)) << file;
    Convert(temp / "lm", temp / "hf", {.to = "hf"});
    EXPECT_TRUE(fs::exists(fs::path(temp / "hf") / file)) << file;
  }
}

// ---- configs ----

ConfigNode Model(const std::string& more) {
  const auto config = Config::ParseYaml(
      "{num_layers: 2, hidden_size: 8, ffn_hidden_size: 16, num_attention_heads: 2, encoder_seq_length: 8, "
      "position_embedding_type: rope, normalization: rmsnorm, activation: fast-swiglu, bias: false}",
      "model");
  ConfigNode root = config->root();
  const auto added = Config::ParseYaml("{" + more + "}", "model");
  EXPECT_THAT(added, IsOk());
  for (const auto& [key, value] : added->root().map) root[key] = value;
  return root;
}

TEST(MegatronWrite, WhatMegatronHasNoWordForIsRefusedByName) {  // MEG-13
  for (const auto& [more, key] : std::map<std::string, std::string>{
           {"apply_embedding_scaling: true", "apply_embedding_scaling"},
           {"activation: fast-reglu", "activation"},
           {"activation: fast-geglu", "activation"},
           {"activation: gelu, openai_gelu: true", "tanh"},
           {"name: megatron_gemma2", "name"},
           {"transformer_block_type: post_ln", "transformer_block_type"},
           {"scale_positional_embedding: true, rope_scaling: {low_freq_factor: 2}", "low_freq_factor"},
           {"position_embedding_type: alibi", "position_embedding_type"},
           {"mcore_customization_config: {final_logit_softcapping: 30.0}", "final_logit_softcapping"},
           {"target: a.b.MegatronBertModel", "MegatronBertModel"}}) {
    EXPECT_THAT(ToMegatronArgs(Model(more), nullptr, {}), StatusIs(ErrorKind::kUnsupported, key)) << more;
  }
  EXPECT_THAT(ToBridgeConfig(Model("mcore_customization_config: {parallel_attention: true}"), nullptr, {}),
              StatusIs(ErrorKind::kUnsupported, "parallel_attention"));
  EXPECT_THAT(ToBridgeConfig(Model("name: a_layer"), nullptr, {}), StatusIs(ErrorKind::kUnsupported, "name"));
  EXPECT_THAT(ToBridgeConfig(Model("apply_embedding_scaling: true, multi_latent_attention: true"), nullptr, {}),
              StatusIs(ErrorKind::kUnsupported, "apply_embedding_scaling"));
}

TEST(MegatronWrite, BridgeHasActivationsThatMegatronLmHasNot) {
  const auto function = [](const std::string& more) {
    const auto config = ToBridgeConfig(Model(more), nullptr, {});
    EXPECT_THAT(config, IsOk()) << more;
    return config.ok() ? WordAt(*config, "model.activation_func._target_").AsString().value_or("") : "";
  };
  EXPECT_EQ(function(""), "torch.nn.functional.silu");
  EXPECT_EQ(function("activation: fast-geglu, bias_activation_fusion: false"), "torch.nn.functional.gelu");
  EXPECT_EQ(function("activation: fast-geglu, openai_gelu: true"), "megatron.core.activations.fast_gelu");
  EXPECT_EQ(function("activation: gelu, openai_gelu: true"), "megatron.core.activations.fast_gelu");
  EXPECT_EQ(function("activation: gelu, bias: true"), "torch.nn.functional.gelu");
  EXPECT_EQ(function("activation: fast-reglu"), "torch.nn.functional.relu");
  EXPECT_EQ(function("activation: squared-relu"), "megatron.core.activations.squared_relu");
}

TEST(MegatronWrite, PositionsAreScaledByAnyFactor) {
  const auto args =
      ToMegatronArgs(Model("scale_positional_embedding: true, rope_scaling: {factor: 32.0}"), nullptr, {});
  ASSERT_THAT(args, IsOk());
  EXPECT_EQ(WordAt(*args, "use_rope_scaling").AsBool(), true);
  EXPECT_EQ(WordAt(*args, "rope_scaling_factor").AsDouble(), 32);
}

TEST(MegatronWrite, AModelWithoutAConfigIsRefused) {
  Checkpoint checkpoint;
  checkpoint.shards.emplace_back();
  EXPECT_THAT(FindFormat("megatron")->lay_out(checkpoint, {}), StatusIs(ErrorKind::kUnsupported, "without a config"));
}

}  // namespace
}  // namespace anemone
