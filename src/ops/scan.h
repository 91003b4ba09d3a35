// Scan: what a file would import, call or write when other software loads it. Nothing is executed to find out.
// What "inert" promises: docs/scan.md.
#ifndef ANEMONE_OPS_SCAN_H_
#define ANEMONE_OPS_SCAN_H_

#include <string>
#include <vector>

#include "anemone/status.h"
#include "ops/scan_rules.h"

namespace anemone {

struct ScanFinding {
  std::string file;   // path from the outside in
  std::string what;   // "pickle global", "config target", "config resolver", "not opened", "unreadable pickle" …
  std::string name;   // "os system", "nemo.collections…MegatronCLIPModel"
  std::string where;  // config path; empty for pickles
  Danger danger = Danger::kInert;
};

// Every finding, inert ones included, in stored order, each (file, name) once. What cannot be parsed, opened or read
// within the budget (ops/walk.h) is a finding of Danger::kUnknown, not an error. Errors: NotFound, Io.
Result<std::vector<ScanFinding>> Scan(const std::string& path);
// Likewise for bytes in memory, as if they were a file of this name.
Result<std::vector<ScanFinding>> ScanBytes(std::string bytes, const std::string& name);

}  // namespace anemone

#endif  // ANEMONE_OPS_SCAN_H_
