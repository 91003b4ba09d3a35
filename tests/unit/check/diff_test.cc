#include "anemone/check.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using testing::IsOk;
using testing::StatusIs;
using Kind = TensorDifference::Kind;

Tensor Floats(std::vector<float> values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return *Tensor::FromBytes(DType::kF32, {values.size()}, bytes);
}

Checkpoint With(std::vector<std::pair<std::string, Tensor>> tensors, const std::string& yaml = "a: 1\n") {
  Checkpoint checkpoint;
  checkpoint.shards.emplace_back();
  for (auto& [name, tensor] : tensors) EXPECT_THAT(checkpoint.weights().Add(name, tensor), IsOk());
  checkpoint.config = *Config::ParseYaml(yaml, "c");
  return checkpoint;
}

TEST(DiffTest, EqualIsEmpty) {
  auto d = Diff(With({{"w", Floats({1, NAN})}}), With({{"w", Floats({1, NAN})}}), {});
  ASSERT_THAT(d, IsOk());
  EXPECT_TRUE(d->empty());
  EXPECT_EQ(d->tensors_compared, 1u);
}

TEST(DiffTest, CountsValuesAndTheirDistance) {
  auto d = Diff(With({{"w", Floats({1, 2, 3})}}), With({{"w", Floats({1, 2.5, 1})}}), {});
  ASSERT_THAT(d, IsOk());
  ASSERT_EQ(d->tensors.size(), 1u);
  EXPECT_EQ(d->tensors[0].kind, Kind::kValues);
  EXPECT_EQ(d->tensors[0].elements, 2u);
  EXPECT_EQ(d->tensors[0].max_abs, 2);
}

TEST(DiffTest, SeesBitsThatCompareEqual) {
  auto d = Diff(With({{"w", Floats({0.0F})}}), With({{"w", Floats({-0.0F})}}), {});
  ASSERT_THAT(d, IsOk());
  ASSERT_EQ(d->tensors.size(), 1u);
  EXPECT_EQ(d->tensors[0].elements, 0u);
}

// Elements that share bytes are not cut, and neither they nor complex ones become doubles.
TEST(DiffTest, ComparesWhatIsNoNumberByItsBits) {
  for (const DType dtype : {DType::kF4E2M1, DType::kF6E2M3, DType::kC64}) {
    constexpr uint64_t kElements = uint64_t{1} << 20;
    std::string bytes(*BytesOfElements(dtype, kElements), '\0');
    const Tensor zeros = *Tensor::FromBytes(dtype, {kElements}, bytes);
    EXPECT_TRUE(Diff(With({{"w", zeros}}), With({{"w", zeros}}), {})->empty());
    bytes.front() = '\x03';  // two bits of the first element
    bytes.back() = '\x40';   // one of the last
    const Tensor other = *Tensor::FromBytes(dtype, {kElements}, bytes);
    auto d = Diff(With({{"w", zeros}}), With({{"w", other}}), {});
    ASSERT_THAT(d, IsOk());
    ASSERT_EQ(d->tensors.size(), 1u);
    EXPECT_EQ(d->tensors[0].kind, Kind::kValues);
    EXPECT_EQ(d->tensors[0].elements, 2u);
    EXPECT_TRUE(std::isnan(d->tensors[0].max_abs));
    d = Diff(With({{"w", zeros}}), With({{"w", *Tensor::Fill(DType::kF32, {kElements}, 0)}}), {});
    ASSERT_THAT(d, IsOk());
    ASSERT_EQ(d->tensors.size(), 1u);
    EXPECT_EQ(d->tensors[0].kind, Kind::kDType);
    EXPECT_EQ(d->tensors[0].elements, kElements);
  }
}

TEST(DiffTest, NamesMissingShapesAndDtypes) {
  const Tensor half = *Floats({1, 2}).Cast(DType::kF16);
  auto d = Diff(With({{"gone", Floats({1})}, {"shape", Floats({1})}, {"dtype", Floats({1, 2})}}),
                With({{"new", Floats({1})}, {"shape", Floats({1, 2})}, {"dtype", half}}), {});
  ASSERT_THAT(d, IsOk());
  ASSERT_EQ(d->tensors.size(), 4u);
  EXPECT_EQ(d->tensors[0].kind, Kind::kOnlyInFirst);
  EXPECT_EQ(d->tensors[1].kind, Kind::kShape);
  EXPECT_EQ(d->tensors[2].kind, Kind::kDType);
  EXPECT_EQ(d->tensors[2].elements, 0u);
  EXPECT_EQ(d->tensors[3].kind, Kind::kOnlyInSecond);
}

TEST(DiffTest, ComparesConfigByValueNotByText) {
  auto d = Diff(With({}, "lr: 1e-5\nkeep: {a: 1, b: 2}\ngone: x\n"), With({}, "lr: 1.0e-05\nkeep: {b: 2, a: 3}\n"), {});
  ASSERT_THAT(d, IsOk());
  ASSERT_EQ(d->config.size(), 2u);
  EXPECT_EQ(d->config[0].path, "keep.a");
  EXPECT_EQ(d->config[1].path, "gone");
}

TEST(DiffTest, ComparesArtifactBytes) {
  Checkpoint a = With({});
  Checkpoint b = With({});
  a.artifacts.push_back({"t", Whole(MemorySource("one", "t"))});
  b.artifacts.push_back({"t", Whole(MemorySource("two", "t"))});
  auto d = Diff(a, b, {});
  ASSERT_THAT(d, IsOk());
  ASSERT_EQ(d->artifacts.size(), 1u);
  EXPECT_TRUE(Diff(a, b, {.only_weights = true})->empty());
}

// Otherwise old and new bytes might have been compared together.
TEST(DiffTest, RefusesAFileThatChangesMeanwhile) {
  const testing::TempDir dir;
  const std::string path = dir / "a.bin";
  const auto write = [&path](const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; };
  write("12345678");
  ANEMONE_ASSERT_ASSIGN(const ByteSourcePtr file, OpenFile(path));
  ANEMONE_ASSERT_ASSIGN(const Tensor tensor, Tensor::FromFile(DType::kF32, {2}, file, 0));
  EXPECT_THAT(Diff(With({{"w", tensor}}), With({{"w", tensor}}), {}), IsOk());
  write("123456789");
  EXPECT_THAT(Diff(With({{"w", tensor}}), With({{"w", tensor}}), {}),
              StatusIs(ErrorKind::kIo, "changed while it was read"));
  Checkpoint with_artifact = With({});
  with_artifact.artifacts.push_back({"t", Whole(file)});
  EXPECT_THAT(Diff(With({}), with_artifact, {}), StatusIs(ErrorKind::kIo, "changed while it was read"));
}

TEST(DiffTest, RefusesDifferentLayouts) {
  Checkpoint two = With({});
  two.layout.tp = 2;
  two.shards.emplace_back();
  EXPECT_THAT(Diff(With({}), two, {}), StatusIs(ErrorKind::kInvalidArgument, "canonical=true"));
  Checkpoint stages = two;  // as many ranks
  stages.layout = {.pp = 2};
  EXPECT_THAT(Diff(two, stages, {}), StatusIs(ErrorKind::kInvalidArgument, "found TP 2 × PP 1 and TP 1 × PP 2"));
}

}  // namespace
}  // namespace anemone
