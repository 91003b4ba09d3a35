// What open_clip and transformers compute where a field is not at its default (tools/make_clip_fields_golden.py), what
// a conversion says of it, and that a check sees it.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "anemone/convert.h"
#include "clip/image.h"
#include "family/clip/clip_config.h"
#include "family/clip/clip_preprocess.h"
#include "format/format.h"
#include "infer/clip_facts.h"
#include "infer/clip_source.h"
#include "infer/forward.h"
#include "source/source.h"
#include "tensor_values.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using testing::ExpectNear;
using testing::Golden;
using ::testing::HasSubstr;
using testing::Ids;
using testing::IsOk;
using testing::StatusIs;
using testing::Values;

std::string ReadFile(const std::string& name) {
  std::ifstream in(Golden("fields/" + name), std::ios::binary);
  EXPECT_TRUE(in.good()) << name;
  return {std::istreambuf_iterator<char>(in), {}};
}

// The golden weights with this open_clip_config.json.
Checkpoint OpenClip(const Config& config) {
  auto checkpoint = OpenCheckpoint(Golden("fields/open_clip.safetensors"));
  EXPECT_THAT(checkpoint, IsOk());
  checkpoint->config = config;
  checkpoint->config_name = "open_clip_config.json";
  return *std::move(checkpoint);
}

Config ConfigOf(const std::string& name) { return *Config::ParseJson(ReadFile(name + ".json"), name); }

void AddFile(const std::string& name, std::string text, Checkpoint* checkpoint) {
  checkpoint->artifacts.push_back({name, Whole(MemorySource(std::move(text), name))});
}

void ExpectFeatures(const Checkpoint& checkpoint, const std::string& name) {
  SCOPED_TRACE(name + " in " + checkpoint.config_name);
  ANEMONE_ASSERT_ASSIGN(ClipModel model, LoadClip(checkpoint));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint expected, OpenCheckpoint(Golden("fields/" + name + ".safetensors")));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures images, model.EncodeImages(Values<float>(expected, "pixels")));
  ExpectNear(images.values, Values<float>(expected, "image"));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures texts, model.EncodeTexts(Ids(expected)));
  ExpectNear(texts.values, Values<float>(expected, "text"));
}

class OpenClipFields : public ::testing::TestWithParam<const char*> {};

TEST_P(OpenClipFields, ComputeWhatOpenClipDoes) {
  const std::string name = GetParam();
  const Checkpoint source = OpenClip(ConfigOf(name));
  ExpectFeatures(source, name);
  for (const char* dialect : {"hf", "mcore", "legacy"}) {
    const auto there = Translate(source, dialect);
    if (name == "eos" && std::string(dialect) != "hf") {
      EXPECT_THAT(there, StatusIs(ErrorKind::kUnsupported, "model_cfg.text_cfg.eos_id: expected 119"));
      continue;
    }
    ASSERT_THAT(there, IsOk());
    ExpectFeatures(*there, name);
    ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(*there, "openclip"));
    ExpectFeatures(back, name);
  }
}
INSTANTIATE_TEST_SUITE_P(All, OpenClipFields, ::testing::Values("plain", "epsilon", "tanh", "eos", "no_effect"));

TEST(OpenClipFieldsTest, DifferFromEachOther) {  // else the test above would show nothing
  for (const char* name : {"epsilon", "tanh", "eos"}) {
    ANEMONE_ASSERT_ASSIGN(const ForwardDifference difference,
                          DiffForward(OpenClip(ConfigOf("plain")), OpenClip(ConfigOf(name)), {}));
    EXPECT_NE(difference.first_divergence(), nullptr) << name;
  }
}

// A folder's files, as the golden case has them.
Checkpoint Folder(const ConfigNode& files) {
  const ConfigNode* open = files.Get("open_clip_config.json");
  Checkpoint checkpoint = OpenClip(open != nullptr ? Config(*open) : ConfigOf("plain"));
  if (open == nullptr) {
    auto translated = Translate(checkpoint, "hf");
    EXPECT_THAT(translated, IsOk());
    checkpoint = *std::move(translated);
  }
  for (const auto& [name, content] : files.map) {
    if (name != "open_clip_config.json") AddFile(name, Config(content).ToJson(), &checkpoint);
  }
  return checkpoint;
}

