// BERT, T5 and LLaVA between Hugging Face and NeMo: bit for bit what NeMo v2.0.0's own converters wrote (tests/golden,
// decoders/), and what transformers 4 and 5 save, there and back.
#include <algorithm>

#include "anemone/convert.h"
#include "anemone/save.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "family/family.h"
#include "family/words/t5_config.h"
#include "format/format.h"
#include "inspect/summary.h"
#include "source/canonical.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/convert/model_files.h"

namespace anemone {
namespace {

using testing::Golden;
using testing::IsOk;
using testing::StatusIs;
using testing::TempDir;

std::string With(const std::string& source, const TempDir& temp, const char* key, const char* yaml) {
  return WithKey(source, temp.path() + "/hf", "config.json", key, yaml);
}

// The .nemo without the config.json that came along: as NeMo's converter writes it.
void Forget(const std::string& source, const std::string& destination) {
  auto checkpoint = OpenCheckpoint(source);
  ASSERT_THAT(checkpoint, IsOk());
  std::erase_if(checkpoint->artifacts, [](const Artifact& artifact) { return artifact.name == "config.json"; });
  const auto plan = FindFormat("nemo")->lay_out(*checkpoint, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, destination, {}), IsOk());
}

void ComesBack(const std::string& source, const ConvertOptions& there) {
  SCOPED_TRACE(source);
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo", back = temp.path() + "/back";
  Convert(source, nemo, there);
  Convert(nemo, back, {.to = "hf"});
  EXPECT_EQ(FilesIn(back), FilesIn(source));
  EXPECT_EQ(DigestsOf(back), DigestsOf(source));
  EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), JsonOf(source + "/config.json").root()));
}

TEST(Bert, BecomesWhatNemosConverterMakes) {
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo";
  Convert(Golden("decoders/bert/hf"), nemo, {.dtype = DType::kBF16});
  EXPECT_EQ(DigestsOf(nemo), Listed(Golden("decoders/bert/nemo.sha256")));
}

TEST(Bert, ComesBackInEverySpellingAndLayout) {
  for (const std::string& source :
       {Golden("decoders/bert/hf"), Golden("transformers4_others/bert_pretraining"),
        Golden("transformers5_others/bert_pretraining"), Golden("transformers4_others/bert_masked_lm"),
        Golden("transformers5_others/bert_masked_lm")}) {
    ComesBack(source, {.dialect = "mcore"});
    ComesBack(source, {.dialect = "legacy"});
    ComesBack(source, {.dialect = "mcore", .tp = 2, .pp = 2});
    ComesBack(source, {.dialect = "legacy", .tp = 2});
  }
}

TEST(Bert, IsMadeAnewWithoutTheConfigThatCameAlong) {
  const TempDir temp;
  const std::string source = Golden("decoders/bert/hf"), nemo = temp.path() + "/out.nemo",
                    bare = temp.path() + "/bare.nemo", back = temp.path() + "/back";
  Convert(source, nemo, {});
  Forget(nemo, bare);
  Convert(bare, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(source));
  const Config made = JsonOf(back + "/config.json"), own = JsonOf(source + "/config.json");
  for (const auto& [key, value] : own.root().map) {
    const ConfigNode* found = made.root().Get(key);
    ASSERT_NE(found, nullptr) << key;
    EXPECT_TRUE(SameConfig(*found, value)) << key;
  }
}

// Older transformers computed a BERT with the positions that its file holds.
// A config.json of weights that have none is theirs, whatever the file is called: the result is that of the folder.
TEST(Configs, OneThatIsGivenIsTheWeights) {
  for (const char* model :
       {"transformers5/llama31", "transformers5/gpt2", "decoders/starcoder/hf", "transformers5_others/bert_masked_lm",
        "transformers5_others/t5_v1_1", "transformers5_others/llava_clip", "clip/hf"}) {
    const TempDir temp;
    const std::string weights = temp.path() + "/w.pt", config = temp.path() + "/c.json";
    Convert(Golden(model), weights, {.drop = {"*.position_ids"}});
    std::filesystem::copy_file(Golden(model) + "/config.json", config);
    const auto given = PlanConversion(weights, temp.path() + "/x.nemo", {.hparams = config});
    const auto folder = PlanConversion(Golden(model), temp.path() + "/x.nemo", {});
    ASSERT_THAT(given, IsOk()) << model;
    ASSERT_THAT(folder, IsOk()) << model;
    EXPECT_EQ(DigestsOf(given->result.weights()), DigestsOf(folder->result.weights())) << model;
    for (const char* key : {"num_layers", "hidden_size", "target", "vision", "encoder", "mm_cfg.llm"}) {
      const ConfigNode *ours = given->result.config->Find(key), *theirs = folder->result.config->Find(key);
      ASSERT_EQ(ours == nullptr, theirs == nullptr) << model << " " << key;
      EXPECT_TRUE(ours == nullptr || SameConfig(*ours, *theirs)) << model << " " << key;
    }
    EXPECT_NE(given->result.FindArtifact("config.json"), nullptr) << model;
  }
}

TEST(Configs, PositionsAreLeftOutIfTheyCount) {
  for (const int64_t first : {0, 1}) {
    auto model = OpenCheckpoint(Golden("decoders/bert/hf"));
    ASSERT_THAT(model, IsOk());
    std::string bytes;
    for (int64_t id = first; id < first + 4; ++id) bytes.append(reinterpret_cast<const char*>(&id), sizeof(id));
    const bool is_bare = model->weights().Find("embeddings.word_embeddings.weight") != nullptr;
    ASSERT_THAT(model->weights().Add(is_bare ? "embeddings.position_ids" : "bert.embeddings.position_ids",
                                     *Tensor::FromBytes(DType::kI64, {1, 4}, bytes)),
                IsOk());
    if (first == 0) {
      EXPECT_THAT(Canonical(*model), IsOk());
    } else {
      EXPECT_THAT(Canonical(*model), StatusIs(ErrorKind::kUnsupported, "position_ids: expected 0, 1, 2, …"));
    }
  }
}

TEST(Configs, ANumberThatIsNoneIsRefused) {
  struct Case {
    const char *source, *key, *yaml, *said;
  };
  for (const Case& of :
       {Case{"decoders/bert/hf", "layer_norm_eps", "small", "layer_norm_eps: expected a number, found"},
        {"transformers4_others/t5_v1_1", "layer_norm_epsilon", "[1]", "layer_norm_epsilon: expected a number"},
        {"transformers5/qwen2_tied", "rope_parameters", "{rope_type: default, rope_theta: x}",
         "rope_parameters.rope_theta: expected a number"},
        {"transformers5/nemotron", "rope_parameters", "{rope_theta: 1, partial_rotary_factor: x}",
         "rope_parameters.partial_rotary_factor: expected a number"},
        {"decoders/chatglm/hf", "rope_ratio", "x", "rope_ratio: expected a number"},
        {"decoders/bert/hf", "hidden_dropout_prob", "-0.1", "hidden_dropout_prob: expected a number from 0 to 1"},
        {"decoders/bert/hf", "pad_token_id", "100000", "pad_token_id: expected one of"},
        {"transformers4_others/t5_v1_1", "dropout_rate", "1.5", "dropout_rate: expected a number from 0 to 1"},
        {"transformers4_others/t5_v1_1", "relative_attention_max_distance", "0",
         "relative_attention_max_distance: expected a whole number of at least 1"},
        {"transformers5_others/llava_clip", "image_token_index", "-1",
         "image_token_index: expected a whole number of at least 0, found -1"},
        {"transformers5_others/llava_clip", "image_token_index", "null", "image_token_index: expected a whole number"},
        {"clip/hf", "initializer_factor", "-1", "initializer_factor: expected a number of at least 0"},
        {"transformers5/qwen2_tied", "rope_scaling", "{type: linear, factor: 2}",
         "rope_scaling.type: expected that of rope_parameters, default, found linear"}}) {
    const TempDir changed, temp;
    EXPECT_THAT(PlanConversion(With(Golden(of.source), changed, of.key, of.yaml), temp.path() + "/x.nemo", {}),
                StatusIs(ErrorKind::kCorrupt, of.said));
  }
  const TempDir changed, temp;
  const std::string odd = With(Golden("decoders/bert/hf"), changed, "hidden_act", "3");
  EXPECT_THAT(PlanConversion(odd, temp.path() + "/x.nemo", {}),
              StatusIs(ErrorKind::kUnsupported, "hidden_act: expected gelu or one of its forms by tanh, found 3"));
}

// torch.cat, which NeMo's converters join tensors with, gives the dtype that holds all of them.
TEST(Tensors, OfSeveralDtypesBecomeOneThatHoldsAll) {
  const TempDir temp;
  const std::string source = temp.path() + "/hf", nemo = temp.path() + "/x.nemo", back = temp.path() + "/back";
  auto model = OpenCheckpoint(Golden("transformers5/llama_wide_heads"));
  ASSERT_THAT(model, IsOk());
  const std::string odd = "model.layers.1.self_attn.k_proj.weight";
  StateDict weights;
  for (const StateDict::Item& item : model->weights().items()) {
    const DType dtype = item.name == odd ? DType::kF16 : DType::kBF16;
    ASSERT_THAT(weights.Add(item.name, *item.tensor()->Cast(dtype)), IsOk());
  }
  model->weights() = std::move(weights);
  model->config->root()["dtype"] = ConfigNode::String("bfloat16");
  const auto plan = FindFormat("hf")->lay_out(*model, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, source, {}), IsOk());
  const auto there = PlanConversion(source, nemo, {});
  ASSERT_THAT(there, IsOk());
  EXPECT_THAT(there->notes,
              ::testing::Contains("widened to fp32 3 tensors: others that one tensor is made of have another dtype"));
  ASSERT_THAT(RunConversion(*there, {}), IsOk());
  Convert(nemo, back, {.to = "hf"});
  EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), JsonOf(source + "/config.json").root()));
  const auto came = OpenCheckpoint(back), was = OpenCheckpoint(source);
  ASSERT_THAT(came, IsOk());
  ASSERT_THAT(was, IsOk());
  for (const StateDict::Item& item : was->weights().items()) {
    const bool is_wide =
        item.name.find("layers.1.self_attn.") != std::string::npos && !item.name.ends_with("o_proj.weight");
    const Tensor& found = *came->weights().Find(item.name)->tensor();
    EXPECT_EQ(found.dtype(), is_wide ? DType::kF32 : item.tensor()->dtype()) << item.name;
    EXPECT_EQ(*found.Cast(item.tensor()->dtype())->Read(), *item.tensor()->Read()) << item.name;
  }
}

