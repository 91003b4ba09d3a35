#include "clip/kernels.h"
#include "clip/tile.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "clip/matmul.h"
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

// A damaged weight must not become a feature that looks right.
TEST(Kernels, NoNumberStaysNone) {
  const float none = std::nanf("");
  for (const Activation activation : {Activation::kQuickGelu, Activation::kGelu, Activation::kGeluTanh}) {
    std::vector<float> x(37, none);
    AddBiasActivate(x.data(), x.size(), 1, x.size(), nullptr, activation);
    for (const float value : x) EXPECT_TRUE(std::isnan(value));
  }
  const size_t columns = internal::BestTile().columns;
  for (size_t at = 0; at < 5; ++at) {
    std::vector<float> x(5 * columns, 1);
    for (size_t c = 0; c < columns; ++c) x[at * columns + c] = none;
    const std::vector<float> seen(columns, 5);
    internal::SoftmaxColumns(x.data(), 5, 1, seen.data());
    for (const float value : x) EXPECT_TRUE(std::isnan(value)) << "row " << at;
  }
}

// Far from the largest, down to where nothing is left; each column sees another number of rows.
TEST(Kernels, SoftmaxDownColumns) {
  const size_t columns = internal::BestTile().columns;
  const size_t rows = 50;
  std::vector<float> x = RandomValues("vision.head.probe", {rows * columns});
  for (size_t i = 0; i < x.size(); ++i) x[i] *= i % 7 == 0 ? 4000.0F : 90.0F;
  std::vector<float> seen(columns);
  for (size_t c = 0; c < columns; ++c) seen[c] = static_cast<float>(1 + (c * 13 + 3) % rows);
  std::vector<float> y = x;
  internal::SoftmaxColumns(y.data(), rows, 0.125F, seen.data());
  for (size_t c = 0; c < columns; ++c) {
    double most = -1e30, sum = 0;
    for (size_t r = 0; r < static_cast<size_t>(seen[c]); ++r) most = std::max(most, double{x[r * columns + c]});
    for (size_t r = 0; r < static_cast<size_t>(seen[c]); ++r) sum += std::exp((x[r * columns + c] - most) / 8);
    for (size_t r = 0; r < rows; ++r) {
      const double expected = r < static_cast<size_t>(seen[c]) ? std::exp((x[r * columns + c] - most) / 8) / sum : 0;
      EXPECT_NEAR(y[r * columns + c], expected, 1e-6) << r << ", " << c;
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

TEST(Kernels, RoundingToBf16IsTheTensorsOwn) {
  std::vector<float> x;
  for (uint32_t bits = 0; bits < 0xFFF00000; bits += 0x8123)
    x.push_back(std::bit_cast<float>(bits));  // NaNs, infinities
  for (uint32_t bits = 0x3F800000; bits < 0x3F840000; bits += 0x1000) x.push_back(std::bit_cast<float>(bits));  // ties
  const std::string bytes(reinterpret_cast<const char*>(x.data()), x.size() * sizeof(float));
  const std::string expected = *Tensor::FromBytes(DType::kF32, {x.size()}, bytes)->Cast(DType::kBF16)->Read();
  std::vector<uint16_t> bits(x.size());
  std::vector<float> values(x.size());
  internal::RoundToBf16(x.data(), x.size(), bits.data());
  internal::RoundToBf16(x.data(), x.size(), values.data());
  for (size_t i = 0; i < x.size(); ++i) {
    uint16_t want = 0;
    std::memcpy(&want, expected.data() + 2 * i, 2);
    if (std::isnan(x[i])) {
      EXPECT_TRUE(std::isnan(values[i]));
      continue;
    }
    ASSERT_EQ(bits[i], want) << x[i];
    ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), uint32_t{want} << 16) << x[i];
  }
}

// What runs where bf16 products are instructions; strides, transposition and sums are the same for fp32, which oneDNN
// multiplies everywhere.
TEST(Kernels, MatmulOfOneDnn) {
  for (const internal::MatmulType type : {internal::MatmulType::kF32, internal::MatmulType::kBf16}) {
    constexpr size_t kRows = 5;
    constexpr size_t kColumns = 7;
    constexpr size_t kDepth = 33;
    std::vector<float> a = RandomValues("vision.head.probe", {kRows, kDepth + 2});
    std::vector<float> w = RandomValues("vision.class_embedding", {kColumns, kDepth});
    internal::RoundToBf16(a.data(), a.size(), a.data());
    internal::RoundToBf16(w.data(), w.size(), w.data());
    std::vector<uint16_t> half_a(a.size());
    std::vector<uint16_t> half_w(w.size());
    internal::RoundToBf16(a.data(), a.size(), half_a.data());
    internal::RoundToBf16(w.data(), w.size(), half_w.data());
    const bool f32 = type == internal::MatmulType::kF32;
    std::vector<float> out(kRows * (kColumns + 1), 1);
    for (const bool accumulate : {false, true}) {
      const Status status = internal::Matmul(type, f32 ? static_cast<const void*>(a.data()) : half_a.data(), kDepth + 2,
                                             kRows, f32 ? static_cast<const void*>(w.data()) : half_w.data(), kColumns,
                                             kDepth, accumulate, out.data(), kColumns + 1, 2);
      if (!f32 && !status.ok()) {  // without instructions for it
        EXPECT_FALSE(internal::HasBf16Products());
        EXPECT_THAT(status, testing::StatusIs(ErrorKind::kUnsupported, "oneDNN"));
        return;
      }
      if (!status.ok() && f32) GTEST_SKIP() << status.message();
      ASSERT_THAT(status, testing::IsOk());
      for (size_t r = 0; r < kRows; ++r) {
        for (size_t c = 0; c < kColumns; ++c) {
          double sum = 0;
          for (size_t k = 0; k < kDepth; ++k) sum += double{a[r * (kDepth + 2) + k]} * w[c * kDepth + k];
          ASSERT_NEAR(out[r * (kColumns + 1) + c], accumulate ? 2 * sum : sum, 1e-4);
        }
        ASSERT_EQ(out[r * (kColumns + 1) + kColumns], 1);
      }
    }
  }
}

}  // namespace
}  // namespace anemone
