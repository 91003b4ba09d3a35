#include "inspect/statistics.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "testing/matchers.h"

namespace anemone {
namespace {

using anemone::testing::IsOk;
using anemone::testing::StatusIs;
using ::testing::DoubleEq;
using ::testing::DoubleNear;
using ::testing::Each;

Tensor Floats(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return *Tensor::FromBytes(DType::kF32, {values.size()}, bytes);
}

Statistics Of(const Tensor& tensor) {
  Result<Statistics> s = ComputeStatistics(tensor, [](uint64_t) { return true; });
  EXPECT_THAT(s, IsOk());
  return *s;
}

uint64_t Binned(const Statistics& s) { return std::accumulate(s.bins.begin(), s.bins.end(), uint64_t{0}); }

TEST(Statistics, OfAFewNumbers) {
  const float kNan = std::numeric_limits<float>::quiet_NaN();
  const float kInfinity = std::numeric_limits<float>::infinity();
  const Statistics s = Of(Floats({0, -0.0F, 1, 2, -3, kNan, kInfinity, -kInfinity}));
  EXPECT_EQ(s.elements, 8U);
  EXPECT_EQ(s.zeros, 2U);
  EXPECT_EQ(s.nans, 1U);
  EXPECT_EQ(s.infinities, 2U);
  EXPECT_EQ(s.min, -3);
  EXPECT_EQ(s.max, 2);
  EXPECT_THAT(s.mean, DoubleEq(0));
  EXPECT_THAT(s.deviation, DoubleEq(std::sqrt(14.0 / 5)));
  EXPECT_EQ(s.range, 4);
  EXPECT_EQ(Binned(s), 5U);
  EXPECT_EQ(s.bins[Statistics::kBins / 2], 2U);
  EXPECT_EQ(s.bins[Statistics::kBins / 8], 1U);
}

// Several windows, the range growing from one to the next: the same as all at once.
TEST(Statistics, OfManyWindows) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.5F, 0.01F);
  std::vector<float> values(700'000);
  for (float& x : values) x = normal(random);
  std::fill_n(values.begin(), 300'000, 0.0F);  // the first window knows no range
  values.back() = -1000;
  const Statistics s = Of(Floats(values));
  double mean = 0;
  for (const float x : values) mean += x;
  mean /= static_cast<double>(values.size());
  double squares = 0;
  for (const float x : values) squares += (x - mean) * (x - mean);
  EXPECT_THAT(s.mean, DoubleNear(mean, 1e-9));
  EXPECT_THAT(s.deviation, DoubleNear(std::sqrt(squares / static_cast<double>(values.size())), 1e-9));
  EXPECT_EQ(s.range, 1024);
  EXPECT_EQ(Binned(s), values.size());
  EXPECT_EQ(s.bins.front(), 1U);
  EXPECT_EQ(s.bins[Statistics::kBins / 2], values.size() - 1);
  EXPECT_EQ(s.zeros, 300'000U);
}

TEST(Statistics, OfZerosAndOfNothing) {
  EXPECT_THAT(Of(Floats({0, 0, 0})).bins, Each(0U));
  EXPECT_EQ(Of(Floats({})).elements, 0U);
  EXPECT_EQ(Of(Floats({1e-45F})).max, static_cast<double>(1e-45F));
}

TEST(Statistics, OfWhatHasNoOrderAndWhenStopped) {
  EXPECT_FALSE(HasStatistics(DType::kC64));
  EXPECT_TRUE(HasStatistics(DType::kBF16));
  EXPECT_THAT(ComputeStatistics(Floats({1}), [](uint64_t) { return false; }),
              StatusIs(ErrorKind::kInterrupted, "interrupted"));
}

}  // namespace
}  // namespace anemone