// Version 5 ties by the whole model's config, 4 by its text_config: a LLaVA-NeXT of 5 is not tied, whatever the latter
// says [transformers 5.24 configuration_llava_next.py].
TEST(Llava, TheWholeModelsConfigTiesInVersion5) {
  const TempDir temp;
  const std::string source = temp.path() + "/hf", nemo = temp.path() + "/x.nemo", back = temp.path() + "/back";
  auto model = OpenCheckpoint(Golden("transformers5_others/llava_clip"));
  ASSERT_THAT(model, IsOk());
  ConfigNode& root = model->config->root();
  root["tie_word_embeddings"] = ConfigNode::Bool(false);
  root["text_config"]["tie_word_embeddings"] = ConfigNode::Bool(true);
  const auto plan = FindFormat("hf")->lay_out(*model, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, source, {}), IsOk());
  Convert(source, nemo, {});
  Convert(nemo, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(source));
  root["transformers_version"] = ConfigNode::String("4.44.2");
  const auto older = FindFormat("hf")->lay_out(*model, {});
  ASSERT_THAT(older, IsOk());
  ASSERT_THAT(Execute(*older, temp.path() + "/old", {}), IsOk());
  EXPECT_THAT(PlanConversion(temp.path() + "/old", temp.path() + "/y.nemo", {}),
              StatusIs(ErrorKind::kCorrupt, "lm_head.weight: expected a copy of what token_embedding.weight is"));
}

// transformers builds tensors by these numbers and does not load others (python.transformers).
TEST(Configs, ANumberThatTheTensorsContradictIsRefused) {
  struct Case {
    const char *source, *key, *value, *said;
  };
  for (const Case& of :
       {Case{"transformers5_others/bert_masked_lm", "vocab_size", "199", "vocab_size: expected 200, the rows of the"},
        {"transformers5_others/bert_masked_lm", "vocab_size", "'200'", "vocab_size: expected 200, the rows of the"},
        {"transformers5_others/bert_masked_lm", "max_position_embeddings", "31",
         "[31, 16] by the config, found [32, 16]"},
        {"transformers5_others/bert_masked_lm", "intermediate_size", "25", "[25, 16] by the config, found [24, 16]"},
        {"transformers5_others/bert_masked_lm", "num_hidden_layers", "3", "missing tensors"},
        {"transformers5_others/t5_v1_1", "vocab_size", "129", "vocab_size: expected 128, the rows of the embedding"},
        {"transformers5_others/mt5", "relative_attention_num_buckets", "31", "[31, 4] by the config, found [32, 4]"},
        {"transformers5_others/mt5", "d_kv", "4", "expected shape [16, 16] by the config, found [32, 16]"},
        {"transformers5_others/mt5", "num_decoder_layers", "2", "unexpected tensors"},
        {"transformers5/qwen3_moe", "num_experts", "5", "expected shape [5, 16] by the config, found [4, 16]"},
        {"transformers5/qwen3_moe", "moe_intermediate_size", "9",
         "expected shape [9, 16] by the config, found [8, 16]"},
        {"transformers5/llama_wide_heads", "head_dim", "4", "expected shape [16, 16] by the config, found [32, 16]"},
        {"transformers5/llama_biases", "num_key_value_heads", "4",
         "expected shape [16, 16] by the config, found [8, 16]"}}) {
    SCOPED_TRACE(fmt::format("{}: {}: {}", of.source, of.key, of.value));
    const TempDir changed, temp;
    EXPECT_THAT(PlanConversion(With(Golden(of.source), changed, of.key, of.value), temp.path() + "/x.nemo", {}),
                StatusIs(ErrorKind::kCorrupt, of.said));
    EXPECT_THAT(Canonical(*OpenCheckpoint(changed.path() + "/hf")), StatusIs(ErrorKind::kCorrupt, of.said));
  }
}

TEST(Files, ThoseThatTravelAreWhole) {
  for (const char* file :
       {"added_tokens.json", "generation_config.json", "special_tokens_map.json", "chat_template.json"}) {
    const TempDir temp;
    const std::string source = temp.path() + "/hf";
    std::filesystem::copy(Golden("decoders/bert/hf"), source);
    // Files that are none at all, or were cut short, are found when they are opened (format_test.cc).
    for (const auto& [text, said] : {std::pair{"{\"a\": 1,\n}", "line 2, column 1: expected a key, found '}'"},
                                     {"[]", "expected a JSON object"}}) {
      std::ofstream(source + "/" + file) << text;
      for (const char* to : {"nemo", "torch_dist", "nemo-dir"}) {
        const auto plan = PlanConversion(source, temp.path() + "/x", {.to = to});
        EXPECT_THAT(plan, StatusIs(ErrorKind::kCorrupt, fmt::format("{}: {}: {}", source, file, said)));
      }
      EXPECT_THAT(PlanConversion(source, temp.path() + "/x.safetensors", {}), IsOk());  // it has no room for them
    }
    std::ofstream(source + "/" + file) << "{\"a\": NaN, \"b\": 1" << std::string(40, '0') << "}";  // Python's
    EXPECT_THAT(PlanConversion(source, temp.path() + "/x.nemo", {}), IsOk());
  }
}

// With the head for sentences alone it is a class of its own.
TEST(Bert, IsTheClassOfItsHeads) {
  const TempDir temp;
  const std::string source = temp.path() + "/hf", file = temp.path() + "/m.ckpt", back = temp.path() + "/back";
  auto model = OpenCheckpoint(Golden("transformers4_others/bert_pretraining"));
  ASSERT_THAT(model, IsOk());
  StateDict weights;
  for (const StateDict::Item& item : model->weights().items()) {
    if (item.name.starts_with("cls.predictions.")) continue;
    ASSERT_THAT(weights.Add(item.name, item.entry), IsOk());
  }
  model->weights() = std::move(weights);
  model->config->root()["architectures"] = ConfigNode::List({ConfigNode::String("BertForNextSentencePrediction")});
  const auto plan = FindFormat("hf")->lay_out(*model, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, source, {}), IsOk());
  Convert(source, file, {.to = "ckpt"});
  Convert(file, back, {.to = "hf", .vocab_size = 200});
  EXPECT_EQ(DigestsOf(back), DigestsOf(source));
  EXPECT_EQ(JsonOf(back + "/config.json").root().Get("architectures")->list.front().AsString(),
            "BertForNextSentencePrediction");
}

// transformers 5 computes with the output layer's own bias where the layer is not the embedding; python.transformers
// compares what it computes.
TEST(Bert, AnOutputLayerOfItsOwnHasItsOwnBias) {
  const TempDir temp;
  const std::string source = temp.path() + "/hf", file = temp.path() + "/m.ckpt", back = temp.path() + "/back";
  auto model = OpenCheckpoint(Golden("transformers5_others/bert_masked_lm"));
  ASSERT_THAT(model, IsOk());
  const Shape table = model->weights().Find("bert.embeddings.word_embeddings.weight")->tensor()->shape();
  const Tensor bias = *Tensor::Fill(DType::kF32, {table[0]}, 0.25);
  const std::string decoder = "cls.predictions.decoder.";
  ASSERT_THAT(model->weights().Add(decoder + "weight", *Tensor::Fill(DType::kF32, table, 0.5)), IsOk());
  ASSERT_THAT(model->weights().Add(decoder + "bias", bias), IsOk());
  model->config->root()["tie_word_embeddings"] = ConfigNode::Bool(false);
  const auto plan = FindFormat("hf")->lay_out(*model, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, source, {}), IsOk());
  Convert(source, file, {.to = "ckpt"});
  EXPECT_EQ(*OpenCheckpoint(file)->weights().Find("model.output_layer.bias")->tensor()->Narrow(0, 0, table[0])->Read(),
            *bias.Read());
  Convert(file, back, {.to = "hf", .vocab_size = table[0]});
  EXPECT_EQ(JsonOf(back + "/config.json").root().Get("tie_word_embeddings")->AsBool(), false);
  Digests expected = DigestsOf(source);
  expected["cls.predictions.bias"] = expected[decoder + "bias"];  // which transformers 4 has alone
  EXPECT_EQ(DigestsOf(back), expected);
}

