#include "anemone/tensor.h"

#include <cstring>
#include <numeric>

#include "anemone/checkpoint.h"
#include "tensor/product.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::StatusIs;

// int32 0, 1, 2 … of this shape.
Tensor Iota(const Shape& shape, int first = 0) {
  std::vector<int32_t> values(*NumElements(shape));
  std::iota(values.begin(), values.end(), first);
  std::string bytes(values.size() * 4, '\0');
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return *Tensor::FromBytes(DType::kI32, shape, bytes);
}

std::vector<int32_t> Values(const Tensor& tensor) {
  const Result<std::string> bytes = tensor.Read();
  EXPECT_THAT(bytes, IsOk());
  if (!bytes.ok()) return {};
  std::vector<int32_t> values(bytes->size() / 4);
  if (!values.empty()) std::memcpy(values.data(), bytes->data(), bytes->size());
  return values;
}

using Ints = std::vector<int32_t>;

TEST(Tensor, NarrowTakesARangeOfAnAxis) {
  EXPECT_EQ(Values(*Iota({3, 4}).Narrow(1, 1, 2)), (Ints{1, 2, 5, 6, 9, 10}));
  EXPECT_EQ(Values(*Iota({3, 4}).Narrow(0, 1, 1)), (Ints{4, 5, 6, 7}));
  EXPECT_THAT(Iota({3, 4}).Narrow(1, 3, 2), StatusIs(ErrorKind::kInvalidArgument, "[3, 3 + 2) of axis 1 of [3, 4]"));
}

TEST(Tensor, NarrowOfTilesIsTheTileThatHasIt) {
  const Tensor first = Iota({2, 3}), second = Iota({4, 3}, 10);
  const Tensor whole = *Tensor::Concat({first, second}, 0);
  EXPECT_EQ(&whole.Narrow(0, 0, 2)->node(), &first.node());
  EXPECT_EQ(&whole.Narrow(0, 2, 4)->node(), &second.node());
  EXPECT_EQ(Values(*whole.Narrow(0, 3, 2)), (Ints{13, 14, 15, 16, 17, 18}));
  EXPECT_TRUE(whole.Narrow(0, 3, 2)->AsByteRange());
  EXPECT_EQ(Values(*whole.Narrow(0, 1, 2)), (Ints{3, 4, 5, 10, 11, 12}));  // of two tiles
  EXPECT_EQ(Values(*whole.Narrow(1, 1, 1)), (Ints{1, 4, 11, 14, 17, 20}));
  EXPECT_EQ(whole.Narrow(0, 6, 0)->shape(), (Shape{0, 3}));
}

TEST(Tensor, ConcatPutsPartsSideBySide) {
  EXPECT_EQ(Values(*Tensor::Concat({Iota({2, 2}), Iota({2, 1}, 10)}, 1)), (Ints{0, 1, 10, 2, 3, 11}));
  EXPECT_THAT(Tensor::Concat({Iota({2, 2}), Iota({3, 1})}, 1), StatusIs(ErrorKind::kInvalidArgument, "[3, 1]"));
}

TEST(Tensor, PermuteTransposes) {
  EXPECT_EQ(Values(*Iota({2, 3}).Permute({1, 0})), (Ints{0, 3, 1, 4, 2, 5}));
  EXPECT_THAT(Iota({2, 3}).Permute({0, 0}), StatusIs(ErrorKind::kInvalidArgument, "does not permute"));
}

TEST(Tensor, ReshapeCutsAcrossParts) {
  const Tensor whole = *Tensor::Concat({Iota({2, 3}), Iota({2, 1}, 10)}, 1);  // 0 1 2 10 | 3 4 5 11
  const Tensor reshaped = *whole.Reshape({4, 2});
  EXPECT_EQ(Values(reshaped), (Ints{0, 1, 2, 10, 3, 4, 5, 11}));
  EXPECT_EQ(Values(*reshaped.Permute({1, 0})), (Ints{0, 2, 3, 5, 1, 10, 4, 11}));
}

TEST(Tensor, InterleavesHeadsAsMegatronDoes) {
  // q, k, v of two heads of one row each, to q0 k0 v0 q1 k1 v1.
  std::vector<Tensor> parts;
  for (int i = 0; i < 3; ++i) parts.push_back(*Iota({2, 2}, 10 * i).Reshape({2, 1, 1, 2}));
  const Tensor qkv = *Tensor::Concat(parts, 1)->Reshape({6, 2});
  EXPECT_EQ(Values(qkv), (Ints{0, 1, 10, 11, 20, 21, 2, 3, 12, 13, 22, 23}));
  // And back.
  const Tensor split = *qkv.Reshape({2, 3, 1, 2});
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(Values(*split.Narrow(1, i, 1)->Reshape({2, 2})), Values(Iota({2, 2}, 10 * static_cast<int>(i))));
  }
}

