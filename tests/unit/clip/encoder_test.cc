#include <simdjson.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "anemone/bytes.h"
#include "anemone/clip.h"
#include "clip/image.h"
#include "clip/matmul.h"
#include "random_weights.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using testing::CanonicalShape;
using testing::Golden;
using testing::IsOk;
using testing::RandomValues;
using testing::RandomWeights;
using testing::StatusIs;

std::vector<float> ReadFloats(const std::string& name) {
  std::ifstream in(Golden("infer/encoder/" + name), std::ios::binary);
  EXPECT_TRUE(in.good()) << name;
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

std::vector<std::vector<int32_t>> ReadIds(const std::string& name) {
  std::ifstream in(Golden("infer/encoder/" + name));
  std::vector<std::vector<int32_t>> rows;
  std::string line;
  while (std::getline(in, line)) {
    std::istringstream fields(line);
    rows.emplace_back(std::istream_iterator<int32_t>(fields), std::istream_iterator<int32_t>());
  }
  return rows;
}

// Weights of a Hugging Face safetensors file under canonical names: only what this test needs of that mapping.
class HuggingFaceFile {
 public:
  explicit HuggingFaceFile(const std::string& path) {
    source_ = *OpenFile(path);
    uint64_t header_size = 0;
    EXPECT_THAT(source_->ReadAt(0, std::as_writable_bytes(std::span(&header_size, 1))), IsOk());
    header_.resize(header_size);
    EXPECT_THAT(source_->ReadAt(8, std::as_writable_bytes(std::span(header_))), IsOk());
    root_ = parser_.parse(header_);
  }

  Result<Tensor> Find(std::string name) {
    const size_t qkv = name.find("attn.qkv");
    if (qkv != std::string::npos && !name.starts_with("vision.head")) {
      std::vector<Tensor> parts;
      for (const char* part : {"attn.q_proj", "attn.k_proj", "attn.v_proj"}) {
        ANEMONE_ASSIGN(Tensor tensor, Find(std::string(name).replace(qkv, 8, part)));
        parts.push_back(std::move(tensor));
      }
      return Tensor::Concat(std::move(parts), 0);
    }
    const bool siglip = !root_["text_model.head.weight"].error();
    const std::pair<std::string_view, std::string_view> rules[] = {
        {"head.attn.qkv.", "head.attention.in_proj_"},
        {"head.attn.out", "head.attention.out_proj"},
        {"head.norm", "head.layernorm"},
        {"attn.out", "attn.out_proj"},
        {"layers.", "encoder.layers."},
        {".attn.", ".self_attn."},
        {"norm1", "layer_norm1"},
        {"norm2", "layer_norm2"},
        {"mlp.up", "mlp.fc1"},
        {"mlp.down", "mlp.fc2"},
        {"pre_norm", "pre_layrnorm"},
        {"post_norm", "post_layernorm"},
        {"final_norm", "final_layer_norm"},
        {"text.projection", siglip ? "text.head" : "text_projection"},
        {"vision.projection", "visual_projection"},
        {"text.", "text_model."},
        {"vision.", "vision_model."},
        {"token_embedding", "embeddings.token_embedding"},
        {"position_embedding", "embeddings.position_embedding"},
        {"class_embedding", "embeddings.class_embedding"},
        {"patch_embedding", "embeddings.patch_embedding"},
    };
    for (const auto& [from, to] : rules) {
      const size_t at = name.find(from);
      if (at != std::string::npos) name.replace(at, from.size(), to);
    }
    const auto entry = root_[name];
    if (entry.error()) return NotFound(name);
    Shape shape;
    for (const uint64_t size : entry["shape"].get_array()) shape.push_back(size);
    return Tensor::FromFile(DType::kF32, shape, source_, 8 + header_.size() + uint64_t{entry["data_offsets"].at(0)});
  }

  ClipWeights Weights() {
    return [this](const std::string& name) { return Find(name); };
  }

 private:
  ByteSourcePtr source_;
  std::string header_;
  simdjson::dom::parser parser_;
  simdjson::dom::element root_;
};

void ExpectNear(const std::vector<float>& found, const std::vector<float>& expected, float relative) {
  ASSERT_EQ(found.size(), expected.size());
  float greatest = 0;
  for (const float value : expected) greatest = std::max(greatest, std::fabs(value));
  float worst = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_TRUE(std::isfinite(found[i]));
    worst = std::max(worst, std::fabs(found[i] - expected[i]));
  }
  EXPECT_LE(worst, greatest * relative);
}

