// CLIP and SigLIP between all their dialects, on small synthetic models.
#include <fmt/format.h>

#include "family/clip/clip_config.h"
#include "family/families.h"
#include "synthetic.h"

namespace anemone {
namespace {

using ::testing::Contains;
using testing::ExpectSameTensors;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::Names;
using ::testing::Not;
using testing::StatusIs;
using testing::WithWeights;

constexpr std::string_view kHfConfig = R"({
  "model_type": "clip", "projection_dim": 6,
  "text_config": {"hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 3,
                  "max_position_embeddings": 7, "vocab_size": 200},
  "vision_config": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
                    "image_size": 6, "patch_size": 3}})";

constexpr std::string_view kSiglipConfig = R"({
  "model_type": "siglip",
  "text_config": {"hidden_size": 8, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2,
                  "max_position_embeddings": 7, "vocab_size": 128},
  "vision_config": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4,
                    "image_size": 7, "patch_size": 3}})";

Checkpoint HfModel(const Family& family, std::string_view config_text) {
  Config config = *Config::ParseJson(config_text, "config.json");
  const Dialect& hf = *family.FindDialect("hf");
  ModelSymbols symbols = *family.SymbolsOf(WithWeights({}, config, "config.json"), hf, {});
  StateDict weights =
      *FromCanonical(testing::SyntheticCanonical(family, symbols), hf, family.canonical, symbols, true, nullptr);
  return WithWeights(std::move(weights), std::move(config), "config.json");
}

Checkpoint HfClip() { return HfModel(ClipFamily(), kHfConfig); }

struct Pair {
  const char* family;
  const char* dialect;
};

class RoundTripTest : public ::testing::TestWithParam<Pair> {};

TEST_P(RoundTripTest, ComesBackBitForBit) {
  const bool siglip = std::string_view(GetParam().family) == "siglip";
  const Checkpoint hf = siglip ? HfModel(SiglipFamily(), kSiglipConfig) : HfClip();
  ANEMONE_ASSERT_ASSIGN(const Checkpoint there, Translate(hf, GetParam().dialect));
  ANEMONE_ASSERT_ASSIGN(const ModelIdentity model, IdentifyModel(there));
  EXPECT_EQ(model.family->name, GetParam().family);
  EXPECT_EQ(model.dialect->name, GetParam().dialect);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(there, "hf"));
  ExpectSameTensors(back.weights(), hf.weights());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint canonical, ToCanonical(there));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint expected, ToCanonical(hf));
  ExpectSameTensors(canonical.weights(), expected.weights());
}

INSTANTIATE_TEST_SUITE_P(All, RoundTripTest,
                         ::testing::Values(Pair{"clip", "hf"}, Pair{"clip", "openclip"}, Pair{"clip", "mcore"},
                                           Pair{"clip", "legacy"}, Pair{"siglip", "hf"}, Pair{"siglip", "mcore"}),
                         [](const auto& test) { return fmt::format("{}_{}", test.param.family, test.param.dialect); });

TEST(ClipTest, EveryPairOfDialectsRoundTrips) {
  const Checkpoint hf = HfClip();
  for (const char* a : {"hf", "openclip", "mcore", "legacy"}) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint first, Translate(hf, a));
    for (const char* b : {"hf", "openclip", "mcore", "legacy"}) {
      ANEMONE_ASSERT_ASSIGN(const Checkpoint second, Translate(first, b));
      ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(second, a));
      SCOPED_TRACE(fmt::format("{} → {} → {}", a, b, a));
      ExpectSameTensors(back.weights(), first.weights());
    }
  }
}

TEST(ClipTest, CountsTensorsAsTheFormulaSays) {
  // HF 16·L + 14, NeMo 12·L + 14, of L layers in both towers; weight and bias counted apart.
  const Checkpoint hf = HfClip();
  EXPECT_EQ(hf.weights().size(), 16u * 5 + 14);
  for (const char* dialect : {"mcore", "legacy"}) {
    ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, Translate(hf, dialect, {.extra_state = false}));
    EXPECT_EQ(nemo.weights().size(), 12u * 5 + 14);
    ANEMONE_ASSERT_ASSIGN(const Checkpoint with_states, Translate(hf, dialect));
    EXPECT_EQ(with_states.weights().size(), 16u * 5 + 14);
  }
}