Result<std::vector<float>> PixelsOf(const Checkpoint& checkpoint) {
  std::string name;
  ANEMONE_ASSIGN(const ClipArchitecture spec, ClipArchitectureOf(checkpoint, {}, &name));
  const bool open = KindOfClipConfig(*checkpoint.config) == ClipConfigKind::kOpenClip;
  ANEMONE_ASSIGN(const ClipPreprocess preprocess,
                 ClipPreprocessOf(checkpoint, spec, open ? PixelRules::kOpenClip : PixelRules::kHuggingFace));
  ANEMONE_ASSIGN(const Image decoded, DecodeImage(ReadFile("picture.png")));
  ANEMONE_ASSIGN(const Image image, ResizeAndCrop(decoded, preprocess));
  return Normalize(image, preprocess);
}

TEST(PreprocessorFields, GiveTheLibrariesPixels) {
  ANEMONE_ASSERT_ASSIGN(const Checkpoint expected, OpenCheckpoint(Golden("fields/pixels.safetensors")));
  const Config cases = ConfigOf("pixels");
  for (const auto& [name, files] : cases.root().map) {
    SCOPED_TRACE(name);
    ANEMONE_ASSERT_ASSIGN(const std::vector<float> pixels, PixelsOf(Folder(files)));
    ExpectNear(pixels, Values<float>(expected, name));
  }
  EXPECT_GE(cases.root().map.size(), 17u);
}

TEST(PreprocessorFields, ComeBackThroughTheOtherFormat) {
  const Config cases = ConfigOf("pixels");
  for (const auto& [name, files] : cases.root().map) {
    SCOPED_TRACE(name);
    const Checkpoint folder = Folder(files);
    const bool open = files.Get("open_clip_config.json") != nullptr;
    if (!open) {
      const bool fits = name != "rescale" && name != "factor" && name != "crop" && name != "pair" && name != "number" &&
                        name != "no_resize";
      const auto there = Translate(folder, "openclip");
      if (!fits) {
        EXPECT_THAT(there, StatusIs(ErrorKind::kUnsupported, "expected"));
        continue;
      }
      ASSERT_THAT(there, IsOk());
      ANEMONE_ASSERT_ASSIGN(const std::vector<float> before, PixelsOf(folder));
      ANEMONE_ASSERT_ASSIGN(const std::vector<float> after, PixelsOf(*there));
      ExpectNear(after, before);
    }
  }
}

TEST(PreprocessorFields, AreRefusedByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"size": {"longest_edge": 24}})", "size.longest_edge"},
      {R"({"size": {"shortest_edge": 24, "longest_edge": 40}})", "size.longest_edge"},
      {R"({"size": {"height": 24}})", "size: expected one size"},
      {R"({"size": "big"})", "size: expected a size"},
      {R"({"crop_size": {"shortest_edge": 24}})", "crop_size.shortest_edge"},
      {R"({"resample": 1})", "resample: expected 2 (bilinear) or 3 (bicubic), found 1"},
      {R"({"do_normalize": "no"})", "do_normalize: expected true or false"},
      {R"({"image_mean": [0.5, 0.5]})", "image_mean: expected a number or three"},
      {R"({"image_processor_type": "ConvNextImageProcessor"})", "ConvNextImageProcessor"},
      {R"({"do_pad": true})", "do_pad"},
      {R"({"sharpen": 2})", "sharpen: expected a field that is known"},
      {R"({"rescale_factor": "1/255"})", "rescale_factor"},
      {R"({"resample": null})", "resample: expected a value, as do_resize is true, found null"},
      {R"({"size": null})", "size: expected a value"},
      {R"({"crop_size": null})", "crop_size: expected a value, as do_center_crop is true, found null"},
      {R"({"rescale_factor": null})", "rescale_factor: expected a value"},
      {R"({"image_mean": null})", "image_mean: expected a value, as do_normalize is true, found null"},
      {R"({"image_std": null})", "image_std: expected a value"},
  };
  for (const auto& [text, words] : cases) {
    ConfigNode files = ConfigNode::Map();
    files["preprocessor_config.json"] = Config::ParseJson(text, "p")->root();
    const auto pixels = PixelsOf(Folder(files));
    ASSERT_FALSE(pixels.ok()) << text;
    EXPECT_THAT(pixels.status().message(), HasSubstr("preprocessor_config.json")) << text;
    EXPECT_THAT(pixels.status().message(), HasSubstr(words)) << text;
    EXPECT_THAT(LoadClip(Folder(files)), StatusIs(pixels.status().kind(), words)) << text;
    EXPECT_THAT(Translate(Folder(files), "mcore"), StatusIs(pixels.status().kind(), words)) << text;
  }
}

