// Every pair of dialects, through files: models that others wrote, there and back bit for bit, and everywhere computing
// what the others' code computed.
#include <fstream>
#include <iterator>
#include <sstream>

#include "anemone/check.h"
#include "anemone/convert.h"
#include "family/clip/clip_config.h"
#include "family/family.h"
#include "format/format.h"
#include "infer/clip_source.h"
#include "source/source.h"
#include "tensor_values.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using testing::ExpectNear;
using testing::Golden;
using testing::Ids;
using testing::IsOk;
using testing::TempDir;
using testing::Values;

// What a model is asked, and what torch, transformers or open_clip answered.
struct Question {
  std::vector<float> pixels, images, texts;
  std::vector<std::vector<int32_t>> ids;
};

std::vector<float> Floats(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

// By tools/make_openclip_golden.py, or tools/make_encoder_golden.py.
Question QuestionOf(const std::string& name) {
  Question q;
  if (name.ends_with(".safetensors")) {
    auto file = OpenCheckpoint(Golden(name));
    EXPECT_THAT(file, IsOk());
    q = {Values<float>(*file, "pixels"), Values<float>(*file, "image"), Values<float>(*file, "text"), Ids(*file)};
  } else {
    q = {Floats(Golden(name + ".pixels.f32")),
         Floats(Golden(name + ".image.f32")),
         Floats(Golden(name + ".text.f32")),
         {}};
    std::ifstream file(Golden(name + ".ids.txt"));
    for (std::string line; std::getline(file, line);) {
      std::istringstream fields(line);
      q.ids.emplace_back(std::istream_iterator<int32_t>(fields), std::istream_iterator<int32_t>());
    }
  }
  return q;
}

struct Source {
  const char* name;
  const char* file;
  const char* config;    // its own, where none lies beside it
  const char* question;  // nullptr: it computes something else by its YAML's epsilon
  bool siglip = false;
};
constexpr Source kSources[] = {
    {"hugging_face", "clip/hf", "", "infer/encoder/golden_clip"},
    {"hugging_face_bin", "clip_hf/fp32_sharded_bin", "", nullptr},
    {"hugging_face_fp16", "clip_hf/fp16_sharded", "", nullptr},
    {"hugging_face_bf16", "clip_hf/bf16", "", nullptr},
    {"openai", "openclip/openai.pt", "", "openclip/openai.safetensors"},
    {"openclip_training", "openclip/epoch_3.pt", "openclip/epoch_3.json", "openclip/epoch_3.safetensors"},
    {"nemo_mcore", "clip/mcore.nemo", "", "infer/encoder/golden_clip"},
    {"nemo_legacy", "clip/legacy.nemo", "", "infer/encoder/golden_clip"},
    {"nemo_mcore_two_ranks", "clip/mcore_tp2.nemo", "", "infer/encoder/golden_clip"},
    {"nemo_mcore_training", "clip/ckpt_mcore", "", "infer/encoder/golden_clip"},
    {"siglip_hugging_face", "siglip/hf_siglip", "", "infer/encoder/golden_siglip", true},
    {"siglip_nemo", "siglip/siglip_32.nemo", "", nullptr, true},
    {"siglip_nemo_bf16", "siglip/siglip_bf16.nemo", "", nullptr, true},
};

struct Target {
  const char* name;
  const char* to;
  const char* dialect;
};
constexpr Target kTargets[] = {
    {"hf", "hf", "hf"},
    {"openclip", "openclip", "openclip"},
    {"mcore.nemo", "nemo", "mcore"},
    {"legacy.nemo", "nemo", "legacy"},
};

// Some answers were kept so.
std::vector<float> Normalized(ClipFeatures features) {
  EXPECT_EQ(features.values.size(), features.count * features.width);
  features.Normalize();
  return features.values;
}

void ExpectAnswers(const Checkpoint& checkpoint, const Question& question) {
  ANEMONE_ASSERT_ASSIGN(ClipModel model, LoadClip(checkpoint));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures images, model.EncodeImages(question.pixels));
  ExpectNear(Normalized(images), Normalized({images.count, images.width, question.images}));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures texts, model.EncodeTexts(question.ids));
  ExpectNear(Normalized(texts), Normalized({texts.count, texts.width, question.texts}));
}