// 200 rows became 256 in NeMo, with zeros; config.json that came along says so, or the user does.
TEST(Bert, RowsThatNemoPaddedAreLeftOutOnEvidence) {
  const TempDir temp;
  const std::string source = Golden("transformers4_others/bert_masked_lm"), nemo = temp.path() + "/out.nemo",
                    bare = temp.path() + "/bare.nemo", all = temp.path() + "/all", asked = temp.path() + "/asked";
  Convert(source, nemo, {});
  Forget(nemo, bare);
  Convert(bare, all, {.to = "hf"});
  EXPECT_EQ(JsonOf(all + "/config.json").root().Get("vocab_size")->AsInt(), 256);
  const auto said = PlanConversion(bare, all + "2", {.to = "hf"});
  ASSERT_THAT(said, IsOk());
  EXPECT_THAT(said->notes, ::testing::Contains(::testing::HasSubstr("all 256 rows: NeMo pads to a multiple of 128")));
  Convert(bare, asked, {.to = "hf", .vocab_size = 200});
  EXPECT_EQ(DigestsOf(asked), DigestsOf(source));
}

TEST(Bert, WhatTheOtherSideCannotSayIsRefusedByName) {
  const std::string source = Golden("decoders/bert/hf");
  struct Case {
    const char *key, *value;
  };
  for (const Case& c : {Case{"position_embedding_type", "relative_key"}, Case{"is_decoder", "true"},
                        Case{"hidden_act", "relu"}, Case{"type_vocab_size", "4"}, Case{"model_type", "roberta"},
                        Case{"architectures", "[BertLMHeadModel]"}, Case{"architectures", "[RobertaForMaskedLM]"}}) {
    const TempDir temp;
    EXPECT_THAT(PlanConversion(With(source, temp, c.key, c.value), temp.path() + "/x.nemo", {}),
                StatusIs(ErrorKind::kUnsupported, c.key));
  }
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo", other = temp.path() + "/other.nemo";
  Convert(source, nemo, {});
  Forget(nemo, other);
  for (const Case& c : {Case{"normalization", "rmsnorm"}, Case{"activation", "geglu"}, Case{"bias", "false"},
                        Case{"window_size", "[8, 8]"}, Case{"layernorm_zero_centered_gamma", "true"}}) {
    const std::string changed = fmt::format("{}/{}.nemo", temp.path(), c.key);
    auto checkpoint = OpenCheckpoint(other);
    ASSERT_THAT(checkpoint, IsOk());
    checkpoint->config->root()[c.key] = ConfigNode::String(c.value);
    if (std::string_view(c.value) == "false") checkpoint->config->root()[c.key] = ConfigNode::Bool(false);
    const auto plan = FindFormat("nemo")->lay_out(*checkpoint, {});
    ASSERT_THAT(plan, IsOk());
    ASSERT_THAT(Execute(*plan, changed, {}), IsOk());
    EXPECT_FALSE(PlanConversion(changed, temp.path() + "/x", {.to = "hf"}).ok()) << c.key;
  }
}

// ---- T5 ----

TEST(T5, ComesBackFromNemo) {
  for (const char* version : {"transformers4_others", "transformers5_others"}) {
    for (const char* model : {"t5_v1_1", "mt5"}) {
      const std::string source = Golden(fmt::format("{}/{}", version, model));
      ComesBack(source, {});
      ComesBack(source, {.tp = 2});
    }
  }
}

// NeMo's names, those of hf_t5-v1_1_to_nemo.py.
TEST(T5, HasNemosNamesAndConfig) {
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo";
  Convert(Golden("transformers4_others/t5_v1_1"), nemo, {});
  const auto checkpoint = OpenCheckpoint(nemo);
  ASSERT_THAT(checkpoint, IsOk());
  for (const char* name :
       {"enc_dec_model.encoder_embedding.word_embeddings.weight",
        "enc_dec_model.decoder_embedding.word_embeddings.weight", "enc_dec_model.tokens_head.weight",
        "enc_dec_model.encoder_relative_position_embedding.relative_position_embedding.weight",
        "enc_dec_model.decoder_relative_position_embedding.relative_position_embedding.weight",
        "enc_dec_model.enc_dec_model.encoder.model.layers.1.self_attention.query_key_value.weight",
        "enc_dec_model.enc_dec_model.decoder.model.layers.2.inter_attention.key_value.weight",
        "enc_dec_model.enc_dec_model.decoder.model.layers.2.mlp.dense_h_to_4h_2.weight",
        "enc_dec_model.enc_dec_model.decoder.model.layers.2.post_inter_attention_layernorm.weight"}) {
    EXPECT_NE(checkpoint->weights().Find(name), nullptr) << name;
  }
  const ConfigNode& root = checkpoint->config->root();
  EXPECT_EQ(checkpoint->config->Find("decoder.num_layers")->AsInt(), 3);
  EXPECT_EQ(checkpoint->config->Find("encoder.kv_channels")->AsInt(), 8);
  EXPECT_EQ(checkpoint->config->Find("encoder.normalize_attention_scores")->AsBool(), false);
  EXPECT_EQ(root.Get("share_decoder_tokens_head_embeddings")->AsBool(), false);
}

TEST(T5, IsMadeAnewWithoutTheConfigThatCameAlong) {
  const TempDir temp;
  const std::string source = Golden("transformers4_others/t5_v1_1"), nemo = temp.path() + "/out.nemo",
                    bare = temp.path() + "/bare.nemo", back = temp.path() + "/back";
  Convert(source, nemo, {});
  Forget(nemo, bare);
  Convert(bare, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(source));
  const Config made = JsonOf(back + "/config.json"), own = JsonOf(source + "/config.json");
  for (const char* key : {"d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads", "vocab_size",
                          "feed_forward_proj", "tie_word_embeddings", "layer_norm_epsilon"}) {
    ASSERT_NE(made.root().Get(key), nullptr) << key;
    EXPECT_TRUE(SameConfig(*made.root().Get(key), *own.root().Get(key))) << key;
  }
}

TEST(T5, WhatTheOtherSideCannotSayIsRefusedByName) {
  const TempDir tied, relu, temp;
  const std::string source = Golden("transformers4_others/t5_v1_1");
  EXPECT_THAT(PlanConversion(With(source, tied, "tie_word_embeddings", "true"), temp.path() + "/x.nemo", {}),
              StatusIs(ErrorKind::kUnsupported, "tie_word_embeddings"));
  EXPECT_THAT(PlanConversion(With(source, relu, "feed_forward_proj", "relu"), temp.path() + "/x.nemo", {}),
              StatusIs(ErrorKind::kUnsupported, "feed_forward_proj"));
  const TempDir alone;
  EXPECT_THAT(PlanConversion(With(source, alone, "is_encoder_decoder", "false"), temp.path() + "/x.nemo", {}),
              StatusIs(ErrorKind::kUnsupported, "is_encoder_decoder: expected true"));
  // transformers 4 and 5 compute this one exactly, whatever feed_forward_proj says.
  const TempDir exact;
  EXPECT_THAT(PlanConversion(With(source, exact, "dense_act_fn", "gelu"), temp.path() + "/x.nemo", {}),
              StatusIs(ErrorKind::kUnsupported, "dense_act_fn: expected gelu_new"));
  for (const auto& [value, said] :
       {std::pair{"false", "is_gated_act: expected true"}, {"null", "is_gated_act: expected true"}}) {
    const TempDir plain;
    EXPECT_THAT(PlanConversion(With(source, plain, "is_gated_act", value), temp.path() + "/x.nemo", {}),
                StatusIs(ErrorKind::kUnsupported, said));
  }
  // NeMo's own T5 has absolute positions.
  EXPECT_THAT(PlanConversion(Golden("t5/t5.nemo"), temp.path() + "/x", {.to = "hf"}),
              StatusIs(ErrorKind::kUnsupported, "expected"));
}

// transformers computes the same by either name; python.transformers compares.
TEST(T5, TheActivationMayHaveItsOwnName) {
  const TempDir changed, temp;
  const std::string source =
      With(Golden("transformers4_others/t5_v1_1"), changed, "feed_forward_proj", "gated-gelu_new");
  const std::string nemo = temp.path() + "/x.nemo", back = temp.path() + "/back";
  Convert(source, nemo, {});
  EXPECT_EQ(OpenCheckpoint(nemo)->config->Find("encoder.activation")->AsString(), "geglu");
  Convert(nemo, back, {.to = "hf"});
  EXPECT_EQ(JsonOf(back + "/config.json").root().Get("feed_forward_proj")->AsString(), "gated-gelu_new");
}

// Where no config.json came along, the tokenizer's name tells, or the user does.
TEST(T5, AnMt5IsOneAgain) {
  const TempDir named, temp;
  const std::string source = With(Golden("transformers4_others/mt5"), named, "_name_or_path", "google/mt5-small");
  const std::string other = Golden("transformers4_others/t5_v1_1");
  const auto is = [&](const std::string& from, const std::string& asked, const char* name, const char* type) {
    const std::string nemo = fmt::format("{}/{}.nemo", temp.path(), std::filesystem::path(from).filename().string()),
                      bare = nemo + ".nemo", back = temp.path() + "/back" + asked + name;
    if (!std::filesystem::exists(nemo)) {
      Convert(from, nemo, {});
      Forget(nemo, bare);
    }
    Convert(bare, back, {.to = "hf", .architecture = asked});
    EXPECT_EQ(DigestsOf(back), DigestsOf(from));
    const Config json = JsonOf(back + "/config.json");
    EXPECT_EQ(json.root().Get("architectures")->list.front().AsString(), name);
    EXPECT_EQ(json.root().Get("model_type")->AsString(), type);
  };
  is(source, "", "MT5ForConditionalGeneration", "mt5");
  is(source, "T5ForConditionalGeneration", "T5ForConditionalGeneration", "t5");
  is(other, "", "T5ForConditionalGeneration", "t5");
  is(other, "MT5ForConditionalGeneration", "MT5ForConditionalGeneration", "mt5");
  EXPECT_THAT(PlanConversion(temp.path() + "/hf.nemo", temp.path() + "/x", {.to = "hf", .architecture = "BertModel"}),
              StatusIs(ErrorKind::kInvalidArgument,
                       "expected T5ForConditionalGeneration, which such a model is, found BertModel"));
}

