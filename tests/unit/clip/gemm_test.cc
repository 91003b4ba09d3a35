#include "clip/gemm.h"

#include <array>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "anemone/clip.h"
#include "base/shared_library.h"
#include "random_weights.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using internal::ChooseGemm;
using internal::Gemm;
using internal::GemmCall;
using internal::GemmChoice;
using internal::GemmShape;
using testing::IsOk;
using testing::RandomValues;
using testing::StatusIs;

constexpr GemmShape kAny = {17, 16, 40};

// ANEMONE_GEMM, put back at the end.
class GemmVariable {
 public:
  explicit GemmVariable(const char* value) {
    if (const char* const found = std::getenv(kName); found != nullptr) before_ = found;
    setenv(kName, value, 1);
  }
  GemmVariable(const GemmVariable&) = delete;
  GemmVariable& operator=(const GemmVariable&) = delete;
  ~GemmVariable() { setenv(kName, before_.c_str(), 1); }  // empty is as good as unset

 private:
  static constexpr const char* kName = "ANEMONE_GEMM";
  std::string before_;
};

// The encoders' products, few and many rows, with room between rows and without.
struct Case {
  GemmShape shape;
  size_t gap;  // between the end of a row and the next
};
constexpr std::array kCases = {
    Case{{257, 128, 1024}, 0}, Case{{256, 144, 588}, 0}, Case{{25, 48, 768}, 0}, Case{{96, 257, 64}, 640},
    Case{{13, 40, 1100}, 8},   Case{{1, 77, 64}, 128},   Case{{5, 7, 33}, 2},    Case{{4, 3, 5}, 1},
    Case{{1, 1, 1}, 0},        Case{{50, 200, 96}, 3},   Case{{77, 80, 77}, 48}, Case{{300, 33, 2050}, 0},
};

struct Factors {
  std::vector<float> a;
  std::vector<float> b;
  size_t b_stride;
};
Factors FactorsOf(const Case& c) {
  const size_t b_stride = c.shape.depth + c.gap;
  return {RandomValues("vision.head.probe", {c.shape.rows, c.shape.depth + c.gap}),
          RandomValues("vision.class_embedding", {c.shape.columns, b_stride}), b_stride};
}

constexpr float kBefore = 2;  // what `out` holds, between its rows, too

std::vector<float> Multiplied(const Gemm& gemm, const Case& c, const Factors& factors, bool accumulate) {
  std::vector<float> out(c.shape.rows * (c.shape.columns + c.gap), kBefore);
  EXPECT_THAT(gemm.multiply({.rows = c.shape.rows,
                             .columns = c.shape.columns,
                             .depth = c.shape.depth,
                             .a = factors.a.data(),
                             .a_stride = c.shape.depth + c.gap,
                             .b = factors.b.data(),
                             .b_stride = factors.b_stride,
                             .accumulate = accumulate,
                             .out = out.data(),
                             .out_stride = c.shape.columns + c.gap}),
              IsOk());
  return out;
}

// A product's elements, and the sums of their parts' sizes, which rounding is relative to.
struct Expected {
  std::vector<double> sums;
  std::vector<double> sizes;
};
Expected ExpectedOf(const Case& c, const Factors& factors) {
  Expected expected;
  for (size_t r = 0; r < c.shape.rows; ++r) {
    for (size_t j = 0; j < c.shape.columns; ++j) {
      double sum = 0;
      double size = 1;
      for (size_t k = 0; k < c.shape.depth; ++k) {
        const double product = double{factors.a[r * (c.shape.depth + c.gap) + k]} * factors.b[j * factors.b_stride + k];
        sum += product;
        size += std::fabs(product);
      }
      expected.sums.push_back(sum);
      expected.sizes.push_back(size);
    }
  }
  return expected;
}