// The source as a file of another format and dialect, opened again.
Result<Checkpoint> Converted(const Source& source, const Target& target, const std::string& path) {
  ConvertOptions options;
  options.to = target.to;
  options.dialect = target.dialect;
  if (*source.config != '\0') options.hparams = Golden(source.config);
  options.tp = options.pp = 1;
  ANEMONE_ASSIGN(const Conversion conversion, PlanConversion(Golden(source.file), path, options));
  ANEMONE_TRY(RunConversion(conversion, {}));
  return OpenSource(path, {});
}

class DialectsTest : public ::testing::TestWithParam<Source> {};

TEST_P(DialectsTest, ThereAndBackBitForBitAndComputingTheSame) {
  const Source& source = GetParam();
  const auto speaks = [&source](const Target& target) {
    return !source.siglip || target.dialect == std::string_view("hf") || target.dialect == std::string_view("mcore");
  };
  const TempDir dir;
  std::optional<Question> question;
  if (source.question != nullptr) question = QuestionOf(source.question);
  for (const Target& a : kTargets) {
    if (!speaks(a)) continue;
    SCOPED_TRACE(a.name);
    ANEMONE_ASSERT_ASSIGN(const Checkpoint first, Converted(source, a, dir / a.name));
    if (question) ExpectAnswers(first, *question);
    for (const Target& b : kTargets) {
      if (&a == &b || !speaks(b)) continue;
      SCOPED_TRACE(b.name);
      ANEMONE_ASSERT_ASSIGN(const Checkpoint there, Translate(first, b.dialect));
      ANEMONE_ASSERT_ASSIGN(const Checkpoint back, Translate(there, a.dialect));
      ANEMONE_ASSERT_ASSIGN(const Difference difference, Diff(first, back, {.only_weights = true}));
      for (const TensorDifference& d : difference.tensors) ADD_FAILURE() << d.name << " differs";
      EXPECT_GT(difference.tensors_compared, 12U * 3);
      if (question) ExpectAnswers(there, *question);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, DialectsTest, ::testing::ValuesIn(kSources),
                         [](const auto& test) { return test.param.name; });

// How pixels are normalised is part of the model: each dialect keeps it in another place.
TEST(PixelsTest, MeanAndDeviationTravelThroughEveryDialect) {
  const TempDir dir;
  std::filesystem::copy(Golden("clip/hf"), dir / "source");
  ANEMONE_ASSERT_ASSIGN(Config own,
                        Config::ParseJson(testing::ReadFile(dir / "source/preprocessor_config.json"), "own"));
  const Rgb mean = {0.5, 0.25, 0.125}, deviation = {0.75, 0.5, 0.25};
  own.root()["image_mean"] = RgbNode(mean);
  own.root()["image_std"] = RgbNode(deviation);
  testing::WriteFile(dir / "source/preprocessor_config.json", own.ToJson());
  std::string from = dir / "source";
  const auto step = [&](const char* to, const char* dialect, std::string_view mean_key,
                        std::string_view deviation_key) {
    SCOPED_TRACE(dialect);
    const std::string folder = dir / dialect;
    ConvertOptions options;
    options.to = to;
    options.dialect = dialect;
    ANEMONE_ASSERT_ASSIGN(const Conversion conversion, PlanConversion(from, folder, options));
    ASSERT_THAT(RunConversion(conversion, {}), IsOk());
    ANEMONE_ASSERT_ASSIGN(const Checkpoint written, OpenSource(folder, {}));
    const Artifact* file = written.FindArtifact("preprocessor_config.json");
    ASSERT_NE(file, nullptr);
    ANEMONE_ASSERT_ASSIGN(const Config beside, Config::ParseJson(*file->content.ReadAll(1 << 20), "beside"));
    const Config& config = to == std::string_view("hf") ? beside : *written.config;
    EXPECT_EQ(ReadRgb(config.Find(mean_key)), mean);
    EXPECT_EQ(ReadRgb(config.Find(deviation_key)), deviation);
    ANEMONE_ASSERT_ASSIGN(const ClipModel model, LoadClip(written));
    EXPECT_EQ(model.spec().preprocess.mean, mean);
    EXPECT_EQ(model.spec().preprocess.std, deviation);
    // The first file came along; what follows must do without it.
    if (to != std::string_view("hf")) std::filesystem::remove(folder + "/preprocessor_config.json");
    from = folder;
  };
  step("nemo-dir", "mcore", "vision.img_mean", "vision.img_std");
  std::filesystem::remove(dir / "mcore/config.json");
  step("hf", "hf", "image_mean", "image_std");
  step("openclip", "openclip", "preprocess_cfg.mean", "preprocess_cfg.std");
}

}  // namespace
}  // namespace anemone