TEST(Tensor, PadAndFill) {
  EXPECT_EQ(Values(*Iota({2}).Pad(0, 1, 2, 7)), (Ints{7, 0, 1, 7, 7}));
  EXPECT_EQ(Values(*Tensor::Fill(DType::kI32, {2}, -3)), (Ints{-3, -3}));
  EXPECT_EQ(Values(*Tensor::Fill(DType::kF32, {}, 2.9)->Cast(DType::kI32)), (Ints{2}));
}

TEST(Tensor, AssembleWantsEveryElementOnce) {
  const Tensor one = Iota({1, 1});
  EXPECT_THAT(Tensor::Assemble({2, 1}, {{{0, 0}, one}}), StatusIs(ErrorKind::kInvalidArgument, "less than"));
  EXPECT_THAT(Tensor::Assemble({2, 1}, {{{0, 0}, one}, {{0, 0}, one}}),
              StatusIs(ErrorKind::kInvalidArgument, "overlap"));
  EXPECT_THAT(Tensor::Assemble({2, 1}, {{{0, 0}, one}, {{2, 0}, one}}),
              StatusIs(ErrorKind::kInvalidArgument, "does not lie in"));
  EXPECT_EQ(Values(*Tensor::Assemble({2, 1}, {{{1, 0}, one}, {{0, 0}, Iota({1, 1}, 5)}})), (Ints{5, 0}));
}

TEST(Tensor, AverageSumsInDouble) {
  const Tensor a = *Tensor::Fill(DType::kF32, {3}, 1), b = *Tensor::Fill(DType::kF32, {3}, 2);
  EXPECT_EQ(Values(*Tensor::Average({a, b, b, b})->Reshape({3})), Values(*Tensor::Fill(DType::kF32, {3}, 1.75)));
}

// Each element times the number of its block, the last blocks cut off; in parts as whole.
TEST(Tensor, ScaledByBlocks) {
  const Tensor matrix = *Iota({5, 7}).Cast(DType::kF32), scales = *Iota({3, 2}, 1).Cast(DType::kF32);
  const auto product = Scaled(matrix, scales, 2, 4);
  ASSERT_THAT(product, IsOk());
  Ints expected, in_part;
  for (int r = 0; r < 5; ++r) {
    for (int c = 0; c < 7; ++c) expected.push_back((r * 7 + c) * (1 + r / 2 * 2 + c / 4));
  }
  EXPECT_EQ(Values(*product->Cast(DType::kI32)), expected);
  const Tensor part = *product->Narrow(0, 1, 3)->Narrow(1, 3, 2)->Permute({1, 0});
  for (int c = 3; c < 5; ++c) {
    for (int r = 1; r < 4; ++r) in_part.push_back(expected[static_cast<size_t>(r * 7 + c)]);
  }
  EXPECT_EQ(Values(*part.Cast(DType::kI32)), in_part);
  EXPECT_THAT(Scaled(matrix, scales, 3, 4), StatusIs(ErrorKind::kInvalidArgument, "product by blocks"));
}

TEST(Tensor, FromFileRefusesWhatLiesOutside) {
  const ByteSourcePtr source = MemorySource(std::string(16, 'x'), "weights");
  EXPECT_THAT(Tensor::FromFile(DType::kF32, {2, 2}, source, 0), IsOk());
  EXPECT_THAT(Tensor::FromFile(DType::kF32, {2, 2}, source, 4), StatusIs(ErrorKind::kCorrupt, "found 12"));
  EXPECT_THAT(Tensor::FromFile(DType::kF32, {2, 2}, source, 0, {3, 1}), StatusIs(ErrorKind::kCorrupt, "weights"));
  EXPECT_THAT(Tensor::FromFile(DType::kF32, {3, UINT64_MAX}, source, 0),
              StatusIs(ErrorKind::kInvalidArgument, "64 bits"));
  EXPECT_THAT(Tensor::FromFile(DType::kF32, {2, 2}, source, 0, {UINT64_MAX, UINT64_MAX}),
              StatusIs(ErrorKind::kCorrupt, "more than 2^64"));
  EXPECT_THAT(Tensor::FromFile(DType::kF32, {1 << 20, 1 << 20}, source, 0, {0, 0}), IsOk());
  EXPECT_THAT(Tensor::FromFile(DType::kF32, {0, 5}, source, 16), IsOk());
}

