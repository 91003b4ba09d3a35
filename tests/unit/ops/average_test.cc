#include "ops/average.h"

#include <cstring>

#include "testing/matchers.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;

Tensor Floats(std::vector<float> values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return *Tensor::FromBytes(DType::kF32, {values.size()}, bytes);
}

Checkpoint One(std::string path, std::vector<float> weight, int64_t step = 7) {
  Checkpoint checkpoint;
  checkpoint.path = std::move(path);
  checkpoint.shards.emplace_back();
  EXPECT_THAT(checkpoint.weights().Add("w", Floats(std::move(weight))), IsOk());
  EXPECT_THAT(checkpoint.weights().Add(
                  "step", *Tensor::FromBytes(DType::kI64, {}, std::string(reinterpret_cast<char*>(&step), 8))),
              IsOk());
  EXPECT_THAT(checkpoint.weights().Add("x._extra_state", Opaque{}), IsOk());
  return checkpoint;
}

TEST(AverageTest, MeansFloatsAndKeepsEqualIntegers) {
  auto mean = AverageCheckpoints({One("a", {1, 2}), One("b", {2, 4}), One("c", {6, 0})});
  ASSERT_THAT(mean, IsOk());
  const std::string bytes = *mean->weights().Find("w")->tensor()->Read();
  float values[2];
  std::memcpy(values, bytes.data(), sizeof values);
  EXPECT_EQ(values[0], 3);
  EXPECT_EQ(values[1], 2);
  EXPECT_EQ(mean->weights().size(), 3u);
}

TEST(AverageTest, NamesWhatDisagrees) {
  EXPECT_THAT(AverageCheckpoints({One("a", {1, 2}), One("b", {1})}),
              StatusIs(ErrorKind::kInvalidArgument, "w: expected shape [2] in b"));
  EXPECT_THAT(AverageCheckpoints({One("a", {1}), One("b", {1}, 8)}),
              StatusIs(ErrorKind::kInvalidArgument, "step: expected equal integers in b"));
  EXPECT_THAT(AverageCheckpoints({One("a", {1})}), StatusIs(ErrorKind::kInvalidArgument, "two checkpoints"));
}

}  // namespace
}  // namespace anemone