TEST(ClipTest, PadsTheVocabularyAndUndoesIt) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, Translate(HfClip(), "mcore"));
  const auto* table = nemo.weights().Find("model.text_encoder.embedding.word_embeddings.weight");
  ASSERT_NE(table, nullptr);
  EXPECT_EQ(table->tensor()->shape(), (Shape{256, 12}));
  EXPECT_EQ(nemo.config->Find("text.vocab_size")->AsInt(), 200);
}

TEST(ClipTest, MegatronLegacyChoosesTheOrderOfQkv) {
  const Checkpoint hf = HfClip();
  ANEMONE_ASSERT_ASSIGN(Checkpoint stacked, Translate(hf, "legacy"));
  Config config = *stacked.config;
  for (const char* tower : {"vision", "text"})
    ASSERT_THAT(config.Set(fmt::format("{}.megatron_legacy", tower), ConfigNode::Bool(false)), IsOk());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint interleaved,
                        Translate(hf, "legacy", {.hparams = config, .hparams_name = "h.yaml"}));
  const std::string name = "model.vision_encoder.backbone.transformer.layers.0.self_attention.query_key_value.weight";
  EXPECT_NE(*stacked.weights().Find(name)->tensor()->Read(), *interleaved.weights().Find(name)->tensor()->Read());
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(interleaved, "hf"));
  ExpectSameTensors(back.weights(), hf.weights());
}

TEST(ClipTest, PositionTablesFollowTheConfig) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint legacy, Translate(HfClip(), "legacy"));
  EXPECT_THAT(Names(legacy.weights()), Contains("model.text_encoder.language_model.embedding.position_embeddings"));
  Config config = *legacy.config;
  for (const char* tower : {"vision", "text"}) {
    ASSERT_THAT(config.Set(fmt::format("{}.position_embedding_type", tower), ConfigNode::String("learned_absolute")),
                IsOk());
  }
  ANEMONE_ASSERT_ASSIGN(const Checkpoint absolute,
                        Translate(HfClip(), "legacy", {.hparams = config, .hparams_name = "h.yaml"}));
  EXPECT_THAT(Names(absolute.weights()),
              Contains("model.text_encoder.language_model.embedding.position_embeddings.weight"));
  EXPECT_THAT(Names(absolute.weights()),
              Not(Contains("model.text_encoder.language_model.embedding.position_embeddings")));
}

TEST(ClipTest, ReadsNemo123PatchProjection) {
  ANEMONE_ASSERT_ASSIGN(Checkpoint legacy, Translate(HfClip(), "legacy"));
  const std::string conv = "model.vision_encoder.backbone.conv1.weight";
  const auto rewrite = [&](float bias) {
    Checkpoint old = legacy;
    StateDict weights;
    for (const auto& item : legacy.weights().items()) {
      if (item.name != conv) {
        EXPECT_THAT(weights.Add(item.name, item.entry), IsOk());
        continue;
      }
      // (row, column, channel), as NeMo 1.23's converter wrote it.
      const Tensor linear = *item.tensor()->Permute({0, 2, 3, 1})->Reshape({8, 27});
      EXPECT_THAT(weights.Add("model.vision_encoder.backbone.linear_encoder.weight", linear), IsOk());
      EXPECT_THAT(
          weights.Add("model.vision_encoder.backbone.linear_encoder.bias", *Tensor::Fill(DType::kF32, {8}, bias)),
          IsOk());
    }
    old.weights() = std::move(weights);
    return old;
  };
  ANEMONE_ASSERT_ASSIGN(const Checkpoint hf, Translate(rewrite(0), "hf"));
  ExpectSameTensors(hf.weights(), HfClip().weights());
  EXPECT_THAT(Translate(rewrite(0.5), "hf"), StatusIs(ErrorKind::kUnsupported, "linear_encoder.bias"));
}

