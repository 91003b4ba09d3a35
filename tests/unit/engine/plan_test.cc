#include "engine/plan.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/execute.h"
#include "testing/matchers.h"

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::StatusIs;

Plan OneFile(PlanFile file) {
  Plan plan;
  plan.files.push_back(std::move(file));
  return plan;
}

TEST(Plan, AppendsGrowTheFile) {
  PlanFile file;
  file.Append("head");
  file.Append("er");
  file.AppendZeros(2);
  file.Append(*Tensor::Fill(DType::kF32, {3}, 1));
  file.Append(Whole(MemorySource("tail", "t")));
  EXPECT_EQ(file.size, 24u);
  ASSERT_EQ(file.segments.size(), 3u);
  EXPECT_EQ(std::get<std::string>(file.segments[0].content), "header");
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
  EXPECT_EQ(file.crcs.at(0).stores, (std::vector<uint64_t>{4}));
  EXPECT_THAT(Check(OneFile(file)), IsOk());

  const std::string path = ::testing::TempDir() + "/plan_test." + std::to_string(getpid());
  ASSERT_THAT(Execute(OneFile(file), path, {}), IsOk());
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_EQ(text.str(),
            "name\x26\x39\xF4\xCB"
            "123456789");  // the CRC-32 check value
  EXPECT_THAT(Execute(OneFile(file), path, {}), StatusIs(ErrorKind::kAlreadyExists, path));
  std::filesystem::remove(path);
}

TEST(Plan, CheckNamesWhatIsWrong) {
  PlanFile overlap;
  overlap.Append("ab");
  overlap.segments.push_back({1, 1, std::string("x")});
  EXPECT_THAT(Check(OneFile(overlap)), StatusIs(ErrorKind::kInternal, "byte 1: segment overlaps"));

  PlanFile beyond;
  beyond.segments.push_back({0, 2, std::string("ab")});
  EXPECT_THAT(Check(OneFile(beyond)), StatusIs(ErrorKind::kInternal, "beyond the file"));

  PlanFile size;
  size.size = 9;
  size.segments.push_back({0, 3, std::string("ab")});
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
    directory.files.assign(1, PlanFile{path, 0, {}, {}});
    EXPECT_THAT(Check(directory), StatusIs(ErrorKind::kInternal, "relative path")) << path;
  }
  directory.files = {PlanFile{"a", 0, {}, {}}, PlanFile{"a/b", 0, {}, {}}};
  EXPECT_THAT(Check(directory), StatusIs(ErrorKind::kInternal, "a: path is both"));
  directory.files = {PlanFile{"a", 0, {}, {}}, PlanFile{"a", 0, {}, {}}};
  EXPECT_THAT(Check(directory), StatusIs(ErrorKind::kInternal, "distinct"));
}

}  // namespace
}  // namespace anemone