// transformers takes other sizes for an mT5 that says none [configuration_mt5.py] than for such a T5.
TEST(T5, ASilentMt5HasItsOwnSizes) {
  const auto model = NemoT5Config(Config::ParseJson(R"({"model_type": "mt5", "architectures":
      ["MT5ForConditionalGeneration"]})",
                                                    "config.json")
                                      ->root(),
                                  false, DType::kF32);
  ASSERT_THAT(model, IsOk());
  const Config config(*model);
  EXPECT_EQ(config.Find("encoder.num_layers")->AsInt(), 8);
  EXPECT_EQ(config.Find("encoder.num_attention_heads")->AsInt(), 6);
  EXPECT_EQ(config.Find("encoder.ffn_hidden_size")->AsInt(), 1024);
  EXPECT_EQ(config.Find("encoder.activation")->AsString(), "geglu");
}

// A key that nobody knows is named, as for a decoder.
TEST(Configs, KeysThatAreNotKnownAreNamed) {
  for (const char* model : {"decoders/bert/hf", "transformers4_others/t5_v1_1"}) {
    const TempDir changed, temp;
    EXPECT_THAT(PlanConversion(Golden(model), temp.path() + "/x.nemo", {})->notes,
                ::testing::Not(::testing::Contains(::testing::HasSubstr("not known"))));
    const auto plan = PlanConversion(With(Golden(model), changed, "residual_scale", "2"), temp.path() + "/x.nemo", {});
    ASSERT_THAT(plan, IsOk());
    EXPECT_THAT(plan->notes,
                ::testing::Contains("residual_scale: not known to change what the model computes, left alone"));
  }
}

// A safetensors file has one name of what several parameters are; transformers takes either.
TEST(T5, TheEmbeddingMayHaveTheEncodersName) {
  const TempDir temp;
  const std::string source = Golden("transformers4_others/t5_v1_1"), other = temp.path() + "/other",
                    nemo = temp.path() + "/out.nemo", back = temp.path() + "/back";
  Convert(source, other, {.to = "hf", .rename = {{"shared.weight", "encoder.embed_tokens.weight"}}, .strict = false});
  ASSERT_EQ(DigestsOf(other).count("shared.weight"), 0U);
  Convert(other, nemo, {});
  Convert(nemo, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(source));
}

// transformers passes over this one, which old files have.
TEST(T5, DistancesThatNobodyReadsAreLeftOut) {
  const TempDir temp;
  const std::string source = temp.path() + "/hf", nemo = temp.path() + "/x.nemo", back = temp.path() + "/back";
  auto model = OpenCheckpoint(Golden("transformers4_others/mt5"));
  ASSERT_THAT(model, IsOk());
  const Digests expected = DigestsOf(model->weights());
  ASSERT_THAT(model->weights().Add("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
                                   *Tensor::Fill(DType::kF32, {32, 4}, 0.5)),
              IsOk());
  const auto plan = FindFormat("hf")->lay_out(*model, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, source, {}), IsOk());
  const auto there = PlanConversion(source, nemo, {});
  ASSERT_THAT(there, IsOk());
  EXPECT_THAT(there->notes, ::testing::Contains(::testing::HasSubstr("no distances to the encoder's tokens")));
  ASSERT_THAT(RunConversion(*there, {}), IsOk());
  Convert(nemo, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), expected);
}

TEST(T5, AnEmbeddingThatIsMissingIsSaidByFileAndName) {
  const TempDir temp;
  const std::string part = temp.path() + "/part";
  Convert(Golden("transformers4_others/t5_v1_1"), part, {.to = "hf", .drop = {"shared.weight"}, .strict = false});
  const auto plan = PlanConversion(part, temp.path() + "/out.nemo", {});
  EXPECT_THAT(plan, StatusIs(ErrorKind::kCorrupt, "shared.weight: expected the embedding of the tokens"));
  EXPECT_THAT(plan, StatusIs(ErrorKind::kCorrupt, part));
  EXPECT_THAT(Advice(plan.status().error()), ::testing::HasSubstr("save_pretrained"));
}

// ---- LLaVA ----

Digests WithoutTower(Digests digests) {
  std::erase_if(digests, [](const auto& item) { return item.first.find("vision_") != std::string::npos; });
  return digests;
}

// And the image tower, which NeMo's converter leaves out.
TEST(Llava, BecomesWhatNemosConverterMakes) {
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo";
  Convert(Golden("decoders/llava/hf"), nemo, {});
  const Digests found = DigestsOf(nemo);
  EXPECT_EQ(WithoutTower(found), Listed(Golden("decoders/llava/nemo.sha256")));
  EXPECT_TRUE(
      found.contains("model.embedding.word_embeddings.vision_encoder.vision_model.encoder.layers.2.mlp.fc1.weight"));
}

TEST(Llava, ComesBackInEveryLayout) {
  for (const std::string& source :
       {Golden("decoders/llava/hf"), Golden("transformers4_others/llava_clip"),
        Golden("transformers5_others/llava_clip"), Golden("transformers4_others/llava_siglip_mistral"),
        Golden("transformers5_others/llava_siglip_mistral")}) {
    ComesBack(source, {.dialect = "mcore"});
    ComesBack(source, {.dialect = "legacy"});
    ComesBack(source, {.dialect = "mcore", .tp = 2, .pp = 2});
    // NeMo 2's class of a tower is transformers' CLIPVisionModel.
    if (source.find("siglip") == std::string::npos) {
      ComesBack(source, {.to = "nemo2"});
    } else {
      const TempDir temp;
      EXPECT_THAT(PlanConversion(source, temp.path() + "/x", {.to = "nemo2"}),
                  StatusIs(ErrorKind::kUnsupported, "mm_cfg.vision_encoder: expected a CLIP"));
    }
  }
}

// The names that transformers 5 has in memory, as state_dict() saved by hand has them.
TEST(Llava, TheLayoutInMemoryIsRead) {
  const TempDir temp;
  const std::string source = Golden("decoders/llava/hf"), nested = temp.path() + "/nested";
  auto checkpoint = OpenCheckpoint(source);
  ASSERT_THAT(checkpoint, IsOk());
  constexpr std::pair<std::string_view, std::string_view> kRenamed[] = {
      {"language_model.model.", "model.language_model."},
      {"language_model.lm_head.", "lm_head."},
      {"multi_modal_projector.", "model.multi_modal_projector."},
      {"vision_tower.", "model.vision_tower."}};
  StateDict renamed;
  for (const StateDict::Item& item : checkpoint->weights().items()) {
    const auto* rule = std::ranges::find_if(kRenamed, [&](const auto& r) { return item.name.starts_with(r.first); });
    ASSERT_NE(rule, std::end(kRenamed)) << item.name;
    const std::string name = fmt::format("{}{}", rule->second, item.name.substr(rule->first.size()));
    ASSERT_THAT(renamed.Add(name, item.entry), IsOk());
  }
  checkpoint->weights() = renamed;
  const auto plan = FindFormat("huggingface")->lay_out(*checkpoint, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, nested, {}), IsOk());
  Convert(source, temp.path() + "/a.nemo", {});
  Convert(nested, temp.path() + "/b.nemo", {});
  EXPECT_EQ(DigestsOf(temp.path() + "/b.nemo"), DigestsOf(temp.path() + "/a.nemo"));
  Convert(nested, temp.path() + "/own", {.to = "hf", .dialect = "llava"});
  EXPECT_TRUE(DigestsOf(temp.path() + "/own").contains("model.mm_projector.0.weight"));
}

// The tower's own NeMo archive is a donor, too, and one of another size is none.
TEST(Llava, ATowerOfAnotherSizeIsNotTaken) {
  const TempDir temp;
  for (const char* donor : {"clip/mcore.nemo", "siglip/siglip_32.nemo"}) {
    EXPECT_THAT(PlanConversion(Golden("families/llava.nemo"), temp.path() + "/x", {.to = "hf", .tower = Golden(donor)}),
                StatusIs(ErrorKind::kCorrupt, "mm_cfg.vision_encoder.hidden_size"))
        << donor;
  }
}

// A donor may be of any format; a NeVA that was to see with NeMo's own CLIP then builds transformers' tower.
TEST(Llava, TheDonorMayBeAnyCheckpointOfATower) {
  const TempDir temp;
  const std::string source = Golden("decoders/llava/hf"), bare = temp.path() + "/bare.nemo",
                    nemo = temp.path() + "/donor.nemo", two = temp.path() + "/donor2";
  Convert(source, nemo, {});
  Convert(source, two, {.to = "nemo2"});
  auto checkpoint = OpenCheckpoint(Golden("families/llava.nemo"));
  ASSERT_THAT(checkpoint, IsOk());
  ASSERT_THAT(checkpoint->config->Set("mm_cfg.vision_encoder.from_hf", ConfigNode::Bool(false)), IsOk());
  ASSERT_THAT(checkpoint->config->Set("mm_cfg.vision_encoder.from_pretrained", ConfigNode::String("/models/clip.nemo")),
              IsOk());
  const auto plan = FindFormat("nemo")->lay_out(*checkpoint, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, bare, {}), IsOk());
  EXPECT_THAT(PlanConversion(bare, temp.path() + "/x", {.to = "hf"}),
              StatusIs(ErrorKind::kNotFound, "mm_cfg.vision_encoder.from_pretrained says /models/clip.nemo"));
  Digests first;
  for (const std::string& donor : {source, nemo, two}) {
    const TempDir out;
    const std::string back = out.path() + "/back";
    Convert(bare, back, {.to = "hf", .tower = donor});
    const Digests digests = DigestsOf(back);
    EXPECT_TRUE(digests.contains("vision_tower.vision_model.post_layernorm.weight")) << donor;
    if (first.empty()) first = digests;
    EXPECT_EQ(digests, first) << donor;
  }
  Convert(bare, temp.path() + "/whole.nemo", {.tower = two});
  const auto whole = OpenCheckpoint(temp.path() + "/whole.nemo");
  ASSERT_THAT(whole, IsOk());
  EXPECT_EQ(whole->config->Find("mm_cfg.vision_encoder.from_hf")->AsBool(), true);
  EXPECT_NE(whole->config->Find("mm_cfg.vision_encoder.from_pretrained")->AsString(), "/models/clip.nemo");
  Convert(temp.path() + "/whole.nemo", temp.path() + "/again", {.to = "hf"});
  EXPECT_EQ(DigestsOf(temp.path() + "/again"), first);
}