ClipSpec GoldenClip() {
  ClipSpec spec;
  spec.vision = {.layers = 3, .width = 64, .ffn = 256, .heads = 4};
  spec.text = {.layers = 2, .width = 48, .ffn = 192, .heads = 4};
  spec.projection = 32;
  spec.vocab = 49408;
  spec.image_size = 32;
  spec.patch_size = 8;
  return spec;
}

ClipSpec Small() {
  ClipSpec spec;
  spec.vision = {.layers = 3, .width = 160, .ffn = 200, .heads = 2, .activation = Activation::kGelu};
  spec.text = {.layers = 2, .width = 60, .ffn = 100, .heads = 5, .activation = Activation::kGelu};
  spec.projection = 24;
  spec.vocab = 200;
  spec.context = 20;
  spec.image_size = 42;
  spec.patch_size = 14;
  spec.pooling = TextPooling::kFirstEos;
  spec.eos_id = 199;
  return spec;
}

const std::vector<std::vector<int32_t>>& ShortTexts() {
  static const std::vector<std::vector<int32_t>> texts = {
      {198, 5, 6, 199},
      {198, 199},
      {198, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 199},
      {198, 7, 199, 9, 199},
  };
  return texts;
}

// Features and probabilities of a model against NAME's golden files.
void Check(const std::string& name, ClipModel model, const std::vector<float>& pixels,
           const std::vector<std::vector<int32_t>>& texts) {
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures images, model.EncodeImages(pixels));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures features, model.EncodeTexts(texts));
  ClipFeatures shown_images = images;
  ClipFeatures shown_texts = features;
  if (name == "golden_clip") {  // whose golden features are normalised
    shown_images.Normalize();
    shown_texts.Normalize();
  }
  ExpectNear(shown_images.values, ReadFloats(name + ".image.f32"), 1e-5F);
  ExpectNear(shown_texts.values, ReadFloats(name + ".text.f32"), 1e-5F);
  ANEMONE_ASSERT_ASSIGN(const double scale, model.LogitScale());
  ANEMONE_ASSERT_ASSIGN(const double bias, model.LogitBias());
  ANEMONE_ASSERT_ASSIGN(const std::vector<float> found,
                        ClipProbabilities(images, features, scale, model.spec().siglip, bias));
  const std::vector<float> expected = ReadFloats(name + ".probs.f32");
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-5) << i;
}

std::vector<float> RandomPixels(const ClipSpec& spec, uint64_t count) {
  std::vector<float> pixels = RandomValues("pixels", {count, 3, spec.image_size, spec.image_size});
  for (float& value : pixels) value *= 32;
  return pixels;
}

Result<ClipModel> RandomModel(const ClipSpec& spec, ClipOptions options = {}) {
  return ClipModel::Create(spec, RandomWeights(spec), std::move(options));
}

TEST(Encoder, TheGoldenClipGivesTransformersProbabilities) {
  HuggingFaceFile file(Golden("clip/hf/model.safetensors"));
  ANEMONE_ASSERT_ASSIGN(ClipModel model, ClipModel::Create(GoldenClip(), file.Weights()));
  Check("golden_clip", std::move(model), ReadFloats("golden_clip.pixels.f32"), ReadIds("golden_clip.ids.txt"));
}

