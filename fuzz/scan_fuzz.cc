// Scans any bytes as a file whose name the first byte picks. Whatever it holds, scan ends, and what it lists is judged
// as its name is.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string>

#include "anemone/check.h"
#include "check/scan_rules.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace anemone;
  constexpr const char* kNames[] = {"x.pkl", "x.nemo", "x.yaml", "x/config.json", "x.npy", "x"};
  if (size == 0) return 0;
  const char* name = kNames[data[0] % std::size(kNames)];
  const auto findings = ScanBytes(std::string(reinterpret_cast<const char*>(data) + 1, size - 1), name);
  if (!findings.ok()) std::abort();  // bytes in memory can always be read
  for (const ScanFinding& finding : *findings) {
    if (finding.what.ends_with("pickle global") && JudgeGlobal(finding.name) != finding.danger) std::abort();
  }
  return 0;
}