// NeMo's own file has no tower: it is taken from where the user says, and everything is as it was.
TEST(Llava, TheTowerIsTakenFromElsewhere) {
  const TempDir temp;
  const std::string source = Golden("decoders/llava/hf"), nemo = temp.path() + "/out.nemo",
                    bare = temp.path() + "/bare.nemo", back = temp.path() + "/back";
  Convert(source, nemo, {});
  auto checkpoint = OpenCheckpoint(nemo);
  ASSERT_THAT(checkpoint, IsOk());
  StateDict without;
  for (const StateDict::Item& item : checkpoint->weights().items()) {
    const bool is_tower = item.name.find("vision_encoder") != std::string::npos;
    if (is_tower) continue;
    ASSERT_THAT(without.Add(item.name, item.entry), IsOk());
  }
  checkpoint->weights() = without;
  std::erase_if(checkpoint->artifacts, [](const Artifact& artifact) { return artifact.name == "config.json"; });
  const auto plan = FindFormat("nemo")->lay_out(*checkpoint, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, bare, {}), IsOk());
  EXPECT_THAT(PlanConversion(bare, back, {.to = "hf"}),
              StatusIs(ErrorKind::kNotFound, "mm_cfg.vision_encoder.from_pretrained"));
  Convert(bare, back, {.to = "hf", .tower = source});
  EXPECT_EQ(DigestsOf(back), DigestsOf(source));
  const Config made = JsonOf(back + "/config.json"), own = JsonOf(source + "/config.json");
  EXPECT_TRUE(SameConfig(*made.root().Get("vision_config"), *own.root().Get("vision_config")));
  for (const char* key : {"architectures", "model_type", "vision_feature_layer", "vision_feature_select_strategy"})
    EXPECT_TRUE(SameConfig(*made.root().Get(key), *own.root().Get(key))) << key;
  EXPECT_EQ(made.Find("text_config.num_hidden_layers")->AsInt(), 2);
}

TEST(Llava, WhatNemoCannotSayIsRefusedByName) {
  const TempDir several, act, temp;
  const std::string source = Golden("transformers4_others/llava_clip");
  EXPECT_THAT(PlanConversion(With(source, several, "vision_feature_layer", "[-2, -1]"), temp.path() + "/x.nemo", {}),
              StatusIs(ErrorKind::kUnsupported, "vision_feature_layer"));
  EXPECT_THAT(PlanConversion(With(source, act, "projector_hidden_act", "relu"), temp.path() + "/x.nemo", {}),
              StatusIs(ErrorKind::kUnsupported, "projector_hidden_act"));
  EXPECT_THAT(PlanConversion(act.path() + "/hf", temp.path() + "/x", {.to = "hf", .dialect = "llava"}),
              StatusIs(ErrorKind::kUnsupported, "projector_hidden_act"));
  const TempDir quantized;
  EXPECT_THAT(PlanConversion(With(source, quantized, "quantization_config", "{load_in_8bit: true}"),
                             temp.path() + "/x.nemo", {}),
              StatusIs(ErrorKind::kUnsupported, "quantization_config"));
  // A list of one layer is that layer, and comes back as a list.
  const TempDir one, other;
  const std::string listed = With(source, one, "vision_feature_layer", "[-2]"), nemo = temp.path() + "/one.nemo";
  Convert(listed, nemo, {});
  EXPECT_EQ(OpenCheckpoint(nemo)->config->Find("mm_cfg.vision_encoder.vision_select_layer")->AsInt(), -2);
  Convert(nemo, temp.path() + "/listed", {.to = "hf"});
  EXPECT_TRUE(SameConfig(JsonOf(temp.path() + "/listed/config.json").root(), JsonOf(listed + "/config.json").root()));
  for (const auto& [key, yaml] : {std::pair{"text_config.model_type", "mixtral"},
                                  {"text_config.model_type", "phi3"},
                                  {"vision_config.model_type", "pixtral"}}) {
    auto checkpoint = OpenCheckpoint(source);
    ASSERT_THAT(checkpoint, IsOk());
    checkpoint->config->root()["text_config"].Erase("architectures");
    ASSERT_THAT(checkpoint->config->Set(key, ConfigNode::String(yaml)), IsOk());
    EXPECT_THAT(PlanSave(*checkpoint, temp.path() + "/x.nemo", {}), StatusIs(ErrorKind::kUnsupported, key));
  }
}

// A copy of `folder`, whose config.json has other values and whose weights have one tensor more.
std::string WithTensor(const std::string& folder, const std::string& copy, const char* name, const Tensor& tensor,
                       const std::vector<std::pair<const char*, const char*>>& keys) {
  auto checkpoint = OpenCheckpoint(folder);
  EXPECT_THAT(checkpoint, IsOk());
  EXPECT_THAT(checkpoint->weights().Add(name, tensor), IsOk());
  for (const auto& [key, yaml] : keys)
    checkpoint->config->root()[key] = *Config::ParseYaml(fmt::format("v: {}", yaml), "test")->root().Get("v");
  const auto plan = FindFormat("huggingface")->lay_out(*checkpoint, {});
  EXPECT_THAT(plan, IsOk());
  EXPECT_THAT(Execute(*plan, copy, {}), IsOk());
  return copy;
}

// LLaVA-NeXT is a LLaVA with one vector more, which NeMo 2 has from 2.1.0 on, and NeMo 1 not at all.
TEST(Llava, NextGoesToNemoTwoAndBack) {
  const TempDir temp;
  const auto newline = Tensor::Fill(DType::kF32, {64}, 0.5);
  ASSERT_THAT(newline, IsOk());
  const std::string source = WithTensor(Golden("decoders/llava/hf"), temp.path() + "/next", "image_newline", *newline,
                                        {{"architectures", "[LlavaNextForConditionalGeneration]"},
                                         {"model_type", "llava_next"},
                                         {"image_grid_pinpoints", "[[28, 56], [56, 28]]"}});
  ComesBack(source, {.to = "nemo2"});
  const auto planned = PlanConversion(source, temp.path() + "/x", {.to = "nemo2"});
  ASSERT_THAT(planned, IsOk());
  EXPECT_EQ(planned->result.config->Find("_target_")->AsString(),
            "nemo.collections.vlm.llava_next.model.llava_next.LlavaNextModel");
  EXPECT_EQ(planned->result.config->Find("config._target_")->AsString(),
            "nemo.collections.vlm.llava_next.model.base.LlavaNextConfig");
  EXPECT_THAT(PlanConversion(source, temp.path() + "/x", {.to = "nemo2", .nemo2_version = "2.0.0"}),
              StatusIs(ErrorKind::kUnsupported, "expected NeMo 2.1.0 or later"));
  EXPECT_THAT(PlanConversion(source, temp.path() + "/x.nemo", {}),
              StatusIs(ErrorKind::kUnsupported, "found a LLaVA-NeXT"));
  Convert(source, temp.path() + "/two", {.to = "nemo2"});
  EXPECT_THAT(PlanConversion(temp.path() + "/two", temp.path() + "/x.nemo", {}),
              StatusIs(ErrorKind::kUnsupported, "found a LLaVA-NeXT"));
}

