#include "clip/kernels.h"

#include <cmath>
#include <vector>

#include "random_weights.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using internal::AddBiasActivate;
using testing::RandomValues;

double Reference(Activation activation, double x) {
  switch (activation) {
    case Activation::kQuickGelu:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
  return 0;
}

TEST(Kernels, ActivationsOnEveryScale) {
  for (const Activation activation : {Activation::kQuickGelu, Activation::kGelu, Activation::kGeluTanh}) {
    std::vector<float> x;
    for (double v = -120; v < 120; v += 0.0037) x.push_back(static_cast<float>(v));
    for (double v = 1e-30; v < 1; v *= 1.7) x.insert(x.end(), {static_cast<float>(v), static_cast<float>(-v)});
    std::vector<float> y = x;
    AddBiasActivate(y.data(), y.size(), 1, y.size(), nullptr, activation);
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = Reference(activation, x[i]);
      ASSERT_NEAR(y[i], expected,
                  2e-6 * std::max(1.0, std::fabs(expected)) * (std::fabs(x[i]) < 1 ? std::fabs(x[i]) + 1e-7 : 1))
          << "x = " << x[i];
    }
  }
}

TEST(Kernels, SoftmaxOfAnyLength) {
  for (size_t count = 1; count < 40; ++count) {
    std::vector<float> x = RandomValues("vision.head.probe", {count});
    for (float& value : x) value *= 50;
    x.resize(45, 7);
    std::vector<double> expected;
    double sum = 0;
    for (size_t i = 0; i < count; ++i) sum += std::exp(double{x[i]});
    for (size_t i = 0; i < count; ++i) expected.push_back(std::exp(double{x[i]}) / sum);
    internal::Softmax(x.data(), count, 43);
    for (size_t i = 0; i < count; ++i) EXPECT_NEAR(x[i], expected[i], 1e-6);
    for (size_t i = count; i < 43; ++i) EXPECT_EQ(x[i], 0);
    EXPECT_EQ(x[43], 7);
  }
}

TEST(Kernels, SkinnyGemmOfAnyShape) {
  for (const size_t rows : {1, 2, 3, 5, 7, 24}) {
    for (const size_t columns : {1, 2, 3, 16, 50}) {
      for (const size_t depth : {1, 7, 8, 33, 768}) {
        const std::vector<float> a = RandomValues("vision.head.probe", {rows, depth});
        const std::vector<float> w = RandomValues("vision.class_embedding", {columns, depth});
        std::vector<float> out(rows * (columns + 2), 1);
        for (const bool accumulate : {false, true}) {
          internal::SkinnyGemm(a.data(), depth, rows, w.data(), columns, depth, accumulate, out.data(), columns + 2);
          for (size_t r = 0; r < rows; ++r) {
            for (size_t c = 0; c < columns; ++c) {
              double sum = 0;
              for (size_t k = 0; k < depth; ++k) sum += double{a[r * depth + k]} * w[c * depth + k];
              ASSERT_NEAR(out[r * (columns + 2) + c], accumulate ? 2 * sum : sum, 1e-4)
                  << rows << " " << columns << " " << depth;
            }
            ASSERT_EQ(out[r * (columns + 2) + columns], 1);
          }
        }
      }
    }
  }
}

TEST(Kernels, LayerNormOfAnyWidth) {
  for (const size_t width : {1, 3, 8, 17, 64, 1000}) {
    const std::vector<float> x = RandomValues("vision.head.probe", {2, width});
    const std::vector<float> weight = RandomValues("a.norm.weight", {width});
    const std::vector<float> bias = RandomValues("a.norm.bias", {width});
    std::vector<float> y(2 * width);
    internal::LayerNorm(x.data(), width, 2, width, weight.data(), bias.data(), 1e-5F, y.data(), width);
    for (size_t r = 0; r < 2; ++r) {
      double mean = 0;
      double variance = 0;
      for (size_t i = 0; i < width; ++i) mean += x[r * width + i] / static_cast<double>(width);
      for (size_t i = 0; i < width; ++i) variance += std::pow(x[r * width + i] - mean, 2) / static_cast<double>(width);
      for (size_t i = 0; i < width; ++i) {
        const double expected = (x[r * width + i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i];
        EXPECT_NEAR(y[r * width + i], expected, 1e-5);
      }
    }
  }
}

}  // namespace
}  // namespace anemone