TEST(Encoder, FromThePictureToTheGoldenPixels) {
  std::ifstream in(Golden("clip/test.jpg"), std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  ANEMONE_ASSERT_ASSIGN(const Image picture, DecodeImage(bytes));
  ClipPreprocess settings;
  settings.shortest_edge = settings.crop_height = settings.crop_width = 32;
  ANEMONE_ASSERT_ASSIGN(const Image image, ResizeAndCrop(picture, settings));
  const std::vector<float> pixels = Normalize(image, settings);
  const std::vector<float> expected = ReadFloats("golden_clip.pixels.f32");
  ASSERT_EQ(pixels.size(), expected.size());
  for (size_t i = 0; i < pixels.size(); ++i) EXPECT_NEAR(pixels[i], expected[i], 1e-6);
}

TEST(Encoder, TheGoldenSiglipGivesTransformersProbabilities) {
  HuggingFaceFile file(Golden("siglip/hf_siglip/model.safetensors"));
  ClipSpec spec;
  spec.siglip = true;
  spec.pooling = TextPooling::kLast;
  spec.vision = {
      .layers = 3, .width = 48, .ffn = 112, .heads = 4, .activation = Activation::kGeluTanh, .norm_epsilon = 1e-6};
  spec.text = {
      .layers = 3, .width = 48, .ffn = 80, .heads = 3, .activation = Activation::kGeluTanh, .norm_epsilon = 1e-6};
  spec.projection = 48;
  spec.vocab = 256;
  spec.context = 16;
  spec.image_size = 42;
  spec.patch_size = 14;
  spec.eos_id = 1;
  ANEMONE_ASSERT_ASSIGN(ClipModel model, ClipModel::Create(spec, file.Weights()));
  Check("golden_siglip", std::move(model), ReadFloats("golden_siglip.pixels.f32"), ReadIds("golden_siglip.ids.txt"));
}

TEST(Encoder, RandomVitB32) {
  ClipSpec spec;
  spec.vision = {.layers = 12, .width = 768, .ffn = 3072, .heads = 12};
  spec.text = {.layers = 12, .width = 512, .ffn = 2048, .heads = 8};
  spec.projection = 512;
  spec.vocab = 49408;
  std::vector<std::vector<int32_t>> texts = {{49406, 320, 1929, 49407},
                                             {49406, 320, 2368, 267, 736, 49407},
                                             {49406, 49407},
                                             {49406, 7, 49407, 8, 9, 49407},
                                             {49406}};
  for (int i = 0; i < 75; ++i) texts.back().push_back(i * 7919 % 49000);
  texts.back().push_back(49407);
  ANEMONE_ASSERT_ASSIGN(ClipModel model, RandomModel(spec));
  Check("b32", std::move(model), RandomPixels(spec, 2), texts);
}

TEST(Encoder, ExactGeluAndTheFirstEndToken) {
  ANEMONE_ASSERT_ASSIGN(ClipModel model, RandomModel(Small()));
  Check("small_gelu", std::move(model), RandomPixels(Small(), 3), ShortTexts());
}

TEST(Encoder, TanhGeluAndAnEndTokenThatSomeTextsLack) {
  ClipSpec spec = Small();
  spec.vision.activation = spec.text.activation = Activation::kGeluTanh;
  spec.eos_id = 7;
  ANEMONE_ASSERT_ASSIGN(ClipModel model, RandomModel(spec));
  Check("small_tanh", std::move(model), RandomPixels(spec, 1), ShortTexts());
}

TEST(Encoder, RandomSiglip) {
  ClipSpec spec;
  spec.siglip = true;
  spec.pooling = TextPooling::kLast;
  spec.vision = {
      .layers = 3, .width = 72, .ffn = 100, .heads = 6, .activation = Activation::kGeluTanh, .norm_epsilon = 1e-6};
  spec.text = {
      .layers = 2, .width = 72, .ffn = 90, .heads = 4, .activation = Activation::kGeluTanh, .norm_epsilon = 1e-6};
  spec.projection = 72;
  spec.vocab = 100;
  spec.context = 16;
  spec.image_size = 28;
  spec.patch_size = 14;
  spec.eos_id = 1;
  ANEMONE_ASSERT_ASSIGN(ClipModel model, RandomModel(spec));
  std::vector<std::vector<int32_t>> texts = {{5, 6, 7}, {1}, {}};
  for (int i = 0; i < 16; ++i) texts.back().push_back(i);
  Check("small_siglip", std::move(model), RandomPixels(spec, 2), texts);
}

TEST(Encoder, ShortcutsThreadsAndKeptWeightsDoNotChangeTheAnswer) {
  const ClipSpec spec = Small();
  const std::vector<float> pixels = RandomPixels(spec, 120);  // more than one chunk
  ANEMONE_ASSERT_ASSIGN(ClipModel plain, RandomModel(spec));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures images, plain.EncodeImages(pixels));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures texts, plain.EncodeTexts(ShortTexts()));

  ClipOptions options;
  options.threads = 1;
  options.keep_weights = true;
  std::vector<std::string> names;
  options.trace = [&](std::string_view name, std::span<const float> values, uint64_t rows, uint64_t width) {
    EXPECT_EQ(values.size(), rows * width);
    if (names.empty() || names.back() != name) names.emplace_back(name);
  };
  ANEMONE_ASSERT_ASSIGN(ClipModel traced, RandomModel(spec, options));
  for (int round = 0; round < 2; ++round) {
    ANEMONE_ASSERT_ASSIGN(const ClipFeatures full, traced.EncodeImages(pixels));
    ExpectNear(full.values, images.values, 1e-5F);
  }
  names.clear();
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures full, traced.EncodeTexts(ShortTexts()));
  ExpectNear(full.values, texts.values, 1e-5F);
  EXPECT_THAT(names, ::testing::ElementsAre("text.embeddings", "text.layers.0", "text.layers.1", "text.features"));
}