// NeMo 2 may build the tower of Megatron-core: names of its layers, queries, keys and values of a head together.
TEST(Llava, ATowerOfMegatronCoreGoesToNemoTwoAndBack) {
  constexpr std::string_view kTower = "model.embedding.word_embeddings.vision_encoder.";
  for (const std::string& golden : {Golden("decoders/llava/hf"), Golden("transformers4_others/llava_siglip_mistral"),
                                    Golden("transformers5_others/llava_clip")}) {
    SCOPED_TRACE(golden);
    const bool is_clip = golden.find("siglip") == std::string::npos;
    const TempDir temp;
    if (!is_clip) {  // this one leaves a vector out
      EXPECT_THAT(PlanConversion(golden, temp.path() + "/x", {.to = "nemo2", .dialect = "mcore_vit"}),
                  StatusIs(ErrorKind::kUnsupported, "class_token_length: expected 0, as NeMo 2 leaves out no vector"));
    }
    const std::string source = is_clip ? golden : With(golden, temp, "vision_feature_select_strategy", "full");
    const std::string two = temp.path() + "/two", nemo = temp.path() + "/out.nemo";
    Convert(source, two, {.to = "nemo2", .dialect = "mcore_vit"});
    const auto checkpoint = OpenCheckpoint(two);
    ASSERT_THAT(checkpoint, IsOk());
    const ConfigNode& tower = *checkpoint->config->Find("config.vision_transformer_config");
    EXPECT_EQ(tower.Get("_target_")->AsString(), "nemo.collections.vlm.neva.model.base.CLIPViTConfig");
    EXPECT_EQ(tower.Get("vision_model_type")->AsString(), is_clip ? "clip" : "siglip");
    const StateDict& weights = checkpoint->weights();
    const auto* qkv = weights.Find(std::string(kTower) + "decoder.layers.1.self_attention.linear_qkv.weight");
    ASSERT_NE(qkv, nullptr);
    const StateDict::Item* token = weights.Find(std::string(kTower) + "class_token");
    ASSERT_EQ(token != nullptr, is_clip);
    if (is_clip) {
      EXPECT_EQ(token->tensor()->shape(), (Shape{1, 1, qkv->tensor()->shape()[1]}));
    }
    Convert(two, nemo, {});
    // No LLaVA computes the norm behind CLIP's layers, and NeMo's tower has none.
    const auto without_norm = [](Digests digests) {
      std::erase_if(digests, [](const auto& item) { return item.first.find("post_layernorm") != std::string::npos; });
      return digests;
    };
    for (const std::string& from : {two, nemo}) {
      const std::string back = from + "_back";
      Convert(from, back, {.to = "hf"});
      EXPECT_EQ(FilesIn(back), FilesIn(source));
      EXPECT_EQ(is_clip ? without_norm(DigestsOf(back)) : DigestsOf(back),
                is_clip ? without_norm(DigestsOf(source)) : DigestsOf(source));
      EXPECT_EQ(DigestsOf(back).size(), DigestsOf(source).size());
      EXPECT_TRUE(SameConfig(JsonOf(back + "/config.json").root(), JsonOf(source + "/config.json").root()));
    }
    EXPECT_THAT(PlanConversion(two, temp.path() + "/x.nemo", {.dialect = "mcore_vit"}),
                StatusIs(ErrorKind::kUnsupported, "found Megatron-core's"));
  }
}

// A copy of a NeMo 2 folder whose config has another value.
std::string WithNemo2Word(const std::string& two, const std::string& copy, const char* part, const char* key,
                          const ConfigNode& value) {
  auto checkpoint = OpenCheckpoint(two);
  EXPECT_THAT(checkpoint, IsOk());
  checkpoint->config->root()["config"][part][key] = value;
  const auto plan = FindFormat("nemo2")->lay_out(*checkpoint, {});
  EXPECT_THAT(plan, IsOk());
  EXPECT_THAT(Execute(*plan, copy, {}), IsOk());
  return copy;
}

// The config.json that came along says another.
TEST(Llava, WhatNemoTwosTowerComputesWithIsTaken) {
  const TempDir temp;
  const std::string two = temp.path() + "/two";
  Convert(Golden("decoders/llava/hf"), two, {.to = "nemo2", .dialect = "mcore_vit"});
  const ConfigNode gelu = *Config::ParseYaml("v: {_target_: torch.nn.functional.gelu}", "t")->root().Get("v");
  for (const auto& [key, value, hf, said] :
       {std::tuple{"layernorm_epsilon", ConfigNode::Float(0.5), "layer_norm_eps", ConfigNode::Float(0.5)},
        {"activation_func", gelu, "hidden_act", ConfigNode::String("gelu")}}) {
    const std::string changed = WithNemo2Word(two, temp.path() + "/" + key, "vision_transformer_config", key, value);
    Convert(changed, changed + "_hf", {.to = "hf"});
    EXPECT_TRUE(SameConfig(*JsonOf(changed + "_hf/config.json").root().Get("vision_config")->Get(hf), said)) << key;
    if (std::string_view(key) != "activation_func") continue;
    const std::string fused = WithNemo2Word(changed, temp.path() + "/fused", "vision_transformer_config",
                                            "bias_activation_fusion", ConfigNode::Bool(true));
    Convert(fused, fused + "_hf", {.to = "hf"});
    EXPECT_EQ(JsonOf(fused + "_hf/config.json").root().Get("vision_config")->Get(hf)->AsString(), "gelu_pytorch_tanh");
  }
}

TEST(Llava, APartThatNeitherNemoNorTransformersBuildsIsRefusedByName) {
  const TempDir temp;
  const std::string two = temp.path() + "/two", vit = temp.path() + "/vit";
  Convert(Golden("decoders/llava/hf"), two, {.to = "nemo2"});
  Convert(Golden("decoders/llava/hf"), vit, {.to = "nemo2", .dialect = "mcore_vit"});
  const ConfigNode intern = ConfigNode::String("nemo.collections.vlm.vision.base.InternViTConfig");
  for (const auto& [from, part, key, value, said] :
       {std::tuple{two, "vision_transformer_config", "_target_", intern, "InternViTConfig"},
        {two, "vision_projection_config", "projector_type", ConfigNode::String("perceiver"), "perceiver"},
        {vit, "vision_transformer_config", "num_query_groups", ConfigNode::Int(1), "num_query_groups"},
        {vit, "vision_transformer_config", "gated_linear_unit", ConfigNode::Bool(true), "gated_linear_unit"},
        {vit, "vision_transformer_config", "vision_model_type", ConfigNode::String("internvit"), "internvit"}}) {
    const std::string changed = WithNemo2Word(from, temp.path() + "/" + said, part, key, value);
    EXPECT_THAT(PlanConversion(changed, temp.path() + "/x.nemo", {}), StatusIs(ErrorKind::kUnsupported, said));
  }
}

// The same two layers under the names of Megatron-core's MLP.
TEST(Llava, AProjectorOfMegatronCoreIsRead) {
  const TempDir temp;
  const std::string source = Golden("decoders/llava/hf"), two = temp.path() + "/two", back = temp.path() + "/back";
  Convert(source, temp.path() + "/sequential", {.to = "nemo2"});
  auto checkpoint = OpenCheckpoint(temp.path() + "/sequential");
  ASSERT_THAT(checkpoint, IsOk());
  checkpoint->config->root()["config"]["vision_projection_config"]["projector_type"] = ConfigNode::String("mcore_mlp");
  StateDict renamed;
  for (const StateDict::Item& item : checkpoint->weights().items()) {
    std::string name = item.name;
    for (const auto& [from, to] :
         {std::pair<std::string, std::string>{".mm_projector.0.", ".mm_projector.encoder.linear_fc1."},
          {".mm_projector.2.", ".mm_projector.encoder.linear_fc2."}}) {
      if (const size_t at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
    }
    ASSERT_THAT(renamed.Add(name, item.entry), IsOk());
  }
  checkpoint->weights() = std::move(renamed);
  const auto plan = FindFormat("nemo2")->lay_out(*checkpoint, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, two, {}), IsOk());
  Convert(two, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(source));
}

// A checkpoint of training has no files beside it: its config tells the tower.
TEST(Llava, ACheckpointOfTrainingKeepsTheTowersConfig) {
  const TempDir temp;
  const std::string source = Golden("decoders/llava/hf"), there = temp.path() + "/x.ckpt", back = temp.path() + "/back";
  Convert(source, there, {});
  Convert(there, back, {.to = "hf"});
  EXPECT_EQ(DigestsOf(back), DigestsOf(source));
  const Config made = JsonOf(back + "/config.json"), own = JsonOf(source + "/config.json");
  for (const char* key : {"vision_config", "image_token_index", "vision_feature_layer"})
    EXPECT_TRUE(SameConfig(*made.root().Get(key), *own.root().Get(key))) << key;
}

// Every number of the tower's is one, and sizes are those of its tensors.
TEST(Llava, ATowersNumbersAreThoseOfItsTensors) {
  const std::string source = Golden("transformers5_others/llava_clip");
  struct Case {
    const char *key, *value, *said;
  };
  for (const Case& of :
       {Case{"hidden_size", "'8'", "hidden_size: expected a whole number above 0, found \"8\""},
        {"hidden_size", "16", "hidden_size: expected 8, as the weights have, found 16"},
        {"intermediate_size", "13", "intermediate_size: expected 12, as the weights have, found 13"},
        {"num_hidden_layers", "2", "num_hidden_layers: expected 3, as the weights have, found 2"},
        {"num_hidden_layers", "x", "num_hidden_layers: expected a whole number above 0"},
        {"num_channels", "1", "num_channels: expected 3, as the weights have, found 1"},
        {"num_channels", "'3'", "num_channels: expected a whole number above 0"},
        {"num_attention_heads", "'2'", "num_attention_heads: expected a whole number above 0"},
        {"num_attention_heads", "3", "num_attention_heads: expected a number that divides hidden_size, 8"},
        {"image_size", "'28'", "image_size: expected a whole number above 0"},
        {"image_size", "42", "image_size: expected pictures of 5 positions"},
        {"patch_size", "7", "patch_size: expected 14, as the weights have, found 7"},
        {"patch_size", "0", "patch_size: expected a whole number above 0, found 0"},
        {"hidden_act", "geluu", "hidden_act: expected one that transformers has, found \"geluu\""},
        {"layer_norm_eps", "'1e-5'", "layer_norm_eps: expected a number"},
        {"attention_dropout", "none", "attention_dropout: expected a number"},
        {"initializer_factor", "[]", "initializer_factor: expected a number"}}) {
    const TempDir changed, temp;
    const Config config = JsonOf(source + "/config.json");
    ConfigNode vision = *config.root().Get("vision_config");
    vision[of.key] = *Config::ParseYaml(fmt::format("v: {}", of.value), "test")->root().Get("v");
    const std::string yaml = Config(vision).ToJson();
    EXPECT_THAT(PlanConversion(With(source, changed, "vision_config", yaml.c_str()), temp.path() + "/x.nemo", {}),
                StatusIs(of.key == std::string("hidden_act") ? ErrorKind::kUnsupported : ErrorKind::kCorrupt,
                         std::string("vision_config.") + of.said));
  }
}

