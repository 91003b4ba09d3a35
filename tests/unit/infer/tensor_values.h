// The tensors of a golden file as numbers.
#ifndef ANEMONE_TESTS_UNIT_INFER_TENSOR_VALUES_H_
#define ANEMONE_TESTS_UNIT_INFER_TENSOR_VALUES_H_

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "anemone/checkpoint.h"
#include "testing/matchers.h"

namespace anemone::testing {

template <typename T>
std::vector<T> Values(const Checkpoint& file, const std::string& name) {
  const std::string bytes = *file.weights().Find(name)->tensor()->Read();
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// Within 1e-5 of the largest value expected.
inline void ExpectNear(const std::vector<float>& found, const std::vector<float>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  float largest = 0;
  float worst = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    largest = std::max(largest, std::fabs(expected[i]));
    worst = std::max(worst, std::fabs(found[i] - expected[i]));
  }
  EXPECT_LT(worst, 1e-5F * largest);
}

// Rows of "ids".
inline std::vector<std::vector<int32_t>> Ids(const Checkpoint& file) {
  const uint64_t width = file.weights().Find("ids")->tensor()->shape().back();
  std::vector<std::vector<int32_t>> rows;
  size_t column = 0;
  for (const int64_t id : Values<int64_t>(file, "ids")) {
    if (column++ % width == 0) rows.emplace_back();
    rows.back().push_back(static_cast<int32_t>(id));
  }
  return rows;
}

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_UNIT_INFER_TENSOR_VALUES_H_