// Of 4 to 40 chunks, some numbers of which the threads divide.
TEST(Encoder, ThreadsAndTheirChunksDoNotChangeTheAnswer) {
  const ClipSpec spec = Small();
  std::vector<std::vector<int32_t>> texts;
  for (int32_t i = 0; i < 100; ++i) {
    texts.push_back({198, 198 - i % 7});
    texts.back().resize(3 + static_cast<size_t>(i * 5 % 15), i);
    texts.back().push_back(199);
  }
  for (const uint64_t count : {1, 2, 23, 120}) {
    const std::vector<float> pixels = RandomPixels(spec, count);
    ClipOptions options;
    options.threads = 1;
    ANEMONE_ASSERT_ASSIGN(ClipModel alone, RandomModel(spec, options));
    ANEMONE_ASSERT_ASSIGN(const ClipFeatures images, alone.EncodeImages(pixels));
    ANEMONE_ASSERT_ASSIGN(const ClipFeatures words, alone.EncodeTexts(texts));
    for (const int threads : {2, 3, 4, 7}) {
      options.threads = threads;
      ANEMONE_ASSERT_ASSIGN(ClipModel model, RandomModel(spec, options));
      ANEMONE_ASSERT_ASSIGN(const ClipFeatures again, model.EncodeImages(pixels));
      EXPECT_EQ(again.values, images.values) << count << " pictures, " << threads << " threads";
      ANEMONE_ASSERT_ASSIGN(const ClipFeatures words_again, model.EncodeTexts(texts));
      EXPECT_EQ(words_again.values, words.values) << threads << " threads";
    }
  }
}

TEST(Encoder, TokensAfterTheEndAndPaddingRowsOfTheTableChangeNothing) {
  ClipSpec spec = Small();
  ANEMONE_ASSERT_ASSIGN(ClipModel model, RandomModel(spec));
  const std::vector<std::vector<int32_t>> a = {{198, 5, 6, 199}};
  const std::vector<std::vector<int32_t>> b = {{198, 5, 6, 199, 3, 199, 17}};
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures one, model.EncodeTexts(a));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures other, model.EncodeTexts(b));
  EXPECT_EQ(one.values, other.values);
}

// Texts of a batch share the rows of what they begin with.
TEST(Encoder, TextsThatBeginAlikeGiveWhatEachGivesAlone) {
  // Many of each length, of few tokens: they begin alike at every length, some are equal, some begin others. More rows
  // than one chunk takes.
  std::vector<std::vector<int32_t>> texts = {{198, 1, 2, 3, 199}, {198, 1, 2, 199}, {198, 1, 2, 3, 199}, {198}, {199}};
  uint64_t random = 1;
  for (size_t i = 0; i < 400; ++i) {
    std::vector<int32_t> text = {198};
    for (size_t length = i % 19; text.size() <= length;) {
      random = random * 6364136223846793005U + 1442695040888963407U;
      text.push_back(static_cast<int32_t>(text.size() < 8 ? random >> 63 : random >> 57));
    }
    text.push_back(199);
    texts.push_back(text);
  }
  for (const TextPooling pooling : {TextPooling::kArgmax, TextPooling::kFirstEos}) {
    ClipSpec spec = Small();
    spec.pooling = pooling;
    ANEMONE_ASSERT_ASSIGN(ClipModel model, RandomModel(spec));
    ANEMONE_ASSERT_ASSIGN(const ClipFeatures together, model.EncodeTexts(texts));
    ASSERT_EQ(together.count, texts.size());
    ANEMONE_ASSERT_ASSIGN(const ClipFeatures again, model.EncodeTexts(texts));
    EXPECT_EQ(together.values, again.values);
    for (size_t i = 0; i < texts.size(); ++i) {
      ANEMONE_ASSERT_ASSIGN(const ClipFeatures alone, model.EncodeTexts({&texts[i], 1}));
      const auto row = together.values.begin() + static_cast<ptrdiff_t>(i * together.width);
      ExpectNear({row, row + static_cast<ptrdiff_t>(together.width)}, alone.values, 1e-5F);
    }
  }
}

