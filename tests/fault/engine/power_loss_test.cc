// The power goes at every moment of a run, on a disk that loses what was not synced and does renames in any order.
// Whatever happens: the destination is absent, or the old one, or complete; once the run has said that it is done,
// complete; and a run with `resume` goes on from what is left.
#include "testing/power_loss.h"

#include <utility>

#include "engine/execute.h"
#include "engine/work_folder.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"

namespace anemone {
namespace {

using ::anemone::testing::IsOk;
using ::anemone::testing::PowerLoss;
using ::anemone::testing::TempDir;
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
  plan.files.push_back({"empty", 0, {}, {}, {}});
  plan.empty_directories = {"nothing"};
  return plan;
}

// What has the destination's name, or lies where the next run takes it back from.
Files Output(const Files& files) {
  Files output;
  for (const auto& [name, content] : files) {
    if (name.starts_with("out")) output[name] = content;
  }
  const std::string old = OldFolderName("out");
  const bool is_away = output.empty();
  for (const auto& [name, content] : files) {
    if (is_away && name.starts_with(old)) output["out" + name.substr(old.size())] = content;
  }
  return output;
}

struct Case {
  std::string name;
  bool is_directory, replace, resume;
  int needed_syncs;  // the others are of what is empty or is synced again
  bool renames_take_flags = true;
};

const Case kCases[] = {
    {"file", false, false, false, 2},
    {"file, replaced", false, true, false, 2},
    {"file, resume", false, false, true, 9},
    {"directory", true, false, false, 4},
    {"directory, replaced", true, true, false, 6},
    {"directory, replaced without exchange", true, true, false, 6, false},
    {"directory, resume", true, false, true, 11},
    {"file, replaced, resume", false, true, true, 9},
    {"directory, replaced, resume", true, true, true, 15},
    {"directory, replaced without exchange, resume", true, true, true, 15, false},
};

struct Outcome {
  int torn = 0;          // states in which the destination is none of the three
  int syncs = 0;         // that the run asked for
  std::set<Files> seen;  // states that the disk was in
};

ExecuteOptions Options(const Case& how) {
  ExecuteOptions options;
  options.threads = 1;
  options.window_bytes = 4096;
  options.journal_bytes = 4096;
  options.replace = how.replace;
  options.resume = how.resume;
  options.may_replace = [](const std::string&) { return Status(); };
  return options;
}

// Makes what is there before the run; answers what a whole run would leave.
Files Prepare(const Case& how, const std::string& place) {
  const std::string out = place + "/out";
  const auto prepare = [&] {
    std::filesystem::remove_all(place);
    std::filesystem::create_directories(how.replace && how.is_directory ? out : place);
    if (!how.replace) return;
    const std::string old = how.is_directory ? out + "/old" : out;
    WriteFile(old, "old");
    // Readable to a user of another number, by an access list where the file system has one.
    const std::string mode =
        "0700+0200000001000700ffffffff02000400d204000004000000ffffffff10000400ffffffff20000000ffffffff ";
    for (const std::string& path : {old, how.is_directory ? out : old}) PowerLoss::SetMode(path, mode);
  };
  prepare();
  const auto real_fsync = std::exchange(sys.fsync, [](int) { return 0; });
  EXPECT_THAT(Execute(SomePlan(how.is_directory), out, Options(how)), IsOk());
  sys.fsync = real_fsync;
  Files complete = PowerLoss::On(place);
  prepare();
  return complete;
}

// A run of which the `dropped`th sync does nothing; -1: all are done.
Outcome RunDropping(const Case& how, int dropped) {
  const TempDir dir;
  const std::string place = dir / "place";
  const Files complete = Prepare(how, place), before = PowerLoss::On(place);
  Outcome outcome;
  const auto look = [&](const Files& state) {
    const Files now = Output(state);
    if (now != before && now != complete) ++outcome.torn;
    outcome.seen.insert(state);
  };
  const PowerLoss power(place, look, dropped, how.renames_take_flags);
  EXPECT_THAT(Execute(SomePlan(how.is_directory), place + "/out", Options(how)), IsOk());
  for (const Files& state : power.States()) {
    if (Output(state) != complete) ++outcome.torn;
  }
  outcome.syncs = power.syncs();
  return outcome;
}

// Runs that go on from the states and do not come to the same output. States in `fine` did, and are not tried again.
int CannotGoOn(const Case& how, const std::set<Files>& states, std::set<Files>& fine) {
  const TempDir dir;
  const std::string place = dir / "place";
  const Files complete = Prepare(how, place);
  ExecuteOptions options = Options(how);
  options.replace = true;  // an output that is there is complete
  const auto real_fsync = std::exchange(sys.fsync, [](int) { return 0; });
  int failed = 0;
  for (const Files& state : states) {
    if (fine.contains(state)) continue;
    std::filesystem::remove_all(place);
    std::filesystem::create_directory(place);
    for (const auto& [name, content] : state) {  // sorted: parents come first
      const std::string path = place + "/" + name;
      if (name.ends_with('/')) {
        std::filesystem::create_directory(path);
      } else {
        WriteFile(path, content.substr(content.find(' ') + 1));
      }
      PowerLoss::SetMode(path, content);
    }
    const Status status = Execute(SomePlan(how.is_directory), place + "/out", options);
    if (!status.ok() || Output(PowerLoss::On(place)) != complete) {
      ++failed;
    } else {
      fine.insert(state);
    }
  }
  sys.fsync = real_fsync;
  return failed;
}

// A run that is cancelled once all is written, of which the `dropped`th sync does nothing: states in which the disk
// lacks what the journal says is kept, and states that nobody can go on from.
int LostProgress(const Case& how, int dropped, std::set<Files>& fine) {
  const TempDir dir;
  const std::string place = dir / "place";
  Prepare(how, place);
  ExecuteOptions options = Options(how);
  options.progress = [](std::string_view, uint64_t done, uint64_t total) { return done == 0 || done < total; };
  const PowerLoss power(
      place, [](const Files&) {}, dropped);
  EXPECT_FALSE(Execute(SomePlan(how.is_directory), place + "/out", options).ok());
  const auto journal = [](const Files& files) {
    Files found;
    for (const char* name : {".out.anemone-resume/journal", ".out.anemone-resume/done.0"})
      found[name] = files.contains(name) ? files.at(name) : "";
    return found;
  };
  const Files now = journal(PowerLoss::On(place));
  EXPECT_GT(now.rbegin()->second.size(), 10) << how.name;
  int lost = 0;
  for (const Files& state : power.States()) {
    if (journal(state) != now) ++lost;
  }
  return lost + CannotGoOn(how, power.States(), fine);
}

TEST(PowerLossSweep, LeavesTheDestinationAbsentOldOrComplete) {
  for (const Case& how : kCases) {
    const Outcome outcome = RunDropping(how, -1);
    EXPECT_EQ(outcome.torn, 0) << how.name;
    EXPECT_GT(outcome.syncs, 1) << how.name;
    EXPECT_GT(outcome.seen.size(), 3) << how.name;
  }
}

TEST(PowerLossSweep, GoesOnFromWhatIsLeft) {
  for (const Case& how : kCases) {
    if (!how.resume) continue;
    std::set<Files> fine;
    EXPECT_EQ(CannotGoOn(how, RunDropping(how, -1).seen, fine), 0) << how.name;
    EXPECT_EQ(LostProgress(how, -1, fine), 0) << how.name;
  }
}

// The sweep sees a sync that is missing.
TEST(PowerLossSweep, MissesEverySync) {
  for (const Case& how : kCases) {
    const int syncs = RunDropping(how, -1).syncs;
    int needed = 0;
    std::set<Files> fine;
    for (int n = 0; n < syncs; ++n) {
      const Outcome outcome = RunDropping(how, n);
      const bool is_needed =
          outcome.torn > 0 ||
          (how.resume && (CannotGoOn(how, outcome.seen, fine) > 0 || LostProgress(how, n, fine) > 0));
      if (is_needed) ++needed;
    }
    EXPECT_EQ(needed, how.needed_syncs) << how.name;
  }
}

}  // namespace
}  // namespace anemone
