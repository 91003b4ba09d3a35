// Every file-system call of a scan fails in turn: what could not be read is never called inert.
#include <algorithm>
#include <string>

#include "anemone/check.h"
#include "testing/faulty_sys.h"
#include "testing/matchers.h"
#include "testing/temp_dir.h"
#include "unit/container/tar_blocks.h"
#include "unit/container/zip_records.h"

namespace anemone {
namespace {

using ::anemone::testing::Fault;
using ::anemone::testing::FaultySys;
using ::anemone::testing::TempDir;

constexpr char kCall[] = "cos\nsystem\n(S'id'\ntR.";

TEST(ScanFault, WhatIsNotReadIsNotInert) {
  const TempDir dir;
  const std::string zip =
      testing::ZipFile({{.name = "a/data.pkl", .content = "N."}, {.name = "a/x", .content = kCall}}, {});
  const std::string tar = testing::TarFile({testing::TarBlock({.name = "x.yaml", .content = "a: 1\n"}, '0'),
                                            testing::TarBlock({.name = "x.ckpt", .content = zip}, '0')});
  testing::WriteFile(dir / "a.nemo", tar);
  testing::WriteFile(dir / "b.pkl", kCall);
  const auto worst = [](const std::vector<ScanFinding>& findings) {
    Danger danger = Danger::kInert;
    for (const ScanFinding& finding : findings) danger = std::max(danger, finding.danger);
    return danger;
  };
  for (const std::string& path : {dir / "a.nemo", dir / "b.pkl", dir.path()}) {
    for (const Fault fault : {Fault::kIoError, Fault::kNoMemory}) {
      for (int n = 0;; ++n) {
        ASSERT_LT(n, 1000);
        const FaultySys faulty(fault, n);
        const Result<std::vector<ScanFinding>> findings = Scan(path);
        const std::string moment = path + ": fault " + std::to_string(static_cast<int>(fault)) + " in call " +
                                   std::to_string(n) + " (" + faulty.call() + ")";
        if (findings.ok()) {
          EXPECT_NE(worst(*findings), Danger::kInert) << moment;
        } else {
          EXPECT_NE(findings.status().kind(), ErrorKind::kCorrupt) << moment << ": " << findings.status().message();
        }
        if (!faulty.reached()) break;
      }
    }
  }
}

}  // namespace
}  // namespace anemone