TEST(ClipTest, AcceptsForeignPrefixesAndLeftovers) {
  Checkpoint openclip = *Translate(HfClip(), "openclip");
  StateDict weights;
  float next = 0;
  for (const auto& item : openclip.weights().items())
    ASSERT_THAT(weights.Add("module." + item.name, item.entry), IsOk());
  ASSERT_THAT(weights.Add("module.attn_mask", testing::Counting({7, 7}, &next)), IsOk());
  openclip.weights() = std::move(weights);
  ANEMONE_ASSERT_ASSIGN(const Checkpoint hf, Translate(openclip, "hf"));
  ExpectSameTensors(hf.weights(), HfClip().weights());
  EXPECT_THAT(hf.notes, Contains(HasSubstr("left out 1 tensor")));
}

TEST(ClipTest, OneTowerAlone) {
  for (const char* tower : {"vision", "text"}) {
    Checkpoint alone = HfClip();
    ConfigNode node = *alone.config->Find(fmt::format("{}_config", tower));
    node["model_type"] = ConfigNode::String(fmt::format("clip_{}_model", tower));
    node["projection_dim"] = ConfigNode::Int(6);
    alone.config = Config(node);
    StateDict weights;
    const Checkpoint both = HfClip();
    for (const auto& item : both.weights().items()) {
      const bool vision = item.name.starts_with("vis");
      if (item.name == "logit_scale" || vision != (std::string_view(tower) == "vision")) continue;
      ASSERT_THAT(weights.Add(item.name, item.entry), IsOk());
    }
    alone.weights() = weights;
    ANEMONE_ASSERT_ASSIGN(const Checkpoint same, Translate(alone, "hf"));
    ExpectSameTensors(same.weights(), weights);
    EXPECT_THAT(Translate(alone, "mcore"), StatusIs(ErrorKind::kUnsupported, "alone"));
  }
}

TEST(ClipTest, RefusesRelativesByName) {
  const std::pair<const char*, const char*> cases[] = {
      {"visual.trunk.blocks.0.norm1.weight", "timm"},
      {"visual.layer1.0.conv1.weight", "ResNet"},
      {"text_decoder.ln_final.weight", "CoCa"},
      {"text.transformer.resblocks.0.ln_1.weight", "CustomTextCLIP"},
  };
  for (const auto& [name, what] : cases) {
    Checkpoint openclip = *Translate(HfClip(), "openclip");
    float next = 0;
    ASSERT_THAT(openclip.weights().Add(name, testing::Counting({2}, &next)), IsOk());
    EXPECT_THAT(Translate(openclip, "mcore"), StatusIs(ErrorKind::kUnsupported, what));
  }
}

TEST(ClipTest, ALayerTooManyIsUnexpected) {
  Checkpoint hf = HfClip();
  ASSERT_THAT(hf.config->Set("vision_config.num_hidden_layers", ConfigNode::Int(2)), IsOk());
  EXPECT_THAT(Translate(hf, "mcore"),
              StatusIs(ErrorKind::kCorrupt, "16 unexpected tensors: vision_model.encoder.layers.2."));
}

TEST(ClipTest, UnknownNamesAreNoFamily) {
  StateDict weights;
  float next = 0;
  ASSERT_THAT(weights.Add("fc.weight", testing::Counting({2}, &next)), IsOk());
  EXPECT_THAT(Translate(WithWeights(weights, std::nullopt, ""), "hf"), StatusIs(ErrorKind::kUnsupported, "fc.weight"));
}

TEST(ClipTest, TokenizerFilesTravelInsideANemo) {
  Checkpoint hf = HfClip();
  for (const char* name : {"vocab.json", "merges.txt", "preprocessor_config.json"})
    hf.artifacts.push_back({name, Whole(MemorySource("{}", name))});
  ANEMONE_ASSERT_ASSIGN(const Checkpoint nemo, Translate(hf, "mcore"));
  EXPECT_EQ(nemo.artifacts[0].name, "tokenizer/vocab.json");
  EXPECT_EQ(nemo.artifacts[2].name, "preprocessor_config.json");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(nemo, "hf"));
  EXPECT_EQ(back.artifacts[1].name, "merges.txt");
}