TEST(Tensor, SeesOneRangeThroughViews) {
  const ByteSourcePtr source = MemorySource(std::string(96, 'x'), "weights");
  const Tensor whole = *Tensor::FromFile(DType::kF32, {4, 6}, source, 0);
  const auto range = whole.Narrow(0, 1, 2)->Reshape({3, 4})->AsByteRange();
  ASSERT_TRUE(range.has_value());
  EXPECT_EQ(range->offset, 24u);
  EXPECT_EQ(range->size, 48u);
  EXPECT_FALSE(whole.Narrow(1, 1, 2)->AsByteRange().has_value());
  EXPECT_FALSE(whole.Permute({1, 0})->AsByteRange().has_value());
  EXPECT_FALSE(whole.Cast(DType::kF16)->AsByteRange().has_value());
  // Split and merged again is whole again.
  const Tensor merged = *Tensor::Concat({*whole.Narrow(1, 0, 2), *whole.Narrow(1, 2, 4)}, 1);
  ASSERT_TRUE(merged.AsByteRange().has_value());
  EXPECT_EQ(merged.AsByteRange()->size, 96u);
}

// A checkpoint has a million tensors of a dozen shapes.
TEST(Tensor, EqualShapesTakeRoomOnce) {
  const Tensor tensor = Iota({3, 4});
  EXPECT_EQ(&tensor.shape(), &Iota({3, 4}).shape());
  EXPECT_EQ(&tensor.shape(), &tensor.Cast(DType::kF32)->shape());
  EXPECT_EQ(&tensor.shape(), &tensor.Reshape({12})->Reshape({3, 4})->shape());
  // More shapes than a thread keeps.
  for (uint64_t rows = 1; rows < 200; ++rows) {
    const Tensor zeros = *Tensor::Fill(DType::kF32, {rows, 2}, 0);
    EXPECT_EQ(zeros.shape(), (Shape{rows, 2}));
    EXPECT_EQ(zeros.num_elements(), 2 * rows);
  }
  EXPECT_EQ(tensor.shape(), (Shape{3, 4}));
}

TEST(Tensor, AnEntryTakesNoMoreRoomForOpaqueValues) {
  EXPECT_LE(sizeof(Entry), sizeof(Tensor) + sizeof(size_t));
  StateDict state;
  ASSERT_THAT(state.Add("none", Opaque{}), IsOk());
  ASSERT_THAT(state.Add("other", Opaque{Opaque::Form::kOther, {}, true}), IsOk());
  ASSERT_THAT(state.Add("tensor", Iota({2})), IsOk());
  const StateDict::Item *none = state.Find("none"), *other = state.Find("other"), *tensor = state.Find("tensor");
  ASSERT_TRUE(none->opaque() != nullptr && other->opaque() != nullptr && tensor->tensor() != nullptr);
  EXPECT_TRUE(none->tensor() == nullptr && other->tensor() == nullptr && tensor->opaque() == nullptr);
  EXPECT_TRUE(none->opaque()->form == Opaque::Form::kNone && !none->opaque()->holds_data);
  EXPECT_TRUE(other->opaque()->form == Opaque::Form::kOther && other->opaque()->holds_data);
}

TEST(StateDict, EachOfManyNamesIsFound) {
  StateDict state;
  const auto name = [](int i) { return "layers." + std::to_string(i) + ".weight"; };
  for (int i = 0; i < 5000; ++i) ASSERT_THAT(state.Add(name(i), Opaque{}), IsOk());
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(state.Find(name(i)), &state.items()[static_cast<size_t>(i)]);
  EXPECT_EQ(state.Find(name(5000)), nullptr);
  EXPECT_THAT(state.Add(name(1234), Opaque{}), StatusIs(ErrorKind::kCorrupt, "distinct names"));
}

TEST(Tensor, EmptyTensorsHoldNothing) {
  EXPECT_EQ(Values(*Iota({0, 3}).Reshape({5, 0, 2})), Ints{});
  EXPECT_EQ(Values(*Tensor::Concat({Iota({0, 2}), Iota({1, 2})}, 0)), (Ints{0, 1}));
  EXPECT_EQ(Values(*Iota({2, 2}).Narrow(0, 1, 0)), Ints{});
}

}  // namespace
}  // namespace anemone
