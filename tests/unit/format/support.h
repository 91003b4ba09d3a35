// What the tests of the formats share: files written from plans, state dicts compared to the bit.
#ifndef ANEMONE_TESTS_UNIT_FORMAT_SUPPORT_H_
#define ANEMONE_TESTS_UNIT_FORMAT_SUPPORT_H_

#include <string>

#include "anemone/checkpoint.h"
#include "engine/execute.h"
#include "engine/plan.h"
#include "format/format.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone::testing {

inline Tensor Numbers(DType dtype, Shape shape, std::string bytes) {
  auto tensor = Tensor::FromBytes(dtype, std::move(shape), std::move(bytes));
  EXPECT_TRUE(tensor.ok()) << tensor.status().message();
  return *std::move(tensor);
}

inline ByteRange Range(std::string bytes) { return Whole(MemorySource(std::move(bytes), "memory")); }

inline void Write(const Plan& plan, const std::string& path) {
  ASSERT_THAT(Check(plan), IsOk());
  ExecuteOptions options;
  options.threads = 1;
  ASSERT_THAT(Execute(plan, path, options), IsOk());
}

// The bytes of a plan of one file.
inline std::string Bytes(Plan plan) {
  TempDir dir;
  Write(plan, dir / "out");
  return ReadFile(dir / "out");
}
inline std::string Bytes(PlanFile file) {
  Plan plan;
  plan.files.push_back(std::move(file));
  return Bytes(std::move(plan));
}

inline void ExpectSameTensor(const Tensor& a, const Tensor& b, const std::string& name) {
  EXPECT_EQ(a.dtype(), b.dtype()) << name;
  EXPECT_EQ(a.shape(), b.shape()) << name;
  const auto left = a.Read(), right = b.Read();
  ASSERT_TRUE(left.ok()) << name << ": " << left.status().message();
  ASSERT_TRUE(right.ok()) << name << ": " << right.status().message();
  EXPECT_TRUE(*left == *right) << name << ": bytes differ";
}

// The same tensors under the same names; entries that are no tensors are left aside.
inline void ExpectSameTensors(const StateDict& a, const StateDict& b) {
  size_t left = 0, right = 0;
  for (const auto& item : b.items()) right += item.tensor() != nullptr;
  for (const auto& item : a.items()) {
    if (item.tensor() == nullptr) continue;
    ++left;
    const auto* other = b.Find(item.name);
    ASSERT_TRUE(other != nullptr && other->tensor() != nullptr) << item.name << " is missing";
    ExpectSameTensor(*item.tensor(), *other->tensor(), item.name);
  }
  EXPECT_EQ(left, right);
}

}  // namespace anemone::testing

#endif  // ANEMONE_TESTS_UNIT_FORMAT_SUPPORT_H_
