#include "engine/plan.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/crc32.h"
#include "engine/execute.h"
#include "engine/planned.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::StatusIs;

Plan OneFile(PlanFile file) {
  Plan plan;
  plan.files.push_back(std::move(file));
  return plan;
}

// A plan of a million tensors has two or three of each.
static_assert(sizeof(Segment) <= 40 && sizeof(Crc32Slot) <= 32);

TEST(Plan, AppendsGrowTheFile) {
  PlanFile file;
  file.Append("head");
  file.Append("er");
  file.AppendZeros(2);
  file.Append(*Tensor::Fill(DType::kF32, {3}, 1));
  file.Append(Whole(MemorySource("tail", "t")));
  EXPECT_EQ(file.size, 24u);
  ASSERT_EQ(file.segments.size(), 3u);
  EXPECT_EQ(std::get<std::string_view>(file.segments[0].content), "header");
  EXPECT_EQ(file.segments[1].offset, 8u);
  EXPECT_THAT(Check(OneFile(file)), IsOk());
}

TEST(Plan, AppendFileMovesSegmentsAndCrcs) {
  PlanFile part;
  part.Append(std::string(4, '\0'));
  part.Append(Whole(MemorySource("123456789", "t")));
  part.crcs.push_back({4, 9, {0}});
  PlanFile file;
  file.Append("name");
  AppendFile(file, std::move(part));
  EXPECT_EQ(file.size, 17u);
  EXPECT_EQ(file.crcs.at(0).offset, 8u);
  ASSERT_EQ(file.crcs.at(0).stores.size(), 1u);
  EXPECT_EQ(file.crcs.at(0).stores[0], 4u);
  EXPECT_THAT(Check(OneFile(file)), IsOk());

  const testing::TempDir dir;
  const std::string path = dir / "out";
  ASSERT_THAT(Execute(OneFile(file), path, {}), IsOk());
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_EQ(text.str(),
            "name\x26\x39\xF4\xCB"
            "123456789");  // the CRC-32 check value
  EXPECT_THAT(Execute(OneFile(file), path, {}), StatusIs(ErrorKind::kAlreadyExists, path));
}

std::string Contents(const PlanFile& file) {
  const Result<std::string> bytes = Whole(OpenPlanned(std::make_shared<Plan>(OneFile(file)), 0)).ReadAll(file.size);
  return bytes.ok() ? *bytes : bytes.status().message();
}

TEST(Plan, LiteralsStayWhereTheyAre) {
  PlanFile file;
  std::string expected;
  for (int i = 0; i < 10000; ++i) {
    const std::string literal = "literal " + std::to_string(i) + std::string(i % 5000 == 0 ? 100000 : i % 50, '.');
    file.Append(literal);
    file.AppendZeros(1);
    expected += literal + '\0';
  }
  const PlanFile copy = file;
  file.Append("more");
  PlanFile other = copy;
  other.Append("less");
  EXPECT_EQ(Contents(copy), expected);
  EXPECT_EQ(Contents(file), expected + "more");
  EXPECT_EQ(Contents(other), expected + "less");
}

TEST(Plan, FilesOfOneKindShareTheirLiterals) {
  const auto append = [](PlanFile& file, double value) {
    const uint64_t start = file.size;
    file.Append(std::string("head") + std::string(4, '\0'));
    const Tensor tensor = *Tensor::Fill(DType::kF32, {3}, value);
    file.crcs.push_back({file.size, tensor.size_bytes(), {start + 4, start + 8 + tensor.size_bytes()}});
    file.Append(tensor);
    file.Append(std::string(4, '\0'));
    file.AppendZeros(2);
    file.Append("tail");
  };
  PlanFile each, part, alike;
  for (const double value : {1, 2, 3}) append(each, value);
  append(part, 0);
  const Surroundings around = TakeSurroundings(part, alike);
  for (const double value : {1, 2, 3}) AppendWithin(around, *Tensor::Fill(DType::kF32, {3}, value), alike);
  EXPECT_EQ(Contents(alike), Contents(each));
  EXPECT_EQ(alike.segments.size(), 7u) << "a tail and the head behind it are one literal";
  EXPECT_THAT(Check(OneFile(alike)), IsOk());

  PlanFile known;
  for (const double value : {1, 2, 3}) {
    const Tensor tensor = *Tensor::Fill(DType::kF32, {3}, value);
    const std::string bytes = *tensor.Read();
    AppendWithin(around, tensor, known, Crc32(0, std::as_bytes(std::span(bytes))));
  }
  EXPECT_TRUE(known.crcs.empty());
  EXPECT_EQ(Contents(known), Contents(alike));
}

TEST(Plan, CheckNamesWhatIsWrong) {
  PlanFile overlap;
  overlap.Append("ab");
  overlap.segments.push_back({1, 1, "x"});
  EXPECT_THAT(Check(OneFile(overlap)), StatusIs(ErrorKind::kInternal, "byte 1: segment overlaps"));

  PlanFile beyond;
  beyond.segments.push_back({0, 2, "ab"});
  EXPECT_THAT(Check(OneFile(beyond)), StatusIs(ErrorKind::kInternal, "beyond the file"));

  PlanFile size;
  size.size = 9;
  size.segments.push_back({0, 3, "ab"});
  EXPECT_THAT(Check(OneFile(size)), StatusIs(ErrorKind::kInternal, "holds 2"));

  PlanFile hole;
  hole.Append(std::string(4, '\0'));
  hole.AppendZeros(4);
  hole.crcs.push_back({4, 4, {0}});
  EXPECT_THAT(Check(OneFile(hole)), StatusIs(ErrorKind::kInternal, "byte 4: CRC range is not covered"));

  PlanFile store;
  store.Append("abcdefgh");
  store.crcs.push_back({0, 4, {4}});
  EXPECT_THAT(Check(OneFile(store)), StatusIs(ErrorKind::kInternal, "other than zeros"));
  store.crcs = {{0, 4, {6}}};
  EXPECT_THAT(Check(OneFile(store)), StatusIs(ErrorKind::kInternal, "outside literal"));
  PlanFile inside;
  inside.Append(std::string(8, '\0'));
  inside.crcs = {{0, 4, {2}}};
  EXPECT_THAT(Check(OneFile(inside)), StatusIs(ErrorKind::kInternal, "inside a CRC range"));

  Plan directory;
  directory.is_directory = true;
  for (const char* path : {"a/../b", "/a", "", "a//b", "."}) {
    directory.files.assign(1, PlanFile{path, 0, {}, {}, {}});
    EXPECT_THAT(Check(directory), StatusIs(ErrorKind::kInternal, "relative path")) << path;
  }
  directory.files = {PlanFile{"a", 0, {}, {}, {}}, PlanFile{"a/b", 0, {}, {}, {}}};
  EXPECT_THAT(Check(directory), StatusIs(ErrorKind::kInternal, "a: path is both"));
  directory.files = {PlanFile{"a", 0, {}, {}, {}}, PlanFile{"a", 0, {}, {}, {}}};
  EXPECT_THAT(Check(directory), StatusIs(ErrorKind::kInternal, "distinct"));
}

}  // namespace
}  // namespace anemone