TEST(Encoder, WhatTextsBeginWithIsComputedOnce) {
  ClipOptions options;
  options.threads = 1;
  std::atomic<size_t> parts = 0;  // of the work: the model asks before each
  options.cancelled = [&] {
    ++parts;
    return false;
  };
  ClipSpec spec = Small();
  spec.text.heads = 1;  // each head of a text is a part
  ANEMONE_ASSERT_ASSIGN(ClipModel model, RandomModel(spec, options));
  const auto parts_of = [&](bool begin_alike) {
    std::vector<std::vector<int32_t>> texts;
    for (int32_t i = 0; i < 150; ++i) {
      texts.push_back({begin_alike ? 198 : i});
      texts.back().resize(18, 5);
      texts.back().insert(texts.back().end(), {i, 199});
    }
    parts = 0;
    EXPECT_TRUE(model.EncodeTexts(texts).ok());
    return parts.load();
  };
  EXPECT_LT(parts_of(true) * 4, parts_of(false) * 3);
}

TEST(Encoder, AChangedWeightChangesTheAnswer) {  // the negative control of the tests above
  const ClipSpec spec = Small();
  const ClipWeights good = RandomWeights(spec);
  for (const std::string name : {"vision.layers.2.attn.qkv.bias", "vision.pre_norm.weight", "vision.class_embedding"}) {
    ANEMONE_ASSERT_ASSIGN(ClipModel model, ClipModel::Create(spec, [&](const std::string& asked) -> Result<Tensor> {
                            if (asked != name) return good(asked);
                            return Tensor::Fill(DType::kF32, CanonicalShape(spec, name), 0.5);
                          }));
    ANEMONE_ASSERT_ASSIGN(const ClipFeatures images, model.EncodeImages(RandomPixels(spec, 3)));
    const std::vector<float> expected = ReadFloats("small_gelu.image.f32");
    float worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) worst = std::max(worst, std::fabs(images.values[i] - expected[i]));
    EXPECT_GT(worst, 1e-3) << name;
  }
}

TEST(Encoder, ReadsHalfPrecisionWeights) {
  const ClipSpec spec = Small();
  const ClipWeights full = RandomWeights(spec);
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    ANEMONE_ASSERT_ASSIGN(ClipModel half, ClipModel::Create(spec, [&](const std::string& name) -> Result<Tensor> {
                            ANEMONE_ASSIGN(const Tensor tensor, full(name));
                            return tensor.Cast(dtype);
                          }));
    ANEMONE_ASSERT_ASSIGN(const ClipFeatures images, half.EncodeImages(RandomPixels(spec, 3)));
    ExpectNear(images.values, ReadFloats("small_gelu.image.f32"), dtype == DType::kBF16 ? 0.05F : 0.005F);
  }
}