TEST(Gemm, EachGivesTheProductForEveryShapeOfTheEncoders) {
  ANEMONE_ASSERT_ASSIGN(const Gemm* const openblas, internal::OpenBlasGemm());
  ANEMONE_ASSERT_ASSIGN(const Gemm* const onednn, internal::OneDnnGemm());
  for (const Case& c : kCases) {
    const auto& [rows, columns, depth] = c.shape;
    SCOPED_TRACE(::testing::Message() << rows << " × " << columns << " × " << depth);
    const Factors factors = FactorsOf(c);
    const Expected expected = ExpectedOf(c, factors);
    for (const Gemm* const gemm : {internal::OwnGemm(), openblas, onednn}) {
      for (const bool accumulate : {false, true}) {
        const std::vector<float> out = Multiplied(*gemm, c, factors, accumulate);
        for (size_t i = 0; i < out.size(); ++i) {
          const size_t r = i / (columns + c.gap);
          const size_t j = i % (columns + c.gap);
          if (j >= columns) {
            ASSERT_EQ(out[i], kBefore) << gemm->name << ": between the rows";
            continue;
          }
          const size_t at = r * columns + j;
          const double sum = expected.sums[at] + (accumulate ? kBefore : 0);
          ASSERT_NEAR(out[i], sum, 1e-6 * expected.sizes[at]) << gemm->name << ": " << r << ", " << j;
        }
        EXPECT_EQ(out, Multiplied(*gemm, c, factors, accumulate)) << gemm->name << ": the same bits each time";
      }
    }
  }
}

TEST(Gemm, FeaturesAgree) {
  ClipSpec spec;
  spec.vision = {.layers = 2, .width = 96, .ffn = 200, .heads = 3};
  spec.text = {.layers = 2, .width = 64, .ffn = 256, .heads = 4};
  spec.projection = 40;
  spec.vocab = 100;
  spec.image_size = 56;
  spec.patch_size = 7;
  const std::vector<float> pixels = RandomValues("pixels", {3, 3, 56, 56});
  std::vector<std::vector<int32_t>> texts(3);
  for (int i = 0; i < 60; ++i) texts[static_cast<size_t>(i) % 3].push_back(i);
  std::vector<std::vector<float>> found;
  for (const char* library : {"own", "openblas", "onednn"}) {
    const GemmVariable asked(library);
    ANEMONE_ASSERT_ASSIGN(ClipModel model, ClipModel::Create(spec, testing::RandomWeights(spec)));
    ANEMONE_ASSERT_ASSIGN(const GemmChoice choice, ChooseGemm(internal::GemmShapeOf(spec)));
    EXPECT_EQ(choice.ToString(), std::string(library) + ": ANEMONE_GEMM asks for it");
    ANEMONE_ASSERT_ASSIGN(ClipFeatures images, model.EncodeImages(pixels));
    ANEMONE_ASSERT_ASSIGN(const ClipFeatures of_texts, model.EncodeTexts(texts));
    images.values.insert(images.values.end(), of_texts.values.begin(), of_texts.values.end());
    found.push_back(images.values);
  }
  float largest = 0;
  for (const float value : found[0]) largest = std::max(largest, std::fabs(value));
  for (size_t other = 1; other < found.size(); ++other) {
    for (size_t i = 0; i < found[0].size(); ++i) EXPECT_NEAR(found[0][i], found[other][i], 1e-5F * largest) << i;
  }
}

TEST(Gemm, TheVariableDecides) {
  for (const char* library : {"own", "onednn", "openblas"}) {
    const GemmVariable asked(library);
    ANEMONE_ASSERT_ASSIGN(const GemmChoice choice, ChooseGemm(kAny));
    EXPECT_EQ(choice.library->name, library);
    EXPECT_EQ(choice.reason, "ANEMONE_GEMM asks for it");
  }
  for (const char* wrong : {"mkl", "OpenBLAS", "onednn ", "openblas,onednn", "anemone"}) {
    const GemmVariable asked(wrong);
    EXPECT_THAT(ChooseGemm(kAny),
                StatusIs(ErrorKind::kInvalidArgument,
                         std::string("ANEMONE_GEMM: expected own, openblas or onednn, found '") + wrong));
    ClipSpec spec;
    spec.text = {.layers = 1, .width = 8, .ffn = 8, .heads = 1};
    spec.has_vision = false;
    spec.vocab = spec.projection = 8;
    EXPECT_THAT(ClipModel::Create(spec, testing::RandomWeights(spec)),
                StatusIs(ErrorKind::kInvalidArgument, "ANEMONE_GEMM"));
  }
}