// As transformers 5.24 does: a step whose flag is null is not taken, and needs no values.
TEST(PreprocessorFields, TakeNullForFalse) {
  const auto pixels_of = [](const std::string& text) {
    ConfigNode files = ConfigNode::Map();
    files["preprocessor_config.json"] = Config::ParseJson(text, "p")->root();
    return PixelsOf(Folder(files));
  };
  for (const char* flag : {"do_normalize", "do_rescale", "do_resize", "do_center_crop"}) {
    const std::string other = R"(, "size": {"height": 24, "width": 24})";
    const auto null = pixels_of(fmt::format("{{\"{}\": null{}}}", flag, other));
    ANEMONE_ASSERT_ASSIGN(const std::vector<float> no, pixels_of(fmt::format("{{\"{}\": false{}}}", flag, other)));
    ASSERT_THAT(null, IsOk()) << flag;
    EXPECT_EQ(*null, no) << flag;
  }
  EXPECT_THAT(pixels_of(R"({"do_normalize": null, "image_mean": null, "image_std": null})"), IsOk());
}

// Hugging Face rounds half a margin down, OpenCLIP to even. A conversion from one to the other notes it once.
TEST(PreprocessorFields, SayThatAnotherPixelIsCutOff) {
  const Checkpoint open = OpenClip(ConfigOf("plain"));
  const auto said = [](const Checkpoint& from, const char* dialect) {
    const auto there = Translate(from, dialect);
    EXPECT_THAT(there, IsOk()) << dialect;
    const auto is_it = [](const std::string& note) { return note.starts_with("of a margin of 3, 7, 11 … pixels"); };
    return there.ok() ? std::ranges::count_if(there->notes, is_it) : 0;
  };
  EXPECT_EQ(said(open, "hf"), 1);
  EXPECT_EQ(said(open, "openclip"), 0);
  Checkpoint hugging_face = *Translate(open, "hf");
  hugging_face.notes.clear();
  EXPECT_EQ(said(hugging_face, "openclip"), 1);
  EXPECT_EQ(said(hugging_face, "hf"), 0);
}

TEST(PreprocessorFields, ReadJsonAsPythonWritesIt) {
  Checkpoint folder = Folder(ConfigNode::Map());
  AddFile("preprocessor_config.json",
          "\xEF\xBB\xBF{\"size\": {\"shortest_edge\": 1}, \"size\": {\"shortest_edge\": 24}, \"crop_size\": 24, "
          "\"_hash\": 1000000000000000019884624838656, \"_nan\": NaN, \"processor_class\": \"\\ud83d\"}",
          &folder);
  EXPECT_THAT(PixelsOf(folder), IsOk());
}

// What NeMo's fixed transform does otherwise is told by key; mean and deviation are carried.
TEST(NemoConversion, SaysWhatItCannotCarry) {
  const Config cases = ConfigOf("pixels");
  const std::pair<const char*, const char*> expected[] = {
      {"squash", "preprocess_cfg.resize_mode"},
      {"longest", "preprocess_cfg.resize_mode"},
      {"bilinear", "preprocess_cfg.interpolation"},
      {"no_crop", "preprocessor_config.json: size"},
      {"rescale", "rescale_factor"},
      {"bilinear_hf", "preprocessor_config.json: resample"},
      {"number", "preprocessor_config.json: size"},
  };
  for (const auto& [name, words] : expected) {
    SCOPED_TRACE(name);
    ANEMONE_ASSERT_ASSIGN(const Checkpoint there, Translate(Folder(*cases.root().Get(name)), "mcore"));
    EXPECT_THAT(there.notes, ::testing::Contains(HasSubstr(words)));
  }
  ANEMONE_ASSERT_ASSIGN(const Checkpoint plain, Translate(Folder(*cases.root().Get("normalize")), "mcore"));
  EXPECT_THAT(plain.notes, ::testing::Not(::testing::Contains(HasSubstr("preprocessor_config.json"))));
  EXPECT_EQ(plain.config->Find("vision.img_mean")->list[0].AsDouble(), 0);
  EXPECT_EQ(plain.config->Find("vision.img_std")->list[0].AsDouble(), 1);
}