TEST(Encoder, RefusesSpecsTextsAndWeightsThatDoNotFit) {
  ClipSpec spec = Small();
  spec.vision.heads = 3;
  EXPECT_THAT(RandomModel(spec).status(), StatusIs(ErrorKind::kInvalidArgument, "3 heads"));
  spec = Small();
  spec.patch_size = 13;
  EXPECT_THAT(RandomModel(spec).status(), StatusIs(ErrorKind::kInvalidArgument, "multiple of the patch"));
  spec = Small();
  spec.text.layers = 0;
  EXPECT_THAT(RandomModel(spec).status(), StatusIs(ErrorKind::kInvalidArgument, "text"));

  spec = Small();
  ANEMONE_ASSERT_ASSIGN(ClipModel model, RandomModel(spec));
  using Texts = std::vector<std::vector<int32_t>>;
  EXPECT_THAT(model.EncodeTexts(Texts{}), StatusIs(ErrorKind::kInvalidArgument, "at least one"));
  EXPECT_THAT(model.EncodeTexts(Texts{{}}), StatusIs(ErrorKind::kInvalidArgument, "1 to 20 tokens, found 0"));
  EXPECT_THAT(model.EncodeTexts(Texts{std::vector<int32_t>(21, 1)}), StatusIs(ErrorKind::kInvalidArgument, "found 21"));
  EXPECT_THAT(model.EncodeTexts(Texts{{200}}), StatusIs(ErrorKind::kInvalidArgument, "outside the vocabulary"));
  EXPECT_THAT(model.EncodeTexts(Texts{{-1}}), StatusIs(ErrorKind::kInvalidArgument, "outside the vocabulary"));
  EXPECT_THAT(model.EncodeImages(std::vector<float>(5)), StatusIs(ErrorKind::kInvalidArgument, "5 values"));

  const ClipSpec other = GoldenClip();
  ANEMONE_ASSERT_ASSIGN(ClipModel wrong, ClipModel::Create(spec, RandomWeights(other)));
  EXPECT_THAT(wrong.EncodeImages(RandomPixels(spec, 1)),
              StatusIs(ErrorKind::kCorrupt, "vision.patch_embedding.weight"));
  ANEMONE_ASSERT_ASSIGN(ClipModel missing, ClipModel::Create(spec, [&](const std::string& name) -> Result<Tensor> {
                          if (name == "vision.layers.1.mlp.up.bias") return NotFound("no tensor " + name);
                          return RandomWeights(spec)(name);
                        }));
  EXPECT_THAT(missing.EncodeImages(RandomPixels(spec, 1)),
              StatusIs(ErrorKind::kNotFound, "vision.layers.1.mlp.up.bias"));
}

// Where weights are read as they are multiplied, and where they are read before.
TEST(Encoder, AWeightThatCannotBeReadIsNamed) {
  class Broken final : public ByteSource {
   public:
    explicit Broken(uint64_t size) : size_(size) {}
    uint64_t size_bytes() const override { return size_; }
    Status ReadAt(uint64_t, std::span<std::byte>) const override { return Status(ErrorKind::kIo, "a bad block"); }
    const std::string& name() const override { return name_; }

   private:
    uint64_t size_;
    std::string name_ = "broken";
  };
  const ClipSpec spec = Small();
  const ClipWeights good = RandomWeights(spec);
  for (const bool keep : {false, true}) {
    for (const std::string name : {"vision.layers.1.mlp.up.weight", "vision.layers.2.attn.qkv.weight"}) {
      ClipOptions options;
      options.keep_weights = keep;
      const ClipWeights weights = [&](const std::string& asked) -> Result<Tensor> {
        ANEMONE_ASSIGN(const Tensor tensor, good(asked));
        if (asked != name) return tensor;
        return Tensor::FromFile(DType::kF32, tensor.shape(), std::make_shared<Broken>(tensor.size_bytes()), 0);
      };
      ANEMONE_ASSERT_ASSIGN(ClipModel model, ClipModel::Create(spec, weights, options));
      EXPECT_THAT(model.EncodeImages(RandomPixels(spec, 1)), StatusIs(ErrorKind::kIo, name + ": a bad block"));
    }
  }
}

// What instructions for bf16 do, one number after the other: factors as bits, sums in fp32.
Status PlainBf16(internal::MatmulType type, const void* a, size_t a_stride, size_t rows, const void* w, size_t columns,
                 size_t depth, bool accumulate, float* out, size_t out_stride, int) {
  if (type != internal::MatmulType::kBf16) return Unsupported("bf16 alone");
  const auto value = [](const void* matrix, size_t at) {
    return std::bit_cast<float>(uint32_t{static_cast<const uint16_t*>(matrix)[at]} << 16);
  };
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) {
      float sum = accumulate ? out[r * out_stride + c] : 0;
      for (size_t k = 0; k < depth; ++k) sum += value(a, r * a_stride + k) * value(w, c * depth + k);
      out[r * out_stride + c] = sum;
    }
  }
  return {};
}

