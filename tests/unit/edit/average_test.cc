#include "edit/average.h"

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

// As NeMo's checkpoint_averaging.py: BatchNorm's num_batches_tracked is accumulated.
TEST(AverageTest, AddsUpIntegersThatDiffer) {
  auto mean = AverageCheckpoints({One("a", {1}, 100), One("b", {2}, 200)});
  ASSERT_THAT(mean, IsOk());
  int64_t step = 0;
  std::memcpy(&step, mean->weights().Find("step")->tensor()->Read()->data(), sizeof step);
  EXPECT_EQ(step, 300);
  EXPECT_THAT(mean->notes, ::testing::ElementsAre("step: integers are added up, not averaged, as NeMo's script does"));
  EXPECT_THAT(AverageCheckpoints({One("a", {1}), One("b", {2})})->notes, ::testing::IsEmpty());
}

TEST(AverageTest, RefusesWhatCannotBeAddedUp) {
  EXPECT_THAT(AverageCheckpoints({One("a", {1}, INT64_MAX), One("b", {1}, 1)}),
              StatusIs(ErrorKind::kInvalidArgument, "step: expected equal values of int64 in b"));
  Checkpoint masks[2] = {One("a", {1}), One("b", {1})};
  for (int i = 0; i < 2; ++i) {
    const std::string byte(1, static_cast<char>(i));
    EXPECT_THAT(masks[i].weights().Add("mask", *Tensor::FromBytes(DType::kBool, {1}, byte)), IsOk());
  }
  EXPECT_THAT(AverageCheckpoints({masks[0], masks[1]}),
              StatusIs(ErrorKind::kInvalidArgument, "mask: expected equal values of bool in b"));
}

TEST(AverageTest, NamesWhatDisagrees) {
  EXPECT_THAT(AverageCheckpoints({One("a", {1, 2}), One("b", {1})}),
              StatusIs(ErrorKind::kInvalidArgument, "w: expected shape [2] in b"));
  EXPECT_THAT(AverageCheckpoints({One("a", {1})}), StatusIs(ErrorKind::kInvalidArgument, "two checkpoints"));
}

}  // namespace
}  // namespace anemone