TEST(Gemm, WithoutTheVariableTheChoiceHasAReasonAndStays) {
  const GemmVariable unset("");
  ANEMONE_ASSERT_ASSIGN(const GemmChoice first, ChooseGemm(kAny));
  EXPECT_NE(first.reason, "");
  for (int i = 0; i < 3; ++i) {
    ANEMONE_ASSERT_ASSIGN(const GemmChoice again, ChooseGemm(kAny));
    EXPECT_EQ(again.library, first.library);
    EXPECT_EQ(again.reason, first.reason);
  }
}

TEST(Gemm, TheOwnLoopIsTakenWhereItIsMadeForTheProcessorElseAllAreMeasured) {
  const GemmVariable unset("");
  const Gemm* const own = internal::OwnGemm();
  ANEMONE_ASSERT_ASSIGN(const GemmChoice choice, ChooseGemm({50, 128, 768}));
  if (own->kernels == "AVX3" || own->kernels == "AVX2") {
    EXPECT_EQ(choice.library, own);
    EXPECT_THAT(choice.reason, ::testing::StartsWith("its loop is made for AVX"));
  } else {
    EXPECT_THAT(choice.reason,
                ::testing::StartsWith("on 50 × 128 × 768 own (" + std::string(own->kernels) + ") takes "));
    for (const char* other : {", openblas (", ", onednn ("}) EXPECT_THAT(choice.reason, ::testing::HasSubstr(other));
  }
}

TEST(Gemm, AnotherIsPreferredOnlyWhereItIsFasterByMoreThanChance) {
  EXPECT_EQ(internal::PreferredOf({1.0}), 0);
  EXPECT_EQ(internal::PreferredOf({1.0, 1.0, 0.95}), 0);
  EXPECT_EQ(internal::PreferredOf({1.0, 0.92, 0.92}), 0);
  EXPECT_EQ(internal::PreferredOf({1.0, 0.88, 0.88}), 1);
  EXPECT_EQ(internal::PreferredOf({1.0, 0.8, 0.7}), 2);
  EXPECT_EQ(internal::PreferredOf({1.0, 5.5, 0.85}), 2);
}

TEST(Gemm, InstructionsThatAreNotKnownAreRefused) {
  setenv("ANEMONE_INSTRUCTIONS", "AVX9", 1);
  EXPECT_THAT(
      internal::CheckGemmVariable(),
      StatusIs(ErrorKind::kInvalidArgument, "ANEMONE_INSTRUCTIONS: expected AVX2, SSE4 or baseline, found 'AVX9'"));
  unsetenv("ANEMONE_INSTRUCTIONS");
  EXPECT_THAT(internal::CheckGemmVariable(), IsOk());
}

TEST(Gemm, OtherUsersOfOpenMpKeepTheirThreads) {
  ANEMONE_ASSERT_ASSIGN(const Gemm* const onednn, internal::OneDnnGemm());
  ANEMONE_ASSERT_ASSIGN(const SharedLibrary openmp, SharedLibrary::Open({"libgomp.so.1"}));
  void (*set)(int) = nullptr;
  int (*get)() = nullptr;
  ASSERT_THAT(openmp.Find("omp_set_num_threads", set), IsOk());
  ASSERT_THAT(openmp.Find("omp_get_max_threads", get), IsOk());
  set(7);
  Multiplied(*onednn, kCases[0], FactorsOf(kCases[0]), false);
  EXPECT_EQ(get(), 7);
}

}  // namespace
}  // namespace anemone
