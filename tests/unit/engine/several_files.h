// SeveralFiles: a plan that has a bit of everything, over a source on disk, for runs by several ranks or in several
// goes.
#ifndef ANEMONE_TESTS_UNIT_ENGINE_SEVERAL_FILES_H_
#define ANEMONE_TESTS_UNIT_ENGINE_SEVERAL_FILES_H_

#include "engine/cluster.h"
#include "engine/execute.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {

class SeveralFiles : public ::testing::Test {
 protected:
  static constexpr uint64_t kWindow = 4096;

  void SetUp() override {
    std::string content(200000, '\0');
    for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 11 + i / 253);
    testing::WriteFile(dir_ / "source", content);
    std::filesystem::create_directory(dir_ / "place");
    ANEMONE_ASSERT_ASSIGN(source_, OpenFile(dir_ / "source"));
  }

  // Two files, both under CRCs that span windows of all ranks; an empty one; bytes the kernel moves.
  Plan MakePlan() const {
    Plan plan;
    plan.is_directory = true;
    for (const char* name : {"rank_00/a", "rank_01/b"}) {
      PlanFile file;
      file.path = name;
      file.Append(std::string("head\0\0\0\0\0\0\0\0", 12));
      for (uint64_t i = 0; i < 2; ++i) {
        const uint64_t begin = file.size;
        file.Append(*Tensor::FromFile(DType::kF32, {300, 40 + i}, source_, 4 * i)->Permute({1, 0}));
        file.crcs.push_back({begin, file.size - begin, {4 + 4 * i}});
      }
      file.AppendZeros(10000);
      file.Append(ByteRange{source_, 64, 150000});
      plan.files.push_back(std::move(file));
    }
    plan.files.push_back({"empty", 5, {}, {}, {}});
    return plan;
  }

  static ExecuteOptions Options(Cluster& cluster) {
    ExecuteOptions options;
    options.threads = 1;
    options.window_bytes = kWindow;
    options.cluster = &cluster;
    return options;
  }

  // What one run of it writes.
  std::map<std::string, std::string> Expected() const {
    EXPECT_THAT(Execute(MakePlan(), dir_ / "expected", Options(Cluster::Alone())), testing::IsOk());
    return testing::Tree(dir_ / "expected");
  }

  testing::TempDir dir_;  // "source" and an empty "place"
  ByteSourcePtr source_;
};

}  // namespace anemone

#endif  // ANEMONE_TESTS_UNIT_ENGINE_SEVERAL_FILES_H_