// Beside fp32: near, and not the same numbers, with instructions (plain arithmetic stands for them) and without.
//
// How near: rounding a factor to 8 significant bits changes it by 2⁻⁹ of itself at most, and by 2⁻⁹/√3 in the mean
// square; a product of two rounded factors is off by √(2/3)·2⁻⁹ of what it adds up, and the errors of the products that
// follow each other (four a layer, one before, one after) add up as squares do. Four times that is seldom exceeded.
TEST(Encoder, Bf16Products) {
  const ClipSpec spec = Small();
  const std::vector<float> pixels = RandomPixels(spec, 30);
  const auto tolerance = [](const ClipTower& tower) {
    return static_cast<float>(4 * std::sqrt((4 * static_cast<double>(tower.layers) + 2) * 2 / 3) * 0x1p-9);
  };
  ANEMONE_ASSERT_ASSIGN(ClipModel fp32, RandomModel(spec));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures images, fp32.EncodeImages(pixels));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures texts, fp32.EncodeTexts(ShortTexts()));
  const internal::Products own = internal::products;
  for (const bool instructions : {false, true}) {
    for (const bool keep : {false, true}) {
      internal::products = own;
      if (instructions) internal::products = {[] { return true; }, PlainBf16};
      ClipOptions options;
      options.compute = ClipCompute::kBf16;
      options.keep_weights = keep;
      ANEMONE_ASSERT_ASSIGN(ClipModel bf16, RandomModel(spec, options));
      for (int call = 0; call < 2; ++call) {  // the second with what was kept
        ANEMONE_ASSERT_ASSIGN(ClipFeatures found, bf16.EncodeImages(pixels));
        EXPECT_NE(found.values, images.values);
        ExpectNear(found.values, images.values, tolerance(spec.vision));
        ANEMONE_ASSERT_ASSIGN(found, bf16.EncodeTexts(ShortTexts()));
        EXPECT_NE(found.values, texts.values);
        ExpectNear(found.values, texts.values, tolerance(spec.text));
      }
    }
  }
  // A product that fails after the probe is told.
  internal::products.matmul = [](internal::MatmulType type, const void* a, size_t stride, size_t rows, auto... rest) {
    return rows == 1 ? PlainBf16(type, a, stride, rows, rest...) : Unsupported("oneDNN cannot");
  };
  ClipOptions options;
  options.compute = ClipCompute::kBf16;
  ANEMONE_ASSERT_ASSIGN(ClipModel broken, RandomModel(spec, options));
  EXPECT_THAT(broken.EncodeImages(pixels), StatusIs(ErrorKind::kUnsupported, "oneDNN cannot"));
  internal::products = own;
}

// Beside fp32, as above: an integer is off by 1/√12 of a 127th of its row's largest, which is four to five times the
// mean square.
TEST(Encoder, Int8Products) {
  const ClipSpec spec = Small();
  const std::vector<float> pixels = RandomPixels(spec, 30);
  const auto tolerance = [](const ClipTower& tower) {
    return static_cast<float>(4 * std::sqrt(4 * static_cast<double>(tower.layers) * 2) * 4.5 / 127 / std::sqrt(12.0));
  };
  ANEMONE_ASSERT_ASSIGN(ClipModel fp32, RandomModel(spec));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures images, fp32.EncodeImages(pixels));
  ANEMONE_ASSERT_ASSIGN(const ClipFeatures texts, fp32.EncodeTexts(ShortTexts()));
  for (const bool keep : {false, true}) {
    ClipOptions options;
    options.compute = ClipCompute::kInt8;
    options.keep_weights = keep;
    ANEMONE_ASSERT_ASSIGN(ClipModel int8, RandomModel(spec, options));
    for (int call = 0; call < 2; ++call) {
      ANEMONE_ASSERT_ASSIGN(ClipFeatures found, int8.EncodeImages(pixels));
      EXPECT_NE(found.values, images.values);
      ExpectNear(found.values, images.values, tolerance(spec.vision));
      ANEMONE_ASSERT_ASSIGN(found, int8.EncodeTexts(ShortTexts()));
      EXPECT_NE(found.values, texts.values);
      ExpectNear(found.values, texts.values, tolerance(spec.text));
    }
  }
}

}  // namespace
}  // namespace anemone