// The published sizes, planned to the byte without a weight: llava-1.5-7b-hf and llava-1.5-13b-hf.
struct PublishedSize {
  const char* name;
  int64_t layers, width, ffn, heads;
};
class PublishedLlavaTest : public ::testing::TestWithParam<PublishedSize> {};

Checkpoint Published(const PublishedSize& size) {
  constexpr uint64_t kRows = 32064, kVision = 1024, kVisionFfn = 4096, kVisionLayers = 24;
  const auto width = static_cast<uint64_t>(size.width), ffn = static_cast<uint64_t>(size.ffn);
  Checkpoint checkpoint;
  checkpoint.format = FindFormat("huggingface");
  checkpoint.flavour = "huggingface";
  checkpoint.config_name = "config.json";
  checkpoint.config =
      *Config::ParseJson(fmt::format(R"({{"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava",
  "image_token_index": 32000, "pad_token_id": 32001, "projector_hidden_act": "gelu", "vision_feature_layer": -2,
  "vision_feature_select_strategy": "default", "text_config": {{"model_type": "llama", "hidden_size": {},
  "intermediate_size": {}, "num_hidden_layers": {}, "num_attention_heads": {}, "num_key_value_heads": {},
  "max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "vocab_size": {}}}, "vision_config": {{"model_type":
  "clip_vision_model", "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "num_attention_heads": 16,
  "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768, "vocab_size": 32000}}}})",
                                     size.width, size.ffn, size.layers, size.heads, size.heads, kRows),
                         "config.json");
  checkpoint.shards.resize(1);
  const auto add = [&](const std::string& name, Shape shape) {
    EXPECT_THAT(checkpoint.weights().Add(name, *Tensor::Fill(DType::kF16, std::move(shape), 0)), IsOk());
  };
  const auto linear = [&](const std::string& name, uint64_t rows, uint64_t columns) {
    add(name + ".weight", {rows, columns});
    add(name + ".bias", {rows});
  };
  const auto norm = [&](const std::string& name) {
    add(name + ".weight", {kVision});
    add(name + ".bias", {kVision});
  };
  const std::string tower = "vision_tower.vision_model.", text = "language_model.model.";
  add(tower + "embeddings.class_embedding", {kVision});
  add(tower + "embeddings.patch_embedding.weight", {kVision, 3, 14, 14});
  add(tower + "embeddings.position_embedding.weight", {577, kVision});
  norm(tower + "pre_layrnorm");
  norm(tower + "post_layernorm");
  for (uint64_t i = 0; i < kVisionLayers; ++i) {
    const std::string layer = fmt::format("{}encoder.layers.{}.", tower, i);
    for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"})
      linear(layer + "self_attn." + name, kVision, kVision);
    norm(layer + "layer_norm1");
    norm(layer + "layer_norm2");
    linear(layer + "mlp.fc1", kVisionFfn, kVision);
    linear(layer + "mlp.fc2", kVision, kVisionFfn);
  }
  linear("multi_modal_projector.linear_1", width, kVision);
  linear("multi_modal_projector.linear_2", width, width);
  add(text + "embed_tokens.weight", {kRows, width});
  for (int64_t i = 0; i < size.layers; ++i) {
    const std::string layer = fmt::format("{}layers.{}.", text, i);
    for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
      add(fmt::format("{}self_attn.{}.weight", layer, name), {width, width});
    add(layer + "mlp.gate_proj.weight", {ffn, width});
    add(layer + "mlp.up_proj.weight", {ffn, width});
    add(layer + "mlp.down_proj.weight", {width, ffn});
    add(layer + "input_layernorm.weight", {width});
    add(layer + "post_attention_layernorm.weight", {width});
  }
  add(text + "norm.weight", {width});
  add("language_model.lm_head.weight", {kRows, width});
  return checkpoint;
}

TEST_P(PublishedLlavaTest, IsPlannedForNemoOneAndTwo) {
  const TempDir temp;
  const Checkpoint checkpoint = Published(GetParam());
  EXPECT_EQ(checkpoint.weights().size(), static_cast<size_t>(391 + 4 + 9 * GetParam().layers + 3));
  const auto nemo = PlanSave(checkpoint, temp.path() + "/x.nemo", {});
  ASSERT_THAT(nemo, IsOk());
  const ConfigNode& config = nemo->result.config->root();
  EXPECT_EQ(nemo->result.config->Find("mm_cfg.vision_encoder.from_pretrained")->AsString(),
            "openai/clip-vit-large-patch14-336");
  EXPECT_EQ(nemo->result.config->Find("data.image_token_len")->AsInt(), 576);
  EXPECT_EQ(config.Get("override_vocab_size")->AsInt(), 32064);
  EXPECT_EQ(config.Get("hidden_size")->AsInt(), GetParam().width);
  for (const ConvertOptions& options : {ConvertOptions{.to = "nemo2"}, ConvertOptions{.tp = 4, .pp = 2}}) {
    const std::string to = temp.path() + (options.to.empty() ? "/ranks.nemo" : "/two");
    const auto planned = PlanSave(checkpoint, to, options);
    ASSERT_THAT(planned, IsOk());
    EXPECT_NE(planned->plan, nullptr);
  }
  EXPECT_THAT(PlanSave(checkpoint, temp.path() + "/own", {.to = "hf", .dialect = "llava"}), IsOk());
}

INSTANTIATE_TEST_SUITE_P(Llava, PublishedLlavaTest,
                         ::testing::Values(PublishedSize{"v15_7b", 32, 4096, 11008, 32},
                                           PublishedSize{"v15_13b", 40, 5120, 13824, 40}),
                         [](const auto& test) { return std::string(test.param.name); });

// NeMo 2 drops the class token unless it is told not to.
TEST(Llava, TheClassTokenStaysWhereTransformersKeepsIt) {
  const TempDir full, temp;
  const std::string source = With(Golden("decoders/llava/hf"), full, "vision_feature_select_strategy", "full");
  for (const char* strategy : {"full", "default"}) {
    const bool is_full = std::string_view(strategy) == "full";
    const std::string from = is_full ? source : Golden("decoders/llava/hf"), two = temp.path() + "/" + strategy;
    Convert(from, two, {.to = "nemo2"});
    const auto written = OpenCheckpoint(two);
    ASSERT_THAT(written, IsOk());
    const ConfigNode* drops = written->config->Find("config.drop_vision_class_token");
    EXPECT_EQ(drops != nullptr, is_full);
    std::filesystem::remove(two + "/context/config.json");
    Convert(two, two + "_back", {.to = "hf", .tower = from});
    EXPECT_EQ(JsonOf(two + "_back/config.json").Find("vision_feature_select_strategy")->AsString(), strategy);
  }
}

// LLaVA's own folder: the language model's config with mm_* keys, and a tower that it names and does not describe.
TEST(Llava, LlavasOwnLayoutBothWays) {
  for (const std::string& source : {Golden("decoders/llava/hf"), Golden("transformers4_others/llava_clip"),
                                    Golden("transformers5_others/llava_clip")}) {
    SCOPED_TRACE(source);
    const TempDir temp;
    const std::string own = temp.path() + "/own", back = temp.path() + "/back", nemo = temp.path() + "/x.nemo",
                      again = temp.path() + "/again";
    Convert(source, own, {.to = "hf", .dialect = "llava"});
    const Digests digests = DigestsOf(own);
    for (const char* name :
         {"model.embed_tokens.weight", "model.mm_projector.0.weight", "model.mm_projector.2.bias",
          "model.vision_tower.vision_tower.vision_model.embeddings.class_embedding", "lm_head.weight"})
      EXPECT_TRUE(digests.contains(name)) << name;
    const Config config = JsonOf(own + "/config.json");
    EXPECT_EQ(config.Find("architectures")->list.front().AsString(), "LlavaLlamaForCausalLM");
    EXPECT_EQ(config.Find("mm_vision_select_layer")->AsInt(), -2);
    EXPECT_EQ(config.Find("rope_parameters"), nullptr);
    // No known name tells the heads of such a tower: its config is written beside.
    const std::string told = temp.path() + "/told";
    Convert(own, told, {.to = "hf"});
    const Config of_told = JsonOf(told + "/config.json"), of_source = JsonOf(source + "/config.json");
    for (const char* key : {"num_attention_heads", "num_hidden_layers", "image_size", "hidden_act"}) {
      const std::string path = fmt::format("vision_config.{}", key);
      if (of_source.Find(path) == nullptr) continue;
      EXPECT_TRUE(SameConfig(*of_told.Find(path), *of_source.Find(path))) << key;
    }
    EXPECT_TRUE(SameConfig(*of_told.Find("image_token_index"), *of_source.Find("image_token_index")));
    auto bare = OpenCheckpoint(own);
    ASSERT_THAT(bare, IsOk());
    bare->config->root().Erase("vision_config");
    EXPECT_THAT(PlanSave(*bare, back, {.to = "hf"}), StatusIs(ErrorKind::kNotFound, "mm_vision_tower"));
    Convert(own, back, {.to = "hf", .tower = source});
    const auto a = OpenCheckpoint(source), b = OpenCheckpoint(back);
    ASSERT_THAT(a, IsOk());
    ASSERT_THAT(b, IsOk());
    const auto canonical_a = ToCanonical(*a), canonical_b = ToCanonical(*b);
    ASSERT_THAT(canonical_a, IsOk());
    ASSERT_THAT(canonical_b, IsOk());
    ASSERT_EQ(canonical_a->weights().size(), canonical_b->weights().size());
    for (const StateDict::Item& item : canonical_a->weights().items())
      EXPECT_EQ(*item.tensor()->Read(), *canonical_b->weights().Find(item.name)->tensor()->Read()) << item.name;
    // Through NeMo, the same folder.
    Convert(own, nemo, {});
    Convert(nemo, again, {.to = "hf", .dialect = "llava"});
    EXPECT_EQ(DigestsOf(again), digests);
    EXPECT_TRUE(SameConfig(JsonOf(again + "/config.json").root(), config.root()));
  }
}

// A key that changes what is computed is refused by its name.
TEST(Llava, WhatTransformersCannotSayOfLlavasOwnIsRefusedByName) {
  const TempDir temp;
  const std::string own = temp.path() + "/own";
  Convert(Golden("decoders/llava/hf"), own, {.to = "hf", .dialect = "llava"});
  for (const auto& [key, yaml] : {std::pair{"mm_use_im_start_end", "true"},
                                  {"mm_patch_merge_type", "spatial"},
                                  {"image_aspect_ratio", "anyres"},
                                  {"mm_vision_select_feature", "cls"}}) {
    const std::string changed = WithKey(own, temp.path() + "/" + key, "config.json", key, yaml);
    EXPECT_THAT(PlanConversion(changed, temp.path() + "/x", {.to = "hf", .tower = Golden("decoders/llava/hf")}),
                StatusIs(ErrorKind::kUnsupported, key))
        << key;
  }
}

// NeMo leaves out as many of the tower's vectors as mm_cfg says; transformers the first one, or none.
TEST(Llava, TheVectorsThatAreLeftOutAreThoseOfTheOtherSide) {
  const TempDir temp;
  const std::string hf = Golden("decoders/llava/hf"), siglip = Golden("transformers4_others/llava_siglip_mistral");
  int count = 0;
  const auto written = [&](const std::string& source, const char* feature, int64_t tokens) {
    const std::string at = temp.path() + "/" + std::to_string(count++), nemo = at + ".nemo", bare = at + "b.nemo",
                      out = at + "out";
    Convert(source, nemo, {});
    auto checkpoint = OpenCheckpoint(nemo);
    EXPECT_THAT(checkpoint, IsOk());
    std::erase_if(checkpoint->artifacts, [](const Artifact& artifact) { return artifact.name == "config.json"; });
    ConfigNode& encoder = *checkpoint->config->root().Get("mm_cfg")->Get("vision_encoder");
    encoder["vision_select_feature"] = ConfigNode::String(feature);
    encoder["class_token_length"] = ConfigNode::Int(tokens);
    const auto plan = FindFormat("nemo")->lay_out(*checkpoint, {});
    EXPECT_THAT(plan, IsOk());
    EXPECT_THAT(Execute(*plan, bare, {}), IsOk());
    if (const auto planned = PlanConversion(bare, out, {.to = "hf"}); !planned.ok()) return planned.status().message();
    Convert(bare, out, {.to = "hf"});
    return JsonOf(out + "/config.json").root().Get("vision_feature_select_strategy")->AsString().value_or("");
  };
  for (const std::string& source : {hf, siglip}) {
    EXPECT_EQ(written(source, "patch", 1), "default");
    EXPECT_EQ(written(source, "patch", 0), "full");
    EXPECT_EQ(written(source, "cls_patch", 0), "full");
    EXPECT_EQ(written(source, "cls_patch", 1), "full");
    EXPECT_THAT(written(source, "patch", 8), ::testing::HasSubstr("class_token_length: expected 0 or 1"));
    EXPECT_THAT(written(source, "cls", 1), ::testing::HasSubstr("vision_select_feature: expected patch or cls_patch"));
  }
  const std::string nemo = temp.path() + "/siglip.nemo";
  Convert(siglip, nemo, {});
  const auto checkpoint = OpenCheckpoint(nemo);
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_EQ(checkpoint->config->Find("mm_cfg.vision_encoder.class_token_length")->AsInt(), 1);
}

TEST(Llava, WhatOtherLlavasDoNotComputeIsRefusedByName) {
  const TempDir temp;
  const std::string nemo = temp.path() + "/out.nemo";
  Convert(Golden("decoders/llava/hf"), nemo, {});
  for (const char* key : {"use_lita", "use_im_start_end"}) {
    auto checkpoint = OpenCheckpoint(nemo);
    ASSERT_THAT(checkpoint, IsOk());
    checkpoint->config->root()["mm_cfg"][key] = ConfigNode::Bool(true);
    const auto plan = FindFormat("nemo")->lay_out(*checkpoint, {});
    ASSERT_THAT(plan, IsOk());
    const std::string changed = temp.path() + "/" + key + ".nemo";
    ASSERT_THAT(Execute(*plan, changed, {}), IsOk());
    for (const char* to : {"hf", "nemo2"}) {
      EXPECT_THAT(PlanConversion(changed, temp.path() + "/x", {.to = to}),
                  StatusIs(ErrorKind::kUnsupported, std::string("mm_cfg: ") + key + ": expected false"))
          << to;
    }
  }
}

TEST(Llava, AProjectorOfTheConfigsFormIsExpected) {
  const TempDir temp;
  const std::string own = temp.path() + "/own";
  Convert(Golden("decoders/llava/hf"), own, {.to = "hf", .dialect = "llava"});
  const std::string changed = WithKey(own, temp.path() + "/linear", "config.json", "mm_projector_type", "linear");
  EXPECT_THAT(
      PlanConversion(changed, temp.path() + "/x", {.to = "hf", .tower = Golden("decoders/llava/hf")}),
      StatusIs(ErrorKind::kCorrupt, "mm_projector_type: expected mlp2x_gelu, as the weights have, found linear"));
}

// LLaVA's mm_projector.bin: its own file, which is no model.
TEST(Llava, AProjectorAloneIsSaidToBeOne) {
  const TempDir temp;
  const std::string own = temp.path() + "/own", file = temp.path() + "/mm_projector.safetensors";
  Convert(Golden("decoders/llava/hf"), own, {.to = "hf", .dialect = "llava"});
  auto checkpoint = OpenCheckpoint(own);
  ASSERT_THAT(checkpoint, IsOk());
  StateDict projector;
  for (const StateDict::Item& item : checkpoint->weights().items()) {
    if (item.name.find("mm_projector") == std::string::npos) continue;
    ASSERT_THAT(projector.Add(item.name, item.entry), IsOk());
  }
  checkpoint->weights() = projector;
  checkpoint->config.reset();
  const auto plan = FindFormat("safetensors")->lay_out(*checkpoint, {});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(Execute(*plan, file, {}), IsOk());
  const auto opened = OpenCheckpoint(file);
  ASSERT_THAT(opened, IsOk());
  EXPECT_EQ(PartsAlone(Summarize(*opened)), "projector");
  EXPECT_THAT(ToCanonical(*opened), IsOk());
  EXPECT_THAT(PlanConversion(file, temp.path() + "/x", {.to = "hf"}),
              StatusIs(ErrorKind::kNotFound, "found its projector without the language model"));
}

// The tower's and the projector's sizes are the config's.
TEST(Llava, AConfigOfAnotherTowerIsFound) {
  for (const char* key : {"hidden_size", "num_hidden_layers", "intermediate_size", "patch_size"}) {
    const TempDir temp;
    const std::string copy = temp.path() + "/hf";
    std::filesystem::copy(Golden("decoders/llava/hf"), copy);
    Config config = JsonOf(copy + "/config.json");
    config.root()["vision_config"][key] = ConfigNode::Int(7);
    std::filesystem::permissions(copy + "/config.json", std::filesystem::perms::owner_all);
    std::ofstream(copy + "/config.json") << config.ToJson();
    const auto checkpoint = OpenCheckpoint(copy);
    ASSERT_THAT(checkpoint, IsOk());
    EXPECT_THAT(ToCanonical(*checkpoint), StatusIs(ErrorKind::kCorrupt, std::string("vision_config.") + key));
  }
}

// What inspect, report and verify say of the three parts: which are stored, and where the others come from.
TEST(Llava, ItsPartsAreToldApart) {
  const auto whole = OpenCheckpoint(Golden("decoders/llava/hf")), bare = OpenCheckpoint(Golden("families/llava.nemo"));
  ASSERT_THAT(whole, IsOk());
  ASSERT_THAT(bare, IsOk());
  const Summary all = Summarize(*whole), some = Summarize(*bare);
  EXPECT_EQ(PartsAlone(all), "");
  EXPECT_EQ(PartsAlone(some), "projector and language model");
  ASSERT_EQ(all.parts.size(), 3u);
  ASSERT_EQ(some.parts.size(), 3u);
  uint64_t tensors = 0;
  for (const Summary::Part& part : all.parts) tensors += part.amount.tensors;
  EXPECT_EQ(tensors, all.weights.tensors);
  EXPECT_EQ(some.parts[0].name, "image tower");
  EXPECT_EQ(some.parts[0].amount.tensors, 0u);
  EXPECT_EQ(some.parts[0].from, "mm_cfg.vision_encoder.from_pretrained: openai/clip-vit-large-patch14");
  EXPECT_EQ(some.parts[1].amount.tensors, 4u);
  EXPECT_EQ(some.parts[1].from, "");
  EXPECT_TRUE(Summarize(*OpenCheckpoint(Golden("clip/mcore.nemo"))).parts.empty());
}

}  // namespace
}  // namespace anemone