TEST(ClipTest, AConfigTravelsInsideANemoWhileItIsTheModels) {
  Checkpoint hf = HfClip();
  hf.config->root()["my_note"] = ConfigNode::String("no reader of ours");
  hf.config->root()["dtype"] = ConfigNode::String("float32");
  for (const char* dialect : {"mcore", "legacy"}) {
    ANEMONE_ASSERT_ASSIGN(Checkpoint nemo, Translate(hf, dialect));
    ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(nemo, "hf"));
    EXPECT_EQ(back.config->ToJson(), hf.config->ToJson());
    EXPECT_EQ(back.FindArtifact("config.json"), nullptr);
    ANEMONE_ASSERT_ASSIGN(const Checkpoint openclip, Translate(nemo, "openclip"));
    EXPECT_EQ(openclip.FindArtifact("config.json"), nullptr);
    // Another activation: another model.
    nemo.config->root()["text"]["openai_gelu"] = ConfigNode::Bool(true);
    ANEMONE_ASSERT_ASSIGN(const Checkpoint other, Translate(nemo, "hf"));
    EXPECT_EQ(other.config->Find("my_note"), nullptr);
    EXPECT_EQ(other.config->Find("text_config.hidden_act")->AsString(), "gelu_pytorch_tanh");
  }
}

// Every published size, shapes only: zeros that lie nowhere.
TEST(ClipTest, EveryPresetRoundTripsAtFullSize) {
  for (const std::string_view name : ClipPresetNames()) {
    SCOPED_TRACE(name);
    const ClipArchitecture spec = *ClipPreset(name);
    ANEMONE_ASSERT_ASSIGN(const Config config, HuggingFaceConfig(spec, DType::kF16));
    const Family& family = ClipFamily();
    const Dialect& hf = *family.FindDialect("hf");
    const ModelSymbols symbols = *family.SymbolsOf(WithWeights({}, config, "config.json"), hf, {});
    StateDict canonical;
    for (const CanonicalRow& row : family.canonical) {
      const Pattern pattern(row.name);
      for (uint64_t layer = 0; layer < (pattern.has_layer() ? *symbols.Of(row.tower, "layers") : 1); ++layer) {
        ASSERT_THAT(canonical.Add(pattern.Fill(layer, 0), *Tensor::Fill(DType::kF16, *symbols.Evaluate(row.shape), 0)),
                    IsOk());
      }
    }
    ANEMONE_ASSERT_ASSIGN(StateDict spelled, FromCanonical(canonical, hf, family.canonical, symbols, true, nullptr));
    EXPECT_EQ(spelled.size(), 16 * (spec.vision.layers + spec.text.layers) + 14);
    const Checkpoint source = WithWeights(std::move(spelled), config, "config.json");
    for (const char* dialect : {"openclip", "mcore", "legacy"}) {
      ANEMONE_ASSERT_ASSIGN(const Checkpoint there, Translate(source, dialect));
      ANEMONE_ASSERT_ASSIGN(const ClipArchitecture read, ReadClipArchitecture(*there.config));
      EXPECT_EQ(read.vision.ffn, spec.vision.ffn);
      EXPECT_EQ(read.vision.heads, spec.vision.heads);
      EXPECT_EQ(read.text.heads, spec.text.heads);
      ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(there, "hf"));
      ASSERT_EQ(Names(back.weights()), Names(source.weights()));
      for (const StateDict::Item& item : source.weights().items()) {
        const Tensor& same = *back.weights().Find(item.name)->tensor();
        ASSERT_EQ(same.shape(), item.tensor()->shape()) << item.name;
        ASSERT_EQ(same.dtype(), DType::kF16) << item.name;
      }
      // A checkpoint without a config, its size named.
      Checkpoint bare = there;
      if (std::string_view(dialect) == "openclip") {
        bare.config.reset();
        TranslateOptions options;
        options.preset = std::string(name);
        EXPECT_THAT(Translate(bare, "mcore", options), IsOk());
      }
    }
  }
}

TEST(Identify, NamesTheClassOfAnUnknownModel) {
  StateDict weights;
  ASSERT_THAT(weights.Add("model.noise_scheduler.betas", *Tensor::FromBytes(DType::kF32, {0}, "")), IsOk());
  Config config;
  ASSERT_THAT(config.Set("target", ConfigNode::String("nemo.a.dreambooth.MegatronDreamBooth")), IsOk());
  EXPECT_THAT(
      IdentifyModel(WithWeights(std::move(weights), config, "model_config.yaml")),
      StatusIs(ErrorKind::kUnsupported, "found MegatronDreamBooth with names such as model.noise_scheduler.betas"));
}