// The check reads the fields by a table of its own: a field that conversion overlooked would still be seen.
TEST(ForwardCheck, SeesFieldsByItself) {
  const Config cases = ConfigOf("pixels");
  const Checkpoint squash = Folder(*cases.root().Get("squash"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint there, Translate(squash, "mcore"));
  ANEMONE_ASSERT_ASSIGN(const ForwardDifference difference, DiffForward(squash, there, {}));
  ASSERT_NE(difference.first_divergence(), nullptr);
  EXPECT_EQ(difference.first_divergence()->name, "vision.pixels");  // the built-in picture is no square
  const auto fact = std::find_if(difference.layers.begin(), difference.layers.end(),
                                 [](const LayerDifference& layer) { return layer.name == "pixels.resizing"; });
  ASSERT_NE(fact, difference.layers.end());
  EXPECT_EQ(fact->detail, "squash in the first, shortest in the second");

  const Checkpoint epsilon = OpenClip(ConfigOf("epsilon"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint carried, Translate(epsilon, "mcore"));
  EXPECT_EQ(ClipFactsOf(epsilon)->at("text.epsilon"), ClipFactsOf(carried)->at("text.epsilon"));
  EXPECT_EQ(ClipFactsOf(epsilon)->at("text.epsilon"), "0.001");
  Config causal = ConfigOf("plain");
  causal.root()["model_cfg"]["text_cfg"]["no_causal_mask"] = ConfigNode::Bool(true);
  EXPECT_EQ(ClipFactsOf(OpenClip(causal))->at("text.sees tokens behind"), "true");
  EXPECT_EQ(ClipFactsOf(carried)->at("text.sees tokens behind"), "false");
}

// --check asks for them also where no picture is looked at.
TEST(ClipFacts, OfAFileThatCannotBeReadAreAnError) {
  ANEMONE_ASSERT_ASSIGN(Checkpoint checkpoint, OpenCheckpoint(Golden("clip/hf")));
  EXPECT_THAT(ClipFactsOf(checkpoint), IsOk());
  for (Artifact& artifact : checkpoint.artifacts) {
    if (artifact.name == "preprocessor_config.json") artifact.content = Whole(MemorySource("{", artifact.name));
  }
  EXPECT_THAT(ClipFactsOf(checkpoint), StatusIs(ErrorKind::kCorrupt, "preprocessor_config.json: line 1"));
}

TEST(LogitBias, BesideAClipIsReadAndLeftOutOfAccount) {
  Checkpoint checkpoint = OpenClip(ConfigOf("plain"));
  ANEMONE_ASSERT_ASSIGN(const Tensor scale, checkpoint.weights().Find("logit_scale")->tensor()->Reshape({}));
  ASSERT_THAT(checkpoint.weights().Add("logit_bias", scale), IsOk());
  std::vector<std::string> notes;
  ClipLoad load;
  load.notes = &notes;
  ANEMONE_ASSERT_ASSIGN(const ClipModel model, LoadClip(checkpoint, {}, load));
  EXPECT_THAT(notes, ::testing::ElementsAre(HasSubstr("logit_bias")));
  ExpectFeatures(checkpoint, "plain");
  ANEMONE_ASSERT_ASSIGN(const Checkpoint there, Translate(checkpoint, "mcore"));
  EXPECT_THAT(there.notes, ::testing::Contains(HasSubstr("logit_bias")));
}

TEST(Tokenizers, ClipsOwnStandsInOnlyWhereTheModelHasIt) {
  Config config = ConfigOf("plain");
  ANEMONE_ASSERT_ASSIGN(const ClipModel small, LoadClip(OpenClip(config)));
  EXPECT_THAT(LoadTokenizer(OpenClip(config), small.spec()).status(),
              StatusIs(ErrorKind::kNotFound, "vocab.json and merges.txt for 120 tokens"));
  ClipSpec spec = small.spec();
  spec.vocab = kClipVocab;
  EXPECT_THAT(LoadTokenizer(OpenClip(config), spec).status(), IsOk());
  config.root()["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = ConfigNode::String("facebook/xlm-v-base");
  EXPECT_THAT(
      LoadTokenizer(OpenClip(config), spec).status(),
      StatusIs(ErrorKind::kUnsupported, "hf_tokenizer_name: expected CLIP's tokenizer, found facebook/xlm-v-base"));
  ANEMONE_ASSERT_ASSIGN(const Checkpoint there, Translate(OpenClip(config), "mcore"));
  EXPECT_EQ(there.config->Find("tokenizer.type")->text, "facebook/xlm-v-base");
}

}  // namespace
}  // namespace anemone
