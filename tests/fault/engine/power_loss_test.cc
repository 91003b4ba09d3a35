// The power goes at every moment of a run, on a disk that loses what was not synced and does renames in any order.
// Whatever happens: the destination is absent, or the old one, or complete; and once the run has said that it is done,
// complete.
#include "testing/power_loss.h"

#include "engine/execute.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::PowerLoss;
using ::anemone::testing::TempDir;
using ::anemone::testing::Tree;
using ::anemone::testing::WriteFile;
using Files = PowerLoss::Files;

Plan SomePlan(bool is_directory) {
  PlanFile file;
  file.Append(std::string("head\0\0\0\0", 8));
  file.Append(*Tensor::Fill(DType::kF32, {5000}, 1.5)->Cast(DType::kF16));
  file.crcs.push_back({8, file.size - 8, {4}});
  Plan plan;
  plan.is_directory = is_directory;
  plan.files = {file};
  if (!is_directory) return plan;
  plan.files[0].path = "weights/model";
  plan.files.push_back({"empty", 0, {}, {}});
  plan.empty_directories = {"nothing"};
  return plan;
}

// What has the destination's name.
Files Output(const Files& files) {
  Files output;
  for (const auto& [name, content] : files) {
    if (name.starts_with("out")) output[name] = content;
  }
  return output;
}

struct Case {
  bool is_directory, replace, resume;
  std::string Name() const {
    return std::string(is_directory ? "directory" : "file") + (replace ? ", replaced" : "") +
           (resume ? ", resume" : "");
  }
};

struct Outcome {
  int torn = 0;   // states in which the destination is none of the three
  int syncs = 0;  // that the run asked for
};

// A run of which the `dropped`th sync does nothing.
Outcome Run(const Case& how, int dropped) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "place");
  const std::string out = dir / "place/out";
  ExecuteOptions options;
  options.threads = 1;
  EXPECT_THAT(Execute(SomePlan(how.is_directory), out, options), IsOk());
  const Files complete = Output(Tree(dir / "place"));
  std::filesystem::remove_all(out);
  if (how.replace && how.is_directory) std::filesystem::create_directory(out);
  if (how.replace) WriteFile(how.is_directory ? out + "/old" : out, "old");
  const Files before = Output(Tree(dir / "place"));
  options.replace = how.replace;
  options.resume = how.resume;
  options.may_replace = [](const std::string&) { return Status(); };
  Outcome outcome;
  PowerLoss power(
      dir / "place",
      [&](const Files& state) {
        const Files now = Output(state);
        if (now != before && now != complete) ++outcome.torn;
      },
      dropped);
  EXPECT_THAT(Execute(SomePlan(how.is_directory), out, options), IsOk());
  for (const Files& state : power.States()) {
    if (Output(state) != complete) ++outcome.torn;
  }
  outcome.syncs = power.syncs();
  return outcome;
}

constexpr Case kCases[] = {{false, false, false}, {false, true, false}, {true, false, false},
                           {true, true, false},   {false, false, true}, {true, false, true}};

TEST(PowerLossSweep, LeavesTheDestinationAbsentOldOrComplete) {
  for (const Case& how : kCases) {
    const Outcome outcome = Run(how, -1);
    EXPECT_EQ(outcome.torn, 0) << how.Name();
    EXPECT_GT(outcome.syncs, 1) << how.Name();
  }
}

// The sweep sees a sync that is missing: each that an ordinary run asks for is needed.
TEST(PowerLossSweep, MissesEverySync) {
  for (const Case& how : kCases) {
    if (how.resume || how.replace) continue;  // those of the journal, of modes and owners, are not for the output
    const int syncs = Run(how, -1).syncs;
    for (int n = 0; n < syncs; ++n) EXPECT_GT(Run(how, n).torn, 0) << how.Name() << ", sync " << n;
  }
}

}  // namespace
}  // namespace anemone