// save_hyperparameters() of any LightningModule leaves them where NeMo has the model's config.
TEST(Identify, ArgumentsOfAModuleAreNoConfig) {
  const Config arguments = *Config::ParseYaml("{lr: 0.001, tied: false}", "x");
  std::string name;
  EXPECT_THAT(SizesConfig(WithWeights({}, arguments, "hyper_parameters"), {}, &name),
              StatusIs(ErrorKind::kNotFound, "expected a config in hyper_parameters, found none"));
  TranslateOptions options;
  options.hparams = *Config::ParseYaml("{num_layers: 2}", "y");
  options.hparams_name = "y";
  ANEMONE_ASSERT_ASSIGN(const Config* given,
                        SizesConfig(WithWeights({}, arguments, "hyper_parameters"), options, &name));
  EXPECT_NE(given->Find("num_layers"), nullptr);
}

// The config is a CLIP's, and two CLIPs are in the file: the config is not what is unknown.
TEST(Identify, NamesNoKnownModelAsUnknown) {
  StateDict weights;
  EXPECT_THAT(weights.Add("student.x", *Tensor::FromBytes(DType::kI32, {0}, "")), IsOk());
  const Config config =
      *Config::ParseYaml(R"({model_type: clip, architectures: [CLIPModel], text_config: {}, vision_config: {}})", "y");
  EXPECT_THAT(IdentifyModel(WithWeights(std::move(weights), config, "config.json")),
              StatusIs(ErrorKind::kUnsupported, "Griffin), found names such as student.x and a config of CLIPModel"));
}

TEST(Identify, NamesLayoutsThatOthersConvert) {
  for (const auto& [name, whose] :
       {std::pair{"layers.0.attention.wq.weight", "found Meta's or Mistral's own"},
        std::pair{"layers.0.attn.output_proj.weight", "found torchtune's"},
        std::pair{"transformer.h.0.norm_1.weight", "found LitGPT's"},
        std::pair{"embed_tokens.weight", "embed_tokens.weight and a config of LlamaModel"}}) {
    StateDict weights;
    EXPECT_THAT(weights.Add(name, *Tensor::FromBytes(DType::kI32, {0}, "")), IsOk());
    const Config config = *Config::ParseYaml("{architectures: [LlamaModel]}", "y");
    EXPECT_THAT(IdentifyModel(WithWeights(std::move(weights), config, "config.json")),
                StatusIs(ErrorKind::kUnsupported, whose));
  }
}

TEST(Identify, NamesQuantizedWeights) {
  for (const auto& [name, words] : {
           std::pair{"model.layers.0.mlp.up_proj.qweight", "(GPTQ's or AWQ's)"},
           std::pair{"model.layers.0.mlp.up_proj.SCB", "(bitsandbytes')"},
           std::pair{"model.layers.0.mlp.up_proj.q_weight", "(ExLlamaV2's)"},
           std::pair{"model.layers.0.mlp.up_proj.biases", "(MLX's)"},
           std::pair{"model.layers.0.mlp.up_proj.codebooks", "(AQLM's)"},
           std::pair{"model.layers.0.mlp.up_proj.weight_scales", "(EETQ's)"},
           std::pair{"model.layers.0.mlp.up_proj.lora_a", "found a LoRA of MLX's"},
           std::pair{"model.layers.0.mlp.up_proj.weight_packed", "(compressed-tensors')"},
           std::pair{"base_model.model.model.layers.0.mlp.up_proj.base_layer.weight",
                     "found those of a model of peft's"},
           std::pair{"model.layers.0.mlp.up_proj._weight_qdata", "(torchao's)"},
           std::pair{"model.layers.0.mlp.up_proj.weight._data._data", "(Quanto's)"},
       }) {
    StateDict weights;
    EXPECT_THAT(weights.Add("model.layers.0.mlp.up_proj.g_idx", *Tensor::FromBytes(DType::kI32, {0}, "")), IsOk());
    EXPECT_THAT(weights.Add(name, *Tensor::FromBytes(DType::kI32, {0}, "")), IsOk());
    const Checkpoint quantized = WithWeights(std::move(weights), Config(), "config.json");
    EXPECT_THAT(IdentifyModel(quantized), StatusIs(ErrorKind::kUnsupported, words));
  }
}

}  // namespace
}  // namespace anemone
